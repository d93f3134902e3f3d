package jsonupload_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"runtime"
	"slices"
	"strings"
	"testing"
	"testing/iotest"

	"upload-service/handlers/jsonupload"
	"upload-service/store"
)

type file struct{ name, content string }

var limits = jsonupload.Limits{Entries: 1000}

// read reads all entries of a body.
func read(body io.Reader) ([]file, error) {
	r := jsonupload.New(body, limits)
	defer r.Close()
	files := []file{}
	for {
		entry, err := r.Next()
		if err == io.EOF {
			return files, nil
		}
		if err != nil {
			return nil, err
		}
		content, err := io.ReadAll(entry)
		if err != nil {
			return nil, err
		}
		name, err := entry.Finish()
		if err != nil {
			return nil, err
		}
		files = append(files, file{name, string(content)})
	}
}

var accepted = []struct {
	name string
	body string
	want []file
}{
	{"empty array", `[]`, []file{}},
	{"empty array in white space", " \t\r\n[ \t\r\n] \t\r\n", []file{}},
	{"one", `[{"filename":"a.txt","content":"SGVsbG8="}]`, []file{{"a.txt", "Hello"}}},
	{"several", `[{"filename":"a","content":"QQ=="},{"filename":"b","content":"QkI="},{"filename":"c","content":"Q0ND"}]`,
		[]file{{"a", "A"}, {"b", "BB"}, {"c", "CCC"}}},
	{"same name twice", `[{"filename":"a","content":"QQ=="},{"filename":"a","content":"Qg=="}]`, []file{{"a", "A"}, {"a", "B"}}},
	{"content first", `[{"content":"SGVsbG8=","filename":"a.txt"}]`, []file{{"a.txt", "Hello"}}},
	{"empty content and name", `[{"filename":"","content":""}]`, []file{{"", ""}}},
	{"white space everywhere", "\n[ { \"filename\" :\t\"a\" , \"content\"\r\n: \"QQ==\" } ,\n{\"content\":\"\" ,\"filename\":\"b\"\n}\n]\n",
		[]file{{"a", "A"}, {"b", ""}}},
	{"unknown members", `[{"x":{"filename":"no","y":[1,-2.5e+3,0,0.1,1E9,true,false,null,"\u0000\"]}",{},[]]},` +
		`"filename":"a","mime":"text/plain","content":"QQ==","size":1,"content2":null}]`, []file{{"a", "A"}}},
	{"member names are exact", `[{"FileName":1,"Content":2,"filename":"a","content":"QQ=="}]`, []file{{"a", "A"}}},
	{"member names escaped", `[{"\u0066ilename":"a","c\u006fntent":"QQ=="}]`, []file{{"a", "A"}}},
	{"escapes in a name", `[{"filename":"\"\\\/\b\f\n\r\t\u00e9\u00E9","content":""}]`, []file{{"\"\\/\b\f\n\r\té\u00e9", ""}}},
	{"surrogate pair", `[{"filename":"\ud83d\ude00","content":""}]`, []file{{"😀", ""}}},
	{"halves of pairs", `[{"filename":"\ud83d,\ude00\ud83d\u0041\ud83d\ud83d\ude00\ud83d","content":""}]`,
		[]file{{"\ufffd,\ufffd\ufffdA\ufffd😀\ufffd", ""}}},
	{"invalid UTF-8 in a name", "[{\"filename\":\"a\xff\xfe\xe2\x82z\",\"content\":\"\"}]", []file{{"a\ufffd\ufffd\ufffd\ufffdz", ""}}},
	{"UTF-8 in a name", `[{"filename":"naïve/日本.txt","content":""}]`, []file{{"naïve/日本.txt", ""}}},
	{"DEL in a name", "[{\"filename\":\"\x7f\",\"content\":\"\"}]", []file{{"\x7f", ""}}},
	{"slashes escaped", `[{"filename":"a","content":"\/\/\/\/+\/8="}]`, []file{{"a", "\xff\xff\xff\xfb\xff"}}},
	{"alphabet escaped", `[{"filename":"a","content":"\u0053\u0047\u0056s\u002b\u002F\u003d\u003D"}]`, []file{{"a", "Hel\xfb"}}},
	{"line breaks escaped", `[{"filename":"a","content":"SG\nVs\r\nbG8\u000a=\u000D\n"}]`, []file{{"a", "Hello"}}},
	{"only line breaks", `[{"filename":"a","content":"\r\n\r\n"}]`, []file{{"a", ""}}},
	{"padding broken", `[{"filename":"a","content":"QQ=\n=\n"}]`, []file{{"a", "A"}}},
	{"padding bits set", `[{"filename":"a","content":"QR=="}]`, []file{{"a", "A"}}},
	{"deepest member", `[{"x":` + strings.Repeat("[", 32) + strings.Repeat("]", 32) + `,"filename":"a","content":""}]`, []file{{"a", ""}}},
	{"longest name", `[{"filename":"` + strings.Repeat("n", 8<<10) + `","content":""}]`, []file{{strings.Repeat("n", 8<<10), ""}}},
	{"long content", `[{"filename":"a","content":"` + strings.Repeat("QUJD", 5000) + `"}]`, []file{{"a", strings.Repeat("ABC", 5000)}}},
}

