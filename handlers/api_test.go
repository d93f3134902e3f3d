package handlers_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"mime/multipart"
	"net"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"upload-service/auth"
	"upload-service/handlers"
	"upload-service/store"
	"upload-service/store/kv"
)

func TestPut(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{})
	a := w.want(201, "alice", "PUT", "/files/me/d/a%20b.txt", strings.NewReader("one"), "X-Meta-Invoice", "17", "Content-Type", "text/csv")
	if got := a.header.Get("Location"); got != "/files/alice/d/a%20b.txt" {
		t.Errorf("Location: %s", got)
	}
	var f struct {
		Path        string
		ContentType string `json:"content_type"`
		Metadata    map[string]string
		ETag        string
	}
	if err := json.Unmarshal([]byte(a.body), &f); err != nil {
		t.Fatal(err)
	}
	if f.Path != "d/a b.txt" || f.ContentType != "text/csv" || f.Metadata["invoice"] != "17" || f.ETag != a.header.Get("ETag") {
		t.Errorf("got %+v", f)
	}
	w.want(412, "alice", "PUT", "/files/me/d/a%20b.txt", strings.NewReader("x"), "If-None-Match", "*")
	w.want(412, "alice", "PUT", "/files/me/d/a%20b.txt", strings.NewReader("x"), "If-Match", `"other", W/`+f.ETag)
	w.want(200, "alice", "PUT", "/files/me/d/a%20b.txt", strings.NewReader("two"), "If-Match", `"other", `+f.ETag)
	if a := w.want(200, "alice", "GET", "/files/me/d/a%20b.txt", nil); a.body != "two" {
		t.Errorf("got %q", a.body)
	}
	w.want(409, "alice", "PUT", "/files/me/d", strings.NewReader("x"))

	for name, c := range map[string]struct {
		path    string
		headers []string
		status  int
		code    store.Code
	}{
		"folder":             {"/files/me/d/", nil, 400, store.CodeInvalid},
		"encoded slash":      {"/files/me/a%2Fb", nil, 400, store.CodeInvalid},
		"encoded backslash":  {"/files/me/a%5cb", nil, 400, store.CodeInvalid},
		"encoded zero":       {"/files/me/a%00b", nil, 400, store.CodeInvalid},
		"control character":  {"/files/me/a%07b", nil, 400, store.CodeInvalid},
		"not UTF-8":          {"/files/me/a%ff", nil, 400, store.CodeInvalid},
		"dots":               {"/files/me/%2e%2e/b", nil, 400, store.CodeInvalid},
		"reserved":           {"/files/me/.upload-service/x", nil, 400, store.CodeInvalid},
		"long segment":       {"/files/me/" + strings.Repeat("x", 256), nil, 400, store.CodeInvalid},
		"Content-Range":      {"/files/me/r", []string{"Content-Range", "bytes 1-2/3"}, 400, store.CodeInvalid},
		"Content-Encoding":   {"/files/me/r", []string{"Content-Encoding", "gzip"}, 415, store.CodeUnsupportedType},
		"bad If-Match":       {"/files/me/r", []string{"If-Match", "x"}, 400, store.CodeInvalid},
		"bad metadata":       {"/files/me/r", []string{"X-Meta-k", strings.Repeat("x", 1025)}, 400, store.CodeInvalid},
		"digest of the rest": {"/files/me/r", []string{"Repr-Digest", "sha-256=:" + base64.StdEncoding.EncodeToString(make([]byte, 32)) + ":"}, 400, store.CodeBadDigest},
	} {
		a := w.as("alice", "PUT", c.path, strings.NewReader("x"), c.headers...)
		if a.status != c.status || a.code(t) != c.code {
			t.Errorf("%s: got %d %s, want %d %s", name, a.status, a.body, c.status, c.code)
		}
	}
	w.want(404, "alice", "GET", "/files/me/r", nil)
}

func TestDigests(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{})
	s256, s512 := sha256.Sum256([]byte("content")), sha512.Sum512([]byte("content"))
	b64 := base64.StdEncoding.EncodeToString
	for name, c := range map[string]struct {
		header, value string
		status        int
	}{
		"sha-256":            {"Content-Digest", "sha-256=:" + b64(s256[:]) + ":", 201},
		"sha-512":            {"Repr-Digest", "sha-512=:" + b64(s512[:]) + ":", 201},
		"both":               {"Repr-Digest", "sha-512=:" + b64(s512[:]) + ":, sha-256=:" + b64(s256[:]) + ":", 201},
		"one of two wrong":   {"Repr-Digest", "sha-512=:" + b64(s256[:]) + ":, sha-256=:" + b64(s256[:]) + ":", 400},
		"unknown is ignored": {"Content-Digest", "md5=:AAAA:", 201},
		"garbage is ignored": {"Content-Digest", "???", 201},
		"not bytes":          {"Content-Digest", "sha-256=17", 400},
	} {
		a := w.as("alice", "PUT", "/files/me/"+strings.ReplaceAll(name, " ", "-"), strings.NewReader("content"), c.header, c.value)
		if a.status != c.status {
			t.Errorf("%s: got %d %s, want %d", name, a.status, a.body, c.status)
		}
	}
	if a := w.want(200, "alice", "HEAD", "/files/me/sha-256", nil); a.header.Get("Repr-Digest") != "sha-256=:"+b64(s256[:])+":" {
		t.Errorf("Repr-Digest: %s", a.header.Get("Repr-Digest"))
	}
}

