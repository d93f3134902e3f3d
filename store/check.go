package store

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"math"
	"os"
	"slices"
	"strings"

	"upload-service/store/blob"
	"upload-service/store/kv"
)

// CheckOptions widen a check.
type CheckOptions struct {
	Content bool // read every content and compare its SHA-256
	Repair  bool // make the visible tree, indexes and counters equal to the records
}

// CheckSummary counts what a check looked at and found.
type CheckSummary struct {
	Owners, Files, Uploads, Blobs int64
	Bytes                         int64 // of all blobs
	Findings                      int64 // things that should not be
	Waiting                       int64 // things that the next start or sweep removes
}

// Outcome is what Check says of a thing that it notes.
type Outcome string

// The outcomes.
const (
	Found  Outcome = "finding" // it should not be
	Mended Outcome = "mended"  // it was a finding until Repair
	Waits  Outcome = "waits"   // the next start or sweep sees to it
)

// Check looks at everything that a stopped store holds: records, indexes,
// counters, blobs and the visible tree, both ways. It calls note for each
// thing that it finds, mends or leaves to the next start or sweep, one sentence
// each. It changes nothing but, on Repair,
// what follows from the records: the visible tree, index entries and counters.
// Contents and records are never touched: what is wrong there a person has to
// decide. An error means that the check could not be finished.
func Check(ctx context.Context, o Options, c CheckOptions, note func(o Outcome, sentence string)) (CheckSummary, error) {
	k := &checker{s: newStore(o), opts: c, note: note, usage: map[OwnerID]Usage{}, strays: map[int64][]*stray{}}
	err := k.s.kv.Snapshot(ctx, func(tx kv.Tx) error {
		k.txn = txn{tx}
		return k.run(ctx)
	})
	if err == nil && c.Repair {
		err = k.repair(ctx)
	}
	return k.sum, err
}

type checker struct {
	txn
	s     *Store
	opts  CheckOptions
	note  func(Outcome, string)
	sum   CheckSummary
	usage map[OwnerID]Usage // as counted from the records
	open  map[string]bool   // epochs that a start will look through

	adopting bool // what has no record yet may come to one

	unreadable bool               // some record cannot be read, so nothing can be counted
	fixes      []fix              // written when the pass is over
	strays     map[int64][]*stray // by size
}

// fix is an entry that Repair writes, or removes if value is nil.
type fix struct {
	key, value []byte
	sentence   string // what it mends
}

// stray is an entry of the tree that no record has there, but may be a link to
// a content of ours.
type stray struct {
	slug, path string
	info       fs.FileInfo
	ours       bool // it is one that nothing is lost with
}

// mend is for what follows from other records: a finding, or on Repair a fix.
func (c *checker) mend(f fix, format string, args ...any) {
	sentence := fmt.Sprintf(format, args...)
	if !c.opts.Repair {
		c.finding("%s; check --repair mends it.", sentence)
		return
	}
	f.sentence = sentence
	c.fixes = append(c.fixes, f)
}

