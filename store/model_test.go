package store_test

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"upload-service/store"
)

// This file says once more, in plain maps, what the store does. The store and
// this account of it have to give the same answers (see model_run_test.go).

// account is what one owner has. It is never changed: apply returns a new one.
type account struct {
	limits  store.Limits
	files   map[store.Path]content
	trash   []buried // oldest first
	uploads map[store.Token]waiting
	ids     map[int]store.FileID // of file numbers, once an answer told
	numbers int                  // files there ever were
	moves   map[store.BatchID]moved
}

// content is a file; number stands for its id, which the store makes up.
type content struct {
	number  int
	version uint64
	size    int64
	sum     string // hex SHA-256
	created time.Time
	meta    map[string]string
	tags    []string
}

type buried struct {
	path  store.Path
	file  content
	until time.Time
	batch store.BatchID
}

// waiting is a temporary upload, or what is remembered of it.
type waiting struct {
	state            store.State
	created, expires time.Time // expires: of a tombstone, when it may be forgotten
	names            []store.Path
	parts            []content
	request          string // that made it permanent
	became           []found
	grown            grown
	freed            bool          // expired, and a sweep has been by since
	batch            store.BatchID // of a discarded one: what it went along with
	back             time.Time     // and when it would have expired
}

type found struct {
	path store.Path
	file content
}

// request is one thing a client asks at a time.
type request struct {
	op       string
	now      time.Time
	names    []store.Path // of put and upload
	contents []string
	declared bool  // the one name and its size are said before the bytes
	beside   int64 // bytes that requests at the same time may have on the way, or bring back
	streams  int   // requests at the same time that may bring bytes
	path     store.Path
	id       store.FileID
	token    store.Token
	match    string // an ETag: If-Match, or with differ If-None-Match
	cond     string // absent, exists, differ, or "" for match alone
	ids      []store.FileID
	batch    store.BatchID
	folders  []string
	to       string // a folder
	persist  store.Persist
	change   store.Change
	query    store.Query
	busy     bool // something else changes at the same time

	// Of uploads in pieces.
	begin        store.Begin
	piece        store.Piece
	body         string
	chunk, cutAt int           // how the body comes, and where it breaks off: -1 for nowhere
	tokens       []store.Token // to be put together, or discarded
}

// answer is what the store says, or the model expects.
type answer struct {
	code     store.Code
	failed   bool // by an injected fault: nothing happened
	doubt    bool // by an injected fault: all of it happened, or nothing
	err      error
	files    []store.File
	folders  []string
	upload   store.Upload
	repeated bool
	usage    store.Usage
	count    int
	offered  int  // bytes of a piece that the store has read
	cut      bool // the piece broke off
}

func newAccount(l store.Limits) *account {
	return &account{
		limits: l,
		files:  map[store.Path]content{}, uploads: map[store.Token]waiting{}, ids: map[int]store.FileID{},
		moves: map[store.BatchID]moved{},
	}
}

// key tells accounts apart; fmt sorts maps.
func (a *account) key() string { return fmt.Sprint(*a) }

func (a *account) clone() *account {
	c := *a
	c.files, c.uploads, c.ids = maps.Clone(a.files), maps.Clone(a.uploads), maps.Clone(a.ids)
	c.trash, c.moves = slices.Clone(a.trash), maps.Clone(a.moves)
	return &c
}

