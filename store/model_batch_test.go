package store_test

import (
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"upload-service/store"
)

// This file is the part of the model about what is done to several things at
// once, and taken back.

// moved is a move that can be taken back: where each file came from.
type moved struct {
	until time.Time
	from  map[int]store.Path // by number; never changed
}

// over: a sweep may have forgotten it; due: a sweep has.
func (m moved) over(now time.Time) bool { return !now.Before(m.until) }
func (m moved) due(now time.Time) bool {
	return now.Unix()/60 >= m.until.Add(time.Minute).Unix()/60
}

// several is apply for what is done to several things.
func (a *account) several(r request) expected {
	switch r.op {
	case "deletes":
		for _, id := range r.ids {
			p, ok := a.byID(id)
			if !ok {
				return refuse(store.CodeNotFound)
			}
			a.bury(p, r.now, r.batch)
		}
		return expected{}
	case "folder":
		var e expected
		for p := range a.below(r.to) {
			a.bury(p, r.now, r.batch)
			e.count++
		}
		if e.count == 0 {
			return refuse(store.CodeNotFound)
		}
		return e
	case "move":
		return a.move(r)
	case "undo":
		if m, ok := a.moves[r.batch]; ok {
			return a.moveBack(r, m)
		}
		return a.takeBack(r)
	case "discard":
		for _, token := range r.tokens {
			u, ok := a.uploads[token]
			switch {
			case !ok:
				return refuse(store.CodeNotFound)
			case u.over(r.now):
				return refuse(store.CodeGone)
			case u.state != store.Ready:
				return refuse(store.CodeConflict)
			}
			u.state, u.batch, u.back = store.Discarded, r.batch, u.expires
			if until := r.now.Add(undo); until.Before(u.expires) {
				u.expires = until
			}
			a.uploads[token] = u
		}
		return expected{}
	}
	// recall
	var e expected
	for token, u := range a.uploads {
		if u.state == store.Discarded && u.batch == r.batch && r.now.Before(u.expires) {
			u.state, u.batch, u.expires, u.back, u.freed = store.Ready, store.BatchID{}, u.back, time.Time{}, false
			a.uploads[token] = u
			e.count++
		}
	}
	if e.count == 0 {
		return refuse(store.CodeNotFound)
	}
	return e
}

// below is what lies in a folder and below it.
func (a *account) below(folder string) map[store.Path]content {
	list := map[store.Path]content{}
	for p, f := range a.files {
		if strings.HasPrefix(string(p), folder+"/") {
			list[p] = f
		}
	}
	return list
}

func (a *account) move(r request) expected {
	for _, folder := range r.folders {
		if strings.HasPrefix(r.to+"/", folder+"/") {
			return refuse(store.CodeInvalid)
		}
	}
	goals := map[store.Path]store.Path{}
	add := func(p store.Path, drop int) {
		if _, named := goals[p]; !named {
			goals[p] = store.Path(strings.TrimPrefix(r.to+"/"+string(p[drop:]), "/"))
		}
	}
	for _, id := range r.ids {
		p, ok := a.byID(id)
		if !ok {
			return refuse(store.CodeNotFound)
		}
		add(p, strings.LastIndex(string(p), "/")+1)
	}
	for _, folder := range r.folders {
		for p := range a.below(folder) {
			add(p, strings.LastIndex(folder, "/")+1)
		}
	}
	if len(goals) == 0 {
		return refuse(store.CodeNotFound)
	}
	m := moved{r.now.Add(undo), map[int]store.Path{}}
	for p := range goals {
		m.from[a.files[p].number] = p
	}
	if _, code := a.carry(goals); code != "" {
		return refuse(code)
	}
	a.moves[r.batch] = m
	return expected{answer: answer{count: len(goals)}}
}

// carry moves files, all at once: none is in the way of another by where it was.
func (a *account) carry(goals map[store.Path]store.Path) (list []found, code store.Code) {
	for p, to := range goals {
		f := a.files[p]
		f.version++
		list = append(list, found{to, f})
		delete(a.files, p)
	}
	for _, f := range list {
		if _, taken := a.files[f.path]; taken || a.misshapen(f.path) {
			return nil, store.CodeConflict
		}
		a.files[f.path] = f.file
	}
	slices.SortFunc(list, func(x, y found) int { return strings.Compare(string(x.path), string(y.path)) })
	return list, ""
}

// moveBack undoes a move as one, less what was deleted meanwhile.
func (a *account) moveBack(r request, m moved) expected {
	goals := map[store.Path]store.Path{}
	for p, f := range a.files {
		if from, ok := m.from[f.number]; ok {
			goals[p] = from
		}
	}
	list, code := a.carry(goals)
	if len(goals) == 0 {
		code = store.CodeNotFound
	}
	if code != "" {
		return refuse(code)
	}
	delete(a.moves, r.batch)
	return expected{found: list}
}

// forgetMoves is what a sweep does.
func (a *account) forgetMoves(now time.Time) {
	maps.DeleteFunc(a.moves, func(_ store.BatchID, m moved) bool { return m.due(now) })
}

// askSeveral makes up a request about several things.
func (p *pool) askSeveral(rng *rand.Rand, r *request) {
	switch r.op {
	case "deletes", "move", "folder", "discard":
		r.batch = store.NewBatchID()
	case "undo":
		r.batch = recent(rng, p.batches)
	case "recall":
		r.batch = recent(rng, p.discards)
	}
	switch r.op {
	case "deletes":
		r.ids = []store.FileID{r.id, recent(rng, p.ids)}[:1+rng.IntN(2)]
	case "folder":
		r.to = pick(rng, []string{"a", "b", "b/x", "d", "d/e"})
	case "move":
		r.to = pick(rng, []string{"", "a", "b", "d/e", "b/x"})
		for range rng.IntN(3) {
			r.ids = append(r.ids, recent(rng, p.ids))
		}
		for range rng.IntN(3) {
			r.folders = append(r.folders, pick(rng, []string{"a", "b", "b/x", "d", "d/e"}))
		}
	case "discard":
		for range 1 + rng.IntN(2) {
			r.tokens = append(r.tokens, recent(rng, p.ready))
		}
	}
}
