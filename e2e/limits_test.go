package e2e_test

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// way is one way to bring contents.
type way struct {
	name, method, path string // %s in path is the name of the file
	kind               string // raw, form or json
	temporary          bool
	status             int      // when it is stored
	fields             []string // header fields of a protocol that resumes
}

var ways = []way{
	{"PUT", "PUT", "/files/me/%s", "raw", false, 201, nil},
	{"upload", "POST", "/api/v1/uploads?filename=%s", "raw", true, 201, nil},
	{"form", "POST", "/upload", "form", false, 303, nil},
	{"upload of a form", "POST", "/api/v1/uploads", "form", true, 201, nil},
	{"legacy", "PUT", "/api/upload", "json", false, 200, nil},
	{"legacy, temporary", "PUT", "/api/upload_temporary", "json", true, 200, nil},
	{"FilePond", "POST", "/filepond", "form", true, 201, nil},
	{"tus", "POST", "/tus/", "raw", true, 201, []string{"Tus-Resumable", "1.0.0"}},
	{"IETF", "POST", "/api/v1/uploads?filename=%s", "raw", true, 201, []string{"Upload-Complete", "?1", "Upload-Draft-Interop-Version", "8"}},
}

// resumable reports whether what arrived of a body is kept. Without a length
// such an upload takes what there is, and goes on when there is more.
func (w way) resumable() bool { return w.fields != nil }

// header are the header fields of a body of some size.
func (w way) header(size int) []string {
	list := append([]string{"Content-Type", w.contentType()}, w.fields...)
	if w.name == "tus" {
		list = append(list, "Upload-Length", strconv.Itoa(size))
	}
	return list
}

func (w way) url(name string) string {
	return strings.Replace(w.path, "%s", name, 1)
}

func (w way) contentType() string {
	if w.kind == "form" {
		return "multipart/form-data; boundary=b"
	}
	if w.name == "tus" {
		return "application/offset+octet-stream"
	}
	return "application/octet-stream"
}

// content is what a request brings under one name.
type content struct {
	name string
	size int
}

// body brings contents; a raw body is the first of them.
func (w way) body(contents ...content) []byte {
	if w.kind == "raw" {
		return make([]byte, contents[0].size)
	}
	var b bytes.Buffer
	for i, c := range contents {
		if w.kind == "form" {
			const head = "--b\r\nContent-Disposition: form-data; name=\"file\"; filename=%q\r\n\r\n%s\r\n"
			fmt.Fprintf(&b, head, c.name, make([]byte, c.size))
			continue
		}
		b.WriteByte("[,"[min(i, 1)])
		text := base64.StdEncoding.EncodeToString(make([]byte, c.size))
		fmt.Fprintf(&b, `{"filename":%q,"content":%q}`, c.name, text)
	}
	if w.kind == "form" {
		b.WriteString("--b--\r\n")
	} else {
		b.WriteByte(']')
	}
	return b.Bytes()
}

// lengths are the two ways to frame a body.
var lengths = map[string]bool{"declared": false, "chunked": true}

func (w way) lengths() map[string]bool {
	if w.resumable() {
		return map[string]bool{"declared": false}
	}
	return lengths
}

// send makes one request.
func (w way) send(t *testing.T, s *server, name string, body []byte, chunked bool) answer {
	t.Helper()
	for try := 0; ; try++ {
		r := io.Reader(bytes.NewReader(body))
		if chunked {
			r = io.MultiReader(r) // hides the length
		}
		a, err := s.do(w.method, w.url(name), r, w.header(len(body))...)
		// A client that still sends a second after it was refused loses the
		// answer; on a busy machine that is one of fifty now and then.
		if lost := errors.Is(err, syscall.EPIPE) || errors.Is(err, syscall.ECONNRESET); lost && try < 3 {
			continue
		}
		if err != nil {
			t.Errorf("%s %s: %v", w.name, name, err)
		}
		return a
	}
}

// refusal is how a limit answers.
type refusal struct {
	status     int
	code       string
	retryAfter int // at most so many seconds; 0: no field
}

// of is the refusal as a client of some protocol gets it: those that resume do
// not come again after 429.
func (want refusal) of(w way) refusal {
	if w.resumable() && want.status == 429 {
		want.status, want.code = 503, "unavailable"
	}
	return want
}

