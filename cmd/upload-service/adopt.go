package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/dustin/go-humanize"

	"upload-service/auth"
	"upload-service/store"
	"upload-service/store/blob/disk"
)

// adoptRequest is what the "adopt" command is asked for.
type adoptRequest struct {
	DryRun bool
	Owners []string // LOGIN=ID
}

// claim gives the files of a login to an account.
type claim struct {
	login string
	to    store.OwnerID
}

func parseClaims(list []string) (claims []claim, err error) {
	for _, s := range list {
		login, id, ok := strings.Cut(s, "=")
		if id != string(store.LocalOwner) {
			id = "github:" + id
		}
		to, wrong := store.ParseOwnerID(id)
		if !ok || login == "" || wrong != nil {
			err = errors.Join(err, fmt.Errorf("--owner %q is not LOGIN=ID with a number or local", s))
		}
		claims = append(claims, claim{login, to})
	}
	return claims, err
}

// resolver asks GitHub for accounts; in local mode nobody can be asked.
func resolver(cfg Config, au *auth.Service) func(context.Context, string) (store.OwnerID, error) {
	if cfg.Local() {
		return nil
	}
	return au.LookUp
}

// adoption takes over the folder of an earlier service while requests are
// served, and then computes what is not known of its files.
type adoption struct {
	p    *program
	st   *store.Store
	root *os.Root
	run  *store.Adoption // nil: nothing is due

	cancel context.CancelFunc
	ended  sync.WaitGroup
}

// beginAdoption prepares, before the first request, what start goes on with.
func beginAdoption(ctx context.Context, p *program, st *store.Store, au *auth.Service) (*adoption, error) {
	if err := askAgain(ctx, p.cfg, st, au); err != nil {
		return nil, err
	}
	a := &adoption{p: p, st: st, cancel: func() {}}
	due, err := st.AdoptionDue(ctx)
	if err != nil || !due {
		return a, err
	}
	if a.root, err = os.OpenRoot(p.cfg.Dir); err != nil {
		return nil, err
	}
	a.run, err = st.BeginAdoption(ctx, store.AdoptOptions{
		Root: a.root, Resolve: resolver(p.cfg, au),
		Left: func(name, reason string) { p.log.Warn("not adopted", "name", name, "reason", reason) },
	})
	if err != nil {
		return nil, errors.Join(err, a.root.Close())
	}
	return a, nil
}

// askAgain gives files away whose login GitHub could not be asked about. No
// request is served yet, so it does not wait long.
func askAgain(ctx context.Context, cfg Config, st *store.Store, au *auth.Service) error {
	resolve := resolver(cfg, au)
	if resolve == nil {
		return nil
	}
	patience, cancel := context.WithTimeout(ctx, askWait)
	defer cancel()
	return st.ClaimUnasked(ctx, func(_ context.Context, login string) (store.OwnerID, error) {
		return resolve(patience, login)
	})
}

// askWait is how long a start waits for GitHub's answers about old logins.
const askWait = 15 * time.Second

// start runs in the background until it is done or close is called. What it
// could not do waits for the next start.
func (a *adoption) start(ctx context.Context) {
	ctx, a.cancel = context.WithCancel(ctx)
	log := a.p.log
	a.ended.Go(func() {
		if a.run != nil {
			r, err := a.run.Run(ctx)
			if err != nil && ctx.Err() == nil {
				log.Error("the adoption failed; the next start goes on", "error", err)
			}
			if ctx.Err() != nil {
				return
			}
			if err == nil && r.Owners+r.Left > 0 {
				log.Info("adopted", "owners", r.Owners, "unclaimed", r.Unclaimed, "files", r.Files,
					"uploads", r.Uploads, "bytes", r.Bytes, "left", r.Left)
			}
		}
		known, err := a.st.DigestAdopted(ctx)
		if err != nil && ctx.Err() == nil {
			log.Error("cannot compute the SHA-256 of adopted files; the next start goes on", "error", err)
		} else if known > 0 {
			log.Info("computed the SHA-256 of adopted files", "files", known)
		}
	})
}

