package handlers_test

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"upload-service/handlers"
	"upload-service/store"
)

// TestChangedSince: a change may depend on the time of the last one (RFC 9110,
// 13.1.4), and a list of tags comes in as many lines as it likes (5.3).
func TestChangedSince(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{})
	a := w.want(201, "alice", "PUT", "/files/me/f", strings.NewReader("1"))
	id, etag := field(t, a, "id"), a.header.Get("ETag")
	early, late := "Mon, 01 Jan 2024 00:00:00 GMT", time.Now().Add(time.Hour).UTC().Format(http.TimeFormat)
	w.want(412, "alice", "PUT", "/files/me/f", strings.NewReader("2"), "If-Unmodified-Since", early)
	w.want(412, "alice", "PUT", "/files/me/f", strings.NewReader("2"), "If-Unmodified-Since", early,
		"Upload-Complete", "?1", "Upload-Draft-Interop-Version", "8")
	w.want(412, "alice", "PATCH", "/api/v1/files/"+id, strings.NewReader(`{"tags":["x"]}`), "If-Unmodified-Since", early,
		"Content-Type", "application/merge-patch+json")
	w.want(412, "alice", "DELETE", "/files/me/f", nil, "If-Unmodified-Since", early)
	w.want(200, "alice", "PUT", "/files/me/f", strings.NewReader("1"), "If-Unmodified-Since", early, "If-Match", etag)
	w.want(201, "alice", "PUT", "/files/me/new", strings.NewReader("1"), "If-Unmodified-Since", early)
	etag = w.want(200, "alice", "GET", "/files/me/f", nil).header.Get("ETag")
	for method, status := range map[string]int{"PUT": 412, "GET": 304} {
		c := w.raw(fmt.Sprintf("%s /files/me/f HTTP/1.1\nHost: h\nAuthorization: Bearer %s\nContent-Length: 1\n"+
			"If-None-Match: \"a\"\nIf-None-Match: %s\n\n2", method, w.keys["alice"], etag))
		if a, _ := c.answer(); a.status != status {
			t.Errorf("%s with two lines of tags: got %d, want %d", method, a.status, status)
		}
	}
	w.want(206, "alice", "GET", "/files/me/f", nil, "Range", "BYTES=0-0")
	w.want(204, "alice", "DELETE", "/files/me/f", nil, "If-Unmodified-Since", late)
}

// TestNothingNeedsNoPlace: a request that brings no byte is not refused because
// others bring many.
func TestNothingNeedsNoPlace(t *testing.T) {
	t.Parallel()
	w := tus{newWorld(t, setup{limits: store.Limits{OwnerActive: 1}})}
	var c wire
	for taken := false; !taken; { // the question whether it has the only place may take that first
		c = w.raw(fmt.Sprintf("PUT /files/me/f HTTP/1.1\nHost: h\nAuthorization: Bearer %s\nContent-Length: 9500\n\n", w.keys["alice"]) +
			strings.Repeat("x", 9000))
		refused := make(chan struct{})
		go func() {
			io.Copy(io.Discard, c) //nolint:errcheck // until it ends, however
			close(refused)
		}()
		for again := false; !taken && !again; {
			taken = w.as("alice", "PUT", "/files/me/other", strings.NewReader("x")).status == 429
			select {
			case <-refused:
				again, taken = true, false
			default:
			}
		}
	}
	w.want(201, "alice", "POST", "/api/v1/uploads", nil, "Upload-Complete", "?0", "Upload-Length", "10")
	empty := w.create("Upload-Length", "0")
	if h := w.wantOffset(empty, 0).header; h.Get("Upload-Token") == "" {
		t.Errorf("an upload of nothing is not complete: %v", h)
	}
	c.Close()
}

