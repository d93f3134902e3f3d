package transport_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"upload-service/handlers/transport"
	"upload-service/store"
)

// The defects of fasthttp with streamed bodies that docs/adr/0001 lists, each
// over a raw socket.

func TestDefect01_UnreadBodyIsNeverARequest(t *testing.T) {
	t.Parallel()
	over := strings.Repeat("x", 8<<10) // more than fasthttp reads ahead
	huge := strings.Repeat("x", 64<<10)
	for _, test := range []struct {
		name, head, body string
		status           int
		kept             bool
	}{
		{"small", put("/unread", length(len(pwned))), pwned, 200, true},
		{"beyond what is read ahead", put("/unread", length(len(over+pwned))), over + pwned, 200, true},
		{"beyond what is drained", put("/unread", length(len(over+huge+pwned))), over + huge + pwned, 200, false},
		{"chunked", put("/unread", chunked), chunks(pwned), 200, true},
		{"chunked beyond what is drained", put("/unread", chunked), chunks(huge + pwned), 200, false},
		{"chunked, broken", put("/unread", chunked), "zz\r\n" + pwned, 200, false},
		{"refused", put("/unread", "Authorization: none", length(len(over+pwned))), over + pwned, 401, true},
		{"no such route", put("/nowhere", length(len(over+pwned))), over + pwned, 404, true},
		{"panic", put("/unread", "Panic: 1", length(len(over+pwned))), over + pwned, 500, false},
		{"unknown method", "BREW /unread HTTP/1.1\r\nHost: h\r\nContent-Length: 9000\r\n\r\n", over + pwned, 405, false},
		{"body that never comes", put("/unread", length(9000)), over, 200, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			w := start(t, patient())
			c := w.dial()
			c.send(test.head + test.body)
			r := c.want(test.status)
			if r.closes == test.kept {
				t.Errorf("closes %v, want %v", r.closes, !test.kept)
			}
			if test.kept {
				c.wantAlive()
			} else {
				c.wantEnd()
			}
			if n := w.pwned.Load(); n != 0 {
				t.Errorf("the body was taken for %d requests", n)
			}
		})
	}
}

func TestDefect02_ShortBodyIsNoUpload(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name   string
		length int
		sent   int
		seen   bool // by the handler
	}{
		{"large", 20_000, 9_000, true},
		{"by one byte", 20_000, 19_999, true},
		{"nothing behind what is read ahead", 20_000, 8 << 10, true},
		{"shorter than what is read ahead", 20_000, 5, false},
		{"small", 100, 99, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			w := start(t, patient())
			c := w.dial()
			c.send(put("/sink", length(test.length)) + strings.Repeat("x", test.sent))
			c.endSending()
			c.want(400)
			c.wantEnd()
			wantNotStored(t, w)
			if test.seen {
				wantFailure(t, w, store.CodeTruncated)
			}
		})
	}
}

func TestDefect03_ShortChunksAreNoUpload(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ name, body string }{
		{"nothing", ""},
		{"in a size", "1"},
		{"behind a size", "10\r\n"},
		{"in a chunk", "10\r\nhalf"},
		{"behind a chunk", "4\r\nfull"},
		{"behind a chunk's CRLF", "4\r\nfull\r\n"},
		{"in the last size", "4\r\nfull\r\n0"},
		{"without the final CRLF", "4\r\nfull\r\n0\r\n"},
		{"in the final CRLF", "4\r\nfull\r\n0\r\n\r"},
		{"in a trailer", "4\r\nfull\r\n0\r\nX-A: b\r\n"},
	} {
		for _, secure := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/tls=%v", test.name, secure), func(t *testing.T) {
				t.Parallel()
				w, c := startSecure(t, patient(), secure)
				c.send(put("/sink", chunked) + test.body)
				c.endSending()
				c.want(400)
				c.wantEnd()
				wantNotStored(t, w)
				wantFailure(t, w, store.CodeTruncated)
			})
		}
	}
}

func TestDefect04_EndOfBodyIsFinal(t *testing.T) {
	t.Parallel()
	w := start(t, patient())
	c := w.dial()
	c.send(put("/again", chunked) + "4\r\nfull\r\n0\r\n\r\n" + "4\r\nEVIL\r\n0\r\n\r\n")
	c.want(200, "<nil> 0 EOF")
	c.want(400) // EVIL is no request line
	c.wantEnd()

	c = w.dial()
	c.send(put("/again", chunked) + "4\r\nfull\r\n0\r\n\r\n")
	c.want(200, "<nil> 0 EOF") // and did not wait for another chunk
	c.wantAlive()
}