var rejected = []struct {
	name string
	body string
	want string // part of the message
}{
	{"nothing", ``, "byte 0: the body ends too early"},
	{"white space", "\n ", "byte 2: the body ends too early"},
	{"too much white space", "[" + strings.Repeat(" ", 1<<20+1) + "]", "more than 1048576 bytes of white space"},
	{"null", `null`, "byte 1: a JSON array was expected"},
	{"object", `{"filename":"a","content":""}`, "a JSON array was expected"},
	{"string", `"[]"`, "a JSON array was expected"},
	{"byte order mark", "\ufeff[]", "a JSON array was expected"},
	{"garbage behind", `[] x`, "byte 4: something follows the array"},
	{"second array", `[][]`, "something follows the array"},
	{"NUL behind", "[]\x00", "something follows the array"},
	{"array open", `[`, "ends too early"},
	{"leading comma", `[,{"filename":"a","content":""}]`, "entry [0]: an object was expected"},
	{"trailing comma", `[{"filename":"a","content":""},]`, "byte 32, entry [0]: nothing follows the comma"},
	{"missing comma", `[{"filename":"a","content":""}{"filename":"b","content":""}]`, "a comma or ']' was expected"},
	{"entry is null", `[{"filename":"a","content":""},null]`, "entry [1]: an object was expected"},
	{"entry is an array", `[[]]`, "entry [0]: an object was expected"},
	{"wrong bracket", `[{"filename":"a","content":""]]`, "a comma or '}' was expected"},
	{"empty entry", `[{}]`, `entry [0]: the entry has no "content"`},
	{"no content", `[{"filename":"a"}]`, `the entry has no "content"`},
	{"no filename", `[{"filename":"a","content":""},{"content":"QQ=="}]`, `entry [1]: the entry has no "filename"`},
	{"content twice", `[{"content":"","content":"","filename":"a"}]`, `"content" comes twice`},
	{"filename twice", `[{"filename":"a","filename":"a","content":""}]`, `"filename" comes twice`},
	{"filename twice around the content", `[{"filename":"a","content":"","filename":"b"}]`, `"filename" comes twice`},
	{"filename twice, one escaped", `[{"filename":"a","content":"","\u0066ilename":"b"}]`, `"filename" comes twice`},
	{"content null", `[{"filename":"a","content":null}]`, `"content" must be a string`},
	{"content object", `[{"filename":"a","content":{}}]`, `"content" must be a string`},
	{"filename null", `[{"filename":null,"content":""}]`, `"filename" must be a string`},
	{"filename number", `[{"content":"","filename":1}]`, `"filename" must be a string`},
	{"member without quotes", `[{filename:"a"}]`, "the name of a member was expected"},
	{"member without colon", `[{"filename" "a"}]`, "a colon was expected"},
	{"member trailing comma", `[{"filename":"a","content":"",}]`, "nothing follows the comma"},
	{"member leading comma", `[{,"filename":"a","content":""}]`, "the name of a member was expected"},
	{"member missing comma", `[{"filename":"a" "content":""}]`, "a comma or '}' was expected"},
	{"comment", `[/**/]`, "an object was expected"},
	{"control character in a name", "[{\"filename\":\"a\nb\"}]", "control character"},
	{"control character in a member", "[{\"x\":\"a\x1fb\"}]", "control character"},
	{"control character in a member name", "[{\"a\x00\":1}]", "control character"},
	{"unknown escape", `[{"filename":"\a"}]`, "no such escape"},
	{"escaped quote of C", `[{"filename":"\'"}]`, "no such escape"},
	{"escape cut", `[{"filename":"\u12"}]`, "four hexadecimal digits"},
	{"escape without digits", `[{"filename":"\u00g0"}]`, "four hexadecimal digits"},
	{"escape with sign", `[{"filename":"\u+041"}]`, "four hexadecimal digits"},
	{"second escape without digits", `[{"filename":"\ud83d\u+e00"}]`, "four hexadecimal digits"},
	{"leading zero", `[{"x":01}]`, "a JSON value was expected"},
	{"minus alone", `[{"x":-}]`, "a JSON value was expected"},
	{"plus", `[{"x":+1}]`, "a JSON value was expected"},
	{"point without digits", `[{"x":1.}]`, "a JSON value was expected"},
	{"point first", `[{"x":.1}]`, "a JSON value was expected"},
	{"exponent without digits", `[{"x":1e}]`, "a JSON value was expected"},
	{"hexadecimal", `[{"x":0x10}]`, "a comma or '}' was expected"},
	{"not a number", `[{"x":NaN}]`, "a JSON value was expected"},
	{"misspelt literal", `[{"x":trues}]`, "a JSON value was expected"},
	{"capital literal", `[{"x":True}]`, "a JSON value was expected"},
	{"value missing", `[{"x":}]`, "a JSON value was expected"},
	{"nested trailing comma", `[{"x":[1,]}]`, "nothing follows the comma"},
	{"nested wrong bracket", `[{"x":[1}}]`, "a comma or ']' was expected"},
	{"nested member without name", `[{"x":{1:2}}]`, "the name of a member was expected"},
	{"too deep", `[{"x":` + strings.Repeat("[", 33) + strings.Repeat("]", 33) + `}]`, "deeper than 32"},
	{"deep and open", `[{"x":` + strings.Repeat(`{"x":`, 5000), "deeper than 32"},
	{"name too long", `[{"filename":"` + strings.Repeat("n", 8<<10+1) + `"}]`, "longer than 8192 bytes"},
	{"member name too long", `[{"` + strings.Repeat("n", 8<<10+1) + `":1}]`, "longer than 8192 bytes"},
	{"number too long", `[{"x":` + strings.Repeat("1", 8<<10+1) + `}]`, "a JSON value was expected"},
	{"member too large", `[{"x":"` + strings.Repeat("x", 1<<20) + `"}]`, "more than 1048576 bytes"},
	{"members too large together", `[{"x":[` + strings.Repeat(`"`+strings.Repeat("x", 1021)+`",`, 1025) + `1]}]`, "more than 1048576 bytes"},
	{"members too many", `[{` + strings.Repeat(`"":0,`, 1<<19), "more than 1048576 bytes"},
	{"data URL", `[{"filename":"a","content":"data:text/plain;base64,QQ=="}]`, "byte 33, entry [0]: the content is not base64"},
	{"URL alphabet", `[{"filename":"a","content":"QUJDQUJD-_-_"}]`, "byte 37, entry [0]: the content is not base64"},
	{"no padding", `[{"filename":"a","content":"QQ"}]`, "byte 31, entry [0]: the content is not base64"},
	{"half padding", `[{"filename":"a","content":"QQ="}]`, "not base64"},
	{"one character", `[{"filename":"a","content":"Q"}]`, "not base64"},
	{"only padding", `[{"filename":"a","content":"===="}]`, "not base64"},
	{"too much padding", `[{"filename":"a","content":"QQ==="}]`, "not base64"},
	{"padding twice", `[{"filename":"a","content":"QQ==QQ=="}]`, "not base64"},
	{"more behind padding", `[{"filename":"a","content":"QQ==\nQUJD"}]`, "byte 35, entry [0]: the content is not base64"},
	{"little behind padding", `[{"filename":"a","content":"QQ==\nQ"}]`, "not base64"},
	{"space in base64", `[{"filename":"a","content":"QQ =="}]`, "not base64"},
	{"letter escaped wrongly", `[{"filename":"a","content":"QQ\u00e9="}]`, "not base64"},
	{"line break not escaped", "[{\"filename\":\"a\",\"content\":\"QQ=\n=\"}]", "not base64"},
	{"four line breaks not escaped", "[{\"filename\":\"a\",\"content\":\"QUJD\n\r\n\r\"}]", "not base64"},
	{"line breaks behind padding not escaped", "[{\"filename\":\"a\",\"content\":\"QUI=\n\n\n\n\"}]", "not base64"},
	{"line break at the end not escaped", "[{\"filename\":\"a\",\"content\":\"QQ==\n\"}]", "not base64"},
	{"control character in base64", "[{\"filename\":\"a\",\"content\":\"QQ\x00=\"}]", "not base64"},
	{"unknown escape in base64", `[{"filename":"a","content":"QQ\x"}]`, "no such escape"},
}

