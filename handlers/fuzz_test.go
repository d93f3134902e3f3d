package handlers

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"mime"
	"mime/multipart"
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/gofiber/fiber/v2"
	"github.com/valyala/fasthttp"

	"upload-service/store"
)

// What clients write into headers, against what it must never become.

// request is a context with header fields.
func request(method string, fields ...string) *fiber.Ctx {
	c := fiber.New().AcquireCtx(&fasthttp.RequestCtx{})
	c.Method(method)
	for i := 0; i < len(fields); i += 2 {
		c.Request().Header.Set(fields[i], fields[i+1])
	}
	return c
}

// FuzzRange compares a single range with what net/http makes of it.
func FuzzRange(f *testing.F) {
	for _, s := range []string{"bytes=0-0", "bytes=-1", "bytes=5-", "bytes=9-2", "bytes=99-", "bytes=0-99999999999999999999", "bytes=-", "bytes=1-2,4-5", "lines=1-2", "bytes= 1-2"} {
		f.Add(s, uint16(10))
	}
	single := regexp.MustCompile(`^bytes=([0-9]{1,18}-[0-9]{0,18}|-[0-9]{1,18})$`)
	f.Fuzz(func(t *testing.T, header string, size uint16) {
		d := content{size: int64(size), etag: `"x"`}
		offset, length, partial, err := byteRange(request("GET", "Range", header), d, time.Time{})
		if err == nil && (offset < 0 || length < 0 || offset+length > d.size || partial && length == 0) {
			t.Fatalf("%q of %d bytes: %d bytes from %d", header, size, length, offset)
		}
		if !single.MatchString(header) || size == 0 {
			return
		}
		rec := httptest.NewRecorder()
		r := httptest.NewRequest("GET", "/", nil)
		r.Header.Set("Range", header)
		http.ServeContent(rec, r, "x", time.Time{}, bytes.NewReader(make([]byte, size)))
		got := 200
		switch {
		case err != nil:
			got = 416
		case partial:
			got = 206
		}
		// A range that ends before it begins is bad syntax: RFC 9110 lets a
		// server ignore it, which we do, and net/http refuses it.
		first, last, _ := strings.Cut(strings.TrimPrefix(header, "bytes="), "-")
		a, _ := strconv.ParseInt(first, 10, 64)
		b, _ := strconv.ParseInt(last, 10, 64)
		// The last 0 bytes cannot be had (RFC 9110, 14.1.2): net/http sends a
		// range from 94 to 93.
		if first != "" && last != "" && b < a || first == "" && b == 0 {
			return
		}
		if got != rec.Code || got == 206 && rec.Header().Get("Content-Range") != fmt.Sprintf("bytes %d-%d/%d", offset, offset+length-1, size) {
			t.Fatalf("%q of %d bytes: %d, %d from %d; net/http: %d %v", header, size, got, length, offset, rec.Code, rec.Header())
		}
	})
}

func FuzzConditions(f *testing.F) {
	for _, s := range []string{`"a"`, `W/"a", "b,c"`, `*`, `"a" "b"`, `,,"a"`, `"`, `W/`, `""`} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, header string) {
		tags, any, err := parseETags(header)
		if err != nil {
			return
		}
		if any == (len(tags) > 0) {
			t.Fatalf("%q: any %v and tags %q", header, any, tags)
		}
		for _, tag := range tags {
			if rest := strings.TrimPrefix(tag, "W/"); len(rest) < 2 || rest[0] != '"' || rest[len(rest)-1] != '"' || strings.Contains(rest[1:len(rest)-1], `"`) {
				t.Fatalf("%q: tag %q", header, tag)
			}
		}
		again, _, err := parseETags(strings.Join(tags, ", "))
		if !any && (err != nil || !slices.Equal(tags, again)) {
			t.Fatalf("%q: %q, then %q, %v", header, tags, again, err)
		}
	})
}

func FuzzDigest(f *testing.F) {
	for _, s := range []string{"sha-256=:AAAA:", "sha-512=:AAAA:, sha-256=:BBBB:", "md5=:AAAA:", "sha-256=1", "sha-256", "sha-256=:A:", "a;b=:c"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, header string) {
		var got store.Content
		if err := readDigest([]string{header}, "Content-Digest", &got); err != nil || got.SHA256 == nil {
			return
		}
		var again store.Content
		text := "sha-256=:" + base64.StdEncoding.EncodeToString(got.SHA256) + ":"
		if err := readDigest([]string{text}, "Content-Digest", &again); err != nil || !bytes.Equal(got.SHA256, again.SHA256) {
			t.Fatalf("%q: %x, then %x, %v", header, got.SHA256, again.SHA256, err)
		}
	})
}

