package handlers_test

import (
	"bufio"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"testing"

	"upload-service/handlers"
	"upload-service/store"
)

func (w *world) resumable(status int, method, path, content string, headers ...string) answer {
	w.t.Helper()
	return w.want(status, "alice", method, path, strings.NewReader(content), headers...)
}

// piece appends to an upload.
func (w *world) piece(status int, url string, offset int, complete, content string, headers ...string) answer {
	w.t.Helper()
	return w.resumable(status, "PATCH", url, content, append([]string{
		"Content-Type", "application/partial-upload", "Upload-Offset", strconv.Itoa(offset), "Upload-Complete", complete,
	}, headers...)...)
}

// wantState asks an upload how far it is.
func (w *world) wantState(url string, offset int, complete string) answer {
	w.t.Helper()
	a := w.want(200, "alice", "HEAD", url, nil)
	if a.header.Get("Upload-Offset") != strconv.Itoa(offset) || a.header.Get("Upload-Complete") != complete {
		w.t.Fatalf("got %v, want %d and %s", a.header, offset, complete)
	}
	return a
}

func digest(s string) string {
	sum := sha256.Sum256([]byte(s))
	return "sha-256=:" + base64.StdEncoding.EncodeToString(sum[:]) + ":"
}

func TestResumable(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{limits: store.Limits{FileSize: 10_000}})
	run := func(name string, fn func(t *testing.T, w *world)) {
		t.Run(name, func(t *testing.T) {
			own := *w
			own.t = t
			fn(t, &own)
		})
	}
	create := func(w *world, headers ...string) string {
		w.t.Helper()
		return w.resumable(201, "POST", "/api/v1/uploads", "", append([]string{"Upload-Complete", "?0"}, headers...)...).header.Get("Location")
	}
	head := func(w *world, method, path string, size int, more string) string {
		return fmt.Sprintf("%s %s HTTP/1.1\nHost: h\nAuthorization: Bearer %s\nContent-Length: %d\n%s\n", method, path, w.keys["alice"], size, more)
	}
	run("R1 R3 104 for those who know it", func(t *testing.T, w *world) {
		for version, want := range map[string]int{"8": 1, "6": 1, "3": 0, "99": 0, "": 0} {
			more := "Upload-Complete: ?1\n"
			if version != "" {
				more += "Upload-Draft-Interop-Version: " + version + "\n"
			}
			final, interim := w.raw(head(w, "POST", "/api/v1/uploads", 3, more) + "abc").answer()
			if len(interim) != want || final.status != 201 || final.header.Get("Upload-Complete") != "?1" {
				t.Fatalf("version %q: %d interim answers, then %v", version, len(interim), final)
			}
			if want == 0 {
				continue
			}
			h := interim[0]
			if h.Get("Upload-Draft-Interop-Version") != version || h.Get("Upload-Limit") == "" || h.Get("Location") != final.header.Get("Location") {
				t.Errorf("version %s: got %v, then %v", version, h, final.header)
			}
		}
		final, interim := w.raw(head(w, "POST", "/api/v1/uploads", 3, "Upload-Complete: ?1\nUpload-Draft-Interop-Version: 8\nExpect: 100-continue\n") + "abc").answer()
		if len(interim) != 1 || final.status != 201 {
			t.Errorf("with 100-continue: %v, %v", interim, final)
		}
	})
	run("R2 only a valid Upload-Complete makes it resumable", func(t *testing.T, w *world) {
		for _, value := range []string{"", "1", "true", "?2", "?1, ?0", "\"?1\""} {
			a := w.resumable(201, "POST", "/api/v1/uploads", "abc", "Upload-Complete", value, "Upload-Draft-Interop-Version", "8")
			if a.header.Get("Upload-Complete") != "" || field(t, a, "state") != "ready" {
				t.Errorf("%q: %v %s", value, a.header, a.body)
			}
		}
	})
	run("R2 lines of one field are one", func(t *testing.T, w *world) {
		final, _ := w.raw(head(w, "POST", "/api/v1/uploads", 3, "Upload-Complete: ?1\nUpload-Complete: ?0\n") + "abc").answer()
		if final.status != 201 || final.header.Get("Upload-Complete") != "" {
			t.Errorf("?1 and ?0: %v", final)
		}
		final, _ = w.raw(head(w, "POST", "/api/v1/uploads", 3, "Content-Digest: md5=:AAAA:\nContent-Digest: "+digest("xyz")+"\n") + "abc").answer()
		if final.status != 400 {
			t.Errorf("the second line of Content-Digest does not count: %v", final)
		}
	})
	run("R4 R6 R7 in pieces", func(t *testing.T, w *world) {
		a := w.resumable(201, "POST", "/api/v1/uploads?purpose=form", "abc", "Upload-Complete", "?0",
			"Content-Disposition", `inline; filename="../b.txt"; filename*=UTF-8''%C3%A4.txt`)
		url := a.header.Get("Location")
		if a.header.Get("Upload-Complete") != "?0" || a.header.Get("Upload-Limit") == "" || !strings.HasPrefix(url, "/api/v1/uploads/") {
			t.Fatalf("got %v", a.header)
		}
		h := w.wantState(url, 3, "?0").header
		if h.Get("Cache-Control") != "no-store" || h.Get("Upload-Limit") == "" || h.Get("Upload-Length") != "" {
			t.Errorf("got %v", h)
		}
		a = w.piece(204, url, 3, "?0", "def")
		if a.header.Get("Upload-Complete") != "?0" || a.header.Get("Upload-Offset") != "6" {
			t.Errorf("got %v", a.header)
		}
		// R9: the end is said, not counted.
		w.piece(204, url, 6, "?0", "", "Upload-Length", "6")
		w.wantState(url, 6, "?0")
		a = w.piece(200, url, 6, "?1", "")
		if a.header.Get("Upload-Complete") != "?1" || !strings.Contains(a.body, `"name":"ä.txt"`) {
			t.Errorf("got %v %s", a.header, a.body)
		}
		w.wantState(url, 6, "?1")
		if got := w.want(200, "alice", "GET", url+"/content", nil).body; got != "abcdef" {
			t.Errorf("got %q", got)
		}
		// The last answer got lost: it is given again. Anything else is refused.
		w.piece(200, url, 6, "?1", "")
		a = w.piece(409, url, 6, "?0", "x")
		if field(t, a, "type") != "https://iana.org/assignments/http-problem-types#completed-upload" {
			t.Errorf("got %s", a.body)
		}
	})
	run("R5 PUT of a file", func(t *testing.T, w *world) {
		a := w.resumable(201, "PUT", "/files/me/in/r.txt", "abc", "Upload-Complete", "?1", "X-Meta-K", "v")
		if a.header.Get("Location") != "/files/alice/in/r.txt" || a.header.Get("Upload-Complete") != "?1" ||
			a.header.Get("ETag") == "" || !strings.Contains(a.body, `"k":"v"`) {
			t.Errorf("got %v %s", a.header, a.body)
		}
		a = w.resumable(201, "PUT", "/files/me/in/r.txt", "ab", "Upload-Complete", "?0", "If-Match", a.header.Get("ETag"))
		url := a.header.Get("Location")
		if got := w.want(200, "alice", "GET", "/files/me/in/r.txt", nil).body; got != "abc" {
			t.Errorf("an upload that is not complete shows: %q", got)
		}
		a = w.piece(200, url, 2, "?1", "cd")
		if a.header.Get("Location") != "/files/alice/in/r.txt" || a.header.Get("Upload-Complete") != "?1" {
			t.Errorf("got %v", a.header)
		}
		if got := w.want(200, "alice", "GET", "/files/me/in/r.txt", nil).body; got != "abcd" {
			t.Errorf("got %q", got)
		}
		// Conditions count when it is complete.
		w.resumable(412, "PUT", "/files/me/in/r.txt", "x", "Upload-Complete", "?0", "If-None-Match", "*")
		url = w.resumable(201, "PUT", "/files/me/in/late.txt", "x", "Upload-Complete", "?0", "If-None-Match", "*").header.Get("Location")
		w.resumable(201, "PUT", "/files/me/in/late.txt", "first")
		w.piece(412, url, 1, "?1", "y")
		a = w.piece(412, url, 2, "?1", "") // that answer got lost
		if a.header.Get("Upload-Complete") != "?1" {
			t.Errorf("got %v", a.header)
		}
		// The envelope of a form is no content.
		form := "--b\r\nContent-Disposition: form-data; name=\"file\"; filename=\"f\"\r\n\r\nx\r\n--b--\r\n"
		multipart := []string{"Content-Type", "multipart/form-data; boundary=b", "Upload-Draft-Interop-Version", "8"}
		w.resumable(415, "POST", "/api/v1/uploads", form, append(multipart, "Upload-Complete", "?0")...)
		a = w.resumable(201, "POST", "/api/v1/uploads", form, append(multipart, "Upload-Complete", "?1")...)
		if a.header.Get("Upload-Complete") != "?1" || !strings.Contains(a.body, `"size":1`) {
			t.Errorf("a whole form: %v %s", a.header, a.body)
		}
		if got := w.want(200, "alice", "GET", "/files/me/in/late.txt", nil).body; got != "first" {
			t.Errorf("got %q", got)
		}
	})
	run("R7 another offset", func(t *testing.T, w *world) {
		url := create(w)
		w.piece(204, url, 0, "?0", "abc")
		for _, offset := range []int{0, 2, 4} {
			a := w.piece(409, url, offset, "?1", "xyz")
			var doc struct {
				Type     string
				Expected int `json:"expected-offset"`
				Provided int `json:"provided-offset"`
			}
			if err := json.Unmarshal([]byte(a.body), &doc); err != nil || doc.Expected != 3 || doc.Provided != offset ||
				doc.Type != "https://iana.org/assignments/http-problem-types#mismatching-upload-offset" ||
				a.header.Get("Upload-Offset") != "3" || a.header.Get("Upload-Complete") != "?0" {
				t.Errorf("offset %d: %v %s", offset, a.header, a.body)
			}
		}
		w.resumable(415, "PATCH", url, "x", "Upload-Offset", "3", "Upload-Complete", "?0", "Content-Type", "text/plain")
		w.resumable(400, "PATCH", url, "x", "Upload-Complete", "?0", "Content-Type", "application/partial-upload")
		w.resumable(400, "PATCH", url, "x", "Upload-Offset", "3", "Content-Type", "application/partial-upload")
		w.wantState(url, 3, "?0")
	})
	run("R8 lengths agree", func(t *testing.T, w *world) {
		const kind = "https://iana.org/assignments/http-problem-types#inconsistent-upload-length"
		a := w.resumable(400, "POST", "/api/v1/uploads", "abc", "Upload-Complete", "?1", "Upload-Length", "4")
		if field(t, a, "type") != kind {
			t.Errorf("got %s", a.body)
		}
		url := create(w, "Upload-Length", "6")
		w.piece(204, url, 0, "?0", "abc")
		for _, a := range []answer{
			w.piece(400, url, 3, "?0", "d", "Upload-Length", "5"),
			w.piece(400, url, 3, "?1", "de"),
		} {
			if field(t, a, "type") != kind {
				t.Errorf("got %s", a.body)
			}
		}
		w.piece(400, url, 3, "?0", "d", "Upload-Length", "11") // only says so, and brings no byte too many
		w.wantState(url, 3, "?0")
		w.piece(400, url, 3, "?0", "defg") // beyond the end: over
		w.want(410, "alice", "HEAD", url, nil)

		url = create(w, "Upload-Length", "3") // not declared, noticed on the way
		w.want(400, "alice", "PATCH", url, struct{ io.Reader }{strings.NewReader("abcd")}, "Content-Type", "application/partial-upload",
			"Upload-Offset", "0", "Upload-Complete", "?0")
		w.want(410, "alice", "HEAD", url, nil)
		url = create(w)
		w.piece(204, url, 0, "?0", "abc")
		if a := w.piece(400, url, 3, "?0", "", "Upload-Length", "2"); field(t, a, "type") != kind {
			t.Errorf("got %s", a.body)
		}
		create(w, "Upload-Length", "-1") // a field that does not parse is none

		// ?1 that ends before the announced length completes nothing. Chunks do
		// not say how long they are.
		chunked := func(s string) io.Reader { return struct{ io.Reader }{strings.NewReader(s)} }
		w.resumable(201, "PUT", "/files/me/short.txt", "as it was")
		url = create(w, "Upload-Length", "10")
		for _, tt := range []struct{ method, path string }{
			{"POST", "/api/v1/uploads"}, {"PUT", "/files/me/short.txt"}, {"PATCH", url},
		} {
			a := w.want(400, "alice", tt.method, tt.path, chunked("12345"), "Upload-Complete", "?1", "Upload-Length", "10",
				"Upload-Offset", "0", "Content-Type", "application/partial-upload")
			if field(t, a, "type") != kind || a.header.Get("Upload-Complete") == "?1" {
				t.Errorf("%s: got %v %s", tt.method, a.header, a.body)
			}
		}
		if got := w.want(200, "alice", "GET", "/files/me/short.txt", nil).body; got != "as it was" {
			t.Errorf("the file is %q", got)
		}
		w.wantState(url, 5, "?0")
		a = w.want(400, "alice", "PATCH", url, chunked("678"), "Upload-Complete", "?1", "Upload-Offset", "5",
			"Content-Type", "application/partial-upload") // the length is known from before
		if field(t, a, "type") != kind {
			t.Errorf("got %s", a.body)
		}
		w.piece(200, url, 8, "?1", "90")
	})
	run("R9 a creation that is cut is resumed", func(t *testing.T, w *world) {
		c := w.raw(head(w, "PUT", "/files/me/cut.txt", 9000, "Upload-Complete: ?1\nUpload-Draft-Interop-Version: 8\n") + strings.Repeat("x", 8500))
		res, err := http.ReadResponse(bufio.NewReader(c), nil)
		if err != nil || res.StatusCode != 104 {
			t.Fatalf("got %v, %v", res, err)
		}
		url := res.Header.Get("Location")
		c.Close()
		// R10, R11: who asks stops what still runs, and hears the last word.
		eventually(t, "the bytes are kept", func() bool {
			return w.want(200, "alice", "HEAD", url, nil).header.Get("Upload-Offset") == "8500"
		})
		w.wantState(url, 8500, "?0")
		w.want(404, "alice", "GET", "/files/me/cut.txt", nil)
		w.piece(201, url, 8500, "?1", strings.Repeat("x", 500))
		if got := len(w.want(200, "alice", "GET", "/files/me/cut.txt", nil).body); got != 9000 {
			t.Errorf("got %d bytes", got)
		}
	})
	run("R9 what nobody is told of is not kept", func(t *testing.T, _ *world) {
		w := newWorld(t, setup{limits: store.Limits{OwnerBytes: 10_000}})
		body := strings.Repeat("x", 9000)
		for _, to := range []string{"PUT /files/me/cut.txt", "POST /api/v1/uploads"} {
			method, path, _ := strings.Cut(to, " ")
			w.raw(head(w, method, path, 9000, "Upload-Complete: ?1\n") + body[:8500]).Close()
			eventually(t, "its room is free again", func() bool {
				a := w.as("alice", method, path, strings.NewReader(body), "Upload-Complete", "?1")
				if loc := a.header.Get("Location"); a.status == 201 {
					w.want(204, "alice", "DELETE", loc, nil)
				}
				return a.status == 201
			})
		}
	})
	run("R11 the newer request goes on", func(t *testing.T, w *world) {
		url := create(w, "Upload-Length", "9500")
		old := w.raw(head(w, "PATCH", url, 9500, "Content-Type: application/partial-upload\nUpload-Offset: 0\nUpload-Complete: ?1\n") + strings.Repeat("x", 9000))
		// R6: GET leaves it alone, and tells no offset that may be outdated.
		eventually(t, "the old request appends", func() bool {
			return w.want(200, "alice", "GET", url, nil).header.Get("Upload-Offset") == ""
		})
		eventually(t, "the old request is stopped", func() bool {
			return w.want(200, "alice", "HEAD", url, nil).header.Get("Upload-Offset") == "9000"
		})
		w.piece(200, url, 9000, "?1", strings.Repeat("x", 500))
		if final, _ := old.answer(); final.status != 423 {
			t.Errorf("the old request got %v", final)
		}
	})
	run("R4 the end may come without a body", func(t *testing.T, w *world) {
		bodiless := func(status int, request, more string) answer {
			t.Helper()
			a, _ := w.raw(request + " HTTP/1.1\nHost: h\nAuthorization: Bearer " + w.keys["alice"] + "\n" + more + "\n").answer()
			if a.status != status {
				t.Errorf("%s: got %v, want %d", request, a, status)
			}
			return a
		}
		url := bodiless(201, "POST /api/v1/uploads", "Upload-Complete: ?0\n").header.Get("Location")
		w.piece(204, url, 0, "?0", "abc")
		a := bodiless(200, "PATCH "+url, "Upload-Complete: ?1\nUpload-Offset: 3\nContent-Type: application/partial-upload\n")
		if a.header.Get("Repr-Digest") != digest("abc") { // maybe the creation asked for it
			t.Errorf("got %v", a.header)
		}
		url = bodiless(201, "PUT /files/me/later.txt", "Upload-Complete: ?0\n").header.Get("Location")
		w.piece(201, url, 0, "?1", "abc")
		bodiless(411, "POST /api/v1/uploads", "Upload-Complete: ?1\n")
		bodiless(411, "PUT /files/me/later.txt", "Upload-Complete: ?1\n")
	})
	run("R12 OPTIONS", func(t *testing.T, w *world) {
		for _, path := range []string{"/api/v1/uploads", "/files/alice/x"} {
			a := w.want(204, "anonymous", "OPTIONS", path, nil)
			if got := a.header.Get("Upload-Limit"); got != "max-size=10000, max-age=3600" {
				t.Errorf("%s: %q", path, got)
			}
		}
		free := newWorld(t, setup{http: func(c *handlers.Config) { c.MaxRequestSize = 500 }})
		if got := free.want(204, "anonymous", "OPTIONS", "/api/v1/uploads", nil).header.Get("Upload-Limit"); got != "min-size=0, max-append-size=500, max-age=3600" {
			t.Errorf("without limits: %q", got)
		}
	})
	run("R13 too large", func(t *testing.T, w *world) {
		a := w.resumable(413, "POST", "/api/v1/uploads", "x", "Upload-Complete", "?0", "Upload-Length", "10001")
		if a.header.Get("Upload-Limit") == "" || a.header.Get("Location") != "" {
			t.Errorf("got %v", a.header)
		}
		big := strings.Repeat("x", 100_000) // refused by its head
		url := create(w)
		for _, a := range []answer{
			w.resumable(413, "POST", "/api/v1/uploads", big, "Upload-Complete", "?1"),
			w.resumable(413, "PUT", "/files/me/big", big, "Upload-Complete", "?1"),
			w.piece(413, url, 0, "?0", "", "Upload-Length", "10001"),
		} {
			if a.header.Get("Upload-Limit") == "" {
				t.Errorf("no limit: %v", a.header)
			}
		}
	})
	run("R13 a request over its limit leaves the upload", func(t *testing.T, _ *world) {
		w := newWorld(t, setup{http: func(c *handlers.Config) { c.MaxRequestSize = 500 }})
		url := create(w, "Upload-Length", "2000")
		w.piece(204, url, 0, "?0", "abc")
		w.want(413, "alice", "PATCH", url, io.MultiReader(strings.NewReader(strings.Repeat("x", 900))), // chunked
			"Content-Type", "application/partial-upload", "Upload-Offset", "3", "Upload-Complete", "?0")
		a := w.want(200, "alice", "HEAD", url, nil)
		if offset, _ := strconv.Atoi(a.header.Get("Upload-Offset")); offset < 3 || offset > 503 {
			t.Errorf("got %v, want what came within the limit", a.header)
		}
	})
	run("R3 104 does not overtake an earlier answer", func(t *testing.T, w *world) {
		first := "GET /api/v1/uploads/none HTTP/1.1\nHost: h\n\n"
		final, interim := w.raw(first +
			head(w, "POST", "/api/v1/uploads", 3, "Upload-Complete: ?1\nUpload-Draft-Interop-Version: 8\n") + "abc").answer()
		if len(interim) != 0 || final.status != 401 {
			t.Errorf("the first request got %v, then %d; want 401 alone", interim, final.status)
		}
	})
	run("R14 DELETE", func(t *testing.T, w *world) {
		url := create(w)
		c := w.raw(head(w, "PATCH", url, 9500, "Content-Type: application/partial-upload\nUpload-Offset: 0\nUpload-Complete: ?1\n") + strings.Repeat("x", 9000))
		w.want(204, "alice", "DELETE", url, nil)
		if final, _ := c.answer(); final.status != 423 && final.status != 410 {
			t.Errorf("the running request got %v", final)
		}
		w.want(410, "alice", "HEAD", url, nil)
		w.piece(410, url, 0, "?1", "x")
	})
	run("R15 digests", func(t *testing.T, w *world) {
		url := create(w, "Repr-Digest", digest("abcdef"))
		w.piece(400, url, 0, "?0", "abx", "Content-Digest", digest("abc"))
		w.wantState(url, 0, "?0")
		w.piece(204, url, 0, "?0", "abc", "Content-Digest", digest("abc"))
		a := w.piece(200, url, 3, "?1", "def", "Want-Repr-Digest", "sha-256=9")
		if a.header.Get("Repr-Digest") != digest("abcdef") {
			t.Errorf("got %v", a.header)
		}
		for _, not := range []string{"sha-256=0", "sha-512=9", "x-sha-256=9", "sha-256"} {
			if a := w.resumable(201, "POST", "/api/v1/uploads", "a", "Upload-Complete", "?1", "Want-Repr-Digest", not); a.header.Get("Repr-Digest") != "" {
				t.Errorf("%s: got %v", not, a.header)
			}
		}
		url = create(w, "Repr-Digest", digest("abcdef"))
		if a := w.piece(400, url, 0, "?1", "abcdeX", "Content-Digest", digest("abcdeX")); a.header.Get("Upload-Offset") != "" {
			t.Errorf("an upload that is gone is described: %v", a.header)
		}
		count := len(w.want(200, "alice", "GET", "/api/v1/uploads?limit=1000", nil).body)
		w.resumable(400, "POST", "/api/v1/uploads", "abc", "Upload-Complete", "?0", "Content-Digest", "sha-256=1")
		if n := len(w.want(200, "alice", "GET", "/api/v1/uploads?limit=1000", nil).body); n != count {
			t.Errorf("what its head refuses leaves an upload")
		}
		url = create(w, "Repr-Digest", digest("abcdef"))
		if code := w.piece(400, url, 0, "?1", "abcdeX").code(t); code != store.CodeBadDigest {
			t.Errorf("got %s", code)
		}
		w.want(410, "alice", "HEAD", url, nil)
		w.resumable(400, "POST", "/api/v1/uploads", "abx", "Upload-Complete", "?1", "Content-Digest", digest("abc"))
		// Both at once: of the piece, and of the whole.
		for _, to := range [][2]string{{"POST", "/api/v1/uploads"}, {"PUT", "/files/me/both.txt"}} {
			both := []string{"Upload-Complete", "?0", "Content-Digest", digest("abc"), "Repr-Digest", digest("abcdef")}
			url := w.resumable(201, to[0], to[1], "abc", both...).header.Get("Location")
			if a := w.piece(400, url, 3, "?1", "deX"); a.header.Get("Upload-Offset") != "" {
				t.Errorf("an upload that is gone has an offset: %v", a.header)
			}
			url = w.resumable(201, to[0], to[1], "abc", both...).header.Get("Location")
			w.piece(map[string]int{"POST": 200, "PUT": 201}[to[0]], url, 3, "?1", "def")
			w.resumable(400, to[0], to[1], "abx", both...)
		}
	})
	run("R16 nobody else", func(t *testing.T, w *world) {
		url := create(w)
		for _, method := range []string{"HEAD", "GET", "PATCH", "DELETE"} {
			a := w.as("bob", method, url, strings.NewReader("x"), "Content-Type", "application/partial-upload", "Upload-Offset", "0", "Upload-Complete", "?1")
			if a.status != 404 || a.header.Get("Upload-Offset") != "" {
				t.Errorf("%s: %d %v", method, a.status, a.header)
			}
		}
		w.wantState(url, 0, "?0")
	})
}

