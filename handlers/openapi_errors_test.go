package handlers_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"upload-service/store"
)

// TestDocumentedErrors provokes the documented answers that no other test asks
// for.
func TestDocumentedErrors(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{limits: store.Limits{FileSize: 100}})
	long := strings.Repeat("x", 200)

	// 1. Things in every state.
	upload := func() string {
		return field(t, w.want(201, "alice", "POST", "/api/v1/uploads?filename=u", strings.NewReader("content")), "token")
	}
	tus := func(headers ...string) string {
		a := w.want(201, "alice", "POST", "/tus", nil, append([]string{"Tus-Resumable", "1.0.0"}, headers...)...)
		return strings.TrimPrefix(a.header.Get("Location"), "/tus/")
	}
	file := func(path string) string {
		return field(t, w.want(201, "alice", "PUT", "/files/me/"+path, strings.NewReader("content")), "id")
	}
	key := func(scope string) string {
		a := w.want(201, "alice", "POST", "/api/v1/keys", strings.NewReader(`{"scopes":["`+scope+`"]}`))
		w.keys[scope] = field(t, a, "key")
		return field(t, a, "id")
	}
	ready, persisted, gone, again := upload(), upload(), upload(), upload()
	const folder, html = `{"folder":"p"}`, "text/html"
	w.want(201, "alice", "POST", "/api/v1/uploads/"+persisted+"/persist", strings.NewReader(folder))
	w.want(204, "alice", "DELETE", "/api/v1/uploads/"+gone, nil)
	receiving, growing := tus("Upload-Length", "7"), tus("Upload-Defer-Length", "1")
	part, half := tus("Upload-Length", "7", "Upload-Concat", "partial"), tus("Upload-Length", "7", "Upload-Concat", "partial")
	w.want(204, "alice", "DELETE", "/tus/"+part, nil, "Tus-Resumable", "1.0.0")
	two, kind := "", "multipart/form-data; boundary=b"
	for _, name := range []string{"a", "b"} {
		two += "--b\r\nContent-Disposition: form-data; name=\"file\"; filename=\"" + name + "\"\r\n\r\nx\r\n"
	}
	several := field(t, w.want(201, "alice", "POST", "/api/v1/uploads", strings.NewReader(two+"--b--\r\n"), "Content-Type", kind), "token")
	form := func(name, content string) string {
		return "--b\r\nContent-Disposition: form-data; name=\"file\"; filename=\"" + name + "\"\r\n\r\n" + content + "\r\n--b--\r\n"
	}
	a, back := file("a"), file("back")
	file("d/x")
	w.want(204, "alice", "DELETE", "/files/me/back", nil)
	file("back")
	writes := key("write")
	key("read")
	for range 100 {
		w.want(201, "bob", "POST", "/api/v1/keys", strings.NewReader(`{}`))
	}

	// 2. Requests and their answers.
	type row struct {
		status             int
		who, request, body string
		headers            []string
	}
	h := func(fields ...string) []string { return fields }
	rows := []row{
		{400, "alice", "DELETE /api/v1/files/" + a, "", h("If-Match", "x")},
		{412, "alice", "DELETE /api/v1/files/" + a, "", h("If-Match", `"x"`)},
		{400, "alice", "DELETE /files/me/a", "", h("If-Match", "x")},
		{412, "alice", "DELETE /files/me/a", "", h("If-Match", `"x"`)},
		{409, "alice", "PATCH /api/v1/files/" + a, `{"path":"d/x"}`, h("Content-Type", "application/merge-patch+json")},
		{409, "alice", "POST /api/v1/files/" + back + "/restore", "", nil},
		{400, "alice", "GET /api/v1/files?limit=0", "", nil},
		{400, "alice", "GET /api/v1/uploads?limit=0", "", nil},
		{400, "root", "GET /api/v1/admin/owners?limit=0", "", nil},
		{404, "root", "POST /api/v1/admin/cleanup", `{"owner":"nobody"}`, nil},
		{410, "root", "POST /api/v1/admin/cleanup", `{"preview":"x"}`, nil},
		{400, "alice", "GET /files/me?limit=0", "", nil},
		{400, "alice", "GET /files/me/a%2Fb", "", nil},
		{403, "read", "DELETE /api/v1/keys/" + writes, "", nil},
		{403, "read", "POST /api/v1/keys", `{"scopes":["write"]}`, nil},
		{400, "alice", "POST /api/v1/keys", `{"scopes":["x"]}`, nil},
		{400, "alice", "POST /api/v1/keys", `{"scopes":[]}`, nil},
		{409, "bob", "POST /api/v1/keys", `{}`, nil},
		{400, "anonymous", "POST /login", "%zz", h("Content-Type", "application/x-www-form-urlencoded")},
		{403, "anonymous", "POST /logout", "", h("Sec-Fetch-Site", "cross-site")},
		{409, "alice", "DELETE /api/v1/uploads/" + persisted, "", nil},
		{410, "alice", "DELETE /api/v1/uploads/" + gone, "", nil},
		{410, "alice", "GET /api/v1/uploads/" + gone, "", nil},
		{410, "alice", "POST /api/v1/uploads/" + gone + "/touch", "", nil},
		{415, "alice", "POST /api/v1/uploads", "x", h("Content-Encoding", "gzip")},
		{413, "alice", "PATCH /api/v1/uploads/" + growing, long,
			h("Content-Type", "application/partial-upload", "Upload-Offset", "0", "Upload-Complete", "?0")},
		{200, "alice", "POST /api/v1/uploads/" + persisted + "/persist", folder, nil},
		{303, "alice", "POST /api/v1/uploads/" + persisted + "/persist", folder, h("Accept", html)},
		{400, "alice", "POST /api/v1/uploads/" + ready + "/persist", `{"on_conflict":"x"}`, nil},
		{410, "alice", "POST /api/v1/uploads/" + gone + "/persist", "", nil},
		{201, "alice", "POST /api/v1/persist", `{"tokens":["` + again + `"]}`, nil},
		{200, "alice", "POST /api/v1/persist", `{"tokens":["` + again + `"]}`, nil},
		{303, "alice", "POST /api/v1/persist", `{"tokens":["` + again + `"]}`, h("Accept", html)},
		{400, "alice", "POST /api/v1/persist", `{}`, nil},
		{410, "alice", "POST /api/v1/persist", `{"tokens":["` + gone + `"]}`, nil},
		{400, "alice", "POST /api/v1/persist", "token=" + again + "&tags=x", h("Content-Type", "application/x-www-form-urlencoded")},
		{415, "alice", "POST /api/v1/persist", form("token", again), h("Content-Type", kind)},
		{415, "alice", "POST /api/v1/uploads/" + ready + "/persist", form("folder", "x"), h("Content-Type", kind)},
		{409, "alice", "DELETE /filepond?id=" + persisted, "", nil},
		{410, "alice", "DELETE /filepond?id=" + gone, "", nil},
		{410, "alice", "HEAD /filepond?patch=" + gone, "", nil},
		{410, "alice", "PATCH /filepond?patch=" + gone, "x", h("Upload-Offset", "0")},
		{415, "alice", "PATCH /filepond?patch=" + receiving, "x", h("Content-Encoding", "gzip")},
		{400, "alice", "POST /upload", "--b--\r\n", h("Content-Type", kind)},
		{409, "alice", "POST /upload", form("d", "x"), h("Content-Type", kind)},
		{413, "alice", "POST /upload", form("f", long), h("Content-Type", kind)},
		{415, "alice", "POST /upload", "x", h("Content-Type", "text/plain")},
		{409, "alice", "PUT /api/upload", `[{"filename":"d","content":"YQ=="}]`, nil},
		{415, "alice", "PUT /api/upload", `[]`, h("Content-Encoding", "gzip")},
		{400, "alice", "PUT /api/upload_temporary", `[]`, nil},
		{413, "alice", "PUT /api/upload_temporary", `[{"filename":"d","content":"` + long + `"}]`, nil},
		{415, "alice", "PUT /api/upload_temporary", `[]`, h("Content-Encoding", "gzip")},
		{412, "alice", "DELETE /tus/" + receiving, "", nil},
		{412, "alice", "PATCH /tus/" + receiving, "", nil},
	}
	version := []string{"Tus-Resumable", "1.0.0"}
	piece := slices.Clip(append(version, "Content-Type", "application/offset+octet-stream"))
	wrong := "sha1 " + b64(strings.Repeat("x", 20))
	for _, at := range []string{"POST /tus", "POST /tus/"} {
		rows = append(rows,
			row{400, "alice", at, "", version},
			row{404, "alice", at, "", append(version, "Upload-Concat", "final;/tus/00000000-0000-4000-8000-000000000000")},
			row{403, "alice", at, "", append(version, "Upload-Concat", "final;/tus/"+receiving)},
			row{409, "alice", at, "", append(version, "Upload-Concat", "final;/tus/"+half)},
			row{410, "alice", at, "", append(version, "Upload-Concat", "final;/tus/"+part)},
			row{412, "alice", at, "", nil},
			row{413, "alice", at, "", append(version, "Upload-Length", "200")},
			row{460, "alice", at, "content", append(piece, "Upload-Length", "7", "Upload-Checksum", wrong)})
	}
	override := slices.Clip(append(piece, "X-HTTP-Method-Override", "PATCH"))
	at := "POST /tus/" + receiving
	rows = append(rows,
		row{400, "alice", at, "x", override},
		row{409, "alice", at, "x", append(override, "Upload-Offset", "5")},
		row{410, "alice", "POST /tus/" + part, "x", append(override, "Upload-Offset", "0")},
		row{412, "alice", at, "x", nil},
		row{413, "alice", at, long, append(override, "Upload-Offset", "0")},
		row{415, "alice", at, "x", append(version, "X-HTTP-Method-Override", "PATCH")},
		row{460, "alice", at, "x", append(override, "Upload-Offset", "0", "Upload-Checksum", wrong)})
	for _, at := range []string{"/api/v1/uploads/%s/content", "/tus/%s", "/filepond?restore=%s"} {
		get := func(token string) string { return "GET " + fmt.Sprintf(at, token) }
		rows = append(rows,
			row{206, "alice", get(ready), "", h("Range", "bytes=1-2")},
			row{304, "alice", get(ready), "", h("If-None-Match", "*")},
			row{400, "alice", get(several), "", nil},
			row{409, "alice", get(receiving), "", nil},
			row{410, "alice", get(gone), "", nil},
			row{412, "alice", get(ready), "", h("If-Match", `"x"`)},
			row{416, "alice", get(ready), "", h("Range", "bytes=100-")})
	}
	for _, r := range rows {
		method, path, _ := strings.Cut(r.request, " ")
		if a := w.as(r.who, method, path, strings.NewReader(r.body), r.headers...); a.status != r.status {
			t.Errorf("%s: %s %v: got %d, want %d: %s", r.who, r.request, r.headers, a.status, r.status, a.body)
		}
	}

	// 3. Without any body, which only a raw connection can send.
	for _, request := range []string{
		"POST /upload", "POST /waiting", "PUT /api/upload", "PUT /api/upload_temporary", "PUT /files/me/f", "POST /api/v1/uploads",
		"POST /filepond",
	} {
		w.bodiless(411, request)
	}
	// What cannot be resumed needs a body, whatever it says.
	for _, request := range []string{"POST /upload", "POST /waiting", "PUT /api/upload", "POST /filepond"} {
		w.bodiless(411, request, "Upload-Complete: ?0")
	}
}

// bodiless makes a request as alice that has neither a length nor chunks.
func (w *world) bodiless(status int, request string, fields ...string) {
	w.t.Helper()
	head := append([]string{request + " HTTP/1.1", "Host: x", "Authorization: Bearer " + w.keys["alice"]}, fields...)
	c := w.raw(strings.Join(head, "\n") + "\n\n")
	if a, _ := c.answer(); a.status != status {
		w.t.Errorf("%s: got %d %s, want %d", request, a.status, a.body, status)
	}
}