func TestDefect05_LimitWithPipelinedRequestsCrashesNothing(t *testing.T) {
	t.Parallel()
	w := start(t, patient())
	c := w.dial()
	c.send(put("/sink", "Limit: 100", chunked) + chunks(strings.Repeat("x", 200)))
	c.send(strings.Repeat(pwned, 8))
	c.want(413)
	c.wantEnd()
	if n := w.pwned.Load(); n != 0 {
		t.Errorf("%d requests were answered behind the end", n)
	}
	c = w.dial()
	c.send(put("/unread", length(200)) + strings.Repeat("x", 200) + strings.Repeat(pwned, 8))
	c.want(200)
	for range 8 {
		c.want(200, "pwned")
	}
	c.wantAlive()
}

func TestDefect06_LimitHoldsForStreams(t *testing.T) {
	t.Parallel()
	body := strings.Repeat("x", 20_001)
	for _, test := range []struct {
		name, fields, body string
		status             int
	}{
		{"declared too much", length(20_001), body, 413},
		{"declared the limit", length(20_000), body[1:], 200},
		{"chunked too much", chunked, chunks(body), 413},
		{"chunked the limit", chunked, chunks(body[1:]), 200},
		{"chunked without end", chunked, "ffffffff\r\n" + body, 413},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			w := start(t, patient())
			c := w.dial()
			c.send(put("/sink", "Limit: 20000", test.fields) + test.body)
			r := c.want(test.status)
			if test.status == 200 {
				c.wantAlive()
				return
			}
			wantNotStored(t, w)
			if test.fields == chunked && !strings.Contains(r.body, "20000") {
				t.Errorf("got %q, want the limit in it", r.body)
			}
		})
	}
}

func TestDefect07_RefusedExpectationEndsTheConnection(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name, fields string
		status       int
	}{
		{"not known", "Authorization: none\r\n" + length(9000), 401},
		{"not known, chunked", "Authorization: none\r\n" + chunked, 401},
		{"too large", "Limit: 100\r\n" + length(9000), 413},
		{"panic", "Panic: 1\r\n" + length(9000), 500},
		{"both lengths", length(9000) + "\r\n" + chunked, 400},
	} {
		for _, late := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/late=%v", test.name, late), func(t *testing.T) {
				t.Parallel()
				w := start(t, patient())
				c := w.dial()
				head, rest := put("/sink", "Expect: 100-continue", test.fields), strings.Repeat(pwned, 200)
				if !late {
					head += rest
				}
				c.send(head)
				if r := c.want(test.status); !r.closes {
					t.Error("the answer does not say that the connection ends")
				}
				if late {
					io.WriteString(c, rest) //nolint:errcheck // may fail: the connection ends
				}
				c.wantEnd()
				wantNotStored(t, w)
				if n := w.pwned.Load(); n != 0 {
					t.Errorf("%d requests were answered behind the refusal", n)
				}
			})
		}
	}
}

func TestDefect08_AmbiguousFramingIsRefused(t *testing.T) {
	t.Parallel()
	head := func(fields ...string) string { return put("/sink", fields...) }
	for _, test := range []struct{ name, request string }{
		{"two lengths", head(length(5), length(6))},
		{"the same length twice", head(length(5), length(5))},
		{"list of lengths", head("Content-Length: 5, 5")},
		{"no length", head("Content-Length:")},
		{"signed length", head("Content-Length: +5")},
		{"negative length", head("Content-Length: -5")},
		{"hexadecimal length", head("Content-Length: 0x5")},
		{"length with a space", head("Content-Length: 5 5")},
		{"length beyond 63 bits", head("Content-Length: 9223372036854775813")},
		{"length beyond 64 bits", head("Content-Length: 18446744073709551621")},
		{"length and chunked", head(length(5), chunked)},
		{"chunked and length", head(chunked, length(5))},
		{"length and identity", head(length(5), "Transfer-Encoding: identity")},
		{"identity", head("Transfer-Encoding: identity")},
		{"gzip", head("Transfer-Encoding: gzip")},
		{"gzip, chunked", head("Transfer-Encoding: gzip, chunked")},
		{"chunked, gzip", head("Transfer-Encoding: chunked, gzip")},
		{"xchunked", head("Transfer-Encoding: xchunked")},
		{"no coding", head("Transfer-Encoding:")},
		{"chunked twice", head(chunked, chunked)},
		{"chunked and identity", head(chunked, "Transfer-Encoding: identity")},
		{"chunked with a tab inside", head("Transfer-Encoding: chun\tked")},
		{"chunked in HTTP/1.0", "PUT /sink HTTP/1.0\r\nHost: h\r\n" + chunked + "\r\n\r\n"},
		{"bare LF", "PUT /sink HTTP/1.1\nHost: h\nContent-Length: 5\n\n"},
		{"bare LF in the header", "PUT /sink HTTP/1.1\r\nHost: h\nContent-Length: 5\r\n\r\n"},
		{"bare LF at its end", "PUT /sink HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\n"},
		{"space before the colon", head("Content-Length : 5")},
		{"folded field", head("Transfer-Encoding:\r\n chunked")},
		{"folded by a tab", head("Content-Length:\r\n\t5")},
		{"folded name", head("X: y\r\n Transfer-Encoding: chunked\r\nTransfer-Encoding : chunked")},
		{"field begins with a space", "PUT /sink HTTP/1.1\r\n Content-Length: 5\r\nHost: h\r\n\r\n"},
		{"NUL in a field", head("X: a\x00b")},
		{"CR in a field", head("X: a\rContent-Length: 5")},
		{"no name", head(": x")},
		{"no Host", "PUT /sink HTTP/1.1\r\nContent-Length: 5\r\n\r\n"},
		{"two Hosts", head("Host: other")},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			w := start(t, patient())
			c := w.dial()
			c.send(test.request + chunks("hello") + pwned)
			c.want(400)
			c.wantEnd()
			wantNotStored(t, w)
			if w.pwned.Load() != 0 {
				t.Error("what came behind was answered")
			}
		})
	}
}

