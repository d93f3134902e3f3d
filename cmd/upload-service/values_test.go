package main

import (
	"testing"
	"time"
)

func TestSize(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		text string
		want Size
		back string // "" for an error
	}{
		{"0", 0, "0B"},
		{"1", 1, "1B"},
		{"1023B", 1023, "1023B"},
		{"1kB", 1000, "1kB"},
		{"64 KB", 64000, "64kB"},
		{"1KiB", 1024, "1KiB"},
		{"1024000", 1024000, "1000KiB"},
		{"1.5GiB", 3 << 29, "1536MiB"},
		{"5GB", 5e9, "5GB"},
		{"5gib", 5 << 30, "5GiB"},
		{"1TB", 1e12, "1TB"},
		{"2TiB", 2 << 40, "2TiB"},
		{"1EiB", 1 << 60, "1048576TiB"},
		{"9223372036854775807", 1<<63 - 1, "9223372036854775807B"},
		{"8EiB", 0, ""},
		{"99999999999EB", 0, ""},
		{"5G", 0, ""},
		{"5,5GB", 0, ""},
		{"-1", 0, ""},
		{"1e3", 0, ""},
		{"none", 0, ""},
		{"5 apples", 0, ""},
		{"٣GB", 0, ""},
		{"5GB\n", 0, ""},
		{"GB", 0, ""},
		{" ", 0, ""},
	} {
		t.Run(tt.text, func(t *testing.T) {
			t.Parallel()
			var got Size
			if err := got.UnmarshalText([]byte(tt.text)); (err == nil) != (tt.back != "") {
				t.Fatalf("UnmarshalText(%q): got error %v", tt.text, err)
			}
			if tt.back == "" {
				return
			}
			if got != tt.want || got.String() != tt.back {
				t.Errorf("UnmarshalText(%q): got %d, %q, want %d, %q", tt.text, got, got, tt.want, tt.back)
			}
			var again Size
			if err := again.UnmarshalText([]byte(got.String())); err != nil || again != got {
				t.Errorf("UnmarshalText(%q): got %d, %v, want %d", got.String(), again, err, got)
			}
		})
	}
}

func TestLimit(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		text string
		want Limit
		ok   bool
	}{
		{"none", 0, true},
		{"5GiB", 5 << 30, true},
		{"1", 1, true},
		{"0", 0, false},
		{"0.1B", 0, false},
		{"None of it", 0, false},
	} {
		t.Run(tt.text, func(t *testing.T) {
			t.Parallel()
			var got, again Limit
			err := got.UnmarshalText([]byte(tt.text))
			if (err == nil) != tt.ok || got != tt.want {
				t.Fatalf("UnmarshalText(%q): got %d, %v, want %d", tt.text, got, err, tt.want)
			}
			if err := again.UnmarshalText([]byte(got.String())); err != nil || again != got {
				t.Errorf("UnmarshalText(%q): got %d, %v, want %d", got.String(), again, err, got)
			}
		})
	}
}

func TestDuration(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		text string
		want time.Duration
		ok   bool
	}{
		{"0", 0, true},
		{"1ms", time.Millisecond, true},
		{"1h30m", 90 * time.Minute, true},
		{"1.5h", 90 * time.Minute, true},
		{"7d", 7 * 24 * time.Hour, true},
		{"1d12h", 36 * time.Hour, true},
		{"1ns", 1, true},
		{"-1s", 0, false},
		{"30", 0, false},
		{"d", 0, false},
		{"2 weeks", 0, false},
		{"99999999h", 0, false},
	} {
		t.Run(tt.text, func(t *testing.T) {
			t.Parallel()
			var got, again Duration
			err := got.UnmarshalText([]byte(tt.text))
			if (err == nil) != tt.ok || time.Duration(got) != tt.want {
				t.Fatalf("UnmarshalText(%q): got %d, %v, want %d", tt.text, got, err, tt.want)
			}
			if err := again.UnmarshalText([]byte(got.String())); err != nil || again != got {
				t.Errorf("UnmarshalText(%q): got %d, %v, want %d", got.String(), again, err, got)
			}
		})
	}
}

func TestPrefixes(t *testing.T) {
	t.Parallel()
	var got Prefixes
	if err := got.UnmarshalText([]byte("10.1.2.3/8, ::ffff:192.0.2.7,fd00::/8 ,::1")); err != nil {
		t.Fatal(err)
	}
	want := []string{"10.0.0.0/8", "192.0.2.7/32", "fd00::/8", "::1/128"}
	if len(got) != len(want) {
		t.Fatalf("got %v, want %v", got, want)
	}
	for i := range want {
		if got[i].String() != want[i] {
			t.Errorf("got %v, want %v", got[i], want[i])
		}
	}
	for _, text := range []string{"10.0.0.0/33", "proxy.example.com", "10.0.0"} {
		if err := new(Prefixes).UnmarshalText([]byte(text)); err == nil {
			t.Errorf("UnmarshalText(%q): got no error", text)
		}
	}
}
