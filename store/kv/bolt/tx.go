package bolt

import (
	"bytes"
	"fmt"
	"slices"

	"go.etcd.io/bbolt"

	"upload-service/store/kv"
)

// tx is the transaction of one call: a bucket that does not change while the
// call runs, and the call's own writes on top of it.
type tx struct {
	base     *bbolt.Bucket
	writable bool
	writes   []write // ascending by key
}

// write is a pending Put, or a pending Delete if value is nil. Both slices are
// the transaction's own.
type write struct{ key, value []byte }

// find returns the index of the first write at or after key, and whether it is
// one of key itself.
func (t *tx) find(key []byte) (int, bool) {
	return slices.BinarySearchFunc(t.writes, key, func(w write, key []byte) int {
		return bytes.Compare(w.key, key)
	})
}

func (t *tx) Get(key []byte) ([]byte, error) {
	if i, ok := t.find(key); ok {
		return t.writes[i].value, nil
	}
	return t.base.Get(key), nil
}

func (t *tx) Put(key, value []byte) error {
	if len(value) > kv.MaxValue {
		return fmt.Errorf("put a value of %d bytes: %w", len(value), kv.ErrTooLarge)
	}
	return t.set(key, append(make([]byte, 0, len(value)), value...)) // never nil
}

func (t *tx) Delete(key []byte) error { return t.set(key, nil) }

// set records a write. It checks here all that bbolt would refuse, so that
// merge does not fail.
func (t *tx) set(key, value []byte) error {
	if !t.writable {
		return kv.ErrReadOnly
	}
	if len(key) == 0 || len(key) > kv.MaxKey {
		return fmt.Errorf("write to a key of %d bytes: %w", len(key), kv.ErrTooLarge)
	}
	i, ok := t.find(key)
	if !ok {
		t.writes = slices.Insert(t.writes, i, write{key: bytes.Clone(key)})
	}
	t.writes[i].value = value // a new slice: what Get handed out stays as it was
	return nil
}

func (t *tx) Scan(lo, hi []byte, limit int, fn func(key, value []byte) bool) error {
	if limit <= 0 {
		return fmt.Errorf("scan: limit %d is not positive", limit)
	}
	cursor := t.base.Cursor()
	k, v := cursor.Seek(lo) // the next pair of the bucket, k is nil at its end
	i, _ := t.find(lo)      // the next write
	for limit > 0 {
		// 1. Take the smaller key; at the same key the write hides the bucket.
		key, value := k, v
		order := -1
		if i < len(t.writes) {
			order = 1
			if k != nil {
				order = bytes.Compare(k, t.writes[i].key)
			}
		}
		if order >= 0 {
			key, value = t.writes[i].key, t.writes[i].value
		}
		if key == nil || hi != nil && bytes.Compare(key, hi) >= 0 {
			return nil
		}

		// 2. Hand it out, unless it is deleted.
		if value != nil {
			limit--
			if !fn(key, value) {
				return nil
			}
		}

		// 3. Step over it. The bucket stands still, but fn may have written:
		// look again where the writes go on.
		if order <= 0 {
			k, v = cursor.Next()
		}
		var found bool
		if i, found = t.find(key); found {
			i++
		}
	}
	return nil
}

// merge applies the writes to the bucket. bbolt keeps the slices until the
// commit.
func (t *tx) merge() error {
	for _, w := range t.writes {
		var err error
		if w.value == nil {
			err = t.base.Delete(w.key)
		} else {
			err = t.base.Put(w.key, w.value)
		}
		if err != nil {
			return fmt.Errorf("merge a call into the transaction: %w", err)
		}
	}
	return nil
}
