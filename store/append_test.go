package store_test

import (
	"context"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/iotest"
	"time"

	"upload-service/store"
	"upload-service/store/kv"
)

func (w *world) begin(o store.OwnerID, b store.Begin) store.Upload {
	w.t.Helper()
	u, err := w.store.BeginUpload(w.t.Context(), o, b)
	w.ok(err)
	return u
}

// append adds a piece; the zero Length is none.
func (w *world) append(u store.Upload, content string, p store.Piece) (store.Upload, error) {
	w.t.Helper()
	return w.appendFrom(u, strings.NewReader(content), int64(len(content)), p)
}

func (w *world) appendFrom(u store.Upload, r io.Reader, size int64, p store.Piece) (store.Upload, error) {
	w.t.Helper()
	turn, err := w.store.TakeTurn(w.t.Context(), u.Owner, u.Token, nil)
	if err != nil {
		return u, err
	}
	defer turn.Release()
	p.Size = size
	if p.Length == 0 {
		p.Length = -1
	}
	err = turn.Append(w.t.Context(), r, p)
	return turn.Upload(), err
}

func (w *world) mustAppend(u store.Upload, content string, p store.Piece) store.Upload {
	w.t.Helper()
	u, err := w.append(u, content, p)
	w.ok(err)
	return u
}

func (w *world) wantOffset(u store.Upload, want int64) {
	w.t.Helper()
	got, err := w.store.GetUpload(w.t.Context(), u.Owner, u.Token)
	w.ok(err)
	if got.Growth.Offset != want {
		w.t.Fatalf("the offset is %d, want %d", got.Growth.Offset, want)
	}
}

// wantUpload checks the content of a complete upload by persisting it.
func (w *world) wantUpload(u store.Upload, want string) {
	w.t.Helper()
	files, _, err := w.store.PersistUploads(w.t.Context(), u.Owner, store.Persist{
		Tokens: []store.Token{u.Token}, Folder: "got", OnConflict: store.Rename,
	})
	w.ok(err)
	w.wantFile(u.Owner, string(files[0].Path), want)
}

func TestAppend(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	u := w.begin(alice, store.Begin{Name: "a.txt", Length: 10, Label: "as it came"})
	if u.State != store.Receiving || w.usage(alice).UploadBytes != 10 || w.blobCount() != 0 {
		t.Errorf("got %+v, %+v", u, w.usage(alice))
	}
	u = w.mustAppend(u, "hello", store.Piece{Last: store.AtLength})
	w.wantOffset(u, 5)
	w.wantClean("in the middle")
	w.close() // a new process goes on where the old one stopped
	w.open()
	u = w.mustAppend(u, "", store.Piece{Offset: 5, Last: store.AtLength})
	u = w.mustAppend(u, "wor", store.Piece{Offset: 5, Last: store.AtLength})
	u = w.mustAppend(u, "ld", store.Piece{Offset: 8, Last: store.AtLength})
	if u.State != store.Ready || u.Growth.Label != "as it came" || u.Parts[0].ContentType != "text/plain; charset=utf-8" {
		t.Errorf("got %+v", u)
	}
	w.mustAppend(u, "", store.Piece{Offset: 10, Last: store.AtLength}) // the end, again
	_, err := w.append(u, "x", store.Piece{Offset: 10})
	w.wantCode(err, store.CodeConflict, "behind the end")
	w.wantClean("when complete")
	w.wantUpload(u, "helloworld")
	w.wantClean("when persisted")
}

func TestAppendOfNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	u := w.begin(alice, store.Begin{Length: 0})
	u = w.mustAppend(u, "", store.Piece{Last: store.AtLength})
	w.wantClean("an empty upload")
	w.wantUpload(u, "")

	// The length is no end for who says when it is over.
	u = w.begin(alice, store.Begin{Length: 3})
	u = w.mustAppend(u, "abc", store.Piece{Last: store.NotLast})
	if u.State != store.Receiving {
		t.Errorf("state %s", u.State)
	}
	w.wantUpload(w.mustAppend(u, "", store.Piece{Offset: 3, Last: store.LastPiece}), "abc")
}

