package store_test

import (
	"testing"
	"time"
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
