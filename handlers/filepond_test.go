package handlers_test

import (
	"bytes"
	"fmt"
	"mime/multipart"
	"net"
	"net/http"
	"net/textproto"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"upload-service/handlers"
	"upload-service/store"
)

// pond speaks FilePond's protocol as alice.
type pond struct{ *world }

// form is what FilePond posts: metadata as JSON, then the file, in one field.
func (w pond) form(name, content string) (body, contentType string) {
	w.t.Helper()
	var b bytes.Buffer
	m := multipart.NewWriter(&b)
	m.WriteField("filepond", "{}") //nolint:errcheck // a buffer
	if name != "" {
		part, err := m.CreatePart(textproto.MIMEHeader{
			"Content-Disposition": {fmt.Sprintf(`form-data; name="filepond"; filename="%s"`, name)}, "Content-Type": {"text/plain"},
		})
		w.ok(err)
		part.Write([]byte(content)) //nolint:errcheck // a buffer
	}
	w.ok(m.Close())
	return b.String(), m.FormDataContentType()
}

func (w pond) process(status int, name, content string, headers ...string) answer {
	w.t.Helper()
	body, kind := w.form(name, content)
	return w.want(status, "alice", "POST", "/filepond", strings.NewReader(body), append([]string{"Content-Type", kind}, headers...)...)
}

func (w pond) chunk(status int, id string, offset, length int, content string) answer {
	w.t.Helper()
	return w.want(status, "alice", "PATCH", "/filepond?patch="+id, strings.NewReader(content), "Content-Type", "application/offset+octet-stream",
		"Upload-Offset", strconv.Itoa(offset), "Upload-Length", strconv.Itoa(length), "Upload-Name", "name ä.txt")
}

func (w pond) wantRestored(id, want string) answer {
	w.t.Helper()
	a := w.want(200, "alice", "GET", "/filepond?restore="+id, nil)
	if a.body != want {
		w.t.Fatalf("got %q, want %q", a.body, want)
	}
	return a
}

var bareID = regexp.MustCompile(`^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$`)