// A client that finds its upload at its length takes it for complete, so no
// record may say that of one that is not.
func TestAppendAtLengthIsComplete(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	u := w.begin(alice, store.Begin{Length: 5})
	body := io.MultiReader(strings.NewReader("12345"), iotest.ErrReader(errors.New("cut")))
	u, err := w.appendFrom(u, body, -1, store.Piece{Last: store.AtLength})
	if err != nil || u.State != store.Ready {
		t.Errorf("cut behind the last byte: %v, %s; want ready", err, u.State)
	}
	w.wantClean("cut behind the last byte")
	w.wantUpload(u, "12345")

	// The length is also where a checkpoint falls.
	const step = 64 << 20
	u = w.begin(alice, store.Begin{Length: step})
	zeros := io.LimitReader(zero{}, step)
	u, err = w.appendFrom(u, zeros, step, store.Piece{Last: store.AtLength, Recorded: func(n int64) {
		t.Errorf("recorded %d bytes of an upload of %d that is not complete", n, int64(step))
	}})
	w.ok(err)
	if u.State != store.Ready {
		t.Errorf("state %s", u.State)
	}
}

// A last piece that ends before the announced length completes nothing.
func TestLastPieceTooShort(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.mustPut(alice, "a", "as it was")
	u := w.begin(alice, store.Begin{Name: "a", Length: 10, Then: &store.Goal{OnConflict: store.Replace}})
	u, err := w.appendFrom(u, strings.NewReader("12345"), -1, store.Piece{Last: store.LastPiece})
	w.wantCode(err, store.CodeInvalid, "half of it")
	if u.State != store.Receiving || u.Growth.Length != 10 {
		t.Errorf("%s, %d bytes in all", u.State, u.Growth.Length)
	}
	w.wantOffset(u, 5)
	w.wantFile(alice, "a", "as it was")
	u = w.mustAppend(u, "67890", store.Piece{Offset: 5, Last: store.LastPiece})
	if u.State != store.Persisted {
		t.Errorf("then: %s", u.State)
	}
	w.wantFile(alice, "a", "1234567890")
	w.wantClean("at the end")
}

// More than the length, noticed behind a read that ended at it, completes
// nothing either.
func TestAppendBeyondTheLength(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	u := w.mustAppend(w.begin(alice, store.Begin{Length: 6}), "12", store.Piece{Last: store.AtLength})
	body := io.MultiReader(strings.NewReader("3456"), strings.NewReader("7"))
	u, err := w.appendFrom(u, body, -1, store.Piece{Offset: 2, Last: store.AtLength})
	w.wantCode(err, store.CodeTooLarge, "one byte too many")
	if u.State != store.Receiving {
		t.Errorf("state %s", u.State)
	}
	w.wantOffset(u, 2)
	w.wantUpload(w.mustAppend(u, "3456", store.Piece{Offset: 2, Last: store.AtLength}), "123456")
	w.wantClean("at the end")
}

// TestAppendLengthAtTheEnd tells a length that is reached already, and is
// refused: offset == length would mean to clients that the upload is complete.
func TestAppendLengthAtTheEnd(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	u := w.mustAppend(w.begin(alice, store.Begin{Length: -1}), "12345", store.Piece{Last: store.AtLength})
	refused := errors.New("refused")
	u, err := w.appendFrom(u, strings.NewReader(""), 0, store.Piece{
		Offset: 5, Length: 5, Last: store.AtLength, Allowed: func() error { return refused },
	})
	if !errors.Is(err, refused) {
		t.Fatalf("got %v", err)
	}
	if u.State != store.Receiving || u.Growth.Offset == u.Growth.Length {
		t.Errorf("%s with %d of %d bytes", u.State, u.Growth.Offset, u.Growth.Length)
	}
	u, err = w.appendFrom(u, strings.NewReader(""), 0, store.Piece{Offset: 5, Length: 5, Last: store.AtLength})
	w.ok(err)
	if u.State != store.Ready {
		t.Errorf("then: %s", u.State)
	}
	w.wantUpload(u, "12345")
}

// zero yields zeros without end.
type zero struct{}

func (zero) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}

func TestAppendThatIsCut(t *testing.T) {
	t.Parallel()
	cut := errors.New("cut")
	w := newWorld(t)
	u := w.begin(alice, store.Begin{Length: 10})
	body := func(s string) io.Reader { return io.MultiReader(strings.NewReader(s), iotest.ErrReader(cut)) }

	u, err := w.appendFrom(u, body("12345"), 10, store.Piece{Last: store.AtLength})
	if !errors.Is(err, cut) {
		t.Fatalf("got %v", err)
	}
	w.wantOffset(u, 5) // what came is kept
	for name, p := range map[string]store.Piece{
		"whole":    {Offset: 5, Whole: true},
		"checksum": {Offset: 5, Check: &checker{sum: sha1.New()}},
	} {
		if _, err := w.appendFrom(u, body("abc"), 5, p); !errors.Is(err, cut) {
			t.Fatalf("%s: got %v", name, err)
		}
		w.wantOffset(u, 5) // nothing of it
	}
	_, err = w.appendFrom(u, body("67890"), 5, store.Piece{Offset: 5, Last: store.LastPiece})
	if !errors.Is(err, cut) {
		t.Fatalf("got %v", err)
	}
	w.wantOffset(u, 10)
	w.wantClean("after cuts")
	w.wantUpload(w.mustAppend(u, "", store.Piece{Offset: 10, Last: store.LastPiece}), "1234567890")

	// The very first piece is dropped whole: no blob is left.
	v := w.begin(alice, store.Begin{Length: 10})
	_, err = w.appendFrom(v, body("abc"), 10, store.Piece{Whole: true})
	if !errors.Is(err, cut) || w.blobCount() != 1 {
		t.Errorf("got %v and %d blobs", err, w.blobCount())
	}
}

