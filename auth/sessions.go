package auth

import (
	"cmp"
	"context"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"net/url"
	"slices"
	"strings"
	"time"

	"upload-service/store"
	"upload-service/store/kv"
)

const (
	// sessionLife is how long a session lasts from its last use, to the day.
	sessionLife = 30 * 24 * time.Hour
	extendAfter = 24 * time.Hour
	// codeLife is how long the sign-in link of local mode works.
	codeLife = 10 * time.Minute
)

// session is a browser that is signed in.
type session struct {
	Owner     store.OwnerID `json:"owner"`
	CreatedAt time.Time     `json:"created"`
	ExpiresAt time.Time     `json:"expires"`
	From      Browser       `json:"from,omitzero"`
}

// Browser is what a browser says it is, shortly: the names of its family and
// of its system, "" where they are not known.
type Browser struct {
	Family string `json:"family,omitempty"`
	System string `json:"system,omitempty"`
}

func (s session) expiry(sum [32]byte) []byte {
	k := binary.BigEndian.AppendUint32([]byte(prefixExpiry), uint32(s.ExpiresAt.Unix()/60))
	return append(k, sum[:]...)
}

func putSession(tx kv.Tx, sum [32]byte, ses session) error {
	if err := write(tx, hashed(prefixSession, sum), ses); err != nil {
		return err
	}
	if err := tx.Put(ofOwner(prefixOwnerSes, ses.Owner, string(sum[:])), nil); err != nil {
		return err
	}
	return tx.Put(ses.expiry(sum), nil)
}

func dropSession(tx kv.Tx, sum [32]byte, ses session) error {
	if err := tx.Delete(hashed(prefixSession, sum)); err != nil {
		return err
	}
	if err := tx.Delete(ofOwner(prefixOwnerSes, ses.Owner, string(sum[:]))); err != nil {
		return err
	}
	return tx.Delete(ses.expiry(sum))
}

// replaceSession signs a browser in: always under a new id, so that one from
// before the sign-in is worth nothing, and its old session ends.
func replaceSession(tx kv.Tx, old, id string, ses session) error {
	if err := endSession(tx, digest(old)); err != nil {
		return err
	}
	return putSession(tx, digest(id), ses)
}

func (s *Service) newSession(o store.OwnerID, from Browser) session {
	now := s.cfg.Now()
	return session{Owner: o, CreatedAt: now, ExpiresAt: now.Add(sessionLife), From: from}
}

// Sum names a session to us, and opens nothing to others: the digest of its id,
// which is too random to be found by it.
type Sum = [32]byte

// SessionSum is the name of the session of a cookie.
func SessionSum(cookie string) Sum { return digest(cookie) }

// Session turns the id of a cookie into a principal; unauthenticated if the
// session has ended.
func (s *Service) Session(ctx context.Context, id string) (Principal, error) {
	return s.SessionBySum(ctx, digest(id))
}

// SessionBySum is Session for what was handed out for a session.
func (s *Service) SessionBySum(ctx context.Context, sum Sum) (Principal, error) {
	now := s.cfg.Now()
	var ses session
	err := s.kv.View(ctx, func(tx kv.Tx) error {
		ses = session{}
		found, err := read(tx, hashed(prefixSession, sum), &ses)
		if err != nil || !found || !now.Before(ses.ExpiresAt) {
			return orElse(err, errUnauthenticated)
		}
		// One that its owner's list does not have could not be ended.
		listed, err := tx.Get(ofOwner(prefixOwnerSes, ses.Owner, string(sum[:])))
		if err != nil || listed == nil {
			return orElse(err, errUnauthenticated)
		}
		return nil
	})
	if err != nil {
		return Principal{}, err
	}
	if ses.ExpiresAt.Sub(now) < sessionLife-extendAfter {
		s.extend(ctx, sum, now)
	}
	o, err := s.owners.OwnerByID(ctx, ses.Owner)
	if err != nil {
		return Principal{}, err
	}
	if err := s.stillAllowed(ctx, o); err != nil {
		return Principal{}, err
	}
	return s.principal(ctx, o, AllScopes)
}

// extend gives a session its whole life again. A failure, of a full disk, costs
// nothing but that.
func (s *Service) extend(ctx context.Context, sum [32]byte, now time.Time) {
	_ = s.kv.Update(ctx, "", func(tx kv.Tx) error {
		var ses session
		found, err := read(tx, hashed(prefixSession, sum), &ses)
		if err != nil || !found {
			return err // it ended meanwhile
		}
		if err := tx.Delete(ses.expiry(sum)); err != nil {
			return err
		}
		ses.ExpiresAt = now.Add(sessionLife)
		return putSession(tx, sum, ses)
	})
}

