package auth

import (
	"bytes"
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"hash/crc32"
	"math/big"
	"slices"
	"strings"
	"time"

	"upload-service/store"
	"upload-service/store/kv"
)

// A key is "ups_", 27 characters of base62 with 160 random bits, and 6 of the
// CRC-32 of what is before: so a scanner tells a leaked key from any other
// text, and a mistyped one costs no look-up.
const (
	keyPrefix   = "ups_"
	keyRandom   = 27
	keyChecksum = 6
)

// Key is an API key of an owner. The secret is not part of it.
type Key struct {
	ID         string        `json:"id"` // public
	Owner      store.OwnerID `json:"owner"`
	Name       string        `json:"name"`
	Scopes     Scopes        `json:"scopes"`
	Parent     string        `json:"parent,omitempty"` // the key that made it
	CreatedAt  time.Time     `json:"created"`
	ExpiresAt  time.Time     `json:"expires,omitzero"`
	LastUsedAt time.Time     `json:"used,omitzero"` // to the hour
}

// KeySpec is what a new key should be.
type KeySpec struct {
	Name      string
	Scopes    Scopes
	ExpiresIn time.Duration // 0: never
}

const (
	maxKeys    = 100 // of one owner, that are good
	maxKeyName = 100 // bytes
	maxParents = 8   // keys that made keys that made ...
)

// NewKey makes a key for the principal's owner, with at most the principal's
// own scopes, and returns its secret, which is shown once. A key made with a
// key is good only as long as that one is. It outlives a token of GitHub, so
// whether that is still good is asked there and then.
func (s *Service) NewKey(ctx context.Context, p Principal, spec KeySpec) (Key, string, error) {
	if !spec.Scopes.within(p.Scopes) {
		return Key{}, "", store.Errorf(store.CodeForbidden, "A key cannot be allowed more than the credential that makes it.")
	}
	if err := s.afresh(ctx, p); err != nil {
		return Key{}, "", err
	}
	return s.mint(ctx, p.Owner.ID, p.KeyID, spec)
}

// MintKey makes a key for any owner without asking who wants it: for the
// first start and for the operator's command, never for a request.
func (s *Service) MintKey(ctx context.Context, o store.OwnerID, spec KeySpec) (Key, string, error) {
	return s.mint(ctx, o, "", spec)
}

func (s *Service) mint(ctx context.Context, o store.OwnerID, parent string, spec KeySpec) (Key, string, error) {
	if len(spec.Name) > maxKeyName || strings.ContainsFunc(spec.Name, func(r rune) bool { return r < ' ' || r == 0x7f }) {
		return Key{}, "", store.FieldErrorf("name", "The name of a key is text of at most %d bytes.", maxKeyName)
	}
	secret := newSecret()
	k := Key{ID: strings.ToLower(randomText()[:16]), Owner: o, Name: spec.Name, Scopes: spec.Scopes, Parent: parent, CreatedAt: s.cfg.Now()}
	if spec.ExpiresIn > 0 {
		k.ExpiresAt = k.CreatedAt.Add(spec.ExpiresIn)
	}
	sum := digest(secret)
	err := s.kv.Update(ctx, string(o), func(tx kv.Tx) error {
		depth := 0
		for id := parent; id != ""; depth++ {
			p, found, err := keyByID(tx, o, id)
			if err != nil || !found {
				return orElse(err, errUnauthenticated)
			}
			id = p.Parent
		}
		n, err := dropDeadKeys(tx, o, k.CreatedAt)
		if err != nil {
			return err
		}
		if n >= maxKeys || depth >= maxParents {
			return store.Errorf(store.CodeConflict, "There are too many keys; revoke one first.")
		}
		if err := write(tx, hashed(prefixKey, sum), k); err != nil {
			return err
		}
		return tx.Put(ofOwner(prefixOwnerKey, o, k.ID), sum[:])
	})
	return k, secret, err
}