func TestAccepted(t *testing.T) {
	t.Parallel()
	for _, tt := range accepted {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			got, err := read(strings.NewReader(tt.body))
			if err != nil || !slices.Equal(got, tt.want) {
				t.Errorf("got %q, %v; want %q", got, err, tt.want)
			}
		})
	}
}

func TestRejected(t *testing.T) {
	t.Parallel()
	for _, tt := range rejected {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			got, err := read(strings.NewReader(tt.body))
			if store.CodeOf(err) != store.CodeInvalid || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %q, %v; want an error with %q", got, err, tt.want)
			}
		})
	}
}

// TestChunks reads every body in pieces of every kind: where a read ends
// makes no difference.
func TestChunks(t *testing.T) {
	t.Parallel()
	check := func(t *testing.T, how string, body io.Reader, want []file) {
		t.Helper()
		got, err := read(body)
		if want == nil && err == nil || want != nil && (err != nil || !slices.Equal(got, want)) {
			t.Fatalf("%s: got %q, %v; want %q", how, got, err, want)
		}
	}
	chunks := func(body string, want []file) func(*testing.T) {
		return func(t *testing.T) {
			t.Parallel()
			if len(body) > 32<<10 {
				return // megabytes that are skipped; the smaller ones show the same
			}
			check(t, "bytes", iotest.OneByteReader(strings.NewReader(body)), want)
			check(t, "halves", iotest.HalfReader(strings.NewReader(body)), want)
			check(t, "end with the data", iotest.DataErrReader(strings.NewReader(body)), want)
			for i := range min(len(body), 200) {
				parts := io.MultiReader(strings.NewReader(body[:i]), strings.NewReader(body[i:]))
				check(t, fmt.Sprintf("split at %d", i), parts, want)
			}
		}
	}
	for _, tt := range accepted {
		t.Run("accepted/"+tt.name, chunks(tt.body, tt.want))
	}
	for _, tt := range rejected {
		t.Run("rejected/"+tt.name, chunks(tt.body, nil))
	}
}