func TestRanges(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{})
	a := w.want(201, "alice", "PUT", "/files/me/f", strings.NewReader("0123456789"))
	etag := a.header.Get("ETag")
	modified := w.want(200, "alice", "HEAD", "/files/me/f", nil).header.Get("Last-Modified")
	w.want(201, "alice", "PUT", "/files/me/empty", strings.NewReader(""))
	for name, c := range map[string]struct {
		path    string
		headers []string
		status  int
		body    string
		content string // Content-Range
	}{
		"first":               {"f", []string{"Range", "bytes=0-0"}, 206, "0", "bytes 0-0/10"},
		"middle":              {"f", []string{"Range", "bytes=3-5"}, 206, "345", "bytes 3-5/10"},
		"open":                {"f", []string{"Range", "bytes=8-"}, 206, "89", "bytes 8-9/10"},
		"suffix":              {"f", []string{"Range", "bytes=-3"}, 206, "789", "bytes 7-9/10"},
		"long suffix":         {"f", []string{"Range", "bytes=-30"}, 206, "0123456789", "bytes 0-9/10"},
		"beyond the end":      {"f", []string{"Range", "bytes=5-99999999999999999999"}, 206, "56789", "bytes 5-9/10"},
		"unsatisfiable":       {"f", []string{"Range", "bytes=10-"}, 416, "", "bytes */10"},
		"empty suffix":        {"f", []string{"Range", "bytes=-0"}, 416, "", "bytes */10"},
		"of an empty file":    {"empty", []string{"Range", "bytes=0-"}, 416, "", "bytes */0"},
		"backwards":           {"f", []string{"Range", "bytes=5-3"}, 200, "0123456789", ""},
		"another unit":        {"f", []string{"Range", "items=0-1"}, 200, "0123456789", ""},
		"several":             {"f", []string{"Range", "bytes=0-1,3-4"}, 200, "0123456789", ""},
		"garbage":             {"f", []string{"Range", "bytes=a-b"}, 200, "0123456789", ""},
		"negative":            {"f", []string{"Range", "bytes=--1"}, 200, "0123456789", ""},
		"If-Range ETag":       {"f", []string{"Range", "bytes=3-5", "If-Range", etag}, 206, "345", "bytes 3-5/10"},
		"If-Range other":      {"f", []string{"Range", "bytes=3-5", "If-Range", `"x"`}, 200, "0123456789", ""},
		"If-Range weak":       {"f", []string{"Range", "bytes=3-5", "If-Range", "W/" + etag}, 200, "0123456789", ""},
		"If-Range date":       {"f", []string{"Range", "bytes=3-5", "If-Range", modified}, 206, "345", "bytes 3-5/10"},
		"If-None-Match":       {"f", []string{"If-None-Match", `"a,b", W/` + etag}, 304, "", ""},
		"If-None-Match *":     {"f", []string{"If-None-Match", "*"}, 304, "", ""},
		"If-None-Match other": {"f", []string{"If-None-Match", `"x"`}, 200, "0123456789", ""},
		"If-Modified-Since":   {"f", []string{"If-Modified-Since", modified}, 304, "", ""},
		"both, changed":       {"f", []string{"If-None-Match", `"x"`, "If-Modified-Since", modified}, 200, "0123456789", ""},
		"If-Match":            {"f", []string{"If-Match", etag}, 200, "0123456789", ""},
		"If-Match other":      {"f", []string{"If-Match", `"x"`}, 412, "", ""},
		"If-Unmodified-Since": {"f", []string{"If-Unmodified-Since", "Mon, 02 Jan 2006 15:04:05 GMT"}, 412, "", ""},
	} {
		a := w.as("alice", "GET", "/files/me/"+c.path, nil, c.headers...)
		if a.status != c.status || a.status < 400 && a.body != c.body || a.header.Get("Content-Range") != c.content {
			t.Errorf("%s: got %d %q %q, want %d %q %q", name, a.status, a.body, a.header.Get("Content-Range"), c.status, c.body, c.content)
		}
		h := w.as("alice", "HEAD", "/files/me/"+c.path, nil, c.headers...)
		want := a.status
		if want == 206 || want == 416 {
			want = 200 // ranges mean nothing to HEAD (RFC 9110, 14.2)
		}
		if h.status != want || h.body != "" || a.status == 200 && h.header.Get("Content-Length") != a.header.Get("Content-Length") {
			t.Errorf("%s: HEAD differs: %d %v", name, h.status, h.header)
		}
	}
}