// step returns what the account can be after the answer: none if it cannot be
// given.
func (a *account) step(r request, got answer) []*account {
	switch r.op {
	case "begin":
		return a.begun(r, got)
	case "append":
		return a.appended(r, got)
	case "concat":
		return a.joined(r, got)
	}
	next := a.clone()
	want := next.apply(r, got.upload.Token)
	least, most := next.used(r.now)
	_, back := a.moves[r.batch]
	grows := slices.Contains([]string{"put", "upload", "restore", "recall"}, r.op) ||
		r.op == "undo" && len(want.found) > 0 && !back
	tooLarge := slices.ContainsFunc(r.contents, func(c string) bool { return a.tooLarge(int64(len(c))) })
	switch {
	case got.failed || got.doubt && want.code != "":
		return []*account{a}
	case got.doubt:
		return []*account{a, next}
	case got.code == store.CodeNotFound && a.forgotten(r):
		return []*account{a}
	case got.code == store.CodeRateLimited:
		if len(r.contents) > 0 && a.busy(r) {
			return []*account{a}
		}
		return nil
	case got.code == store.CodeQuotaExceeded:
		if !(tooLarge && r.declared) && a.crowded(r) || want.code == "" && grows && a.exceeds(most) {
			return []*account{a}
		}
		return nil
	case tooLarge && got.code == store.CodeTooLarge:
		return []*account{a}
	case tooLarge:
		return nil
	case got.code != want.code:
		return nil
	case want.code != "":
		return []*account{a}
	case grows && a.exceeds(least): // the others go on while a replacement comes in
		return nil
	}
	if r.op == "usage" && r.busy { // room is set aside while a piece comes in, and more than it has in the end
		got.usage.UploadBytes = least.UploadBytes
	}
	if r.op == "usage" && !within(got.usage, least, most) {
		return nil
	}
	if !slices.Equal(got.folders, want.folders) || got.repeated != want.repeated ||
		got.count != want.count || len(got.files) != len(want.found) {
		return nil
	}
	if r.query.Sort == store.Newest { // files of one instant have no order
		newest := func(x, y store.File) int { return y.CreatedAt.Compare(x.CreatedAt) }
		if !slices.IsSortedFunc(got.files, newest) {
			return nil
		}
		byPath := func(x, y store.File) int { return strings.Compare(string(x.Path), string(y.Path)) }
		got.files = slices.SortedFunc(slices.Values(got.files), byPath) // a copy: answers are looked at again
	}
	for i, w := range want.found {
		if !next.same(w, got.files[i]) {
			return nil
		}
	}
	if u := want.waiting; u != nil && !u.same(got.upload, r.busy) {
		return nil
	}
	return []*account{next}
}

// used is the least and the most that the owner's things can count for: what
// has expired counts until a sweep comes by.
func (a *account) used(now time.Time) (least, most store.Usage) {
	for _, f := range a.files {
		least.Files++
		least.FileBytes += f.size
	}
	most = least
	for _, u := range a.uploads {
		if u.freed || u.state != store.Ready && u.state != store.Receiving {
			continue
		}
		count, bytes := int64(len(u.parts)), int64(0)
		for _, p := range u.parts {
			bytes += p.size
		}
		if u.state == store.Receiving {
			count, bytes = 1, u.grown.reserved
		}
		most.Uploads += count
		most.UploadBytes += bytes
		if !u.over(now) {
			least.Uploads += count
			least.UploadBytes += bytes
		}
	}
	return least, most
}

func within(got, least, most store.Usage) bool {
	return got.Files == least.Files && got.FileBytes == least.FileBytes &&
		least.Uploads <= got.Uploads && got.Uploads <= most.Uploads &&
		least.UploadBytes <= got.UploadBytes && got.UploadBytes <= most.UploadBytes
}

func (a *account) exceeds(u store.Usage) bool { return overLimits(u, a.limits) }

func overLimits(u store.Usage, l store.Limits) bool {
	return l.OwnerBytes > 0 && u.Bytes() > l.OwnerBytes || l.OwnerFiles > 0 && u.Count() > l.OwnerFiles
}

func (a *account) tooLarge(n int64) bool { return a.limits.FileSize > 0 && n > a.limits.FileSize }

// busy reports whether a request may be refused because of those that run at
// the same time.
func (a *account) busy(r request) bool {
	return a.limits.OwnerActive > 0 && r.streams >= a.limits.OwnerActive
}

// crowded reports whether bytes may be refused as they come in: there is no
// room for them beside what is there and what comes in at the same time, or
// for one more file.
func (a *account) crowded(r request) bool {
	if r.op != "put" && r.op != "upload" {
		return false
	}
	_, most := a.used(r.now)
	need := bytesOf(r)
	if old, ok := a.files[r.names[0]]; ok && r.op == "put" && r.declared {
		most.Files-- // it makes room, but not more than it needs itself
		need = max(0, need-old.size)
	}
	return a.limits.OwnerFiles > 0 && most.Count() >= a.limits.OwnerFiles ||
		a.limits.OwnerBytes > 0 && most.Bytes()+need+r.beside > a.limits.OwnerBytes
}