// close stops it and waits: the data is closed next.
func (a *adoption) close() {
	a.cancel()
	a.ended.Wait()
	if a.root != nil {
		a.root.Close()
	}
}

func nothingToAdopt(err error) error {
	return hinted{fmt.Errorf("there is nothing to adopt: %w", err),
		"set UPLOAD_DIR to the folder of the earlier service"}
}

// adopt adopts the folder of a stopped service and then gives files away.
func adopt(ctx context.Context, p *program, claims []claim) (err error) {
	if _, err := os.Stat(p.cfg.Dir); err != nil {
		return nothingToAdopt(err)
	}
	q, err := openStopped(p, true)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, q.close()) }()
	st, err := store.Open(ctx, q.opts)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, st.Close(context.WithoutCancel(ctx))) }()
	root, err := os.OpenRoot(p.cfg.Dir)
	if err != nil {
		return err
	}
	defer root.Close()
	au := newAuth(p.cfg, q.kv, st)
	if err := askAgain(ctx, p.cfg, st, au); err != nil {
		return err
	}
	run, err := st.BeginAdoption(ctx, store.AdoptOptions{Root: root, Resolve: resolver(p.cfg, au), Left: p.sayLeft})
	if err != nil {
		return err
	}
	report, err := run.Run(ctx)
	if err == nil || store.CodeOf(err) == store.CodeFull {
		p.sayAdopted("Adopted", "were", report)
	}
	if err != nil {
		return err
	}
	for _, c := range claims {
		moved, err := st.Claim(ctx, c.login, c.to)
		if err != nil {
			return fmt.Errorf("give the files of %s to %s: %w", c.login, c.to, err)
		}
		fmt.Fprintf(p.stdout, "Gave %d files and %d temporary uploads of %s to %s.\n",
			moved.Files, moved.Uploads, c.login, c.to)
	}
	return nil
}

// previewAdoption prints what adopt would do, and changes nothing.
func previewAdoption(ctx context.Context, p *program, claims []claim) (err error) {
	root, err := os.OpenRoot(p.cfg.Dir)
	if err != nil {
		return nothingToAdopt(err)
	}
	defer root.Close()
	opts := store.Options{Log: p.log}
	_, err = os.Stat(filepath.Join(p.cfg.Dir, store.InternalDir, "meta.db"))
	switch {
	case err == nil:
		q, err := openStopped(p, false)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, q.close()) }()
		opts = q.opts
	case !errors.Is(err, fs.ErrNotExist):
		return err
	}
	folder, err := root.Stat(store.InternalDir)
	if errors.Is(err, fs.ErrNotExist) {
		folder, err = root.Stat(".")
	}
	if err != nil {
		return err
	}
	linkable := func(name string, file fs.FileInfo) bool {
		ok := disk.Linkable(folder, file)
		if !ok {
			fmt.Fprintf(p.stdout, "copy: %q: it cannot be linked\n", name)
		}
		return ok
	}
	report, err := store.PreviewAdoption(ctx, opts, store.AdoptOptions{Root: root, Left: p.sayLeft, Linkable: linkable})
	if err != nil {
		return err
	}
	p.sayAdopted("Would adopt", "would be", report)
	for _, c := range claims {
		fmt.Fprintf(p.stdout, "Would give the files of %s to %s.\n", c.login, c.to)
	}
	return nil
}

func (p *program) sayLeft(name, reason string) {
	fmt.Fprintf(p.stdout, "left: %q: %s\n", name, strings.TrimSuffix(reason, "."))
}

func (p *program) sayAdopted(verb, copied string, r store.AdoptReport) {
	fmt.Fprintf(p.stdout, "%s %d files and %d temporary uploads, %s, of %d logins (%d unclaimed). Left %d.\n",
		verb, r.Files, r.Uploads, humanize.IBytes(uint64(r.Bytes)), r.Owners, r.Unclaimed, r.Left)
	if r.Copied > 0 {
		fmt.Fprintf(p.stdout, "%d of the files, %s, cannot be linked and %s copied.\n",
			r.Copied, humanize.IBytes(uint64(r.CopyBytes)), copied)
	}
}