// refusalBy is the refusal of a setting, if docs/limits.md says so too.
func refusalBy(t *testing.T, setting string, status int, code string, retryAfter int) refusal {
	t.Helper()
	text, err := os.ReadFile("../docs/limits.md")
	if err != nil {
		t.Fatal(err)
	}
	_, row, _ := strings.Cut(string(text), "| `"+setting+"` |")
	row, _, _ = strings.Cut(row, "\n")
	answer := fmt.Sprintf("| %d `%s` |", status, code)
	if !strings.Contains(row, answer) || strings.Contains(row, "`Retry-After`") != (retryAfter > 0) {
		t.Errorf("docs/limits.md says of %s: %s\nwant %s, Retry-After %v", setting, row, answer, retryAfter > 0)
	}
	return refusal{status, code, retryAfter}
}

func (want refusal) check(t *testing.T, what string, a answer) {
	t.Helper()
	code := fmt.Sprintf(`"code":%q`, want.code)
	if a.status != want.status || !bytes.Contains(a.body, []byte(code)) {
		t.Errorf("%s: got %d %.200s, want %d %s", what, a.status, a.body, want.status, want.code)
	}
	after, err := strconv.Atoi(a.header.Get("Retry-After"))
	if want.retryAfter == 0 && err == nil || want.retryAfter > 0 && (after < 1 || after > want.retryAfter) {
		t.Errorf("%s: Retry-After is %q, want at most %d", what, a.header.Get("Retry-After"), want.retryAfter)
	}
}

// head sends the head of a request of size bytes and nothing of its body, on a
// connection of its own, and reads the answer.
func (w way) head(t *testing.T, s *server, size int, fields string) answer {
	t.Helper()
	c := s.dial(t)
	defer c.Close()
	list := w.header(size)
	for i := 0; i < len(list); i += 2 {
		fields += "\r\n" + list[i] + ": " + list[i+1]
	}
	fmt.Fprintf(c, "%s %s HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer %s\r\n%s\r\n\r\n",
		w.method, w.url("head"), s.key, fields)
	res, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		t.Fatalf("%s with %q and no body: %v", w.name, fields, err)
	}
	if res.StatusCode == http.StatusContinue {
		return answer{status: res.StatusCode}
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	if !res.Close {
		t.Errorf("%s with %q: the connection stays open, and a body may come", w.name, fields)
	}
	return answer{res.StatusCode, res.Header, b}
}

// before wants a refusal of a request of size bytes before its body, whether
// its client waits for it or not.
func (want refusal) before(t *testing.T, s *server, w way, size int) {
	t.Helper()
	length := fmt.Sprintf("Content-Length: %d", size)
	for _, fields := range []string{length, length + "\r\nExpect: 100-continue"} {
		want.of(w).check(t, w.name+" with "+fields, w.head(t, s, size, fields))
	}
}

// beforeAny is before for limits that do not depend on the size. A body without
// a length that can be resumed is only begun.
func (want refusal) beforeAny(t *testing.T, s *server, w way) {
	t.Helper()
	const size = 100_000
	want.before(t, s, w, size)
	const chunked = "Transfer-Encoding: chunked"
	for _, fields := range []string{chunked, chunked + "\r\nExpect: 100-continue"} {
		if !w.resumable() {
			want.check(t, w.name+" with "+fields, w.head(t, s, size, fields))
		}
	}
}

type usage struct{ Bytes, Files int }

func (s *server) usage(t *testing.T) usage {
	t.Helper()
	var me struct{ Usage usage }
	s.must(t, 200, "GET", "/api/v1/me", nil).json(t, &me)
	return me.Usage
}

// stored lists what there is, as addresses that can be deleted.
func (s *server) stored(t *testing.T) (list []string) {
	t.Helper()
	var files struct{ Files []struct{ ID string } }
	s.must(t, 200, "GET", "/api/v1/files?limit=1000", nil).json(t, &files)
	for _, f := range files.Files {
		list = append(list, "/api/v1/files/"+f.ID)
	}
	var uploads struct{ Uploads []struct{ Token string } }
	s.must(t, 200, "GET", "/api/v1/uploads?limit=1000", nil).json(t, &uploads)
	for _, u := range uploads.Uploads {
		list = append(list, "/api/v1/uploads/"+u.Token)
	}
	return list
}