func TestAppendRefusals(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(o *store.Options) { o.Limits.FileSize = 100 })
	ctx := t.Context()
	_, err := w.store.BeginUpload(ctx, alice, store.Begin{Length: 101})
	w.wantCode(err, store.CodeTooLarge, "a length beyond the limit")
	u := w.begin(alice, store.Begin{Length: 10})
	u = w.mustAppend(u, "12345", store.Piece{})
	open := w.begin(alice, store.Begin{Length: -1})
	open = w.mustAppend(open, "12345", store.Piece{})
	for _, tt := range []struct {
		name    string
		u       store.Upload
		content string
		size    int64
		p       store.Piece
		want    store.Code
		offset  int64
	}{
		{"before the offset", u, "x", 1, store.Piece{Offset: 4}, store.CodeConflict, 5},
		{"behind the offset", u, "x", 1, store.Piece{Offset: 6}, store.CodeConflict, 5},
		{"another length", u, "x", 1, store.Piece{Offset: 5, Length: 11}, store.CodeInvalid, 5},
		{"beyond the length", u, "123456", 6, store.Piece{Offset: 5}, store.CodeTooLarge, 5},
		{"beyond the length, not declared", u, "123456", -1, store.Piece{Offset: 5, Whole: true}, store.CodeTooLarge, 5},
		{"a length below the offset", open, "", 0, store.Piece{Offset: 5, Length: 4}, store.CodeInvalid, 5},
		{"a late length beyond the limit", open, "", 0, store.Piece{Offset: 5, Length: 101}, store.CodeTooLarge, 5},
		{"beyond the limit", open, strings.Repeat("x", 96), 96, store.Piece{Offset: 5}, store.CodeTooLarge, 5},
		{"beyond the limit, not declared", open, strings.Repeat("x", 96), -1, store.Piece{Offset: 5}, store.CodeTooLarge, 5},
		{"wrong checksum", u, "67", 2, store.Piece{Offset: 5, Check: &checker{sum: sha1.New()}}, store.CodeBadChecksum, 5},
	} {
		_, err := w.appendFrom(tt.u, strings.NewReader(tt.content), tt.size, tt.p)
		w.wantCode(err, tt.want, tt.name)
		w.wantOffset(tt.u, tt.offset)
	}
	sum := sha1.Sum([]byte("67"))
	u = w.mustAppend(u, "67", store.Piece{Offset: 5, Check: &checker{sha1.New(), sum[:]}})
	w.wantOffset(u, 7)
	_, err = w.store.TakeTurn(ctx, bob, u.Token, nil)
	w.wantCode(err, store.CodeNotFound, "somebody else")
	w.wantClean("after refusals")
}

type checker struct {
	sum  hash.Hash
	want []byte
}

func (c *checker) Write(p []byte) (int, error) { return c.sum.Write(p) }

func (c *checker) Check() error {
	if string(c.sum.Sum(nil)) != string(c.want) {
		return store.Errorf(store.CodeBadChecksum, "wrong")
	}
	return nil
}

func TestAppendDeferredLength(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(o *store.Options) { o.Limits.OwnerBytes = 37 << 20 })
	u := w.begin(alice, store.Begin{Length: -1})
	if got := w.usage(alice).UploadBytes; got != 0 {
		t.Errorf("%d bytes are set aside before any came", got)
	}
	u = w.mustAppend(u, "abc", store.Piece{Last: store.AtLength})
	if got := w.usage(alice).UploadBytes; got != 1<<20 {
		t.Errorf("%d bytes are set aside", got)
	}
	// Another one finds no room for a whole step, and gets what it needs.
	v := w.begin(alice, store.Begin{Length: -1})
	v = w.mustAppend(v, strings.Repeat("x", 36<<20), store.Piece{})
	_, err := w.append(v, "y", store.Piece{Offset: 36 << 20})
	w.wantCode(err, store.CodeQuotaExceeded, "one byte more")
	u = w.mustAppend(u, "de", store.Piece{Offset: 3, Length: 5, Last: store.AtLength})
	if got := w.usage(alice).UploadBytes; got != 36<<20+5 {
		t.Errorf("%d bytes count at the end", got)
	}
	w.mustAppend(v, "y", store.Piece{Offset: 36 << 20})
	w.wantUpload(u, "abcde")
	w.wantClean("after deferred lengths")
}

