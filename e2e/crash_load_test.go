package e2e_test

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"math/rand/v2"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// operations are what a worker does, in an order of its own and each so many
// times before it begins anew: all of them come up soon.
var operations = []struct {
	kind  string
	times int
	run   func(*worker, *server)
}{
	{"put", 8, (*worker).put},
	{"swap", 3, (*worker).swap},
	{"several", 2, (*worker).several},
	{"refused", 1, (*worker).refused},
	{"too large", 1, (*worker).tooLarge},
	{"damaged", 1, (*worker).damaged},
	{"delete", 3, (*worker).remove},
	{"restore", 3, (*worker).restore},
	{"rename", 3, (*worker).rename},
	{"upload", 4, (*worker).upload},
	{"persist", 4, (*worker).persist},
	{"discard", 1, (*worker).discard},
	{"tus", 3, (*worker).tus},
	{"ietf", 2, (*worker).ietf},
	{"filepond", 2, (*worker).filepond},
	{"concat", 1, (*worker).concat},
	{"sweep", 2, (*worker).sweep},
}

// worker makes one request after the other below a folder of its own, and
// knows what each has to answer and to leave. It ends with the first request
// that gets no answer: what is there then is one of two things.
type worker struct {
	c     *crash
	top   string
	rng   *rand.Rand
	acked map[string]int // answers as expected, by operation

	has   *state   // acknowledged
	maybe *state   // after the request without an answer; nil if it changes nothing
	down  bool     // there was such a request
	asked *waiting // the persist that it was
	part  *pieces  // the upload that it was a piece of
}

// state is what a worker has on the server.
type state struct {
	files   map[string]file     // by path
	trash   map[string][]buried // by the id of the file, the latest last
	waiting map[string]waiting  // complete uploads, by token
}

type file struct{ id, sum string } // id is "" until it is known

type buried struct {
	path, sum string
	until     time.Time // it can be restored at least so long
}

type waiting struct {
	token, path, sum string    // path is where it goes
	until            time.Time // it lives at least so long
}

func newWorker(c *crash, n int, rng *rand.Rand) *worker {
	return &worker{
		c: c, top: fmt.Sprintf("w%d", n), rng: rng, acked: map[string]int{},
		has: &state{map[string]file{}, map[string][]buried{}, map[string]waiting{}},
	}
}

func (st *state) clone() *state {
	return &state{maps.Clone(st.files), maps.Clone(st.trash), maps.Clone(st.waiting)}
}

// shut reports whether no file can be at a path: it is a folder, or lies below
// a file.
func (st *state) shut(at string) bool {
	return len(st.inTheWay(at)) > 0
}

func (st *state) inTheWay(at string) (paths []string) {
	for p := range st.files {
		if strings.HasPrefix(p, at+"/") || strings.HasPrefix(at, p+"/") {
			paths = append(paths, p)
		}
	}
	return paths
}

// free is the status of moving a file to a path: nothing may be there.
func (st *state) free(at string) int {
	if _, taken := st.files[at]; taken || st.shut(at) {
		return 409
	}
	return 200
}

// place puts a content at a path; what was there goes to the trash and leaves
// its id.
func (st *state) place(at, sum string, undo time.Duration) {
	id := st.files[at].id
	st.bury(at, undo)
	st.files[at] = file{id, sum}
}

// bury removes a file, if there is one.
func (st *state) bury(at string, undo time.Duration) {
	f, until := st.files[at], time.Now().Add(undo)
	list := st.trash[f.id]
	if len(list) > 0 && list[len(list)-1].until.After(until) { // no version goes before an older one
		until = list[len(list)-1].until
	}
	if f.id != "" && until.After(time.Now()) {
		st.trash[f.id] = append(slices.Clip(list), buried{at, f.sum, until})
	}
	delete(st.files, at)
}

// matches reports whether got are the files.
func (st *state) matches(got map[string]file) bool {
	return maps.EqualFunc(st.files, got, func(want, got file) bool {
		return want.sum == got.sum && (want.id == "" || want.id == got.id)
	})
}

