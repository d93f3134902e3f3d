package handlers_test

import (
	"archive/zip"
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"upload-service/store"
)

// action makes a request of the files page as a browser without scripts does,
// and returns the note of the page that follows.
func (w *world) action(who, path string, form url.Values) (a answer, note string) {
	w.t.Helper()
	a = w.as(who, "POST", path, strings.NewReader(form.Encode()),
		"Content-Type", "application/x-www-form-urlencoded", "Accept", "text/html")
	if a.status == 303 {
		cookie, _, _ := strings.Cut(a.header.Get("Set-Cookie"), ";")
		page := w.want(200, who, "GET", a.header.Get("Location"), nil, "Cookie", cookie, "Accept", "text/html")
		note = between(page.body, "data-toast", "</div>")
	}
	return a, note
}

// TestFilesPage reads the page as it is told by the address.
func TestFilesPage(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{})
	for name, content := range map[string]string{
		"docs/a.txt": "plain <b>text</b>", "docs/b.html": "<script>alert(1)</script>", "docs/deep/c.txt": "c",
		"docs/d.svg": "<svg xmlns=\"http://www.w3.org/2000/svg\" onload=\"alert(1)\"/>", "top.txt": "t",
		"docs/<img src=x onerror=alert(1)>.html": "x", "docs/p.png": "\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR",
	} {
		w.want(201, "alice", "PUT", (&url.URL{Path: "/files/me/" + name}).String(), strings.NewReader(content))
	}
	page := func(query string) string {
		return w.want(200, "alice", "GET", "/files/alice/docs/"+query, nil, "Accept", "text/html").body
	}
	names := func(body string) (list []string) {
		for _, part := range strings.Split(between(body, `id="rows"`, "</tbody>"), `<span class="name" title="`)[1:] {
			name, _, _ := strings.Cut(part, `"`)
			list = append(list, name)
		}
		return list
	}
	if got := names(page("")); !slices.Contains(got, "deep") || slices.Contains(got, "deep/c.txt") || len(got) != 6 {
		t.Errorf("the folder lists %q", got)
	}
	if got := names(page("?q=C.T")); !slices.Equal(got, []string{"deep/c.txt"}) {
		t.Errorf("the search finds %q", got)
	}
	if body := page("?q=none"); !strings.Contains(body, "Nothing found for “none”.") || !strings.Contains(body, "/files/alice/?q=none") {
		t.Errorf("an empty search: %s", between(body, `id="list"`, "</section>"))
	}
	if body := page("?sort=-created_at&limit=2"); len(names(body)) != 2 || !strings.Contains(body, "cursor=") {
		t.Errorf("the first page: %q", names(body))
	}
	for name, want := range map[string]string{
		"docs/a.txt": "plain &lt;b&gt;text&lt;/b&gt;</pre>", "docs/b.html": "&lt;script&gt;alert(1)&lt;/script&gt;</pre>",
		"docs/d.svg": "No preview", "docs/p.png": "<img src=\"/files/alice/docs/p.png?inline=1\"",
	} {
		id := between(w.want(200, "alice", "GET", "/api/v1/files?prefix="+url.QueryEscape(name), nil).body, `"id":"`, `"`)
		body := page("?open=" + id)
		if !strings.Contains(between(body, `id="details"`, "</section>"), want) {
			t.Errorf("details of %s: %s", name, between(body, `class="shot"`, "</div>"))
		}
		if strings.Contains(body, "<script>") || strings.Contains(body, "onload=") || strings.Contains(body, "<img src=x") {
			t.Errorf("details of %s: content or a name is markup", name)
		}
	}
	if body := page("?open=" + strings.Repeat("0", 32)); !strings.Contains(body, `id="details" aria-labelledby="h-details" hidden`) {
		t.Error("a file that is gone has details")
	}
}