// EndSession signs a browser out. A session that is not there is fine.
func (s *Service) EndSession(ctx context.Context, id string) error {
	return s.kv.Update(ctx, "", func(tx kv.Tx) error { return endSession(tx, digest(id)) })
}

func endSession(tx kv.Tx, sum [32]byte) error {
	var ses session
	found, err := read(tx, hashed(prefixSession, sum), &ses)
	if errors.Is(err, errDamaged) {
		return tx.Delete(hashed(prefixSession, sum)) // of whoever it was
	}
	if err != nil || !found {
		return err
	}
	return dropSession(tx, sum, ses)
}

// sessionPage bounds one transaction over sessions.
const sessionPage = 500

// EndAllSessions signs an owner out everywhere.
func (s *Service) EndAllSessions(ctx context.Context, o store.OwnerID) error {
	prefix := ofOwner(prefixOwnerSes, o, "")
	_, err := s.endPages(ctx, prefix, prefixEnd(prefix), func(tx kv.Tx, sum [32]byte, key []byte) error {
		return orElse(endSession(tx, sum), tx.Delete(key))
	})
	return err
}

// Sweep removes sessions that have ended and returns their number; also the
// marks of sign-ins that are too old to be repeated. It costs O(what it
// removes).
func (s *Service) Sweep(ctx context.Context) (int, error) {
	now := s.cfg.Now()
	until := func(prefix string) []byte {
		return binary.BigEndian.AppendUint32([]byte(prefix), uint32(now.Unix()/60))
	}
	_, err := s.endPages(ctx, []byte(prefixUsed), until(prefixUsed), func(tx kv.Tx, _ [32]byte, key []byte) error {
		return tx.Delete(key)
	})
	if err != nil {
		return 0, err
	}
	return s.endPages(ctx, []byte(prefixExpiry), until(prefixExpiry), func(tx kv.Tx, sum [32]byte, key []byte) error {
		if err := tx.Delete(key); err != nil {
			return err
		}
		var ses session
		found, err := read(tx, hashed(prefixSession, sum), &ses)
		if err == nil && found && now.Before(ses.ExpiresAt) {
			return nil
		}
		return endSession(tx, sum)
	})
}

// endPages calls end for every key in a range whose last 32 bytes name a
// session, a page at a time. end removes the key.
func (s *Service) endPages(ctx context.Context, lo, hi []byte, end func(kv.Tx, [32]byte, []byte) error) (n int, err error) {
	for {
		seen := 0
		err := s.kv.Update(ctx, "", func(tx kv.Tx) error {
			var keys [][]byte
			err := tx.Scan(lo, hi, sessionPage, func(k, _ []byte) bool {
				keys = append(keys, append([]byte(nil), k...))
				return true
			})
			seen = len(keys)
			for _, k := range keys {
				sum, ok := sumIn(k)
				if err == nil && ok {
					err = end(tx, sum, k)
				}
			}
			return err
		})
		n += seen
		if err != nil || seen < sessionPage {
			return n, err
		}
	}
}

// signInCode is the one-time link of local mode.
type signInCode struct {
	Sum       []byte    `json:"sum"`
	ExpiresAt time.Time `json:"expires"`
}

// NewSignInCode makes the code for a one-time link. Only the latest works.
func (s *Service) NewSignInCode(ctx context.Context) (string, error) {
	code := randomText()
	sum := digest(code)
	c := signInCode{sum[:], s.cfg.Now().Add(codeLife)}
	return code, s.kv.Update(ctx, "", func(tx kv.Tx) error { return write(tx, []byte(keySignIn), c) })
}

var errCode = store.Errorf(store.CodeUnauthenticated,
	"This sign-in link was used, or is over ten minutes old. Start the service again to get another.")

func (s *Service) checkCode(tx kv.Tx, code string, now time.Time) error {
	var c signInCode
	found, err := read(tx, []byte(keySignIn), &c)
	sum := digest(code)
	// The digests of secrets can be compared as they are: who could learn
	// from the time where they differ would learn a digest, not the code.
	if err != nil || !found || string(c.Sum) != string(sum[:]) || !now.Before(c.ExpiresAt) {
		return orElse(err, errCode)
	}
	return nil
}

// CheckSignInCode reports whether a code would work, without using it up.
func (s *Service) CheckSignInCode(ctx context.Context, code string) error {
	now := s.cfg.Now()
	return s.kv.View(ctx, func(tx kv.Tx) error { return s.checkCode(tx, code, now) })
}

