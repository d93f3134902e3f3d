package auth_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"upload-service/auth"
	"upload-service/store"
	"upload-service/store/kv"
	"upload-service/store/kv/kvtest"
)

// credential is a way in, and what it allowed before a record was damaged.
type credential struct {
	name   string
	owner  store.OwnerID
	allows auth.Scopes // nil: it is over
	record string      // its own
	use    func() (auth.Principal, error)
}

// FuzzRecord: a record that makes no sense signs nobody in as somebody else,
// allows nobody more than before, and is in nobody else's way.
func FuzzRecord(f *testing.F) {
	// 1. A record of every kind.
	s := &kvtest.Supposed{}
	w := openWorld(f, func(db kv.Store) kv.Store { s.Store = db; return s }, func(c *auth.Config) {
		c.Restricted, c.AllowedUsers, c.AllowedOrgs = true, []string{"bob", "root"}, []string{"acme"}
		c.Admins = []string{"root"}
	})
	ctx := f.Context()
	var all []credential
	var keys []string // in an order that is the same in every process
	bearer := func(name, secret string, p auth.Principal) {
		use := func() (auth.Principal, error) { return w.Bearer(ctx, secret, "192.0.2.1") }
		c := credential{name: name, owner: p.Owner.ID, allows: p.Scopes, use: use}
		if p.KeyID != "" {
			c.record = "a/k/" + sumText(secret)
			keys = append(keys, c.record, "a/o/"+string(c.owner)+"\x00"+p.KeyID)
		}
		all = append(all, c)
	}
	mint := func(name string, by auth.Principal, spec auth.KeySpec) auth.Principal {
		_, secret, err := w.NewKey(ctx, by, spec)
		w.ok(err)
		p := w.must(secret)
		bearer(name, secret, p)
		return p
	}
	for _, login := range []string{"alice", "bob", "root"} {
		p := w.must("ghp_" + login)
		bearer("the token of "+login, "ghp_"+login, p)
		key := mint("a key of "+login, p, auth.KeySpec{Scopes: auth.AllScopes[:3]})
		mint("what that key made", key, auth.KeySpec{Scopes: auth.AllScopes[:1]})
		mint("one that has expired", p, auth.KeySpec{Scopes: p.Scopes, ExpiresIn: time.Minute})
		all[len(all)-1].allows = nil
		session := w.signIn(login)
		c := credential{name: "a session of " + login, owner: p.Owner.ID, allows: p.Scopes, record: "a/s/" + sumText(session)}
		c.use = func() (auth.Principal, error) { return w.Session(ctx, session) }
		all = append(all, c)
		keys = append(keys, c.record, "a/l/"+string(c.owner)+"\x00"+sumText(session), "o/"+string(c.owner), "l/"+login)
	}
	code, err := w.NewSignInCode(ctx)
	w.ok(err)
	_, err = w.SigningKey(ctx)
	w.ok(err)
	keys = append(keys, "a/c/", "a/n/", "a/p/root", "a/p/bob", "a/m/github:1")
	w.advance(time.Minute)

	records := map[string][]byte{}
	w.ok(w.kv.View(ctx, func(tx kv.Tx) error {
		for _, kind := range []string{"a/u/", "a/x/"} {
			err := tx.Scan([]byte(kind), []byte(kind+"\xff"), 1, func(k, _ []byte) bool {
				keys = append(keys, string(k))
				return false
			})
			w.ok(err)
		}
		for _, k := range keys {
			v, err := tx.Get([]byte(k))
			if records[k] = bytes.Clone(v); err != nil || v == nil {
				f.Errorf("there is no record %q (%v)", k, err)
			}
		}
		return nil
	}))
	for i, k := range keys {
		for _, other := range keys[20:] { // root's, and one of each of the others, in the place of another
			f.Add(uint8(i), records[other])
		}
		f.Add(uint8(i), records[k][:len(records[k])/2])
		f.Add(uint8(i), bytes.ReplaceAll(records[k], []byte("github:2"), []byte("github:3")))
	}

	// 2. Whatever it is instead:
	f.Fuzz(func(t *testing.T, which uint8, value []byte) {
		key := keys[int(which)%len(keys)]
		s.Set([]byte(key), value, 10000)
		defer s.Set(nil, nil, 0)
		for _, c := range all {
			p, err := c.use()
			allows := c.allows
			if key == c.record {
				allows = stated(value, c, w.clock())
			}
			switch {
			case errors.Is(err, kv.ErrPanic):
				t.Errorf("%s: %v", c.name, err)
			case err == nil && (p.Owner.ID != c.owner || allows == nil):
				t.Errorf("%s: it is %s, and allows %v", c.name, p.Owner.ID, p.Scopes)
			case err == nil && slices.ContainsFunc(p.Scopes, func(x auth.Scope) bool { return !allows.Has(x) }):
				t.Errorf("%s: it allows %v, and not only %v", c.name, p.Scopes, allows)
			case !concerns(key, c) && ((err == nil) != (allows != nil) || len(p.Scopes) != len(allows)):
				t.Errorf("%s: it allows %v, %v, with another %q", c.name, p.Scopes, err, key)
			}
		}
		must := func(what string, err error) {
			if err != nil {
				t.Errorf("%s: %v, with another %q", what, err, key)
			}
		}
		for _, o := range []store.OwnerID{"github:1", "github:2", "github:3"} {
			list, err := w.ListKeys(ctx, o)
			must("list keys", err)
			for _, k := range list {
				if k.Owner != o {
					t.Errorf("%s is listed a key of %s", o, k.Owner)
				}
			}
			_, _, err = w.MintKey(ctx, o, auth.KeySpec{Scopes: auth.AllScopes})
			must("make a key", err)
			_, err = w.ListSessions(ctx, o)
			must("list sessions", err)
			must("end all sessions", w.EndAllSessions(ctx, o))
		}
		if w.CheckSignInCode(ctx, "another") == nil {
			t.Errorf("another code signs in")
		}
		if err := w.CheckSignInCode(ctx, code); key != "a/c/" {
			must("the code", err)
		}
		_, err := w.NewSignInCode(ctx)
		must("make a code", err)
		signing, err := w.SigningKey(ctx)
		must("signing key", err)
		if len(signing) < 32 {
			t.Errorf("the signing key is %q", signing)
		}
		w.advance(365 * 24 * time.Hour)
		_, err = w.Sweep(ctx)
		w.advance(-365 * 24 * time.Hour)
		must("sweep", err)
		must("check", auth.Check(ctx, s, false, func(bool, string) {}))
	})
}

