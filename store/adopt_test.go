package store_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"upload-service/store"
)

const unclaimedCarol store.OwnerID = "unclaimed:carol"

const token = "6f1c2d9e-0b7a-4c55-9d2e-1f3a5b7c9d0e"

// old writes a file as the earlier service did.
func (w *world) old(name, content string) {
	w.t.Helper()
	full := filepath.Join(w.dir, filepath.FromSlash(name))
	w.ok(os.MkdirAll(filepath.Dir(full), 0o755))
	w.ok(os.WriteFile(full, []byte(content), 0o644))
}

// onDisk lists all names below the upload folder that people see.
func (w *world) onDisk() (names []string) {
	w.t.Helper()
	w.ok(filepath.WalkDir(w.dir, func(name string, d fs.DirEntry, err error) error {
		if err == nil && d.Name() == store.InternalDir && filepath.Dir(name) == w.dir {
			return fs.SkipDir
		}
		if err == nil && !d.IsDir() {
			rel, _ := filepath.Rel(w.dir, name)
			names = append(names, filepath.ToSlash(rel))
		}
		return err
	}))
	slices.Sort(names)
	return names
}

func (w *world) wantOnDisk(want ...string) {
	w.t.Helper()
	slices.Sort(want)
	if got := w.onDisk(); !slices.Equal(got, want) {
		w.t.Fatalf("on disk are\n%q, want\n%q", got, want)
	}
}

func TestAdoptFolder(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	nfc, nfd := "caf\u00e9.txt", "cafe\u0301.txt"
	onlyNFD := "u\u0308ber/x"
	w.old("carol/a.txt", "alpha")
	w.old("carol/docs/deep/b.txt", "beta")
	w.old("carol/.hidden", "dot")
	w.old("carol/"+nfc, "composed")
	w.old("carol/"+nfd, "decomposed")
	w.old("carol/"+onlyNFD, "umlaut")
	w.old("carol/back\\slash", "refused")
	w.old("carol/bad\xff", "refused")
	w.old("carol/"+token+"/form.txt", "temporary")
	w.old("carol/"+token+"/sub/more.txt", "temporary, too")
	w.old("stray.txt", "nobody's")
	w.old("not a login/x", "nobody's")
	w.old("me/x", "a reserved slug")
	outside := filepath.Join(t.TempDir(), "secret")
	w.ok(os.WriteFile(outside, []byte("secret"), 0o644))
	w.ok(errors.Join(
		os.Symlink(outside, filepath.Join(w.dir, "carol/link")),
		os.Symlink(filepath.Dir(outside), filepath.Join(w.dir, "carol/linked folder")),
		os.Mkdir(filepath.Join(w.dir, "carol/empty"), 0o755),
	))
	socket, err := net.Listen("unix", filepath.Join(w.dir, "carol/socket"))
	w.ok(err)
	defer socket.Close()
	written := time.Date(2020, 1, 2, 3, 4, 5, 0, time.UTC)
	w.ok(os.Chtimes(filepath.Join(w.dir, "carol/a.txt"), written, written))
	before, err := os.Stat(filepath.Join(w.dir, "carol/a.txt"))
	w.ok(err)

	report, left := w.adopt(nil)
	wantLeft := []string{
		"carol/back\\slash: The path contains a backslash or a control character.",
		"carol/bad\xff: The path is not valid UTF-8.",
		"carol/link: it is a symbolic link, and those are not followed",
		"carol/linked folder: it is a symbolic link, and those are not followed",
		"carol/socket: it is no regular file",
		"not a login: the folder is not named like a login",
		"stray.txt: it lies in no login's folder",
	}
	if !slices.Equal(left, wantLeft) {
		t.Errorf("left\n%q, want\n%q", left, wantLeft)
	}
	want := store.AdoptReport{Owners: 2, Unclaimed: 2, Files: 7, Uploads: 1, Bytes: 74, Left: 7}
	if report != want {
		t.Errorf("report %+v, want %+v", report, want)
	}

	// Files have records, and stay what they were.
	f, err := w.store.GetFile(t.Context(), unclaimedCarol, "a.txt")
	w.ok(err)
	if f.SHA256 != nil || f.Version != 1 || !f.CreatedAt.Equal(written) || f.ContentType != "text/plain; charset=utf-8" {
		t.Errorf("the record is %+v", f)
	}
	after, err := os.Stat(filepath.Join(w.dir, "carol/a.txt"))
	w.ok(err)
	if !os.SameFile(before, after) || after.Mode().Perm()&0o222 != 0 {
		t.Errorf("the old name is another file, or can be written to (%v)", after.Mode())
	}
	w.wantFile(unclaimedCarol, "docs/deep/b.txt", "beta")
	w.wantFile(unclaimedCarol, ".hidden", "dot")
	w.wantFile(unclaimedCarol, "\u00fcber/x", "umlaut")
	w.wantFile("unclaimed:me", "x", "a reserved slug")
	one, _ := w.read(unclaimedCarol, nfc)
	two, _ := w.read(unclaimedCarol, "caf\u00e9 (1).txt")
	if both := []string{one, two}; !slices.Contains(both, "composed") || !slices.Contains(both, "decomposed") {
		t.Errorf("of two spellings of a name are left %q", both)
	}
	w.wantOnDisk("carol/a.txt", "carol/docs/deep/b.txt", "carol/.hidden", "carol/"+nfc, "carol/caf\u00e9 (1).txt",
		"carol/\u00fcber/x", "carol/back\\slash", "carol/bad\xff", "carol/link", "carol/linked folder", "carol/socket",
		"stray.txt", "not a login/x", "me~unclaimed/x")

	// The temporary upload can be made permanent under its token.
	u, err := w.store.GetUpload(t.Context(), unclaimedCarol, token)
	w.ok(err)
	if len(u.Parts) != 2 || u.State != store.Ready || u.ExpiresAt.Sub(w.clock.Now()) != 30*24*time.Hour {
		t.Errorf("the upload is %+v", u)
	}
	files, _, err := w.store.PersistUploads(t.Context(), unclaimedCarol,
		store.Persist{Tokens: []store.Token{token}, Folder: "kept"})
	w.ok(err)
	if len(files) != 2 {
		t.Fatalf("became %d files", len(files))
	}
	w.wantFile(unclaimedCarol, "kept/form.txt", "temporary")
	w.wantFile(unclaimedCarol, "kept/sub/more.txt", "temporary, too")

	// Nothing is adopted twice, and nothing but what was left is a finding.
	again, _ := w.adopt(nil)
	if again.Files+again.Uploads != 0 {
		t.Errorf("a second run adopts %+v", again)
	}
	findings, waiting := w.check(store.CheckOptions{})
	if len(findings) != len(wantLeft) || len(waiting) != 1 || !strings.Contains(waiting[0], "SHA-256 of 9 ") {
		t.Errorf("findings %q, waiting %q", findings, waiting)
	}
}

