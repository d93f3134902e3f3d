package store_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"upload-service/store"
)

// This file is the part of the model about uploads that come in pieces.

// grown is how far such an upload has come.
type grown struct {
	pieces           bool   // it is one
	text             string // what it has
	length, reserved int64
	partial          bool
	want             string // hex SHA-256 that was announced
	then             bool   // it becomes a file:
	folder           string
	conflict         store.OnConflict
	absent           bool
	of               []store.Token
	into             store.Token
	refused          store.Code // why it is not the file that it was to become
}

// refusal is what a request is told that finds the upload complete.
func (u waiting) refusal() store.Code {
	if u.state == store.Ready {
		return u.grown.refused
	}
	return ""
}

// beginning is the upload that a request begins.
func beginning(r request) waiting {
	b := r.begin
	g := grown{pieces: true, length: b.Length, reserved: max(0, b.Length), partial: b.Partial}
	if b.Want.SHA256 != nil {
		g.want = fmt.Sprintf("%x", b.Want.SHA256)
	}
	if b.Then != nil {
		g.then, g.folder, g.conflict, g.absent = true, b.Then.Folder, b.Then.OnConflict, b.Then.Condition.Absent
	}
	return waiting{
		state: store.Receiving, created: r.now, expires: r.now.Add(ttl), names: []store.Path{b.Name}, grown: g,
	}
}

func (u waiting) goal() store.Path {
	if u.grown.folder == "" {
		return u.names[0]
	}
	return store.Path(u.grown.folder) + "/" + u.names[0]
}

// unfit is why the file that the upload is to become cannot be placed.
func (a *account) unfit(u waiting) store.Code {
	_, there := a.files[u.goal()]
	switch {
	case !u.grown.then:
		return ""
	case a.misshapen(u.goal()):
		return store.CodeConflict
	case u.grown.absent && there:
		return store.CodePrecondition
	}
	return ""
}

// without is what is used but for the file that the upload will replace: that
// makes room for it.
func (a *account) without(used store.Usage, u waiting) store.Usage {
	if old, ok := a.files[u.goal()]; ok && u.grown.then && u.grown.conflict == store.Replace {
		used.Files--
		used.FileBytes -= old.size
	}
	return used
}

// same compares an upload of an answer. While a piece comes in, how far it is
// can be anything.
func (u waiting) same(g store.Upload, busy bool) bool {
	if g.State != u.state {
		return false
	}
	if u.state == store.Receiving {
		return busy || g.ExpiresAt.Equal(u.expires) && g.Growth.Length == u.grown.length &&
			g.Growth.Offset == int64(len(u.grown.text)) && g.Growth.Reserved == u.grown.reserved
	}
	if !g.ExpiresAt.Equal(u.expires) || len(g.Parts) != len(u.parts) {
		return false
	}
	for i, p := range u.parts {
		if g.Parts[i].Name != u.names[i] || fmt.Sprintf("%x", g.Parts[i].SHA256) != p.sum {
			return false
		}
	}
	return true
}

// begun is step for "begin".
func (a *account) begun(r request, got answer) []*account {
	u := beginning(r)
	next := a.clone()
	next.uploads[got.upload.Token] = u
	least, most := next.used(r.now)
	least, most = a.without(least, u), a.without(most, u)
	unfit := a.unfit(u)
	switch {
	case got.failed,
		a.tooLarge(r.begin.Length) && got.code == store.CodeTooLarge,
		got.code == store.CodeQuotaExceeded && a.exceeds(most),
		got.code != "" && got.code == unfit:
		return []*account{a}
	case got.doubt:
		return []*account{a, next}
	case got.code != "", a.tooLarge(r.begin.Length), unfit != "" && !r.busy, a.exceeds(least), !u.same(got.upload, false):
		return nil
	}
	return []*account{next}
}

