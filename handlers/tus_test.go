package handlers_test

import (
	"bufio"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"fmt"
	"hash/crc32"
	"io"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"upload-service/handlers"
	"upload-service/store"
)

// tus speaks the protocol as alice.
type tus struct{ *world }

func (w tus) do(method, path string, body io.Reader, headers ...string) answer {
	w.t.Helper()
	return w.as("alice", method, path, body, append([]string{"Tus-Resumable", "1.0.0"}, headers...)...)
}

// wants makes a request, and fails unless it gets the status and, as every
// answer has to, the version.
func (w tus) wants(status int, method, path string, body io.Reader, headers ...string) answer {
	w.t.Helper()
	a := w.do(method, path, body, headers...)
	if a.status != status {
		w.t.Fatalf("%s %s %q: got %d, want %d: %s", method, path, headers, a.status, status, a.body)
	}
	if v := a.header.Get("Tus-Resumable"); v != "1.0.0" {
		w.t.Fatalf("%s %s: Tus-Resumable is %q", method, path, v)
	}
	return a
}

func (w tus) create(headers ...string) string {
	w.t.Helper()
	return w.wants(201, "POST", "/tus/", nil, headers...).header.Get("Location")
}

func (w tus) patch(status int, url string, offset int, content string, headers ...string) answer {
	w.t.Helper()
	return w.wants(status, "PATCH", url, strings.NewReader(content), append([]string{
		"Upload-Offset", strconv.Itoa(offset), "Content-Type", "application/offset+octet-stream",
	}, headers...)...)
}

func (w tus) wantOffset(url string, want int) answer {
	w.t.Helper()
	a := w.wants(200, "HEAD", url, nil)
	if got := a.header.Get("Upload-Offset"); got != strconv.Itoa(want) {
		w.t.Fatalf("the offset is %q, want %d", got, want)
	}
	return a
}

func (w tus) wantContent(url, want string) {
	w.t.Helper()
	if got := w.do("GET", url, nil); got.status != 200 || got.body != want {
		w.t.Fatalf("GET %s: %d %q, want %q", url, got.status, got.body, want)
	}
}

// wire is a connection of a test's own, and the request that it begins with.
type wire struct {
	net.Conn
	t   testing.TB
	req *http.Request
}

// raw sends bytes as they are, and leaves the connection open.
func (w *world) raw(text string) wire {
	w.t.Helper()
	text = strings.ReplaceAll(text, "\n", "\r\n")
	req, err := http.ReadRequest(bufio.NewReader(strings.NewReader(text)))
	if err != nil {
		w.t.Fatal(err)
	}
	req.URL.Scheme, req.URL.Host = "http", req.Host
	c := w.dial()
	if _, err := io.WriteString(c, text); err != nil {
		w.t.Fatal(err)
	}
	return wire{c, w.t, req}
}

// answer reads the answers to the request: interim ones, which tell where an
// upload goes on, and the final one, which has to be documented.
func (c wire) answer() (final answer, interim []http.Header) {
	c.t.Helper()
	r := bufio.NewReader(c)
	for {
		res, err := http.ReadResponse(r, c.req)
		if err != nil {
			c.t.Errorf("%s %s: no answer: %v", c.req.Method, c.req.URL.Path, err)
			return final, interim
		}
		if res.StatusCode == 104 {
			interim = append(interim, res.Header)
		}
		if res.StatusCode < 200 {
			continue
		}
		body, err := io.ReadAll(res.Body)
		if err != nil {
			c.t.Errorf("%s %s: %v", c.req.Method, c.req.URL.Path, err)
		}
		documented(c.t).check(c.t, c.req, res, body)
		return answer{res.StatusCode, res.Header, string(body)}, interim
	}
}

func b64(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }

func TestTus(t *testing.T) {
	t.Parallel()
	w := tus{newWorld(t, setup{limits: store.Limits{FileSize: 10_000}, http: func(c *handlers.Config) {
		c.CORSOrigins = []string{"https://app.example"}
	}})}
	run := func(name string, fn func(t *testing.T, w tus)) {
		t.Run(name, func(t *testing.T) {
			own := *w.world
			own.t = t
			fn(t, tus{&own})
		})
	}
	run("C1 version on every answer but its request may lack it on OPTIONS", func(t *testing.T, w tus) {
		a := w.as("anonymous", "OPTIONS", "/tus/", nil, "Tus-Resumable", "0.1")
		if a.status != 204 || a.header.Get("Tus-Resumable") != "1.0.0" {
			t.Errorf("got %d %v", a.status, a.header)
		}
		if a := w.as("anonymous", "POST", "/tus/", nil); a.header.Get("Tus-Resumable") != "1.0.0" {
			t.Errorf("an error lacks the version: %v", a.header)
		}
	})
	run("C2 other versions are refused unread", func(t *testing.T, w tus) {
		for _, version := range []string{"0.2.2", "2.0.0", "1.0", ""} {
			a := w.as("alice", "POST", "/tus/", nil, "Tus-Resumable", version, "Upload-Length", "1")
			if a.status != 412 || a.header.Get("Tus-Version") != "1.0.0" || a.header.Get("Location") != "" {
				t.Errorf("%q: got %d %v", version, a.status, a.header)
			}
		}
		url := w.create("Upload-Length", "1")
		if a := w.as("alice", "HEAD", url, nil); a.status != 200 {
			t.Errorf("a visit without a version: %d", a.status)
		}
		if a := w.as("alice", "HEAD", url, nil, "Tus-Resumable", "2.0.0"); a.status != 412 {
			t.Errorf("HEAD with another version: %d", a.status)
		}
	})
	run("C3 OPTIONS tells what there is", func(t *testing.T, w tus) {
		a := w.as("anonymous", "OPTIONS", "/tus/", nil)
		for name, want := range map[string]string{
			"Tus-Version": "1.0.0", "Tus-Max-Size": "10000", "Tus-Checksum-Algorithm": "sha1,sha256,sha512,crc32",
			"Tus-Extension": "creation,creation-with-upload,creation-defer-length,expiration,checksum,checksum-trailer,termination,concatenation",
		} {
			if got := a.header.Get(name); got != want {
				t.Errorf("%s is %q, want %q", name, got, want)
			}
		}
	})
	run("C4 numbers are digits", func(t *testing.T, w tus) {
		url := w.create("Upload-Length", "10")
		for _, bad := range []string{"-1", "1.5", "0x10", "1e3", "+1", " ", "9223372036854775808", "1 "} {
			if strings.TrimSpace(bad) != "1" {
				w.wants(400, "POST", "/tus/", nil, "Upload-Length", bad)
				w.wants(400, "PATCH", url, nil, "Upload-Offset", bad, "Content-Type", "application/offset+octet-stream")
			}
		}
		for _, name := range []string{"Upload-Offset", "Upload-Length"} { // one number, once
			c := w.raw(fmt.Sprintf("PATCH %s HTTP/1.1\nHost: h\nAuthorization: Bearer %s\nTus-Resumable: 1.0.0\n%s: 0\n%s: 1\n"+
				"Upload-Offset: 0\nContent-Type: application/offset+octet-stream\nContent-Length: 1\n\nx", url, w.keys["alice"], name, name))
			if res, err := http.ReadResponse(bufio.NewReader(c), nil); err != nil || res.StatusCode != 400 {
				t.Errorf("%s twice: %v, %v", name, res, err)
			}
		}
		w.wantOffset(url, 0)
	})
	run("C5 HEAD", func(t *testing.T, w tus) {
		url := w.create("Upload-Length", "3", "Upload-Metadata", "filename "+b64("ä.txt")+",empty")
		a := w.wantOffset(url, 0)
		if a.header.Get("Upload-Length") != "3" || a.header.Get("Cache-Control") != "no-store" ||
			a.header.Get("Upload-Metadata") != "filename "+b64("ä.txt")+",empty" {
			t.Errorf("got %v", a.header)
		}
		w.patch(204, url, 0, "abc")
		if a := w.wantOffset(url, 3); a.header.Get("Upload-Length") != "3" || a.header.Get("Upload-Token") == "" {
			t.Errorf("got %v", a.header)
		}
	})
	run("C6 HEAD of what is not there", func(t *testing.T, w tus) {
		for _, url := range []string{"/tus/x", "/tus/00000000-0000-4000-8000-000000000000"} {
			if a := w.wants(404, "HEAD", url, nil); a.header.Get("Upload-Offset") != "" {
				t.Errorf("%s has an offset", url)
			}
		}
	})
	run("C7 the type of PATCH", func(t *testing.T, w tus) {
		url := w.create("Upload-Length", "3")
		for _, kind := range []string{"", "application/octet-stream", "text/plain"} {
			w.wants(415, "PATCH", url, strings.NewReader("abc"), "Upload-Offset", "0", "Content-Type", kind)
		}
		w.patch(415, url, 0, "abc", "Content-Encoding", "gzip")
		w.wantOffset(url, 0)
	})
	run("C8 another offset changes nothing", func(t *testing.T, w tus) {
		url := w.create("Upload-Length", "6")
		w.patch(204, url, 0, "abc")
		for _, offset := range []int{0, 2, 4} {
			if a := w.patch(409, url, offset, "xyz"); a.header.Get("Upload-Offset") != "3" {
				t.Errorf("offset %d: %v", offset, a.header)
			}
		}
		w.patch(204, url, 3, "def")
		w.wantContent(url, "abcdef")
		w.patch(409, url, 6, "more")
	})
	run("C9 PATCH", func(t *testing.T, w tus) {
		url := w.create("Upload-Length", "6")
		w.patch(204, url, 0, "")
		for i, s := range []string{"a", "b", "c", "d", "e", "f"} {
			if a := w.patch(204, url, i, s); a.header.Get("Upload-Offset") != strconv.Itoa(i+1) {
				t.Errorf("after %d: %v", i, a.header)
			}
		}
		w.patch(204, url, 6, "")
		w.wantContent(url, "abcdef")
		w.wants(400, "PATCH", url, nil, "Content-Type", "application/offset+octet-stream")
	})
	run("C10 what came before a cut is kept", func(t *testing.T, w tus) {
		w.patch(404, "/tus/00000000-0000-4000-8000-000000000000", 0, "x")
		url := w.create("Upload-Length", "9000")
		c := w.raw(fmt.Sprintf("PATCH %s HTTP/1.1\nHost: h\nAuthorization: Bearer %s\nTus-Resumable: 1.0.0\nUpload-Offset: 0\n"+
			"Content-Type: application/offset+octet-stream\nContent-Length: 9000\n\n", url, w.keys["alice"]) + strings.Repeat("x", 8500))
		c.Conn.(*net.TCPConn).CloseWrite() //nolint:errcheck // the answer tells
		eventually(t, "the bytes are kept", func() bool { return w.do("HEAD", url, nil).header.Get("Upload-Offset") == "8500" })
		w.patch(204, url, 8500, strings.Repeat("x", 500))
		w.wantContent(url, strings.Repeat("x", 9000))
	})
	run("C11 method override on POST only", func(t *testing.T, w tus) {
		url := w.create("Upload-Length", "3")
		override := func(method string, headers ...string) []string {
			return append([]string{"X-HTTP-Method-Override", method}, headers...)
		}
		w.wants(204, "POST", url, strings.NewReader("abc"), override("PATCH", "Upload-Offset", "0", "Content-Type", "application/offset+octet-stream")...)
		if a := w.wants(200, "POST", url, nil, override("HEAD")...); a.header.Get("Upload-Offset") != "3" {
			t.Errorf("got %v", a.header)
		}
		w.wants(200, "GET", url, nil, override("DELETE")...)
		w.wants(204, "POST", url, nil, override("DELETE")...)
		w.wants(410, "HEAD", url, nil)
		w.wants(405, "POST", url, nil)
		// The length that the last piece brings counts here too.
		url = w.create("Upload-Defer-Length", "1")
		a := w.wants(204, "POST", url, strings.NewReader("abc"), override("PATCH", "Upload-Offset", "0", "Upload-Length", "3",
			"Content-Type", "application/offset+octet-stream")...)
		if a.header.Get("Upload-Token") == "" {
			t.Errorf("not complete with its last piece: %v", a.header)
		}
		w.wantContent(url, "abc")
	})
	run("C12 never beyond the length", func(t *testing.T, w tus) {
		url := w.create("Upload-Length", "6")
		w.patch(413, url, 0, "1234567")
		w.wantOffset(url, 0)
		a := w.wants(413, "PATCH", url, struct{ io.Reader }{strings.NewReader("1234567")}, // chunked
			"Upload-Offset", "0", "Content-Type", "application/offset+octet-stream")
		if a.header.Get("Upload-Offset") != "0" {
			t.Errorf("got %v", a.header)
		}
		// Also where what is too much comes behind a read that ends at the length.
		for _, piece := range []struct{ before, chunks string }{{"", "6\n123456\n1\n7\n0\n\n"}, {"123", "3\n456\n1\n7\n0\n\n"}} {
			w.patch(204, url, 0, piece.before)
			c := w.raw(fmt.Sprintf("PATCH %s HTTP/1.1\nHost: h\nAuthorization: Bearer %s\nTus-Resumable: 1.0.0\nUpload-Offset: %d\n"+
				"Content-Type: application/offset+octet-stream\nTransfer-Encoding: chunked\n\n%s", url, w.keys["alice"], len(piece.before), piece.chunks))
			res, err := http.ReadResponse(bufio.NewReader(c), nil)
			if err != nil || res.StatusCode != 413 {
				t.Fatalf("got %v, %v", res, err)
			}
			if a := w.wantOffset(url, len(piece.before)); a.header.Get("Upload-Token") != "" {
				t.Errorf("complete with a piece that was refused: %v", a.header)
			}
		}
		w.patch(204, url, 3, "456")
		w.wantContent(url, "123456")
	})
	run("creation", func(t *testing.T, w tus) {
		a := w.wants(201, "POST", "/tus", nil, "Upload-Length", "5")
		if url := a.header.Get("Location"); !strings.HasPrefix(url, "/tus/") || a.header.Get("Upload-Expires") == "" {
			t.Errorf("got %v", a.header)
		}
		w.wants(400, "POST", "/tus/", nil)
		w.wants(400, "POST", "/tus/", nil, "Upload-Length", "1", "Upload-Defer-Length", "1")
		w.wants(400, "POST", "/tus/", nil, "Upload-Defer-Length", "2")
		w.wants(413, "POST", "/tus/", nil, "Upload-Length", "10001")
		url := w.create("Upload-Length", "0")
		if a := w.wantOffset(url, 0); a.header.Get("Upload-Token") != strings.TrimPrefix(url, "/tus/") {
			t.Errorf("an empty upload is not complete: %v", a.header)
		}
		w.wantContent(url, "")
	})
	run("metadata", func(t *testing.T, w tus) {
		w.wants(400, "POST", "/tus/", nil, "Upload-Length", "1", "Upload-Metadata", "k "+b64(strings.Repeat("x", 4<<10)))
		for _, bad := range []string{"k !!", "k YQ==,k YQ==", "ä YQ==", "k YQ", ",", "k YQ== x", "k YQ==,"} {
			w.wants(400, "POST", "/tus/", nil, "Upload-Length", "1", "Upload-Metadata", bad)
		}
		for header, want := range map[string][2]string{
			"filename " + b64("../../etc/p\r\nasswd") + ",filetype " + b64("text/csv"): {"p__asswd", "text/csv"},
			"name " + b64("n.txt") + ", type " + b64("a/b\r\nX: y"):                    {"n.txt", "text/plain; charset=utf-8"},
		} {
			url := w.create("Upload-Length", "1", "Upload-Metadata", header)
			w.patch(204, url, 0, "x")
			a := w.want(200, "alice", "GET", "/api/v1/uploads/"+strings.TrimPrefix(url, "/tus/"), nil)
			if !strings.Contains(a.body, `"name":"`+want[0]+`"`) || !strings.Contains(a.body, `"content_type":"`+want[1]+`"`) {
				t.Errorf("%s: got %s, want %q", header, a.body, want)
			}
		}
	})
	run("persist", func(t *testing.T, w tus) {
		meta := "filename " + b64("p.txt") + ",persist " + b64("true") + ",folder " + b64("in/deep")
		url := w.create("Upload-Length", "3", "Upload-Metadata", meta)
		if a := w.patch(204, url, 0, "abc"); a.header.Get("Upload-Token") == "" {
			t.Errorf("no token: %v", a.header)
		}
		if a := w.want(200, "alice", "GET", "/files/me/in/deep/p.txt", nil); a.body != "abc" {
			t.Errorf("got %q", a.body)
		}
		w.wantOffset(url, 3) // whoever lost the answer
		w.wants(410, "DELETE", url, nil)
		w.wants(400, "POST", "/tus/", nil, "Upload-Length", "1", "Upload-Metadata", "persist "+b64("true")+",folder "+b64("../x"))
		w.wants(403, "POST", "/tus/", nil, "Upload-Length", "1", "Upload-Metadata",
			"filename "+b64("x")+",persist "+b64("true")+",folder "+b64("in/deep/p.txt"))

		// A file that cannot be there at the end is no success, however often
		// the client asks, and however the answer got lost.
		meta = "filename " + b64("busy") + ",persist " + b64("true")
		url = w.create("Upload-Length", "3", "Upload-Metadata", meta)
		part := w.create("Upload-Length", "1", "Upload-Concat", "partial")
		w.patch(204, part, 0, "x")
		w.want(201, "alice", "PUT", "/files/me/busy/below", strings.NewReader("x"))
		a := w.patch(403, url, 0, "abc")
		if a.header.Get("Upload-Token") == "" {
			t.Errorf("the upload is whole and has no token: %v", a.header)
		}
		w.patch(403, url, 3, "")
		w.wants(403, "HEAD", url, nil)
		for range 2 {
			w.wants(403, "POST", "/tus/", nil, "Upload-Concat", "final;"+part, "Upload-Metadata", meta)
		}
		w.wantContent(url, "abc") // it waits for somebody to decide

		// Otherwise a form carries the token.
		url = w.create("Upload-Length", "1", "Upload-Metadata", "filename "+b64("t.txt"))
		token := w.patch(204, url, 0, "x").header.Get("Upload-Token")
		w.want(201, "alice", "POST", "/api/v1/uploads/"+token+"/persist", strings.NewReader(`{}`), "Content-Type", "application/json")
		if a := w.want(200, "alice", "GET", "/files/me/t.txt", nil); a.body != "x" {
			t.Errorf("got %q", a.body)
		}
	})
	run("creation-defer-length", func(t *testing.T, w tus) {
		url := w.create("Upload-Defer-Length", "1")
		if a := w.wantOffset(url, 0); a.header.Get("Upload-Defer-Length") != "1" || a.header.Get("Upload-Length") != "" {
			t.Errorf("got %v", a.header)
		}
		w.patch(204, url, 0, "abc")
		w.patch(400, url, 3, "", "Upload-Length", "2")
		w.patch(413, url, 3, "", "Upload-Length", "10001")
		w.patch(204, url, 3, "", "Upload-Length", "5")
		if a := w.wantOffset(url, 3); a.header.Get("Upload-Defer-Length") != "" || a.header.Get("Upload-Length") != "5" {
			t.Errorf("got %v", a.header)
		}
		w.patch(400, url, 3, "de", "Upload-Length", "6")
		w.patch(204, url, 3, "de")
		w.wantContent(url, "abcde")
	})
	run("creation-with-upload", func(t *testing.T, w tus) {
		a := w.wants(201, "POST", "/tus/", strings.NewReader("abc"), "Upload-Length", "6", "Content-Type", "application/offset+octet-stream")
		if a.header.Get("Upload-Offset") != "3" {
			t.Errorf("got %v", a.header)
		}
		w.patch(204, a.header.Get("Location"), 3, "def")
		w.wantContent(a.header.Get("Location"), "abcdef")
		a = w.wants(201, "POST", "/tus/", strings.NewReader("all"), "Upload-Length", "3", "Content-Type", "application/offset+octet-stream")
		if a.header.Get("Upload-Token") == "" {
			t.Errorf("complete at once, and no token: %v", a.header)
		}
		// Who waits for 100 Continue gets it.
		c := w.raw(fmt.Sprintf("POST /tus/ HTTP/1.1\nHost: h\nAuthorization: Bearer %s\nTus-Resumable: 1.0.0\nUpload-Length: 3\n"+
			"Content-Type: application/offset+octet-stream\nContent-Length: 3\nExpect: 100-continue\n\n", w.keys["alice"]))
		r := bufio.NewReader(c)
		if res, err := http.ReadResponse(r, nil); err != nil || res.StatusCode != 100 {
			t.Fatalf("got %v, %v; want 100", res, err)
		}
		if _, err := io.WriteString(c, "abc"); err != nil {
			t.Fatal(err)
		}
		if res, err := http.ReadResponse(r, nil); err != nil || res.StatusCode != 201 || res.Header.Get("Upload-Offset") != "3" {
			t.Fatalf("got %v, %v", res, err)
		}
		// More than announced fails, with an address to go on at.
		a = w.wants(413, "POST", "/tus/", strings.NewReader("abcd"), "Upload-Length", "3", "Content-Type", "application/offset+octet-stream")
		w.wantOffset(a.header.Get("Location"), 0)
	})
	run("creation-with-upload has the room of what it replaces", func(t *testing.T, _ tus) {
		w := tus{newWorld(t, setup{limits: store.Limits{OwnerBytes: 150_000}})}
		body := strings.Repeat("x", 100_000)
		w.want(201, "alice", "PUT", "/files/me/in/x.bin", strings.NewReader(body))
		w.wants(201, "POST", "/tus/", strings.NewReader(body), "Upload-Length", "100000", "Content-Type", "application/offset+octet-stream",
			"Upload-Metadata", "filename "+b64("x.bin")+",folder "+b64("in")+",persist "+b64("true"))
	})
	run("creation-with-upload makes nothing of what its head refuses", func(t *testing.T, w tus) {
		a := w.wants(400, "POST", "/tus/", strings.NewReader("abc"), "Upload-Length", "3",
			"Content-Type", "application/offset+octet-stream", "Upload-Checksum", "md5 AAAA")
		if a.header.Get("Location") != "" {
			t.Errorf("got %v", a.header)
		}
	})
	run("a filetype that is none says nothing", func(t *testing.T, w tus) {
		a := w.wants(201, "POST", "/tus/", strings.NewReader("abc"), "Upload-Length", "3", "Content-Type", "application/offset+octet-stream",
			"Upload-Metadata", "filename "+b64("a")+",filetype "+b64("undefined"))
		got := w.want(200, "alice", "GET", "/api/v1/uploads/"+a.header.Get("Upload-Token"), nil).body
		if !strings.Contains(got, `"content_type":"text/plain`) {
			t.Errorf("got %s", got)
		}
	})
	run("expiration", func(t *testing.T, w tus) {
		url := w.create("Upload-Length", "2")
		a := w.patch(204, url, 0, "a")
		at, err := http.ParseTime(a.header.Get("Upload-Expires"))
		if left := time.Until(at); err != nil || left < 59*time.Minute || left > time.Hour {
			t.Errorf("expires %q (%v)", a.header.Get("Upload-Expires"), err)
		}
		if a := w.patch(204, url, 1, "b"); a.header.Get("Upload-Expires") != "" {
			t.Errorf("a complete upload says that it is unfinished: %v", a.header)
		}
	})
	run("checksum", func(t *testing.T, w tus) {
		url := w.create("Upload-Length", "6")
		sum := sha1.Sum([]byte("abc"))
		good := "sha1 " + base64.StdEncoding.EncodeToString(sum[:])
		w.patch(460, url, 0, "abx", "Upload-Checksum", good)
		for _, bad := range []string{"md4 AAAA", "sha1", "sha1 !", "sha1 AAAA", "SHA1 " + good[5:]} {
			w.patch(400, url, 0, "abc", "Upload-Checksum", bad)
		}
		w.wantOffset(url, 0)
		w.patch(204, url, 0, "abc", "Upload-Checksum", good)
		crc := crc32.ChecksumIEEE([]byte("def"))
		w.patch(204, url, 3, "def", "Upload-Checksum",
			"crc32 "+base64.StdEncoding.EncodeToString([]byte{byte(crc >> 24), byte(crc >> 16), byte(crc >> 8), byte(crc)}))
		w.wantContent(url, "abcdef")
		sum256, sum512 := sha256.Sum256([]byte("gh")), sha512.Sum512([]byte("gh"))
		for name, sum := range map[string][]byte{"sha256": sum256[:], "sha512": sum512[:]} {
			url := w.create("Upload-Length", "2")
			w.patch(460, url, 0, "gx", "Upload-Checksum", name+" "+base64.StdEncoding.EncodeToString(sum))
			w.patch(204, url, 0, "gh", "Upload-Checksum", name+" "+base64.StdEncoding.EncodeToString(sum))
		}
	})
	run("checksum-trailer", func(t *testing.T, w tus) {
		for trailer, want := range map[string]int{
			"sha1 " + base64.StdEncoding.EncodeToString(func() []byte { s := sha1.Sum([]byte("abc")); return s[:] }()): 204,
			"sha1 " + base64.StdEncoding.EncodeToString(make([]byte, 20)):                                              460,
			"none": 400,
		} {
			url := w.create("Upload-Length", "3")
			c := w.raw(fmt.Sprintf("PATCH %s HTTP/1.1\nHost: h\nAuthorization: Bearer %s\nTus-Resumable: 1.0.0\nUpload-Offset: 0\n"+
				"Content-Type: application/offset+octet-stream\nTransfer-Encoding: chunked\nTrailer: Upload-Checksum\n\n"+
				"3\nabc\n0\nUpload-Checksum: %s\n\n", url, w.keys["alice"], trailer))
			if a, _ := c.answer(); a.status != want {
				t.Fatalf("%q: got %v; want %d", trailer, a, want)
			}
			w.wantOffset(url, map[int]int{204: 3}[want])
		}
	})
	run("termination", func(t *testing.T, w tus) {
		for _, content := range []string{"", "a", "abc"} {
			url := w.create("Upload-Length", "3")
			w.patch(204, url, 0, content)
			w.wants(204, "DELETE", url, nil)
			w.wants(410, "HEAD", url, nil)
			w.patch(410, url, len(content), "x")
			w.wants(410, "DELETE", url, nil)
		}
	})
	run("concatenation", func(t *testing.T, w tus) {
		part := func(content string) string {
			url := w.create("Upload-Length", strconv.Itoa(len(content)), "Upload-Concat", "partial", "Upload-Metadata", "filename "+b64("part"))
			if a := w.wantOffset(url, 0); a.header.Get("Upload-Concat") != "partial" {
				t.Errorf("got %v", a.header)
			}
			w.patch(204, url, 0, content)
			return url
		}
		a, b := part("aa"), part("bbb")
		// A part is nothing that a form could carry, or a page lists.
		if w.wantOffset(a, 2).header.Get("Upload-Token") != "" {
			t.Error("a part has a token")
		}
		if page := w.want(200, "alice", "GET", "/", nil).body; strings.Contains(page, strings.TrimPrefix(a, "/tus/")) {
			t.Error("a part waits on the page")
		}
		if u := w.want(200, "alice", "GET", "/api/v1/uploads/"+strings.TrimPrefix(a, "/tus/"), nil).body; !strings.Contains(u, `"partial":true`) {
			t.Errorf("got %s", u)
		}
		many := make([]string, 5)
		for i := range many {
			many[i] = part(strings.Repeat("x", 2001))
		}
		w.wants(413, "POST", "/tus/", nil, "Upload-Concat", "final;"+strings.Join(many, " ")) // beyond Tus-Max-Size
		unfinished := w.create("Upload-Length", "3", "Upload-Concat", "partial")
		plain := w.create("Upload-Length", "0")
		foreign := w.want(201, "bob", "POST", "/tus/", nil, "Tus-Resumable", "1.0.0", "Upload-Length", "0", "Upload-Concat", "partial").header.Get("Location")
		for header, want := range map[string]int{
			"final;" + a + " " + unfinished: 409, "final;" + a + " " + plain: 403, "final;" + a + " " + foreign: 404,
			"final;": 400, "final;/other" + a: 400, "final;" + a + "/x": 404, "else": 400, "final;http://h": 400,
		} {
			w.wants(want, "POST", "/tus/", nil, "Upload-Concat", header)
		}
		w.wants(400, "POST", "/tus/", nil, "Upload-Concat", "final;"+a, "Upload-Length", "2")
		meta := "filename " + b64("whole.txt") + ",persist " + b64("true")
		header := "final;" + w.url + b + " " + a + " " + b
		made := w.wants(201, "POST", "/tus/", nil, "Upload-Concat", header, "Upload-Metadata", meta)
		whole := made.header.Get("Location")
		if got := w.want(200, "alice", "GET", "/files/me/whole.txt", nil).body; got != "bbbaabbb" {
			t.Errorf("got %q", got)
		}
		h := w.wantOffset(whole, 8).header
		if h.Get("Upload-Length") != "8" || h.Get("Upload-Concat") != "final;"+b+" "+a+" "+b || h.Get("Upload-Metadata") != meta {
			t.Errorf("got %v", h)
		}
		w.patch(403, whole, 8, "x")
		again := w.wants(201, "POST", "/tus/", nil, "Upload-Concat", header, "Upload-Metadata", meta)
		if again.header.Get("Location") != whole {
			t.Errorf("a repeated concatenation made another upload")
		}
		// Who lost that answer asks for the parts first.
		if h := w.wantOffset(a, 2).header; h.Get("Upload-Length") != "2" || h.Get("Upload-Concat") != "partial" || h.Get("Upload-Token") != "" {
			t.Errorf("of a part that was used: %v", h)
		}
		w.patch(410, a, 2, "")
		c := part("c")
		whole = w.wants(201, "POST", "/tus/", nil, "Upload-Concat", "final;"+c).header.Get("Location")
		w.wantOffset(c, 1)
		w.wants(204, "DELETE", whole, nil)
		w.wants(410, "HEAD", c, nil)
	})
	run("CORS on every answer", func(t *testing.T, w tus) {
		pre := w.as("anonymous", "OPTIONS", "/tus/x", nil, "Origin", "https://app.example",
			"Access-Control-Request-Method", "PATCH", "Access-Control-Request-Headers", "authorization,content-type,x-http-method-override,"+
				"upload-length,upload-offset,tus-resumable,upload-metadata,upload-defer-length,upload-concat,upload-checksum,x-meta-k")
		allowed := strings.ToLower(pre.header.Get("Access-Control-Allow-Headers"))
		for _, name := range []string{
			"Authorization", "Content-Type", "X-HTTP-Method-Override", "Upload-Length", "Upload-Offset", "Tus-Resumable",
			"Upload-Metadata", "Upload-Defer-Length", "Upload-Concat", "Upload-Checksum", "X-Meta-K",
		} {
			if !strings.Contains(allowed, strings.ToLower(name)) {
				t.Errorf("%s is not allowed: %s", name, allowed)
			}
		}
		if pre.status != 204 || !strings.Contains(pre.header.Get("Access-Control-Allow-Methods"), "PATCH") {
			t.Errorf("got %d %v", pre.status, pre.header)
		}
		for _, a := range []answer{
			w.do("HEAD", "/tus/x", nil, "Origin", "https://app.example"),
			w.do("POST", "/tus/", nil, "Origin", "https://app.example"),
			w.as("anonymous", "PATCH", "/tus/x", strings.NewReader("x"), "Origin", "https://app.example"),
		} {
			exposed := strings.Split(a.header.Get("Access-Control-Expose-Headers"), ",")
			if a.header.Get("Access-Control-Allow-Origin") != "https://app.example" || !slices.Contains(exposed, "Upload-Offset") ||
				!slices.Contains(exposed, "Upload-Token") || !strings.Contains(a.header.Get("Vary"), "Origin") {
				t.Errorf("%d: %v", a.status, a.header)
			}
		}
		if a := w.do("HEAD", "/tus/x", nil, "Origin", "https://evil.example"); a.header.Get("Access-Control-Allow-Origin") != "" {
			t.Errorf("another origin is let in: %v", a.header)
		}
	})
	run("isolation", func(t *testing.T, w tus) {
		url := w.create("Upload-Length", "3")
		for _, method := range []string{"HEAD", "PATCH", "DELETE", "GET"} {
			a := w.as("bob", method, url, nil, "Tus-Resumable", "1.0.0", "Upload-Offset", "0", "Content-Type", "application/offset+octet-stream")
			if a.status != 404 || a.header.Get("Upload-Offset") != "" {
				t.Errorf("%s: %d %v", method, a.status, a.header)
			}
		}
		w.wantOffset(url, 0)
	})
	run("a hanging connection gives way", func(t *testing.T, w tus) {
		url := w.create("Upload-Length", "9500")
		head := fmt.Sprintf("PATCH %s HTTP/1.1\nHost: h\nAuthorization: Bearer %s\nTus-Resumable: 1.0.0\nUpload-Offset: 0\n"+
			"Content-Type: application/offset+octet-stream\nContent-Length: 9500\n\n", url, w.keys["alice"])
		c := w.raw(head + strings.Repeat("x", 9000))
		// Every byte that came is there, and the one who hangs learns why.
		eventually(t, "the offset is known", func() bool {
			began := time.Now()
			offset := w.do("HEAD", url, nil).header.Get("Upload-Offset")
			if took := time.Since(began); took > time.Second {
				t.Errorf("the newcomer waited for %v", took)
			}
			return offset == "9000"
		})
		if a, _ := c.answer(); a.status != 423 {
			t.Fatalf("got %v", a)
		}
		w.patch(204, url, 9000, strings.Repeat("x", 500))
		w.wantContent(url, strings.Repeat("x", 9500))
		// Somebody else's request is not stopped.
		url = w.create("Upload-Length", "9500")
		c = w.raw(strings.Replace(head, strings.Split(head, " ")[1], url, 1) + strings.Repeat("x", 9000))
		for range 20 {
			w.as("bob", "HEAD", url, nil, "Tus-Resumable", "1.0.0")
		}
		if _, err := io.WriteString(c, strings.Repeat("x", 500)); err != nil {
			t.Fatal(err)
		}
		if a, _ := c.answer(); a.status != 204 {
			t.Fatalf("got %v", a)
		}
	})
}