// A dry run says the same and changes nothing, with records and without.
func TestAdoptPreview(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.old("carol/a", "1")
	w.old("carol/"+token+"/b", "22")
	w.old("stray", "")
	w.mustPut(alice, "known", "has a record")
	root, err := os.OpenRoot(w.dir)
	w.ok(err)
	defer root.Close()
	before := w.onDisk()
	for _, opts := range []store.Options{{Log: w.opts.Log}, w.opts} {
		var left []string
		r, err := store.PreviewAdoption(t.Context(), opts, store.AdoptOptions{
			Root: root, Left: func(name, _ string) { left = append(left, name) },
		})
		w.ok(err)
		files := int64(1)
		if opts.KV == nil {
			files++ // without records the entry of one looks like an old file
		}
		if r.Files != files || r.Uploads != 1 || !slices.Equal(left, []string{"stray"}) {
			t.Errorf("with records %v: %+v, left %q", opts.KV != nil, r, left)
		}
	}
	w.wantOnDisk(before...)
	if info, err := root.Stat("carol/a"); err != nil || info.Mode().Perm() != 0o644 {
		t.Errorf("the old file: %v, %v", info, err)
	}
}

// What is uploaded while an adoption is due keeps its path; what lay there is
// adopted beside it, wherever the tree has moved it to.
func TestAdoptBesideUploads(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.old("alice/a.txt", "old a")
	w.old("alice/dir/x", "old x")
	w.old("alice/file", "old file")
	w.old("alice/kept", "old kept")
	root, err := os.OpenRoot(w.dir)
	w.ok(err)
	defer root.Close()
	a, err := w.store.BeginAdoption(t.Context(), store.AdoptOptions{
		Root: root, Left: func(name, reason string) { t.Errorf("left %s: %s", name, reason) },
	})
	w.ok(err)
	w.mustPut(alice, "a.txt", "new a")
	w.mustPut(alice, "dir", "new dir")
	w.mustPut(alice, "file/below", "new below")
	if _, err := a.Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	w.wantFile(alice, "a.txt", "new a")
	w.wantFile(alice, "a (1).txt", "old a")
	w.wantFile(alice, "dir", "new dir")
	w.wantFile(alice, "dir (1)/x", "old x")
	w.wantFile(alice, "file/below", "new below")
	w.wantFile(alice, "file (1)", "old file")
	w.wantFile(alice, "kept", "old kept")
	w.wantOnDisk("alice/a.txt", "alice/a (1).txt", "alice/dir", "alice/dir (1)/x", "alice/file/below",
		"alice/file (1)", "alice/kept")
	w.wantNoFindings("after the adoption")
	if moved, err := filepath.Glob(filepath.Join(w.dir, ".upload-service/displaced/*")); err != nil || len(moved) != 0 {
		t.Errorf("still aside: %q, %v", moved, err)
	}
}