// ended lets an upload be complete with the text; token names it.
func (a *account) ended(token store.Token, u waiting, text string, now time.Time) (*account, store.Code) {
	next := a.clone()
	part := newContent(text, now)
	if u.grown.want != "" && u.grown.want != part.sum {
		next.uploads[token] = u.gone(now)
		return next, store.CodeBadDigest
	}
	goal, unfit := u, a.unfit(u)
	u.state, u.expires, u.parts = store.Ready, now.Add(ttl), []content{part}
	u.grown.text, u.grown.length, u.grown.reserved = text, int64(len(text)), 0
	u.grown.then, u.grown.folder, u.grown.conflict, u.grown.absent = false, "", "", false
	if goal.grown.then && unfit == "" {
		placed := next.clone()
		var f found
		if f, unfit = placed.place(goal.goal(), part, goal.grown.conflict, now); unfit == "" {
			q := store.Persist{Folder: goal.grown.folder, OnConflict: goal.grown.conflict}
			next = placed
			u.state, u.parts, u.became = store.Persisted, nil, []found{f}
			u.request = fmt.Sprint([]store.Token{token}, q.Folder, q.OnConflict, q.Metadata, q.Tags, q.Expect)
		}
	}
	if u.state == store.Ready {
		u.grown.refused = unfit
	}
	next.uploads[token] = u
	return next, unfit
}

// gone is the tombstone of an upload.
func (u waiting) gone(now time.Time) waiting {
	g := grown{pieces: u.grown.pieces, partial: u.grown.partial, into: u.grown.into}
	return waiting{state: store.Gone, created: u.created, expires: now.Add(ttl), grown: g}
}

// appended is step for "append". What it leaves behind is what its answer
// tells, if that could be; and with a commit in doubt more than that.
func (a *account) appended(r request, got answer) []*account {
	u, ok := a.uploads[r.token]
	is := func(right bool) []*account {
		if right {
			return []*account{a}
		}
		return nil
	}
	if got.upload.Token == "" { // it did not get so far
		return is(got.failed || got.code == store.CodeNotFound && (!ok || a.forgotten(r)) ||
			got.code == store.CodeGone && ok && u.over(r.now))
	}
	if !ok || u.over(r.now) {
		return nil
	}
	// 1. What can be said without a byte.
	p, g := r.piece, u.grown
	at := int64(len(g.text))
	length := g.length
	if p.Length >= 0 {
		length = p.Length
	}
	switch {
	case u.state != store.Receiving && g.pieces && p.Size == 0 && p.Offset == at && (p.Length < 0 || p.Length == at):
		return is(got.code == u.refusal())
	case u.state != store.Receiving, p.Offset != at:
		return is(got.code == store.CodeConflict)
	case p.Length >= 0 && (g.length >= 0 && g.length != p.Length || p.Length < p.Offset):
		return is(got.code == store.CodeInvalid)
	case length >= 0 && p.Size > length-at, a.tooLarge(max(length, at+p.Size)):
		return is(got.code == store.CodeTooLarge)
	case got.code == store.CodeRateLimited:
		return is(a.busy(r) && got.offered == 0)
	}
	// 2. What is recorded now.
	told := got.upload
	kept := told.Growth.Offset - at
	if kept < 0 || kept > int64(got.offered) || told.State == store.Gone && got.code != store.CodeBadDigest {
		return nil
	}
	now := u
	later := r.now.Add(ttl)
	if last := u.created.Add(7 * ttl); later.After(last) {
		later = last
	}
	if later.Before(u.expires) {
		later = u.expires
	}
	if told.ExpiresAt.Equal(later) {
		now.expires = later
	} else if told.State == store.Receiving && !told.ExpiresAt.Equal(u.expires) && !r.busy {
		return nil
	}
	now.grown.text = g.text + r.body[:kept]
	now.grown.length, now.grown.reserved = told.Growth.Length, told.Growth.Reserved
	if told.State == store.Receiving && (now.grown.length != g.length && now.grown.length != length ||
		now.grown.reserved < at+kept || now.grown.length >= 0 && now.grown.reserved != now.grown.length) {
		return nil
	}
	next := a.clone()
	next.uploads[r.token] = now
	least, most := next.used(r.now)
	if told.State == store.Receiving && now.grown.reserved > g.reserved && a.exceeds(a.without(least, u)) && !r.busy {
		return nil
	}
	end := at + int64(got.offered)
	complete := p.Last == store.AtLength && end == length ||
		p.Last == store.LastPiece && !got.cut && got.offered == len(r.body) && (length < 0 || end == length)
	switch {
	case told.State == store.Gone: // unless that could not be recorded
		after, code := a.ended(r.token, u, g.text+r.body[:got.offered], r.now)
		if code != got.code || !complete {
			return nil
		}
		return []*account{after}
	case told.State != store.Receiving: // 3. It is complete.
		after, code := a.ended(r.token, u, now.grown.text, r.now)
		least, _ := after.used(r.now)
		if !complete || end != at+kept || after.uploads[r.token].state != told.State ||
			got.code != code && !(got.cut && code == "") || u.grown.then && a.exceeds(least) {
			return nil
		}
		return []*account{after}
	case got.doubt:
		return a.doubted(next, r, got, length, later)
	case got.failed:
		if p.Whole && kept > 0 {
			return nil
		}
		return []*account{next}
	case got.code == store.CodeQuotaExceeded:
		after, _ := a.ended(r.token, u, g.text+r.body[:got.offered], r.now)
		if _, then := after.used(r.now); complete && u.grown.then && a.exceeds(then) && kept == 0 {
			return []*account{next}
		}
		most.UploadBytes += max(length, at+p.Size, end) - now.grown.reserved
		if !a.exceeds(a.without(most, u)) && !(r.busy && kept > 0) {
			return nil
		}
		return []*account{next}
	case got.code == store.CodeTooLarge:
		if !a.tooLarge(end) && (length < 0 || end <= length) || p.Whole && kept > 0 {
			return nil
		}
		return []*account{next}
	case got.code == store.CodeInvalid:
		if p.Last != store.LastPiece || length < 0 || end == length || kept != int64(len(r.body)) {
			return nil
		}
		return []*account{next}
	case got.cut:
		if p.Whole && kept > 0 || !p.Whole && kept != int64(got.offered) || complete && !p.Whole {
			return nil
		}
		return []*account{next}
	case got.code != "", complete, kept != int64(len(r.body)):
		return nil
	}
	return []*account{next}
}