// TestActions changes files as the page does, and takes each change back.
func TestActions(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{})
	paths := func() (list []string) {
		body := w.want(200, "alice", "GET", "/api/v1/files", nil).body
		for _, part := range strings.Split(body, `"path":"`)[1:] {
			p, _, _ := strings.Cut(part, `"`)
			list = append(list, p)
		}
		return list
	}
	var ids []string
	for i := range 3 {
		ids = append(ids, field(t, w.want(201, "alice", "PUT", fmt.Sprintf("/files/me/in/%d.txt", i), strings.NewReader("x")), "id"))
	}
	before := paths()
	undo := func(note string) {
		t.Helper()
		address := strings.ReplaceAll(between(note, `action="`, `"`), "&amp;", "&")
		if a, _ := w.action("alice", address, nil); a.status != 303 {
			t.Fatalf("undo %q: %d: %s", address, a.status, a.body)
		}
		if got := paths(); !slices.Equal(got, before) {
			t.Errorf("after undo %q: %q, want %q", address, got, before)
		}
	}
	for name, c := range map[string]struct {
		form  url.Values
		path  string
		said  string
		after []string
	}{
		"delete several": {url.Values{"id": ids[:2], "in": {"in/"}}, "/actions/delete", "Deleted 2 files.", []string{"in/2.txt"}},
		"delete one of several that are checked": {
			url.Values{"id": ids, "only": ids[:1], "in": {"in/"}}, "/actions/delete", "Deleted 1 file.", before[1:],
		},
		"delete a folder": {url.Values{"only_folder": {"in"}}, "/actions/delete", "Deleted 3 files.", nil},
		"move a folder": {
			url.Values{"folder": {"in"}, "to": {"out"}}, "/actions/move", "Moved 3 files to “alice/out”.",
			[]string{"out/in/0.txt", "out/in/1.txt", "out/in/2.txt"},
		},
		"move": {url.Values{"id": ids, "to": {"/out/"}, "in": {"in/"}}, "/actions/move", "Moved 3 files to “alice/out”.", []string{"out/0.txt", "out/1.txt", "out/2.txt"}},
		"change": {
			url.Values{"id": ids[2:], "name": {"two.txt"}, "to": {"in"}, "tag": {"a,b"}, "in": {"in/"}}, "/actions/change", "Saved.",
			[]string{"in/0.txt", "in/1.txt", "in/two.txt"},
		},
	} {
		a, note := w.action("alice", c.path, c.form)
		if a.status != 303 || !strings.Contains(note, c.said) {
			t.Fatalf("%s: %d, note %q", name, a.status, note)
		}
		if got := paths(); !slices.Equal(got, c.after) {
			t.Errorf("%s: left %q, want %q", name, got, c.after)
		}
		undo(note)
	}

	// What is refused changes nothing.
	w.want(201, "alice", "PUT", "/files/me/taken/0.txt", strings.NewReader("x"))
	for _, c := range []struct {
		status int
		path   string
		form   url.Values
	}{
		{400, "/actions/delete", nil},
		{400, "/actions/delete", url.Values{"id": ids, "folder": {""}}},
		{400, "/actions/delete", url.Values{"id": ids, "folder": {"a/../b"}}},
		{400, "/actions/move", url.Values{"id": ids, "to": {"a/../b"}}},
		{409, "/actions/move", url.Values{"id": ids, "to": {"taken"}}},
		{400, "/actions/change", url.Values{"id": ids[:1], "name": {""}}},
		{400, "/actions/move", url.Values{"folder": {"in"}, "to": {"in/deeper"}}},
		{409, "/actions/change", url.Values{"id": ids[:1], "name": {"0.txt"}, "to": {"taken"}}},
		{412, "/actions/change", url.Values{"id": ids[:1], "name": {"x"}, "if_match": {`"other"`}}},
		{404, "/actions/delete", url.Values{"id": {"x"}}},
		{404, "/actions/restore/x", nil},
	} {
		if a, _ := w.action("alice", c.path, c.form); a.status != c.status {
			t.Errorf("%s %v: got %d, want %d", c.path, c.form, a.status, c.status)
		}
	}
	if got := paths(); len(got) != 4 {
		t.Errorf("left %q", got)
	}

	// The undo of a change takes no later change back.
	_, note := w.action("alice", "/actions/change", url.Values{"id": ids[:1], "name": {"first"}})
	w.action("alice", "/actions/change", url.Values{"id": ids[:1], "name": {"second"}})
	address := strings.ReplaceAll(between(note, `action="`, `"`), "&amp;", "&")
	if a, _ := w.action("alice", address, nil); a.status != 412 || !slices.Contains(paths(), "second") {
		t.Errorf("undo %q: %d, left %q", address, a.status, paths())
	}
}