func TestDownloadIsHarmless(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{})
	png := "\x89PNG\r\n\x1a\n" + strings.Repeat("x", 20)
	for name, c := range map[string]struct {
		content, declared string
		inline            bool
	}{
		"page.html": {"<!doctype html><script>alert(1)</script>", "text/html", false},
		"x.svg":     {`<svg xmlns="http://www.w3.org/2000/svg" onload="alert(1)"/>`, "image/svg+xml", false},
		"x.xml":     {`<?xml version="1.0"?><x/>`, "text/xml", false},
		"fake.png":  {"<script>alert(1)</script>", "image/png", false},
		"real.png":  {png, "image/png", true},
		"lie.txt":   {png, "text/html", true}, // shown as what it is
		"notes.txt": {"hello", "text/plain", true},
		"x.pdf":     {"%PDF-1.4\n", "text/html", true},
		"x.js":      {"alert(1)", "text/javascript", true},
	} {
		w.want(201, "alice", "PUT", "/files/me/"+name, strings.NewReader(c.content), "Content-Type", c.declared)
		for _, query := range []string{"", "?inline=1"} {
			a := w.want(200, "alice", "GET", "/files/me/"+name+query, nil)
			inline := strings.HasPrefix(a.header.Get("Content-Disposition"), "inline")
			if inline != (c.inline && query != "") {
				t.Errorf("%s%s: Content-Disposition %s", name, query, a.header.Get("Content-Disposition"))
			}
			policy := "sandbox; default-src 'none'"
			if inline && name == "x.pdf" {
				policy = "default-src 'none'"
			}
			if a.header.Get("X-Content-Type-Options") != "nosniff" || !strings.HasPrefix(a.header.Get("Content-Security-Policy"), policy) ||
				a.header.Get("Cache-Control") != "private, no-store" || a.header.Get("Set-Cookie") != "" {
				t.Errorf("%s%s: headers %v", name, query, a.header)
			}
			if inline && strings.Contains(a.header.Get("Content-Type"), "html") {
				t.Errorf("%s%s: inline as %s", name, query, a.header.Get("Content-Type"))
			}
			for _, use := range []string{"script", "style", "worker", "sharedworker", "serviceworker", "xslt"} {
				w.want(403, "alice", "GET", "/files/me/"+name+query, nil, "Sec-Fetch-Dest", use)
			}
			w.want(200, "alice", "GET", "/files/me/"+name+query, nil, "Sec-Fetch-Dest", "image")
		}
	}
	w.want(201, "alice", "PUT", `/files/me/%22%3B%20x%25%C3%A4.txt`, strings.NewReader("x"))
	a := w.want(200, "alice", "GET", `/files/me/%22%3B%20x%25%C3%A4.txt`, nil)
	if got, want := a.header.Get("Content-Disposition"), `attachment; filename="_; x__.txt"; filename*=UTF-8''%22%3B%20x%25%C3%A4.txt`; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func TestMultipart(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{})
	var b bytes.Buffer
	m := multipart.NewWriter(&b)
	m.SetBoundary("xyz")                                                                    //nolint:errcheck // a constant
	fmt.Fprint(m2(m.CreateFormField("before")), "1")                                        // fields and files in any order
	fmt.Fprint(m2(m.CreateFormFile("a", "../../etc/passwd")), "first")                      // only the base name counts
	fmt.Fprint(m2(m.CreateFormField("purpose")), "avatar")                                  // read
	fmt.Fprint(m2(m.CreateFormFile("b", `C:\dir\y.txt`)), strings.Repeat("second", 10_000)) // a path of Windows
	fmt.Fprint(m2(m.CreateFormFile("c", "")), "")                                           // an empty control
	m.Close()
	b.WriteString("an epilogue that is part of the body")

	a := w.want(201, "alice", "POST", "/api/v1/uploads", &b, "Content-Type", "multipart/form-data; boundary=xyz")
	var u struct {
		Token, Purpose string
		Files          []struct {
			Name string
			Size int
		}
	}
	if err := json.Unmarshal([]byte(a.body), &u); err != nil {
		t.Fatal(err)
	}
	if len(u.Files) != 2 || u.Files[0].Name != "passwd" || u.Files[1].Name != "y.txt" || u.Files[1].Size != 60_000 || u.Purpose != "avatar" {
		t.Errorf("got %+v", u)
	}
	w.want(409, "alice", "POST", "/api/v1/uploads/"+u.Token+"/persist", strings.NewReader(`{"expect":{"purpose":"other"}}`))
	w.want(201, "alice", "POST", "/api/v1/uploads/"+u.Token+"/persist", strings.NewReader(`{"expect":{"purpose":"avatar"}}`))

	for name, c := range map[string]struct{ body, kind string }{
		"no boundary": {"x", "multipart/form-data"},
		"a long end": {"--b\r\nContent-Disposition: form-data; name=\"x\"; filename=\"f\"\r\n\r\ny\r\n--b--\r\n" + strings.Repeat("x", 1<<20),
			"multipart/form-data; boundary=b"},
		"no file":      {"--b\r\nContent-Disposition: form-data; name=\"x\"\r\n\r\ny\r\n--b--\r\n", "multipart/form-data; boundary=b"},
		"cut short":    {"--b\r\nContent-Disposition: form-data; name=\"x\"; filename=\"f\"\r\n\r\ny", "multipart/form-data; boundary=b"},
		"long field":   {"--b\r\nContent-Disposition: form-data; name=\"x\"\r\n\r\n" + strings.Repeat("y", 70_000) + "\r\n--b--\r\n", "multipart/form-data; boundary=b"},
		"long name":    {"--b\r\nContent-Disposition: form-data; name=\"" + strings.Repeat("y", 300) + "\"\r\n\r\ny\r\n--b--\r\n", "multipart/form-data; boundary=b"},
		"long head":    {"--b\r\nContent-Disposition: form-data; name=\"" + strings.Repeat("y", 1<<20) + "\"\r\n\r\ny\r\n--b--\r\n", "multipart/form-data; boundary=b"},
		"not the form": {"rubbish", "multipart/form-data; boundary=b"},
	} {
		a := w.as("alice", "POST", "/api/v1/uploads", strings.NewReader(c.body), "Content-Type", c.kind)
		if a.status != 400 {
			t.Errorf("%s: got %d %s", name, a.status, a.body)
		}
	}
}

func m2(w io.Writer, _ error) io.Writer { return w }