// repair writes the fixes and tells them, and makes durable what was changed in
// the tree.
func (c *checker) repair(ctx context.Context) error {
	for page := range slices.Chunk(c.fixes, sweepPage) {
		err := c.s.update(ctx, "", func(t txn) error {
			for _, f := range page {
				var err error
				if f.value == nil {
					err = t.Delete(f.key)
				} else {
					err = t.Put(f.key, f.value)
				}
				if err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return fmt.Errorf("repair: %w", err)
		}
		for _, f := range page {
			c.mended("%s; it is mended.", f.sentence)
		}
	}
	if c.s.tree == nil {
		return nil
	}
	return c.s.tree.Sync(ctx)
}

func (c *checker) finding(format string, args ...any) {
	c.sum.Findings++
	c.note(Found, fmt.Sprintf(format, args...))
}

func (c *checker) waiting(format string, args ...any) {
	c.sum.Waiting++
	c.note(Waits, fmt.Sprintf(format, args...))
}

func (c *checker) mended(format string, args ...any) {
	c.note(Mended, fmt.Sprintf(format, args...))
}

func (c *checker) run(ctx context.Context) error {
	stored, err := c.Get([]byte(keyFormat))
	if err != nil {
		return err
	}
	if stored != nil && string(stored) != format {
		return fmt.Errorf("the metadata is of format %q and this program reads %q", stored, format)
	}
	c.open = map[string]bool{}
	names, err := c.openEpochs()
	for _, name := range names {
		c.open[name] = true
	}
	err = errors.Join(err,
		c.each(ctx, prefixOwner, c.owner),
		c.each(ctx, prefixSlug, c.slug),
		c.each(ctx, prefixFile, func(k, v []byte) error { return c.file(ctx, k, v) }),
		c.each(ctx, prefixFileID, c.fileIndex(prefixFileID)),
		c.each(ctx, prefixNewFile, c.fileIndex(prefixNewFile)),
		c.each(ctx, prefixUpload, func(k, v []byte) error { return c.upload(ctx, k, v) }),
		c.each(ctx, prefixNewUp, c.uploadIndex),
		c.each(ctx, prefixTrash, func(k, v []byte) error { return c.trash(ctx, k, v) }),
		c.each(ctx, prefixBatch, c.batch),
		c.each(ctx, prefixBlob, func(k, v []byte) error { return c.holder(k, v) }),
		c.each(ctx, prefixGarbage, c.garbage),
		c.each(ctx, prefixExpiry, c.expiry),
		c.adoption(ctx),
		c.each(ctx, prefixUsage, c.counter),
		c.visibleTree(),
		c.blobs(ctx),
		c.strayEntries(ctx),
		ctx.Err(),
	)
	c.uncounted()
	return err
}

// each visits every record with a prefix; one that fn cannot read is a
// finding, not the end.
func (c *checker) each(ctx context.Context, prefix string, fn func(k, v []byte) error) error {
	p := []byte(prefix)
	return c.Scan(p, prefixEnd(p), math.MaxInt, func(k, v []byte) bool {
		if err := fn(k, v); err != nil {
			c.unreadable = true
			c.finding("The record %q cannot be used: %v.", k, err)
		}
		return ctx.Err() == nil
	})
}

func (c *checker) owner(k, v []byte) error {
	var o Owner
	if err := decode(v, &o); err != nil {
		return err
	}
	c.sum.Owners++
	if !bytes.Equal(k, ownerKey(o.ID)) {
		c.finding("The owner %s is recorded under another name.", o.ID)
	}
	id, err := c.Get(slugIndex(o.Slug))
	switch {
	case err == nil && id == nil:
		c.mend(fix{key: slugIndex(o.Slug), value: []byte(o.ID)}, "The owner %s is not found under its slug %s", o.ID, o.Slug)
	case err == nil && string(id) != string(o.ID):
		c.finding("The owner %s is not found under its slug %s: %s is.", o.ID, o.Slug, id)
	}
	return err
}

func (c *checker) slug(k, v []byte) error {
	var o Owner
	found, err := c.read(ownerKey(OwnerID(v)), &o)
	if err == nil && (!found || slugKey(o.Slug) != string(k[len(prefixSlug):])) {
		c.finding("The slug %s leads to %s, which does not have it.", k[len(prefixSlug):], v)
	}
	return err
}

func (c *checker) file(ctx context.Context, k, v []byte) error {
	var f File
	if err := decode(v, &f); err != nil {
		return err
	}
	c.sum.Files++
	c.usage[f.Owner] = c.usage[f.Owner].plus(Usage{Files: 1, FileBytes: f.Size})
	what := fmt.Sprintf("file %s of %s", f.Path, f.Owner)
	if !bytes.Equal(k, fileKey(f.Owner, f.Path)) {
		c.finding("The %s is recorded under another name.", what)
	}
	c.must(fileIDKey(f.Owner, f.ID), []byte(f.Path), what+" in the index of ids")
	c.must(newFileKey(f.Owner, f.CreatedAt, f.ID), []byte(f.Path), what+" in the index of times")
	c.content(ctx, f.Blob, heldByFile, f.Owner, f.ID[:], f.Size, f.SHA256, what)
	return c.shown(ctx, f)
}

// must reports an index entry that is missing or wrong. A missing one follows
// from its record; of a wrong one it is not clear which record is right.
func (c *checker) must(k, want []byte, what string) {
	got, err := c.Get(k)
	switch {
	case err == nil && got == nil:
		c.mend(fix{key: k, value: append([]byte{}, want...)}, "An entry is missing: the %s", what)
	case err != nil || !bytes.Equal(got, want):
		c.finding("An entry is wrong: the %s.", what)
	}
}

// mustHold is must for the holder of a blob. Of one that is garbage as well it
// is not clear whether it was given up.
func (c *checker) mustHold(ref blob.Ref, want []byte, what string) {
	if waste, err := c.Get(garbageKey(ref)); err != nil || waste != nil {
		c.finding("The %s has given up its bytes: they are garbage (blob %s).", what, ref)
		return
	}
	c.must(blobKey(ref), want, what+" as the holder of its bytes")
}

// content checks the blob of a record and that the blob leads back to it.
func (c *checker) content(ctx context.Context, ref blob.Ref, kind byte, o OwnerID, id []byte, size int64, sum []byte, what string) {
	c.mustHold(ref, owned(string(kind), o, id), what)
	info, err := c.s.blobs.Stat(ctx, ref)
	switch {
	case errors.Is(err, blob.ErrNotExist):
		c.finding("The bytes of the %s are missing (blob %s).", what, ref)
		return
	case err != nil:
		c.finding("The bytes of the %s cannot be looked at: %v.", what, err)
		return
	case info.Size != size:
		c.finding("The %s has %d bytes on disk and %d in its record (blob %s).", what, info.Size, size, ref)
		return
	}
	if !c.opts.Content || sum == nil {
		return
	}
	got, err := c.hash(ctx, ref)
	if err != nil {
		c.finding("The bytes of the %s cannot be read: %v.", what, err)
	} else if !bytes.Equal(got, sum) {
		c.finding("The bytes of the %s have changed: SHA-256 is %s, not %s.", what, hex.EncodeToString(got), hex.EncodeToString(sum))
	}
}

func (c *checker) hash(ctx context.Context, ref blob.Ref) ([]byte, error) {
	h := sha256.New()
	err := c.hashTo(ctx, h, ref, -1)
	return h.Sum(nil), err
}

// hashTo adds the first length bytes of a blob to h; -1 is all of them.
func (c *checker) hashTo(ctx context.Context, h hash.Hash, ref blob.Ref, length int64) error {
	r, err := c.s.blobs.Open(ctx, ref, 0, length)
	if err != nil {
		return err
	}
	defer r.Close()
	_, err = io.Copy(h, r)
	return err
}

// shown compares one file with the visible tree.
func (c *checker) shown(ctx context.Context, f File) error {
	if c.s.tree == nil {
		return nil
	}
	var o Owner
	if _, err := c.read(ownerKey(f.Owner), &o); err != nil {
		return err
	}
	same, err := c.s.tree.Matches(o.Slug, string(f.Path), f.Blob)
	if err == nil && same {
		return nil
	}
	if c.opts.Repair {
		err = c.locked(ctx, o.Slug, string(f.Path), func() error {
			return c.s.tree.Set(ctx, o.Slug, string(f.Path), f.Blob)
		})
		if err == nil {
			c.mended("The visible tree was made to show %s/%s.", o.Slug, f.Path)
			return nil
		}
	}
	marked, _ := c.Get(markKey(f.Owner, f.Path))
	switch {
	case err != nil:
		c.finding("The visible tree cannot show %s/%s: %v.", o.Slug, f.Path, err)
	case marked != nil:
		c.waiting("The visible tree does not show %s/%s yet; the next start completes it.", o.Slug, f.Path)
	default:
		c.finding("The visible tree does not show %s/%s; check --repair makes it.", o.Slug, f.Path)
	}
	return nil
}

// locked changes the tree at a path that other programs may be at.
func (c *checker) locked(ctx context.Context, slug, path string, change func() error) error {
	patience, cancel := context.WithTimeout(ctx, sweepWait)
	defer cancel()
	unlock, err := c.s.locks.Lock(patience, LockKey(slug, Path(path)))
	if err != nil && patience.Err() != nil && ctx.Err() == nil {
		return errHeld
	}
	if err != nil {
		return fmt.Errorf("lock: %w", err)
	}
	defer unlock()
	return change()
}

func (c *checker) fileIndex(prefix string) func(k, v []byte) error {
	return func(k, v []byte) error {
		o, rest, ok := splitOwned(prefix, k)
		f, found, err := c.txn.file(o, Path(v))
		if err != nil {
			return err
		}
		want := fileIDKey(f.Owner, f.ID)
		if prefix == prefixNewFile {
			want = newFileKey(f.Owner, f.CreatedAt, f.ID)
		}
		if !ok || !found || !bytes.Equal(k, want) {
			c.mend(fix{key: bytes.Clone(k)}, "The index entry %s%x of %s leads to %q, which is not that file", prefix, rest, o, v)
		}
		return nil
	}
}

func (c *checker) upload(ctx context.Context, k, v []byte) error {
	var u Upload
	if err := decode(v, &u); err != nil {
		return err
	}
	c.sum.Uploads++
	what := fmt.Sprintf("upload %s of %s", u.Token, u.Owner)
	if !bytes.Equal(k, uploadKey(u.Owner, u.Token)) {
		c.finding("The %s is recorded under another name.", what)
	}
	id := u.Token.bytes()
	if u.isListed() {
		c.must(newUploadKey(u.Owner, u.CreatedAt, u.Token), nil, what+" in the index of times")
	}
	c.must(expiryKey(u.ExpiresAt, expireUpload, u.Owner, id), nil, what+" in the index of expiry")
	c.usage[u.Owner] = c.usage[u.Owner].plus(u.usage())
	if u.State == Receiving {
		return c.growing(ctx, u, what)
	}
	for _, p := range u.Parts {
		c.content(ctx, p.Blob, heldByUpload, u.Owner, id, p.Size, p.SHA256, what)
	}
	return nil
}

// growing checks an upload that is not complete: its file may have bytes that
// were not recorded, and must have those that were, with their digest.
func (c *checker) growing(ctx context.Context, u Upload, what string) error {
	if u.Growth == nil || len(u.Parts) != 1 || u.Growth.Offset > u.Growth.Reserved {
		c.finding("The record of the %s contradicts itself.", what)
		return nil
	}
	p := u.Parts[0]
	if p.Blob == "" {
		if u.Growth.Offset != 0 {
			c.finding("The %s has %d bytes and no blob.", what, u.Growth.Offset)
		}
		return nil
	}
	c.mustHold(p.Blob, owned(string(heldByUpload), u.Owner, u.Token.bytes()), what)
	info, err := c.s.blobs.Stat(ctx, p.Blob)
	switch {
	case errors.Is(err, blob.ErrNotExist):
		c.finding("The bytes of the %s are missing (blob %s).", what, p.Blob)
	case err != nil:
		c.finding("The bytes of the %s cannot be looked at: %v.", what, err)
	case info.Size < u.Growth.Offset:
		c.finding("The %s has %d bytes on disk and %d in its record (blob %s).", what, info.Size, u.Growth.Offset, p.Blob)
	case c.opts.Content:
		h := sha256.New()
		want, err := resumeHash(sha256.New(), u.Growth.Sum)
		if err == nil {
			err = c.hashTo(ctx, h, p.Blob, u.Growth.Offset)
		}
		if err != nil {
			c.finding("The bytes of the %s cannot be read: %v.", what, err)
		} else if !bytes.Equal(h.Sum(nil), want.Sum(nil)) {
			c.finding("The bytes of the %s have changed (blob %s).", what, p.Blob)
		}
	}
	return nil
}

func (c *checker) uploadIndex(k, _ []byte) error {
	o, rest, ok := splitOwned(prefixNewUp, k)
	if !ok || len(rest) != 24 {
		return errors.New("malformed key")
	}
	u, err := c.txn.upload(o, tokenOf(rest[8:]))
	if err == nil && bytes.Equal(k, newUploadKey(o, u.CreatedAt, u.Token)) {
		return nil
	}
	if err != nil && CodeOf(err) != CodeNotFound {
		return err
	}
	c.mend(fix{key: bytes.Clone(k)}, "The index entry %x of %s does not lead to an upload", rest, o)
	return nil
}

func (c *checker) trash(ctx context.Context, k, v []byte) error {
	var z trashed
	if err := decode(v, &z); err != nil {
		return err
	}
	o, id, _ := splitOwned(prefixTrash, k)
	what := fmt.Sprintf("deleted file %s of %s", z.File.Path, o)
	c.must(expiryKey(z.Until, expireTrash, o, id), nil, what+" in the index of expiry")
	if z.Batch != (BatchID{}) {
		c.must(batchKey(o, z.Batch, z.File.ID), nil, what+" in the index of what was deleted together")
	}
	c.content(ctx, z.File.Blob, heldByTrash, o, id, z.File.Size, z.File.SHA256, what)
	return nil
}

// batch checks that what was deleted together can still be restored.
func (c *checker) batch(k, from []byte) error {
	o, id, ok := splitOwned(prefixBatch, k)
	if !ok || len(id) != len(BatchID{})+len(FileID{}) {
		return errors.New("it is not one of a batch")
	}
	if len(from) > 0 {
		return nil // moved, and perhaps deleted since
	}
	batch, file := BatchID(id[:len(BatchID{})]), FileID(id[len(BatchID{}):])
	z, err := c.latestTrash(o, file)
	if CodeOf(err) == CodeNotFound || err == nil && z.Batch != batch {
		c.mend(fix{key: bytes.Clone(k)}, "The file %s of %s is not among what was deleted with %s", file, o, batch)
		return nil
	}
	return err
}

// holder checks that the record a blob leads to leads back.
func (c *checker) holder(k, v []byte) error {
	ref := blob.Ref(k[len(prefixBlob):])
	if len(v) == 0 {
		return errors.New("empty")
	}
	if !c.held(ref, v) {
		c.finding("The blob %s is recorded as held by a record that does not hold it.", ref)
	}
	return nil
}

// held reports whether the record that a holder names has the blob.
func (c *checker) held(ref blob.Ref, holder []byte) (held bool) {
	if len(holder) == 0 {
		return false
	}
	o, id, _ := splitOwned(string(holder[:1]), holder)
	switch holder[0] {
	case heldByFile:
		if len(id) == len(FileID{}) {
			f, err := c.fileByID(o, FileID(id))
			held = err == nil && f.Blob == ref
		}
	case heldByTrash:
		var z trashed
		found, err := c.read(owned(prefixTrash, o, id), &z)
		held = err == nil && found && z.File.Blob == ref
	case heldByUpload:
		u, err := c.txn.upload(o, tokenOf(id))
		for _, p := range u.Parts {
			held = held || err == nil && p.Blob == ref
		}
	}
	return held
}

func (c *checker) garbage(k, v []byte) error {
	var g garbage
	if err := decode(v, &g); err != nil {
		return err
	}
	ref := blob.Ref(k[len(prefixGarbage):])
	if b, err := c.Get(blobKey(ref)); err != nil || b != nil {
		c.finding("The blob %s is garbage and held by a record at the same time.", ref)
		return err
	}
	c.waiting("The blob %s (%d bytes, %s) awaits the next sweep.", ref, g.Size, g.Reason)
	return nil
}

// expiry checks that the sweep can read an entry. One whose record is gone, or
// due at another time, is no damage: the sweep forgets it when it is due.
func (c *checker) expiry(k, _ []byte) error {
	kind, _, _, ok := parseExpiryKey(k)
	switch kind {
	case expireUpload, expireTrash, expireMove, expirePreview:
	default:
		ok = false
	}
	if !ok {
		c.mend(fix{key: bytes.Clone(k)}, "The entry %x in the index of expiry has no meaning", k)
	}
	return nil
}

// adoption tells what an adoption has still to do.
func (c *checker) adoption(ctx context.Context) error {
	var a adoption
	found, err := c.read([]byte(keyAdoption), &a)
	c.adopting = found && a.Done.IsZero()
	undigested := 0
	err = errors.Join(err,
		c.each(ctx, prefixUndigested, func(_, _ []byte) error {
			undigested++
			return nil
		}),
		c.each(ctx, prefixLeftover, func(k, v []byte) error {
			if err := decode(v, &leftover{}); err != nil {
				return err
			}
			c.waiting("%s is adopted under another name; the next adoption removes it.", k[len(prefixLeftover):])
			return nil
		}),
	)
	if undigested > 0 {
		c.waiting("The SHA-256 of %d adopted contents is not known yet; the service computes it while it runs.", undigested)
	}
	return err
}

func (c *checker) counter(k, v []byte) error {
	var u Usage
	if err := decode(v, &u); err != nil {
		return err
	}
	o := OwnerID(k[len(prefixUsage):])
	if want := c.usage[o]; u != want {
		c.miscounted(o, want, fmt.Sprintf("The counters of %s are %+v and should be %+v", o, u, want))
	}
	delete(c.usage, o)
	return nil
}

// miscounted mends counters, unless something was not counted.
func (c *checker) miscounted(o OwnerID, want Usage, sentence string) {
	value, err := encode(want)
	if err != nil || c.unreadable {
		c.finding("%s, without the records that cannot be used.", sentence)
		return
	}
	c.mend(fix{key: usageKey(o), value: value}, "%s", sentence)
}

// uncounted runs after counter: what is left has no counters at all.
func (c *checker) uncounted() {
	for o, u := range c.usage {
		if u != (Usage{}) {
			c.miscounted(o, u, fmt.Sprintf("The owner %s has no counters and should have %+v", o, u))
		}
	}
}

// blobs checks that every blob is named by a record.
func (c *checker) blobs(ctx context.Context) error {
	var failed error
	err := c.s.blobs.List(ctx, "", func(i blob.Info) bool {
		c.sum.Blobs++
		c.sum.Bytes += i.Size
		var named bool
		named, failed = c.names(i.Ref)
		for _, s := range c.strays[i.Size] {
			s.ours = s.ours || c.isSafe(i.Ref) && c.isBlob(s.info, i.Ref)
		}
		switch {
		case failed != nil:
			return false
		case named:
		case c.open[i.Ref.Epoch()]:
			c.waiting("The blob %s (%d bytes) is an unfinished upload; the next start removes it.", i.Ref, i.Size)
		default:
			c.finding("The blob %s (%d bytes) belongs to no record; it is left to you.", i.Ref, i.Size)
		}
		return true
	}, func(name string) {
		c.finding("%s lies among the blobs and is none.", name)
	})
	return errors.Join(err, failed)
}

// isSafe reports whether a blob needs no name in the tree: a record has it, or
// it was given up. Of one whose record was lost that name is all that is left.
func (c *checker) isSafe(ref blob.Ref) bool {
	holder, err := c.Get(blobKey(ref))
	if err == nil && c.held(ref, holder) {
		return true
	}
	waste, err := c.Get(garbageKey(ref))
	return err == nil && waste != nil && holder == nil
}

// isBlob reports whether a file is that of a blob.
func (c *checker) isBlob(info fs.FileInfo, ref blob.Ref) bool {
	adopter, ok := c.s.blobs.(blob.Adopter)
	if !ok {
		return false
	}
	file, err := adopter.StatFile(ref)
	return err == nil && os.SameFile(info, file)
}

// strayEntries runs after blobs: entries that show a content under a name that
// no record has go, which loses nothing; the others are somebody's.
func (c *checker) strayEntries(ctx context.Context) error {
	for _, same := range c.strays {
		for _, s := range same {
			switch {
			case !s.ours:
				c.foreign(s.slug, s.path, isAdoptable(true, s.slug, s.path, s.info))
			case !c.opts.Repair:
				c.finding("%s/%s is one more name of a file of ours; check --repair removes it.", s.slug, s.path)
			default:
				err := c.locked(ctx, s.slug, s.path, func() error { return c.s.tree.Remove(ctx, s.slug, s.path) })
				if err != nil {
					c.finding("%s/%s is one more name of a file of ours and cannot be removed: %v.", s.slug, s.path, err)
					continue
				}
				c.mended("%s/%s was one more name of a file of ours and is removed.", s.slug, s.path)
			}
		}
	}
	return ctx.Err()
}

func (c *checker) foreign(slug, path string, adoptable bool) {
	advice := "adopt takes files over"
	if !adoptable {
		advice = "adopt leaves it: move it elsewhere"
	}
	c.finding("%s has no record: somebody put it there (%s).", entryName(slug, path), advice)
}

// isAdoptable reports whether an adoption takes over what Walk visits: a file
// with a name that we can have, in an owner's folder or in one that is named
// like a login.
func isAdoptable(owned bool, slug, path string, info fs.FileInfo) bool {
	_, err := ParsePath(path)
	return err == nil && info.Mode().IsRegular() && (owned || loginSyntax.MatchString(slug))
}

// entryName is the name of what Walk visits; path is "" beside the owners'
// folders.
func entryName(slug, path string) string {
	return strings.TrimSuffix(slug+"/"+path, "/")
}

// visibleTree checks that everything the tree shows has a record.
func (c *checker) visibleTree() error {
	if c.s.tree == nil {
		return nil
	}
	return c.s.tree.Walk(func(slug, path string, info fs.FileInfo) error {
		id, err := c.Get(slugIndex(slug))
		if err != nil {
			return err
		}
		recorded, err := c.Get(fileKey(OwnerID(id), Path(path)))
		if err != nil || recorded != nil {
			return err
		}
		if marked, _ := c.Get(markKey(OwnerID(id), Path(path))); marked != nil {
			c.waiting("The visible tree still shows %s/%s; the next start removes it.", slug, path)
			return nil
		}
		adoptable := isAdoptable(id != nil, slug, path, info)
		leftover, err := c.Get(leftoverKey(slug + "/" + path))
		switch {
		case err != nil || leftover != nil:
			return err
		case c.adopting && adoptable:
			c.waiting("%s is not adopted yet; the next start goes on.", entryName(slug, path))
		case id != nil && path != "" && info.Mode().IsRegular() && info.Mode().Perm()&0o222 == 0:
			c.strays[info.Size()] = append(c.strays[info.Size()], &stray{slug: slug, path: path, info: info})
		default:
			c.foreign(slug, path, adoptable)
		}
		return nil
	})
}