func (s *server) clear(t *testing.T) {
	t.Helper()
	for _, at := range s.stored(t) {
		s.must(t, 204, "DELETE", at, nil)
	}
	if got := s.usage(t); got != (usage{}) {
		t.Errorf("all is deleted, and %+v is counted", got)
	}
}

// wantClean stops the server and wants nothing but its files to be left.
func (s *server) wantClean(t *testing.T, dir string) {
	t.Helper()
	s.must(t, 200, "POST", "/api/v1/admin/cleanup", strings.NewReader(`{}`))
	files := s.usage(t).Files
	blobs, err := filepath.Glob(filepath.Join(dir, "uploads/.upload-service/blobs/*/*"))
	if err != nil || len(blobs) != files {
		t.Errorf("%d blobs for %d files, %v", len(blobs), files, err)
	}
	if err := s.stop(); err != nil {
		t.Fatalf("stop: %v", err)
	}
	if out, code := command(t, dir, nil, "check", "--content"); code != 0 || strings.Contains(out, "waits") {
		t.Errorf("check: exit %d\n%s", code, out)
	}
}

// kinds are a way for each kind of body.
var kinds = []way{ways[0], ways[2], ways[4], ways[7]}

// race lets 50 clients at what fits only some of them, and returns how many of
// them got in. The others get the refusal.
func (w way) race(t *testing.T, s *server, size int, chunked bool, want refusal) int {
	t.Helper()
	return w.raceOf(t, s, func(name string) []byte { return w.body(content{name, size}) }, chunked, want)
}

func (w way) raceOf(t *testing.T, s *server, body func(name string) []byte, chunked bool, want refusal) int {
	t.Helper()
	var won atomic.Int32
	var wg sync.WaitGroup
	for i := range 50 {
		wg.Go(func() {
			name := fmt.Sprintf("f%d", i)
			a := w.send(t, s, name, body(name), chunked)
			if a.status == w.status {
				won.Add(1)
				return
			}
			want.of(w).check(t, w.name, a)
		})
	}
	wg.Wait()
	return int(won.Load())
}

func TestLimitFileSize(t *testing.T) {
	t.Parallel()
	const limit = 100_000
	dir := t.TempDir()
	s := start(t, dir, "UPLOAD_MAX_FILE_SIZE=100kB", "UPLOAD_UNDO=0")
	tooLarge := refusalBy(t, "UPLOAD_MAX_FILE_SIZE", 413, "too_large", 0)
	for _, w := range ways {
		for name, chunked := range w.lengths() {
			if a := w.send(t, s, "f", w.body(content{"f", limit}), chunked); a.status != w.status && a.status != 200 {
				t.Errorf("%s, %s: a file of the limit: %d %s", w.name, name, a.status, a.body)
			}
			before := s.usage(t)
			over := w.body(content{"g", limit + 1})
			tooLarge.check(t, w.name+", "+name, w.send(t, s, "g", over, chunked))
			if w.kind != "raw" {
				over = w.body(content{"h", limit}, content{"i", limit + 1})
				tooLarge.check(t, w.name+", "+name+", a batch", w.send(t, s, "h", over, chunked))
			}
			if after := s.usage(t); after != before {
				t.Errorf("%s, %s: a refused upload changed the counters: %+v to %+v", w.name, name, before, after)
			}
			if won := w.race(t, s, limit+1, chunked, tooLarge); won != 0 {
				t.Errorf("%s, %s: %d of 50 clients got in with too much", w.name, name, won)
			}
			if won := w.race(t, s, limit, chunked, tooLarge); won != 50 {
				t.Errorf("%s, %s: %d of 50 clients got in with what is allowed", w.name, name, won)
			}
			s.clear(t)
		}
		if w.kind == "raw" {
			tooLarge.before(t, s, w, limit+1)
			if a := w.head(t, s, limit, fmt.Sprintf("Content-Length: %d\r\nExpect: 100-continue", limit)); a.status != 100 {
				t.Errorf("%s of the limit: got %d before the body", w.name, a.status)
			}
		}
	}
	s.wantClean(t, dir)
}