// bytesOf is what a request brings.
func bytesOf(r request) (n int64) {
	for _, c := range r.contents {
		n += int64(len(c))
	}
	return n
}

// forgotten: a sweep may have removed the tombstone of an upload that the
// request names, or what it knows of a move.
func (a *account) forgotten(r request) bool {
	if m, ok := a.moves[r.batch]; ok && m.over(r.now) {
		return true
	}
	for _, token := range slices.Concat(r.persist.Tokens, r.tokens, []store.Token{r.token}) {
		if u, ok := a.uploads[token]; ok {
			end := u.expires
			if u.state == store.Ready || u.state == store.Receiving || u.state == store.Discarded {
				end = end.Add(ttl) // a sweep made it a tombstone then, or later
			}
			if !r.now.Before(end) {
				return true
			}
		}
	}
	return false
}

// same compares a file of an answer, and learns its id.
func (a *account) same(w found, got store.File) bool {
	f := w.file
	id, known := a.ids[f.number]
	if !known {
		for _, other := range a.ids {
			if other == got.ID {
				return false
			}
		}
		a.ids[f.number] = got.ID
		id = got.ID
	}
	return got.ID == id && got.Path == w.path && got.Version == f.version && got.Size == f.size &&
		fmt.Sprintf("%x", got.SHA256) == f.sum && got.CreatedAt.Equal(f.created) &&
		maps.Equal(got.Metadata, f.meta) && slices.Equal(got.Tags, f.tags)
}

// expected is an answer in the words of the model.
type expected struct {
	answer
	found   []found
	waiting *waiting
}

func refuse(code store.Code) expected { return expected{answer: answer{code: code}} }

// apply changes a, a copy; if it refuses, the copy is thrown away. token is
// that of a new upload, "" if the answer was lost.
func (a *account) apply(r request, token store.Token) expected {
	switch r.op {
	case "put":
		var e expected
		for i, name := range r.names {
			if !a.holds(name, r) {
				return refuse(a.shapeOr(name, store.CodePrecondition))
			}
			f, code := a.place(name, newContent(r.contents[i], r.now), store.Replace, r.now)
			if code != "" {
				return refuse(code)
			}
			e.found = append(e.found, f)
		}
		return e
	case "get":
		f, ok := a.files[r.path]
		if !ok {
			return refuse(store.CodeNotFound)
		}
		return expected{found: []found{{r.path, f}}}
	case "list":
		return a.list(r.query)
	case "usage":
		return expected{}
	case "sweep":
		for token, u := range a.uploads {
			if u.over(r.now) {
				u.freed = true
				a.uploads[token] = u
			}
		}
		a.forgetMoves(r.now)
		return expected{}
	case "delete":
		if _, ok := a.files[r.path]; !ok {
			return refuse(store.CodeNotFound)
		}
		if !a.holds(r.path, r) {
			return refuse(store.CodePrecondition)
		}
		a.bury(r.path, r.now, store.BatchID{})
		return expected{}
	case "deletes", "folder", "move", "undo", "discard", "recall":
		return a.several(r)
	case "restore":
		return a.restore(r.id, r.now)
	case "change":
		return a.alter(r)
	case "upload":
		u := waiting{state: store.Ready, created: r.now, expires: r.now.Add(ttl), names: r.names}
		for _, c := range r.contents {
			u.parts = append(u.parts, newContent(c, r.now))
		}
		a.uploads[token] = u
		return expected{waiting: &u}
	case "persist":
		return a.persist(r)
	}
	// look, touch and drop: of one upload
	u, ok := a.uploads[r.token]
	switch {
	case !ok:
		return refuse(store.CodeNotFound)
	case u.over(r.now):
		return refuse(store.CodeGone)
	}
	switch r.op {
	case "touch":
		if u.state != store.Persisted {
			until := r.now.Add(ttl)
			if last := u.created.Add(7 * ttl); until.After(last) {
				until = last
			}
			if until.After(u.expires) {
				u.expires = until
			}
			a.uploads[r.token] = u
		}
	case "drop":
		if u.state == store.Persisted {
			return refuse(store.CodeConflict)
		}
		a.uploads[r.token] = u.gone(r.now)
		return expected{}
	}
	return expected{waiting: &u}
}