func TestAppendDigest(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	sum, sum512 := sha256.Sum256([]byte("abcd")), sha512.Sum512([]byte("abcd"))
	for name, want := range map[string]store.Digest{
		"sha-256": {SHA256: sum[:]}, "sha-512": {SHA512: sum512[:]}, "both": {SHA256: sum[:], SHA512: sum512[:]},
	} {
		good := w.begin(alice, store.Begin{Length: 4, Want: want})
		good = w.mustAppend(good, "ab", store.Piece{Last: store.AtLength})
		w.wantUpload(w.mustAppend(good, "cd", store.Piece{Offset: 2, Last: store.AtLength}), "abcd")

		bad := w.begin(alice, store.Begin{Length: 4, Want: want})
		bad = w.mustAppend(bad, "ab", store.Piece{Last: store.AtLength})
		_, err := w.append(bad, "cx", store.Piece{Offset: 2, Last: store.AtLength})
		w.wantCode(err, store.CodeBadDigest, name)
		_, err = w.store.GetUpload(t.Context(), alice, bad.Token)
		w.wantCode(err, store.CodeGone, name)
	}
	w.sweep(store.SweepOptions{})
	w.wantClean("after wrong digests")
}

// TestTakeover shows that a newcomer gets an upload whose request hangs, with
// all that came.
func TestTakeover(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	u := w.begin(alice, store.Begin{Length: 10})
	r, body := io.Pipe()
	hangs := make(chan error, 1)
	turn, err := w.store.TakeTurn(t.Context(), alice, u.Token, func() { r.CloseWithError(errors.New("stopped")) })
	w.ok(err)
	go func() {
		defer turn.Release()
		hangs <- turn.Append(t.Context(), r, store.Piece{Size: 10, Length: -1, Last: store.AtLength})
	}()
	_, err = body.Write([]byte("12345"))
	w.ok(err)
	// The sweep leaves alone what is coming in, however old it is.
	w.clock.advance(2 * ttl)
	if report := w.sweep(store.SweepOptions{}); report.Uploads != 0 {
		t.Errorf("swept %+v", report)
	}
	w.clock.advance(-2 * ttl)
	u = w.mustAppend(u, "67890", store.Piece{Offset: 5, Last: store.AtLength})
	if err := <-hangs; err == nil {
		t.Error("the stopped request succeeded")
	}
	w.wantUpload(u, "1234567890")

	// Several newcomers at once: all get it, one after the other.
	v := w.begin(alice, store.Begin{Length: 8})
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for done := false; !done && !t.Failed(); {
				turn, err := w.store.TakeTurn(t.Context(), alice, v.Token, nil)
				if err != nil {
					t.Error(err)
					return
				}
				at := turn.Upload().Growth.Offset
				if done = at == 8; !done {
					done = turn.Append(t.Context(), strings.NewReader("x"), store.Piece{Offset: at, Size: 1, Length: -1, Last: store.AtLength}) == nil
				}
				turn.Release()
			}
		})
	}
	wg.Wait()
	w.wantUpload(v, "xxxxxxxx")
	w.wantClean("after takeovers")
}

func TestUnfinishedExpires(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	u := w.begin(alice, store.Begin{Length: 10})
	for i := range int64(9) {
		w.clock.advance(45 * time.Minute)
		u = w.mustAppend(u, "x", store.Piece{Offset: i}) // each byte keeps it
	}
	if !u.ExpiresAt.Equal(u.CreatedAt.Add(7 * ttl)) {
		t.Errorf("expires %v after it began", u.ExpiresAt.Sub(u.CreatedAt))
	}
	w.clock.advance(45 * time.Minute)
	_, err := w.append(u, "x", store.Piece{Offset: u.Growth.Offset})
	w.wantCode(err, store.CodeGone, "beyond the cap")
	report := w.sweep(store.SweepOptions{})
	if report.Uploads != 1 || report.Blobs != 1 || report.Bytes != u.Growth.Offset {
		t.Errorf("got %+v", report)
	}
	if got := w.usage(alice); got != (store.Usage{Ended: 1}) {
		t.Errorf("still counted: %+v", got)
	}
	w.wantClean("after the sweep")
}

