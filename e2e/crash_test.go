package e2e_test

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// steps are all fail points: where the process is killed on purpose.
var steps = []string{
	"append: before the bytes", "append: bytes durable", "append: completed", "append: recorded", "append: sealed",
	"blob: written", "blob: synced", "blob: unlinked",
	"commit: before", "commit: after",
	"delete: committed",
	"epoch: opened",
	"intake: abandoned", "intake: before the bytes", "intake: bytes durable", "intake: committed",
	"persist: committed",
	"recover: orphans listed",
	"refuse: condemned",
	"sweep: before a page", "sweep: bytes removed", "sweep: collected", "sweep: expired", "sweep: tree settled",
	"tree: before the marks are cleared", "tree: locked", "tree: shown",
}

// TestFailPointsAreKnown keeps the list above complete.
func TestFailPointsAreKnown(t *testing.T) {
	found := map[string]bool{}
	hit := regexp.MustCompile(`failpoint\.Hit\("([^"]+)"\)`)
	err := filepath.Walk("../store", func(path string, info os.FileInfo, err error) error {
		if err != nil || !strings.HasSuffix(path, ".go") {
			return err
		}
		source, err := os.ReadFile(path)
		for _, m := range hit.FindAllSubmatch(source, -1) {
			found[string(m[1])] = true
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, step := range slices.Concat(steps, adoptSteps) {
		if !found[step] {
			t.Errorf("the step %q is in the list and not in the code", step)
		}
		delete(found, step)
	}
	for step := range found {
		t.Errorf("the step %q is in the code and not in the list", step)
	}
}

// TestCrash kills the server in the middle of a load, again and again on the
// same data: at random instants, and at every fail point. After each restart
// what was acknowledged is there with its bytes, the visible tree agrees, and
// after one sweep and a clean stop the check finds nothing at all: no record
// without its blob, no blob left over, no counter wrong. It proves the
// invariants 1, 2, 4 and 9.
func TestCrash(t *testing.T) {
	rounds := 100
	if v := os.Getenv("CRASH_ROUNDS"); v != "" {
		n, err := strconv.Atoi(v)
		if err != nil {
			t.Fatalf("CRASH_ROUNDS: %v", err)
		}
		rounds = n
	}
	seed := uint64(time.Now().UnixNano())
	if v := os.Getenv("CRASH_SEED"); v != "" {
		seed, _ = strconv.ParseUint(v, 10, 64)
	}
	t.Logf("CRASH_SEED=%d", seed)
	c := &crash{t: t, dir: t.TempDir(), rng: rand.New(rand.NewPCG(seed, 1)), died: map[string]int{}}
	for i := range 8 {
		c.workers = append(c.workers, &worker{c: c, n: i, want: map[string][]string{}, rng: rand.New(rand.NewPCG(seed, uint64(i+2)))})
	}
	for round := range rounds {
		if t.Failed() {
			break
		}
		point := ""
		if round%2 == 0 {
			step := steps[(round/2)%len(steps)]
			point = fmt.Sprintf("%s#%d", step, 1+c.rng.IntN(1+round/(2*len(steps))*3))
		}
		c.round(round, point)
	}
	for _, step := range steps {
		if rounds >= 2*len(steps) && c.died[step] == 0 {
			t.Errorf("no round died at the step %q", step)
		}
	}
	t.Logf("%d rounds, %d requests acknowledged, died at fail points: %v", rounds, c.acked, c.died)
}

type crash struct {
	t       *testing.T
	dir     string
	key     string
	rng     *rand.Rand
	workers []*worker
	died    map[string]int
	acked   int
}

// settings: nothing can be restored and temporaries live a second, so that a
// sweep has all kinds of work.
func (c *crash) settings(more ...string) []string {
	return append([]string{"UPLOAD_UNDO=0", "UPLOAD_TEMPORARY_TTL=1s", "UPLOAD_CLEANUP_INTERVAL=1h", "UPLOAD_LOG_LEVEL=warn",
		"UPLOAD_MAX_FILE_SIZE=300kB", "UPLOAD_OWNER_QUOTA=60MB"}, more...)
}

func (c *crash) round(n int, point string) {
	t := c.t
	// 1. Start. A fail point in recovery ends the start; then start again.
	s, err := tryStart(t, program, c.dir, c.settings("FAILPOINT="+point)...)
	if s.key != "" {
		c.key = s.key
	}
	if err == nil {
		s.key = c.key
		c.load(s, point)
	}
	s.kill()
	if name, _, _ := strings.Cut(point, "#"); point != "" && s.cmd.ProcessState.ExitCode() == -1 {
		c.died[name]++
	}
	if strings.Contains(s.log.String(), "DATA RACE") {
		t.Fatalf("round %d: data race\n%s", n, s.log)
	}

	// 2. Start again: everything acknowledged is there.
	s, err = tryStart(t, program, c.dir, c.settings()...)
	if err != nil {
		t.Fatalf("round %d (%s): restart: %v\n%s", n, point, err, s.log)
	}
	defer s.kill()
	if s.key != "" {
		c.key = s.key
	}
	s.key = c.key
	for _, w := range c.workers {
		w.resume(s, n, point)
		w.verify(s, n, point)
	}

	// 3. One sweep and a clean stop later, nothing is left over.
	s.must(t, http.StatusOK, "POST", "/api/v1/admin/cleanup", strings.NewReader(`{}`))
	if err := s.stop(); err != nil {
		t.Fatalf("round %d (%s): stop: %v\n%s", n, point, err, s.log)
	}
	out, code := command(t, c.dir, c.settings(), "check", "--content")
	if code != 0 || strings.Contains(out, "waits") {
		t.Fatalf("round %d (%s): check: exit %d\n%s", n, point, code, out)
	}
}

// load runs the workers until the process dies or is killed.
func (c *crash) load(s *server, point string) {
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for _, w := range c.workers {
		wg.Go(func() { w.run(s, stop) })
	}
	life := time.Duration(5+c.rng.IntN(250)) * time.Millisecond
	if point != "" {
		life = 4 * time.Second
	}
	select {
	case <-s.done:
	case <-time.After(life):
	}
	s.kill()
	close(stop)
	wg.Wait()
	for _, w := range c.workers {
		c.acked += w.acked
		w.acked = 0
	}
}

// worker makes requests below a folder of its own and knows, for each of its
// paths, what may be there: one content if the last request was acknowledged,
// more if it was not. "" stands for nothing.
type worker struct {
	c     *crash
	n     int
	rng   *rand.Rand
	want  map[string][]string
	parts []pieces // uploads that are not complete, as far as the worker knows
	acked int
}

// pieces is an upload that comes in pieces and becomes a file by the last one.
type pieces struct {
	url, path string
	content   []byte
	offset    int // acknowledged
}

func (w *worker) run(s *server, stop chan struct{}) {
	for {
		select {
		case <-stop:
			return
		case <-s.done:
			return
		default:
		}
		path := fmt.Sprintf("w%d/%c/f%d", w.n, 'a'+rune(w.rng.IntN(3)), w.rng.IntN(6))
		switch k := w.rng.IntN(100); {
		case k < 45:
			w.put(s, path)
		case k < 60:
			w.remove(s, path)
		case k < 72:
			w.persist(s, path)
		case k < 85:
			w.resumable(s, path)
		case k < 90: // an upload that nobody submits
			s.do("POST", "/api/v1/uploads", bytes.NewReader(w.content())) //nolint:errcheck // may die
		case k < 93: // too large: refused while it streams
			s.do("PUT", "/files/me/"+path, io.MultiReader(bytes.NewReader(make([]byte, 400_000)))) //nolint:errcheck // may die
		case k < 95: // refused by the commit
			s.do("PUT", "/api/upload", strings.NewReader(`[{"filename":"w/x","content":"YQ=="},{"filename":"w/x/y","content":"YQ=="}]`)) //nolint:errcheck // may die
		default:
			s.do("POST", "/api/v1/admin/cleanup", strings.NewReader(`{}`)) //nolint:errcheck // may die
		}
	}
}

func (w *worker) content() []byte {
	size := []int{0, 10, 4096, 70_000, 250_000}[w.rng.IntN(5)]
	b := make([]byte, size+8)
	binary.LittleEndian.PutUint64(b, w.rng.Uint64())
	for i := 8; i < len(b); i++ {
		b[i] = byte(i * 7)
	}
	return b
}

// begin notes what a request may leave.
func (w *worker) begin(path, sum string) {
	if len(w.want[path]) == 0 {
		w.want[path] = []string{""}
	}
	w.want[path] = append(w.want[path], sum)
}

// end notes the answer. A request that was refused left nothing; one that got
// no answer, or a 5xx, may have left something.
func (w *worker) end(path, sum string, a answer, err error) {
	switch {
	case err != nil || a.status >= 500:
	case a.status < 300 || sum == "" && a.status == 404:
		w.want[path] = []string{sum}
		w.acked++
	default:
		w.want[path] = w.want[path][:len(w.want[path])-1]
	}
}

func (w *worker) put(s *server, path string) {
	b := w.content()
	w.begin(path, hexSum(b))
	a, err := s.do("PUT", "/files/me/"+path, bytes.NewReader(b))
	w.end(path, hexSum(b), a, err)
}

func (w *worker) remove(s *server, path string) {
	w.begin(path, "")
	a, err := s.do("DELETE", "/files/me/"+path, nil)
	w.end(path, "", a, err)
}

func (w *worker) persist(s *server, path string) {
	b := w.content()
	folder, name := filepath.Split(path)
	a, err := s.do("POST", "/api/v1/uploads?filename="+name, bytes.NewReader(b))
	if err != nil || a.status != 201 {
		return
	}
	var u struct{ Token string }
	if json.Unmarshal(a.body, &u) != nil {
		return
	}
	w.begin(path, hexSum(b))
	a, err = s.do("POST", "/api/v1/uploads/"+u.Token+"/persist",
		strings.NewReader(fmt.Sprintf(`{"folder":%q,"on_conflict":"replace"}`, strings.TrimSuffix(folder, "/"))))
	w.end(path, hexSum(b), a, err)
}

var tusBytes = []string{"Tus-Resumable", "1.0.0", "Content-Type", "application/offset+octet-stream"}

// resumable makes a file by tus, in pieces.
func (w *worker) resumable(s *server, path string) {
	b64 := func(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }
	folder, name := filepath.Split(path)
	p := pieces{path: path, content: w.content()}
	a, err := s.do("POST", "/tus/", nil, "Tus-Resumable", "1.0.0", "Upload-Length", strconv.Itoa(len(p.content)),
		"Upload-Metadata", fmt.Sprintf("filename %s,persist %s,folder %s", b64(name), b64("true"), b64(strings.TrimSuffix(folder, "/"))))
	if err != nil || a.status != 201 {
		return
	}
	p.url = a.header.Get("Location")
	for !w.piece(s, &p) {
		select {
		case <-s.done:
			w.parts = append(w.parts, p)
			return
		default:
		}
	}
}

// piece sends some more of an upload, and reports whether there is no more to
// send. A piece without an answer may have come in part or whole, and the last
// one may have made the file.
func (w *worker) piece(s *server, p *pieces) (done bool) {
	end := min(len(p.content), p.offset+1+w.rng.IntN(100_000))
	last := end == len(p.content)
	if last {
		w.begin(p.path, hexSum(p.content))
	}
	a, err := s.do("PATCH", p.url, bytes.NewReader(p.content[p.offset:end]),
		append([]string{"Upload-Offset", strconv.Itoa(p.offset)}, tusBytes...)...)
	if last {
		w.end(p.path, hexSum(p.content), a, err)
	}
	switch {
	case err != nil:
		w.parts = append(w.parts, *p)
		return true
	case a.status != 204: // expired and swept
		return true
	}
	p.offset = end
	w.acked++
	return last
}

// resume checks, after a restart, that what was acknowledged of each upload is
// there, and sends the rest.
func (w *worker) resume(s *server, round int, point string) {
	unfinished := w.parts
	w.parts = nil
	for _, p := range unfinished {
		a, err := s.do("HEAD", p.url, nil, "Tus-Resumable", "1.0.0")
		if err != nil {
			w.c.t.Fatalf("round %d (%s): HEAD %s: %v", round, point, p.url, err)
		}
		if a.status == 404 || a.status == 410 {
			continue // they live a second
		}
		offset, err := strconv.Atoi(a.header.Get("Upload-Offset"))
		if a.status != 200 || err != nil || offset < p.offset || offset > len(p.content) {
			w.c.t.Errorf("round %d (%s): %s: %d, offset %q; %d of %d bytes were acknowledged",
				round, point, p.url, a.status, a.header.Get("Upload-Offset"), p.offset, len(p.content))
			continue
		}
		for p.offset = offset; p.offset < len(p.content); {
			if w.piece(s, &p) {
				break
			}
		}
	}
}

// verify compares the server and the visible tree with what may be there.
func (w *worker) verify(s *server, round int, point string) {
	for path, may := range w.want {
		a, err := s.do("GET", "/files/me/"+path, nil)
		if err != nil {
			w.c.t.Fatalf("round %d (%s): GET %s: %v", round, point, path, err)
		}
		got := ""
		if a.status == 200 {
			got = hexSum(a.body)
		} else if a.status != 404 {
			w.c.t.Fatalf("round %d (%s): GET %s: %d %s", round, point, path, a.status, a.body)
		}
		if !slices.Contains(may, got) {
			w.c.t.Errorf("round %d (%s): %s has content %.8s, want one of %.8s", round, point, path, got, may)
		}
		w.want[path] = []string{got}

		shown := ""
		b, err := os.ReadFile(filepath.Join(w.c.dir, "uploads", "local", filepath.FromSlash(path)))
		if err == nil {
			shown = hexSum(b)
		}
		if shown != got {
			w.c.t.Errorf("round %d (%s): the visible tree shows %.8q for %s, the record says %.8q", round, point, shown, path, got)
		}
	}
}