// doubted is everything that can be recorded if a commit of an append was in
// doubt, and next if it was not kept.
func (a *account) doubted(next *account, r request, got answer, length int64, later time.Time) []*account {
	list := []*account{next}
	add := func(change func(*grown)) {
		c := next.clone()
		u := c.uploads[r.token]
		u.expires = later
		change(&u.grown)
		c.uploads[r.token] = u
		if least, _ := c.used(r.now); !a.exceeds(a.without(least, u)) && u.grown.reserved >= int64(len(u.grown.text)) {
			list = append(list, c)
		}
	}
	u := a.uploads[r.token]
	at := int64(len(u.grown.text))
	// Room was set aside.
	if length >= 0 {
		add(func(g *grown) { g.length, g.reserved = length, length })
	} else {
		for _, n := range []int64{64 << 20, at + max(0, r.piece.Size), at + int64(got.offered)} {
			if limit := a.limits.FileSize; limit > 0 {
				n = min(n, limit)
			}
			add(func(g *grown) { g.reserved = n })
		}
	}
	// Bytes were recorded: all, or all but those that could not be written.
	for _, n := range []int{got.offered, max(0, got.offered-r.chunk), (got.offered - 1) / r.chunk * r.chunk} {
		add(func(g *grown) { g.text = u.grown.text + r.body[:max(0, n)] })
	}
	after, _ := a.ended(r.token, u, u.grown.text+r.body[:got.offered], r.now)
	return append(list, after)
}