func TestLegacy(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{})
	b64 := func(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }
	a := w.want(200, "alice", "PUT", "/api/upload", strings.NewReader(`[{"filename":"a/b.txt","content":"`+b64("one")+`"},`+
		`{"content":"`+b64("two")+`","more":{"x":[1,null]},"filename":"c"}]`), "Content-Type", "text/plain")
	if !strings.Contains(a.body, `"success":true`) {
		t.Errorf("got %s", a.body)
	}
	if got := w.want(200, "alice", "GET", "/files/me/a/b.txt", nil).body; got != "one" {
		t.Errorf("got %q", got)
	}
	w.want(200, "alice", "PUT", "/api/upload", strings.NewReader(`[{"filename":"c","content":""}]`)) // the same name replaces
	if got := w.want(200, "alice", "GET", "/files/me/c", nil).body; got != "" {
		t.Errorf("got %q", got)
	}
	// All or nothing.
	w.want(400, "alice", "PUT", "/api/upload", strings.NewReader(`[{"filename":"d","content":"YQ=="},{"filename":"../e","content":"YQ=="}]`))
	w.want(404, "alice", "GET", "/files/me/d", nil)

	a = w.want(200, "alice", "PUT", "/api/upload_temporary", strings.NewReader(`[{"filename":"t/u","content":"YQ=="}]`))
	w.want(201, "alice", "POST", "/api/v1/uploads/"+field(t, a, "token")+"/persist", strings.NewReader(`{"folder":"in"}`))
	w.want(200, "alice", "GET", "/files/me/in/t/u", nil)

	for name, body := range map[string]string{"empty": `[]`, "no array": `{}`, "not base64": `[{"filename":"x","content":"?"}]`, "open": `[{"filename":"x"`} {
		a := w.as("alice", "PUT", "/api/upload", strings.NewReader(body))
		if a.status != 400 || a.header.Get("Content-Type") != "application/json" || field(t, a, "error") == "" {
			t.Errorf("%s: got %d %s %s", name, a.status, a.header.Get("Content-Type"), a.body)
		}
	}
	a = w.want(401, "anonymous", "PUT", "/api/upload", strings.NewReader(`[]`))
	if field(t, a, "error") == "" {
		t.Errorf("no error member: %s", a.body)
	}
}

func TestPatch(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{})
	a := w.want(201, "alice", "PUT", "/files/me/f", strings.NewReader("x"), "X-Meta-a", "1", "X-Meta-b", "2")
	at := "/api/v1/files/" + field(t, a, "id")
	merge := []string{"Content-Type", "application/merge-patch+json"}
	a = w.want(200, "alice", "PATCH", at, strings.NewReader(`{"path":"d/g","metadata":{"a":null,"c":"3"},"tags":["x"]}`), merge...)
	if !strings.Contains(a.body, `"metadata":{"b":"2","c":"3"},"tags":["x"]`) || field(t, a, "path") != "d/g" {
		t.Errorf("got %s", a.body)
	}
	w.want(412, "alice", "PATCH", at, strings.NewReader(`{"tags":[]}`), append(merge, "If-Match", `"old"`)...)
	a = w.want(200, "alice", "PATCH", at, strings.NewReader(`{"tags":null,"metadata":null}`), append(merge, "If-Match", a.header.Get("ETag"))...)
	if !strings.Contains(a.body, `"metadata":{},"tags":[]`) {
		t.Errorf("null does not clear: %s", a.body)
	}
	for name, c := range map[string]struct {
		body, kind string
		status     int
	}{
		"unknown member": {`{"name":"x"}`, merge[1], 400},
		"wrong type":     {`{"path":1}`, merge[1], 400},
		"not JSON":       {`{`, merge[1], 400},
		"two documents":  {`{} {}`, merge[1], 400},
		"another kind":   {`{}`, "text/plain", 415},
	} {
		if a := w.as("alice", "PATCH", at, strings.NewReader(c.body), "Content-Type", c.kind); a.status != c.status {
			t.Errorf("%s: got %d %s, want %d", name, a.status, a.body, c.status)
		}
	}
}

// TestErrors checks the form of errors, and that causes stay in the log.
func TestErrors(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{})
	a := w.want(404, "alice", "GET", "/files/me/none", nil)
	if got := a.header.Get("Content-Type"); got != "application/problem+json" {
		t.Errorf("Content-Type %s", got)
	}
	if id := a.header.Get("X-Request-Id"); id == "" || field(t, a, "instance") != "urn:request:"+id {
		t.Errorf("instance: %s", a.body)
	}
	if got := field(t, a, "type"); got != "/docs/errors#not_found" {
		t.Errorf("type %s", got)
	}
	page := w.want(200, "anonymous", "GET", "/docs/errors", nil)
	if !strings.Contains(page.body, `id="not_found"`) {
		t.Error("the page of errors does not explain not_found")
	}
	if strings.Contains(page.body, "error.help.") {
		t.Error("the page of errors does not explain every code")
	}
	if a := w.want(405, "alice", "PATCH", "/api/v1/me", nil); a.code(t) != store.CodeMethodNotAllowed {
		t.Errorf("got %s", a.body)
	}
	if a := w.want(404, "alice", "GET", "/nowhere", nil); a.code(t) != store.CodeNotFound {
		t.Errorf("got %s", a.body)
	}
	if a := w.want(404, "alice", "GET", "/files/me/none", nil, "Accept", "text/html"); !strings.Contains(a.body, ">There is nothing here</h1>") {
		t.Errorf("no page: %s", a.body)
	}
	if a := w.want(404, "alice", "GET", "/files/me/none", nil, "HX-Request", "true"); strings.Contains(a.body, "<html") || !strings.Contains(a.body, `role="alert"`) {
		t.Errorf("no fragment: %s", a.body)
	}
	if got := raw(t, w, "POST /api/v1/uploads HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer ghp_alice\r\nConnection: close\r\n\r\n"); !strings.HasPrefix(got, "HTTP/1.1 411 ") {
		t.Errorf("no body at all: got %s", got)
	}
	w.want(413, "alice", "POST", "/api/v1/keys", strings.NewReader(`{"name":"`+strings.Repeat("x", 1<<20)+`"}`))
	w.keys["stranger"] = "ghp_not-known-to-github"
	if a := w.want(401, "stranger", "GET", "/api/v1/me", nil); a.header.Get("WWW-Authenticate") == "" {
		t.Error("no WWW-Authenticate")
	}
	if log := w.log.String(); strings.Contains(log, "ghp_") || strings.Contains(log, "ups_") {
		t.Error("a credential is in the log")
	}
}