// TestProgressIsTold (R13): what is durable of a long append is told while it
// comes in; an old Location is not told again.
func TestProgressIsTold(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{})
	const size = 68 << 20 // what may come unrecorded, and more than one read
	url := w.resumable(201, "POST", "/api/v1/uploads", "", "Upload-Complete", "?0").header.Get("Location")
	final, interim := w.raw(fmt.Sprintf("PATCH %s HTTP/1.1\nHost: h\nAuthorization: Bearer %s\nContent-Length: %d\n"+
		"Content-Type: application/partial-upload\nUpload-Offset: 0\nUpload-Complete: ?0\nUpload-Draft-Interop-Version: 8\n\n",
		url, w.keys["alice"], size) + strings.Repeat("x", size)).answer()
	if final.status != 204 || final.header.Get("Upload-Offset") != strconv.Itoa(size) {
		t.Errorf("got %v", final)
	}
	last := 0
	for _, h := range interim {
		offset, err := strconv.Atoi(h.Get("Upload-Offset"))
		if err != nil || offset <= last || h.Get("Location") != "" || h.Get("Upload-Draft-Interop-Version") != "8" {
			t.Errorf("after %d: %v", last, h)
		}
		last = offset
	}
	if last < 64<<20 {
		t.Errorf("told %d of %d bytes, in %d answers", last, size, len(interim))
	}
}

