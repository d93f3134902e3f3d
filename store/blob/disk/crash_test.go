package disk_test

import (
	"context"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"upload-service/store"
	"upload-service/store/blob"
	"upload-service/store/blob/disk"
)

// examine starts a store over a state and returns what is wrong afterwards,
// and what it did.
func (c *checker) examine(
	s state, now time.Time, before, after promise,
) (wrong []string, did []event) {
	t := c.t
	complain := func(format string, args ...any) { wrong = append(wrong, fmt.Sprintf(format, args...)) }
	dir := t.TempDir()
	if err := s.build(dir); err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)

	// 1. Recovery.
	ctx := context.Background()
	r := &recording{clock: now, withImages: c.twice}
	v, err := openService(dir, r)
	if err != nil {
		return []string{err.Error()}, nil
	}
	defer v.close()
	reopen := func() {
		if v.store, err = store.Open(ctx, v.opts); err != nil {
			complain("open: %v", err)
		}
	}
	check := func(when string, waitingToo bool) {
		if err := v.store.Close(ctx); err != nil {
			complain("close: %v", err)
		}
		note := func(o store.Outcome, what string) {
			if o == store.Found || waitingToo {
				complain("%s: %s", when, what)
			}
		}
		_, err := store.Check(ctx, v.opts, store.CheckOptions{Content: true}, note)
		if err != nil {
			complain("check: %v", err)
		}
	}
	if reopen(); err != nil {
		return wrong, r.events
	}
	if due, err := v.store.AdoptionDue(ctx); err != nil || due { // as the server does
		if err := v.adopt(ctx); err != nil {
			complain("adopt: %v", err)
		}
	}
	if _, err := v.store.DigestAdopted(ctx); err != nil {
		complain("digest: %v", err)
	}
	// 2. What was acknowledged is there; what was being done, or not yet.
	got, err := v.look(ctx, before, after)
	if err != nil {
		complain("%v", err)
	}
	if !maps.Equal(got.files, before.files) && !maps.Equal(got.files, after.files) {
		complain("there is %v, promised was %v, and %v was asked", got.files, before.files, after.files)
	}
	for token, content := range before.uploads {
		next, stays := after.uploads[token]
		if stays && got.uploads[token] != content && got.uploads[token] != next {
			complain("of the upload of %q there is %q", content, got.uploads[token])
		}
	}
	check("after recovery", false)
	// 3. A sweep later there is nothing else.
	if reopen(); err != nil {
		return wrong, r.events
	}
	r.advance(2 * crashTTL)
	for range 2 { // what the first discarded has its tombstones removed by the second
		if report, err := v.store.Sweep(ctx, store.SweepOptions{}); err != nil || len(report.Errors) > 0 {
			complain("sweep: %v %q", err, report.Errors)
		}
		r.advance(2 * crashTTL)
	}
	check("after the sweep", true)
	for _, inner := range []string{"tmp", "displaced"} {
		if left := entries(t, filepath.Join(dir, store.InternalDir, inner)); len(left) > 0 {
			complain("%s is left in %s", left, inner)
		}
	}
	return wrong, r.events
}

// look reads everything that was promised through the front door.
func (v *service) look(ctx context.Context, promises ...promise) (promise, error) {
	got := promise{map[string]string{}, map[store.Token]string{}}
	read := func(r io.ReadCloser, err error) (string, error) {
		if err != nil {
			return "", err
		}
		defer r.Close()
		b, err := io.ReadAll(r)
		return string(b), err
	}
	page, err := v.store.ListFiles(ctx, crashOwner, store.Query{Limit: 1000})
	if err != nil {
		return got, err
	}
	for _, f := range page.Files {
		if got.files[string(f.Path)], err = read(v.store.OpenFile(ctx, f, 0, -1)); err != nil {
			return got, fmt.Errorf("read %s: %w", f.Path, err)
		}
	}
	for _, p := range promises {
		for token := range p.uploads {
			u, err := v.store.GetUpload(ctx, crashOwner, token)
			if err != nil || u.State == store.Persisted || u.Parts[0].Blob == "" {
				continue
			}
			n := int64(-1)
			if u.State == store.Receiving {
				n = u.Growth.Offset
			}
			if got.uploads[token], err = read(v.store.OpenPart(ctx, u.Parts[0], 0, n)); err != nil {
				return got, fmt.Errorf("read an upload: %w", err)
			}
		}
	}
	return got, nil
}