// raw sends bytes as they are and returns everything that comes back.
func raw(t *testing.T, w *world, request string) string {
	t.Helper()
	c, err := net.Dial("tcp", strings.TrimPrefix(w.url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := io.WriteString(c, request); err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(c)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestLimits(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{limits: store.Limits{FileSize: 100, OwnerBytes: 250, OwnerFiles: 4}, http: func(c *handlers.Config) {
		c.MaxRequestSize = 1000
	}})
	body := func(n int) io.Reader { return strings.NewReader(strings.Repeat("x", n)) }
	hidden := func(n int) io.Reader { return io.MultiReader(body(n)) } // chunked
	w.want(201, "alice", "PUT", "/files/me/a", body(100))
	w.want(413, "alice", "PUT", "/files/me/b", body(101))
	w.want(413, "alice", "PUT", "/files/me/b", hidden(101))
	w.want(413, "alice", "PUT", "/files/me/b", body(1001))
	w.want(413, "alice", "PUT", "/api/upload", io.MultiReader(strings.NewReader(`[{"x":"`), body(1001), strings.NewReader(`"}]`)))
	w.want(201, "alice", "PUT", "/files/me/b", hidden(100))
	if a := w.want(413, "alice", "PUT", "/files/me/c", body(51)); a.code(t) != store.CodeQuotaExceeded {
		t.Errorf("got %s", a.body)
	}
	if a := w.want(413, "alice", "POST", "/api/v1/uploads", hidden(51)); a.code(t) != store.CodeQuotaExceeded {
		t.Errorf("got %s", a.body)
	}
	w.want(201, "alice", "PUT", "/files/me/c", body(50))
	w.want(200, "alice", "PUT", "/files/me/c", body(50)) // a replacement needs no room
	w.want(204, "alice", "DELETE", "/files/me/c", nil)
	w.want(201, "alice", "PUT", "/files/me/c", body(1))
	w.want(201, "alice", "PUT", "/files/me/d", body(1))
	if a := w.want(413, "alice", "PUT", "/files/me/e", body(1)); a.code(t) != store.CodeQuotaExceeded {
		t.Errorf("got %s", a.body)
	}
	w.want(201, "bob", "PUT", "/files/me/e", body(1))
}

func TestRateLimit(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{http: func(c *handlers.Config) {
		c.RateLimit = 5
		c.TrustedProxies = []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")}
	}})
	for i := range 5 {
		w.want(200, "alice", "GET", "/api/v1/me", nil, "X-Forwarded-For", fmt.Sprintf("192.0.2.%d", i))
	}
	a := w.want(429, "alice", "GET", "/api/v1/me", nil, "X-Forwarded-For", "192.0.2.9")
	if a.header.Get("Retry-After") == "" || a.code(t) != store.CodeRateLimited {
		t.Errorf("got %v %s", a.header, a.body)
	}
	for range 5 {
		w.want(200, "anonymous", "GET", "/docs/errors", nil, "X-Forwarded-For", "198.51.100.1")
	}
	w.want(429, "anonymous", "GET", "/docs/errors", nil, "X-Forwarded-For", "198.51.100.1")
	w.want(200, "anonymous", "GET", "/docs/errors", nil, "X-Forwarded-For", "198.51.100.2")
	// Whoever has one address of IPv6 has 2^64 of them.
	for i := range 5 {
		w.want(200, "anonymous", "GET", "/docs/errors", nil, "X-Forwarded-For", fmt.Sprintf("2001:db8::%x", i+1))
	}
	w.want(429, "anonymous", "GET", "/docs/errors", nil, "X-Forwarded-For", "2001:db8::ffff:0:0:1")
	w.want(200, "anonymous", "GET", "/docs/errors", nil, "X-Forwarded-For", "2001:db8:0:1::1")
	if !strings.Contains(w.log.String(), "from=2001:db8::ffff:0:0:1\n") {
		t.Error("the log has not the whole address")
	}
	// Refusing a probe would have the service restarted for being busy.
	w.want(200, "anonymous", "GET", "/healthz", nil, "X-Forwarded-For", "198.51.100.1")
}

// TestRequestSize: the limit is one for all routes; a small document has a
// narrower one besides.
func TestRequestSize(t *testing.T) {
	t.Parallel()
	const token = "00000000-0000-4000-8000-000000000000"
	for _, tt := range []struct {
		limit int64 // UPLOAD_MAX_REQUEST_SIZE
		small int   // what JSON documents may have
	}{{0, 1 << 20}, {2 << 20, 1 << 20}, {2000, 2000}} {
		w := newWorld(t, setup{http: func(c *handlers.Config) { c.MaxRequestSize = tt.limit }})
		file := field(t, w.want(201, "alice", "PUT", "/files/me/f", strings.NewReader("x")), "id")
		for _, at := range []struct {
			method, path string
			status       int
		}{
			{"POST", "/api/v1/uploads/" + token + "/persist", 404},
			{"PATCH", "/api/v1/files/" + file, 200},
		} {
			exact := "{" + strings.Repeat(" ", tt.small-2) + "}"
			patch := []string{"Content-Type", "application/merge-patch+json"}
			w.want(at.status, "alice", at.method, at.path, strings.NewReader(exact), patch...)
			w.want(413, "alice", at.method, at.path, strings.NewReader(exact+" "), patch...)
			chunked := io.MultiReader(strings.NewReader(exact + " "))
			w.want(413, "alice", at.method, at.path, chunked, patch...)
		}
		// Who needs no credential gets no room worth the name.
		form := []string{"Content-Type", "application/x-www-form-urlencoded"}
		for path, status := range map[string]int{"/theme": 303, "/login": 401} {
			exact := "code=" + strings.Repeat("x", min(tt.small, 8<<10)-5)
			w.want(status, "anonymous", "POST", path, strings.NewReader(exact), form...)
			w.want(413, "anonymous", "POST", path, strings.NewReader(exact+"x"), form...)
			w.want(413, "anonymous", "POST", path, io.MultiReader(strings.NewReader(exact+"x")), form...)
		}
	}
}

// TestBrowser signs in with the one-time link of local mode, uploads with the
// form, lists, and signs out, as a browser without scripts does.
func TestBrowser(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{local: true})
	code, err := w.auth.NewSignInCode(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for range 2 { // to look at the link does not use it up
		if a := w.want(200, "anonymous", "GET", "/login?code="+code, nil); !strings.Contains(a.body, code) {
			t.Fatalf("no button: %s", a.body)
		}
	}
	form := []string{"Content-Type", "application/x-www-form-urlencoded", "Sec-Fetch-Site", "same-origin"}
	w.want(404, "anonymous", "GET", "/login/authorized?code=x&state=x", nil)
	// What is wrong is told where it can be mended.
	w.want(401, "anonymous", "GET", "/login?code=x", nil)
	wrong := w.want(401, "anonymous", "POST", "/login", strings.NewReader("code=x&next=/docs"), append(form, "Accept", "text/html")...)
	for _, want := range []string{"This sign-in link was used", `name="code"`, `name="next" value="/docs"`} {
		if !strings.Contains(wrong.body, want) {
			t.Errorf("the page has no %s: %s", want, wrong.body)
		}
	}
	w.want(403, "anonymous", "POST", "/login", strings.NewReader("code="+code), form[0], form[1], "Sec-Fetch-Site", "cross-site")
	link := url.Values{"code": {" " + w.url + "/login?code=" + code + "\n"}, "next": {"/docs"}} // as a terminal has it
	a := w.want(303, "anonymous", "POST", "/login", strings.NewReader(link.Encode()), form...)
	if got := a.header.Get("Location"); got != "/docs" {
		t.Errorf("the sign-in ends at %s", got)
	}
	cookie := a.header.Get("Set-Cookie")
	if !strings.Contains(cookie, "HttpOnly") || !strings.Contains(cookie, "SameSite=Lax") {
		t.Errorf("cookie %s", cookie)
	}
	w.want(401, "anonymous", "POST", "/login", strings.NewReader("code="+code), form...) // once only
	cookie, _, _ = strings.Cut(cookie, ";")
	in := []string{"Cookie", cookie, "Accept", "text/html"}

	upload := "--b\r\nContent-Disposition: form-data; name=\"file\"; filename=\"<img src=x onerror=alert(1)>.html\"\r\n\r\nx\r\n" +
		"--b\r\nContent-Disposition: form-data; name=\"folder\"\r\n\r\nd/\r\n--b--\r\n"
	multi := append(in, "Content-Type", "multipart/form-data; boundary=b")
	w.want(403, "anonymous", "POST", "/upload", strings.NewReader(upload), append(multi, "Sec-Fetch-Site", "cross-site")...)
	w.want(403, "anonymous", "POST", "/upload", strings.NewReader(upload), append(multi, "Origin", "https://evil.example")...)
	a = w.want(303, "anonymous", "POST", "/upload", strings.NewReader(upload), append(multi, "Sec-Fetch-Site", "same-origin")...)
	if got := a.header.Get("Location"); got != "/files/me/d/" {
		t.Errorf("Location %s", got)
	}
	a = w.want(200, "anonymous", "GET", "/files/me/d/", nil, in...)
	if strings.Contains(a.body, "<img") || !strings.Contains(a.body, "&lt;img") {
		t.Error("a file name is markup")
	}
	a = w.want(200, "anonymous", "GET", "/", nil, in...)
	if !strings.Contains(a.body, `value="d/"`) || !strings.Contains(a.body, "Sign out") {
		t.Errorf("the page does not show the folder: %s", a.body)
	}
	sheet := between(between(a.body, `rel="stylesheet"`, `>`), `href="`, `"`)
	if css := w.want(200, "anonymous", "GET", sheet, nil); !strings.Contains(css.header.Get("Cache-Control"), "immutable") {
		t.Errorf("style sheet: %v", css.header)
	}
	a = w.want(200, "anonymous", "POST", "/upload", strings.NewReader(upload), append(multi, "HX-Request", "true", "Origin", w.url)...)
	if strings.Contains(a.body, "<html") || !strings.Contains(a.body, `<tr role="row"`) {
		t.Errorf("no fragment: %s", a.body)
	}

	if a := w.want(200, "anonymous", "GET", "/logout", nil, append(in, "Sec-Fetch-Site", "cross-site")...); !strings.Contains(a.body, `<form method="post" action="/logout" hx-boost="false"><button class="btn btn-p btn-w">`) {
		t.Errorf("no button: %s", a.body)
	}
	w.want(200, "anonymous", "GET", "/files/me/d/", nil, in...) // still signed in
	w.want(303, "anonymous", "GET", "/logout", nil, append(in, "Sec-Fetch-Site", "same-origin")...)
	w.want(401, "anonymous", "GET", "/files/me/d/", nil, in...)
	if log := w.log.String(); strings.Contains(log, code) || strings.Contains(log, strings.TrimPrefix(cookie, "upload_session=")) {
		t.Error("a secret is in the log")
	}
}

func TestRebinding(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{local: true})
	for host, want := range map[string]int{
		"localhost:8000": 200, "127.0.0.1": 200, "[::1]:8000": 200, "app.localhost": 200, "192.0.2.1:8000": 200,
		"evil.example": 403, "localhost.evil.example": 403, "127.0.0.1.evil.example:8000": 403,
	} {
		if a := w.as("anonymous", "GET", "/", nil, "Host", host); a.status != want {
			t.Errorf("%s: got %d, want %d", host, a.status, want)
		}
	}
}

