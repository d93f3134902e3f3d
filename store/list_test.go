package store_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"upload-service/store"
	"upload-service/store/kv"
)

// TestListAgainstModel compares listings of random trees, page by page, with
// what a plain sorted list gives.
func TestListAgainstModel(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	rng := rand.New(rand.NewPCG(1, 2))
	names := []string{"a", "b", "a.b", "ä", "z z", "b-", "0"}
	var paths []string
	for range 150 {
		var segments []string
		for range 1 + rng.IntN(4) {
			segments = append(segments, names[rng.IntN(len(names))])
		}
		p := strings.Join(segments, "/")
		if _, err := w.put(alice, p, p); err == nil && !slices.Contains(paths, p) {
			paths = append(paths, p)
		}
		w.clock.advance(time.Second)
	}
	w.mustPut(bob, "a/not/hers", "x")
	newest := slices.Clone(paths)
	slices.Reverse(newest)
	slices.Sort(paths)

	for _, prefix := range []string{"", "a", "a/", "b/a", "zz", "ä/"} {
		for _, limit := range []int{1, 2, 3, 7, 1000} {
			var flat, grouped []string
			for _, p := range paths {
				if rest, ok := strings.CutPrefix(p, prefix); ok {
					flat = append(flat, p)
					entry := p
					if i := strings.IndexByte(rest, '/'); i >= 0 {
						entry = prefix + rest[:i+1]
					}
					if !slices.Contains(grouped, entry) {
						grouped = append(grouped, entry)
					}
				}
			}
			slices.Sort(grouped)
			name := fmt.Sprintf("prefix %q limit %d", prefix, limit)
			compare(t, w, name, flat, store.Query{Prefix: prefix, Limit: limit, Sort: store.ByPath})
			compare(t, w, name+" delimiter", grouped, store.Query{Prefix: prefix, Limit: limit, Sort: store.ByPath, Delimiter: true})
		}
	}
	compare(t, w, "newest", newest, store.Query{Limit: 9, Sort: store.Newest})
	var withB []string
	for _, p := range paths {
		if strings.Contains(p, "b") {
			withB = append(withB, p)
		}
	}
	compare(t, w, "q", withB, store.Query{Limit: 5, Sort: store.ByPath, Contains: "B"})
}

// compare reads all pages and checks their sizes and order.
func compare(t *testing.T, w *world, name string, want []string, q store.Query) {
	t.Helper()
	var got []string
	for pages := 0; ; pages++ {
		page, err := w.store.ListFiles(t.Context(), alice, q)
		w.ok(err)
		var entries []string
		for _, f := range page.Files {
			entries = append(entries, string(f.Path))
		}
		entries = append(entries, page.Folders...)
		if len(entries) > q.Limit || pages > len(want)+1 {
			t.Fatalf("%s: page %d has %d entries", name, pages, len(entries))
		}
		if q.Sort == store.ByPath {
			slices.Sort(entries)
		}
		got = append(got, entries...)
		if page.Next == "" {
			break
		}
		q.Cursor = page.Next
	}
	if !slices.Equal(got, want) {
		t.Errorf("%s:\n got %q\nwant %q", name, got, want)
	}
}

func TestListFilters(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ctx := t.Context()
	f := w.mustPut(alice, "x", "x")
	w.mustPut(alice, "y", "y")
	v, tags := "1", []string{"red", "big"}
	_, err := w.store.ChangeFile(ctx, alice, f.ID, store.Change{Metadata: map[string]*string{"k": &v}, Tags: &tags}, store.Condition{})
	w.ok(err)
	for name, c := range map[string]struct {
		q    store.Query
		want int
	}{
		"tag":          {store.Query{Tags: []string{"red"}}, 1},
		"both tags":    {store.Query{Tags: []string{"red", "big"}}, 1},
		"no such tag":  {store.Query{Tags: []string{"red", "blue"}}, 0},
		"metadata":     {store.Query{Metadata: map[string]string{"k": "1"}}, 1},
		"other value":  {store.Query{Metadata: map[string]string{"k": "2"}}, 0},
		"absent is no": {store.Query{Metadata: map[string]string{"none": ""}}, 0},
	} {
		c.q.Limit, c.q.Sort = 10, store.ByPath
		page, err := w.store.ListFiles(ctx, alice, c.q)
		w.ok(err)
		if len(page.Files) != c.want {
			t.Errorf("%s: got %d files, want %d", name, len(page.Files), c.want)
		}
	}
	for _, cursor := range []string{"!", "AAAA", strings.Repeat("A", 40)} {
		_, err := w.store.ListFiles(ctx, alice, store.Query{Limit: 1, Sort: store.Newest, Cursor: cursor})
		w.wantCode(err, store.CodeInvalid, "cursor "+cursor)
	}
	_, err = w.store.ListFiles(ctx, alice, store.Query{Limit: 1, Delimiter: true, Contains: "x"})
	w.wantCode(err, store.CodeInvalid, "delimiter and filter")
}