func TestLimitRequestSize(t *testing.T) {
	t.Parallel()
	const limit = 100_000
	dir := t.TempDir()
	s := start(t, dir, "UPLOAD_MAX_REQUEST_SIZE=100kB", "UPLOAD_UNDO=0")
	tooLarge := refusalBy(t, "UPLOAD_MAX_REQUEST_SIZE", 413, "too_large", 0)
	for _, w := range ways {
		size := limit
		switch w.kind {
		case "form":
			size -= len(w.body(content{"f", 0}))
		case "json":
			size = (limit - len(w.body(content{"f", 0}))) / 4 * 3
		}
		exact := w.body(content{"f", size})
		exact = append(exact, bytes.Repeat([]byte{' '}, limit-len(exact))...)
		for name, chunked := range w.lengths() {
			if a := w.send(t, s, "f", exact, chunked); a.status != w.status && a.status != 200 {
				t.Errorf("%s, %s: a body of the limit: %d %s", w.name, name, a.status, a.body)
			}
			before := s.usage(t)
			tooLarge.check(t, w.name+", "+name, w.send(t, s, "f", append(exact[:limit:limit], ' '), chunked))
			if after := s.usage(t); after != before {
				t.Errorf("%s, %s: a refused upload changed the counters: %+v to %+v", w.name, name, before, after)
			}
			over := func(string) []byte { return append(exact[:limit:limit], ' ') }
			if won := w.raceOf(t, s, over, chunked, tooLarge); won != 0 {
				t.Errorf("%s, %s: %d of 50 clients got in with too much", w.name, name, won)
			}
		}
		tooLarge.before(t, s, w, limit+1)
	}
	for _, small := range []way{
		{"persist", "POST", "/api/v1/persist", "raw", true, 0, nil},
		{"patch", "PATCH", "/api/v1/files/%s", "raw", true, 0, nil},
	} {
		tooLarge.before(t, s, small, limit+1)
	}
	s.wantClean(t, dir)
}

// TestLimitOwner fills the room of one owner, in bytes and in files, in every
// way at once.
func TestLimitOwner(t *testing.T) {
	t.Parallel()
	const fit = 7
	for _, limit := range []struct {
		name, setting, value string
		size                 int
	}{
		{"bytes", "UPLOAD_OWNER_QUOTA", "1050kB", 150_000}, // more than one read
		{"files", "UPLOAD_OWNER_MAX_FILES", "7", 1000},
	} {
		t.Run(limit.name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			s := start(t, dir, limit.setting+"="+limit.value, "UPLOAD_UNDO=0")
			full := refusalBy(t, limit.setting, 413, "quota_exceeded", 0)
			want := usage{fit * limit.size, fit}
			for _, w := range ways {
				for name, chunked := range w.lengths() {
					what := w.name + ", " + name
					if won := w.race(t, s, limit.size, chunked, full); won != fit {
						t.Errorf("%s: %d clients got in, want %d", what, won, fit)
					}
					if got := s.usage(t); got != want {
						t.Errorf("%s: counted %+v, want %+v", what, got, want)
					}
					full.check(t, what+", one more", w.send(t, s, "more", w.body(content{"more", limit.size}), chunked))
					stored := s.stored(t)
					if len(stored) != fit {
						t.Fatalf("%s: %d are stored, want %d", what, len(stored), fit)
					}
					s.must(t, 204, "DELETE", stored[0], nil)
					if w.kind != "raw" {
						two := w.body(content{"a", limit.size}, content{"b", limit.size})
						full.check(t, what+", a batch", w.send(t, s, "a", two, chunked))
					}
					if a := w.send(t, s, "next", w.body(content{"next", limit.size}), chunked); a.status != w.status {
						t.Errorf("%s: the next after a delete: %d %s", what, a.status, a.body)
					}
					if got := s.usage(t); got != want {
						t.Errorf("%s: at the end counted %+v, want %+v", what, got, want)
					}
					if limit.name == "files" {
						full.beforeAny(t, s, w)
					} else if w.kind == "raw" {
						full.before(t, s, w, limit.size)
					}
					s.clear(t)
				}
			}
			full.atPersist(t, s, limit.size)
			s.wantClean(t, dir)
		})
	}
}