func TestCORS(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{http: func(c *handlers.Config) { c.CORSOrigins = []string{"https://app.example"} }})
	a := w.as("anonymous", "OPTIONS", "/api/v1/uploads", nil, "Origin", "https://app.example", "Access-Control-Request-Method", "POST")
	if a.status != 204 || a.header.Get("Access-Control-Allow-Origin") != "https://app.example" || a.header.Get("Access-Control-Allow-Credentials") != "" {
		t.Errorf("preflight: %d %v", a.status, a.header)
	}
	a = w.want(401, "anonymous", "GET", "/api/v1/me", nil, "Origin", "https://app.example") // on errors, too
	if a.header.Get("Access-Control-Allow-Origin") != "https://app.example" {
		t.Errorf("error: %v", a.header)
	}
	a = w.want(200, "alice", "GET", "/api/v1/me", nil, "Origin", "https://evil.example")
	if a.header.Get("Access-Control-Allow-Origin") != "" {
		t.Errorf("another origin: %v", a.header)
	}
}

// usedPart leaves the bytes of a part of alice's that became part of another
// upload, which goes: they wait for a sweep.
func (w *world) usedPart(content string) {
	w.t.Helper()
	tus := []string{"Tus-Resumable", "1.0.0", "Content-Type", "application/offset+octet-stream"}
	part := w.want(201, "alice", "POST", "/tus/", strings.NewReader(content),
		append(tus, "Upload-Concat", "partial", "Upload-Length", strconv.Itoa(len(content)))...).header.Get("Location")
	whole := w.want(201, "alice", "POST", "/tus/", nil, append(tus, "Upload-Concat", "final;"+part)...).header.Get("Location")
	w.want(204, "alice", "DELETE", whole, nil, tus...)
}