func newContent(s string, now time.Time) content {
	return content{version: 1, size: int64(len(s)), sum: sumOf(s), created: now}
}

func (u waiting) over(now time.Time) bool {
	return u.state == store.Gone || u.state == store.Discarded || u.state != store.Persisted && !now.Before(u.expires)
}

func (a *account) etag(p store.Path) string {
	f, ok := a.files[p]
	if !ok {
		return ""
	}
	return fmt.Sprintf(`"%s-%d"`, a.ids[f.number], f.version)
}

// holds reports whether the request's condition on what is at p does.
func (a *account) holds(p store.Path, r request) bool {
	_, there := a.files[p]
	switch r.cond {
	case "absent":
		return !there
	case "exists":
		return there
	case "differ":
		return !there || a.etag(p) != r.match
	}
	return r.match == "" || a.etag(p) == r.match
}

// misshapen: p is a folder, or lies below a file.
func (a *account) misshapen(p store.Path) bool {
	for other := range a.files {
		x, y := string(other)+"/", string(p)+"/"
		if x != y && (strings.HasPrefix(x, y) || strings.HasPrefix(y, x)) {
			return true
		}
	}
	return false
}

func (a *account) shapeOr(p store.Path, code store.Code) store.Code {
	if a.misshapen(p) {
		return store.CodeConflict
	}
	return code
}

func (a *account) bury(p store.Path, now time.Time, batch store.BatchID) {
	a.trash = append(a.trash, buried{p, a.files[p], now.Add(undo), batch})
	delete(a.files, p)
}

func (a *account) place(
	p store.Path, c content, conflict store.OnConflict, now time.Time,
) (found, store.Code) {
	if a.misshapen(p) {
		return found{}, store.CodeConflict
	}
	old, taken := a.files[p]
	if taken && conflict == store.Rename {
		stem, ext := string(p), ""
		if i := strings.LastIndex(stem, "."); i > strings.LastIndex(stem, "/")+1 {
			stem, ext = stem[:i], stem[i:]
		}
		for n := 1; taken; n++ {
			p = store.Path(fmt.Sprintf("%s (%d)%s", stem, n, ext))
			_, taken = a.files[p]
			taken = taken || a.misshapen(p)
		}
	}
	switch {
	case taken && conflict == store.Fail:
		return found{}, store.CodeConflict
	case taken:
		a.bury(p, now, store.BatchID{})
		c.number, c.version, c.created = old.number, old.version+1, old.created
	default:
		a.numbers++
		c.number = a.numbers
	}
	a.files[p] = c
	return found{p, c}, ""
}

func (a *account) byID(id store.FileID) (store.Path, bool) {
	for p, f := range a.files {
		if known, ok := a.ids[f.number]; ok && known == id {
			return p, true
		}
	}
	return "", false
}

func (a *account) restore(id store.FileID, now time.Time) expected {
	latest := -1
	for i, b := range a.trash {
		known, ok := a.ids[b.file.number]
		if ok && known == id && (latest < 0 || b.file.version > a.trash[latest].file.version) {
			latest = i
		}
	}
	if latest < 0 || !now.Before(a.trash[latest].until) {
		return refuse(store.CodeNotFound)
	}
	b := a.trash[latest]
	a.trash = slices.Delete(a.trash, latest, latest+1)
	f := b.file
	f.version++
	if p, ok := a.byID(id); ok {
		f.version = a.files[p].version + 1
		a.bury(p, now, store.BatchID{})
	}
	if _, taken := a.files[b.path]; taken || a.misshapen(b.path) {
		return refuse(store.CodeConflict)
	}
	a.files[b.path] = f
	return expected{found: []found{{b.path, f}}}
}

