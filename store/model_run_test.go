package store_test

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"

	"upload-service/store"
	"upload-service/store/blob"
	"upload-service/store/kv"
)

// modelWorld is a world whose seams can fail.
type modelWorld struct {
	*world
	faults *faults
	pools  map[store.OwnerID]*pool
}

// pool is what the clients of an owner have learned.
type pool struct {
	mu       sync.Mutex
	tokens   []store.Token
	ids      []store.FileID
	etags    []string
	requests []store.Persist
	batches  []store.BatchID
	discards []store.BatchID
	ready    []store.Token

	begun, partials []store.Token
	joins           [][]store.Token
	progress        map[store.Token]progress
}

// newModelWorld makes a world that gives its owners little room if the seed is
// odd, and takes small files only if it can be divided by three.
func newModelWorld(t *testing.T, seed uint64) *modelWorld {
	f := &faults{}
	limits := store.Limits{MinFree: 1}
	if seed%2 == 1 {
		limits.OwnerBytes, limits.OwnerFiles, limits.OwnerActive = 200, 6, 2
	}
	if seed%3 == 0 {
		limits.FileSize = 40
	}
	w := newWorld(t, f.below, func(o *store.Options) { o.Limits = limits })
	return &modelWorld{w, f, map[store.OwnerID]*pool{
		alice: {progress: map[store.Token]progress{}}, bob: {progress: map[store.Token]progress{}},
	}}
}

// keepsLimits fails if an owner has more than is allowed: on top of the limits
// one file that an upload which is coming in will replace.
func (m *modelWorld) keepsLimits(what string) {
	m.t.Helper()
	for owner := range m.pools {
		page, err := m.store.ListFiles(m.t.Context(), owner, store.Query{Limit: 1000, Sort: store.ByPath})
		m.ok(err)
		largest := int64(0)
		for _, f := range page.Files {
			largest = max(largest, f.Size)
		}
		u := m.usage(owner)
		replacing := false // also by one that has expired, and counts until a sweep
		m.ok(m.kv.View(m.t.Context(), func(tx kv.Tx) error {
			prefix := "u/" + string(owner)
			return tx.Scan([]byte(prefix+"\x00"), []byte(prefix+"\x01"), 1<<20, func(_, v []byte) bool {
				replacing = replacing || bytes.Contains(v, []byte(`"state":"receiving"`)) &&
					bytes.Contains(v, []byte(`"on_conflict":"replace"`))
				return true
			})
		}))
		if replacing && len(page.Files) > 0 {
			u.Files--
			u.FileBytes -= largest
		}
		if limit := m.opts.Limits.FileSize; limit > 0 && largest > limit {
			m.t.Errorf("%s: %s has a file of %d bytes, and %d are allowed", what, owner, largest, limit)
		}
		if overLimits(u, m.opts.Limits) {
			m.t.Errorf("%s: %s has %+v, which is over the limits", what, owner, u)
		}
	}
}

// restart opens the store anew over the same parts.
func (m *modelWorld) restart() {
	m.t.Helper()
	m.ok(m.store.Close(context.Background()))
	var err error
	m.store, err = store.Open(context.Background(), m.opts)
	m.ok(err)
}

var (
	modelPaths   = []store.Path{"a", "b", "a/x", "a/y", "b/x", "b/x/y", "c.txt", "d/e/f"}
	modelNames   = []store.Path{"x", "y", "a", "c.txt"}
	modelFolders = []string{"", "", "a", "d/e"}
	modelOps     = strings.Fields("put put put get get list usage delete delete restore restore " +
		"deletes move move folder undo undo discard discard recall recall change change upload upload persist persist persist touch drop look look " +
		"begin begin begin append append append append append append append append concat concat")
)

func pick[T any](rng *rand.Rand, list []T) (v T) {
	if len(list) > 0 {
		v = list[rng.IntN(len(list))]
	}
	return v
}

