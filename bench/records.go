package main

import (
	"context"
	"encoding/base64"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"time"

	"upload-service/store"
	"upload-service/store/blob/disk"
	"upload-service/store/kv"
	"upload-service/store/kv/bolt"
	"upload-service/store/lock"
)

const (
	stored  = 1_000_000 // files
	expired = 10_000    // temporary uploads that are due
	batch   = 1000      // contents of one upload
)

// seeded is a store that is filled through its own methods, on a clock of its
// own, without a visible tree.
type seeded struct {
	*store.Store
	now   time.Time
	close func() error
}

func openSeeded(dir string, wrap func(kv.Store) kv.Store) (*seeded, error) {
	inner := filepath.Join(dir, store.InternalDir)
	blobs, err := disk.Open(filepath.Join(inner, "blobs"))
	if err != nil {
		return nil, err
	}
	db, err := bolt.Open(filepath.Join(inner, "meta.db"), bolt.Options{})
	if err != nil {
		return nil, err
	}
	locks, err := lock.Open(filepath.Join(inner, "locks"))
	if err != nil {
		return nil, err
	}
	s := &seeded{now: time.Now().Add(-72 * time.Hour)}
	s.Store, err = store.Open(context.Background(), store.Options{
		KV: wrap(db), Blobs: blobs, Locks: locks, TemporaryTTL: 24 * time.Hour, Now: func() time.Time { return s.now },
		Log: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		return nil, err
	}
	if _, err = s.EnsureOwner(context.Background(), store.LocalOwner, "local"); err != nil {
		return nil, err
	}
	s.close = func() error {
		if err := s.Close(context.Background()); err != nil {
			return err
		}
		if err := db.Close(); err != nil {
			return err
		}
		return blobs.Close()
	}
	return s, nil
}

// upload stores n empty contents as one temporary upload.
func (s *seeded) upload(n int, name func(i int) string) (store.Upload, error) {
	ctx := context.Background()
	in, err := s.Receive(ctx, store.LocalOwner, store.Spec{Size: -1})
	if err != nil {
		return store.Upload{}, err
	}
	defer in.Close(ctx)
	for i := range n {
		path, err := store.ParsePath(name(i))
		if err != nil {
			return store.Upload{}, err
		}
		if _, err := in.Add(ctx, strings.NewReader(""), store.Content{Name: path}); err != nil {
			return store.Upload{}, err
		}
	}
	return in.StoreUpload(ctx, "")
}

// files makes n files, a thousand in each of n/1000 folders.
func (s *seeded) files(n int) error {
	return parallel(4, n/batch, func(_, k int) error {
		u, err := s.upload(batch, func(i int) string { return fmt.Sprintf("d%04d/f%04d", k, i) })
		if err != nil {
			return err
		}
		_, _, err = s.PersistUploads(context.Background(), store.LocalOwner, store.Persist{Tokens: []store.Token{u.Token}})
		return err
	})
}

func (s *seeded) uploads(n int) error {
	return parallel(16, n, func(_, k int) error {
		_, err := s.upload(1, func(int) string { return fmt.Sprintf("u%d", k) })
		return err
	})
}

// sweep is how long it takes to remove what is due.
func (s *seeded) sweep(want int64) (time.Duration, error) {
	began := time.Now()
	report, err := s.Sweep(context.Background(), store.SweepOptions{})
	if err == nil && report.Blobs != want {
		err = fmt.Errorf("swept %d blobs, want %d", report.Blobs, want)
	}
	return time.Since(began), err
}

// expiredAmong makes uploads that are due among others that are not, and
// returns how long the sweep takes.
func (s *seeded) expiredAmong(fresh int) (time.Duration, error) {
	if err := s.uploads(expired); err != nil {
		return 0, err
	}
	s.now = time.Now()
	if err := s.uploads(fresh); err != nil {
		return 0, err
	}
	return s.sweep(expired)
}

// records measures with a million files: listings, the sweep, the start.
func (b *bench) records() error {
	small, err := openSeeded(filepath.Join(b.dir, "few"), shared)
	if err != nil {
		return err
	}
	few, err := small.expiredAmong(expired)
	if err == nil {
		err = small.close()
	}
	if err != nil {
		return err
	}
	dir := filepath.Join(b.dir, "many")
	large, err := openSeeded(filepath.Join(dir, "uploads"), shared)
	if err != nil {
		return err
	}
	began := time.Now()
	if err = large.files(stored); err == nil {
		err = large.close()
	}
	if err != nil {
		return err
	}
	fmt.Fprintf(os.Stderr, "seeded %d files in %s\n", stored, time.Since(began).Round(time.Second))
	p, err := b.crash(dir, "", "with 1,000,000 files")
	if err != nil {
		return err
	}
	err = p.lists()
	p.end()
	if err != nil {
		return err
	}
	if large, err = openSeeded(filepath.Join(dir, "uploads"), shared); err != nil {
		return err
	}
	// What is remembered of those uploads goes first: it is not what is measured.
	large.now = large.now.Add(30 * time.Hour)
	if _, err := large.sweep(0); err != nil {
		return err
	}
	many, err := large.expiredAmong(expired)
	if err == nil {
		err = large.close()
	}
	if err != nil {
		return err
	}
	report("sweep of 10,000 among 1,000,000, time beside among 20,000", fmt.Sprintf("%.2fx", seconds(many)/seconds(few)), "<= 2x")
	if p, err = b.crash(dir, p.key, "behind that sweep"); err != nil {
		return err
	}
	p.stop()
	return nil
}

// crash kills the server in the middle of uploads, and reports how long the
// start takes that follows.
func (b *bench) crash(dir, key, when string) (*process, error) {
	const more = "UPLOAD_OWNER_MAX_FILES=2000000"
	p, err := b.serviceOn(dir, more)
	if err != nil {
		return nil, err
	}
	if key == "" {
		key = p.key // told at the first start alone
	}
	p.key = key
	var stored atomic.Int64
	crash := time.AfterFunc(3*time.Second, func() { p.cmd.Process.Kill() }) //nolint:errcheck // it runs
	defer crash.Stop()
	parallel(64, 1<<20, func(c, k int) error { //nolint:errcheck // they end with the server
		err := p.put(fmt.Sprintf("%s/c%d/f%d", url.PathEscape(when), c, k), 4096)
		if err == nil {
			stored.Add(1)
		}
		return err
	})
	p.cmd.Wait() //nolint:errcheck // it was killed
	began := time.Now()
	if p, err = b.serviceOn(dir, more); err != nil {
		return nil, err
	}
	report(fmt.Sprintf("start after kill -9 %s, %d of 64 clients", when, stored.Load()),
		fmt.Sprintf("%.0f ms", time.Since(began).Seconds()*1000), "<= 1 s")
	p.key = key
	return p, nil
}

// lists times a page of every kind.
func (p *process) lists() error {
	for _, list := range []struct{ what, query string }{
		{"first page", ""},
		{"middle", "&prefix=d0500/"},
		{"first page, delimiter", "&delimiter=/"},
		{"middle, delimiter", "&delimiter=/&cursor=" + base64.RawURLEncoding.EncodeToString([]byte("d0500/"))},
		{"one folder, delimiter", "&delimiter=/&prefix=d0999/"},
		{"newest first", "&sort=-created_at"},
	} {
		if err := timeList(p, list.what, list.query); err != nil {
			return err
		}
	}
	pages, last, err := deepest(p)
	if err != nil {
		return err
	}
	return timeList(p, fmt.Sprintf("page %d by cursor", pages), "&cursor="+last)
}

// timeList reports the median time of one page until its last byte.
func timeList(p *process, what, query string) error {
	var took []float64
	for range 20 {
		began := time.Now()
		if _, err := drain(p.do("GET", "/api/v1/files?limit=1000"+query, nil, 0)); err != nil {
			return err
		}
		took = append(took, seconds(time.Since(began))*1000)
	}
	report("list of 1,000 among 1,000,000: "+what, fmt.Sprintf("%.1f ms", median(took)), "<= 10 ms")
	return nil
}

// deepest follows the cursors to the end, and returns the number of pages and
// the cursor of the last full one.
func deepest(p *process) (pages int, last string, err error) {
	for cursor := ""; ; pages++ {
		res, err := p.do("GET", "/api/v1/files?limit=1000&cursor="+cursor, nil, 0)
		if err != nil {
			return pages, last, err
		}
		next, files, err := lastCursor(res)
		if err != nil {
			return pages, last, err
		}
		if files == batch {
			last = cursor
		}
		if next == "" {
			return pages + 1, last, nil
		}
		cursor = next
	}
}