func sumText(secret string) string {
	sum := sha256.Sum256([]byte(secret))
	return string(sum[:])
}

// concerns reports whether a credential may suffer from another record: its own,
// its owner's, and for a key those of all keys, of which one made it. A token
// of GitHub has none but its owner's.
func concerns(key string, c credential) bool {
	login := map[store.OwnerID]string{"github:1": "alice", "github:2": "bob", "github:3": "root"}[c.owner]
	switch key {
	case "o/" + string(c.owner), "a/p/" + login, c.record:
		return true
	}
	if strings.HasPrefix(c.name, "the token") {
		return false
	}
	owned := "/" + string(c.owner)
	return strings.HasPrefix(key, "a/k/") || strings.HasPrefix(key, "a/o"+owned) || strings.HasPrefix(key, "a/l"+owned) ||
		key == "a/m"+owned
}

// stated is what a record says that its credential allows, nil for nothing.
func stated(value []byte, c credential, now time.Time) auth.Scopes {
	var r struct {
		Owner   store.OwnerID
		Scopes  auth.Scopes
		Expires time.Time
	}
	if len(value) == 0 || value[0] != 1 || json.Unmarshal(value[1:], &r) != nil || r.Owner != c.owner {
		return nil
	}
	if !r.Expires.IsZero() && !now.Before(r.Expires) {
		return nil
	}
	if strings.HasPrefix(c.record, "a/s/") {
		return c.allows
	}
	if r.Scopes == nil {
		return auth.Scopes{}
	}
	return r.Scopes
}