func TestDefect08_BrokenChunksAreRefused(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ name, body string }{
		{"no size", "\r\nhello\r\n0\r\n\r\n"},
		{"no hexadecimal", "g\r\nhello\r\n0\r\n\r\n"},
		{"prefix", "0x5\r\nhello\r\n0\r\n\r\n"},
		{"sign", "-5\r\nhello\r\n0\r\n\r\n"},
		{"beyond 64 bits", "10000000000000005\r\nhello\r\n0\r\n\r\n"},
		{"bare LF", "5\nhello\n0\n\n"},
		{"LF in an extension", "5;a\nhello\r\n0\r\n\r\n"},
		{"longer than its size", "5\r\nhello!\r\n0\r\n\r\n"},
		{"length in the trailer", "5\r\nhello\r\n0\r\nContent-Length: 9\r\n\r\n"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			w := start(t, patient())
			c := w.dial()
			c.send(put("/sink", chunked) + test.body + pwned)
			c.want(400)
			c.wantEnd()
			wantNotStored(t, w)
			wantFailure(t, w, store.CodeInvalid)
			if w.pwned.Load() != 0 {
				t.Error("what came behind was answered")
			}
		})
	}
}

func TestDefect09_ReplacedFileIsServedFresh(t *testing.T) {
	t.Parallel()
	w := start(t, patient())
	c := w.dial()
	get := func(status int, body string) {
		t.Helper()
		c.send("GET /file/a HTTP/1.1\r\nHost: h\r\n\r\n")
		c.want(status, body)
	}
	name := filepath.Join(w.dir, "a")
	for _, content := range []string{"old", "new"} {
		if err := os.WriteFile(name+"~", []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(name+"~", name); err != nil {
			t.Fatal(err)
		}
		get(200, content)
	}
	if err := os.Remove(name); err != nil {
		t.Fatal(err)
	}
	get(404, "")
}

func TestDefect10_ShutdownCutsWhatIsLeft(t *testing.T) {
	t.Parallel()
	w := start(t, patient())
	upload, idle := w.dial(), w.dial()
	idle.wantAlive()
	upload.send(put("/sink", length(20_000)) + strings.Repeat("x", 10_000))
	soon(t, "the upload runs", func() bool { return w.srv.Running() == 1 })

	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	began := time.Now()
	err := w.srv.Shutdown(ctx)
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v, want %v", err, context.DeadlineExceeded)
	}
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("took %v", took)
	}
	// The handler has ended, and not with success.
	select {
	case err := <-w.failures:
		if got := store.CodeOf(err); got != store.CodeTruncated {
			t.Errorf("the handler got %v, want %v", got, store.CodeTruncated)
		}
	default:
		t.Error("the handler still runs")
	}
	wantNotStored(t, w)
	upload.wantEnd()
	idle.wantEnd()
	if n := w.srv.Running(); n != 0 {
		t.Errorf("%d requests run, want 0", n)
	}
}

func startSecure(t *testing.T, cfg transport.Config, secure bool) (*world, *client) {
	t.Helper()
	if !secure {
		w := start(t, cfg)
		return w, w.dial()
	}
	w := startOn(t, cfg, "127.0.0.1:0", certificate(t))
	return w, w.overTLS()
}

func wantNotStored(t *testing.T, w *world) {
	t.Helper()
	if n := w.stored.Load(); n != 0 {
		t.Errorf("%d bodies were stored, want none", n)
	}
}

func wantFailure(t *testing.T, w *world, code store.Code) {
	t.Helper()
	select {
	case err := <-w.failures:
		if got := store.CodeOf(err); got != code {
			t.Errorf("reading the body: got %q (%v), want %q", got, err, code)
		}
		if errors.Is(err, io.EOF) {
			t.Errorf("the error %v passes for the end of the body", err)
		}
	default:
		t.Error("the handler did not see the body")
	}
}