// TestEmptyUpload: an upload of no bytes is complete when it is created, or not
// there at all.
func TestEmptyUpload(t *testing.T) {
	t.Parallel()
	w := tus{newWorld(t, setup{})}
	a := w.wants(201, "POST", "/tus/", strings.NewReader("{}"), "Upload-Length", "0", "Content-Type", "application/json")
	if a.header.Get("Upload-Token") == "" {
		t.Errorf("a body of another type: %v", a.header)
	}
	a = w.wants(460, "POST", "/tus/", nil, "Upload-Length", "0", "Upload-Checksum", "crc32 AAAAAQ==")
	if a.header.Get("Location") != "" {
		t.Errorf("a wrong checksum left %v", a.header)
	}
	if list := w.want(200, "alice", "GET", "/api/v1/uploads", nil).body; strings.Count(list, `"token"`) != 1 {
		t.Errorf("got %s", list)
	}
	// The end of what is complete is acknowledged again, if it is the same.
	url := w.create("Upload-Length", "3")
	w.patch(204, url, 0, "abc")
	patch := func(status int, headers ...string) {
		t.Helper()
		w.wants(status, "PATCH", url, nil, append(headers, "Upload-Offset", "3", "Content-Type", "application/offset+octet-stream")...)
	}
	patch(204, "Upload-Length", "3")
	patch(409, "Upload-Length", "4")
	patch(460, "Upload-Checksum", "crc32 AAAAAQ==")
	for _, twice := range []string{"Upload-Checksum: crc32 AAAAAA==", "Upload-Metadata: a"} {
		c := w.raw(fmt.Sprintf("POST /tus/ HTTP/1.1\nHost: h\nAuthorization: Bearer %s\nTus-Resumable: 1.0.0\nUpload-Length: 1\n"+
			"Content-Length: 0\n%s\n%s\n\n", w.keys["alice"], twice, twice))
		if a, _ := c.answer(); a.status != 400 {
			t.Errorf("%s twice: got %d", twice, a.status)
		}
	}
}

// TestWholeIsKnown: what came in one request tells as much as what came in
// pieces.
func TestWholeIsKnown(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{})
	a := w.want(201, "alice", "POST", "/api/v1/uploads", strings.NewReader("hello"),
		"Content-Disposition", "inline; filename*=UTF-8''%E2%82%AC.txt", "Want-Repr-Digest", "sha-256=9")
	if !strings.Contains(a.body, `"€.txt"`) || a.header.Get("Repr-Digest") == "" {
		t.Errorf("got %v %s", a.header, a.body)
	}
	url := a.header.Get("Location")
	h := w.want(200, "alice", "HEAD", url, nil).header
	if h.Get("Upload-Complete") != "?1" || h.Get("Upload-Offset") != "5" || h.Get("Upload-Length") != "5" {
		t.Errorf("got %v", h)
	}
	patch := func(status int, offset, body string) {
		t.Helper()
		w.want(status, "alice", "PATCH", url, strings.NewReader(body), "Upload-Offset", offset, "Upload-Complete", "?1",
			"Content-Type", "application/partial-upload")
	}
	patch(409, "4", "o")
	patch(409, "5", "!")
	patch(200, "5", "")
	w.want(404, "alice", "PATCH", strings.Replace(url, "/api/v1/uploads", "/tus", 1), nil, "Tus-Resumable", "1.0.0",
		"Upload-Offset", "5", "Content-Type", "application/offset+octet-stream")
	if a := w.want(201, "alice", "PUT", "/files/me/f", strings.NewReader("x"), "Want-Repr-Digest", "sha-256=1"); a.header.Get("Repr-Digest") == "" {
		t.Errorf("got %v", a.header)
	}
	w.want(400, "alice", "POST", "/filepond",
		strings.NewReader("--b\r\nContent-Disposition: form-data; name=\"filepond\"; filename=\"\"\r\n\r\n\r\n--b--\r\n"),
		"Content-Type", "multipart/form-data; boundary=b")
}