func TestFilePond(t *testing.T) {
	t.Parallel()
	w := pond{newWorld(t, setup{limits: store.Limits{FileSize: 10_000}, http: func(c *handlers.Config) {
		c.CORSOrigins = []string{"https://app.example"}
	}})}
	run := func(name string, fn func(t *testing.T, w pond)) {
		t.Run(name, func(t *testing.T) {
			own := *w.world
			own.t = t
			fn(t, pond{&own})
		})
	}
	run("F1 F2 process", func(t *testing.T, w pond) {
		a := w.process(201, "a.txt", "content")
		if !bareID.MatchString(a.body) || a.header.Get("Content-Type") != "text/plain; charset=utf-8" {
			t.Fatalf("got %q as %s", a.body, a.header.Get("Content-Type"))
		}
		files := w.want(201, "alice", "POST", "/api/v1/persist", strings.NewReader(`{"tokens":["`+a.body+`"]}`), "Content-Type", "application/json")
		if !strings.Contains(files.body, `"path":"a.txt"`) {
			t.Errorf("got %s", files.body)
		}
		id := w.process(201, "", "", "Upload-Length", "3").body // what is not complete is not persisted
		w.want(409, "alice", "POST", "/api/v1/persist", strings.NewReader(`{"tokens":["`+id+`"]}`), "Content-Type", "application/json")
		w.want(404, "bob", "POST", "/api/v1/persist", strings.NewReader(`{"tokens":["`+id+`"]}`), "Content-Type", "application/json")
	})
	run("F3 F4 chunks", func(t *testing.T, w pond) {
		for _, headers := range [][]string{{"Upload-Length", "8"}, nil} { // a page that computes headers sends none
			id := w.process(201, "", "", headers...).body
			w.chunk(204, id, 0, 8, "abc")
			w.chunk(204, id, 3, 8, "def")
			w.chunk(204, id, 6, 8, "gh")
			a := w.wantRestored(id, "abcdefgh")
			if d := a.header.Get("Content-Disposition"); !strings.HasSuffix(d, `filename="name _.txt"; filename*=UTF-8''name%20%C3%A4.txt`) {
				t.Errorf("got %s", d)
			}
		}
	})
	run("F5 an exact multiple ends with nothing", func(t *testing.T, w pond) {
		id := w.process(201, "", "", "Upload-Length", "6").body
		w.chunk(204, id, 0, 6, "abc")
		w.chunk(204, id, 3, 6, "def")
		w.chunk(204, id, 6, 6, "")
		w.wantRestored(id, "abcdef")
	})
	run("F6 a repeated chunk is acknowledged", func(t *testing.T, w pond) {
		id := w.process(201, "", "", "Upload-Length", "6").body
		w.chunk(204, id, 0, 6, "abc")
		if a := w.chunk(204, id, 0, 6, "abc"); a.header.Get("Upload-Offset") != "3" {
			t.Errorf("got %v", a.header)
		}
		w.chunk(409, id, 0, 6, "abcd") // not a repetition
		huge, _ := w.raw(fmt.Sprintf("PATCH /filepond?patch=%s HTTP/1.1\nHost: h\nAuthorization: Bearer %s\nUpload-Length: 6\n"+
			"Upload-Offset: 1\nContent-Type: application/offset+octet-stream\nContent-Length: 9223372036854775807\n\n",
			id, w.keys["alice"]) + strings.Repeat("x", 9000)).answer()
		if huge.status != 409 && huge.status != 413 {
			t.Errorf("one of 2^63-1 bytes: %v", huge)
		}
		w.chunk(204, id, 3, 6, "def")
		w.chunk(204, id, 3, 6, "def")
		w.wantRestored(id, "abcdef")
	})
	run("F7 of a chunk that is cut nothing is kept", func(t *testing.T, w pond) {
		id := w.process(201, "", "", "Upload-Length", "9500").body
		head := fmt.Sprintf("PATCH /filepond?patch=%s HTTP/1.1\nHost: h\nAuthorization: Bearer %s\nContent-Type: application/offset+octet-stream\n"+
			"Upload-Offset: 0\nUpload-Length: 9500\nContent-Length: 9500\n\n", id, w.keys["alice"])
		c := w.raw(head + strings.Repeat("x", 9000))
		c.Conn.(*net.TCPConn).CloseWrite() //nolint:errcheck // the answer tells
		if a, _ := c.answer(); a.status != 400 {
			t.Errorf("a chunk that is cut: got %v", a)
		}
		a := w.want(200, "alice", "HEAD", "/filepond?patch="+id, nil)
		if a.header.Get("Upload-Offset") != "0" || a.header.Get("Upload-Length") != "9500" {
			t.Fatalf("got %v", a.header)
		}
		w.chunk(204, id, 0, 9500, strings.Repeat("y", 9500))
		w.wantRestored(id, strings.Repeat("y", 9500))
	})
	run("F8 revert", func(t *testing.T, w pond) {
		for _, id := range []string{w.process(201, "a", "b").body, w.process(201, "", "", "Upload-Length", "6").body} {
			a := w.want(204, "alice", "DELETE", "/filepond", strings.NewReader(id), "Content-Type", "text/plain;charset=UTF-8")
			if a.body != "" {
				t.Errorf("got %q", a.body)
			}
			w.want(410, "alice", "GET", "/filepond?restore="+id, nil)
		}
		id := w.process(201, "a", "b").body
		w.want(404, "bob", "DELETE", "/filepond?id="+id, nil)
		w.want(204, "alice", "DELETE", "/filepond?id="+id, nil)
		w.want(404, "alice", "DELETE", "/filepond", strings.NewReader("x"))
		w.want(404, "alice", "DELETE", "/filepond", nil)
	})
	run("F9 restore and load", func(t *testing.T, w pond) {
		id := w.process(201, "100% \u00fc.txt", "restored").body
		a := w.wantRestored(id, "restored")
		if d := a.header.Get("Content-Disposition"); !strings.Contains(d, `filename="100_ _.txt"`) {
			t.Errorf("FilePond cannot decode %s", d)
		}
		f := w.want(201, "alice", "PUT", "/files/me/in/load.txt", strings.NewReader("loaded"))
		for _, source := range []string{field(t, f, "id"), "in/load.txt"} {
			if a := w.want(200, "alice", "GET", "/filepond?load="+source, nil); a.body != "loaded" {
				t.Errorf("%s: got %q", source, a.body)
			}
			w.want(404, "bob", "GET", "/filepond?load="+source, nil)
			a := w.want(200, "alice", "HEAD", "/filepond?load="+source, nil)
			if a.header.Get("Content-Length") != "6" || a.body != "" {
				t.Errorf("HEAD of %s: got %v %q", source, a.header, a.body)
			}
			w.want(304, "alice", "HEAD", "/filepond?load="+source, nil, "If-None-Match", a.header.Get("ETag"))
			w.want(412, "alice", "HEAD", "/filepond?load="+source, nil, "If-Match", `"another"`)
		}
		w.want(400, "alice", "HEAD", "/filepond", nil)
		unfinished := w.process(201, "", "", "Upload-Length", "6").body
		w.want(409, "alice", "HEAD", "/filepond?restore="+unfinished, nil)
		if a := w.want(200, "alice", "HEAD", "/filepond?restore="+id, nil); a.header.Get("Content-Length") != "8" || a.body != "" {
			t.Errorf("HEAD: got %v %q", a.header, a.body)
		}
	})
	run("F10 nothing is fetched", func(t *testing.T, w pond) {
		w.want(403, "alice", "GET", "/filepond?fetch=http://169.254.169.254/", nil)
		w.want(403, "alice", "HEAD", "/filepond?fetch=http://169.254.169.254/", nil)
	})
	run("F11 CORS", func(t *testing.T, w pond) {
		for _, method := range []string{"PATCH", "DELETE", "HEAD"} {
			a := w.as("anonymous", "OPTIONS", "/filepond", nil, "Origin", "https://app.example", "Access-Control-Request-Method", method,
				"Access-Control-Request-Headers", "content-type,upload-length,upload-name,upload-offset,authorization")
			allowed := strings.ToLower(a.header.Get("Access-Control-Allow-Headers"))
			if a.status != http.StatusNoContent || !strings.Contains(a.header.Get("Access-Control-Allow-Methods"), method) ||
				!strings.Contains(allowed, "upload-name") || !strings.Contains(allowed, "upload-offset") {
				t.Errorf("%s: %d %v", method, a.status, a.header)
			}
		}
		a := w.process(201, "a", "b", "Origin", "https://app.example")
		exposed := a.header.Get("Access-Control-Expose-Headers")
		for _, name := range []string{"Upload-Offset", "Content-Disposition", "Content-Length", "X-Content-Transfer-Id"} {
			if !strings.Contains(exposed, name) {
				t.Errorf("%s is not exposed: %s", name, exposed)
			}
		}
	})
	run("F12 refusals", func(t *testing.T, w pond) {
		id := w.process(201, "", "", "Upload-Length", "6").body
		w.chunk(409, id, 3, 6, "def") // a gap
		w.chunk(413, id, 0, 6, "abcdefg")
		w.chunk(400, id, 0, 7, "abc")
		w.chunk(404, "00000000-0000-4000-8000-000000000000", 0, 6, "abc")
		w.want(400, "alice", "POST", "/filepond", strings.NewReader("--b--\r\n"), "Content-Type", "multipart/form-data; boundary=b")
		w.want(415, "alice", "POST", "/filepond", strings.NewReader("x"), "Content-Type", "text/plain")
		w.process(413, "", "", "Upload-Length", "10001")
		w.process(413, "big", strings.Repeat("x", 10_001))
		w.want(400, "alice", "PATCH", "/filepond?patch="+id, strings.NewReader("x"))
		w.want(400, "alice", "GET", "/filepond", nil)
	})
}