// request is one request and all that is expected of it.
type request struct {
	kind         string
	method, path string
	body         io.Reader
	headers      []string
	want         int          // status
	until        time.Time    // from then on it may be too late: 404 or 410; zero is never
	leaves       func(*state) // what it changes if it succeeds
}

// send makes a request, and reports whether it was answered as expected.
func (w *worker) send(s *server, r request) (a answer, ok bool) {
	if w.down {
		return a, false
	}
	after := w.has.clone()
	if r.leaves != nil && r.want < 300 {
		r.leaves(after)
	}
	a, err := s.do(r.method, r.path, r.body, r.headers...)
	switch {
	case err != nil:
		w.down, w.maybe = true, after
		select {
		case <-s.done:
		case <-time.After(5 * time.Second):
			w.c.t.Errorf("%s: %s: %s %s: %v, and the server lives", w.c.where, r.kind, r.method, r.path, err)
		}
	case a.status == r.want:
		w.has = after
		w.acked[r.kind]++
		return a, true
	case !r.until.IsZero() && time.Now().After(r.until) && (a.status == 404 || a.status == 410):
	default:
		w.c.t.Errorf("%s: %s: %s %s: got %d %.200s, want %d",
			w.c.where, r.kind, r.method, r.path, a.status, a.body, r.want)
	}
	return a, false
}

func (w *worker) run(s *server) {
	var deck []func(*worker, *server)
	for _, op := range operations {
		deck = append(deck, slices.Repeat([]func(*worker, *server){op.run}, op.times)...)
	}
	for !w.down {
		w.rng.Shuffle(len(deck), func(i, j int) { deck[i], deck[j] = deck[j], deck[i] })
		for i := 0; i < len(deck) && !w.down; i++ {
			deck[i](w, s)
		}
	}
}

// path is one of few, so that they meet; some are below others.
func (w *worker) path() string {
	p := fmt.Sprintf("%s/%c/f%d", w.top, 'a'+rune(w.rng.IntN(2)), w.rng.IntN(4))
	if w.rng.IntN(4) == 0 {
		p += "/g"
	}
	return p
}

// content is unlike every other.
func (w *worker) content() []byte {
	size := []int{0, 10, 4096, 70_000, 250_000}[w.rng.IntN(5)]
	b := make([]byte, size+8)
	binary.LittleEndian.PutUint64(b, w.rng.Uint64())
	for i := 8; i < len(b); i++ {
		b[i] = byte(i * 7)
	}
	return b
}

// oneOf is a random key; ok is false if there is none.
func oneOf[V any](w *worker, m map[string]V) (key string, ok bool) {
	if len(m) == 0 {
		return "", false
	}
	return slices.Sorted(maps.Keys(m))[w.rng.IntN(len(m))], true
}

// unless is a status, or refused where no file can be.
func (w *worker) unless(at string, status, refused int) int {
	if w.has.shut(at) {
		return refused
	}
	return status
}

// places is what a request leaves that makes a content the file at a path.
func (w *worker) places(at string, b []byte) func(*state) {
	sum, undo := hexSum(b), w.c.undo
	return func(st *state) { st.place(at, sum, undo) }
}

// learn takes the id of a new file from an answer that shows it.
func (w *worker) learn(at string, a answer) {
	var shown struct {
		ID, SHA256 string
		Files      []struct{ ID, SHA256 string }
	}
	if err := json.Unmarshal(a.body, &shown); err != nil {
		w.c.t.Errorf("%s: %s: %v: %.200s", w.c.where, at, err, a.body)
		return
	}
	if len(shown.Files) > 0 {
		shown.ID, shown.SHA256 = shown.Files[0].ID, shown.Files[0].SHA256
	}
	f := w.has.files[at]
	if shown.SHA256 != f.sum || f.id != "" && shown.ID != f.id {
		w.c.t.Errorf("%s: %s: answered %.200s, want %v", w.c.where, at, a.body, f)
	}
	w.has.files[at] = file{shown.ID, f.sum}
}

func (w *worker) put(s *server) {
	at := w.path()
	if w.rng.IntN(2) == 0 {
		w.clear(s, at)
	}
	w.putAt(s, "put", at)
}