// TestSweepBesideCompletion completes uploads in every way at the instant at
// which they expire, while one sweep follows the other: each is what was
// answered, or gone with all it had.
func TestSweepBesideCompletion(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	const rounds = 6
	begin := func(b store.Begin) store.Upload {
		b.Length = 2
		return w.mustAppend(w.begin(alice, b), "a", store.Piece{Last: store.AtLength})
	}
	end := store.Piece{Offset: 1, Last: store.AtLength}
	ways := map[string]func(name store.Path) (store.Upload, func() (store.Upload, error)){
		"its last piece": func(store.Path) (store.Upload, func() (store.Upload, error)) {
			u := begin(store.Begin{})
			return u, func() (store.Upload, error) { return w.append(u, "b", end) }
		},
		"its last piece, which makes it a file": func(name store.Path) (store.Upload, func() (store.Upload, error)) {
			u := begin(store.Begin{Name: name, Then: &store.Goal{OnConflict: store.Fail}})
			return u, func() (store.Upload, error) { return w.append(u, "b", end) }
		},
		"the end of what has no length": func(store.Path) (store.Upload, func() (store.Upload, error)) {
			u := w.mustAppend(w.begin(alice, store.Begin{Length: -1}), "a", store.Piece{})
			return u, func() (store.Upload, error) {
				return w.append(u, "b", store.Piece{Offset: 1, Last: store.LastPiece})
			}
		},
		"a concatenation": func(store.Path) (store.Upload, func() (store.Upload, error)) {
			u := w.mustAppend(begin(store.Begin{Partial: true}), "b", end)
			return u, func() (store.Upload, error) {
				return w.store.Concatenate(t.Context(), alice, []store.Token{u.Token}, store.Begin{})
			}
		},
		"a persist": func(name store.Path) (store.Upload, func() (store.Upload, error)) {
			u := w.mustAppend(begin(store.Begin{Name: name}), "b", end)
			return u, func() (store.Upload, error) {
				files, _, err := w.store.PersistUploads(t.Context(), alice, store.Persist{Tokens: []store.Token{u.Token}})
				u.State, u.Files = store.Persisted, files
				return u, err
			}
		},
	}
	for round := range rounds {
		type completion struct {
			before, after store.Upload
			err           error
		}
		var all []*completion
		var complete []func()
		var completed atomic.Int32
		for way, prepare := range ways {
			for n := range 2 {
				u, run := prepare(store.Path(fmt.Sprintf("%s %d %d", way, round, n)))
				c := &completion{before: u}
				all = append(all, c)
				complete = append(complete, func() {
					c.after, c.err = run()
					if completed.Add(1) == int32(round+1) {
						w.clock.advance(time.Nanosecond) // the others are at it
					}
				})
			}
		}
		w.clock.advance(ttl - time.Nanosecond)
		var completions, sweeps sync.WaitGroup
		stop := make(chan struct{})
		sweeps.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				if _, err := w.store.Sweep(t.Context(), store.SweepOptions{}); err != nil {
					t.Errorf("sweep: %v", err)
				}
			}
		})
		for client := range 3 { // ways are in no order
			completions.Go(func() {
				for n := client; n < len(complete); n += 3 {
					complete[n]()
				}
			})
		}
		completions.Wait()
		close(stop)
		sweeps.Wait()
		for _, c := range all {
			if c.err != nil {
				w.wantCode(c.err, store.CodeGone, "after the end")
				_, err := w.store.GetUpload(t.Context(), alice, c.before.Token)
				w.wantCode(err, store.CodeGone, "what was refused")
				continue
			}
			switch c.after.State {
			case store.Persisted:
				w.wantFile(alice, string(c.after.Files[0].Path), "ab")
			case store.Ready:
				w.wantUpload(c.after, "ab")
			default:
				t.Errorf("acknowledged, and it is %s", c.after.State)
			}
		}
		w.sweep(store.SweepOptions{})
		if n, files := w.blobCount(), w.usage(alice).Files; int64(n) != files {
			t.Errorf("%d blobs for %d files", n, files)
		}
	}
	w.wantClean("at the end")
}