// recent prefers what was learned lately.
func recent[T any](rng *rand.Rand, list []T) T { return pick(rng, list[max(0, len(list)-6):]) }

// ask makes up a request.
func (p *pool) ask(rng *rand.Rand, now time.Time, pages bool) request {
	p.mu.Lock()
	defer p.mu.Unlock()
	r := request{op: pick(rng, modelOps), now: now, path: pick(rng, modelPaths)}
	r.id, r.token = recent(rng, p.ids), recent(rng, p.tokens)
	word := func() string { return fmt.Sprintf("%x", rng.Uint64()) }
	switch r.op {
	case "put", "upload":
		names := modelPaths
		if r.op == "upload" {
			names = modelNames
		}
		for range 1 + rng.IntN(2) {
			r.names = append(r.names, pick(rng, names))
			r.contents = append(r.contents, strings.Repeat(word(), 1+rng.IntN(3)))
		}
		r.declared = len(r.names) == 1 && rng.IntN(2) == 0
	case "list":
		r.query = store.Query{Limit: 1000, Sort: store.ByPath}
		r.query.Prefix = pick(rng, []string{"", "", "a/", "b", "d/"})
		switch rng.IntN(4) {
		case 0, 1:
			r.query.Delimiter = true
		case 2:
			r.query.Sort = store.Newest
		case 3:
			r.query.Tags = []string{"t"}
		}
		if pages {
			r.query.Limit = 1 + rng.IntN(3)
		}
	case "change":
		r.change.ClearMetadata = rng.IntN(4) == 0
		if rng.IntN(2) == 0 {
			r.change.Path = &r.path
		}
		if rng.IntN(2) == 0 {
			v := word()
			r.change.Metadata = map[string]*string{pick(rng, []string{"k", "l"}): pick(rng, []*string{&v, nil})}
		}
		if rng.IntN(2) == 0 {
			r.change.Tags = &[]string{"t", pick(rng, []string{"s", "t"})}
		}
	case "persist":
		r.persist = store.Persist{
			Tokens: []store.Token{r.token}, Folder: pick(rng, modelFolders),
			OnConflict: pick(rng, []store.OnConflict{store.Fail, store.Replace, store.Rename}),
		}
		if other := recent(rng, p.tokens); other != r.token && rng.IntN(2) == 0 {
			r.persist.Tokens = append(r.persist.Tokens, other)
		}
		switch rng.IntN(6) {
		case 0:
			r.persist.Metadata, r.persist.Tags = map[string]string{"k": "persisted"}, []string{"t"}
		case 1:
			r.persist.Expect.SHA256 = sumOf("something else")
		case 2, 3:
			if len(p.requests) > 0 { // the same again, tokens in another order
				r.persist = recent(rng, p.requests)
				r.persist.Tokens = slices.Clone(r.persist.Tokens)
				slices.Reverse(r.persist.Tokens)
			}
		}
		if r.token == "" {
			r.persist.Tokens = []store.Token{store.NewToken()}
		}
	}
	p.askPieces(rng, &r)
	p.askSeveral(rng, &r)
	if (r.op == "put" || r.op == "delete" || r.op == "change") && rng.IntN(4) == 0 {
		r.match = recent(rng, p.etags)
		r.cond = pick(rng, []string{"", "", "absent", "exists", "differ"})
	}
	if !slices.Contains([]string{"look", "touch", "drop", "append"}, r.op) {
		r.token = "" // it is not asked about
	}
	return r
}

func (p *pool) learn(r request, a answer) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.learnPieces(r, a)
	if a.upload.Token != "" && r.op == "upload" {
		p.tokens = append(p.tokens, a.upload.Token)
	}
	if r.op == "persist" && a.code == "" && !a.failed {
		p.requests = append(p.requests, r.persist)
	}
	if a.upload.State == store.Ready {
		p.ready = append(p.ready, a.upload.Token)
	}
	if a.code == "" || a.doubt {
		switch r.op {
		case "deletes", "move", "folder":
			p.batches = append(p.batches, r.batch)
		case "discard":
			p.discards = append(p.discards, r.batch)
		}
	}
	for _, f := range a.files {
		if r.op != "list" {
			p.ids, p.etags = append(p.ids, f.ID), append(p.etags, f.ETag())
		}
	}
}

