package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"
	"unicode"

	"upload-service/auth"
	"upload-service/store"
	"upload-service/store/blob/disk"
	"upload-service/store/kv"
	"upload-service/store/kv/bolt"
	"upload-service/store/lock"
	"upload-service/store/tree"
)

// parts are the open data of the service.
type parts struct {
	kv    *bolt.Store
	blobs *disk.Store
	tree  *tree.Tree
	opts  store.Options
}

// openParts opens what lies below UPLOAD_DIR. Only one process can have it
// open. With create, what is missing is made.
func openParts(p *program, create bool) (opened *parts, err error) {
	dir := p.cfg.Dir
	defer func() { err = access(dir, err) }()
	inner := filepath.Join(dir, store.InternalDir)
	meta := filepath.Join(inner, "meta.db")
	if create {
		if err := errors.Join(makeDir(dir), makeDir(inner)); err != nil {
			return nil, fmt.Errorf("make the upload folder: %w", err)
		}
		if err := writable(inner); err != nil {
			return nil, err
		}
	}
	if err := lostMetadata(meta, filepath.Join(inner, "blobs")); err != nil {
		return nil, err
	}
	if _, err := os.Stat(meta); !create && errors.Is(err, fs.ErrNotExist) {
		return nil, hinted{fmt.Errorf("there is no data: %w", err), "set UPLOAD_DIR to the folder that the service uses"}
	}
	db, err := bolt.Open(meta, bolt.Options{})
	switch {
	case errors.Is(err, kv.ErrBusy):
		hint := "stop the running service first; a running one sweeps at /api/v1/admin/cleanup and makes keys at /api/v1/keys"
		if create {
			hint = "stop the other one first, or give this one a folder and an address of its own (UPLOAD_DIR, UPLOAD_ADDR)"
		}
		return nil, hinted{fmt.Errorf("another process uses %s: %w", dir, err), hint}
	case errors.Is(err, kv.ErrDamaged):
		return nil, hinted{err, restoreHint(inner)}
	}
	if err != nil {
		return nil, err
	}
	q := &parts{kv: db}
	if q.blobs, err = disk.Open(filepath.Join(inner, "blobs")); err != nil {
		return nil, errors.Join(err, q.close())
	}
	locks, err := lock.Open(filepath.Join(inner, "locks"))
	if err != nil {
		return nil, errors.Join(err, q.close())
	}
	q.opts = store.Options{
		KV: q.kv, Blobs: q.blobs, Locks: locks, Limits: limits(p.cfg), TemporaryTTL: time.Duration(p.cfg.TemporaryTTL),
		Undo: time.Duration(p.cfg.Undo), Now: time.Now, Log: p.log,
	}
	if q.tree, err = tree.Open(dir, q.blobs); err != nil {
		return nil, errors.Join(err, q.close())
	}
	q.tree.Aside = func(from, to string) {
		p.log.Warn("moved a file aside that the visible tree had in its way", "from", from, "to", to)
	}
	q.opts.Tree = q.tree
	if !p.cfg.VisibleTree {
		q.opts.Tree = tree.Hidden{Tree: q.tree}
	}
	return q, nil
}

// lostMetadata refuses to make new metadata where contents tell that there was
// some: whoever lost it has a backup, or wants to know.
func lostMetadata(meta, blobs string) error {
	info, err := os.Stat(meta)
	if err != nil && !errors.Is(err, fs.ErrNotExist) || err == nil && info.Size() > 0 {
		return err
	}
	contents, err := os.ReadDir(blobs)
	if errors.Is(err, fs.ErrNotExist) || err == nil && len(contents) == 0 {
		return nil
	}
	if err != nil {
		return err
	}
	return hinted{fmt.Errorf("%s is missing or empty, and the contents that it describes are there", meta), restoreHint(filepath.Dir(meta))}
}

// restoreHint says what to do without metadata.
func restoreHint(inner string) string {
	return fmt.Sprintf("look at the disk and restore %s from the backup; without one, move that folder elsewhere: "+
		"the next start adopts the visible files, without their keys, tags and waiting uploads", shellWord(inner))
}

// openStopped opens the data of a stopped service for a command, for nobody but
// their owner.
func openStopped(p *program, create bool) (*parts, error) {
	if err := foreign(p); err != nil {
		return nil, err
	}
	return openParts(p, create) // tells what is wrong with the folder
}

// foreign is the error of somebody who works on the data of another user: that
// one could not use the folders and locks that this one, root above all, makes
// there.
func foreign(p *program) error {
	data, err := os.Stat(filepath.Join(p.cfg.Dir, store.InternalDir))
	if err != nil { // there is none yet, or this user may not look
		data, err = os.Stat(p.cfg.Dir)
	}
	if err != nil {
		return nil
	}
	uid, gid := ownerOf(data)
	if uid == os.Geteuid() {
		return nil
	}
	return hinted{fmt.Errorf("%s belongs to user %d, this is user %d", p.cfg.Dir, uid, os.Geteuid()),
		fmt.Sprintf("run it as that user: %s (of a container: docker run --user %d:%d)", p.commandAs(uid, gid), uid, gid)}
}