// Where there can be no link, a copy is adopted and takes the place of the old
// file.
func TestAdoptByCopy(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.old("carol/a", "old a")
	w.old("carol/"+token+"/b", "temporary")
	var names []string
	for i := range 300 { // more than are looked at again at once
		names = append(names, fmt.Sprintf("carol/many/%d", i))
		w.old(names[i], "one of many")
	}
	report, left, err := w.adoptByCopy()
	w.ok(err)
	if report.Files != 301 || report.Uploads != 1 || len(left) != 0 {
		t.Errorf("report %+v, left %q", report, left)
	}
	w.wantFile(unclaimedCarol, "a", "old a")
	w.wantOnDisk(append(names, "carol/a")...)
	if n := w.blobCount(); n != 302 {
		t.Errorf("there are %d blobs, want 302", n)
	}
	w.wantNoFindings("after the adoption")
}

// adoptByCopy is adopt where there can be no link: a root that is opened
// through a symbolic link does not see the blobs.
func (w *world) adoptByCopy() (report store.AdoptReport, left []string, err error) {
	w.t.Helper()
	alias := filepath.Join(w.t.TempDir(), "alias")
	w.ok(os.Symlink(w.dir, alias))
	root, err := os.OpenRoot(alias)
	w.ok(err)
	defer root.Close()
	a, err := w.store.BeginAdoption(w.t.Context(), store.AdoptOptions{
		Root: root, Left: func(name, reason string) { left = append(left, name+": "+reason) },
	})
	w.ok(err)
	report, err = a.Run(w.t.Context())
	return report, left, err
}

// Copies leave the disk its reserve. What there is no room for is adopted by a
// later run, and what needs none is not held up.
func TestAdoptByCopyWithoutRoom(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(o *store.Options) { o.Limits.MinFree = 1 << 60 })
	w.old("carol/a", "old a")
	w.old("carol/"+token+"/b", "temporary")
	_, left, err := w.adoptByCopy()
	w.wantCode(err, store.CodeFull, "an adoption without room")
	if len(left) != 2 || !strings.Contains(left[0], "no room") {
		t.Errorf("left %q", left)
	}
	if due, err := w.store.AdoptionDue(t.Context()); err != nil || !due || w.blobCount() != 0 {
		t.Errorf("due %v, %v, with %d blobs", due, err, w.blobCount())
	}
	w.close()
	w.open()
	report, left, err := w.adoptByCopy()
	w.ok(err)
	if report.Files != 1 || report.Uploads != 1 || len(left) != 0 {
		t.Errorf("report %+v, left %q", report, left)
	}
	w.wantNoFindings("after the adoption")
}