// send asks the store.
func (m *modelWorld) send(o store.OwnerID, r request) (a answer) {
	ctx := context.WithValue(m.t.Context(), requested{}, true)
	cond := store.Condition{}
	switch {
	case r.cond == "absent":
		cond.Absent = true
	case r.cond == "exists":
		cond.Exists = true
	case r.cond == "differ":
		cond.Differ = []string{r.match}
	case r.match != "":
		cond.Match = []string{r.match}
	}
	err := func() (err error) {
		var f store.File
		switch r.op {
		case "put", "upload":
			return m.sendBytes(ctx, o, r, cond, &a)
		case "get":
			if f, err = m.store.GetFile(ctx, o, r.path); err == nil {
				a.files = []store.File{f}
				m.readBack(ctx, f)
			}
		case "list":
			for more := true; more && err == nil; more = r.query.Cursor != "" {
				var page store.Page
				page, err = m.store.ListFiles(ctx, o, r.query)
				a.files, a.folders = append(a.files, page.Files...), append(a.folders, page.Folders...)
				r.query.Cursor = page.Next
			}
		case "usage":
			a.usage, err = m.store.UsageOf(ctx, o)
		case "delete":
			err = m.store.DeleteFile(ctx, o, r.path, cond)
		case "deletes":
			err = m.store.DeleteFiles(ctx, o, r.batch, r.ids)
		case "folder":
			a.count, err = m.store.DeleteFolder(ctx, o, r.batch, r.to)
		case "move":
			a.count, err = m.store.MoveFiles(ctx, o, r.batch, r.ids, slices.Clone(r.folders), r.to)
		case "discard":
			err = m.store.DiscardUploads(ctx, o, r.batch, r.tokens)
		case "recall":
			a.count, err = m.store.RestoreUploads(ctx, o, r.batch)
		case "undo":
			var taken []store.Path
			a.files, taken, err = m.store.RestoreBatch(ctx, o, r.batch)
			for _, p := range taken {
				a.folders = append(a.folders, string(p))
			}
			slices.Sort(a.folders)
			slices.SortFunc(a.files, func(x, y store.File) int { return strings.Compare(string(x.Path), string(y.Path)) })
		case "restore":
			f, err = m.store.RestoreFile(ctx, o, r.id)
			a.files = []store.File{f}
		case "change":
			f, err = m.store.ChangeFile(ctx, o, r.id, r.change, cond)
			a.files = []store.File{f}
		case "persist":
			a.files, a.repeated, err = m.store.PersistUploads(ctx, o, r.persist)
		case "touch":
			a.upload, err = m.store.Touch(ctx, o, r.token)
		case "look":
			a.upload, err = m.store.GetUpload(ctx, o, r.token)
		case "begin", "append", "concat":
			err = m.sendPieces(ctx, o, r, &a)
		case "drop":
			err = m.store.DeleteUpload(ctx, o, r.token)
		}
		return err
	}()
	if err != nil {
		a = answer{code: store.CodeOf(err), err: err, upload: a.upload, offered: a.offered, cut: a.cut}
		a.doubt = errors.Is(err, kv.ErrInDoubt)
		a.failed = !a.doubt && errors.Is(err, errInjected)
	}
	return a
}

func (m *modelWorld) sendBytes(
	ctx context.Context, o store.OwnerID, r request, cond store.Condition, a *answer,
) error {
	spec := store.Spec{Size: -1}
	if r.declared {
		spec.Size = bytesOf(r)
		if r.op == "put" {
			spec.Path = r.names[0]
		}
	}
	in, err := m.store.Receive(ctx, o, spec)
	if err != nil {
		return err
	}
	defer in.Close(ctx)
	for i, name := range r.names {
		_, err := in.Add(ctx, strings.NewReader(r.contents[i]), store.Content{Name: name})
		if err != nil {
			return err
		}
	}
	if r.op == "put" {
		a.files, _, err = in.StoreFiles(ctx, store.Target{Condition: cond})
	} else {
		a.upload, err = in.StoreUpload(ctx, "")
	}
	return err
}

