package e2e_test

import (
	"cmp"
	"errors"
	"fmt"
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

// once are the steps that a process reaches once.
var once = []string{"epoch: opened", "recover: orphans listed"}

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
// what was acknowledged is there with its bytes, the request that got no
// answer was carried out as a whole or not at all, the visible tree shows
// exactly that, and after one sweep and a clean stop the check finds nothing at
// all: no record without its blob, no blob left over, no counter wrong. It
// proves the invariants 1, 2, 4 and 9.
func TestCrash(t *testing.T) {
	const enough = 100 // rounds to die at every step and to do all operations
	rounds := enough
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
	c := &crash{t: t, dir: t.TempDir(), rng: rand.New(rand.NewPCG(seed, 1)),
		tried: map[string]int{}, died: map[string]int{}}
	for i := range 8 {
		c.workers = append(c.workers, newWorker(c, i, rand.New(rand.NewPCG(seed, uint64(i+2)))))
	}
	for n := range rounds {
		if t.Failed() {
			break
		}
		step := ""
		if n%2 == 0 { // all in turn, and first those that were not reached
			step = slices.MinFunc(steps, func(a, b string) int {
				return cmp.Or(c.tried[a]-c.tried[b], c.died[a]-c.died[b])
			})
			c.tried[step]++
		}
		c.round(n, step)
	}
	acked := map[string]int{}
	for _, w := range c.workers {
		for kind, n := range w.acked {
			acked[kind] += n
		}
	}
	t.Logf("%d rounds, acknowledged: %v, died at fail points: %v", rounds, acked, c.died)
	if rounds < enough || t.Failed() {
		return
	}
	for _, step := range steps {
		if c.died[step] == 0 {
			t.Errorf("no round died at the step %q", step)
		}
	}
	for _, op := range operations {
		if acked[op.kind] == 0 {
			t.Errorf("no operation %q was acknowledged", op.kind)
		}
	}
}

type crash struct {
	t       *testing.T
	dir     string
	key     string
	rng     *rand.Rand
	workers []*worker
	tried   map[string]int // rounds that were to end at a step
	died    map[string]int // rounds that did, by themselves

	// Of the round.
	undo, ttl time.Duration
	where     string
}

// lifetimes are settings that give a sweep, and whoever restores a file, all
// kinds of work on what rounds with other settings left.
var lifetimes = []struct{ undo, ttl time.Duration }{
	{0, time.Second}, {time.Second, time.Second}, {time.Hour, time.Second}, {time.Second, time.Hour},
}

func (c *crash) settings(more ...string) []string {
	return append([]string{"UPLOAD_UNDO=" + c.undo.String(), "UPLOAD_TEMPORARY_TTL=" + c.ttl.String(),
		"UPLOAD_CLEANUP_INTERVAL=1h", "UPLOAD_LOG_LEVEL=warn",
		"UPLOAD_MAX_FILE_SIZE=300kB", "UPLOAD_OWNER_QUOTA=1GB"}, more...)
}

// round lets the server die at a step, or "" for a random instant, and looks
// at what is there then.
func (c *crash) round(n int, step string) {
	t := c.t
	l := lifetimes[c.rng.IntN(len(lifetimes))]
	c.undo, c.ttl = l.undo, l.ttl
	point, life := "", time.Duration(5+c.rng.IntN(250))*time.Millisecond
	if step != "" {
		nth := 1
		if !slices.Contains(once, step) {
			nth += c.rng.IntN(1 + 2*c.died[step])
		}
		point, life = fmt.Sprintf("%s#%d", step, nth), 10*time.Second
	}
	c.where = fmt.Sprintf("round %d (%q, undo %s, ttl %s)", n, point, c.undo, c.ttl)

	// 1. Start, and die: of the fail point, maybe before the start is over, or
	// of us. A server ends by itself for no other reason.
	if strings.HasPrefix(step, "recover: ") { // which needs something to recover
		s, err := c.start()
		if err != nil || c.load(s, life/50) {
			t.Fatalf("%s: start: %v\n%s", c.where, errors.Join(err, s.err), s.log)
		}
	}
	s, err := c.start("FAILPOINT=" + point)
	byItself := err != nil || c.load(s, life)
	s.kill()
	if byItself {
		if step == "" || !strings.Contains(s.log.String(), "failpoint: "+step+"\n") {
			t.Fatalf("%s: the server ended by itself: %v\n%s", c.where, s.err, s.log)
		}
		c.died[step]++
	} else if step != "" {
		t.Logf("%s: not reached", c.where)
	}

	// 2. Start again: everything acknowledged is there, and goes on.
	s, err = c.start()
	if err != nil {
		t.Fatalf("%s: restart: %v\n%s", c.where, err, s.log)
	}
	defer s.kill()
	for _, w := range c.workers {
		w.verify(s)
		w.resume(s)
	}

	// 3. One sweep and a clean stop later, nothing is left over.
	s.must(t, http.StatusOK, "POST", "/api/v1/admin/cleanup", strings.NewReader(`{}`))
	if err := s.stop(); err != nil {
		t.Fatalf("%s: stop: %v\n%s", c.where, err, s.log)
	}
	out, code := command(t, c.dir, c.settings(), "check", "--content")
	if code != 0 || strings.Contains(out, "waits") {
		t.Fatalf("%s: check: exit %d\n%s", c.where, code, out)
	}
}

func (c *crash) start(more ...string) (*server, error) {
	s, err := tryStart(c.t, program, c.dir, c.settings(more...)...)
	if s.key != "" {
		c.key = s.key
	}
	s.key = c.key
	return s, err
}

// load runs the workers until the server dies by itself, which it reports, or
// has lived long enough and is killed.
func (c *crash) load(s *server, life time.Duration) (byItself bool) {
	var wg sync.WaitGroup
	for _, w := range c.workers {
		wg.Go(func() { w.run(s) })
	}
	select {
	case <-s.done:
		byItself = true
	case <-time.After(life):
	}
	s.kill()
	wg.Wait()
	return byItself
}