// A temporary folder of more files than an upload may have becomes several, all
// of which can be made permanent.
func TestAdoptManyTemporaryFiles(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	const files = store.MaxParts + 1
	for i := range files {
		w.old(fmt.Sprintf("carol/%s/%d", token, i), fmt.Sprint(i))
	}
	report, left := w.adopt(nil)
	if report.Uploads != 2 || len(left) != 0 {
		t.Fatalf("report %+v, left %q", report, left)
	}
	list, _, err := w.store.ListUploads(t.Context(), unclaimedCarol, 10, "")
	w.ok(err)
	if len(list) != 2 || list[0].Token != token && list[1].Token != token {
		t.Fatalf("uploads %+v", list)
	}
	for _, u := range list {
		_, _, err := w.store.PersistUploads(t.Context(), unclaimedCarol, store.Persist{Tokens: []store.Token{u.Token}})
		w.ok(err)
	}
	for i := range files {
		w.wantFile(unclaimedCarol, fmt.Sprint(i), fmt.Sprint(i))
	}
	w.wantNoFindings("after all were made permanent")
}

// Adopted bytes count, and a full quota does not refuse them.
func TestAdoptBeyondTheQuota(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(o *store.Options) { o.Limits = store.Limits{OwnerBytes: 5, OwnerFiles: 1} })
	w.old("alice/a", "12345")
	w.old("alice/b", "67890")
	w.adopt(nil)
	if u := w.usage(alice); u.Files != 2 || u.FileBytes != 10 {
		t.Errorf("usage %+v", u)
	}
	_, err := w.put(alice, "c", "1")
	w.wantCode(err, store.CodeQuotaExceeded, "an upload after that")
}

// Without a visible tree the old names stay what they are.
func TestAdoptWithoutTree(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(o *store.Options) { o.Tree = nil })
	w.old("carol/a", "old a")
	w.old("carol/"+token+"/b", "temporary")
	w.adopt(nil)
	w.adopt(nil)
	w.wantFile(unclaimedCarol, "a", "old a")
	w.wantOnDisk("carol/a")
	w.wantNoFindings("after the adoption")
}

// A sweep ends an adopted upload like any other, and says so before.
func TestSweepAdoptedUpload(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.old("carol/"+token+"/b", "temporary")
	w.adopt(nil)
	w.clock.advance(30*24*time.Hour - time.Minute)
	if r := w.sweep(store.SweepOptions{}); r.Uploads != 0 {
		t.Errorf("swept early: %+v", r)
	}
	w.clock.advance(2 * time.Minute)
	preview := w.sweep(store.SweepOptions{DryRun: true})
	done := w.sweep(store.SweepOptions{Preview: preview.Preview})
	if preview.Uploads != 1 || done.Uploads != 1 || done.Bytes != preview.Bytes || w.blobCount() != 0 {
		t.Errorf("previewed %+v, removed %+v", preview, done)
	}
	_, err := w.store.GetUpload(t.Context(), unclaimedCarol, token)
	w.wantCode(err, store.CodeGone, "the upload")
}