func orElse(err, other error) error {
	if err != nil {
		return err
	}
	return other
}

// key turns the secret of a key into a principal. Every key that made it must
// still be good, and it allows what all of them allow.
func (s *Service) key(ctx context.Context, secret string) (Principal, error) {
	if !validSecret(secret) {
		return Principal{}, errUnauthenticated
	}
	now := s.cfg.Now()
	sum := digest(secret)
	var k Key
	var scopes Scopes
	err := s.kv.View(ctx, func(tx kv.Tx) error {
		k = Key{}
		found, err := read(tx, hashed(prefixKey, sum), &k)
		if err != nil || !found {
			return orElse(err, errUnauthenticated)
		}
		// A key that its owner's list does not have could not be revoked.
		listed, err := tx.Get(ofOwner(prefixOwnerKey, k.Owner, k.ID))
		if err != nil || !bytes.Equal(listed, sum[:]) {
			return orElse(err, errUnauthenticated)
		}
		scopes, err = allows(tx, k, now)
		return err
	})
	if err != nil {
		return Principal{}, err
	}
	o, err := s.owners.OwnerByID(ctx, k.Owner)
	if err != nil {
		return Principal{}, err
	}
	if err := s.stillAllowed(ctx, o); err != nil {
		return Principal{}, err
	}
	p, err := s.principal(ctx, o, scopes)
	p.KeyID = k.ID
	if err == nil && now.Sub(k.LastUsedAt) >= time.Hour {
		s.noteUse(ctx, sum, now)
	}
	return p, err
}

// allows is what a key and all that made it allow; unauthenticated if one of
// them is gone or has expired.
func allows(tx kv.Tx, k Key, now time.Time) (Scopes, error) {
	scopes := k.Scopes
	for depth := 0; ; depth++ {
		if !k.ExpiresAt.IsZero() && !now.Before(k.ExpiresAt) || depth > maxParents {
			return nil, errUnauthenticated
		}
		if k.Parent == "" {
			return scopes, nil
		}
		parent, found, err := keyByID(tx, k.Owner, k.Parent)
		if err != nil || !found {
			return nil, orElse(err, errUnauthenticated)
		}
		k = parent
		scopes = scopes.and(k.Scopes)
	}
}

// noteUse records the use of a key, at most once an hour. A failure costs
// nothing but the note.
func (s *Service) noteUse(ctx context.Context, sum [32]byte, now time.Time) {
	_ = s.kv.Update(ctx, "", func(tx kv.Tx) error {
		var k Key
		found, err := read(tx, hashed(prefixKey, sum), &k)
		if err != nil || !found || now.Sub(k.LastUsedAt) < time.Hour {
			return err
		}
		if k.LastUsedAt = now.Truncate(time.Hour); k.LastUsedAt.Before(k.CreatedAt) {
			k.LastUsedAt = k.CreatedAt
		}
		return write(tx, hashed(prefixKey, sum), k)
	})
}

func keyByID(tx kv.Tx, o store.OwnerID, id string) (k Key, found bool, err error) {
	sum, err := tx.Get(ofOwner(prefixOwnerKey, o, id))
	if err != nil || sum == nil {
		return k, false, err
	}
	found, err = read(tx, append([]byte(prefixKey), sum...), &k)
	return k, found && k.Owner == o && k.ID == id, err
}

// keysOf are the keys of an owner, in no order.
func keysOf(tx kv.Tx, o store.OwnerID) (list []Key, err error) {
	prefix := ofOwner(prefixOwnerKey, o, "")
	var failed error
	err = tx.Scan(prefix, prefixEnd(prefix), maxKeys, func(index, _ []byte) bool {
		k, found, err := keyByID(tx, o, string(index[len(prefix):]))
		if found {
			list = append(list, k)
		}
		if err != nil && !errors.Is(err, errDamaged) {
			failed = err
		}
		return failed == nil
	})
	return list, orElse(err, failed)
}