// TestManyAtOnce moves and archives more files than an address has room for.
func TestManyAtOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{})
	var ids []string
	for i := range 600 {
		ids = append(ids, field(t, w.want(201, "alice", "PUT", fmt.Sprintf("/files/me/in/%d", i), strings.NewReader("x")), "id"))
	}
	form := url.Values{"id": ids, "to": {"out"}, "in": {"in/"}}
	a := w.want(200, "alice", "POST", "/zip/me/in/", strings.NewReader(form.Encode()),
		"Content-Type", "application/x-www-form-urlencoded")
	if r, err := zip.NewReader(strings.NewReader(a.body), int64(len(a.body))); err != nil || len(r.File) != len(ids) {
		t.Errorf("the archive: %v", err)
	}
	many := url.Values{"id": slices.Repeat(ids[:1], store.MaxBatch+1)}
	w.want(400, "alice", "POST", "/zip/me/in/", strings.NewReader(many.Encode()),
		"Content-Type", "application/x-www-form-urlencoded")
	_, note := w.action("alice", "/actions/move", form)
	if !strings.Contains(note, "Moved 600 files") || !strings.Contains(note, `action="/actions/restore/`) {
		t.Fatalf("the note says %q", note)
	}
	undo := strings.ReplaceAll(between(note, `action="`, `"`), "&amp;", "&")
	if _, note := w.action("alice", undo, nil); !strings.Contains(note, "600 files are back.") {
		t.Errorf("the undo says %q", note)
	}

	// Where a name is taken meanwhile, nothing is moved back.
	_, note = w.action("alice", "/actions/move", url.Values{"id": ids[:2], "to": {"out"}})
	w.want(201, "alice", "PUT", "/files/me/in/1", strings.NewReader("y"))
	undo = strings.ReplaceAll(between(note, `action="`, `"`), "&amp;", "&")
	if a, _ := w.action("alice", undo, nil); a.status != 409 || !strings.Contains(a.body, "in/1") {
		t.Errorf("a move back onto a taken name: %d", a.status)
	}

	// A folder that went meanwhile takes nothing away from the undo of the rest.
	_, note = w.action("alice", "/actions/delete", url.Values{"id": ids[:1], "folder": {"gone"}})
	if !strings.Contains(note, "Deleted 1 file.") || !strings.Contains(note, `action="/actions/restore/`) {
		t.Errorf("the note says %q", note)
	}
}

// TestZip reads archives as they are sent.
func TestZip(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{limits: store.Limits{}})
	files := map[string]string{"d/a.txt": "first", "d/e/ü b.txt": strings.Repeat("second ", 10000), "d/CON.txt": "", "x.txt": "elsewhere"}
	ids := map[string]string{}
	for name, content := range files {
		a := w.want(201, "alice", "PUT", (&url.URL{Path: "/files/me/" + name}).String(), strings.NewReader(content))
		ids[name] = field(t, a, "id")
	}
	for address, want := range map[string][]string{
		"/zip/alice/d/":               {"CON.txt", "a.txt", "e/ü b.txt"},
		"/zip/me/":                    {"d/CON.txt", "d/a.txt", "d/e/ü b.txt", "x.txt"},
		"/zip/me/?id=" + ids["x.txt"]: {"x.txt"},
		"/zip/me/d/?folder=d/e&id=" + ids["d/a.txt"]: {"a.txt", "e/ü b.txt"},
	} {
		a := w.want(200, "alice", "GET", address, nil)
		if d := a.header.Get("Content-Disposition"); !strings.HasPrefix(d, "attachment;") || !strings.Contains(d, ".zip") {
			t.Errorf("%s: disposition %q", address, d)
		}
		r, err := zip.NewReader(strings.NewReader(a.body), int64(len(a.body)))
		if err != nil {
			t.Fatalf("%s: %v", address, err)
		}
		var got []string
		for _, f := range r.File {
			got = append(got, f.Name)
			in, err := f.Open()
			w.ok(err)
			b, err := io.ReadAll(in)
			w.ok(err)
			if content := files[strings.TrimPrefix("d/"+f.Name, "d/d/")]; string(b) != content && string(b) != files[f.Name] {
				t.Errorf("%s: %s has %d bytes", address, f.Name, len(b))
			}
			if f.Modified.IsZero() {
				t.Errorf("%s: %s has no time", address, f.Name)
			}
		}
		slices.Sort(got)
		if !slices.Equal(got, want) {
			t.Errorf("%s: %q, want %q", address, got, want)
		}
	}
	w.want(404, "alice", "GET", "/zip/me/none/", nil)
	w.want(404, "alice", "GET", "/zip/me/?id="+strings.Repeat("0", 32), nil)
	w.want(400, "alice", "GET", "/zip/me/?folder=../x", nil)
}

// blobOf is where the one content of a size lies.
func (w *world) blobOf(size int64) string {
	w.t.Helper()
	blobs, err := filepath.Glob(filepath.Join(w.dir, store.InternalDir, "blobs", "*", "*"))
	w.ok(err)
	for _, at := range blobs {
		if info, err := os.Stat(at); err == nil && info.Size() == size {
			return at
		}
	}
	w.t.Fatalf("no blob of %d bytes among %d", size, len(blobs))
	return ""
}