// readBack compares the bytes of a file with its digest, unless they have
// been replaced and swept meanwhile.
func (m *modelWorld) readBack(ctx context.Context, f store.File) {
	rc, err := m.store.OpenFile(ctx, f, 0, -1)
	if store.CodeOf(err) == store.CodeNotFound || errors.Is(err, errInjected) {
		return
	}
	if err != nil {
		m.t.Errorf("open %s: %v", f.Path, err)
		return
	}
	defer rc.Close()
	h := sha256.New()
	if _, err := io.Copy(h, rc); err != nil || !bytes.Equal(h.Sum(nil), f.SHA256) {
		m.t.Errorf("%s: the bytes are not those of its digest (%v)", f.Path, err)
	}
}

// end checks the invariants when the faults are over.
func (m *modelWorld) end() {
	m.t.Helper()
	m.faults.set(nil)
	m.keepsLimits("in the end")
	// 1. One sweep later every blob has a record, without a restart.
	if r := m.sweep(store.SweepOptions{}); len(r.Errors) > 0 {
		m.t.Errorf("a sweep without faults: %q", r.Errors)
	}
	m.ok(m.blobs.List(m.t.Context(), "", func(i blob.Info) bool {
		m.ok(m.kv.View(m.t.Context(), func(tx kv.Tx) error {
			holder, err := tx.Get([]byte("b/" + string(i.Ref)))
			if holder == nil {
				m.t.Errorf("the blob %s (%d bytes) has no record after a sweep", i.Ref, i.Size)
			}
			return err
		}))
		return true
	}, nil))
	// 2. Records, indexes, counters, bytes and the tree agree.
	if findings, waiting := m.check(store.CheckOptions{}); len(findings)+len(waiting) > 0 {
		m.t.Errorf("findings %q, waiting %q", findings, waiting)
	}
	// 3. In the end there are files, and nothing else.
	for range 2 { // the first leaves the tombstones of what it ended
		m.clock.advance(2 * ttl)
		m.sweep(store.SweepOptions{})
	}
	m.wantClean("when everything has expired")
	m.ok(m.kv.View(m.t.Context(), func(tx kv.Tx) error {
		return tx.Scan([]byte{0}, nil, 1<<20, func(k, _ []byte) bool {
			if !strings.Contains("m o l q f i c b r", string(k[:1])) {
				m.t.Errorf("a record is left: %q", k)
			}
			return true
		})
	}))
	if n, files := m.blobCount(), m.usage(alice).Files+m.usage(bob).Files; int64(n) != files {
		m.t.Errorf("%d blobs for %d files", n, files)
	}
	for _, inner := range []string{"tmp", "displaced"} {
		var left []string
		dir := filepath.Join(m.dir, store.InternalDir, inner)
		_ = filepath.WalkDir(dir, func(name string, d fs.DirEntry, err error) error {
			if err == nil && name != dir {
				left = append(left, fs.FormatDirEntry(d))
			}
			return err
		})
		if len(left) > 0 {
			m.t.Errorf("%v is left in %s", left, inner)
		}
	}
}

var modelSteps = []time.Duration{time.Second, time.Minute, undo / 2, ttl / 2, ttl}