func TestListUploads(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ctx := t.Context()
	var tokens []store.Token
	for range 5 {
		tokens = append(tokens, w.mustUpload(alice, "x").Token)
		w.clock.advance(time.Second)
	}
	w.mustUpload(bob, "not hers")
	w.ok(w.store.DeleteUpload(ctx, alice, tokens[1]))
	slices.Reverse(tokens)
	want := slices.Delete(slices.Clone(tokens), 3, 4)
	var got []store.Token
	for cursor := ""; ; {
		list, next, err := w.store.ListUploads(ctx, alice, 2, cursor)
		w.ok(err)
		for _, u := range list {
			got = append(got, u.Token)
		}
		if next == "" {
			break
		}
		cursor = next
	}
	if !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

// TestNamesAreFoundAsTheyAreTyped: macOS takes letters and their marks apart.
func TestNamesAreFoundAsTheyAreTyped(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.mustPut(alice, "Ökologie/Bär", "1")
	for _, q := range []store.Query{{Prefix: "O\u0308kologie/"}, {Contains: "BA\u0308R"}} {
		q.Sort, q.Limit = store.ByPath, 10
		page, err := w.store.ListFiles(t.Context(), alice, q)
		w.ok(err)
		if len(page.Files) != 1 {
			t.Errorf("%+q finds %d files", q.Prefix+q.Contains, len(page.Files))
		}
	}
}

// TestEndedUploadsAreNotListed: what ended costs the lists of what waits nothing,
// since it is in no index of them.
func TestEndedUploadsAreNotListed(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ctx := t.Context()
	waits := w.mustUpload(alice, "waits")
	w.ok(w.store.DeleteUpload(ctx, alice, w.mustUpload(alice, "deleted").Token))
	_, _, err := w.store.PersistUploads(ctx, alice, store.Persist{Tokens: []store.Token{w.mustUpload(alice, "kept").Token}})
	w.ok(err)
	direct := w.begin(alice, store.Begin{Length: 1, Then: &store.Goal{Folder: "f"}})
	w.mustAppend(direct, "x", store.Piece{Last: store.AtLength})
	aside := w.mustUpload(alice, "aside")
	w.ok(w.store.DiscardUploads(ctx, alice, store.NewBatchID(), []store.Token{aside.Token}))
	indexed := func() (tokens []string) {
		w.ok(w.kv.View(ctx, func(tx kv.Tx) error {
			return tx.Scan([]byte("n/"), []byte("n0"), math.MaxInt, func(k, _ []byte) bool {
				tokens = append(tokens, string(k[len(k)-16:]))
				return true
			})
		}))
		slices.Sort(tokens)
		return tokens
	}
	want := []string{string(tokenBytes(t, waits.Token)), string(tokenBytes(t, aside.Token))}
	slices.Sort(want)
	if got := indexed(); !slices.Equal(got, want) {
		t.Errorf("%d uploads are in the index, want the one that waits and the one that can come back", len(got))
	}
	w.clock.advance(2 * ttl)
	w.sweep(store.SweepOptions{})
	if got := indexed(); len(got) > 0 {
		t.Errorf("%d uploads that expired are in the index", len(got))
	}
	w.wantClean("afterwards")
}

// TestDamagedRecordIsSkipped damages one record: the others are still listed.
func TestDamagedRecordIsSkipped(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.mustPut(alice, "a", "1")
	w.mustPut(alice, "b", "2")
	broken, fine := w.mustUpload(alice, "3"), w.mustUpload(alice, "4")
	has := func(part string) func([]byte) bool {
		return func(k []byte) bool { return strings.Contains(string(k), part) }
	}
	w.tamper("f/", has("\x00a"), []byte("\x01{"))
	w.tamper("u/", has(string(tokenBytes(t, broken.Token))), []byte("\x01{"))
	for _, sort := range []store.Sort{store.ByPath, store.Newest} {
		page, err := w.store.ListFiles(t.Context(), alice, store.Query{Sort: sort, Limit: 10})
		w.ok(err)
		if len(page.Files) != 1 || page.Files[0].Path != "b" {
			t.Errorf("by %s: %+v", sort, page.Files)
		}
	}
	list, _, err := w.store.ListUploads(t.Context(), alice, 10, "")
	w.ok(err)
	if len(list) != 1 || list[0].Token != fine.Token {
		t.Errorf("uploads: %+v", list)
	}

	w.clock.advance(ttl + time.Minute) // both uploads are over
	w.sweep(store.SweepOptions{})
	w.mustUpload(bob, "5")
	w.clock.advance(ttl + time.Minute)
	latest := w.sweep(store.SweepOptions{})
	first := true // the latest is
	w.tamper("r/", func([]byte) bool { was := first; first = false; return was }, []byte("\x01{"))
	reports, err := w.store.ListSweeps(t.Context())
	w.ok(err)
	if len(reports) != 1 || reports[0].At.Equal(latest.At) {
		t.Errorf("reports of sweeps: %+v", reports)
	}
	w.tamper("o/", has(string(alice)), []byte("\x01{"))
	for limit := 1; limit <= 3; limit++ {
		var got []store.OwnerID
		for cursor := ""; ; {
			page, next, err := w.store.ListOwners(t.Context(), limit, cursor)
			w.ok(err)
			for _, a := range page {
				got = append(got, a.Owner.ID)
			}
			if cursor = next; cursor == "" {
				break
			}
		}
		if !slices.Contains(got, bob) || slices.Contains(got, alice) {
			t.Errorf("%d owners a page: %q", limit, got)
		}
	}
}