// joined is step for "concat".
func (a *account) joined(r request, got answer) []*account {
	is := func(right bool) []*account {
		if right {
			return []*account{a}
		}
		return nil
	}
	if got.failed || got.code == store.CodeRateLimited {
		return is(got.failed || a.busy(r))
	}
	// 1. The parts.
	var code store.Code
	var done store.Token
	text, given := "", int64(0)
	for i, token := range r.tokens {
		u, ok := a.uploads[token]
		whole, made := a.uploads[u.grown.into]
		switch {
		case !ok:
			code = store.CodeNotFound
		case !u.grown.partial:
			code = store.CodeConflict
		case u.state == store.Gone && made && slices.Equal(whole.grown.of, r.tokens):
			done = u.grown.into
		case u.over(r.now):
			code = store.CodeGone
		case u.state != store.Ready:
			code = store.CodeConflict
		}
		if code != "" || done != "" {
			break
		}
		text += u.grown.text
		if !slices.Contains(r.tokens[:i], token) {
			given += int64(len(u.grown.text))
		}
	}
	whole := a.uploads[done]
	switch {
	case got.code == store.CodeNotFound && (a.forgotten(r) || r.busy && code == store.CodeGone):
		return is(true) // a sweep was faster
	case code != "":
		return is(got.code == code || got.doubt)
	case done != "" && r.busy && got.code == store.CodeConflict && got.upload.Token == "", done != "" && got.doubt:
		return is(true) // somebody else was faster
	case done != "" && got.code == store.CodeGone && a.forgotten(request{now: r.now, tokens: []store.Token{done}}):
		return is(true) // the sweep has come to the whole, not to the parts yet
	case done != "" && whole.over(r.now):
		return is(got.code == store.CodeGone)
	case done != "":
		if got.code != whole.refusal() || !whole.same(got.upload, r.busy) {
			return nil
		}
		return []*account{a.named(done, got.upload.Token)}
	}
	// 2. The whole.
	if a.tooLarge(int64(len(text))) || got.code == store.CodeTooLarge {
		return is(a.tooLarge(int64(len(text))) && got.code == store.CodeTooLarge)
	}
	u := beginning(r)
	u.grown.length, u.grown.reserved, u.grown.partial, u.grown.of = 0, 0, false, r.tokens
	token := got.upload.Token
	if token == "" {
		token = store.Token(fmt.Sprint("not told ", len(a.uploads)))
	}
	next := a.clone()
	for _, part := range r.tokens {
		p := a.uploads[part]
		p.grown.into = token
		next.uploads[part] = p.gone(r.now)
	}
	next, refused := next.ended(token, u, text, r.now)
	least, most := next.used(r.now)
	unfit := a.unfit(u)
	switch {
	case got.code == store.CodeQuotaExceeded:
		_, before := a.used(r.now)
		before.UploadBytes += max(0, int64(len(text))-given) + r.beside
		return is(a.exceeds(before) || a.exceeds(most))
	case got.doubt:
		return []*account{a, next}
	case got.upload.Token == "":
		return is(got.code != "" && got.code == unfit)
	case unfit != "" && !r.busy, got.code != refused, a.exceeds(least),
		refused == "" && !next.uploads[token].same(got.upload, false):
		return nil
	}
	return []*account{next}
}

// named gives an upload whose token was not told the one that was.
func (a *account) named(old, token store.Token) *account {
	if old == token {
		return a
	}
	c := a.clone()
	c.uploads[token] = c.uploads[old]
	delete(c.uploads, old)
	for part, u := range c.uploads {
		if u.grown.into == old {
			u.grown.into = token
			c.uploads[part] = u
		}
	}
	return c
}

