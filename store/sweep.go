package store

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"upload-service/store/blob"
	"upload-service/store/failpoint"
)

// SweepOptions narrow a sweep. The zero value removes everything that is due.
type SweepOptions struct {
	DryRun    bool
	Preview   string        // removes exactly what that dry run listed, less what was used since
	OlderThan time.Duration // only what was created or discarded at least this long ago
	Owner     OwnerID
}

// SweepReport says what a sweep removed, or would remove.
type SweepReport struct {
	DryRun   bool          `json:"dry_run"`
	Preview  string        `json:"preview,omitempty"` // names a dry run's set for an hour
	At       time.Time     `json:"at"`
	Duration time.Duration `json:"duration"`
	Uploads  int64         `json:"uploads"` // temporary uploads that ended
	Blobs    int64         `json:"blobs"`   // contents removed from the disk
	Bytes    int64         `json:"bytes"`   // of those contents
	Items    []SweepItem   `json:"items"`   // the first maxItems of them
	Errors   []string      `json:"errors"`  // what was left because it could not be removed
}

// SweepItem is one thing removed: an "upload" that ended, a "file" that can no
// longer be restored, or a "blob" that nothing holds.
type SweepItem struct {
	Kind   string  `json:"kind"`
	ID     string  `json:"id"`
	Owner  OwnerID `json:"owner"`
	Name   string  `json:"name"` // of the file, "" if it is not known
	Bytes  int64   `json:"bytes"`
	Reason string  `json:"reason"`
}

const (
	// sweepPage bounds one transaction, so that uploads go on meanwhile.
	sweepPage = 200
	// maxItems bounds a report; the counts are always complete.
	maxItems = 1000
	// previewLife is how long a dry run can be carried out.
	previewLife = time.Hour
)

// sweep is one run.
type sweep struct {
	s      *Store
	id     string
	opts   SweepOptions
	now    time.Time
	cutoff time.Time // things due or discarded later are not touched
	report *SweepReport

	lagging   map[OwnerID]bool // the tree may still show what they have deleted
	undurable bool             // or may show it again after a crash
}

// Sweep removes what expired, was abandoned or was replaced. It costs
// O(what is due). A thing that cannot be removed is reported and does not
// stop the rest; the next sweep tries it again.
func (s *Store) Sweep(ctx context.Context, opts SweepOptions) (SweepReport, error) {
	s.sweeps.Lock()
	defer s.sweeps.Unlock()
	now := s.now()
	w := &sweep{s: s, id: string(NewToken()), opts: opts, now: now, cutoff: now, lagging: map[OwnerID]bool{}}
	w.report = &SweepReport{DryRun: opts.DryRun, At: now, Items: []SweepItem{}, Errors: []string{}}

	var err error
	if opts.Preview != "" {
		err = w.loadPreview(ctx)
	}
	if opts.DryRun {
		err = all(err, w.savePreview(ctx))
	}
	if err != nil {
		return SweepReport{}, err
	}
	// 1. What is due loses its record; its blobs become garbage.
	for shard := range byte(expiryShards) {
		if err := w.expire(ctx, shard); err != nil {
			return *w.report, err
		}
	}
	failpoint.Hit("sweep: expired")
	// 2. So do the bytes of failed requests that could not be removed then, and
	// the tree follows, durably, so that it never shows a blob that is gone.
	if !opts.DryRun {
		if _, err := s.condemn(ctx, s.takeLeft(), w.id); err != nil {
			w.problem(err)
		}
		err := s.settleMarks(ctx, func(m mark, err error) {
			w.lagging[m.owner] = true
			w.problem(fmt.Errorf("show %s of %s: %w", m.path, m.owner, err))
		})
		if err != nil {
			return *w.report, err
		}
		if err := s.forgetMarks(ctx); err != nil {
			w.undurable = true
			w.problem(err)
		}
	}
	failpoint.Hit("sweep: tree settled")
	// 3. The bytes go, then the garbage records that named them.
	if err := w.collect(ctx); err != nil {
		return *w.report, err
	}
	failpoint.Hit("sweep: collected")
	w.report.Duration = s.now().Sub(now)
	if opts.DryRun {
		return *w.report, nil
	}
	return *w.report, all(s.retireEpochs(ctx, false), w.save(ctx))
}