// takeBack undoes a delete of several, file by file.
func (a *account) takeBack(r request) expected {
	var e expected
	var stay []buried
	for _, b := range a.trash {
		if r.batch == (store.BatchID{}) || b.batch != r.batch || !r.now.Before(b.until) {
			stay = append(stay, b)
			continue
		}
		if _, taken := a.files[b.path]; taken || a.misshapen(b.path) {
			e.folders = append(e.folders, string(b.path))
			stay = append(stay, b)
			continue
		}
		b.file.version++
		a.files[b.path] = b.file
		e.found = append(e.found, found{b.path, b.file})
	}
	if len(e.found)+len(e.folders) == 0 {
		return refuse(store.CodeNotFound)
	}
	a.trash = stay
	slices.Sort(e.folders)
	slices.SortFunc(e.found, func(x, y found) int { return strings.Compare(string(x.path), string(y.path)) })
	return e
}

func (a *account) alter(r request) expected {
	p, ok := a.byID(r.id)
	if !ok {
		return refuse(store.CodeNotFound)
	}
	if !a.holds(p, r) {
		return refuse(store.CodePrecondition)
	}
	f := a.files[p]
	delete(a.files, p)
	f.version++
	if f.meta = maps.Clone(f.meta); r.change.ClearMetadata {
		f.meta = nil
	}
	for k, v := range r.change.Metadata {
		if v == nil {
			delete(f.meta, k)
		} else {
			if f.meta == nil {
				f.meta = map[string]string{}
			}
			f.meta[k] = *v
		}
	}
	if r.change.Tags != nil {
		f.tags = slices.Compact(slices.Sorted(slices.Values(*r.change.Tags)))
	}
	if r.change.Path != nil && *r.change.Path != p {
		p = *r.change.Path
		if _, taken := a.files[p]; taken || a.misshapen(p) {
			return refuse(store.CodeConflict)
		}
	}
	a.files[p] = f
	return expected{found: []found{{p, f}}}
}

func (a *account) persist(r request) expected {
	q := r.persist
	tokens := slices.Sorted(slices.Values(q.Tokens))
	print := fmt.Sprint(tokens, q.Folder, q.OnConflict, q.Metadata, q.Tags, q.Expect)
	for _, token := range q.Tokens {
		if _, ok := a.uploads[token]; !ok {
			return refuse(store.CodeNotFound)
		}
	}
	var e expected
	wanted := map[store.Path]bool{}
	for i, token := range q.Tokens {
		u := a.uploads[token]
		again := u.state == store.Persisted && u.request == print
		switch {
		case u.over(r.now):
			return refuse(store.CodeGone)
		case i > 0 && again != e.repeated, u.state == store.Persisted && !again:
			return refuse(store.CodeConflict)
		case again:
			e.repeated = true
			e.found = append(e.found, u.became...)
			continue
		case u.state != store.Ready, u.grown.partial:
			return refuse(store.CodeConflict)
		case q.Expect.SHA256 != "" && (len(u.parts) != 1 || u.parts[0].sum != q.Expect.SHA256):
			return refuse(store.CodeConflict)
		}
		end := waiting{state: store.Persisted, created: u.created, expires: r.now.Add(ttl), request: print, grown: u.grown}
		for n, c := range u.parts {
			p := u.names[n]
			if q.Folder != "" {
				p = store.Path(q.Folder) + "/" + p
			}
			if wanted[p] && q.OnConflict != store.Rename {
				return refuse(store.CodeConflict)
			}
			wanted[p] = true
			c.created, c.meta, c.tags = r.now, q.Metadata, slices.Compact(slices.Sorted(slices.Values(q.Tags)))
			f, code := a.place(p, c, q.OnConflict, r.now)
			if code != "" {
				return refuse(code)
			}
			end.became = append(end.became, f)
		}
		a.uploads[token] = end
		e.found = append(e.found, end.became...)
	}
	return e
}

func (a *account) list(q store.Query) expected {
	var e expected
	for _, p := range slices.Sorted(maps.Keys(a.files)) {
		rest, in := strings.CutPrefix(string(p), q.Prefix)
		folder, _, deeper := strings.Cut(rest, "/")
		switch {
		case !in || len(q.Tags) > 0 && !slices.Contains(a.files[p].tags, q.Tags[0]):
		case q.Delimiter && deeper:
			e.folders = append(e.folders, q.Prefix+folder+"/")
		default:
			e.found = append(e.found, found{p, a.files[p]})
		}
	}
	e.folders = slices.Compact(e.folders)
	return e
}