// TestRevokedDuringBody takes the key away when a body has begun that stores
// something at its end.
func TestRevokedDuringBody(t *testing.T) {
	t.Parallel()
	const form = "--b\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a\"\r\n\r\nabc\r\n--b--\r\n"
	const formType = "multipart/form-data; boundary=b"
	for name, tt := range map[string]struct{ method, url, kind, body string }{
		"PUT":       {"PUT", "/files/me/a", "text/plain", "abc"},
		"raw":       {"POST", "/api/v1/uploads", "text/plain", "abc"},
		"form":      {"POST", "/api/v1/uploads", formType, form},
		"FilePond":  {"POST", "/filepond", formType, form},
		"JSON":      {"PUT", "/api/upload", "application/json", `[{"filename":"a","content":"YWJj"}]`},
		"temporary": {"PUT", "/api/upload_temporary", "application/json", `[{"filename":"a","content":"YWJj"}]`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, setup{})
			a := w.want(201, "alice", "POST", "/api/v1/keys", strings.NewReader(`{"scopes":["write"]}`))
			c := w.raw(fmt.Sprintf("%s %s HTTP/1.1\nHost: h\nAuthorization: Bearer %s\nContent-Length: %d\n"+
				"Content-Type: %s\nExpect: 100-continue\n\n", tt.method, tt.url, field(t, a, "key"), len(tt.body), tt.kind))
			goOn := make([]byte, len("HTTP/1.1 100 Continue\r\n\r\n"))
			if _, err := io.ReadFull(c, goOn); err != nil || !strings.HasPrefix(string(goOn), "HTTP/1.1 100 ") {
				t.Fatalf("got %q, %v", goOn, err)
			}
			w.want(204, "alice", "DELETE", "/api/v1/keys/"+field(t, a, "id"), nil)
			if _, err := io.WriteString(c, tt.body); err != nil {
				t.Fatal(err)
			}
			if final, _ := c.answer(); final.status != 401 {
				t.Errorf("the request got %d, want 401: %s", final.status, final.body)
			}
			if used := w.want(200, "alice", "GET", "/api/v1/me", nil).body; !strings.Contains(used, `"bytes":0`) {
				t.Errorf("something was stored: %s", used)
			}
		})
	}
}

