package store

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/gabriel-vasile/mimetype"

	"upload-service/store/blob"
	"upload-service/store/failpoint"
)

// The earlier service kept files as <login>/<path> and temporary uploads as
// <login>/<uuid>/<name>. Adoption makes records of them where they lie: each
// file gets a blob's name as one more link, then a record, and its old name is
// the entry of the visible tree. It may run while requests are served, and be
// killed at any point:
//
//   - From before the first request until it is done, every login folder is
//     the slug of an owner, so nobody else can come to show files in it.
//   - A batch holds the locks of its paths from its last look at the files to
//     its commit, so the tree does not change under it.
//   - A file whose blob a record at its path holds is done; what else would be
//     adopted twice after a crash is noted in the same commit (leftover).
//   - What an upload found in its place was moved aside by the tree, and is
//     adopted from there. The record that is there first keeps the path.

const (
	adoptBatch = 256                 // files of one transaction
	adoptedTTL = 30 * 24 * time.Hour // life of an adopted temporary upload
	adoptTries = 10                  // looks at a file that keeps changing
	adoptWait  = 200 * time.Millisecond
	displaced  = InternalDir + "/displaced" // where package tree moves things aside
)

// AdoptOptions say what is adopted, and for whom.
type AdoptOptions struct {
	Root *os.Root // the upload folder
	// Resolve returns the account that has a login now, CodeNotFound if there
	// is none. Nil: nobody can be asked, and every login stays unclaimed.
	Resolve func(ctx context.Context, login string) (OwnerID, error)
	// Left is called for each thing that stays as it is, with the reason.
	Left func(name, reason string)
	// Linkable foretells, in a preview, which files need not be copied. Nil: all.
	Linkable func(name string, info fs.FileInfo) bool
}

// AdoptReport counts what was adopted by one run.
type AdoptReport struct {
	Owners    int64 // login folders
	Unclaimed int64 // those whose account is not known
	Files     int64
	Uploads   int64 // temporary ones
	Bytes     int64 // of both
	Copied    int64 // files that could not be linked, also of uploads
	CopyBytes int64 // of these
	Left      int64
}

// Adoption is one run over an upload folder. It is used by one goroutine.
type Adoption struct {
	s       *Store
	root    *os.Root
	opts    AdoptOptions
	report  AdoptReport
	since   time.Time // what was moved aside later is the folder's
	dry     bool
	batch   []*find
	batched int
	later   []*find           // what changed under our hands, or is to be copied
	waiting int               // files of these
	done    map[string][]byte // keys of leftovers that are settled
	full    bool              // there was no room for a copy
}

// adoption is the record of an adoption; Done is zero while it is due.
type adoption struct {
	Since time.Time `json:"since"`
	Done  time.Time `json:"done,omitzero"`
}

// leftover is an old name that has to go because the record shows elsewhere or
// not at all. It is known by the file's size and time.
type leftover struct {
	Size     int64     `json:"size"`
	Modified time.Time `json:"modified"`
}

// names reports whether a name is still that of the file.
func (l leftover) names(info fs.FileInfo) bool {
	return info.Mode().IsRegular() && info.Size() == l.Size && info.ModTime().Equal(l.Modified)
}

// AdoptionDue reports whether the start of the store found no records, and
// what lay in the folder was not adopted to the end since.
func (s *Store) AdoptionDue(ctx context.Context) (due bool, err error) {
	err = s.view(ctx, func(t txn) error {
		var a adoption
		found, err := t.read([]byte(keyAdoption), &a)
		due = found && a.Done.IsZero()
		return err
	})
	return due, err
}