// atPersist: what is stored already needs no new room to be made permanent,
// changed or moved, when there is none; and a batch that is refused for
// another reason leaves every one of its uploads as it was.
func (full refusal) atPersist(t *testing.T, s *server, size int) {
	t.Helper()
	s.must(t, 201, "PUT", "/files/me/taken", bytes.NewReader(make([]byte, size)))
	var tokens []string
	for i := range 6 {
		name := []string{"taken", "free"}[min(i, 1)] + strconv.Itoa(i)
		var u struct{ Token string }
		s.must(t, 201, "POST", "/api/v1/uploads?filename="+strings.TrimSuffix(name, "0"),
			bytes.NewReader(make([]byte, size))).json(t, &u)
		tokens = append(tokens, u.Token)
	}
	more := ways[0].send(t, s, "more", ways[0].body(content{"more", size}), false)
	full.check(t, "one more beside uploads", more)

	before, there := s.usage(t), s.stored(t)
	all := func(conflict string) io.Reader {
		list := strings.Join(tokens, `","`)
		return strings.NewReader(fmt.Sprintf(`{"tokens":["%s"],"on_conflict":%q}`, list, conflict))
	}
	s.must(t, 409, "POST", "/api/v1/persist", all("fail"))
	if after := s.usage(t); after != before || len(s.stored(t)) != len(there) {
		t.Errorf("a refused batch changed %+v to %+v", before, after)
	}
	a := s.must(t, 201, "POST", "/api/v1/persist", all("rename"))
	var became struct{ Files []struct{ ID string } }
	a.json(t, &became)
	s.must(t, 200, "PATCH", "/api/v1/files/"+became.Files[0].ID,
		strings.NewReader(`{"path":"moved","tags":["a"]}`), "Content-Type", "application/merge-patch+json")
	if after := s.usage(t); after != before {
		t.Errorf("to make permanent changed %+v to %+v", before, after)
	}
	s.must(t, 200, "PUT", "/files/me/moved", bytes.NewReader(make([]byte, size))) // replaces: fits
	s.clear(t)
}

func TestLimitActive(t *testing.T) {
	t.Parallel()
	const fit, size = 7, 200_000
	dir := t.TempDir()
	s := start(t, dir, "UPLOAD_OWNER_MAX_ACTIVE=7")
	busy := refusalBy(t, "UPLOAD_OWNER_MAX_ACTIVE", 429, "rate_limited", 5)
	// 50 clients that stop in the middle, every second with a declared length: 43
	// are told at once.
	release, answers := make(chan struct{}), make(chan answer, 50)
	for i := range 50 {
		r, w := io.Pipe()
		go func() {
			w.Write(make([]byte, size-1)) //nolint:errcheck // ends early when refused
			<-release
			w.Write(make([]byte, 1)) //nolint:errcheck // the same
			w.Close()
		}()
		go func() {
			body := io.Reader(r)
			if i%2 == 0 {
				body = sized{r, size}
			}
			a, err := s.do("PUT", fmt.Sprintf("/files/me/f%d", i), body)
			if err != nil {
				t.Errorf("client %d: %v", i, err)
			}
			answers <- a
		}()
	}
	for range 50 - fit {
		busy.check(t, "one of 50", <-answers)
	}
	for _, w := range ways {
		busy.beforeAny(t, s, w)
	}
	// Small bodies that were sent whole leave the connection good.
	c := s.dial(t)
	r := bufio.NewReader(c)
	for range 2 {
		fmt.Fprintf(c, "PUT /files/me/x HTTP/1.1\r\nHost: localhost\r\n"+
			"Authorization: Bearer %s\r\nContent-Length: 1\r\n\r\nx", s.key)
		res, err := http.ReadResponse(r, nil)
		if err != nil || res.StatusCode != 429 || res.Close {
			t.Fatalf("got %v, %v, want 429 and the connection kept", res, err)
		}
		io.Copy(io.Discard, res.Body) //nolint:errcheck // the next answer tells
	}
	// What brings no bytes goes on.
	const token = "00000000-0000-4000-8000-000000000000"
	s.must(t, 404, "POST", "/api/v1/uploads/"+token+"/persist", strings.NewReader(`{}`))
	close(release)
	for range fit {
		if a := <-answers; a.status != 201 {
			t.Errorf("one of the first %d: %d %s", fit, a.status, a.body)
		}
	}
	if got := s.usage(t); got != (usage{fit * size, fit}) {
		t.Errorf("counted %+v, want %d files", got, fit)
	}
	s.must(t, 201, "PUT", "/files/me/next", strings.NewReader("x"))
	s.wantClean(t, dir)
}