// Logins change hands: only whom GitHub names at the adoption gets the files.
func TestAdoptOwners(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.old("carol/c", "carol's")
	w.old("dave/d", "dave's")
	w.old("erin/e", "erin's")
	w.old("frank/f", "frank's")
	resolve := func(_ context.Context, login string) (store.OwnerID, error) {
		switch login {
		case "carol":
			return "github:33", nil
		case "dave":
			return "", store.Errorf(store.CodeNotFound, "none")
		case "erin":
			return "", store.Errorf(store.CodeUnavailable, "down")
		}
		return "", errors.New("asked about somebody who has signed in")
	}
	root, err := os.OpenRoot(w.dir)
	w.ok(err)
	defer root.Close()
	a, err := w.store.BeginAdoption(t.Context(), store.AdoptOptions{
		Root: root, Resolve: resolve, Left: func(string, string) {},
	})
	w.ok(err)
	// Before anybody was asked, GitHub names the account by signing it in.
	frank, err := w.store.EnsureOwner(t.Context(), "github:66", "frank")
	w.ok(err)
	report, err := a.Run(t.Context())
	w.ok(err)
	if report.Unclaimed != 2 || report.Files != 4 {
		t.Errorf("report %+v", report)
	}
	w.wantFile("github:33", "c", "carol's")
	w.wantFile("unclaimed:dave", "d", "dave's")
	w.wantFile("unclaimed:erin", "e", "erin's")
	w.wantFile("github:66", "f", "frank's")
	if frank.Slug != "frank" {
		t.Errorf("frank has the slug %q", frank.Slug)
	}
	// From now on a login alone gives nothing.
	dave, err := w.store.EnsureOwner(t.Context(), "github:44", "dave")
	w.ok(err)
	if dave.Slug != "dave~44" || w.usage(dave.ID) != (store.Usage{}) {
		t.Errorf("who signs in as dave later is %+v with %+v", dave, w.usage(dave.ID))
	}
	// Whoever could not be asked about is, until there is an answer.
	var asked []string
	var answer error
	again := func(_ context.Context, login string) (store.OwnerID, error) {
		asked = append(asked, login)
		return "github:55", answer
	}
	answer = store.Errorf(store.CodeUnavailable, "down")
	w.ok(w.store.ClaimUnasked(t.Context(), again))
	w.wantFile("unclaimed:erin", "e", "erin's")
	answer = nil
	w.ok(w.store.ClaimUnasked(t.Context(), again))
	w.ok(w.store.ClaimUnasked(t.Context(), again))
	if !slices.Equal(asked, []string{"erin", "erin"}) {
		t.Errorf("asked about %q", asked)
	}
	w.wantFile("github:55", "e", "erin's")
	w.wantFile("unclaimed:dave", "d", "dave's")
	w.wantOnDisk("carol/c", "dave/d", "erin/e", "frank/f")
	w.wantNoFindings("after the adoption")
}

// An account that is here under another slug gets the files there.
func TestAdoptForAnOwnerWithAnotherSlug(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.mustPut(alice, "a", "new")
	w.old("alice-before/a", "old")
	w.old("alice-before/"+token+"/b", "temporary")
	w.adopt(func(context.Context, string) (store.OwnerID, error) { return alice, nil })
	w.wantFile(alice, "a", "new")
	w.wantFile(alice, "a (1)", "old")
	w.wantOnDisk("alice/a", "alice/a (1)")
	if _, err := w.store.GetUpload(t.Context(), alice, token); err != nil {
		t.Error(err)
	}
	w.wantNoFindings("after the adoption")
}

func TestDigestAdopted(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.old("carol/same", "same")
	w.old("carol/grown", "short")
	w.old("carol/deleted", "deleted")
	w.old("carol/gone", "gone")
	w.old("carol/"+token+"/t", "temporary")
	w.adopt(nil)
	same, err := w.store.GetFile(t.Context(), unclaimedCarol, "same")
	w.ok(err)
	grown, err := w.store.GetFile(t.Context(), unclaimedCarol, "grown")
	w.ok(err)
	// Somebody still has the file open and goes on writing.
	name := filepath.Join(w.dir, "carol/grown")
	w.ok(errors.Join(os.Chmod(name, 0o644), os.WriteFile(name, []byte("and longer"), 0o644), os.Chmod(name, 0o444)))
	w.ok(w.store.DeleteFile(t.Context(), unclaimedCarol, "gone", store.Condition{}))
	w.clock.advance(2 * undo)
	w.sweep(store.SweepOptions{})
	w.ok(w.store.DeleteFile(t.Context(), unclaimedCarol, "deleted", store.Condition{}))
	w.wantCode(func() error {
		_, _, err := w.store.PersistUploads(t.Context(), unclaimedCarol, store.Persist{
			Tokens: []store.Token{token}, Expect: store.Expect{SHA256: sumOf("temporary")},
		})
		return err
	}(), store.CodeConflict, "expecting a digest that is not known")

	if known, err := w.store.DigestAdopted(t.Context()); err != nil || known != 4 {
		t.Errorf("DigestAdopted = %d, %v", known, err)
	}
	now, err := w.store.GetFile(t.Context(), unclaimedCarol, "same")
	w.ok(err)
	if now.ETag() != same.ETag() || !now.UpdatedAt.Equal(same.UpdatedAt) || now.SHA256 == nil {
		t.Errorf("the same content: %+v, was %+v", now, same)
	}
	now, err = w.store.GetFile(t.Context(), unclaimedCarol, "grown")
	w.ok(err)
	if now.ETag() == grown.ETag() || now.Size != 10 {
		t.Errorf("another content: %+v, was %+v", now, grown)
	}
	w.wantFile(unclaimedCarol, "grown", "and longer")
	_, _, err = w.store.PersistUploads(t.Context(), unclaimedCarol, store.Persist{
		Tokens: []store.Token{token}, Expect: store.Expect{SHA256: sumOf("temporary")},
	})
	w.ok(err)
	w.wantClean("with all digests")
}