// included applies the options to one thing.
func (w *sweep) included(o OwnerID, since time.Time) bool {
	return (w.opts.Owner == "" || w.opts.Owner == o) && w.now.Sub(since) >= w.opts.OlderThan
}

func (w *sweep) item(i SweepItem) {
	if len(w.report.Items) < maxItems {
		w.report.Items = append(w.report.Items, i)
	}
}

func (w *sweep) problem(err error) {
	if len(w.report.Errors) < maxItems {
		w.report.Errors = append(w.report.Errors, err.Error())
	}
}

// due is one entry of the expiry index.
type due struct {
	key   []byte
	kind  byte
	owner OwnerID
	id    []byte
}

// expire goes through what is due in one shard, a page at a time.
func (w *sweep) expire(ctx context.Context, shard byte) error {
	lo, hi := expiryRange(shard, w.cutoff)
	for {
		var page []due
		err := w.s.view(ctx, func(t txn) error {
			page = nil
			return t.Scan(lo, hi, sweepPage, func(k, _ []byte) bool {
				d := due{key: append([]byte(nil), k...)}
				d.kind, d.owner, d.id, _ = parseExpiryKey(d.key)
				page = append(page, d)
				return true
			})
		})
		if err != nil || len(page) == 0 {
			return err
		}
		lo = after(page[len(page)-1].key)
		failpoint.Hit("sweep: before a page")
		if err := w.expirePage(ctx, page); err != nil {
			return err
		}
	}
}

// expirePage decides again, inside one transaction, about each entry: entries
// are hints, and a record may have been touched, persisted or deleted since.
// An entry that fails is reported, and the page is done again without it.
func (w *sweep) expirePage(ctx context.Context, page []due) error {
	run := w.s.view
	if !w.opts.DryRun {
		run = func(ctx context.Context, fn func(txn) error) error { return w.s.update(ctx, "", fn) }
	}
	for {
		before := *w.report
		stuck := -1
		err := run(ctx, func(t txn) error {
			*w.report, stuck = before, -1 // the transaction may run again
			for i, d := range page {
				if err := w.expireOne(t, d); err != nil {
					stuck = i
					return err
				}
			}
			return nil
		})
		if err == nil || stuck < 0 || ctx.Err() != nil {
			return err
		}
		*w.report = before
		w.problem(fmt.Errorf("expiry entry %x: %w", page[stuck].key, err))
		page = slices.Delete(page, stuck, stuck+1)
	}
}

func (w *sweep) expireOne(t txn, d due) error {
	switch d.kind {
	case expireUpload:
		return w.expireUpload(t, d)
	case expireTrash:
		return w.expireTrash(t, d)
	case expireMove:
		return w.expireMove(t, d)
	case expirePreview:
		return w.expirePreview(t, d)
	}
	return errors.New("unknown kind")
}

// forgetHint removes an entry whose record is gone or due at another time.
func (w *sweep) forgetHint(t txn, d due) error {
	if w.opts.DryRun {
		return nil
	}
	return t.Delete(d.key)
}

func (w *sweep) expireUpload(t txn, d due) error {
	u, err := t.upload(d.owner, tokenOf(d.id))
	if CodeOf(err) == CodeNotFound {
		return w.forgetHint(t, d)
	}
	if err != nil {
		return err
	}
	if u.ExpiresAt.After(w.cutoff) {
		if hint := expiryKey(u.ExpiresAt, expireUpload, d.owner, d.id); string(hint) != string(d.key) {
			return w.forgetHint(t, d)
		}
		return nil // due later in this very minute
	}
	if !w.included(u.Owner, u.CreatedAt) {
		return nil
	}
	if !w.opts.DryRun && w.s.InUse(u.Owner, u.Token) {
		// What is coming in gives it a new lifetime; a part is being copied. A
		// dry run lists it: should nothing come, its preview removes it.
		return nil
	}
	if u.State == Persisted || u.State == Gone {
		if w.opts.DryRun {
			return nil
		}
		return t.forgetUpload(u)
	}
	w.report.Uploads++
	blobs, bytes := u.stored()
	reason, said := reasonExpired, "not made permanent by "
	if u.State == Discarded {
		reason, said = reasonDeleted, "discarded and not taken back by "
	}
	item := SweepItem{"upload", string(u.Token), u.Owner, "", bytes, said + u.ExpiresAt.UTC().Format(time.RFC3339)}
	if len(u.Parts) > 0 {
		item.Name = string(u.Parts[0].Name)
	}
	w.item(item)
	if w.opts.DryRun {
		w.report.Blobs += blobs
		w.report.Bytes += bytes
		return nil
	}
	return t.dropUpload(u, w.now, w.s.ttl, reason, w.id)
}