// checker examines states and collects what is wrong.
type checker struct {
	t      testing.TB
	by     loss
	enough int  // violations after which it stops
	twice  bool // a second crash comes while the first is recovered from

	mu      sync.Mutex
	checked int
	wrong   []string
	stop    chan struct{}
}

func newChecker(t testing.TB, by loss, enough int) *checker {
	return &checker{t: t, by: by, enough: enough, stop: make(chan struct{})}
}

// run examines every state after each of the events from first to end, each
// different one once.
func (c *checker) run(events []event, first, end int) {
	type job struct {
		n             int
		state         state
		before, after promise
	}
	jobs := make(chan job)
	var workers sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		workers.Go(func() {
			for j := range jobs {
				e := events[j.n-1]
				wrong, did := c.examine(j.state, e.now, j.before, j.after)
				if len(wrong) > 0 {
					c.violated(fmt.Sprintf("%s after event %d, %s %s: %s",
						c.by, j.n, e.Kind, e.Name, strings.Join(wrong, "; ")))
				}
				c.mu.Lock()
				c.checked++
				c.mu.Unlock()
				if c.twice {
					second := newChecker(c.t, c.by, 1)
					start := j.state.events(e.now, j.before)
					files := promise{files: j.after.files} // the uploads expire meanwhile
					all := append(append(start, did...), event{Call: disk.Call{Kind: "done"}, state: files})
					second.run(all, len(start), len(all)-1) // which of the two promises is kept is open
					c.mu.Lock()
					c.checked += second.checked
					c.mu.Unlock()
					for _, w := range second.wrong {
						c.violated(fmt.Sprintf("%s after event %d, and again: %s", c.by, j.n, w))
					}
				}
			}
		})
	}
	c.feed(events, first, end, func(n int, s state, before, after promise) bool {
		select {
		case jobs <- job{n, s, before, after}:
			return true
		case <-c.stop:
			return false
		}
	})
	close(jobs)
	workers.Wait()
}

func (c *checker) violated(what string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.wrong) < c.enough {
		c.wrong = append(c.wrong, what)
		if len(c.wrong) == c.enough {
			close(c.stop)
		}
	}
}

// feed passes on the states, with what was promised before the crash and what
// the request that was running would have been promised.
func (c *checker) feed(events []event, first, end int,
	yield func(n int, s state, before, after promise) bool,
) {
	seen := map[[32]byte]bool{}
	var before promise
	begun, running, more := false, false, true
	for n := 1; n <= end && more; n++ {
		switch e := events[n-1]; e.Kind {
		case "begin":
			begun, running = true, true
		case "done":
			before, running = e.state, false
			clear(seen) // the same state has to keep another promise now
		}
		if !begun || n < first || n < len(events) && events[n].Kind == "done" {
			continue // the same states come again and have to keep more
		}
		after := before
		if running {
			for _, e := range events[n:] {
				if e.Kind == "done" {
					after = e.state
					break
				}
			}
		}
		states(events[:n], c.by, func(s state) bool {
			if k := s.key(); !seen[k] {
				seen[k] = true
				more = yield(n, s, before, after)
			}
			return more
		})
	}
}