// TestTusTransient: what passes is answered so that clients try again.
func TestTusTransient(t *testing.T) {
	t.Parallel()
	w := tus{newWorld(t, setup{idle: 300 * time.Millisecond, limits: store.Limits{OwnerActive: 1}})}
	other := w.create("Upload-Length", "1")
	for refused := false; !refused; {
		url := w.create("Upload-Length", "9500")
		c := w.raw(fmt.Sprintf("PATCH %s HTTP/1.1\nHost: h\nAuthorization: Bearer %s\nTus-Resumable: 1.0.0\nUpload-Offset: 0\n"+
			"Content-Type: application/offset+octet-stream\nContent-Length: 9500\n\n", url, w.keys["alice"]) + strings.Repeat("x", 9000))
		stalled := make(chan answer, 1)
		go func() {
			a, _ := c.answer()
			stalled <- a
		}()
		var last answer
		for last.status == 0 && !refused {
			// A byte that is not kept, whether there is a place for it or not.
			a := w.do("PATCH", other, strings.NewReader("x"), "Upload-Offset", "0",
				"Content-Type", "application/offset+octet-stream", "Upload-Checksum", "crc32 AAAAAA==")
			refused = a.status == 503 && a.header.Get("Retry-After") != "" // too many at once
			select {
			case last = <-stalled:
			default:
			}
		}
		if !refused {
			continue // the other one was first
		}
		if last.status == 0 {
			last = <-stalled
		}
		if last.status != 503 {
			t.Fatalf("a stalled body: got %v", last)
		}
		w.wantOffset(url, 9000)
	}
}