// TestDamagedRecordsAreSkipped: one record that cannot be read keeps neither the
// store from opening nor the other contents from their SHA-256.
func TestDamagedRecordsAreSkipped(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for _, name := range []string{"a", "b", "c", "d"} {
		w.old("carol/"+name, name)
	}
	w.old("dora/e", "e")
	w.adopt(nil)
	b, err := w.store.GetFile(t.Context(), unclaimedCarol, "b")
	w.ok(err)
	w.tamper("i/", func(k []byte) bool { return bytes.HasSuffix(k, b.ID[:]) }, nil)
	if known, err := w.store.DigestAdopted(t.Context()); err != nil || known != 4 {
		t.Errorf("DigestAdopted = %d, %v, want 4", known, err)
	}
	w.tamper("o/", func(k []byte) bool { return bytes.HasSuffix(k, []byte("carol")) }, []byte("\x01{"))
	w.ok(w.store.Close(t.Context()))
	w.store, err = store.Open(t.Context(), w.opts)
	w.ok(err)
	dora := func(context.Context, string) (store.OwnerID, error) { return bob, nil }
	w.ok(w.store.ClaimUnasked(t.Context(), dora))
}

func TestClaim(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.wantCode(func() error { _, err := w.store.Claim(t.Context(), "carol", alice); return err }(),
		store.CodeNotFound, "claiming nothing")
	for _, login := range []string{"carol", "dave"} {
		w.old(login+"/a", login+"'s a")
		w.old(login+"/deleted", "deleted")
		w.old(login+"/swept", "swept")
		w.old(login+"/"+token[:35]+login[:1]+"/t", login+"'s t")
	}
	w.adopt(nil)
	w.mustPut(alice, "a", "alice's a")
	for _, o := range []store.OwnerID{unclaimedCarol, "unclaimed:dave"} {
		w.ok(w.store.DeleteFile(t.Context(), o, "swept", store.Condition{}))
		w.clock.advance(2 * undo)
		w.ok(w.store.DeleteFile(t.Context(), o, "deleted", store.Condition{}))
	}

	// An account that is here gets the files into its own folder; the other
	// one takes over the folder.
	for login, to := range map[string]store.OwnerID{"carol": alice, "dave": "github:44"} {
		r, err := w.store.Claim(t.Context(), login, to)
		w.ok(err)
		if r.Files != 1 || r.Uploads != 1 {
			t.Errorf("%s: %+v", login, r)
		}
	}
	w.wantFile(alice, "a", "alice's a")
	w.wantFile(alice, "a (1)", "carol's a")
	w.wantFile("github:44", "a", "dave's a")
	w.wantOnDisk("alice/a", "alice/a (1)", "dave/a")
	if u := w.usage("github:44"); u != (store.Usage{Files: 1, FileBytes: 8, Uploads: 1, UploadBytes: 8}) {
		t.Errorf("dave has %+v", u)
	}
	if _, err := w.store.GetUpload(t.Context(), "github:44", store.Token(token[:35]+"d")); err != nil {
		t.Error(err)
	}
	owners, _, err := w.store.ListOwners(t.Context(), 10, "")
	w.ok(err)
	for _, o := range owners {
		if strings.HasPrefix(string(o.Owner.ID), "unclaimed:") {
			t.Errorf("%s is still there", o.Owner.ID)
		}
	}
	w.wantNoFindings("after the claims")
	w.clock.advance(2 * undo)
	for _, i := range w.sweep(store.SweepOptions{}).Items {
		if strings.HasPrefix(string(i.Owner), "unclaimed:") {
			t.Errorf("the sweep names %+v", i)
		}
	}
}