// FuzzContentDisposition: any name comes back as it was, in printable ASCII.
func FuzzContentDisposition(f *testing.F) {
	for _, s := range []string{"a.txt", `"quoted".txt`, "ä€𝄞", "100%", "a\r\nX: y", `\`, "..", "a;b=c"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, name string) {
		header := contentDisposition("attachment", name)
		for _, r := range header {
			if r < ' ' || r > '~' {
				t.Fatalf("%q: %q", name, header)
			}
		}
		kind, params, err := mime.ParseMediaType(header)
		if err != nil || kind != "attachment" || utf8.ValidString(name) && params["filename"] != name {
			t.Fatalf("%q: %q is %q %q, %v", name, header, kind, params, err)
		}
	})
}

// FuzzFormName: whatever a form calls a file, what is stored is a path.
func FuzzFormName(f *testing.F) {
	for _, s := range []string{`name="f"; filename="a.txt"`, `name="f"; filename="../../x"`, `name=f; filename*=UTF-8''%00`, `filename="C:\a\b.txt"`} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, disposition string) {
		if strings.ContainsAny(disposition, "\r\n") {
			return
		}
		body := "--b\r\nContent-Disposition: form-data; " + disposition + "\r\n\r\nx\r\n--b--\r\n"
		part, err := multipart.NewReader(strings.NewReader(body), "b").NextRawPart()
		if err != nil || part.FileName() == "" {
			return
		}
		wantPath(t, store.CleanName(part.FileName(), ""), true)
	})
}

// wantPath fails unless a name that was cleaned is a path of one segment, or
// nothing, where that is allowed.
func wantPath(t *testing.T, name store.Path, orNone bool) {
	t.Helper()
	if name == "" && orNone {
		return
	}
	if p, err := store.ParsePath(string(name)); err != nil || p != name || p.Dir() != "" {
		t.Fatalf("the name %q is no path: %v", name, err)
	}
}

func FuzzTusMetadata(f *testing.F) {
	for _, s := range []string{"", "filename YQ==", "filename YQ==,filetype YS9i", "persist dHJ1ZQ==,folder Li4vLi4=", "a,b,c", "a  YQ==", ","} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, header string) {
		b, err := parseTusMetadata(header)
		if err != nil {
			return
		}
		if b.Label != header {
			t.Fatalf("%q comes back as %q", header, b.Label)
		}
		wantPath(t, b.Name, true)
		if b.Then == nil {
			return
		}
		if _, err := store.ParseFolder(b.Then.Folder); err != nil {
			t.Fatalf("%q: folder %q: %v", header, b.Then.Folder, err)
		}
	})
}

func FuzzTusChecksum(f *testing.F) {
	for _, s := range []string{"sha1 2jmj7l5rSw0yVb/vlWAYkK/YBwk=", "crc32 AAAAAA==", "md5 AAAA", "sha1", "sha1  ", "sha1 AAAA"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, header string) {
		algorithm, want, err := parseChecksum(header)
		if err != nil {
			return
		}
		if h := newChecksum(algorithm); h == nil || len(want) != h.Size() {
			t.Fatalf("%q: %q with %d bytes", header, algorithm, len(want))
		}
	})
}

func FuzzTusConcat(f *testing.F) {
	id := "/tus/6ba7b810-9dad-41d1-80b4-00c04fd430c8"
	for _, s := range []string{"partial", "final;" + id, "final;http://h" + id + " " + id, "final;", "final;/tus/../x", "FINAL;" + id} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, header string) {
		for _, public := range []string{"", "https://files.example.com"} {
			s := &Server{cfg: Config{PublicURL: public}}
			c, err := s.parseConcat(header)
			if err != nil {
				continue
			}
			if c.partial && c.final || c.partial && header != "partial" || c.final && !strings.HasPrefix(header, "final;") {
				t.Fatalf("%q: %+v", header, c)
			}
			for _, token := range c.parts {
				if _, err := store.ParseToken(string(token)); err != nil || !strings.Contains(header, "/tus/"+string(token)) {
					t.Fatalf("%q: token %q", header, token)
				}
			}
		}
	})
}

// FuzzResumable: structured fields decide, or are ignored.
func FuzzResumable(f *testing.F) {
	for _, s := range []string{"?1", "?0", "?1;a=b", "1", "?1, ?0", " ?1 ", "?2", "5", "-1", "999999999999999"} {
		f.Add(s, s)
	}
	f.Fuzz(func(t *testing.T, complete, length string) {
		c := request("POST", "Upload-Complete", complete, "Upload-Length", length)
		if r, ok := parseResumable(c); ok && r.complete != strings.Contains(complete, "?1") {
			t.Fatalf("%q is %v", complete, r.complete)
		}
		if n, err := parseLength("Upload-Length", length); err == nil && strconv.FormatInt(n, 10) != strings.TrimLeft(length, "0") && n != 0 {
			t.Fatalf("%q is %d", length, n)
		}
		if name := rawName(request("POST", "Content-Disposition", complete)); name != "" {
			wantPath(t, name, false)
		}
	})
}