// TestConcatAddresses: parts are named by any address that leads to them.
func TestConcatAddresses(t *testing.T) {
	t.Parallel()
	w := tus{newWorld(t, setup{http: func(c *handlers.Config) { c.PublicURL = "https://files.example" }})}
	a := w.wants(201, "POST", "/tus/", strings.NewReader("x"), "Upload-Length", "1", "Upload-Concat", "partial",
		"Content-Type", "application/offset+octet-stream")
	if got := a.header.Get("Upload-Concat"); got != "partial" {
		t.Errorf("a part is called %q", got)
	}
	part := strings.TrimPrefix(a.header.Get("Location"), "https://files.example/tus/")
	var names []string
	for _, before := range []string{"", "./", "/tus/", "HTTPS://FILES.example:443/tus/", "//files.example/tus/", w.url + "/tus/"} {
		names = append(names, before+part)
	}
	a = w.wants(201, "POST", "/tus/", nil, "Upload-Concat", "final;"+strings.Join(names, " "))
	if got := a.header.Get("Upload-Offset"); got != "6" || !strings.HasPrefix(a.header.Get("Upload-Concat"), "final;https://files.example/tus/") {
		t.Errorf("got %v", a.header)
	}
}

// TestBehindTheLastByte: what becomes of a connection behind the last byte of an
// upload does not unmake it.
func TestBehindTheLastByte(t *testing.T) {
	t.Parallel()
	w := tus{newWorld(t, setup{})}
	url := w.create("Upload-Length", "3")
	c := w.raw(fmt.Sprintf("PATCH %s HTTP/1.1\nHost: h\nAuthorization: Bearer %s\nTus-Resumable: 1.0.0\nUpload-Offset: 0\n"+
		"Content-Type: application/offset+octet-stream\nTransfer-Encoding: chunked\n\n3\nabcX", url, w.keys["alice"]))
	if a, _ := c.answer(); a.status != 204 || a.header.Get("Upload-Token") == "" {
		t.Errorf("got %+v", a)
	}
	if _, err := io.ReadAll(c); err != nil && !strings.Contains(err.Error(), "reset") {
		t.Error(err)
	}
}

// TestQuestionsOfOtherOrigins: a page may read the answer to an OPTIONS of its
// own, which is no preflight.
func TestQuestionsOfOtherOrigins(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{http: func(c *handlers.Config) { c.CORSOrigins = []string{"https://a.example", "https://b.example"} }})
	for _, url := range []string{"/tus/", "/api/v1/uploads", "/files/me/x"} {
		h := w.want(204, "anonymous", "OPTIONS", url, nil, "Origin", "https://a.example").header
		if h.Get("Access-Control-Allow-Origin") != "https://a.example" || h.Get("Access-Control-Expose-Headers") == "" {
			t.Errorf("%s: %v", url, h)
		}
		if h := w.want(204, "anonymous", "OPTIONS", url, nil, "Origin", "https://c.example").header; h.Get("Access-Control-Allow-Origin") != "" {
			t.Errorf("%s: a stranger reads %v", url, h)
		}
	}
}

// TestRefusedBeforeResumable: the length that a resumable request announces is
// refused before its body.
func TestRefusedBeforeResumable(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{limits: store.Limits{FileSize: 10_000}})
	for _, line := range []string{"POST /api/v1/uploads", "PUT /files/me/f"} {
		for length, status := range map[string]int{"10001": 413, "5": 400} {
			c := w.raw(fmt.Sprintf("%s HTTP/1.1\nHost: h\nAuthorization: Bearer %s\nContent-Length: 9\nUpload-Complete: ?1\n"+
				"Upload-Draft-Interop-Version: 8\nUpload-Length: %s\nExpect: 100-continue\n\n", line, w.keys["alice"], length))
			if length == "10001" {
				status = 400 // what it brings contradicts it
			}
			if a, interim := c.answer(); a.status != status || len(interim) > 0 {
				t.Errorf("%s of %s: got %d", line, length, a.status)
			}
		}
		c := w.raw(fmt.Sprintf("%s HTTP/1.1\nHost: h\nAuthorization: Bearer %s\nContent-Length: 9\nUpload-Complete: ?0\n"+
			"Upload-Draft-Interop-Version: 8\nUpload-Length: 10001\nExpect: 100-continue\n\n", line, w.keys["alice"]))
		if a, interim := c.answer(); a.status != 413 || len(interim) > 0 {
			t.Errorf("%s too long: got %d", line, a.status)
		}
	}
}