// TestGoal makes an upload a file by its last byte.
func TestGoal(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	goal := func(c store.OnConflict) *store.Goal {
		return &store.Goal{Folder: "in", Metadata: map[string]string{"k": "v"}, OnConflict: c}
	}
	u := w.begin(alice, store.Begin{Name: "a", Length: 2, Then: goal(store.Replace)})
	u = w.mustAppend(u, "a", store.Piece{Last: store.AtLength})
	w.mustPut(alice, "in/a", "old")
	u = w.mustAppend(u, "b", store.Piece{Offset: 1, Last: store.AtLength})
	if u.State != store.Persisted || u.Files[0].Version != 2 || u.Growth.Offset != 2 {
		t.Errorf("got %+v", u)
	}
	w.wantFile(alice, "in/a", "ab")
	f, err := w.store.GetFile(t.Context(), alice, w.path("in/a"))
	if err != nil || f.Metadata["k"] != "v" {
		t.Errorf("got %+v, %v", f, err)
	}
	// A form may carry the token all the same.
	files, repeated, err := w.store.PersistUploads(t.Context(), alice, store.Persist{
		Tokens: []store.Token{u.Token}, Folder: "in", Metadata: map[string]string{"k": "v"}, OnConflict: store.Replace,
	})
	if err != nil || !repeated || files[0].ID != f.ID {
		t.Errorf("got %v, %v, %v", files, repeated, err)
	}

	// Where the file cannot be, the upload is whole and waits.
	w.wantCode(w.beginErr(store.Begin{Name: "a", Then: goal(store.Fail), Length: 1}), "", "known when it ends")
	u = w.begin(alice, store.Begin{Name: "b", Length: 1, Then: goal(store.Fail)})
	w.mustPut(alice, "in/b", "first")
	u, err = w.append(u, "x", store.Piece{Last: store.AtLength})
	w.wantCode(err, store.CodeConflict, "taken meanwhile")
	if u.State != store.Ready {
		t.Errorf("state %s", u.State)
	}
	_, err = w.append(u, "", store.Piece{Offset: 1, Last: store.AtLength})
	w.wantCode(err, store.CodeConflict, "asked again")
	w.wantUpload(u, "x")
	w.wantCode(w.beginErr(store.Begin{Name: "a", Length: 1, Then: &store.Goal{Folder: "in/b"}}), store.CodeConflict, "below a file")
	w.wantClean("after goals")
}

// TestGoalReplaces needs no room for what it replaces, as an upload that comes
// whole; and counts again when it is complete.
func TestGoalReplaces(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(o *store.Options) { o.Limits.OwnerBytes, o.Limits.OwnerFiles = 100, 2 })
	sixty := strings.Repeat("x", 60)
	w.mustPut(alice, "a", sixty)
	goal := &store.Goal{OnConflict: store.Replace}
	u := w.begin(alice, store.Begin{Name: "a", Length: 60, Then: goal})
	w.wantCode(w.beginErr(store.Begin{Name: "a", Length: 60, Then: goal}), store.CodeQuotaExceeded, "the same room twice")
	w.mustAppend(u, sixty, store.Piece{Last: store.AtLength})
	if got := w.usage(alice); got.Bytes() != 60 || got.Count() != 1 {
		t.Errorf("counted %+v", got)
	}
	// The file goes elsewhere meanwhile: then there is no room for both.
	u = w.begin(alice, store.Begin{Name: "a", Length: 60, Then: goal})
	f, err := w.store.GetFile(t.Context(), alice, w.path("a"))
	w.ok(err)
	to := w.path("b")
	_, err = w.store.ChangeFile(t.Context(), alice, f.ID, store.Change{Path: &to}, store.Condition{})
	w.ok(err)
	_, err = w.append(u, sixty, store.Piece{Last: store.AtLength})
	w.wantCode(err, store.CodeQuotaExceeded, "both")
	w.wantClean("at the end")
}

// TestLostBytes: what the volume has lost is not asked for again and again.
func TestLostBytes(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for name, lose := range map[string]func(string) error{
		"cut": func(name string) error { return os.Truncate(name, 1) }, "removed": os.Remove,
	} {
		u := w.mustAppend(w.begin(alice, store.Begin{Length: 4}), "ab", store.Piece{Last: store.AtLength})
		w.ok(lose(filepath.Join(w.dir, ".upload-service", "blobs", filepath.FromSlash(string(u.Parts[0].Blob)))))
		for range 2 {
			_, err := w.append(u, "cd", store.Piece{Offset: 2, Last: store.AtLength})
			w.wantCode(err, store.CodeGone, name)
		}
	}
	w.sweep(store.SweepOptions{})
	w.wantClean("after the sweep")
}

func (w *world) beginErr(b store.Begin) error {
	_, err := w.store.BeginUpload(w.t.Context(), alice, b)
	return err
}