// TestTusHeadTransient: whatever passes is 423 for HEAD, since tus-js-client
// begins a new upload after anything else.
func TestTusHeadTransient(t *testing.T) {
	t.Parallel()
	w := tus{newWorld(t, setup{http: func(c *handlers.Config) { c.RateLimit = 20 }})}
	url := w.create("Upload-Length", "1")
	refused := func(status int, method string, headers ...string) {
		t.Helper()
		a := w.wants(status, method, url, nil, headers...)
		if wait, _ := strconv.Atoi(a.header.Get("Retry-After")); wait < 1 || a.header.Get("Upload-Offset") != "" {
			t.Errorf("%s: got %v", method, a.header)
		}
	}
	for w.do("HEAD", url, nil).status == 200 { // until it is too many
	}
	refused(423, "HEAD")
	refused(423, "POST", "X-HTTP-Method-Override", "HEAD")
	refused(503, "PATCH")

	w = tus{newWorld(t, setup{})}
	url = w.create("Upload-Length", "1")
	w.wants(404, "HEAD", url+"0", nil) // not what passes
	w.github.Fail(func(rw http.ResponseWriter, _ *http.Request) bool { rw.WriteHeader(502); return true })
	refused(423, "HEAD", "Authorization", "Bearer ghp_never_seen")
	refused(503, "PATCH", "Authorization", "Bearer ghp_never_seen")
}