// BeginAdoption gives every login folder an owner. Until Run asked who has the
// login, the first account with that login takes it over (EnsureOwner): GitHub
// has just said so.
func (s *Store) BeginAdoption(ctx context.Context, o AdoptOptions) (*Adoption, error) {
	a := &Adoption{s: s, root: o.Root, opts: o, since: s.now().UTC(), done: map[string][]byte{}}
	err := s.update(ctx, "", func(t txn) error {
		var old adoption
		found, err := t.read([]byte(keyAdoption), &old)
		if err != nil {
			return err
		}
		if found && old.Done.IsZero() {
			a.since = old.Since
			return nil
		}
		return t.write([]byte(keyAdoption), adoption{Since: a.since})
	})
	if err != nil {
		return nil, err
	}
	logins, err := a.logins(ctx, nil)
	if err != nil {
		return nil, err
	}
	for len(logins) > 0 {
		page := logins[:min(len(logins), adoptBatch)]
		logins = logins[len(page):]
		now := s.now()
		err := s.update(ctx, "", func(t txn) error {
			for _, login := range page {
				if _, err := t.ensureUnclaimed(login, o.Resolve != nil, now); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	return a, nil
}

// PreviewAdoption counts what an adoption would do and changes nothing. A nil
// KV in o means that there are no records yet.
func PreviewAdoption(ctx context.Context, o Options, opts AdoptOptions) (AdoptReport, error) {
	a := &Adoption{s: newStore(o), root: opts.Root, opts: opts, dry: true}
	return a.Run(ctx)
}

// Run adopts everything. What an interrupted run did is kept, and the next
// goes on behind it.
func (a *Adoption) Run(ctx context.Context) (AdoptReport, error) {
	// 1. What an earlier run did not get to remove.
	if err := a.settleLeftovers(ctx); err != nil {
		return a.report, err
	}
	// 2. The folders, login by login.
	logins, err := a.logins(ctx, a.left)
	if err != nil {
		return a.report, err
	}
	for _, login := range logins {
		if err := a.adoptLogin(ctx, login); err != nil {
			return a.report, fmt.Errorf("adopt %s: %w", login, err)
		}
	}
	if err := a.retry(ctx); err != nil || a.dry {
		return a.report, err
	}
	// 3. What uploads have moved aside meanwhile.
	if err := a.adoptDisplaced(ctx, displaced); err != nil {
		return a.report, err
	}
	if err := a.retry(ctx); err != nil {
		return a.report, err
	}
	// 4. It is done, or the next run goes on.
	if a.full {
		return a.report, Errorf(CodeFull, "Some files have to be copied, and the disk has no room for that; free some and start again.")
	}
	now := a.s.now().UTC()
	err = a.update(ctx, func(t txn) error {
		return t.write([]byte(keyAdoption), adoption{Since: a.since, Done: now})
	})
	return a.report, err
}

func (a *Adoption) left(name, reason string) {
	a.report.Left++
	a.opts.Left(name, reason)
}

// loginSyntax is what GitHub allows, and "_" of managed accounts.
var loginSyntax = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_-]{0,38}$`)

// logins are the login folders; what else lies beside them goes to left.
func (a *Adoption) logins(ctx context.Context, left func(name, reason string)) (logins []string, err error) {
	if left == nil {
		left = func(string, string) {}
	}
	folders, err := a.entries(ctx, ".", func(name string) error {
		left(name, "it lies in no login's folder")
		return nil
	}, left)
	for _, name := range folders {
		switch {
		case name == InternalDir:
		case loginSyntax.MatchString(name):
			logins = append(logins, name)
		default:
			_, known, lookup := a.lookup(ctx, name)
			if known {
				logins = append(logins, name)
			} else {
				left(name, "the folder is not named like a login")
			}
			err = all(err, lookup)
		}
	}
	return logins, err
}

// lookup returns the owner that a folder belongs to.
func (a *Adoption) lookup(ctx context.Context, login string) (o Owner, found bool, err error) {
	if a.s.kv == nil {
		return o, false, nil
	}
	err = a.s.view(ctx, func(t txn) (err error) {
		o, found, err = t.ownerOfFolder(login)
		return err
	})
	return o, found, err
}

func (t txn) ownerOfFolder(login string) (o Owner, found bool, err error) {
	if o, found, err = t.ownerBySlug(login); err != nil || found {
		return o, found, err
	}
	found, err = t.read(ownerKey(unclaimedID(login)), &o) // where the slug is reserved
	return o, found, err
}

// ensureUnclaimed gives a login folder an owner.
func (t txn) ensureUnclaimed(login string, pending bool, now time.Time) (Owner, error) {
	o, found, err := t.ownerOfFolder(login)
	if err != nil || found {
		return o, err
	}
	o = Owner{ID: unclaimedID(login), Slug: login, Login: login, CreatedAt: now, Pending: pending}
	if reservedSlugs[slugKey(login)] {
		o.Slug += slugUnclaimed
	}
	return o, t.putOwner(o)
}

// slugUnclaimed follows the login where an unclaimed owner cannot have it.
const slugUnclaimed = "~unclaimed"

// owner returns whose a login folder is, and asks if that is not known yet.
func (a *Adoption) owner(ctx context.Context, login string) (o Owner, err error) {
	if a.dry {
		o, found, err := a.lookup(ctx, login)
		if !found {
			o = Owner{ID: unclaimedID(login), Slug: login, Login: login}
		}
		return o, err
	}
	now := a.s.now()
	err = a.s.update(ctx, "", func(t txn) (err error) {
		o, err = t.ensureUnclaimed(login, a.opts.Resolve != nil, now)
		return err
	})
	if err != nil || !o.Pending {
		return o, err
	}
	account, unasked, err := OwnerID(""), false, error(errNoOwner)
	if a.opts.Resolve != nil {
		account, err = a.opts.Resolve(ctx, o.Login)
	}
	if ctx.Err() != nil {
		return o, ctx.Err()
	}
	if err == nil {
		// Usually it takes the place of the pending owner; an account that
		// was here before has a slug of its own.
		_, err = a.s.EnsureOwner(ctx, account, o.Login)
		if err != nil {
			return o, err
		}
	} else if CodeOf(err) != CodeNotFound {
		unasked = true
		a.s.log.Warn("GitHub cannot be asked about a login; its files stay unclaimed until a start that can ask",
			"login", login, "error", err)
	}
	pending := o
	err = a.s.update(ctx, "", func(t txn) error {
		o = Owner{}
		there, err := t.read(ownerKey(pending.ID), &o)
		switch {
		case err != nil:
			return err
		case there && account == "": // nobody's
			o.Pending, o.Unasked = false, unasked
			return t.putOwner(o)
		case there:
			err = all(t.Delete(ownerKey(o.ID)), t.Delete(slugIndex(o.Slug)))
		}
		if account == "" { // taken over by a sign-in meanwhile
			o, _, err = t.ownerBySlug(pending.Slug)
			return err
		}
		o = Owner{}
		_, failed := t.read(ownerKey(account), &o)
		return all(err, failed)
	})
	return o, err
}

// entries calls file for the regular files of a folder, a page at a time, and
// returns its folders. Nothing else is opened, let alone followed.
func (a *Adoption) entries(
	ctx context.Context, dir string, file func(name string) error, left func(name, reason string),
) (folders []string, err error) {
	info, err := a.root.Lstat(dir)
	var d *os.File
	if err == nil && info.IsDir() {
		d, err = a.root.Open(dir)
	}
	switch {
	case errors.Is(err, fs.ErrNotExist), err == nil && d == nil:
		return nil, nil // moved aside meanwhile
	case errors.Is(err, fs.ErrPermission):
		left(dir, "the folder cannot be read: "+reason(err))
		return nil, nil
	case err != nil:
		return nil, err
	}
	defer d.Close()
	for {
		page, end := d.ReadDir(1000)
		for _, e := range page {
			if err := ctx.Err(); err != nil {
				return nil, err
			}
			name := path.Join(dir, e.Name())
			switch typ := e.Type(); {
			case typ.IsRegular():
				err = file(name)
			case typ.IsDir():
				folders = append(folders, name)
			case typ&fs.ModeSymlink != 0:
				left(name, "it is a symbolic link, and those are not followed")
			default:
				left(name, "it is no regular file")
			}
			if err != nil {
				return nil, err
			}
		}
		if end == io.EOF {
			return folders, nil
		}
		if end != nil {
			return nil, end
		}
	}
}

// reason is an error without the name, which stands before it.
func reason(err error) string {
	var p *fs.PathError
	if errors.As(err, &p) {
		err = p.Err
	}
	return err.Error()
}

// find is a file that was found, or all the files of a temporary upload.
type find struct {
	owner Owner
	token Token // of a temporary upload
	files []*oldFile
	tries int
}

// oldFile is one file of the old folder.
type oldFile struct {
	name    string // below the upload folder, as it is on disk
	path    Path   // below the owner's folder
	info    fs.FileInfo
	sniffed string
	ref     blob.Ref
	id      FileID
	stamp   []byte
	copied  bool // ref is a copy; else it is to be linked
	noLink  bool
}

func (a *Adoption) adoptLogin(ctx context.Context, login string) error {
	owner, err := a.owner(ctx, login)
	if err != nil {
		return err
	}
	a.report.Owners++
	if owner.ID.unclaimed() {
		a.report.Unclaimed++
	}
	file := func(name string) error { return a.file(ctx, owner, name, strings.TrimPrefix(name, login+"/")) }
	folders, err := a.entries(ctx, login, file, a.left)
	for err == nil && len(folders) > 0 {
		name := folders[0]
		folders = folders[1:]
		rest := strings.TrimPrefix(name, login+"/")
		if _, notToken := ParseToken(rest); notToken == nil {
			err = a.upload(ctx, owner, name, Token(rest))
			continue
		}
		var inner []string
		inner, err = a.entries(ctx, name, file, a.left)
		folders = append(inner, folders...)
	}
	return all(err, a.flush(ctx))
}

// file notes a file to be adopted under a path of the owner.
func (a *Adoption) file(ctx context.Context, owner Owner, name, rest string) error {
	p, err := ParsePath(rest)
	if err != nil {
		a.left(name, messageOf(err))
		return nil
	}
	return a.note(ctx, &find{owner: owner, files: []*oldFile{{name: name, path: p}}})
}

// upload notes a folder as the temporary upload with that token; one with more
// files than an upload may have as several, see recordUpload.
func (a *Adoption) upload(ctx context.Context, owner Owner, dir string, token Token) error {
	f := &find{owner: owner, token: token}
	file := func(name string) error {
		p, err := ParsePath(string(token) + strings.TrimPrefix(name, dir))
		if err != nil {
			a.left(name, messageOf(err))
			return nil
		}
		f.files = append(f.files, &oldFile{name: name, path: p})
		if len(f.files) < MaxParts {
			return nil
		}
		full := f
		f = &find{owner: owner, token: token}
		return a.note(ctx, full)
	}
	folders := []string{dir}
	for len(folders) > 0 {
		inner, err := a.entries(ctx, folders[0], file, a.left)
		if err != nil {
			return err
		}
		folders = append(folders[1:], inner...)
	}
	return a.note(ctx, f)
}

// messageOf is what an error says to people.
func messageOf(err error) string {
	var e *Error
	if errors.As(err, &e) {
		return e.Message
	}
	return err.Error()
}

var movedAside = regexp.MustCompile(`\.([0-9]{19})(/|$)`)

// adoptDisplaced adopts what the tree moved aside since the adoption began, as
// <slug>/<path>.<nanoseconds>, as files beside those that took their place.
func (a *Adoption) adoptDisplaced(ctx context.Context, dir string) error {
	folders, err := a.entries(ctx, dir, func(name string) error {
		rest := strings.TrimPrefix(name, displaced+"/")
		at := movedAside.FindStringSubmatchIndex(rest)
		if at == nil {
			return nil
		}
		when, err := strconv.ParseInt(rest[at[2]:at[3]], 10, 64)
		if err != nil || when < a.since.UnixNano() {
			return nil
		}
		login, rest, ok := strings.Cut(rest[:at[0]]+rest[at[4]:], "/")
		owner, known, err := a.lookup(ctx, login)
		if err != nil || !ok || !known {
			return err
		}
		return a.file(ctx, owner, name, rest)
	}, func(string, string) {})
	for _, inner := range folders {
		err = all(err, a.adoptDisplaced(ctx, inner))
	}
	return all(err, a.flush(ctx))
}

// note adds a find. What is to be looked at again is, before it becomes much.
func (a *Adoption) note(ctx context.Context, f *find) error {
	if err := a.add(ctx, f); err != nil || a.waiting < adoptBatch {
		return err
	}
	return a.retry(ctx)
}

// add looks at the files of a find and puts it into the batch.
func (a *Adoption) add(ctx context.Context, f *find) error {
	if err := a.look(ctx, f); err != nil || len(f.files) == 0 {
		return err
	}
	a.batch = append(a.batch, f)
	a.batched += len(f.files)
	if a.batched >= adoptBatch {
		return a.flush(ctx)
	}
	return nil
}

// look drops the files of a find that are gone, cannot be read or are adopted
// already. Of the others it learns the type, and makes the bytes durable.
func (a *Adoption) look(ctx context.Context, f *find) error {
	kept := f.files[:0]
	for _, old := range f.files {
		if old.copied {
			kept = append(kept, old) // as it was before it was copied
			continue
		}
		ours, err := a.adopted(ctx, f.owner, old)
		if err != nil {
			return err
		}
		if ours {
			continue
		}
		err = a.read(old)
		switch {
		case errors.Is(err, fs.ErrNotExist):
		case err != nil:
			a.left(old.name, "it cannot be read: "+reason(err))
		default:
			kept = append(kept, old)
		}
	}
	f.files = kept
	return nil
}

func (a *Adoption) read(old *oldFile) error {
	info, err := a.root.Lstat(old.name)
	if err == nil && !info.Mode().IsRegular() {
		err = fs.ErrNotExist // something else by now
	}
	if err != nil {
		return err
	}
	f, err := a.root.Open(old.name)
	if err != nil {
		return err
	}
	defer f.Close()
	if old.info, err = f.Stat(); err != nil || a.dry {
		return err
	}
	head := make([]byte, sniffLen)
	n, err := io.ReadFull(f, head)
	if err != nil && err != io.EOF && err != io.ErrUnexpectedEOF {
		return err
	}
	old.sniffed = mimetype.Detect(head[:n]).String()
	if runtime.GOOS == "windows" {
		return nil // a file open for reading cannot be synced there
	}
	return f.Sync()
}

// adopted reports whether a record at the file's path has this very file, or
// it is adopted elsewhere and its name could not be removed.
func (a *Adoption) adopted(ctx context.Context, o Owner, old *oldFile) (bool, error) {
	if a.s.kv == nil {
		return false, nil
	}
	info, err := a.root.Lstat(old.name)
	if err != nil {
		return false, nil // gone: read tells
	}
	var f File
	var there, left bool
	err = a.s.view(ctx, func(t txn) (err error) {
		noted, err := t.Get(leftoverKey(old.name))
		if err == nil {
			var l leftover
			left = noted != nil && (decode(noted, &l) != nil || l.names(info))
			f, there, err = t.file(o.ID, old.path)
		}
		return err
	})
	if err != nil || left || !there {
		return left, err
	}
	held, err := a.s.blobs.(blob.Adopter).StatFile(f.Blob)
	if errors.Is(err, blob.ErrNotExist) {
		return false, nil // replaced just now
	}
	return err == nil && os.SameFile(info, held), err
}

// flush adopts the batch.
func (a *Adoption) flush(ctx context.Context) error {
	batch := a.batch
	a.batch, a.batched = nil, 0
	if len(batch) == 0 {
		return nil
	}
	if a.dry {
		for _, f := range batch {
			a.count(f)
		}
		return nil
	}
	return a.adopt(ctx, batch)
}

func (a *Adoption) count(f *find) {
	if f.token == "" {
		a.report.Files++
	} else {
		a.report.Uploads++
	}
	for _, old := range f.files {
		size := old.info.Size()
		a.report.Bytes += size
		if old.copied || a.dry && a.opts.Linkable != nil && !a.opts.Linkable(old.name, old.info) {
			a.report.Copied++
			a.report.CopyBytes += size
		}
	}
}

// retry looks again at what changed while it was adopted.
func (a *Adoption) retry(ctx context.Context) error {
	for len(a.later) > 0 {
		select {
		case <-time.After(adoptWait):
		case <-ctx.Done():
			return ctx.Err()
		}
		finds := a.later
		a.later, a.waiting = nil, 0
		for _, f := range finds {
			if f.tries++; f.tries > adoptTries {
				for _, old := range f.files {
					a.left(old.name, "it keeps changing")
				}
				continue
			}
			if err := a.copyUnlinkable(ctx, f); err != nil {
				return err
			}
			if err := a.add(ctx, f); err != nil {
				return err
			}
		}
		if err := a.flush(ctx); err != nil {
			return err
		}
	}
	return nil
}

// copyUnlinkable makes copies of the files that cannot have one more name, and
// drops what cannot be copied. Where there is no room, the find stays as it is
// for another run.
func (a *Adoption) copyUnlinkable(ctx context.Context, f *find) error {
	kept := f.files[:0]
	for _, old := range f.files {
		if old.noLink {
			err := a.copy(ctx, old)
			switch {
			case errors.Is(err, fs.ErrNotExist):
				continue
			case CodeOf(err) == CodeFull:
				a.full = true
				a.left(old.name, "it has to be copied, and there is no room for that; the next run tries it again")
				f.files = nil
				return a.s.remove(ctx, copies(kept)...)
			case ctx.Err() != nil:
				return err
			case err != nil:
				a.left(old.name, "it cannot be copied: "+reason(err))
				continue
			}
		}
		kept = append(kept, old)
	}
	f.files = kept
	return nil
}

// copies are the contents of files that were copied and not adopted yet.
func copies(files []*oldFile) (parts []*Part) {
	for _, old := range files {
		if old.copied {
			parts = append(parts, &Part{Blob: old.ref, Size: old.info.Size()})
		}
	}
	return parts
}

func (a *Adoption) copy(ctx context.Context, old *oldFile) error {
	size := old.info.Size()
	if err := a.s.claim(ctx, size); err != nil {
		return err
	}
	defer a.s.unclaim(size)
	r, err := a.root.Open(old.name)
	if err != nil {
		return err
	}
	defer r.Close()
	ref, err := a.s.newRef(ctx)
	if err != nil {
		return err
	}
	if _, err = a.s.blobs.Create(ctx, ref, r); err != nil {
		return errors.Join(Translate(err), a.s.remove(ctx, &Part{Blob: ref}))
	}
	old.ref, old.copied, old.noLink = ref, true, false
	return nil
}

// adopt makes one batch uploads and files. What cannot be adopted now comes
// again later.
func (a *Adoption) adopt(ctx context.Context, batch []*find) error {
	s := a.s
	// 1. Everything random, and the locks that are needed.
	var keys []string
	for _, f := range batch {
		for _, old := range f.files {
			if !old.copied {
				ref, err := s.newRef(ctx)
				if err != nil {
					return err
				}
				old.ref = ref
			}
			old.id, old.stamp = NewFileID(), newStamp()
			keys = append(keys, LockKey(f.owner.Slug, old.path))
			if slug, rest, _ := strings.Cut(old.name, "/"); slug != InternalDir {
				keys = append(keys, LockKey(slug, Path(rest)))
			}
		}
	}
	unlock, err := s.locks.Lock(ctx, keys...)
	if err != nil {
		return fmt.Errorf("lock: %w", err)
	}
	unlock = sync.OnceFunc(unlock)
	defer unlock()

	// 2. Under the locks, is everything as it was, and the tree up to date? An
	// entry that is to follow its record may be a blob of ours.
	var ready, refused, stuck []*find
	for _, f := range batch {
		same, err := a.unchanged(ctx, f)
		if err != nil {
			return err
		}
		if same {
			ready = append(ready, f)
		} else {
			refused = append(refused, f)
		}
	}

	// 3. The bytes get their new names, durably.
	ready, failed, err := a.link(ctx, ready)
	refused = append(refused, failed...)
	failpoint.Hit("adopt: linked")
	if err == nil {
		// 4. One transaction names them.
		ready, stuck, err = a.commit(ctx, ready)
	}
	if err != nil {
		return errors.Join(err, a.giveUp(ctx, append(ready, refused...)))
	}
	failpoint.Hit("adopt: committed")

	// 5. Old names that show nothing any more go.
	var marks []mark
	for _, f := range ready {
		for _, old := range f.files {
			s.settle(old.ref)
			if old.moved(f) {
				a.removeName(old.name, old.leftover())
				if f.token == "" {
					marks = append(marks, mark{owner: f.owner.ID, path: old.path})
				}
			}
		}
		a.count(f)
	}
	failpoint.Hit("adopt: names removed")
	err = a.giveUp(ctx, append(stuck, refused...))
	unlock()

	// 6. The tree shows what has another name now.
	for _, m := range marks {
		if err := s.settleMark(ctx, sweepWait, m.owner, m.path); err != nil && ctx.Err() == nil {
			s.log.Warn("the visible tree lags behind", "owner", m.owner, "path", m.path, "error", err)
		}
	}
	a.later = append(a.later, refused...)
	for _, f := range refused {
		a.waiting += len(f.files)
	}
	return err
}

// moved reports whether the record shows under another name, or not at all.
func (old *oldFile) moved(f *find) bool {
	return f.token != "" || old.copied || old.name != f.owner.Slug+"/"+string(old.path)
}

// unchanged reports whether all files are as they were looked at.
func (a *Adoption) unchanged(ctx context.Context, f *find) (bool, error) {
	for _, old := range f.files {
		now, err := a.root.Lstat(old.name)
		if err != nil || !sameContent(old.info, now) || !os.SameFile(old.info, now) {
			return false, nil
		}
		marked, err := a.s.isMarked(ctx, f.owner.ID, old.path)
		if err != nil {
			return false, err
		}
		ours, err := a.adopted(ctx, f.owner, old)
		if err != nil || marked || ours {
			return false, err
		}
	}
	return true, nil
}

func sameContent(a, b fs.FileInfo) bool {
	return a.Size() == b.Size() && a.ModTime().Equal(b.ModTime())
}

// link links what is not copied. A find is linked as a whole or fails; its
// links are then removed by giveUp.
func (a *Adoption) link(ctx context.Context, finds []*find) (linked, failed []*find, err error) {
	var files []blob.Existing
	var olds []*oldFile
	for _, f := range finds {
		for _, old := range f.files {
			if !old.copied {
				files = append(files, blob.Existing{Ref: old.ref, Name: old.name, Info: old.info})
				olds = append(olds, old)
			}
		}
	}
	bad := map[*oldFile]bool{}
	for i, failure := range a.s.blobs.(blob.Adopter).Adopt(ctx, a.root, files) {
		if failure == nil {
			continue
		}
		bad[olds[i]] = true
		olds[i].noLink = errors.Is(failure, blob.ErrNoLink)
		if !olds[i].noLink && !errors.Is(failure, blob.ErrNotExist) {
			err = all(err, Translate(failure))
		}
	}
	for _, f := range finds {
		ok := true
		for _, old := range f.files {
			ok = ok && !bad[old]
		}
		if ok {
			linked = append(linked, f)
		} else {
			failed = append(failed, f)
		}
	}
	return linked, failed, err
}

// giveUp removes the blobs of finds that are not adopted, and gives their
// files back as they were.
func (a *Adoption) giveUp(ctx context.Context, finds []*find) error {
	var parts []*Part
	for _, f := range finds {
		for _, old := range f.files {
			// The tree takes what is read-only and has two names for its own.
			now, err := a.root.Lstat(old.name)
			if err == nil && os.SameFile(now, old.info) && now.Mode() != old.info.Mode() {
				err = a.root.Chmod(old.name, old.info.Mode().Perm())
			}
			if err != nil && !errors.Is(err, fs.ErrNotExist) {
				a.s.log.Warn("a file stays read-only", "name", old.name, "error", err)
			}
			parts = append(parts, &Part{Blob: old.ref, Size: old.info.Size()})
			old.copied = false
		}
	}
	if len(parts) == 0 {
		return nil
	}
	return a.s.discardRefused(context.WithoutCancel(ctx), parts...)
}

// commit makes the finds uploads and files; old.path becomes where a file is
// now. It returns those for which there is no place.
func (a *Adoption) commit(ctx context.Context, finds []*find) (adopted, stuck []*find, err error) {
	now := a.s.now()
	paths, reasons := map[*oldFile]Path{}, map[*find]string{}
	err = a.update(ctx, func(t txn) error {
		adopted, stuck = nil, nil
		clear(paths)
		for _, f := range finds {
			err := a.record(t, f, paths, now)
			switch CodeOf(err) {
			case "":
				adopted = append(adopted, f)
			case CodeConflict, CodeInvalid:
				stuck = append(stuck, f)
				reasons[f] = messageOf(err)
			default:
				return err
			}
		}
		return nil
	})
	if err != nil {
		return finds, nil, err
	}
	for old, p := range paths {
		old.path = p
	}
	for _, f := range stuck {
		for _, old := range f.files {
			a.left(old.name, reasons[f])
		}
	}
	return adopted, stuck, nil
}

// record makes the records of one find. It writes nothing if there is no place
// for it (CodeConflict, CodeInvalid).
func (a *Adoption) record(t txn, f *find, paths map[*oldFile]Path, now time.Time) error {
	if f.token != "" {
		return a.recordUpload(t, f, now)
	}
	old := f.files[0]
	p, err := t.roomFor(f.owner.ID, old.path)
	if err != nil {
		return err
	}
	paths[old] = p
	at := fileTime(old.info, now)
	err = all(t.putFile(File{
		ID: old.id, Owner: f.owner.ID, Path: p, Version: 1, Size: old.info.Size(),
		ContentType: mediaType("", old.sniffed), Sniffed: old.sniffed,
		CreatedAt: at, UpdatedAt: at, Blob: old.ref,
	}), t.putUndigested(old.ref, old.info))
	if there := *old; err == nil {
		there.path = p
		if there.moved(f) {
			err = all(t.putLeftover(old), a.s.mark(t, mark{f.owner.ID, p, old.stamp}))
		}
	}
	return err
}

func (a *Adoption) recordUpload(t txn, f *find, now time.Time) error {
	// A folder of too many files becomes several uploads. Those after the first
	// have tokens that are made from its own, so that each run finds the same.
	token := f.token
	for n := 1; ; n++ {
		there, err := t.Get(uploadKey(f.owner.ID, token))
		if err != nil {
			return err
		}
		if there == nil {
			break
		}
		if n > maxRenames {
			return Errorf(CodeConflict, "There are already %d uploads of this folder.", n)
		}
		token = f.token.numbered(n)
	}
	u := Upload{
		Token: token, Owner: f.owner.ID, State: Ready,
		CreatedAt: now, ExpiresAt: now.Add(adoptedTTL),
	}
	for _, old := range f.files {
		u.Parts = append(u.Parts, Part{
			Name:        old.path[len(f.token)+1:],
			ContentType: mediaType("", old.sniffed), Sniffed: old.sniffed,
			Size: old.info.Size(), Blob: old.ref,
		})
		if err := all(t.putUndigested(old.ref, old.info), t.putLeftover(old)); err != nil {
			return err
		}
	}
	return t.putUpload(u)
}

func (t txn) putLeftover(old *oldFile) error {
	return t.write(leftoverKey(old.name), old.leftover())
}

func (old *oldFile) leftover() leftover {
	return leftover{old.info.Size(), old.info.ModTime().UTC()}
}

// fileTime is when a file was last written, within what a record can hold.
func fileTime(info fs.FileInfo, now time.Time) time.Time {
	at := info.ModTime()
	if at.After(now) || at.Unix() < 0 {
		return now
	}
	return at.UTC()
}

// settleLeftovers removes the names that an earlier run did not get to.
func (a *Adoption) settleLeftovers(ctx context.Context) error {
	if a.dry {
		return nil
	}
	lo, hi := []byte(prefixLeftover), prefixEnd([]byte(prefixLeftover))
	for {
		type entry struct {
			name string
			leftover
			damaged error
		}
		var page []entry
		err := a.s.view(ctx, func(t txn) error {
			page = nil
			return t.Scan(lo, hi, adoptBatch, func(k, v []byte) bool {
				e := entry{name: string(k[len(prefixLeftover):])}
				e.damaged = decode(v, &e.leftover)
				page = append(page, e)
				return true
			})
		})
		if err != nil || len(page) == 0 {
			return err
		}
		for _, e := range page {
			if e.damaged != nil { // it may be adopted, so it is neither removed nor adopted
				a.left(e.name, "what is noted about it cannot be read; run check on the stopped service")
				continue
			}
			slug, rest, _ := strings.Cut(e.name, "/")
			unlock, err := a.s.locks.Lock(ctx, LockKey(slug, Path(rest)))
			if err != nil {
				return fmt.Errorf("lock: %w", err)
			}
			a.removeName(e.name, e.leftover)
			unlock()
		}
		if err := a.update(ctx, func(txn) error { return nil }); err != nil {
			return err
		}
		lo = after(leftoverKey(page[len(page)-1].name))
	}
}

// removeName removes an old name, if it is still that of the file, and the
// folders that become empty below the login's. The caller holds its lock.
func (a *Adoption) removeName(name string, l leftover) {
	info, err := a.root.Lstat(name)
	if err == nil && l.names(info) {
		err = a.root.Remove(name)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		a.left(name, "it is adopted, but its old name cannot be removed: "+reason(err))
		return // the next run tries again
	}
	a.done[name] = leftoverKey(name)
	for dir := path.Dir(name); strings.Contains(dir, "/") && dir != displaced; dir = path.Dir(dir) {
		if a.root.Remove(dir) != nil {
			break // not empty
		}
	}
}

// update runs fn in a transaction that also forgets the leftovers whose names
// were removed. That is durable by then: a name that came back would be adopted
// once more.
func (a *Adoption) update(ctx context.Context, fn func(txn) error) error {
	if err := a.syncRemoved(); err != nil {
		return err
	}
	err := a.s.update(ctx, "", func(t txn) error {
		for _, k := range a.done {
			if err := t.Delete(k); err != nil {
				return err
			}
		}
		return fn(t)
	})
	if err == nil {
		clear(a.done)
	}
	return err
}

// syncRemoved syncs the folders from which names were removed. With a folder
// that became empty, its own name was.
func (a *Adoption) syncRemoved() error {
	if runtime.GOOS == "windows" {
		return nil // folders cannot be synced there
	}
	synced := map[string]bool{}
	for name := range a.done {
		for dir := path.Dir(name); !synced[dir]; dir = path.Dir(dir) {
			synced[dir] = true
			d, err := a.root.Open(dir)
			if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) {
				continue
			}
			if err == nil {
				err = errors.Join(d.Sync(), d.Close())
			}
			if err != nil {
				return fmt.Errorf("sync folder %s: %w", dir, err)
			}
		}
	}
	return nil
}