// askPieces makes up a request about an upload that comes in pieces.
func (p *pool) askPieces(rng *rand.Rand, r *request) {
	switch r.op {
	case "begin", "concat":
		r.begin = store.Begin{Name: pick(rng, modelNames), Length: pick(rng, []int64{-1, -1, 0, 20, 35, 50})}
		r.begin.Partial = rng.IntN(2) == 0
		if rng.IntN(2) == 0 {
			r.begin.Then = &store.Goal{
				Folder:     pick(rng, modelFolders),
				OnConflict: pick(rng, []store.OnConflict{store.Fail, store.Replace, store.Rename}),
				Condition:  store.Condition{Absent: rng.IntN(4) == 0},
			}
		}
		if r.op == "concat" {
			r.begin.Length = 0
			for range 1 + rng.IntN(3) {
				r.tokens = append(r.tokens, recent(rng, p.partials))
			}
			if rng.IntN(3) == 0 && len(p.joins) > 0 {
				r.tokens = recent(rng, p.joins)
			}
		} else if r.begin.Partial {
			r.begin.Then = nil
		} else if rng.IntN(6) == 0 {
			r.begin.Want.SHA256 = make([]byte, 32) // of nothing that there is
		}
	case "append":
		if rng.IntN(8) > 0 {
			r.token = recent(rng, p.begun)
		}
		known := p.progress[r.token]
		n := rng.IntN(30)
		if rest := known.length - known.offset; rest >= 0 && rng.IntN(3) > 0 {
			n = int(rest)
		}
		r.body = strings.Repeat(fmt.Sprintf("%08x", rng.Uint32()), 1+n/8)[:n]
		r.chunk, r.cutAt = 1+rng.IntN(20), -1
		r.piece = store.Piece{
			Offset: known.offset, Size: int64(n), Length: -1,
			Last:  pick(rng, []store.Last{store.NotLast, store.AtLength, store.AtLength, store.LastPiece}),
			Whole: rng.IntN(5) == 0,
		}
		if rng.IntN(10) == 0 {
			r.piece.Offset = int64(rng.IntN(20))
		}
		if rng.IntN(3) == 0 {
			r.piece.Size = -1
		}
		if rng.IntN(5) == 0 {
			r.piece.Length = r.piece.Offset + int64(n) + int64(rng.IntN(2)*10)
		}
		if rng.IntN(5) == 0 {
			r.cutAt = rng.IntN(n + 1)
		}
	}
}

// progress is what a client knows about an upload.
type progress struct{ offset, length int64 }

func (p *pool) learnPieces(r request, a answer) {
	token := a.upload.Token
	if token == "" || a.code != "" && !a.doubt && r.op == "begin" {
		return
	}
	switch r.op {
	case "begin":
		p.tokens, p.begun = append(p.tokens, token), append(p.begun, token)
		if r.begin.Partial {
			p.partials = append(p.partials, token)
		}
	case "concat":
		p.tokens, p.joins = append(p.tokens, token), append(p.joins, r.tokens)
	}
	if g := a.upload.Growth; g != nil {
		p.progress[token] = progress{g.Offset, g.Length}
	}
}

// sendPieces asks the store.
func (m *modelWorld) sendPieces(ctx context.Context, o store.OwnerID, r request, a *answer) (err error) {
	switch r.op {
	case "begin":
		if g := r.begin.Then; g != nil {
			then := *g
			r.begin.Then = &then
		}
		a.upload, err = m.store.BeginUpload(ctx, o, r.begin)
	case "concat":
		a.upload, err = m.store.Concatenate(ctx, o, slices.Clone(r.tokens), r.begin)
	case "append":
		body := &pieces{r: r}
		turn, err := m.store.TakeTurn(ctx, o, r.token, func() { body.stopped.Store(true) })
		if err != nil {
			return err
		}
		defer turn.Release()
		err = turn.Append(ctx, body, r.piece)
		a.upload, a.offered, a.cut = turn.Upload(), body.given, errors.Is(err, errCut)
		return err
	}
	return err
}

var errCut = errors.New("the client is gone")

// pieces is the body of an append.
type pieces struct {
	r       request
	given   int
	stopped atomic.Bool
}

func (p *pieces) Read(b []byte) (int, error) {
	if p.stopped.Load() || p.given == p.r.cutAt {
		return 0, errCut
	}
	rest := p.r.body[p.given:]
	if p.r.cutAt >= 0 {
		rest = p.r.body[p.given:p.r.cutAt]
	}
	if rest == "" {
		return 0, io.EOF
	}
	n := copy(b, rest[:min(len(rest), p.r.chunk)])
	p.given += n
	return n, nil
}
