package store

import (
	"context"
	"fmt"
	"regexp"
	"strings"
	"time"
)

// OwnerID names an account that files belong to: "local", or "github:" and
// the numeric account id. It never changes, unlike a login, and every right
// is decided by it. "unclaimed:" and a login is nobody's account: it holds
// what was adopted for a login, until Claim gives that to an account.
type OwnerID string

func unclaimedID(login string) OwnerID { return OwnerID("unclaimed:" + strings.ToLower(login)) }

func (o OwnerID) unclaimed() bool { return strings.HasPrefix(string(o), "unclaimed:") }

// LocalOwner is the one owner of local mode.
const LocalOwner OwnerID = "local"

var ownerSyntax = regexp.MustCompile(`^(local|github:[1-9][0-9]{0,18})$`)

// ParseOwnerID accepts "local" and "github:<id>".
func ParseOwnerID(s string) (OwnerID, error) {
	if !ownerSyntax.MatchString(s) {
		return "", FieldErrorf("owner", "An owner is written local or github:<numeric id>.")
	}
	return OwnerID(s), nil
}

// Owner is the record of an account. Slug names it in URLs and folders: the
// login as first seen, immutable. Login is the login as last seen, for
// display only.
type Owner struct {
	ID        OwnerID   `json:"id"`
	Slug      string    `json:"slug"`
	Login     string    `json:"login"`
	CreatedAt time.Time `json:"created_at"`
	SeenAt    time.Time `json:"seen_at,omitzero"` // its last request, to the hour

	// Of an unclaimed owner. Pending: nobody was asked yet who has the login,
	// and nothing was adopted. Unasked: there was no answer, ask again.
	// ClaimedBy: its files are on their way there.
	Pending   bool    `json:"pending,omitempty"`
	Unasked   bool    `json:"unasked,omitempty"`
	ClaimedBy OwnerID `json:"claimed_by,omitempty"`
}

// reservedSlugs cannot be taken as they are: "me" stands for the caller and
// "local" for the owner of local mode. A login "me" gets "me~<id>".
var reservedSlugs = map[string]bool{"me": true, "local": true}

// slugKey is how slugs are compared: without case.
func slugKey(slug string) string { return strings.ToLower(slug) }

// EnsureOwner returns the record of an account and makes it at first sight.
// The slug is the login as first seen; where that is taken or reserved it is
// "<login>~<number>". A changed login is noted, the slug stays. The caller has
// just learned from GitHub that the account has the login.
func (s *Store) EnsureOwner(ctx context.Context, id OwnerID, login string) (Owner, error) {
	o, err := s.OwnerByID(ctx, id)
	if err == nil && o.Login == login || err != nil && CodeOf(err) != CodeNotFound {
		return o, err
	}
	now := s.now()
	err = s.update(ctx, id, func(t txn) error {
		was, found, err := t.owner(id)
		if err != nil {
			return err
		}
		if o = was; found {
			o.Login = login
			return t.write(ownerKey(id), o)
		}
		o = Owner{ID: id, Slug: login, Login: login, CreatedAt: now}
		before, taken, err := t.ownerBySlug(login)
		if err != nil {
			return err
		}
		switch {
		case taken && before.Pending: // the folder of the login, not asked about yet
			o.Slug = before.Slug
			err = t.Delete(ownerKey(before.ID))
		case taken || reservedSlugs[slugKey(login)] && id != LocalOwner:
			o.Slug = numberedSlug(login, id)
		}
		return all(err, t.putOwner(o))
	})
	return o, err
}

// numberedSlug is for a login that is no slug of its own any more.
func numberedSlug(login string, id OwnerID) string {
	return login + "~" + strings.TrimPrefix(string(id), "github:")
}

func (t txn) putOwner(o Owner) error {
	return all(t.write(ownerKey(o.ID), o), t.Put(slugIndex(o.Slug), []byte(o.ID)))
}

// ownerBySlug returns the owner with a slug, compared without case.
func (t txn) ownerBySlug(slug string) (o Owner, found bool, err error) {
	id, err := t.Get(slugIndex(slug))
	if err != nil || id == nil {
		return o, false, err
	}
	return t.owner(OwnerID(id))
}

