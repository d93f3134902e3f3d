package store

import (
	"context"
	"fmt"
	"math"

	"upload-service/store/failpoint"
)

// ClaimReport counts what changed hands.
type ClaimReport struct {
	Files   int64
	Uploads int64 // temporary ones
}

var errClaimed = Errorf(CodeConflict, "These files were claimed for another account; finish that first.")

// Claim gives everything of the unclaimed owner of a login to an account, and
// then forgets that owner. An account that is not known yet takes its slug as
// well. Where the account has a file at a path, the claimed one is renamed.
//
// It works in batches; an interrupted one is finished by the next Open. No
// request may be served meanwhile: for a while two owners share a folder.
// CodeNotFound: nothing of that login is unclaimed.
func (s *Store) Claim(ctx context.Context, login string, to OwnerID) (report ClaimReport, err error) {
	from := unclaimedID(login)
	if err := s.beginClaim(ctx, from, to); err != nil {
		return report, err
	}
	failpoint.Hit("claim: begun")
	for _, step := range []struct {
		move  func(t txn, key, value []byte, from, to OwnerID, stamps [2][]byte) ([]mark, error)
		of    string
		count *int64
	}{
		{s.claimFile, prefixFile, &report.Files},
		{s.claimUpload, prefixUpload, &report.Uploads},
		{s.claimTrash, prefixTrash, new(int64)},
	} {
		for {
			moved, marks, err := s.claimPage(ctx, step.of, from, to, step.move)
			if err != nil {
				return report, err
			}
			failpoint.Hit("claim: moved")
			*step.count += moved
			for _, m := range marks {
				if err := s.settleMark(ctx, sweepWait, m.owner, m.path); err != nil {
					return report, err
				}
			}
			if moved == 0 {
				break
			}
		}
	}
	return report, s.endClaim(ctx, from, to)
}

// ClaimUnasked asks again about the logins of which GitHub could not be asked
// when they were adopted, and gives their files to the accounts that have them
// now. It ends at the first question without an answer. Like Claim it must not
// run while requests are served.
func (s *Store) ClaimUnasked(ctx context.Context, resolve func(ctx context.Context, login string) (OwnerID, error)) error {
	unasked, err := s.unclaimed(ctx, func(o Owner) bool { return o.Unasked && o.ClaimedBy == "" })
	for _, o := range unasked {
		account, err := resolve(ctx, o.Login)
		switch {
		case err == nil:
			// What is in the way must not keep the server from starting; the next
			// start finishes what was begun.
			report, err := s.Claim(ctx, o.Login, account)
			if ctx.Err() != nil {
				return ctx.Err()
			}
			if err != nil {
				s.log.Warn("files are not all given to their account yet",
					"login", o.Login, "account", account, "error", err)
				continue
			}
			s.log.Info("gave unclaimed files to their account", "login", o.Login, "account", account,
				"files", report.Files, "uploads", report.Uploads)
		case CodeOf(err) == CodeNotFound: // nobody's
			o.Unasked = false
			err := s.update(ctx, "", func(t txn) error { return t.putOwner(o) })
			if err != nil {
				return err
			}
		default:
			s.log.Warn("GitHub cannot be asked about a login yet; its files stay unclaimed until a start that can ask",
				"login", o.Login, "logins", len(unasked), "error", err)
			return ctx.Err()
		}
	}
	return err
}

// unclaimed returns the unclaimed owners that match. A damaged record is skipped,
// and told.
func (s *Store) unclaimed(ctx context.Context, match func(Owner) bool) (list []Owner, err error) {
	lo := ownerKey(unclaimedID(""))
	var damaged []error
	err = s.view(ctx, func(t txn) error {
		list, damaged = nil, nil
		return t.Scan(lo, prefixEnd(lo), math.MaxInt, func(k, v []byte) bool {
			var o Owner
			if err := decode(v, &o); err != nil {
				damaged = append(damaged, fmt.Errorf("record %q: %w", k, err))
			} else if match(o) {
				list = append(list, o)
			}
			return true
		})
	})
	s.logDamaged("", damaged)
	return list, err
}

// finishClaims goes on with what a crash interrupted.
func (s *Store) finishClaims(ctx context.Context) error {
	claimed, err := s.unclaimed(ctx, func(o Owner) bool { return o.ClaimedBy != "" })
	for _, o := range claimed {
		// What is in the way must not keep the server from starting.
		if _, err := s.Claim(ctx, o.Login, o.ClaimedBy); err != nil && ctx.Err() == nil {
			s.log.Warn("files are not all given to their account yet",
				"login", o.Login, "account", o.ClaimedBy, "error", err)
		}
	}
	return all(err, ctx.Err())
}

func (s *Store) beginClaim(ctx context.Context, from, to OwnerID) error {
	now := s.now()
	return s.update(ctx, "", func(t txn) error {
		var old, account Owner
		found, err := t.read(ownerKey(from), &old)
		if err != nil || !found {
			return all(err, errNoOwner)
		}
		if old.ClaimedBy != "" && old.ClaimedBy != to {
			return errClaimed
		}
		old.ClaimedBy, old.Pending = to, false
		known, err := t.read(ownerKey(to), &account)
		if err != nil {
			return err
		}
		if !known {
			account = Owner{ID: to, Slug: old.Slug, Login: old.Login, CreatedAt: now}
			switch {
			case to == LocalOwner:
				account.Slug, account.Login = string(to), string(to)
			case reservedSlugs[slugKey(old.Login)]:
				account.Slug = numberedSlug(old.Login, to)
			default:
				old.Slug = old.Login + slugUnclaimed
			}
			err = t.putOwner(account)
		}
		return all(err, t.putOwner(old))
	})
}