func (w *sweep) expireTrash(t txn, d due) error {
	var z trashed
	found, err := t.read(owned(prefixTrash, d.owner, d.id), &z)
	if err != nil {
		return err
	}
	if !found {
		return w.forgetHint(t, d)
	}
	if z.Until.After(w.cutoff) || !w.included(d.owner, z.At) {
		return nil
	}
	w.item(SweepItem{"file", z.File.ID.String(), d.owner, string(z.File.Path), z.File.Size,
		"deleted or replaced " + z.At.UTC().Format(time.RFC3339) + " and not restored"})
	if w.opts.DryRun {
		w.report.Blobs++
		w.report.Bytes += z.File.Size
		return nil
	}
	g := garbage{Size: z.File.Size, Owner: d.owner, Path: z.File.Path, At: w.now, Reason: "not restored", Sweep: w.id}
	return all(t.unbury(z), t.discard(z.File.Blob, g))
}

// expireMove ends the undo of a move: it forgets where the files came from.
func (w *sweep) expireMove(t txn, d due) error {
	if w.opts.DryRun {
		return nil
	}
	lo := owned(prefixBatch, d.owner, d.id)
	page, err := t.batchPage(lo, prefixEnd(lo))
	if err != nil {
		return err
	}
	for _, b := range page {
		if err := t.Delete(append(lo[:len(lo):len(lo)], b.id[:]...)); err != nil {
			return err
		}
	}
	return t.Delete(d.key)
}

// waste is one garbage record.
type waste struct {
	ref blob.Ref
	garbage
}

// collect removes garbage: the tree entry, then the blob, then the record.
func (w *sweep) collect(ctx context.Context) error {
	lo, hi := []byte(prefixGarbage), prefixEnd([]byte(prefixGarbage))
	for {
		var page []waste
		var last []byte
		var unreadable []error
		err := w.s.view(ctx, func(t txn) error {
			page, last, unreadable = nil, nil, nil
			return t.Scan(lo, hi, sweepPage, func(k, v []byte) bool {
				last = append(last[:0], k...)
				g := waste{ref: blob.Ref(k[len(prefixGarbage):])}
				if err := decode(v, &g.garbage); err != nil {
					unreadable = append(unreadable, fmt.Errorf("garbage %s: %w", g.ref, err))
					return true
				}
				ours := g.Sweep == w.id
				if ours || !g.At.After(w.cutoff) && w.included(g.Owner, g.At) {
					page = append(page, g)
				}
				return true
			})
		})
		if err != nil || last == nil {
			return err
		}
		for _, err := range unreadable {
			w.problem(err)
		}
		if err := w.collectPage(ctx, page); err != nil {
			return err
		}
		lo = after(last)
	}
}

func (w *sweep) collectPage(ctx context.Context, page []waste) error {
	for _, g := range page {
		if g.Sweep != w.id {
			w.item(SweepItem{"blob", string(g.ref), g.Owner, string(g.Path), g.Size, g.Reason})
		}
	}
	if w.opts.DryRun {
		for _, g := range page {
			w.report.Blobs++
			w.report.Bytes += g.Size
		}
		return nil
	}
	sizes := map[blob.Ref]int64{}
	var refs []blob.Ref
	for _, g := range page {
		// The entry of a path that could not be brought up to date, or not
		// durably, would be the last name of these bytes, and look like a
		// person's. It need not be of the path that they had in the end.
		keep := g.Path != "" && w.undurable
		if g.Path != "" && !keep && w.lagging[g.Owner] {
			var err error
			if keep, err = w.s.tree.Shown(g.ref); err != nil {
				w.problem(err)
				keep = true
			}
		}
		if !keep {
			refs = append(refs, g.ref)
			sizes[g.ref] = g.Size
		}
	}
	gone, err := w.s.reclaim(ctx, refs...)
	for _, r := range gone {
		w.report.Blobs++
		w.report.Bytes += sizes[r]
	}
	if err != nil {
		w.problem(err)
	}
	return ctx.Err()
}

