package auth

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"upload-service/store"
	"upload-service/store/kv"
)

// admit decides whether a GitHub account may use the service, and as what.
func (s *Service) admit(ctx context.Context, a account) (Principal, error) {
	allowed, err := s.allowed(ctx, a)
	if err != nil {
		return Principal{}, err
	}
	if !allowed {
		return Principal{}, s.notAllowed(a.Login)
	}
	o, err := s.owners.EnsureOwner(ctx, a.owner(), a.Login)
	if err != nil {
		return Principal{}, err
	}
	return s.principal(ctx, o, AllScopes)
}

// principal gives an owner what its credential and its standing allow now.
func (s *Service) principal(ctx context.Context, o store.Owner, scopes Scopes) (Principal, error) {
	admin, err := s.isAdmin(ctx, o)
	if err != nil {
		return Principal{}, err
	}
	if !admin {
		scopes = scopes.without(Admin)
	}
	s.owners.NoteSeen(ctx, o)
	return Principal{Owner: o, Scopes: scopes}, nil
}

func (s *Service) allowed(ctx context.Context, a account) (bool, error) {
	if !s.cfg.Restricted {
		return true, nil
	}
	for _, org := range a.orgs {
		if s.allowsOrg(org) {
			return true, s.noteMember(ctx, a.owner(), org)
		}
	}
	return s.listed(ctx, s.cfg.AllowedUsers, a.owner(), a.Login)
}

// isAdmin is asked at each use, so a demotion takes effect with the settings.
func (s *Service) isAdmin(ctx context.Context, o store.Owner) (bool, error) {
	if s.cfg.Local {
		return o.ID == store.LocalOwner, nil
	}
	return s.listed(ctx, s.cfg.Admins, o.ID, o.Login)
}

// listed reports whether an account is on a list of logins and ids. A login
// means the account that had it when it was first seen here: who takes the
// login over later is somebody else.
func (s *Service) listed(ctx context.Context, list []string, id store.OwnerID, login string) (bool, error) {
	for _, entry := range list {
		if entry == string(id) {
			return true, nil
		}
		if strings.HasPrefix(entry, "github:") || !strings.EqualFold(entry, login) {
			continue
		}
		pinned, err := s.pin(ctx, login, id)
		if err != nil || pinned == id {
			return err == nil, err
		}
	}
	return false, nil
}

// pin returns the account that a login in a setting means, and decides it if
// nothing is decided yet.
func (s *Service) pin(ctx context.Context, login string, id store.OwnerID) (pinned store.OwnerID, err error) {
	key := []byte(prefixPin + strings.ToLower(login))
	decided := false
	get := func(tx kv.Tx) error {
		b, err := tx.Get(key)
		pinned, decided = store.OwnerID(b), b != nil // one that is damaged is nobody's
		return err
	}
	if err := s.kv.View(ctx, get); err != nil || decided {
		return pinned, err
	}
	err = s.kv.Update(ctx, "", func(tx kv.Tx) error {
		if err := get(tx); err != nil || decided {
			return err
		}
		pinned = id
		return tx.Put(key, []byte(id))
	})
	return pinned, err
}

func (s *Service) allowsOrg(org string) bool {
	return slices.ContainsFunc(s.cfg.AllowedOrgs, func(want string) bool { return strings.EqualFold(org, want) })
}

// NotAllowed is the cause of a forbidden error about the account itself, which
// no other request of it would get round. With Stale it was allowed, and to
// sign in again with it is enough.
type NotAllowed struct {
	Login string
	Stale bool
}

// Error says it for the log.
func (e NotAllowed) Error() string { return "not allowed here: " + e.Login }

func (s *Service) notAllowed(login string) error {
	why := "The account %s is not on the list of those that may use this service. Ask its administrator."
	if len(s.cfg.AllowedOrgs) > 0 {
		why = "The account %s is not on the list of those that may use this service, and GitHub does not tell us that it " +
			"is a member of an organization that may. Ask the administrator; " +
			"the organization may have to let this service's app in first."
	}
	return store.Errorf(store.CodeForbidden, why, login).WithCause(NotAllowed{Login: login})
}

// memberLife is how long GitHub's word counts that somebody is a member of an
// organization. It cannot be asked again without a token of theirs, which keys
// and sessions do not have.
const memberLife = 30 * 24 * time.Hour

// member is what GitHub said about an account.
type member struct {
	Org string    `json:"org"`
	At  time.Time `json:"at"`
}

// noteMember records a membership that GitHub has just confirmed, at most once
// an hour. That it cannot be written costs nothing but the note.
func (s *Service) noteMember(ctx context.Context, o store.OwnerID, org string) error {
	now := s.cfg.Now()
	key := []byte(prefixMember + string(o))
	var m member
	err := s.kv.View(ctx, func(tx kv.Tx) error {
		m = member{}
		_, err := read(tx, key, &m)
		if errors.Is(err, errDamaged) {
			m, err = member{}, nil // GitHub has just said it anew
		}
		return err
	})
	if err != nil || m.Org == org && now.Sub(m.At) < time.Hour {
		return err
	}
	_ = s.kv.Update(ctx, string(o), func(tx kv.Tx) error { return write(tx, key, member{org, now}) })
	return nil
}

// stillAllowed applies the allow lists to keys and sessions, so that who is
// struck off or leaves loses them, too: at once, or for an organization when
// GitHub has not confirmed the membership for memberLife.
func (s *Service) stillAllowed(ctx context.Context, o store.Owner) error {
	if s.cfg.Local || !s.cfg.Restricted {
		return nil
	}
	if ok, err := s.listed(ctx, s.cfg.AllowedUsers, o.ID, o.Login); err != nil || ok {
		return err
	}
	var m member
	err := s.kv.View(ctx, func(tx kv.Tx) error {
		m = member{}
		_, err := read(tx, []byte(prefixMember+string(o.ID)), &m)
		return err
	})
	switch {
	case err != nil:
		return err
	case !s.allowsOrg(m.Org):
		return s.notAllowed(o.Login)
	case s.cfg.Now().Sub(m.At) >= memberLife:
		return store.Errorf(store.CodeForbidden,
			"It was last confirmed %d days ago that %s is a member of %s; sign in with GitHub, or send a GitHub token once.",
			int(s.cfg.Now().Sub(m.At).Hours()/24), o.Login, m.Org).WithCause(NotAllowed{Login: o.Login, Stale: true})
	}
	return nil
}