// modelAlone lets clients take turns, so that every answer is exact, and the
// same seed does the same again.
func modelAlone(t *testing.T, seed uint64, steps int) {
	m := newModelWorld(t, seed)
	rng := rand.New(rand.NewPCG(seed, 1))
	accounts := map[store.OwnerID][]*account{
		alice: {newAccount(m.opts.Limits)}, bob: {newAccount(m.opts.Limits)},
	}
	var log []string
	for n := range steps {
		if rng.IntN(4) == 0 {
			place := pick(rng, []string{"update", "view", "create", "delete", "open", "free", "append", "write", "sync", "seal", "tree"})
			kind, after := pick(rng, faultKinds[place]), rng.IntN(3)
			m.faults.set(func(at string) string {
				if at != place {
					return ""
				}
				if after--; after == -1 {
					return kind
				}
				return ""
			})
			log = append(log, "fault: "+place+" "+kind)
		}
		switch rng.IntN(12) {
		case 0:
			d := pick(rng, modelSteps)
			m.clock.advance(d)
			log = append(log, "advance "+d.String())
		case 1:
			ctx := context.WithValue(t.Context(), requested{}, true)
			report, err := m.store.Sweep(ctx, store.SweepOptions{DryRun: rng.IntN(4) == 0})
			if err != nil && !errors.Is(err, errInjected) {
				t.Fatalf("seed %d, step %d: sweep: %v", seed, n, err)
			}
			if swept(report, err) {
				for _, list := range accounts {
					for i, a := range list {
						list[i] = a.step(request{op: "sweep", now: m.clock.Now()}, answer{})[0]
					}
				}
			}
			log = append(log, fmt.Sprint("sweep ", err))
		case 2:
			m.faults.set(nil)
			m.restart()
			log = append(log, "restart")
		default:
			owner := pick(rng, []store.OwnerID{alice, bob})
			r := m.pools[owner].ask(rng, m.clock.Now(), true)
			got := m.send(owner, r)
			m.pools[owner].learn(r, got)
			log = append(log, fmt.Sprintf("%s: %s", owner, describe(r, got)))
			var next []*account
			for _, a := range accounts[owner] {
				next = append(next, a.step(r, got)...)
			}
			if len(next) == 0 {
				t.Fatalf("seed %d, step %d: no state explains the answer; was %s\n%s", seed, n,
					accounts[owner][0].key(), strings.Join(log[max(0, len(log)-40):], "\n"))
			}
			accounts[owner] = next
			if got.doubt && rng.IntN(2) == 0 {
				m.faults.set(nil)
				m.restart() // as the process does
			}
		}
		m.faults.set(nil)
		m.keepsLimits("after a step")
	}
	if m.end(); t.Failed() {
		t.Logf("seed %d:\n%s", seed, strings.Join(log, "\n"))
	}
}

// swept reports whether a sweep has certainly ended what had expired.
func swept(r store.SweepReport, err error) bool {
	return err == nil && !r.DryRun && len(r.Errors) == 0
}

func describe(r request, a answer) string {
	s := fmt.Sprintf("%s %s %s %s %s %s %s %s", r.op, r.names, r.path, r.id, r.cond, r.match, r.ids, r.batch)
	switch r.op {
	case "persist":
		s = fmt.Sprintf("persist %+v", r.persist)
	case "move", "folder":
		s += fmt.Sprintf(" %q to %q, %d", r.folders, r.to, a.count)
	case "discard", "recall":
		s += fmt.Sprintf(" %s, %d", r.tokens, a.count)
	}
	if r.change.Path != nil {
		s += " to " + string(*r.change.Path)
	}
	switch r.op {
	case "begin", "concat":
		s = fmt.Sprintf("%s %+v then %+v of %s", r.op, r.begin, r.begin.Then, r.tokens)
	case "append":
		s = fmt.Sprintf("append %+v %q in %d to %d, offered %d, cut %t", r.piece, r.body, r.chunk, r.cutAt, a.offered, a.cut)
	}
	if g := a.upload.Growth; g != nil {
		s += fmt.Sprintf(" growth %d of %d, reserved %d", g.Offset, g.Length, g.Reserved)
	}
	if r.op == "list" {
		s = fmt.Sprintf("list %+v folders %q", r.query, a.folders)
	}
	s += fmt.Sprintf(" %d bytes declared %t %s = %s %v %v", bytesOf(r), r.declared, r.token, a.code, a.err, a.upload)
	for _, f := range a.files {
		s += fmt.Sprintf(" %s %s", f.Path, f.ETag())
	}
	return s
}