func (w *worker) putAt(s *server, kind, at string) {
	b, status := w.content(), 201
	if _, there := w.has.files[at]; there {
		status = 200
	}
	r := request{kind: kind, method: "PUT", path: "/files/me/" + at, body: bytes.NewReader(b),
		want: w.unless(at, status, 409), leaves: w.places(at, b)}
	if a, ok := w.send(s, r); ok && a.status < 300 {
		w.learn(at, a)
	}
}

// swap makes a folder of a file, or a file of a folder.
func (w *worker) swap(s *server) {
	at, ok := oneOf(w, w.has.files)
	if !ok {
		return
	}
	if folder, below := strings.CutSuffix(at, "/g"); below {
		at = folder
	} else {
		at += "/g"
	}
	w.clear(s, at)
	w.putAt(s, "swap", at)
}

// clear removes what does not let a file be at a path.
func (w *worker) clear(s *server, at string) {
	for _, p := range w.has.inTheWay(at) {
		w.removeAt(s, p)
	}
}

// several brings two files in one request: both or none.
func (w *worker) several(s *server) { w.bring(s, "several", w.path(), w.path()) }

// refused is refused by its commit, behind its bytes.
func (w *worker) refused(s *server) {
	at := strings.TrimSuffix(w.path(), "/g")
	w.bring(s, "refused", at, at+"/g")
}

func (w *worker) bring(s *server, kind string, paths ...string) {
	var list []map[string]any
	want, undo := 200, w.c.undo
	sums, after := make([]string, len(paths)), w.has.clone()
	for i, at := range paths {
		b := w.content()
		list, sums[i] = append(list, map[string]any{"filename": at, "content": b}), hexSum(b)
		if after.shut(at) {
			want = 409
		}
		after.place(at, sums[i], undo)
	}
	body, err := json.Marshal(list)
	if err != nil {
		w.c.t.Error(err)
	}
	w.send(s, request{kind: kind, method: "PUT", path: "/api/upload", body: bytes.NewReader(body), want: want,
		leaves: func(st *state) {
			for i, at := range paths {
				st.place(at, sums[i], undo)
			}
		}})
}

// tooLarge is refused while it streams.
func (w *worker) tooLarge(s *server) {
	at := w.path()
	w.clear(s, at)
	w.send(s, request{kind: "too large", method: "PUT", path: "/files/me/" + at,
		body: io.MultiReader(bytes.NewReader(make([]byte, 400_000))), want: 413})
}

// damaged is refused between its bytes and its commit.
func (w *worker) damaged(s *server) {
	at := w.path()
	w.clear(s, at)
	w.send(s, request{kind: "damaged", method: "PUT", path: "/files/me/" + at,
		body:    bytes.NewReader(w.content()),
		headers: []string{"Content-Digest", "sha-256=:" + b64(strings.Repeat("x", 32)) + ":"}, want: 400})
}

func (w *worker) remove(s *server) { w.removeAt(s, w.path()) }

func (w *worker) removeAt(s *server, at string) {
	want, undo := 404, w.c.undo
	if _, there := w.has.files[at]; there {
		want = 204
	}
	w.send(s, request{kind: "delete", method: "DELETE", path: "/files/me/" + at, want: want,
		leaves: func(st *state) { st.bury(at, undo) }})
}

// restore undoes the latest delete or replacement of a file.
func (w *worker) restore(s *server) {
	can := map[string]buried{}
	for id, list := range w.has.trash {
		if len(list) > 0 && time.Until(list[len(list)-1].until) > time.Minute {
			can[id] = list[len(list)-1]
		}
	}
	id, ok := oneOf(w, can)
	if !ok {
		return
	}
	back, undo := can[id], w.c.undo
	leaves := func(st *state) {
		st.trash[id] = st.trash[id][:len(st.trash[id])-1]
		for at, f := range st.files {
			if f.id == id {
				st.bury(at, undo)
			}
		}
		st.files[back.path] = file{id, back.sum}
	}
	others := w.has.clone() // may have taken its place
	maps.DeleteFunc(others.files, func(_ string, f file) bool { return f.id == id })
	r := request{kind: "restore", method: "POST", path: "/api/v1/files/" + id + "/restore",
		want: others.free(back.path), leaves: leaves}
	if a, ok := w.send(s, r); ok && r.want == 200 {
		w.learn(back.path, a)
	}
}

