package store

import (
	"context"
	"math"
	"time"
)

// DiscardUploads puts uploads that are complete aside, all or none. They count
// as gone at once; while the undo time lasts, and until they would have expired
// anyway, RestoreUploads brings those of one batch back. Without an undo time
// their bytes go now.
//
// Errors: not_found, gone, conflict (not complete, or made permanent), invalid.
func (s *Store) DiscardUploads(ctx context.Context, o OwnerID, batch BatchID, tokens []Token) error {
	if len(tokens) == 0 || len(tokens) > MaxTokens {
		return FieldErrorf("token", "Name from 1 to %d uploads at once.", MaxTokens)
	}
	now := s.now()
	return s.update(ctx, o, func(t txn) error {
		for _, token := range tokens {
			u, err := t.upload(o, token)
			if err != nil {
				return err
			}
			if err := u.live(now); err != nil {
				return err
			}
			switch {
			case u.State == Persisted:
				return errPermanent
			case u.State != Ready:
				return Errorf(CodeConflict, "This upload is not complete; delete it instead.")
			case s.undo <= 0:
				err = t.dropUpload(u, now, s.ttl, reasonDeleted, "")
			default:
				err = t.changeUpload(u, u.aside(batch, now.Add(s.undo)))
			}
			if err != nil {
				return err
			}
		}
		return nil
	})
}

// aside is a discarded upload that can come back until then.
func (u Upload) aside(batch BatchID, then time.Time) Upload {
	if u.ExpiresAt.Before(then) {
		then = u.ExpiresAt
	}
	u.State, u.Reason, u.Batch, u.BackUntil, u.ExpiresAt = Discarded, reasonDeleted, batch, u.ExpiresAt, then
	return u
}

// RestoreUploads brings back what was discarded together, and returns how many
// uploads that are. It costs O(uploads of the owner that are not over).
// A batch of which nothing is left is CodeNotFound.
func (s *Store) RestoreUploads(ctx context.Context, o OwnerID, batch BatchID) (n int, err error) {
	now := s.now()
	back := func(u Upload) bool {
		return u.State == Discarded && u.Batch == batch && now.Before(u.ExpiresAt)
	}
	var tokens []Token
	err = s.view(ctx, func(t txn) error {
		tokens = nil
		prefix := owned(prefixNewUp, o)
		var failed error
		err := t.Scan(prefix, prefixEnd(prefix), math.MaxInt, func(k, _ []byte) bool {
			u, err := t.upload(o, tokenOf(k[len(prefix)+8:]))
			if failed = err; err == nil && back(u) {
				tokens = append(tokens, u.Token)
			}
			return err == nil
		})
		return all(err, failed)
	})
	if err != nil {
		return 0, err
	}
	err = s.update(ctx, o, func(t txn) error {
		n = 0
		for _, token := range tokens {
			old, err := t.upload(o, token)
			if err != nil {
				return err
			}
			if !back(old) {
				continue // somebody else was faster
			}
			u := old
			u.State, u.Reason, u.Batch, u.ExpiresAt, u.BackUntil = Ready, "", BatchID{}, old.BackUntil, time.Time{}
			if err := t.changeUpload(old, u); err != nil {
				return err
			}
			n++
		}
		if n == 0 {
			return Errorf(CodeNotFound, "It is too late to take this back. Upload the files again.")
		}
		return s.checkQuota(t, o)
	})
	return n, err
}