// events are a recording that leads to the state, in which all of it is
// durable, and to the promises that have to be kept.
func (s *state) events(now time.Time, before promise) (list []event) {
	add := func(kind, name string, c content, ref blob.Ref) {
		list = append(list, event{Call: disk.Call{Kind: kind, Name: name, Data: c.data, Mode: c.mode}, ref: ref, now: now})
	}
	for _, epoch := range s.folders {
		add("mkdir", epoch, content{}, "")
	}
	add("syncDir", ".", content{}, "")
	for name, content := range s.blobs {
		add("create", name, content, "")
		add("write", name, content, "")
		add("sync", name, content, "")
	}
	for _, epoch := range s.folders {
		add("syncDir", epoch, content{}, "")
	}
	for name, ref := range s.tree {
		add("show", name, s.bytes[ref], ref)
	}
	add("syncTree", "", content{}, "")
	return append(list,
		event{Call: disk.Call{Kind: "commit"}, image: s.image, now: now},
		event{Call: disk.Call{Kind: "done"}, state: before, now: now},
		event{Call: disk.Call{Kind: "begin"}, now: now})
}

// TestEveryCrashState: whatever a crash leaves, nothing acknowledged is lost
// and nothing is left over. The long form lets a second crash come while the
// first is recovered from.
func TestEveryCrashState(t *testing.T) {
	t.Parallel()
	events := record(t)
	for _, by := range []loss{kill, journal, strict} {
		t.Run(string(by), func(t *testing.T) {
			t.Parallel()
			c := newChecker(t, by, 5)
			c.twice = os.Getenv("CRASH_STATES") == "twice"
			c.run(events, 1, len(events))
			t.Logf("%d events, %d states checked", len(events), c.checked)
			for _, w := range c.wrong {
				t.Error(w)
			}
		})
	}
}

// TestCrashStatesFindMistakes breaks the recorded protocol in one place at a
// time, as a mistake in the code would, and the states must show it.
func TestCrashStatesFindMistakes(t *testing.T) {
	t.Parallel()
	events := record(t)
	without := func(drop func(e event) bool) func() []event {
		return func() []event { return slices.DeleteFunc(slices.Clone(events), drop) }
	}
	// first moves events to the begin of their request.
	first := func(moved func(e event) bool) func() []event {
		return func() (list []event) {
			begin := 0
			for _, e := range events {
				if moved(e) {
					list = slices.Insert(list, begin, e)
					begin++
					continue
				}
				if list = append(list, e); e.Kind == "begin" {
					begin = len(list)
				}
			}
			return list
		}
	}
	is := func(kind string) func(e event) bool { return func(e event) bool { return e.Kind == kind } }
	forgotten := func(e event) bool { return e.Kind == "syncTree" && e.Name == "" }
	created := map[string]bool{}
	unwritten := func(e event) bool { // a sync of what was not written here
		created[e.Name] = created[e.Name] || e.Kind == "create"
		return e.Kind == "sync" && !created[e.Name]
	}
	folder := func(root bool) func(e event) bool {
		return func(e event) bool { return e.Kind == "syncDir" && (e.Name == ".") == root }
	}
	for name, c := range map[string]struct {
		mistake func() []event
		by      loss
	}{
		"answer before the commit":                {first(is("done")), kill},
		"record before the bytes":                 {first(is("commit")), kill},
		"bytes deleted before the record":         {first(is("unlink")), kill},
		"file not synced, journal":                {without(is("sync")), journal},
		"file not synced, strict":                 {without(is("sync")), strict},
		"mode of an adopted file not synced":      {without(unwritten), strict},
		"epoch's folder not synced":               {without(folder(false)), strict},
		"name of the epoch's folder not synced":   {without(folder(true)), strict},
		"marks cleared before the tree is synced": {without(forgotten), journal},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			checker := newChecker(t, c.by, 1)
			events := c.mistake()
			checker.run(events, 1, len(events))
			if len(checker.wrong) == 0 {
				t.Errorf("%d states checked and nothing found", checker.checked)
			}
			for _, w := range checker.wrong {
				t.Logf("found in %d states: %s", checker.checked, w)
			}
		})
	}
}