// rename moves a file, maybe below itself.
func (w *worker) rename(s *server) {
	from, ok := oneOf(w, w.has.files)
	f, to := w.has.files[from], w.path()
	if !ok || f.id == "" || to == from {
		return
	}
	rest := w.has.clone()
	delete(rest.files, from)
	w.send(s, request{kind: "rename", method: "PATCH", path: "/api/v1/files/" + f.id,
		body:    strings.NewReader(fmt.Sprintf(`{"path":%q}`, to)),
		headers: []string{"Content-Type", "application/merge-patch+json"}, want: rest.free(to),
		leaves: func(st *state) {
			delete(st.files, from)
			st.files[to] = f
		}})
}

// upload leaves an upload to be persisted, unless many are.
func (w *worker) upload(s *server) {
	if len(w.has.waiting) >= 4 {
		w.persist(s)
		return
	}
	b, at, begun := w.content(), w.path(), time.Now()
	a, ok := w.send(s, request{kind: "upload", method: "POST", path: "/api/v1/uploads?filename=" + path.Base(at),
		body: bytes.NewReader(b), want: 201})
	if !ok {
		return
	}
	var u struct{ Token string }
	if err := json.Unmarshal(a.body, &u); err != nil {
		w.c.t.Errorf("%s: %v: %s", w.c.where, err, a.body)
	}
	w.has.waiting[u.Token] = waiting{u.Token, at, hexSum(b), begun.Add(w.c.ttl)}
}

func (w *worker) persist(s *server) {
	if token, ok := oneOf(w, w.has.waiting); ok {
		w.persistIt(s, w.has.waiting[token])
	}
}

// persistIt makes an upload a file; once more, if that was done.
func (w *worker) persistIt(s *server, u waiting) {
	undo, begun := w.c.undo, time.Now()
	r := request{kind: "persist", method: "POST", path: "/api/v1/uploads/" + u.token + "/persist",
		body: strings.NewReader(fmt.Sprintf(`{"folder":%q,"on_conflict":"replace"}`, path.Dir(u.path))),
		want: 200, until: u.until}
	if _, waits := w.has.waiting[u.token]; waits {
		r.want = w.unless(u.path, 201, 409)
		r.leaves = func(st *state) {
			delete(st.waiting, u.token)
			st.place(u.path, u.sum, undo)
		}
	}
	a, ok := w.send(s, r)
	switch {
	case w.down:
		// If it was done, it can be repeated for one lifetime since.
		if begun.Add(w.c.ttl).Before(u.until) {
			u.until = begun.Add(w.c.ttl)
		}
		w.asked = &u
	case ok && a.status < 300:
		w.learn(u.path, a)
	case !ok: // expired
		delete(w.has.waiting, u.token)
	}
}

// discard drops an upload.
func (w *worker) discard(s *server) {
	token, ok := oneOf(w, w.has.waiting)
	if !ok {
		return
	}
	u := w.has.waiting[token]
	delete(w.has.waiting, token) // whether it is carried out or not
	w.send(s, request{kind: "discard", method: "DELETE", path: "/api/v1/uploads/" + token,
		want: 204, until: u.until})
}

func (w *worker) sweep(s *server) {
	w.send(s, request{kind: "sweep", method: "POST", path: "/api/v1/admin/cleanup",
		body: strings.NewReader(`{}`), want: 200})
}

// pieces is an upload that comes in pieces.
type pieces struct {
	kind         string // tus and ietf: the last one makes it a file; filepond: it waits then
	address      string
	token        string
	path         string
	content      []byte
	offset, sent int       // acknowledged; what was sent without an answer ends at sent
	until        time.Time // it lives at least so long
}

func b64(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }

// tusFile says of which file an upload by tus is the content.
func tusFile(at string) string {
	return fmt.Sprintf("filename %s,persist %s,folder %s", b64(path.Base(at)), b64("true"), b64(path.Dir(at)))
}