// owner returns an owner. A record that names another one would let the one
// act as the other.
func (t txn) owner(id OwnerID) (o Owner, found bool, err error) {
	found, err = t.read(ownerKey(id), &o)
	if found && err == nil && o.ID != id {
		err = fmt.Errorf("owner %s: its record is that of %s", id, o.ID)
	}
	return o, found, err
}

// OwnerByID returns an owner or CodeNotFound.
func (s *Store) OwnerByID(ctx context.Context, id OwnerID) (o Owner, err error) {
	err = s.view(ctx, func(t txn) (err error) {
		var found bool
		o, found, err = t.owner(id)
		if err == nil && !found {
			err = errNoOwner
		}
		return err
	})
	return o, err
}

// OwnerBySlug returns the owner with a slug, compared without case, or
// CodeNotFound.
func (s *Store) OwnerBySlug(ctx context.Context, slug string) (o Owner, err error) {
	err = s.view(ctx, func(t txn) (err error) {
		var found bool
		o, found, err = t.ownerBySlug(slug)
		if err == nil && !found {
			err = errNoOwner
		}
		return err
	})
	return o, err
}

// NoteSeen records that an owner makes a request, at most once an hour. A
// failure costs nothing but the note.
func (s *Store) NoteSeen(ctx context.Context, o Owner) {
	now := s.now()
	if now.Sub(o.SeenAt) < time.Hour {
		return
	}
	_ = s.update(ctx, o.ID, func(t txn) error {
		var last Owner
		found, err := t.read(ownerKey(o.ID), &last)
		if err != nil || !found || now.Sub(last.SeenAt) < time.Hour {
			return err
		}
		if last.SeenAt = now.Truncate(time.Hour); last.SeenAt.Before(last.CreatedAt) {
			last.SeenAt = last.CreatedAt
		}
		return t.write(ownerKey(o.ID), last)
	})
}

// UsageOf returns what an owner has stored.
func (s *Store) UsageOf(ctx context.Context, id OwnerID) (u Usage, err error) {
	err = s.view(ctx, func(t txn) (err error) {
		u, err = t.usage(id)
		return err
	})
	return u, err
}

// Account is an owner with its usage.
type Account struct {
	Owner Owner
	Usage Usage
}

// ListOwners returns up to limit owners with an id greater than cursor, and
// the next cursor, "" at the end. One whose record cannot be read is left out.
func (s *Store) ListOwners(ctx context.Context, limit int, cursor string) (list []Account, next string, err error) {
	prefix := []byte(prefixOwner)
	var damaged []error
	err = s.view(ctx, func(t txn) error {
		list, next, damaged = nil, "", nil
		var last string
		n := 0
		return t.Scan(after(ownerKey(OwnerID(cursor))), prefixEnd(prefix), limit+1, func(k, v []byte) bool {
			if n++; n > limit {
				next = last
				return false
			}
			last = string(k[len(prefix):])
			var a Account
			err := decode(v, &a.Owner)
			if err == nil {
				a.Usage, err = t.usage(a.Owner.ID)
			}
			if err != nil {
				damaged = append(damaged, fmt.Errorf("owner %q: %w", last, err))
			} else {
				list = append(list, a)
			}
			return true
		})
	})
	s.logDamaged("", damaged)
	return list, next, err
}

// HasGitHubOwners reports whether any owner is a GitHub account: such a store
// must not be served in local mode.
func (s *Store) HasGitHubOwners(ctx context.Context) (found bool, err error) {
	prefix := ownerKey("github:")
	err = s.view(ctx, func(t txn) error {
		found = false
		return t.Scan(prefix, prefixEnd(prefix), 1, func(_, _ []byte) bool {
			found = true
			return false
		})
	})
	return found, err
}

// Stats sums up the whole store.
type Stats struct {
	Owners int64
	Usage  Usage
	Free   int64 // bytes that the volume can still take; negative if not known
}

// Stats adds up the counters of all owners: O(owners).
func (s *Store) Stats(ctx context.Context) (st Stats, err error) {
	for cursor := ""; ; {
		page, next, err := s.ListOwners(ctx, 1000, cursor)
		if err != nil {
			return st, err
		}
		for _, a := range page {
			st.Owners++
			st.Usage = st.Usage.plus(a.Usage)
		}
		if next == "" {
			break
		}
		cursor = next
	}
	st.Free, err = s.blobs.Free(ctx)
	return st, err
}