// modelTogether lets clients race. There must be an order in which the model
// gives all their answers, that does not put one request before another that
// had ended before it began.
func modelTogether(t *testing.T, seed uint64, rounds int) {
	const clients, requests = 3, 8 // of an owner; of a client and round
	m := newModelWorld(t, seed)
	start := time.Now()
	var mu sync.Mutex
	history := map[store.OwnerID][]porcupine.Operation{}
	for round := range rounds {
		rng := rand.New(rand.NewPCG(seed, uint64(round)))
		m.faults.set(func(place string) string {
			if rng.IntN(30) > 0 {
				return ""
			}
			return pick(rng, faultKinds[place])
		})
		now := m.clock.Now()
		var wg sync.WaitGroup
		for client := range 2 * clients {
			owner := []store.OwnerID{alice, bob}[client%2]
			wg.Go(func() {
				rng := rand.New(rand.NewPCG(seed, uint64(1000*round+client)))
				for range requests {
					r := m.pools[owner].ask(rng, now, false)
					call := time.Since(start)
					got := m.send(owner, r)
					end := time.Since(start)
					m.pools[owner].learn(r, got)
					mu.Lock()
					history[owner] = append(history[owner], porcupine.Operation{
						ClientId: client, Input: r, Output: got, Call: int64(call), Return: int64(end),
					})
					mu.Unlock()
				}
			})
		}
		wg.Go(func() {
			ctx := context.WithValue(t.Context(), requested{}, true)
			for range 3 {
				call := time.Since(start)
				report, err := m.store.Sweep(ctx, store.SweepOptions{})
				if err != nil && !errors.Is(err, errInjected) {
					t.Errorf("sweep: %v", err)
				}
				if !swept(report, err) {
					continue
				}
				o := porcupine.Operation{
					ClientId: 2 * clients, Input: request{op: "sweep", now: now}, Output: answer{},
					Call: int64(call), Return: int64(time.Since(start)),
				}
				mu.Lock()
				history[alice], history[bob] = append(history[alice], o), append(history[bob], o)
				mu.Unlock()
			}
		})
		wg.Wait()
		m.faults.set(nil)
		m.keepsLimits("after a round")
		m.clock.advance(pick(rng, modelSteps))
		if rng.IntN(3) == 0 {
			m.restart()
		}
	}
	for owner, list := range history {
		beside(list)
		for _, q := range []request{ // what is there in the end has to be explained, too
			{op: "list", query: store.Query{Limit: 1000, Sort: store.ByPath}}, {op: "usage"},
		} {
			q.now = m.clock.Now()
			at := int64(time.Since(start))
			list = append(list, porcupine.Operation{Input: q, Output: m.send(owner, q), Call: at, Return: at})
		}
		result, info := porcupine.CheckOperationsVerbose(accountModel(m.opts.Limits), list, time.Minute)
		switch result {
		case porcupine.Illegal:
			t.Errorf("seed %d: no order explains what %s was answered:\n%s",
				seed, owner, unexplained(m.opts.Limits, list, info))
		case porcupine.Unknown:
			t.Errorf("seed %d: a minute was not enough to find an order for what %s was answered", seed, owner)
		}
	}
	if m.end(); t.Failed() {
		t.Logf("seed %d", seed)
	}
}

