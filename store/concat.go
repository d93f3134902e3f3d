package store

import (
	"context"
	"io"
	"slices"
	"time"
)

// Concatenate makes one upload of complete partial ones, in the order given;
// one may be named several times. Its bytes are copied and hashed once; then
// the parts are used up in the transaction that names the whole, so they never
// count twice. Repeated with the same parts it returns the same upload.
//
// Errors: invalid, not_found, gone, conflict (not a part, or not complete),
// and those of BeginUpload and of placing the file.
func (s *Store) Concatenate(ctx context.Context, o OwnerID, tokens []Token, b Begin) (Upload, error) {
	if len(tokens) == 0 || len(tokens) > MaxTokens {
		return Upload{}, Errorf(CodeInvalid, "Name 1 to %d parts to put together.", MaxTokens)
	}
	// 1. The parts, or what became of them. Their bytes are copied by one
	// request at a time, and nobody takes one away meanwhile.
	distinct := slices.Clone(tokens)
	slices.Sort(distinct) // in one order for all: nobody waits in a circle
	distinct = slices.Compact(distinct)
	for _, token := range distinct {
		turn, err := s.hold(ctx, turnKey{o, token}, nil)
		if err != nil {
			return Upload{}, err
		}
		defer turn.Release()
	}
	now := s.now()
	var parts []Part
	var done Token
	err := s.view(ctx, func(t txn) (err error) {
		parts, done, err = t.partials(o, tokens, now)
		return err
	})
	if err != nil {
		return Upload{}, err
	}
	if done != "" {
		u, err := s.GetUpload(ctx, o, done)
		return u, all(err, u.Refusal())
	}
	b.Length, b.Partial = 0, false
	given := int64(0) // back by the commit: a part that is named twice counted once
	for i, p := range parts {
		b.Length += p.Size
		if !slices.Contains(tokens[:i], tokens[i]) {
			given += p.Size
		}
	}
	whole, err := s.begun(ctx, o, b, now)
	if err != nil {
		return Upload{}, err
	}
	whole.Growth.Of, whole.Growth.Reserved = tokens, 0

	// 2. Their bytes, in a blob of its own. The commit gives back what the
	// parts count.
	f, err := s.take(o)
	if err != nil {
		return Upload{}, err
	}
	in := &Intake{s: s, owner: o, allowed: b.Allowed, flight: f, replaced: given}
	defer func() {
		if err := in.Close(ctx); err != nil {
			s.log.Warn("a concatenation could not be put away", "error", err)
		}
	}()
	if err := in.reserve(ctx, b.Length); err != nil {
		return Upload{}, err
	}
	r := &chain{ctx: ctx, s: s, parts: parts}
	defer r.close()
	part, err := in.Add(ctx, r, Content{Name: whole.Parts[0].Name, Type: b.Type, SHA256: b.Want.SHA256, SHA512: b.Want.SHA512})
	if err != nil {
		return Upload{}, err
	}

	// 3. One transaction, if the caller still may: the parts go, the whole comes.
	u, err := s.concatenated(ctx, in, whole, *part, distinct, nil)
	if code := CodeOf(err); b.Then != nil && (code == CodeConflict || code == CodePrecondition) {
		u, err = s.concatenated(ctx, in, whole, *part, distinct, err)
	}
	if err != nil {
		return Upload{}, err
	}
	return u, u.Refusal()
}

// concatenated runs the transaction; distinct are the parts, each once.
func (s *Store) concatenated(ctx context.Context, in *Intake, whole Upload, part Part, distinct []Token, refused error) (Upload, error) {
	e, err := newEnding(whole, part, refused, s)
	if err != nil {
		return Upload{}, err
	}
	err = in.commit(ctx, func(t txn) error {
		// One may have been deleted meanwhile. None has expired: they are held.
		if _, done, err := t.partials(in.owner, whole.Growth.Of, whole.CreatedAt); err != nil || done != "" {
			return all(err, Errorf(CodeConflict, "The parts were put together by another request."))
		}
		for _, token := range distinct {
			u, err := t.upload(in.owner, token)
			if err != nil {
				return err
			}
			u = u.clone()
			u.Growth.Into = whole.Token
			if err := t.dropUpload(u, e.now, s.ttl, reasonUsed, ""); err != nil {
				return err
			}
		}
		if err := t.putUpload(whole); err != nil {
			return err
		}
		return all(e.apply(t, whole), s.checkQuota(t, in.owner))
	})
	if err != nil {
		return Upload{}, err
	}
	e.show(ctx)
	return e.end, nil
}

const reasonUsed = "became part of another"

// partials returns the contents of complete partial uploads; or, if they were
// put together in this order before, the upload that they became.
func (t txn) partials(o OwnerID, tokens []Token, now time.Time) (parts []Part, done Token, err error) {
	for _, token := range tokens {
		u, err := t.upload(o, token)
		if err != nil {
			return nil, "", err
		}
		g := u.Growth
		if g == nil || !g.Partial {
			return nil, "", Errorf(CodeConflict, "The upload %s was not begun as a part.", token)
		}
		if g.Into != "" && u.State == Gone {
			whole, err := t.upload(o, g.Into)
			if err == nil && whole.Growth != nil && slices.Equal(whole.Growth.Of, tokens) {
				return nil, g.Into, nil
			}
		}
		if err := u.live(now); err != nil {
			return nil, "", err
		}
		if u.State != Ready {
			err := Errorf(CodeConflict, "The part %s is not complete yet; finish it first.", token)
			err.RetryAfter = time.Second
			return nil, "", err
		}
		parts = append(parts, u.Parts[0])
	}
	return parts, "", nil
}

// UsedPart is a part that a Concatenate used up, as complete as it was, for as
// long as the whole is known too. Errors: not_found, and gone.
func (s *Store) UsedPart(ctx context.Context, o OwnerID, token Token) (u Upload, err error) {
	err = s.view(ctx, func(t txn) error {
		if u, err = t.upload(o, token); err != nil {
			return err
		}
		gone := u.live(s.now())
		if gone == nil || u.Growth == nil || u.Growth.Into == "" {
			return gone
		}
		whole, err := t.upload(o, u.Growth.Into)
		switch {
		case CodeOf(err) == CodeNotFound:
			return gone
		case err != nil:
			return err // for a moment only, maybe: that is not gone
		case whole.live(s.now()) != nil:
			return gone
		}
		return nil
	})
	return u, err
}

// chain reads contents one after the other.
type chain struct {
	ctx   context.Context
	s     *Store
	parts []Part
	r     io.ReadCloser
}

func (c *chain) Read(p []byte) (int, error) {
	for {
		if c.r == nil {
			if len(c.parts) == 0 {
				return 0, io.EOF
			}
			r, err := c.s.OpenPart(c.ctx, c.parts[0], 0, -1)
			if err != nil {
				return 0, err
			}
			c.r, c.parts = r, c.parts[1:]
		}
		n, err := c.r.Read(p)
		if err == io.EOF {
			c.close()
			err = nil
		}
		if n > 0 || err != nil {
			return n, err
		}
	}
}

func (c *chain) close() {
	if c.r != nil {
		c.r.Close()
		c.r = nil
	}
}
