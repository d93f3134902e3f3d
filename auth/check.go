package auth

import (
	"bytes"
	"context"
	"fmt"
	"math"

	"upload-service/store"
	"upload-service/store/kv"
)

// Check looks at the keys and sessions of a stopped service, both ways. What its
// owner's list does not have signs nobody in. Each thing that should not be is
// passed to note; with repair the index is made equal to the records, and what
// was mended is passed when that is durable.
func Check(ctx context.Context, db kv.Store, repair bool, note func(mended bool, sentence string)) error {
	c := &checker{repair: repair, note: note}
	err := db.Snapshot(ctx, func(tx kv.Tx) error {
		c.Tx = tx
		for prefix, look := range map[string]func(rest, value []byte) error{
			prefixKey: c.key, prefixOwnerKey: c.keyIndex, prefixSession: c.session, prefixOwnerSes: c.sessionIndex,
		} {
			p := []byte(prefix)
			err := tx.Scan(p, prefixEnd(p), math.MaxInt, func(k, v []byte) bool {
				if err := look(bytes.Clone(k[len(p):]), bytes.Clone(v)); err != nil {
					note(false, fmt.Sprintf("The record %q cannot be used: %v.", k, err))
				}
				return ctx.Err() == nil
			})
			if err != nil {
				return err
			}
		}
		return ctx.Err()
	})
	if err != nil || len(c.fixes) == 0 {
		return err
	}
	err = db.Update(ctx, "", func(tx kv.Tx) error {
		for _, f := range c.fixes {
			if err := f.apply(tx); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("repair: %w", err)
	}
	for _, f := range c.fixes {
		note(true, f.sentence+"; it is mended.")
	}
	return nil
}

type checker struct {
	kv.Tx
	repair bool
	note   func(mended bool, sentence string)
	fixes  []fix
}

type fix struct {
	sentence string // what it mends
	apply    func(kv.Tx) error
}

func (c *checker) mend(sentence string, apply func(kv.Tx) error) {
	if c.repair {
		c.fixes = append(c.fixes, fix{sentence, apply})
		return
	}
	c.note(false, sentence+"; check --repair mends it.")
}

func (c *checker) key(sum, _ []byte) error {
	var k Key
	if _, err := read(c, append([]byte(prefixKey), sum...), &k); err != nil {
		return err
	}
	index := ofOwner(prefixOwnerKey, k.Owner, k.ID)
	listed, err := c.Get(index)
	if err == nil && !bytes.Equal(listed, sum) {
		c.mend(fmt.Sprintf("The key %s of %s is not in its owner's list", k.ID, k.Owner),
			func(tx kv.Tx) error { return tx.Put(index, sum) })
	}
	return err
}

func (c *checker) keyIndex(rest, sum []byte) error {
	owner, id, _ := bytes.Cut(rest, []byte{0})
	var k Key
	found, err := read(c, append([]byte(prefixKey), sum...), &k)
	if err == nil && (!found || k.ID != string(id) || k.Owner != store.OwnerID(owner)) {
		c.mend(fmt.Sprintf("The list of keys of %s names %s, which is none", owner, id),
			func(tx kv.Tx) error { return tx.Delete(append([]byte(prefixOwnerKey), rest...)) })
	}
	return err
}

func (c *checker) session(sum, _ []byte) error {
	var ses session
	if _, err := read(c, append([]byte(prefixSession), sum...), &ses); err != nil {
		return err
	}
	if len(sum) != 32 {
		return fmt.Errorf("its name has %d bytes, not 32", len(sum))
	}
	listed, err := c.Get(ofOwner(prefixOwnerSes, ses.Owner, string(sum)))
	if err != nil {
		return err
	}
	ends, err := c.Get(ses.expiry([32]byte(sum)))
	if err == nil && (listed == nil || ends == nil) {
		c.mend(fmt.Sprintf("A session of %s is not in its owner's list, or in that of ends", ses.Owner),
			func(tx kv.Tx) error { return putSession(tx, [32]byte(sum), ses) })
	}
	return err
}

func (c *checker) sessionIndex(rest, _ []byte) error {
	owner, sum, _ := bytes.Cut(rest, []byte{0})
	var ses session
	found, err := read(c, append([]byte(prefixSession), sum...), &ses)
	if err == nil && (!found || ses.Owner != store.OwnerID(owner)) {
		c.mend(fmt.Sprintf("The list of sessions of %s names one that is none", owner),
			func(tx kv.Tx) error { return tx.Delete(append([]byte(prefixOwnerSes), rest...)) })
	}
	return err
}