func (w *worker) tus(s *server) {
	p := w.newPieces("tus")
	w.inPieces(s, p, request{method: "POST", path: "/tus/", want: w.unless(p.path, 201, 403),
		headers: []string{"Tus-Resumable", "1.0.0", "Upload-Metadata", tusFile(p.path)}})
}

func (w *worker) ietf(s *server) {
	p := w.newPieces("ietf")
	w.inPieces(s, p, request{method: "PUT", path: "/files/me/" + p.path, want: w.unless(p.path, 201, 409),
		headers: []string{"Upload-Complete", "?0"}})
}

// emptyFilePond is the form that begins an upload of FilePond's in chunks.
const emptyFilePond = "--b\r\nContent-Disposition: form-data; name=\"filepond\"\r\n\r\n{}\r\n--b--\r\n"

func (w *worker) filepond(s *server) {
	p := w.newPieces("filepond")
	w.inPieces(s, p, request{method: "POST", path: "/filepond", want: 201, body: strings.NewReader(emptyFilePond),
		headers: []string{"Content-Type", "multipart/form-data; boundary=b"}})
}

func (w *worker) newPieces(kind string) *pieces {
	return &pieces{kind: kind, path: w.path(), content: w.content(), until: time.Now().Add(w.c.ttl)}
}

// inPieces begins an upload, and brings it to its end.
func (w *worker) inPieces(s *server, p *pieces, begin request) {
	begin.kind = "begin"
	begin.headers = append(begin.headers, "Upload-Length", strconv.Itoa(len(p.content)))
	a, ok := w.send(s, begin)
	if !ok || a.status != 201 {
		return
	}
	p.address = a.header.Get("Location")
	if p.kind == "filepond" {
		p.token = string(a.body)
		p.address = "/filepond?patch=" + p.token
	}
	for w.piece(s, p) {
	}
}

// piece sends some more of an upload, and reports whether to go on.
func (w *worker) piece(s *server, p *pieces) bool {
	p.sent = min(len(p.content), p.offset+1+w.rng.IntN(100_000))
	last := p.sent == len(p.content)
	r := request{kind: "piece", method: "PATCH", path: p.address,
		body: bytes.NewReader(p.content[p.offset:p.sent]),
		want: 204, until: p.until, headers: []string{
			"Tus-Resumable", "1.0.0", "Content-Type", "application/offset+octet-stream",
			"Upload-Offset", strconv.Itoa(p.offset), "Upload-Name", path.Base(p.path), "Upload-Complete", "?0",
		}}
	if p.kind == "ietf" {
		r.headers = append(r.headers, "Content-Type", "application/partial-upload")
	}
	if last {
		r.kind = p.kind
		r.headers = append(r.headers, "Upload-Complete", "?1")
		if p.kind != "filepond" {
			r.leaves = w.places(p.path, p.content)
		}
		if p.kind == "ietf" { // as of a PUT
			r.want = 201
			if _, there := w.has.files[p.path]; there {
				r.want = 200
			}
		}
	}
	a, ok := w.send(s, r)
	if w.down {
		w.part = p
	}
	if !ok {
		return false
	}
	p.offset = p.sent
	if last && p.kind == "filepond" {
		w.waits(p)
	}
	if last && p.kind == "ietf" {
		w.learn(p.path, a)
	}
	return !last
}

func (w *worker) waits(p *pieces) {
	w.has.waiting[p.token] = waiting{p.token, p.path, hexSum(p.content), p.until}
}

// concat makes a file of two uploads.
func (w *worker) concat(s *server) {
	at, b, until := w.path(), w.content(), time.Now().Add(w.c.ttl)
	w.clear(s, at)
	final := "final;"
	for _, part := range [][]byte{b[:len(b)/2], b[len(b)/2:]} {
		a, ok := w.send(s, request{kind: "begin", method: "POST", path: "/tus/",
			body: bytes.NewReader(part), want: 201,
			headers: []string{"Tus-Resumable", "1.0.0", "Content-Type", "application/offset+octet-stream",
				"Upload-Length", strconv.Itoa(len(part)), "Upload-Concat", "partial"}})
		if !ok {
			return
		}
		final += " " + a.header.Get("Location")
	}
	w.send(s, request{kind: "concat", method: "POST", path: "/tus/", want: 201, until: until,
		headers: []string{"Tus-Resumable", "1.0.0", "Upload-Concat", final, "Upload-Metadata", tusFile(at)},
		leaves:  w.places(at, b)})
}