// TestStalled: of a piece that stops coming the bytes are kept, but a chunk of
// FilePond, which begins the next one where it believes to be, leaves nothing.
// (tus: TestTusTransient.)
func TestStalled(t *testing.T) {
	t.Parallel()
	w := pond{newWorld(t, setup{idle: 300 * time.Millisecond})}
	resumable := w.resumable(201, "POST", "/api/v1/uploads", "", "Upload-Complete", "?0").header.Get("Location")
	chunk := "/filepond?patch=" + w.process(201, "", "", "Upload-Length", "9500").body
	for _, tt := range []struct {
		url, headers, kept string
		status             int // 408 would tell clients of the IETF's protocol not to resume
	}{
		{resumable, "Content-Type: application/partial-upload\nUpload-Complete: ?0\n", "9000", 503},
		{chunk, "Content-Type: application/offset+octet-stream\nUpload-Length: 9500\n", "0", 408},
	} {
		a, _ := w.raw(fmt.Sprintf("PATCH %s HTTP/1.1\nHost: h\nAuthorization: Bearer %s\nUpload-Offset: 0\nContent-Length: 9500\n%s\n",
			tt.url, w.keys["alice"], tt.headers) + strings.Repeat("x", 9000)).answer()
		if a.status != tt.status {
			t.Errorf("%s: got %v", tt.url, a)
		}
		if got := w.want(200, "alice", "HEAD", tt.url, nil).header.Get("Upload-Offset"); got != tt.kept {
			t.Errorf("%s: kept %s bytes, want %s", tt.url, got, tt.kept)
		}
	}
}