func TestCleanup(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{})
	w.want(201, "alice", "POST", "/api/v1/uploads", strings.NewReader("x"))
	w.usedPart("12345")
	dry := w.want(200, "root", "POST", "/api/v1/admin/cleanup", strings.NewReader(`{"dry_run":true,"owner":"alice"}`))
	if !strings.Contains(dry.body, `"removed":{"uploads":0,"blobs":1,"bytes":5}`) || !strings.Contains(dry.body, `"reason":"upload became part of another"`) {
		t.Errorf("dry run: %s", dry.body)
	}
	w.want(400, "root", "POST", "/api/v1/admin/cleanup", strings.NewReader(`{"preview":"x","owner":"alice"}`))
	w.want(400, "root", "POST", "/api/v1/admin/cleanup", strings.NewReader(`{"older_than":"yesterday"}`))
	done := w.want(200, "root", "POST", "/api/v1/admin/cleanup", strings.NewReader(`{"preview":"`+field(t, dry, "preview")+`"}`))
	if !strings.Contains(done.body, `"removed":{"uploads":0,"blobs":1,"bytes":5}`) {
		t.Errorf("cleanup: %s", done.body)
	}
	sweeps := w.want(200, "root", "GET", "/api/v1/admin/sweeps", nil)
	if !strings.Contains(sweeps.body, `"bytes":5`) {
		t.Errorf("sweeps: %s", sweeps.body)
	}
	if a := w.want(200, "root", "GET", "/metrics", nil); !strings.Contains(a.body, "upload_requests_total") {
		t.Errorf("metrics: %s", a.body)
	}
}

