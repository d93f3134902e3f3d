package store_test

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"upload-service/store"
)

// TestNoteSeen notes a request of an owner: to the hour, once in it, and never
// before the owner came.
func TestNoteSeen(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	seen := func() time.Time {
		t.Helper()
		o, err := w.store.OwnerByID(t.Context(), alice)
		w.ok(err)
		w.store.NoteSeen(t.Context(), o)
		o, err = w.store.OwnerByID(t.Context(), alice)
		w.ok(err)
		return o.SeenAt
	}
	o, err := w.store.OwnerByID(t.Context(), alice)
	w.ok(err)
	if first := seen(); !first.Equal(o.CreatedAt) {
		t.Errorf("seen at %v, came at %v", first, o.CreatedAt)
	}
	w.clock.advance(time.Hour)
	first := seen()
	if want := w.clock.Now().Truncate(time.Hour); !first.Equal(want) {
		t.Errorf("seen at %v, want %v", first, want)
	}
	w.clock.advance(50 * time.Minute)
	if again := seen(); !again.Equal(first) {
		t.Errorf("noted again at %v", again)
	}
	w.clock.advance(10 * time.Minute)
	if later := seen(); !later.After(first) {
		t.Errorf("an hour later it is still %v", later)
	}
	if bobs, err := w.store.OwnerByID(t.Context(), bob); err != nil || !bobs.SeenAt.IsZero() {
		t.Errorf("another was seen at %v, %v", bobs.SeenAt, err)
	}
}

// TestFirstSignInsAtOnce: accounts that come for the first time at the same
// moment, some with one login that changed hands, each get a folder of their own,
// and an account that comes twice gets one.
func TestFirstSignInsAtOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	const accounts, times = 10, 5
	slugs := make([][times]string, accounts)
	var wg sync.WaitGroup
	for id := range accounts {
		for n := range times {
			wg.Go(func() {
				login := []string{"Carol", "carol", fmt.Sprint("own", id)}[id%3]
				o, err := w.store.EnsureOwner(t.Context(), store.OwnerID(fmt.Sprint("github:", 100+id)), login)
				if err != nil {
					t.Error(err)
				}
				slugs[id][n] = strings.ToLower(o.Slug)
			})
		}
	}
	wg.Wait()
	seen := map[string]int{}
	for id, list := range slugs {
		for _, slug := range list {
			if slug != list[0] {
				t.Errorf("account %d has the folders %q", id, list)
			}
		}
		if other, taken := seen[list[0]]; taken {
			t.Errorf("the accounts %d and %d share the folder %q", other, id, list[0])
		}
		seen[list[0]] = id
	}
	w.wantClean("after the first sign-ins")
}