// TestRevokedMeanwhile takes the key away when a request has begun to append
// its last bytes. The length that came with it is recorded before its body, so
// what counts as used tells that it has begun.
func TestRevokedMeanwhile(t *testing.T) {
	t.Parallel()
	const size, first, tusType = 9000, 8500, "application/offset+octet-stream"
	for name, tt := range map[string]struct {
		create  []string // headers of the POST
		collect string   // address of the POST
		kind    string   // media type of the PATCH
		done    int      // how its end is answered
	}{
		"IETF": {[]string{"Upload-Complete", "?0"}, "/api/v1/uploads",
			"application/partial-upload", 200},
		"tus": {[]string{"Tus-Resumable", "1.0.0", "Upload-Defer-Length", "1",
			"Upload-Metadata", "filename " + b64("a.txt") + ",persist " + b64("true")}, "/tus/", tusType, 204},
		"FilePond": {[]string{"Content-Type", "multipart/form-data; boundary=b"}, "/filepond",
			tusType, 204},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, setup{})
			form := ""
			if name == "FilePond" {
				form = "--b\r\nContent-Disposition: form-data; name=\"filepond\"\r\n\r\n{}\r\n--b--\r\n"
			}
			a := w.resumable(201, "POST", tt.collect, form, tt.create...)
			url := a.header.Get("Location")
			if url == "" {
				url = "/filepond?patch=" + a.body
			}
			token := store.Token(url[len(url)-36:])
			a = w.want(201, "alice", "POST", "/api/v1/keys", strings.NewReader(`{"scopes":["write"]}`))
			c := w.raw(fmt.Sprintf("PATCH %s HTTP/1.1\nHost: h\nAuthorization: Bearer %s\nContent-Length: %d\n"+
				"Upload-Offset: 0\nUpload-Length: %d\nUpload-Complete: ?1\nTus-Resumable: 1.0.0\nContent-Type: %s\n\n",
				url, field(t, a, "key"), size, size, tt.kind) +
				strings.Repeat("x", first))
			eventually(t, "the request appends", func() bool {
				return strings.Contains(w.want(200, "alice", "GET", "/api/v1/me", nil).body, `"bytes":9000`)
			})
			w.want(204, "alice", "DELETE", "/api/v1/keys/"+field(t, a, "id"), nil)
			if _, err := io.WriteString(c, strings.Repeat("x", size-first)); err != nil {
				t.Fatal(err)
			}
			if final, _ := c.answer(); final.status != 401 {
				t.Errorf("the request got %d, want 401", final.status)
			}
			a = w.want(200, "alice", "GET", "/api/v1/uploads/"+string(token), nil)
			if state := field(t, a, "state"); state != "receiving" {
				t.Errorf("the upload is %s, want receiving", state)
			}
			w.want(404, "alice", "GET", "/files/me/a.txt", nil)
			// Who still may goes on with it.
			w.resumable(tt.done, "PATCH", url, strings.Repeat("x", size), "Upload-Offset", "0",
				"Upload-Complete", "?1", "Tus-Resumable", "1.0.0", "Content-Type", tt.kind)
		})
	}
}
