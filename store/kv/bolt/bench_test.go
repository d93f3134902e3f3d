package bolt_test

import (
	"encoding/binary"
	"fmt"
	"path/filepath"
	"runtime"
	"sync/atomic"
	"testing"

	"go.etcd.io/bbolt"

	"upload-service/store/kv"
	"upload-service/store/kv/bolt"
)

// BenchmarkUpdate compares the group commit with bbolt's own ways to commit,
// at one client and at many.
//
//	go test -run '^$' -bench Update -count 6 ./store/kv/bolt
func BenchmarkUpdate(b *testing.B) {
	bucket := []byte("kv")
	raw := func(b *testing.B) *bbolt.DB {
		db, err := bbolt.Open(filepath.Join(b.TempDir(), "meta.db"), 0o600, &bbolt.Options{
			NoFreelistSync: true, FreelistType: bbolt.FreelistMapType,
			NoStatistics: true, InitialMmapSize: 1 << 30,
		})
		if err != nil {
			b.Fatal(err)
		}
		b.Cleanup(func() { _ = db.Close() })
		err = db.Update(func(tx *bbolt.Tx) error {
			_, err := tx.CreateBucketIfNotExists(bucket)
			return err
		})
		if err != nil {
			b.Fatal(err)
		}
		return db
	}
	engines := []struct {
		name string
		open func(b *testing.B) func(key, value []byte) error
	}{
		{"store", func(b *testing.B) func(key, value []byte) error {
			s, err := bolt.Open(filepath.Join(b.TempDir(), "meta.db"), bolt.Options{})
			if err != nil {
				b.Fatal(err)
			}
			b.Cleanup(func() { _ = s.Close() })
			return func(key, value []byte) error {
				return s.Update(b.Context(), "", func(tx kv.Tx) error { return tx.Put(key, value) })
			}
		}},
		{"db.Update", func(b *testing.B) func(key, value []byte) error {
			db := raw(b)
			return func(key, value []byte) error {
				return db.Update(func(tx *bbolt.Tx) error { return tx.Bucket(bucket).Put(key, value) })
			}
		}},
		{"db.Batch", func(b *testing.B) func(key, value []byte) error {
			db := raw(b)
			return func(key, value []byte) error {
				return db.Batch(func(tx *bbolt.Tx) error { return tx.Bucket(bucket).Put(key, value) })
			}
		}},
	}
	for _, clients := range []int{1, 64} {
		for _, e := range engines {
			b.Run(fmt.Sprintf("clients=%d/%s", clients, e.name), func(b *testing.B) {
				put := e.open(b)
				if clients > 1 {
					b.SetParallelism(max(1, clients/runtime.GOMAXPROCS(0)))
				}
				var n atomic.Uint64
				value := make([]byte, 300) // about a file's record
				one := func() {
					// Spread keys, as hashed and random ids do.
					key := binary.BigEndian.AppendUint64(nil, n.Add(1)*0x9E3779B97F4A7C15)
					if err := put(key, value); err != nil {
						b.Error(err)
					}
				}
				b.ResetTimer()
				if clients == 1 {
					for range b.N {
						one()
					}
					return
				}
				b.RunParallel(func(pb *testing.PB) {
					for pb.Next() {
						one()
					}
				})
			})
		}
	}
}
