package store

import (
	"bytes"
	"context"
	"encoding/base64"
	"fmt"
	"time"

	"upload-service/store/blob"
)

// touchCap bounds how long touching can keep an upload temporary, in
// lifetimes from its creation.
const touchCap = 7

// StoreUpload makes the parts a temporary upload with a new token.
func (in *Intake) StoreUpload(ctx context.Context, purpose string) (Upload, error) {
	if len(purpose) > maxPurpose {
		return Upload{}, FieldErrorf("purpose", "The purpose is longer than %d bytes.", maxPurpose)
	}
	now := in.s.now()
	u := Upload{
		Token: NewToken(), Owner: in.owner, State: Ready, Purpose: purpose,
		CreatedAt: now, ExpiresAt: now.Add(in.s.ttl),
	}
	for _, p := range in.parts {
		if p.Name == "" {
			p.Name = CleanName("", "upload-"+string(u.Token[:8]))
		}
		u.Parts = append(u.Parts, *p)
	}
	err := in.commit(ctx, func(t txn) error {
		if err := t.putUpload(u); err != nil {
			return err
		}
		return in.s.checkQuota(t, in.owner)
	})
	return u, err
}

const maxPurpose = 64

// checkQuota decides, inside the transaction that stores something, whether
// the owner may keep it.
func (s *Store) checkQuota(t txn, o OwnerID) error {
	u, err := t.usage(o)
	if err != nil {
		return err
	}
	return s.checkUsage(u)
}

func (s *Store) checkUsage(u Usage) error {
	if s.limits.OwnerBytes > 0 && u.Bytes() > s.limits.OwnerBytes ||
		s.limits.OwnerFiles > 0 && u.Count() > s.limits.OwnerFiles {
		return quotaError(u, s.limits, "would be")
	}
	return nil
}

// live refuses uploads that are over: gone, or expired and not swept yet.
func (u *Upload) live(now time.Time) error {
	switch {
	case u.State == Gone, u.State == Discarded:
		return Errorf(CodeGone, "This upload is gone: it %s. Upload the file again.", u.Reason)
	case u.State != Persisted && !now.Before(u.ExpiresAt):
		return Errorf(CodeGone, "This upload is gone: it %s. Upload the file again.", reasonExpired)
	}
	return nil
}

const (
	reasonExpired = "expired"
	reasonDeleted = "was deleted"
	reasonLost    = "lost its bytes"
)

// GetUpload returns an upload of the owner. One that is over is CodeGone for
// one lifetime, then CodeNotFound; a persisted one is returned that long.
func (s *Store) GetUpload(ctx context.Context, o OwnerID, token Token) (u Upload, err error) {
	err = s.view(ctx, func(t txn) (err error) {
		if u, err = t.upload(o, token); err != nil {
			return err
		}
		return u.live(s.now())
	})
	return u, err
}

// ListUploads returns the owner's uploads that are not over, newest first,
// and a cursor if there may be more. Persisted ones are left out.
func (s *Store) ListUploads(ctx context.Context, o OwnerID, limit int, cursor string) (list []Upload, next string, err error) {
	prefix := owned(prefixNewUp, o)
	lo := prefix
	if cursor != "" {
		last, err := base64.RawURLEncoding.DecodeString(cursor)
		if err != nil || len(last) != 24 {
			return nil, "", errCursor
		}
		lo = after(append(bytes.Clone(prefix), last...))
	}
	now := s.now()
	var damaged []error
	err = s.view(ctx, func(t txn) error {
		list, next, damaged = nil, "", nil
		var last []byte
		examined := 0
		err := t.Scan(lo, prefixEnd(prefix), maxExamined, func(k, _ []byte) bool {
			if len(list) == limit {
				next = base64.RawURLEncoding.EncodeToString(last)
				return false
			}
			examined++
			last = bytes.Clone(k[len(prefix):])
			u, err := t.upload(o, tokenOf(last[8:]))
			if err != nil {
				damaged = append(damaged, fmt.Errorf("upload %s: %w", tokenOf(last[8:]), err))
			} else if u.State != Persisted && u.live(now) == nil {
				list = append(list, u)
			}
			return true
		})
		if examined == maxExamined {
			next = base64.RawURLEncoding.EncodeToString(last)
		}
		return err
	})
	s.logDamaged(o, damaged)
	return list, next, err
}

// DeleteUpload drops a temporary upload; a request that is at it is stopped.
// A persisted one is CodeConflict: its files remain, and are deleted as files.
//
// Its bytes go at once: until a sweep they would count against nobody, and who
// puts parts together and deletes the whole makes many with few requests.
func (s *Store) DeleteUpload(ctx context.Context, o OwnerID, token Token) error {
	turn, err := s.TakeTurn(ctx, o, token, nil)
	if err != nil {
		return err
	}
	defer turn.Release()
	now := s.now()
	var u Upload
	err = s.update(ctx, o, func(t txn) (err error) {
		if u, err = t.upload(o, token); err != nil {
			return err
		}
		if err := u.live(now); err != nil {
			return err
		}
		if u.State == Persisted {
			return errPermanent
		}
		return t.dropUpload(u, now, s.ttl, reasonDeleted, "")
	})
	if err != nil {
		return err
	}
	var refs []blob.Ref
	for _, p := range u.Parts {
		if p.Blob != "" {
			refs = append(refs, p.Blob)
		}
	}
	if _, err := s.reclaim(context.WithoutCancel(ctx), refs...); err != nil {
		s.log.Warn("the bytes of a deleted upload are left to the sweep", "error", err)
	}
	return nil
}

var errPermanent = Errorf(CodeConflict, "This upload was made permanent; delete its files instead.")

// dropUpload makes an upload a tombstone and its blobs garbage.
func (t txn) dropUpload(u Upload, now time.Time, ttl time.Duration, reason, sweep string) error {
	for _, p := range u.Parts {
		if p.Blob == "" {
			continue
		}
		g := garbage{Size: p.Size, Owner: u.Owner, At: now, Reason: "upload " + reason, Sweep: sweep}
		if err := t.discard(p.Blob, g); err != nil {
			return err
		}
	}
	// What stays counts against no quota, so it is little: the reason, and what
	// UsedPart and a repeated Concatenate ask for.
	end := u.tombstone(Gone, now.Add(ttl))
	end.Reason = reason
	if g := u.Growth; g != nil {
		end.Growth = &Growth{Offset: g.Offset, Length: g.Length, Partial: g.Partial, Into: g.Into}
	}
	used, err := t.usage(u.Owner)
	if err == nil {
		err = t.changeUpload(u, end)
	}
	if err == nil && used.Ended >= maxEnded {
		err = t.forgetUpload(end) // to begin and end uploads all day fills no disk
	}
	return err
}

// maxEnded is how many uploads that are gone are remembered for one owner.
// Those beyond it are not found at once, instead of a lifetime later.
const maxEnded = 10_000

// Touch gives a temporary upload a new lifetime, at most touchCap lifetimes
// from its creation: for a form that is shown again.
func (s *Store) Touch(ctx context.Context, o OwnerID, token Token) (u Upload, err error) {
	now := s.now()
	err = s.update(ctx, o, func(t txn) error {
		old, err := t.upload(o, token)
		if err != nil {
			return err
		}
		if err := old.live(now); err != nil {
			return err
		}
		u = old
		if old.State == Persisted {
			return nil
		}
		u.ExpiresAt = s.nextExpiry(old, now)
		return t.changeUpload(old, u)
	})
	return u, err
}