// TestTusRelativePath: the folders of a file that was chosen with its folder are
// kept, if they can be.
func TestTusRelativePath(t *testing.T) {
	t.Parallel()
	w := tus{newWorld(t, setup{})}
	for _, c := range []struct{ filename, relative, want string }{
		{"x.txt", "trip/day 1/x.txt", "trip/day 1/x.txt"},
		{"new.txt", "trip/x.txt", "trip/new.txt"},
		{"x.txt", "x.txt", "x.txt"},
		{"x.txt", "null", "x.txt"},
		{"x.txt", "", "x.txt"},
		{"x.txt", "../x.txt", "x.txt"},
		{"x.txt", "/etc/x.txt", "x.txt"},
		{"x.txt", `a\b/x.txt`, "x.txt"},
		{"x.txt", ".upload-service/x.txt", "x.txt"},
		{"x.txt", strings.Repeat("a/", 600) + "x.txt", "x.txt"},
		{"a\nb.txt", "trip/a\nb.txt", "a_b.txt"},
	} {
		url := w.create("Upload-Length", "0", "Upload-Metadata",
			"filename "+b64(c.filename)+",relativePath "+b64(c.relative))
		token := url[strings.LastIndexByte(url, '/')+1:]
		if a := w.want(200, "alice", "GET", "/api/v1/uploads/"+token, nil); !strings.Contains(a.body, `"name":"`+c.want+`"`) {
			t.Errorf("%q %q: want %q: %s", c.filename, c.relative, c.want, a.body)
		}
		a := w.want(201, "alice", "POST", "/api/v1/uploads/"+token+"/persist",
			strings.NewReader(`{"folder":"to","on_conflict":"rename"}`), "Content-Type", "application/json")
		if want := strings.TrimSuffix("to/"+c.want, ".txt"); !strings.Contains(a.body, `"path":"`+want) {
			t.Errorf("%q: became %s", c.relative, a.body)
		}
	}
}