// TestContentReader reads a content in reads of every kind.
func TestContentReader(t *testing.T) {
	t.Parallel()
	for _, size := range []int{0, 1, 2, 3, 4, 3071, 3072, 3073, 49151, 49152, 49153, 200000} {
		for _, edit := range []func(string) string{unchanged, slashes, lines} {
			want := content(size)
			r := jsonupload.New(bytes.NewReader(bodyOf(want, edit)), limits)
			defer r.Close()
			entry, err := r.Next()
			if err != nil {
				t.Fatal(err)
			}
			if err := iotest.TestReader(entry, want); err != nil {
				t.Errorf("%d bytes: %v", size, err)
			}
			if name, err := entry.Finish(); name != "file.bin" || err != nil {
				t.Errorf("%d bytes: Finish: got %q, %v; want file.bin", size, name, err)
			}
		}
	}
}

// TestCut ends and breaks a body behind each of its bytes.
func TestCut(t *testing.T) {
	t.Parallel()
	const body = `[{"x":[1,"\u0041",true],"filename":"\ud83d\ude00","content":"SGVs\nbG8="},` +
		`{"content":"SGVs","y":{"z":-1.5e3},"filename":"b"}]`
	broken := &store.Error{Code: store.CodeTimeout, Message: "The client stopped sending."}
	for i := range len(body) {
		_, err := read(strings.NewReader(body[:i]))
		if store.CodeOf(err) != store.CodeInvalid {
			t.Errorf("ended at %d: got %v, want an error of code invalid", i, err)
		}
		_, err = read(io.MultiReader(strings.NewReader(body[:i]), iotest.ErrReader(broken)))
		if !errors.Is(err, broken) || store.CodeOf(err) != store.CodeTimeout {
			t.Errorf("broken at %d: got %v, want %v in the chain", i, err, broken)
		}
	}
	_, err := read(io.MultiReader(strings.NewReader(body), iotest.ErrReader(broken)))
	if !errors.Is(err, broken) {
		t.Errorf("broken behind the array: got %v, want %v in the chain", err, broken)
	}
}

