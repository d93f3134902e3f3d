package main

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"time"

	"go.etcd.io/bbolt"

	"upload-service/handlers/jsonupload"
	"upload-service/store"
	"upload-service/store/kv"
	"upload-service/store/kv/bolt"
)

// commit compares the commits of records with one db.Update of bbolt for each.
func (b *bench) commit() error {
	for _, c := range []struct {
		clients, n int
		target     string
	}{{1, 2000, ">= 1"}, {64, 10000, ">= 4"}} {
		var ratios []float64
		for round := range b.rounds {
			rates, err := b.commits(c.clients, c.n, round)
			if err != nil {
				return err
			}
			ratios = append(ratios, rates[1]/rates[0])
		}
		report(fmt.Sprintf("commits of %d clients, rate beside one db.Update each", c.clients), spread(ratios), c.target)
	}
	return nil
}

// commits is the rate of bbolt alone and of our engine; who begins changes with
// the round.
func (b *bench) commits(clients, n, round int) (rates [2]float64, err error) {
	dir, err := os.MkdirTemp(b.dir, "commit-")
	if err != nil {
		return rates, err
	}
	defer os.RemoveAll(dir)
	// bbolt's own defaults; but the file does not move its mapping while it grows.
	raw, err := bbolt.Open(filepath.Join(dir, "raw.db"), 0o600, &bbolt.Options{InitialMmapSize: 1 << 30})
	if err != nil {
		return rates, err
	}
	defer raw.Close()
	bucket := []byte("kv")
	if err := raw.Update(func(tx *bbolt.Tx) error { _, err := tx.CreateBucket(bucket); return err }); err != nil {
		return rates, err
	}
	ours, err := bolt.Open(filepath.Join(dir, "ours.db"), bolt.Options{})
	if err != nil {
		return rates, err
	}
	defer ours.Close()
	value := make([]byte, 300) // about a file's record
	puts := []func(key []byte) error{
		func(key []byte) error {
			return raw.Update(func(tx *bbolt.Tx) error { return tx.Bucket(bucket).Put(key, value) })
		},
		func(key []byte) error {
			return ours.Update(context.Background(), "", func(tx kv.Tx) error { return tx.Put(key, value) })
		},
	}
	for i := range puts {
		i := (i + round) % len(puts)
		began := time.Now()
		err := parallel(clients, n, func(_, k int) error {
			// Spread keys, as hashed and random ids do.
			return puts[i](binary.BigEndian.AppendUint64(nil, uint64(k)*0x9E3779B97F4A7C15))
		})
		if err != nil {
			return rates, err
		}
		rates[i] = float64(n) / seconds(time.Since(began))
	}
	return rates, nil
}

// shared lets updates share their commits.
func shared(s kv.Store) kv.Store { return s }

// alone gives each update a commit of its own, as db.Update does.
type alone struct {
	kv.Store
	mu sync.Mutex
}

func (a *alone) Update(ctx context.Context, affinity string, fn func(kv.Tx) error, opts ...kv.Option) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.Store.Update(ctx, affinity, fn, opts...)
}

// pieces has 64 clients append pieces of 64 KiB, each to an upload of its
// own: with one db.Update for each piece, and with commits that are shared.
func (b *bench) pieces() error {
	var ratios []float64
	for range b.rounds {
		var rate [2]float64
		for i, wrap := range []func(kv.Store) kv.Store{func(s kv.Store) kv.Store { return &alone{Store: s} }, shared} {
			var err error
			if rate[i], err = b.pieceRate(wrap); err != nil {
				return err
			}
		}
		ratios = append(ratios, rate[1]/rate[0])
	}
	report("64 KiB pieces of 64 uploads, rate beside one db.Update each", spread(ratios), ">= 4")
	return nil
}

func (b *bench) pieceRate(wrap func(kv.Store) kv.Store) (rate float64, err error) {
	const clients, n = 64, 8000
	dir, err := os.MkdirTemp(b.dir, "pieces-")
	if err != nil {
		return 0, err
	}
	defer os.RemoveAll(dir)
	s, err := openSeeded(dir, wrap)
	if err != nil {
		return 0, err
	}
	ctx := context.Background()
	tokens := make([]store.Token, clients)
	for i := range tokens {
		u, err := s.BeginUpload(ctx, store.LocalOwner, store.Begin{Length: -1})
		if err != nil {
			return 0, err
		}
		tokens[i] = u.Token
	}
	piece := noise[:64<<10]
	began := time.Now()
	err = parallel(clients, n, func(c, _ int) error {
		turn, err := s.TakeTurn(ctx, store.LocalOwner, tokens[c], nil)
		if err != nil {
			return err
		}
		defer turn.Release()
		return turn.Append(ctx, bytes.NewReader(piece), store.Piece{
			Offset: turn.Upload().Growth.Offset, Size: int64(len(piece)), Length: -1,
		})
	})
	rate = n / seconds(time.Since(began))
	if err != nil {
		return 0, err
	}
	return rate, s.close()
}

// json compares the reader of the Flask service's bodies with the standard
// library, which holds all of a body in memory.
func (b *bench) json() error {
	const size = 64 << 20
	text, err := io.ReadAll(body(size))
	if err != nil {
		return err
	}
	in := []byte(`[{"filename":"file.bin","content":"` + base64.StdEncoding.EncodeToString(text) + `"}]`)
	var ratios []float64
	for range b.rounds {
		began := time.Now()
		if err := readStandard(in, size); err != nil {
			return err
		}
		standard := time.Since(began)
		began = time.Now()
		if err := readStreaming(in, size); err != nil {
			return err
		}
		ratios = append(ratios, seconds(standard)/seconds(time.Since(began)))
	}
	report("JSON reader, speed beside encoding/json + encoding/base64", fmt.Sprintf("%.1f", median(ratios)), ">= 5")
	return nil
}

func readStandard(in []byte, size int) error {
	var files []struct{ Filename, Content string }
	if err := json.NewDecoder(bytes.NewReader(in)).Decode(&files); err != nil {
		return err
	}
	content, err := base64.StdEncoding.DecodeString(files[0].Content)
	if err == nil && len(content) != size {
		err = fmt.Errorf("read %d bytes", len(content))
	}
	return err
}

func readStreaming(in []byte, size int64) error {
	r := jsonupload.New(bytes.NewReader(in), jsonupload.Limits{Entries: 1})
	defer r.Close()
	entry, err := r.Next()
	if err != nil {
		return err
	}
	n, err := io.CopyBuffer(struct{ io.Writer }{io.Discard}, entry, make([]byte, 256<<10))
	if err == nil && n != size {
		err = fmt.Errorf("read %d bytes", n)
	}
	if err != nil {
		return err
	}
	_, err = entry.Finish()
	return err
}