func TestConcatenate(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(o *store.Options) { o.Limits.OwnerBytes = 10 })
	ctx := t.Context()
	part := func(o store.OwnerID, content string) store.Upload {
		u := w.begin(o, store.Begin{Length: int64(len(content)), Partial: true})
		return w.mustAppend(u, content, store.Piece{Last: store.AtLength})
	}
	a, b, foreign := part(alice, "aaa"), part(alice, "bb"), part(bob, "f")
	unfinished := w.begin(alice, store.Begin{Length: 5, Partial: true})
	plain := w.mustUpload(bob, "p")
	for _, tt := range []struct {
		name   string
		tokens []store.Token
		want   store.Code
	}{
		{"none", nil, store.CodeInvalid},
		{"too many", slices.Repeat([]store.Token{a.Token}, store.MaxTokens+1), store.CodeInvalid},
		{"somebody else's", []store.Token{a.Token, foreign.Token}, store.CodeNotFound},
		{"not finished", []store.Token{a.Token, unfinished.Token}, store.CodeConflict},
		{"more than the quota", []store.Token{a.Token, a.Token, a.Token, a.Token}, store.CodeQuotaExceeded},
		{"more than the quota, less the parts", []store.Token{b.Token, b.Token, b.Token, b.Token, b.Token, a.Token}, store.CodeQuotaExceeded},
	} {
		_, err := w.store.Concatenate(ctx, alice, tt.tokens, store.Begin{})
		w.wantCode(err, tt.want, tt.name)
	}
	_, err := w.store.Concatenate(ctx, bob, []store.Token{plain.Token}, store.Begin{})
	w.wantCode(err, store.CodeConflict, "no part")
	_, _, err = w.store.PersistUploads(ctx, alice, store.Persist{Tokens: []store.Token{a.Token}})
	w.wantCode(err, store.CodeConflict, "a part alone")
	w.ok(w.store.DeleteUpload(ctx, alice, unfinished.Token))

	refused := store.Errorf(store.CodeUnauthenticated, "revoked meanwhile")
	_, err = w.store.Concatenate(ctx, alice, []store.Token{b.Token, a.Token}, store.Begin{Allowed: func() error { return refused }})
	w.wantCode(err, store.CodeUnauthenticated, "by somebody who may not any more")
	u, err := w.store.Concatenate(ctx, alice, []store.Token{b.Token, a.Token, b.Token}, store.Begin{Name: "whole"})
	w.ok(err)
	if got := w.usage(alice).UploadBytes; got != 7 {
		t.Errorf("%d bytes count", got)
	}
	again, err := w.store.Concatenate(ctx, alice, []store.Token{b.Token, a.Token, b.Token}, store.Begin{})
	if err != nil || again.Token != u.Token {
		t.Errorf("repeated: %v, %v", again.Token, err)
	}
	_, err = w.store.Concatenate(ctx, alice, []store.Token{a.Token, b.Token}, store.Begin{})
	w.wantCode(err, store.CodeGone, "parts that are used up")
	w.sweep(store.SweepOptions{})
	w.wantClean("after the concatenation")
	w.wantUpload(u, "bbaaabb")
}

// TestDeletedUpload: the bytes of what is deleted go at once, not with a sweep.
func TestDeletedUpload(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	part := w.mustAppend(w.begin(alice, store.Begin{Length: 1, Partial: true}), "a", store.Piece{Last: store.AtLength})
	whole, err := w.store.Concatenate(t.Context(), alice, slices.Repeat([]store.Token{part.Token}, 100), store.Begin{})
	w.ok(err)
	w.sweep(store.SweepOptions{}) // the part
	growing := w.mustAppend(w.begin(alice, store.Begin{Length: 9}), "1234", store.Piece{})
	for n, u := range []store.Upload{whole, growing, w.mustUpload(alice, "several", "contents")} {
		w.ok(w.store.DeleteUpload(t.Context(), alice, u.Token))
		if left := w.blobCount(); left != []int{3, 2, 0}[n] {
			t.Errorf("%d contents are left after %d deletes", left, n+1)
		}
	}
	w.wantClean("after the deletes")
}

// TestConcatenateOnce asks for the same whole several times at once, as a
// client that repeats does: it is copied once.
func TestConcatenateOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	const size = 4 << 20
	u := w.begin(alice, store.Begin{Length: size, Partial: true})
	w.mustAppend(u, strings.Repeat("x", size), store.Piece{Last: store.AtLength})
	var wg sync.WaitGroup
	var whole [8]store.Upload
	var blobs [8]int
	for i := range whole {
		wg.Go(func() {
			var err error
			if whole[i], err = w.store.Concatenate(t.Context(), alice, []store.Token{u.Token, u.Token}, store.Begin{}); err != nil {
				t.Error(err)
			}
			blobs[i] = w.blobCount()
		})
	}
	wg.Wait()
	for _, u := range whole {
		if u.Token == "" || u.Token != whole[0].Token {
			t.Errorf("another upload: %s, %s", u.Token, whole[0].Token)
		}
	}
	if n := slices.Max(blobs[:]); n > 2 { // the part, until the sweep, and the whole
		t.Errorf("%d blobs were there at once", n)
	}
	w.sweep(store.SweepOptions{})
	w.wantClean("after the sweep")
}