// verify compares the server and the visible tree, after a restart, with what
// was acknowledged; the request that got no answer may have been carried out.
func (w *worker) verify(s *server) {
	t, where := w.c.t, w.c.where+": "+w.top
	w.down = false
	// 1. The records are those before that request or those behind it.
	var page struct {
		Files []struct{ ID, Path, SHA256 string }
	}
	s.must(t, 200, "GET", "/api/v1/files?limit=1000&prefix="+w.top+"/", nil).json(t, &page)
	got := map[string]file{}
	for _, f := range page.Files {
		got[f.Path] = file{f.ID, f.SHA256}
	}
	if w.maybe != nil && !w.has.matches(got) {
		w.has = w.maybe
	}
	w.maybe = nil
	if !w.has.matches(got) {
		t.Fatalf("%s: the files are\n%v\nwant\n%v", where, got, w.has.files)
	}
	w.has.files = got

	// 2. The bytes, by HTTP and in the visible tree, which shows nothing else.
	for at, f := range got {
		if a := s.must(t, 200, "GET", "/files/me/"+at, nil); hexSum(a.body) != f.sum {
			t.Errorf("%s: %s has content %.8s, want %.8s", where, at, hexSum(a.body), f.sum)
		}
	}
	shown := map[string]file{}
	tree := os.DirFS(filepath.Join(w.c.dir, "uploads", "local"))
	err := fs.WalkDir(tree, w.top, func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := fs.ReadFile(tree, name)
		shown[name] = file{got[name].id, hexSum(b)}
		return err
	})
	if err != nil && (len(got) > 0 || !os.IsNotExist(err)) {
		t.Errorf("%s: the visible tree: %v", where, err)
	}
	if !maps.Equal(shown, got) {
		t.Errorf("%s: the visible tree shows\n%v\nthe records say\n%v", where, shown, got)
	}

	// 3. Uploads wait for their persist, or their time is over.
	for token, u := range w.has.waiting {
		a, ok := w.send(s, request{kind: "content", method: "GET", path: "/api/v1/uploads/" + token + "/content",
			want: 200, until: u.until})
		if !ok {
			delete(w.has.waiting, token)
		} else if hexSum(a.body) != u.sum {
			t.Errorf("%s: upload %s has content %.8s, want %.8s", where, token, hexSum(a.body), u.sum)
		}
	}
}

// resume goes on with what a restart interrupted, as a client does.
func (w *worker) resume(s *server) {
	if u := w.asked; u != nil {
		w.asked = nil
		w.persistIt(s, *u)
	}
	p := w.part
	if p == nil {
		return
	}
	w.part = nil
	a, ok := w.send(s, request{kind: "offset", method: "HEAD", path: p.address, want: 200, until: p.until,
		headers: []string{"Tus-Resumable", "1.0.0"}})
	if !ok {
		return
	}
	offset, err := strconv.Atoi(a.header.Get("Upload-Offset"))
	wrong := offset < p.offset || offset > p.sent
	if p.kind == "filepond" { // all of a piece or nothing
		wrong = offset != p.offset && offset != p.sent
	}
	if err != nil || wrong {
		w.c.t.Errorf("%s: %s: offset %q; %d of %d bytes were acknowledged, %d sent",
			w.c.where, p.address, a.header.Get("Upload-Offset"), p.offset, len(p.content), p.sent)
		return
	}
	p.offset = offset
	switch {
	case offset < len(p.content):
		for w.piece(s, p) {
		}
	case p.kind == "filepond":
		w.waits(p)
	case w.has.files[p.path].sum != hexSum(p.content):
		w.c.t.Errorf("%s: %s is complete and %s is not its file", w.c.where, p.address, p.path)
	}
}