// TestZipOfWhatGoes takes contents away from an archive that is being made: one
// that is gone is named in it, and one that ends too early leaves it without
// its end.
func TestZipOfWhatGoes(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{})
	for name, size := range map[string]int{"a.txt": 1 << 20, "b.txt": 1002, "c.txt": 1003, "MISSING.txt": 10} {
		w.want(201, "alice", "PUT", "/files/me/d/"+name, strings.NewReader(strings.Repeat("x", size)))
	}
	w.ok(os.Remove(w.blobOf(1002)))
	a := w.want(200, "alice", "GET", "/zip/me/d/", nil)
	r, err := zip.NewReader(strings.NewReader(a.body), int64(len(a.body)))
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, f := range r.File {
		names = append(names, f.Name)
	}
	if want := []string{"MISSING.txt", "a.txt", "c.txt", "_MISSING.txt"}; !slices.Equal(names, want) {
		t.Fatalf("the archive has %q, want %q", names, want)
	}
	last, err := r.File[3].Open()
	w.ok(err)
	if b, err := io.ReadAll(last); err != nil || string(b) != "b.txt\n" {
		t.Errorf("missing is %q, %v", b, err)
	}

	at := w.blobOf(1003)
	w.ok(os.Chmod(at, 0o600))
	w.ok(os.Truncate(at, 500))
	req, err := http.NewRequest("GET", w.url+"/zip/me/d/", nil)
	w.ok(err)
	req.Header.Set("Authorization", "Bearer "+w.keys["alice"])
	res, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err == nil {
		t.Error("an archive that failed looks complete to the client")
	}
	if _, err := zip.NewReader(bytes.NewReader(b), int64(len(b))); err == nil {
		t.Error("an archive that failed has an end")
	}
}

// TestLongLists bounds what a list costs by what a short one costs: ten times
// the rows take at most thirty times as long, and a page of a long folder is
// as fast and as small as one of a short folder. LIST_FILES is how long.
func TestLongLists(t *testing.T) {
	files := 20_000
	if n := os.Getenv("LIST_FILES"); n != "" {
		var err error
		if files, err = strconv.Atoi(n); err != nil {
			t.Fatal(err)
		}
	}
	w := newWorld(t, setup{hidden: true})
	began := time.Now()
	w.fill("alice", "many", files)
	w.fill("alice", "some", 1000)
	w.fill("alice", "few", 100) // the newest, for the order by time
	t.Logf("stored %d files in %v", files, time.Since(began))
	type least struct {
		took time.Duration
		size int
	}
	// What is fastest of several, taken in turn, says least about the machine.
	best := map[string]least{}
	for range 15 {
		for _, at := range []string{
			"few/", "many/", "few/?sort=-created_at", "many/?sort=-created_at", "few/?limit=1000", "some/?limit=1000",
		} {
			began := time.Now()
			a := w.want(200, "alice", "GET", "/files/alice/"+at, nil, "Accept", "text/html")
			took := time.Since(began)
			if rows := strings.Count(a.body, `<a class="row"`); rows < 100 {
				t.Fatalf("%s has %d rows", at, rows)
			}
			if old, ok := best[at]; !ok || took < old.took {
				best[at] = least{took, len(a.body)}
			}
		}
	}
	for at, b := range best {
		t.Logf("%s: %v, %d bytes", at, b.took, b.size)
	}
	const slack = 50 * time.Millisecond // of a busy machine
	if few, some := best["few/?limit=1000"].took, best["some/?limit=1000"].took; some > 30*few+slack {
		t.Errorf("1,000 rows take %v, 100 take %v", some, few)
	}
	for _, sort := range []string{"", "?sort=-created_at"} {
		few, many := best["few/"+sort], best["many/"+sort]
		if many.took > 2*few.took+slack/5 {
			t.Errorf("a page of %d files takes %v, of 100 files %v", files, many.took, few.took)
		}
		if many.size > few.size+few.size/10 {
			t.Errorf("a page of %d files has %d bytes, of 100 files %d", files, many.size, few.size)
		}
	}
}

// fill stores n empty files in a folder, a thousand in each upload. Many at
// once share what a disk takes for each.
func (w *world) fill(who, folder string, n int) {
	w.t.Helper()
	ctx := w.t.Context()
	w.want(200, who, "GET", "/api/v1/me", nil) // makes the account
	owner, err := w.store.OwnerBySlug(ctx, who)
	w.ok(err)
	upload := func(from, to int) error {
		in, err := w.store.Receive(ctx, owner.ID, store.Spec{Size: -1})
		if err != nil {
			return err
		}
		defer in.Close(ctx)
		for i := from; i < to; i++ {
			path, err := store.ParsePath(fmt.Sprintf("%06d.txt", i))
			if err != nil {
				return err
			}
			if _, err := in.Add(ctx, strings.NewReader(""), store.Content{Name: path}); err != nil {
				return err
			}
		}
		u, err := in.StoreUpload(ctx, "")
		if err != nil {
			return err
		}
		_, _, err = w.store.PersistUploads(ctx, owner.ID, store.Persist{Tokens: []store.Token{u.Token}, Folder: folder})
		return err
	}
	var uploads sync.WaitGroup
	turns := make(chan struct{}, 32)
	for from := 0; from < n; from += 1000 {
		uploads.Go(func() {
			turns <- struct{}{}
			w.ok(upload(from, min(n, from+1000)))
			<-turns
		})
	}
	uploads.Wait()
}