// claimPage moves one page of records.
func (s *Store) claimPage(ctx context.Context, prefix string, from, to OwnerID,
	move func(t txn, key, value []byte, from, to OwnerID, stamps [2][]byte) ([]mark, error),
) (moved int64, marks []mark, err error) {
	stamps := make([][2][]byte, adoptBatch)
	for i := range stamps {
		stamps[i] = [2][]byte{newStamp(), newStamp()}
	}
	lo := owned(prefix, from)
	err = s.update(ctx, "", func(t txn) error {
		moved, marks = 0, nil
		var keys, values [][]byte
		err := t.Scan(lo, prefixEnd(lo), adoptBatch, func(k, v []byte) bool {
			keys, values = append(keys, k), append(values, v)
			return true
		})
		if err != nil {
			return err
		}
		for i := range keys {
			changed, err := move(t, keys[i], values[i], from, to, stamps[i])
			if err != nil {
				return err
			}
			marks = append(marks, changed...)
			moved++
		}
		return nil
	})
	return moved, marks, err
}

func (s *Store) claimFile(t txn, _, v []byte, from, to OwnerID, stamps [2][]byte) ([]mark, error) {
	var f File
	if err := decode(v, &f); err != nil {
		return nil, err
	}
	p, err := t.roomFor(to, f.Path)
	if err != nil {
		return nil, err
	}
	marks := []mark{{from, f.Path, stamps[0]}, {to, p, stamps[1]}}
	err = t.dropFile(f)
	f.Owner, f.Path = to, p
	return marks, all(err, t.putFile(f), s.mark(t, marks[0]), s.mark(t, marks[1]))
}

func (s *Store) claimUpload(t txn, _, v []byte, from, to OwnerID, _ [2][]byte) ([]mark, error) {
	var u Upload
	if err := decode(v, &u); err != nil {
		return nil, err
	}
	there, err := t.Get(uploadKey(to, u.Token))
	if err != nil || there != nil {
		return nil, all(err, Errorf(CodeConflict,
			"Both have an upload %s; delete one, or wait until it has expired.", u.Token))
	}
	err = t.forgetUpload(u)
	u.Owner = to
	for i := range u.Files {
		u.Files[i].Owner = to
	}
	return nil, all(err, t.putUpload(u))
}

func (s *Store) claimTrash(t txn, _, v []byte, _, to OwnerID, _ [2][]byte) ([]mark, error) {
	var z trashed
	if err := decode(v, &z); err != nil {
		return nil, err
	}
	err := t.unbury(z)
	z.File.Owner = to
	return nil, all(err, t.entomb(z))
}

// endClaim forgets an owner that has nothing any more but marks and garbage.
func (s *Store) endClaim(ctx context.Context, from, to OwnerID) error {
	// 1. Marks: the tree follows, then they go.
	lo := owned(prefixMark, from)
	for {
		var page []Path
		err := s.view(ctx, func(t txn) error {
			page = nil
			return t.Scan(lo, prefixEnd(lo), markPage, func(k, _ []byte) bool {
				page = append(page, Path(k[len(lo):]))
				return true
			})
		})
		if err != nil {
			return err
		}
		if len(page) == 0 {
			break
		}
		for _, p := range page {
			if err := s.settleMark(ctx, sweepWait, from, p); err != nil {
				return err
			}
		}
		err = s.update(ctx, "", func(t txn) error {
			for _, p := range page {
				if err := t.Delete(markKey(from, p)); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	// 2. Garbage, which the next sweep removes, names its owner in a report.
	for lo := []byte(prefixGarbage); lo != nil; {
		var next []byte
		err := s.update(ctx, "", func(t txn) (err error) {
			next, err = t.claimGarbage(lo, from, to)
			return err
		})
		if err != nil {
			return err
		}
		lo = next
	}
	// 3. The owner.
	return s.update(ctx, "", func(t txn) error {
		var old Owner
		if _, err := t.read(ownerKey(from), &old); err != nil {
			return err
		}
		return all(t.Delete(ownerKey(from)), t.Delete(slugIndex(old.Slug)), t.Delete(usageKey(from)))
	})
}

// claimGarbage goes through a page of garbage and returns where the next one
// begins, nil at the end.
func (t txn) claimGarbage(lo []byte, from, to OwnerID) (next []byte, err error) {
	changed := map[string]garbage{}
	n := 0
	var failed error
	err = t.Scan(lo, prefixEnd([]byte(prefixGarbage)), adoptBatch, func(k, v []byte) bool {
		n++
		next = after(k)
		var g garbage
		if failed = decode(v, &g); g.Owner == from {
			g.Owner = to
			changed[string(k)] = g
		}
		return failed == nil
	})
	if err = all(err, failed); err != nil {
		return nil, err
	}
	for k, g := range changed {
		if err := t.write([]byte(k), g); err != nil {
			return nil, err
		}
	}
	if n < adoptBatch {
		next = nil
	}
	return next, nil
}