// TestConcatenateLasts: parts that are being copied are not swept, however long
// that takes.
func TestConcatenateLasts(t *testing.T) {
	t.Parallel()
	var f faults
	w := newWorld(t, f.below)
	part := w.begin(alice, store.Begin{Length: 2, Partial: true})
	w.mustAppend(part, "ab", store.Piece{Last: store.AtLength})
	f.set(func(place string) string {
		if place == "create" {
			w.clock.advance(25 * time.Hour)
			w.sweep(store.SweepOptions{})
		}
		return ""
	})
	ctx := context.WithValue(t.Context(), requested{}, true)
	u, err := w.store.Concatenate(ctx, alice, []store.Token{part.Token, part.Token}, store.Begin{})
	w.ok(err)
	f.set(nil)
	w.wantUpload(u, "abab")
	if got, err := w.store.UsedPart(t.Context(), alice, part.Token); err != nil || got.Growth.Offset != 2 {
		t.Errorf("the part: %v, %v", got, err)
	}
	_, err = w.store.UsedPart(t.Context(), bob, part.Token)
	w.wantCode(err, store.CodeNotFound, "somebody else's part")
	w.sweep(store.SweepOptions{})
	w.wantClean("after the sweep")
}

// TestUnrecordedTail: what was written and not recorded, as after a crash, is
// cut off by the next piece.
func TestUnrecordedTail(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	u := w.begin(alice, store.Begin{Length: 4})
	u = w.mustAppend(u, "ab", store.Piece{Last: store.AtLength})
	name := filepath.Join(w.dir, ".upload-service", "blobs", filepath.FromSlash(string(u.Parts[0].Blob)))
	w.ok(os.WriteFile(name, []byte("abcdefgh"), 0o600))
	w.wantClean("a tail is no finding")
	w.wantUpload(w.mustAppend(u, "CD", store.Piece{Offset: 2, Last: store.AtLength}), "abCD")
	w.wantClean("after the tail")
}

// TestGoneUploadsTakeNoRoom begins and ends uploads: what is remembered of them
// counts against no quota, so it is small, and of so many at most.
func TestGoneUploadsTakeNoRoom(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	label := strings.Repeat("x", 14<<10)
	begin := func() store.Upload {
		return w.begin(alice, store.Begin{
			Length: 10, Label: label, Purpose: "form", Want: store.Digest{SHA512: make([]byte, 64)},
			Then: &store.Goal{Metadata: map[string]string{"k": strings.Repeat("v", 1000)}, OnConflict: store.Fail},
		})
	}
	u := begin()
	w.mustAppend(u, "12345", store.Piece{Last: store.AtLength})
	w.ok(w.store.DeleteUpload(t.Context(), alice, u.Token))
	_, err := w.store.GetUpload(t.Context(), alice, u.Token)
	w.wantCode(err, store.CodeGone, "a deleted upload")
	w.ok(w.kv.View(t.Context(), func(tx kv.Tx) error {
		return tx.Scan([]byte("u/"), []byte("u0"), 2, func(_, v []byte) bool {
			if len(v) > 400 {
				t.Errorf("%d bytes are kept: %s", len(v), v)
			}
			return true
		})
	}))
	if got := w.usage(alice); got != (store.Usage{Ended: 1}) {
		t.Errorf("usage is %+v, want one that ended", got)
	}

	// As if so many had ended before.
	w.tamper("q/", nil, []byte("\x01{\"ended\":10000}"))
	u = begin()
	w.ok(w.store.DeleteUpload(t.Context(), alice, u.Token))
	_, err = w.store.GetUpload(t.Context(), alice, u.Token)
	w.wantCode(err, store.CodeNotFound, "one more")
	w.tamper("q/", nil, []byte("\x01{\"ended\":1}"))
	w.sweep(store.SweepOptions{})
	w.wantClean("before they are forgotten")
	w.clock.advance(2 * ttl)
	w.sweep(store.SweepOptions{})
	if got := w.usage(alice); got != (store.Usage{}) {
		t.Errorf("usage is %+v, want nothing", got)
	}
	w.wantClean("after they are forgotten")
}