func (s *Store) isMarked(ctx context.Context, o OwnerID, p Path) (marked bool, err error) {
	if p == "" || s.tree == nil {
		return false, nil
	}
	err = s.view(ctx, func(t txn) error {
		stamp, err := t.Get(markKey(o, p))
		marked = stamp != nil
		return err
	})
	return marked, err
}

// reclaim removes the bytes of garbage, then the records of what is certainly
// gone, which it returns.
func (s *Store) reclaim(ctx context.Context, refs ...blob.Ref) ([]blob.Ref, error) {
	if len(refs) == 0 {
		return nil, nil
	}
	gone, err := s.blobs.Delete(ctx, refs...)
	failpoint.Hit("sweep: bytes removed")
	if len(gone) == 0 {
		return nil, err
	}
	forget := s.update(ctx, "", func(t txn) error {
		for _, r := range gone {
			if err := t.Delete(garbageKey(r)); err != nil {
				return err
			}
		}
		return nil
	})
	return gone, errors.Join(err, forget)
}

// preview is a dry run that can be carried out: everything that was due or
// discarded by Cutoff, narrowed in the same way.
type preview struct {
	Cutoff    time.Time     `json:"cutoff"`
	OlderThan time.Duration `json:"older_than,omitempty"`
	Owner     OwnerID       `json:"owner,omitempty"`
	Until     time.Time     `json:"until"`
}

func (w *sweep) savePreview(ctx context.Context) error {
	w.report.Preview = w.id
	p := preview{Cutoff: w.cutoff, OlderThan: w.opts.OlderThan, Owner: w.opts.Owner, Until: w.now.Add(previewLife)}
	return w.s.update(ctx, "", func(t txn) error {
		return all(
			t.write(previewKey(w.id), p),
			t.Put(expiryKey(p.Until, expirePreview, "", []byte(w.id)), nil),
		)
	})
}

func (w *sweep) loadPreview(ctx context.Context) error {
	var p preview
	err := w.s.view(ctx, func(t txn) error {
		found, err := t.read(previewKey(w.opts.Preview), &p)
		if err == nil && (!found || !w.now.Before(p.Until)) {
			err = Errorf(CodeGone, "This preview is no longer known; make a new dry run.")
		}
		return err
	})
	// Ages are measured from the dry run on, or the set would grow.
	w.now, w.cutoff = p.Cutoff, p.Cutoff
	w.opts.OlderThan, w.opts.Owner = p.OlderThan, p.Owner
	return err
}

func (w *sweep) expirePreview(t txn, d due) error {
	if w.opts.DryRun {
		return nil
	}
	return all(t.Delete(previewKey(string(d.id))), t.Delete(d.key))
}

// keptReports is how many past sweeps are remembered.
const keptReports = 100

// save remembers a sweep that did something.
func (w *sweep) save(ctx context.Context) error {
	r := *w.report
	if r.Uploads == 0 && r.Blobs == 0 && len(r.Errors) == 0 {
		return nil
	}
	r.Items = nil
	r.Errors = r.Errors[:min(len(r.Errors), 10)]
	return w.s.update(ctx, "", func(t txn) error {
		if err := t.write(reportKey(r.At), r); err != nil {
			return err
		}
		prefix := []byte(prefixReport)
		var old [][]byte
		n := 0
		err := t.Scan(prefix, prefixEnd(prefix), keptReports*2, func(k, _ []byte) bool {
			if n++; n > keptReports {
				old = append(old, append([]byte(nil), k...))
			}
			return true
		})
		for _, k := range old {
			err = all(err, t.Delete(k))
		}
		return err
	})
}

// ListSweeps returns past sweeps that did something, the latest first. One
// whose report cannot be read is left out.
func (s *Store) ListSweeps(ctx context.Context) (list []SweepReport, err error) {
	prefix := []byte(prefixReport)
	var damaged []error
	err = s.view(ctx, func(t txn) error {
		list, damaged = nil, nil
		return t.Scan(prefix, prefixEnd(prefix), keptReports, func(k, v []byte) bool {
			var r SweepReport
			if err := decode(v, &r); err != nil {
				damaged = append(damaged, fmt.Errorf("report %q: %w", k, err))
			} else {
				list = append(list, r)
			}
			return true
		})
	})
	s.logDamaged("", damaged)
	return list, err
}