func TestLimitRate(t *testing.T) {
	t.Parallel()
	const fit = 1 // and none more for a minute, which is longer than the test
	often := refusalBy(t, "UPLOAD_RATE_LIMIT", 429, "rate_limited", 60)
	for _, w := range kinds {
		for name, chunked := range w.lengths() {
			if won := w.race(t, start(t, t.TempDir(), "UPLOAD_RATE_LIMIT=1"), 1000, chunked, often); won != fit {
				t.Errorf("%s, %s: %d clients got in, want %d", w.name, name, won, fit)
			}
		}
	}
	dir := t.TempDir()
	s := start(t, dir, "UPLOAD_RATE_LIMIT=1")
	if won := ways[0].race(t, s, 1000, false, often); won != fit {
		t.Errorf("%d clients got in, want %d", won, fit)
	}
	for _, w := range ways {
		often.beforeAny(t, s, w)
	}
	const token = "00000000-0000-4000-8000-000000000000"
	for _, at := range []struct{ method, path string }{
		{"POST", "/api/v1/uploads/" + token + "/persist"}, {"POST", "/api/v1/persist"},
		{"PATCH", "/api/v1/files/" + token}, {"DELETE", "/files/me/f0"}, {"GET", "/api/v1/me"},
	} {
		a, err := s.do(at.method, at.path, strings.NewReader("{}"))
		if err != nil {
			t.Fatal(err)
		}
		often.check(t, at.method+" "+at.path, a)
	}
	s.must(t, 200, "GET", "/healthz", nil)
	if err := s.stop(); err != nil {
		t.Fatalf("stop: %v", err)
	}
	key := s.key
	s = start(t, dir)
	s.key = key
	if got := s.usage(t); got != (usage{fit * 1000, fit}) {
		t.Errorf("counted %+v, want %d", got, fit)
	}
	s.wantClean(t, dir)
}

// TestLimitRateOfOwner: one owner from many addresses is one.
func TestLimitRateOfOwner(t *testing.T) {
	t.Parallel()
	often := refusalBy(t, "UPLOAD_RATE_LIMIT", 429, "rate_limited", 60)
	s := start(t, t.TempDir(), "UPLOAD_RATE_LIMIT=1", "UPLOAD_TRUSTED_PROXIES=127.0.0.1/32")
	var won atomic.Int32
	var wg sync.WaitGroup
	for i := range 50 {
		wg.Go(func() {
			a, err := s.do("PUT", fmt.Sprintf("/files/me/f%d", i), strings.NewReader("x"), "X-Forwarded-For", fmt.Sprintf("192.0.2.%d", i))
			switch {
			case err != nil:
				t.Error(err)
			case a.status == 201:
				won.Add(1)
			default:
				often.check(t, "one of 50 addresses", a)
			}
		})
	}
	wg.Wait()
	if won.Load() != 1 {
		t.Errorf("%d requests of one owner got in, want 1", won.Load())
	}
	s.key = ""
	s.must(t, 200, "GET", "/docs/errors", nil, "X-Forwarded-For", "192.0.2.100") // of nobody
}

// TestLimitHeader: a head, and the beginning of a body, have to arrive in time.
func TestLimitHeader(t *testing.T) {
	t.Parallel()
	const limit = time.Second
	slow := refusalBy(t, "UPLOAD_HEADER_TIMEOUT", 408, "timeout", 0)
	s := start(t, t.TempDir(), "UPLOAD_HEADER_TIMEOUT=1s")
	head := "PUT /files/me/f HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer " + s.key + "\r\n"
	var wg sync.WaitGroup
	for what, request := range map[string]string{
		"half a head":   head,
		"half of 8 KiB": head + "Content-Length: 8192\r\n\r\n" + strings.Repeat("x", 4096),
	} {
		wg.Go(func() {
			began := time.Now()
			c := s.dial(t)
			io.WriteString(c, request) //nolint:errcheck // the answer tells
			res, err := http.ReadResponse(bufio.NewReader(c), nil)
			if err != nil {
				t.Errorf("%s: %v", what, err)
				return
			}
			defer res.Body.Close()
			b, err := io.ReadAll(res.Body)
			if err != nil {
				t.Errorf("%s: %v", what, err)
			}
			slow.check(t, what, answer{res.StatusCode, res.Header, b})
			if took := time.Since(began); took < limit || took > 20*limit {
				t.Errorf("%s: refused after %s", what, took)
			}
		})
	}
	wg.Wait()
	s.must(t, 404, "GET", "/files/me/f", nil)
	s.must(t, 201, "PUT", "/files/me/f", strings.NewReader(strings.Repeat("x", 8192)))
}