// dropDeadKeys removes the keys of an owner that can never be good again, and
// returns the number of the others.
func dropDeadKeys(tx kv.Tx, o store.OwnerID, now time.Time) (n int, err error) {
	list, err := keysOf(tx, o)
	if err != nil {
		return 0, err
	}
	for _, k := range list {
		switch _, err := allows(tx, k, now); {
		case err == nil, errors.Is(err, errDamaged): // what is damaged may be restored
			n++
		case store.CodeOf(err) != store.CodeUnauthenticated:
			return 0, err
		default:
			if err := dropKey(tx, o, k.ID); err != nil {
				return 0, err
			}
		}
	}
	return n, nil
}

// ListKeys returns the keys of an owner, the oldest first.
func (s *Service) ListKeys(ctx context.Context, o store.OwnerID) (list []Key, err error) {
	err = s.kv.View(ctx, func(tx kv.Tx) (err error) {
		list, err = keysOf(tx, o)
		return err
	})
	slices.SortFunc(list, func(a, b Key) int {
		return cmp.Or(a.CreatedAt.Compare(b.CreatedAt), cmp.Compare(a.ID, b.ID))
	})
	return list, err
}

// RevokeKey removes a key of the caller; not_found if there is none of that id.
// It, and what it made, is refused from now on. A key may revoke itself, and
// others that can do no more than it; anything else is forbidden.
func (s *Service) RevokeKey(ctx context.Context, p Principal, id string) error {
	return s.revoke(ctx, p.Owner.ID, id, func(k Key) error {
		if p.KeyID == "" || p.KeyID == k.ID || len(k.Scopes.and(p.Scopes)) == len(k.Scopes) {
			return nil
		}
		return store.Errorf(store.CodeForbidden, "This key can revoke itself, and keys that can do no more than it.")
	})
}

// DropKey removes a key of any owner without asking who wants it: for the
// operator's command, never for a request.
func (s *Service) DropKey(ctx context.Context, o store.OwnerID, id string) error {
	return s.revoke(ctx, o, id, func(Key) error { return nil })
}

func (s *Service) revoke(ctx context.Context, o store.OwnerID, id string, may func(Key) error) error {
	return s.kv.Update(ctx, string(o), func(tx kv.Tx) error {
		k, found, err := keyByID(tx, o, id)
		if err != nil || !found {
			return orElse(err, store.Errorf(store.CodeNotFound, "There is no such key."))
		}
		if err := may(k); err != nil {
			return err
		}
		return dropKey(tx, o, id)
	})
}

// dropKey removes a key that there is.
func dropKey(tx kv.Tx, o store.OwnerID, id string) error {
	index := ofOwner(prefixOwnerKey, o, id)
	sum, err := tx.Get(index)
	if err != nil {
		return err
	}
	if err := tx.Delete(append([]byte(prefixKey), sum...)); err != nil {
		return err
	}
	return tx.Delete(index)
}

const base62 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"

// newSecret makes a key.
func newSecret() string {
	var b strings.Builder
	b.WriteString(keyPrefix)
	for range keyRandom {
		n, _ := rand.Int(rand.Reader, big.NewInt(62)) // never fails (crypto/rand, Go 1.24)
		b.WriteByte(base62[n.Int64()])
	}
	return b.String() + checksum(b.String())
}

func checksum(s string) string {
	n := crc32.ChecksumIEEE([]byte(s))
	var b [keyChecksum]byte
	for i := range b {
		b[keyChecksum-1-i] = base62[n%62]
		n /= 62
	}
	return string(b[:])
}

func validSecret(s string) bool {
	n := len(keyPrefix) + keyRandom
	return len(s) == n+keyChecksum && s[n:] == checksum(s[:n])
}

// String names the key for people, without anything secret.
func (k Key) String() string {
	return fmt.Sprintf("%s (%s)", k.ID, k.Name)
}