func TestTooManyEntries(t *testing.T) {
	t.Parallel()
	one := `{"filename":"a","content":""}`
	if _, err := read(strings.NewReader(`[` + strings.Repeat(one+`,`, 999) + one + `]`)); err != nil {
		t.Errorf("1000 entries: got %v", err)
	}
	_, err := read(strings.NewReader(`[` + strings.Repeat(one+`,`, 1000) + one + `]`))
	if store.CodeOf(err) != store.CodeTooLarge {
		t.Errorf("1001 entries: got %v, want an error of code too_large", err)
	}
}

// TestOrder calls the methods in every wrong order.
func TestOrder(t *testing.T) {
	t.Parallel()
	const body = `[{"filename":"a","content":"QUJD"},{"filename":"b","content":"QUJD"}]`
	r := jsonupload.New(strings.NewReader(body), limits)
	entry, err := r.Next()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.Next(); err == nil || err == io.EOF {
		t.Errorf("Next before Finish: got %v, want an error", err)
	}
	if name, err := entry.Finish(); name != "a" || err != nil {
		t.Errorf("Finish before the content was read: got %q, %v; want a", name, err)
	}
	if _, err := entry.Finish(); err == nil {
		t.Error("second Finish: got no error")
	}
	second, err := r.Next()
	if err != nil {
		t.Fatal(err)
	}
	if n, err := entry.Read(make([]byte, 10)); n != 0 || err != io.EOF {
		t.Errorf("Read of a finished entry: got %d, %v; want 0, EOF", n, err)
	}
	if got, err := io.ReadAll(second); string(got) != "ABC" || err != nil {
		t.Errorf("second entry: got %q, %v; want ABC", got, err)
	}
	if _, err := second.Finish(); err != nil {
		t.Errorf("Finish: got %v", err)
	}
	for range 2 {
		if _, err := r.Next(); err != io.EOF {
			t.Errorf("Next at the end: got %v, want EOF", err)
		}
	}
	r.Close()
	r.Close()
	if _, err := r.Next(); err == nil || err == io.EOF {
		t.Errorf("Next after Close: got %v, want an error", err)
	}
}