// beside tells every request what those at the same time can have on the way.
func beside(list []porcupine.Operation) {
	for i, o := range list {
		r := o.Input.(request)
		for j, other := range list {
			if i == j || other.Return < o.Call || o.Return < other.Call {
				continue
			}
			with := other.Input.(request)
			if !slices.Contains([]string{"get", "list", "usage", "look"}, with.op) {
				r.busy = true
			}
			if slices.Contains([]string{"put", "upload", "append", "concat"}, with.op) {
				r.streams++
			}
			r.beside += bytesOf(with) + max(0, with.begin.Length) + int64(len(with.body)) + max(0, with.piece.Length)
			if with.op == "concat" || with.piece.Last == store.LastPiece {
				r.beside += 1 << 40 // what it had aside, and gave back
			}
			if a := other.Output.(answer); with.op == "restore" || with.op == "undo" {
				for _, f := range a.files {
					r.beside += f.Size
				}
				if a.doubt {
					r.beside += 1 << 40 // nobody knows
				}
			}
		}
		list[i].Input = r
	}
}

// unexplained tells how far the longest order gets, and what cannot follow.
func unexplained(limits store.Limits, list []porcupine.Operation, info porcupine.LinearizationInfo) string {
	var longest []porcupine.Operation
	for _, partial := range info.PartialLinearizationsOperations()[0] {
		if len(partial) > len(longest) {
			longest = partial
		}
	}
	line := func(o porcupine.Operation) string {
		return fmt.Sprintf("%d-%d client %d: %s\n", o.Call, o.Return, o.ClientId,
			describe(o.Input.(request), o.Output.(answer)))
	}
	var log strings.Builder
	states := []*account{newAccount(limits)}
	for _, o := range longest {
		var next []*account
		for _, a := range states {
			next = append(next, a.step(o.Input.(request), o.Output.(answer))...)
		}
		states = next
	}
	for _, o := range longest[max(0, len(longest)-30):] {
		log.WriteString(line(o))
	}
	rest := slices.DeleteFunc(slices.Clone(list), func(o porcupine.Operation) bool {
		return slices.ContainsFunc(longest, func(p porcupine.Operation) bool {
			return p.Call == o.Call && p.ClientId == o.ClientId
		})
	})
	slices.SortFunc(rest, func(x, y porcupine.Operation) int { return cmp.Compare(x.Return, y.Return) })
	if len(states) > 0 {
		log.WriteString("which comes to " + states[0].key() + "\n")
	}
	log.WriteString("and then none of\n")
	for _, o := range rest[:min(len(rest), 6)] {
		log.WriteString(line(o))
	}
	return log.String()
}

func accountModel(l store.Limits) porcupine.Model {
	return (&porcupine.NondeterministicModel{
		Init: func() []any { return []any{newAccount(l)} },
		Step: func(state, input, output any) (next []any) {
			for _, a := range state.(*account).step(input.(request), output.(answer)) {
				next = append(next, a)
			}
			return next
		},
		Equal: func(x, y any) bool { return x == y || x.(*account).key() == y.(*account).key() },
	}).ToModel()
}

// modelSeeds are run every time. All but the first once found a mistake.
var modelSeeds = []uint64{1, 2, 1668175176, 2494885759, 1732979071}

// TestModel compares the store with the model, while the seams below it fail.
// With MODEL_FOR, a duration, it goes on with new seeds for so long.
func TestModel(t *testing.T) {
	t.Parallel()
	for _, seed := range modelSeeds {
		t.Run(fmt.Sprint("alone/", seed), func(t *testing.T) {
			t.Parallel()
			modelAlone(t, seed, 150)
		})
		t.Run(fmt.Sprint("together/", seed), func(t *testing.T) {
			t.Parallel()
			modelTogether(t, seed, 3)
		})
	}
	long, err := time.ParseDuration(os.Getenv("MODEL_FOR"))
	if err != nil {
		return
	}
	seed := rand.Uint64N(1 << 32)
	for end := time.Now().Add(long); time.Now().Before(end) && !t.Failed(); seed++ {
		t.Run(fmt.Sprint("alone/", seed), func(t *testing.T) { modelAlone(t, seed, 400) })
		t.Run(fmt.Sprint("together/", seed), func(t *testing.T) { modelTogether(t, seed, 6) })
	}
}