// RedeemSignInCode uses a code up and returns the id of a new session of the
// local owner, which takes the place of the session old, if any.
func (s *Service) RedeemSignInCode(ctx context.Context, code, old string, from Browser) (id string, err error) {
	if !s.cfg.Local {
		return "", errCode // a code from before GitHub was configured
	}
	id = randomText() + randomText()
	ses := s.newSession(store.LocalOwner, from)
	err = s.kv.Update(ctx, "", func(tx kv.Tx) error {
		if err := s.checkCode(tx, code, ses.CreatedAt); err != nil {
			return err
		}
		if err := tx.Delete([]byte(keySignIn)); err != nil {
			return err
		}
		return replaceSession(tx, old, id, ses)
	})
	return id, err
}

const signingBytes = 52

// SigningKey is a random key to sign what goes out to a browser and comes
// back. It is made once and kept with the data, so that what was signed before
// a restart, or by another replica, still holds. One that is damaged is made
// anew: what it signed is short-lived.
func (s *Service) SigningKey(ctx context.Context) (key []byte, err error) {
	err = s.kv.Update(ctx, "", func(tx kv.Tx) error {
		key = nil
		found, err := read(tx, []byte(keySigning), &key)
		if found && len(key) == signingBytes || err != nil && !errors.Is(err, errDamaged) {
			return err
		}
		key = []byte(randomText() + randomText())
		return write(tx, []byte(keySigning), key)
	})
	return key, err
}

// CheckOrigin decides whether a request that changes something and carries a
// session cookie comes from our own pages. own is our origin; site and origin
// are the headers Sec-Fetch-Site and Origin. A request with neither was not
// made by a browser of this decade.
func CheckOrigin(own, site, origin string) error {
	switch site {
	case "same-origin", "none":
		return nil
	case "":
		if origin == "" || sameOrigin(own, origin) {
			return nil
		}
	default:
		if origin != "" && sameOrigin(own, origin) {
			return nil
		}
	}
	return store.Errorf(store.CodeForbidden, "This request was made by another site; open the page of this service and try again.")
}

func sameOrigin(a, b string) bool {
	u, err := url.Parse(a)
	v, err2 := url.Parse(b)
	return err == nil && err2 == nil && strings.EqualFold(u.Scheme, v.Scheme) && strings.EqualFold(u.Host, v.Host) && v.Host != ""
}

// OpenSession is a browser that is signed in, without what signs it in.
type OpenSession struct {
	ID         string // public
	CreatedAt  time.Time
	LastUsedAt time.Time // to the day
	From       Browser
}

// SessionID is the public id of the session of a cookie: half of the digest
// under which it is stored, of which nobody gets to the cookie.
func SessionID(cookie string) string { return publicID(digest(cookie)) }

func publicID(sum [32]byte) string { return hex.EncodeToString(sum[:16]) }

// ListSessions lists where an owner is signed in, at most sessionPage of them.
func (s *Service) ListSessions(ctx context.Context, o store.OwnerID) (list []OpenSession, err error) {
	prefix := ofOwner(prefixOwnerSes, o, "")
	now := s.cfg.Now()
	err = s.kv.View(ctx, func(tx kv.Tx) error {
		list = nil
		var failed error
		err := tx.Scan(prefix, prefixEnd(prefix), sessionPage, func(k, _ []byte) bool {
			sum, ok := sumIn(k)
			if !ok {
				return true
			}
			var ses session
			found, err := read(tx, hashed(prefixSession, sum), &ses)
			if found && ses.Owner == o && now.Before(ses.ExpiresAt) {
				list = append(list, OpenSession{publicID(sum), ses.CreatedAt, ses.ExpiresAt.Add(-sessionLife), ses.From})
			}
			if err != nil && !errors.Is(err, errDamaged) {
				failed = err
			}
			return failed == nil
		})
		return orElse(err, failed)
	})
	slices.SortFunc(list, func(a, b OpenSession) int {
		return cmp.Or(b.CreatedAt.Compare(a.CreatedAt), cmp.Compare(a.ID, b.ID))
	})
	return list, err
}

// DropSession ends the session of an owner with a public id. One that is not
// there is CodeNotFound.
func (s *Service) DropSession(ctx context.Context, o store.OwnerID, id string) error {
	half, err := hex.DecodeString(id)
	if err != nil || len(half) != 16 {
		return errNoSession
	}
	prefix := ofOwner(prefixOwnerSes, o, string(half))
	return s.kv.Update(ctx, string(o), func(tx kv.Tx) error {
		var sum [32]byte
		found := false
		err := tx.Scan(prefix, prefixEnd(prefix), 1, func(k, _ []byte) bool {
			sum, found = sumIn(k)
			return false
		})
		if err != nil || !found {
			return orElse(err, errNoSession)
		}
		return orElse(endSession(tx, sum), tx.Delete(ofOwner(prefixOwnerSes, o, string(sum[:]))))
	})
}

var errNoSession = store.Errorf(store.CodeNotFound, "There is no such session.")