// warnForeign warns a service that runs as another user than the one whose data it
// has. Of a mounted folder the owner may be told wrong, so it is no error.
func warnForeign(p *program) {
	if os.Geteuid() != 0 {
		return // what it may not use it will be told of
	}
	if _, err := os.Stat(filepath.Join(p.cfg.Dir, store.InternalDir)); err != nil {
		return // what is made is this user's
	}
	if h, ok := errors.AsType[hinted](foreign(p)); ok {
		p.log.Warn(h.Error()+", and that one could not use what this one makes there", "hint", h.hint)
	}
}

// commandAs is the line for a shell that runs this command as another user,
// with the same data.
func (p *program) commandAs(uid, gid int) string {
	program, err := os.Executable()
	if err != nil {
		program = "upload-service"
	}
	line := []string{"setpriv", fmt.Sprintf("--reuid=%d", uid), fmt.Sprintf("--regid=%d", gid), "--clear-groups", program}
	if os.Geteuid() != 0 {
		line = append([]string{"sudo"}, line...)
	}
	value := false // of the flag before
	for _, arg := range p.args {
		name, _, joined := strings.Cut(arg, "=")
		switch {
		case value:
			value = false
		case name == "--upload-dir":
			value = !joined
		default:
			line = append(line, arg)
		}
	}
	if dir, err := filepath.Abs(p.cfg.Dir); err == nil { // also where it was a variable, which sudo drops
		line = append(line, "--upload-dir="+dir)
	}
	for i, word := range line {
		line[i] = shellWord(word)
	}
	return strings.Join(line, " ")
}

// shellWord is a word as a shell has to see it.
func shellWord(word string) string {
	if word != "" && !strings.ContainsFunc(word, needsQuotes) {
		return word
	}
	return "'" + strings.ReplaceAll(word, "'", `'\''`) + "'"
}

// needsQuotes reports whether a shell may take r for more than a letter.
func needsQuotes(r rune) bool {
	return !unicode.IsLetter(r) && !unicode.IsDigit(r) && !strings.ContainsRune("-_=./,:@+", r)
}

// makeDir makes a folder and those above it, durably: what is acknowledged
// later lies in them. The name of one that is there is synced too: who made it
// may have been killed before.
func makeDir(dir string) error {
	parent := filepath.Dir(dir)
	_, absent := os.Stat(dir)
	if absent != nil {
		if parent != dir {
			if err := makeDir(parent); err != nil {
				return err
			}
		}
		if err := os.Mkdir(dir, 0o755); err != nil && !errors.Is(err, os.ErrExist) {
			return err
		}
	}
	if runtime.GOOS == "windows" {
		return nil // folders cannot be synced there
	}
	d, err := os.Open(parent)
	if err == nil {
		err = errors.Join(d.Sync(), d.Close())
	}
	if absent == nil {
		return nil // what is above may be of others, and of another volume, that takes no sync
	}
	return err
}

// writable fails for a volume that cannot be written before anything does so
// deep inside.
func writable(dir string) error {
	f, err := os.CreateTemp(dir, ".probe-")
	if err != nil {
		return fmt.Errorf("the upload folder is not writable: %w", err)
	}
	return errors.Join(f.Close(), os.Remove(f.Name()))
}

// access adds what to do to an error that comes from the rights on dir. Who
// reads it may have started a container, and then knows dir by another name.
func access(dir string, err error) error {
	switch {
	case errors.Is(err, syscall.EROFS):
		return hinted{err, fmt.Sprintf("%s is mounted read-only: mount it writable", dir)}
	case errors.Is(err, fs.ErrPermission):
		uid, gid := os.Getuid(), os.Getgid()
		if _, missing := os.Stat(dir); errors.Is(missing, fs.ErrNotExist) {
			return hinted{err, fmt.Sprintf("the service runs as user %d, group %d: make the folder with "+
				"'sudo install -d -o %d -g %d %s'", uid, gid, uid, gid, shellWord(dir))}
		}
		return hinted{err, fmt.Sprintf("the service runs as user %d, group %d: give it the folder with "+
			"'sudo chown -R %d:%d %s' (of a container: the folder that is mounted there), "+
			"or run it as the owner of the folder (docker run --user UID:GID)", uid, gid, uid, gid, shellWord(dir))}
	default:
		return err
	}
}

func (q *parts) close() error {
	var errs []error
	if q.tree != nil {
		errs = append(errs, q.tree.Close())
	}
	if q.blobs != nil {
		errs = append(errs, q.blobs.Close())
	}
	return errors.Join(append(errs, q.kv.Close())...)
}

func limits(c Config) store.Limits {
	return store.Limits{
		FileSize: int64(c.MaxFileSize), OwnerBytes: int64(c.OwnerQuota), OwnerFiles: c.OwnerMaxFiles,
		OwnerActive: c.OwnerMaxActive, MinFree: int64(c.MinFree),
	}
}

// offline opens the data of a stopped service for a command, and closes it.
func offline(ctx context.Context, p *program, fn func(*store.Store, *auth.Service) error) error {
	q, err := openStopped(p, false)
	if err != nil {
		return err
	}
	st, err := store.Open(ctx, q.opts)
	if err != nil {
		return errors.Join(err, q.close())
	}
	err = fn(st, newAuth(p.cfg, q.kv, st))
	return errors.Join(err, st.Close(ctx), q.close())
}
