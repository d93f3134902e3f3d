package auth

import (
	"context"
	"strings"

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
		return Principal{}, store.Errorf(store.CodeForbidden, "The account %s may not use this service; ask its operator.", a.Login)
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
	return Principal{Owner: o, Scopes: scopes}, nil
}

func (s *Service) allowed(ctx context.Context, a account) (bool, error) {
	if !s.cfg.Restricted {
		return true, nil
	}
	for _, org := range a.orgs {
		for _, want := range s.cfg.AllowedOrgs {
			if strings.EqualFold(org, want) {
				return true, nil
			}
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
	get := func(tx kv.Tx) error {
		b, err := tx.Get(key)
		pinned = store.OwnerID(b)
		return err
	}
	if err := s.kv.View(ctx, get); err != nil || pinned != "" {
		return pinned, err
	}
	err = s.kv.Update(ctx, "", func(tx kv.Tx) error {
		if err := get(tx); err != nil || pinned != "" {
			return err
		}
		pinned = id
		return tx.Put(key, []byte(id))
	})
	return pinned, err
}