func TestMetadataLimits(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{})
	a := w.want(201, "alice", "PUT", "/files/me/f", strings.NewReader("x"))
	at := "/api/v1/files/" + field(t, a, "id")
	metadata := func(n int, key, value string) string {
		meta := map[string]string{}
		for i := range n {
			meta[fmt.Sprintf("k%d", i)] = "v"
		}
		meta[key] = value
		b, _ := json.Marshal(map[string]any{"metadata": meta})
		return string(b)
	}
	tags := func(n int, tag string) string {
		list := []string{tag}
		for i := range n - 1 {
			list = append(list, fmt.Sprintf("t%d", i))
		}
		b, _ := json.Marshal(map[string]any{"tags": list})
		return string(b)
	}
	for name, c := range map[string]struct {
		body   string
		status int
	}{
		"24 keys":            {metadata(23, "last", "v"), 200},
		"25 keys":            {metadata(24, "last", "v"), 400},
		"key of 64":          {metadata(0, strings.Repeat("a", 64), "v"), 200},
		"key of 65":          {metadata(0, strings.Repeat("a", 65), "v"), 400},
		"key of all signs":   {metadata(0, "a-z_0.9", "v"), 200},
		"key in capitals":    {metadata(0, "Key", "v"), 400},
		"empty key":          {metadata(0, "", "v"), 400},
		"value of 1 KiB":     {metadata(0, "k", strings.Repeat("v", 1024)), 200},
		"value beyond 1 KiB": {metadata(0, "k", strings.Repeat("v", 1025)), 400},
		"control in a value": {metadata(0, "k", "a\x00b"), 400},
		"20 tags":            {tags(20, "x"), 200},
		"21 tags":            {tags(21, "x"), 400},
		"tag of 64":          {tags(1, strings.Repeat("ä", 32)), 200},
		"tag of 65":          {tags(1, strings.Repeat("a", 65)), 400},
		"empty tag":          {tags(1, ""), 400},
	} {
		w.want(200, "alice", "PATCH", at, strings.NewReader(`{"metadata":null,"tags":null}`), "Content-Type", "application/merge-patch+json")
		a := w.as("alice", "PATCH", at, strings.NewReader(c.body), "Content-Type", "application/merge-patch+json")
		if a.status != c.status {
			t.Errorf("%s: got %d %s, want %d", name, a.status, a.body, c.status)
		}
	}
}

// TestFullDisk asks for more free space than any disk has: uploads are refused
// before their bodies, everything else goes on.
// crowded is metadata that have no room for another commit while it is full.
type crowded struct {
	kv.Store
	full atomic.Bool
}

func (c *crowded) Update(ctx context.Context, affinity string, fn func(kv.Tx) error, opts ...kv.Option) error {
	if c.full.Load() {
		return fmt.Errorf("commit: %w", kv.ErrFull)
	}
	return c.Store.Update(ctx, affinity, fn, opts...)
}

// TestNoRoomForRecords: when nothing can be committed, what writes says so, also
// what is about keys, and what reads goes on, also with a session that is to be
// extended.
func TestNoRoomForRecords(t *testing.T) {
	t.Parallel()
	c := &crowded{}
	var later atomic.Int64
	now := func() time.Time { return time.Now().Add(time.Duration(later.Load())) }
	w := newWorld(t, setup{
		kv:   func(db kv.Store) kv.Store { c.Store = db; return c },
		auth: func(cfg *auth.Config) { cfg.Now = now },
	})
	w.want(201, "alice", "PUT", "/files/me/there", strings.NewReader("x"))
	cookie := w.session("alice")
	later.Store(int64(48 * time.Hour))
	c.full.Store(true)
	for _, r := range [][2]string{
		{"PUT", "/files/me/f"}, {"POST", "/api/v1/uploads"}, {"POST", "/tus/"}, {"DELETE", "/files/me/there"}, {"POST", "/api/v1/keys"},
	} {
		a := w.want(507, "alice", r[0], r[1], strings.NewReader(`{}`), "Tus-Resumable", "1.0.0", "Upload-Length", "2")
		if a.header.Get("Retry-After") == "" {
			t.Errorf("%s %s: no Retry-After", r[0], r[1])
		}
	}
	w.want(200, "alice", "GET", "/files/me/there", nil)
	w.want(200, "anonymous", "GET", "/api/v1/me", nil, "Cookie", cookie)
	c.full.Store(false)
	w.want(204, "alice", "DELETE", "/files/me/there", nil)
}

// TestLostFolder: a service whose volume is gone is not ready.
func TestLostFolder(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{limits: store.Limits{MinFree: 1}})
	w.want(200, "anonymous", "GET", "/readyz", nil)
	blobs := filepath.Join(w.dir, store.InternalDir, "blobs")
	w.ok(os.Rename(blobs, blobs+"2"))
	w.want(503, "anonymous", "GET", "/readyz", nil)
	w.ok(os.Rename(blobs+"2", blobs))
	w.want(200, "anonymous", "GET", "/readyz", nil)
}

func TestFullDisk(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{limits: store.Limits{MinFree: 1 << 62}})
	for _, path := range []string{"/files/me/f", "/api/upload"} {
		a := w.want(507, "alice", "PUT", path, strings.NewReader(`[{"filename":"f","content":""}]`))
		if a.header.Get("Retry-After") == "" || a.code(t) != store.CodeFull {
			t.Errorf("%s: got %v %s", path, a.header, a.body)
		}
	}
	w.want(404, "alice", "DELETE", "/files/me/f", nil)
	w.want(201, "alice", "POST", "/api/v1/keys", strings.NewReader(`{}`))
	w.want(200, "root", "POST", "/api/v1/admin/cleanup", strings.NewReader(`{}`))
}