func TestCloseWithinContent(t *testing.T) {
	t.Parallel()
	r := jsonupload.New(bytes.NewReader(bodyOf(content(100000), unchanged)), limits)
	entry, err := r.Next()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := entry.Read(make([]byte, 10)); err != nil {
		t.Fatal(err)
	}
	r.Close()
	if got, err := io.ReadAll(entry); err == nil {
		t.Errorf("Read after Close: got %d bytes and no error", len(got))
	}
	if _, err := entry.Finish(); err == nil {
		t.Error("Finish after Close: got no error")
	}
}

// TestErrorStays sees that the error of a content comes from Read, and that
// nothing is read after it.
func TestErrorStays(t *testing.T) {
	t.Parallel()
	for _, text := range []string{"!!!!", "QUJDQ", "QUJD!!!!", "QUI=QUJD", `QUJD\u`, "QUJD\n"} {
		t.Run(text, func(t *testing.T) {
			t.Parallel()
			body := strings.NewReader(`[{"filename":"a","content":"` + text + `"}]`)
			r := jsonupload.New(iotest.OneByteReader(body), limits)
			defer r.Close()
			entry, err := r.Next()
			if err != nil {
				t.Fatal(err)
			}
			_, first := io.ReadAll(entry)
			_, again := io.ReadAll(entry)
			_, finish := entry.Finish()
			_, next := r.Next()
			if first == nil || again != first || finish != first || next != first {
				t.Errorf("got %v, %v, %v, %v; want the same error", first, again, finish, next)
			}
		})
	}
}

// TestFinishVerifies sees that a content that is not read is still checked.
func TestFinishVerifies(t *testing.T) {
	t.Parallel()
	r := jsonupload.New(strings.NewReader(`[{"content":"QUJD!","filename":"a"}]`), limits)
	defer r.Close()
	entry, err := r.Next()
	if err != nil {
		t.Fatal(err)
	}
	if name, err := entry.Finish(); store.CodeOf(err) != store.CodeInvalid {
		t.Errorf("got %q, %v; want an error of code invalid", name, err)
	}
}

// TestNoWaiting sees that what arrived can be read before more arrives.
func TestNoWaiting(t *testing.T) {
	t.Parallel()
	body, client := io.Pipe()
	defer client.Close()
	go client.Write([]byte(`[{"filename":"a","content":"QUJDRA`)) //nolint:errcheck // seen by the reader
	r := jsonupload.New(body, limits)
	defer r.Close()
	entry, err := r.Next()
	if err != nil {
		t.Fatal(err)
	}
	p := make([]byte, 1000)
	if n, err := entry.Read(p); string(p[:n]) != "ABC" || err != nil {
		t.Errorf("got %q, %v; want ABC", p[:n], err)
	}
}

// TestMemory reads a content of 256 MiB. It does not run in parallel, as it
// measures the process.
func TestMemory(t *testing.T) {
	const quanta = 256 << 20 / 3
	body := io.MultiReader(
		strings.NewReader(`[{"filename":"a","content":"`),
		io.LimitReader(repeater(bytes.Repeat([]byte("QUJD"), 16<<10)), quanta*4),
		strings.NewReader(`"}]`))
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)

	r := jsonupload.New(body, limits)
	entry, err := r.Next()
	if err != nil {
		t.Fatal(err)
	}
	n, err := io.CopyBuffer(struct{ io.Writer }{io.Discard}, entry, make([]byte, 64<<10))
	if n != quanta*3 || err != nil {
		t.Errorf("got %d bytes, %v; want %d", n, err, quanta*3)
	}
	if _, err := entry.Finish(); err != nil {
		t.Errorf("Finish: %v", err)
	}
	r.Close()

	runtime.ReadMemStats(&after)
	if got := after.TotalAlloc - before.TotalAlloc; got > 1<<20 {
		t.Errorf("got %d bytes allocated, want less than 1 MiB", got)
	}
}

// repeater reads as itself again and again. Each read begins anew, so it is
// cut to whole quanta of base64.
type repeater []byte

func (r repeater) Read(p []byte) (int, error) {
	return copy(p[:len(p)&^3], r), nil
}
