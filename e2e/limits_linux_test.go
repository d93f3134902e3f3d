package e2e_test

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// volume mounts a file system of its own for the data of a test.
func volume(t *testing.T, size string) (dir string) {
	t.Helper()
	dir = t.TempDir()
	data := filepath.Join(dir, "uploads")
	if err := os.Mkdir(data, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mount("tmpfs", data, "tmpfs", 0, "size="+size); err != nil {
		t.Fatalf("mount a small file system: %v; a test of the disk's limits needs one: run it as root, "+
			"or with: unshare --map-root-user --mount make test", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(data, syscall.MNT_DETACH); err != nil {
			t.Errorf("unmount: %v", err)
		}
	})
	return dir
}

// free is the room that is left on the volume, in bytes.
func free(t *testing.T, dir string) int {
	t.Helper()
	var st syscall.Statfs_t
	if err := syscall.Statfs(filepath.Join(dir, "uploads"), &st); err != nil {
		t.Fatal(err)
	}
	return int(st.Bavail) * int(st.Bsize)
}

// TestLimitDisk races for what is left above the reserve of a small volume.
func TestLimitDisk(t *testing.T) {
	t.Parallel()
	const fit, size, slack = 7, 512 << 10, 300 << 10 // slack is for metadata
	full := refusalBy(t, "UPLOAD_MIN_FREE", 507, "full", 60)
	dir := volume(t, "64m")
	s := start(t, dir)
	key := s.key
	if err := s.stop(); err != nil {
		t.Fatalf("stop: %v", err)
	}
	reserve := free(t, dir) - fit*size - slack
	s = start(t, dir, fmt.Sprintf("UPLOAD_MIN_FREE=%d", reserve), "UPLOAD_UNDO=0")
	s.key = key

	for _, w := range ways[:2] { // of the others the head tells nothing
		left := free(t, dir) - reserve
		if a := w.head(t, s, left, fmt.Sprintf("Content-Length: %d\r\nExpect: 100-continue", left)); a.status != 100 {
			t.Errorf("%s of all that is left: %d %s", w.name, a.status, a.body)
		}
		full.before(t, s, w, left+1)
	}
	for _, w := range kinds {
		for name, chunked := range w.lengths() {
			won := w.race(t, s, size, chunked, full)
			// Only a declared size is set aside as a whole: others fill the
			// volume together and are refused together.
			if w.kind == "raw" && !chunked && won != fit || won > fit {
				t.Errorf("%s, %s: %d clients got in, want %d", w.name, name, won, fit)
			}
			if left := free(t, dir); left < reserve-slack {
				t.Errorf("%s, %s: %d bytes are free, below the reserve of %d", w.name, name, left, reserve)
			}
			// An upload that was refused behind its beginning can go on later.
			if got := s.usage(t); got != (usage{won * size, won}) && (!w.resumable() || got.Files < won) {
				t.Errorf("%s, %s: counted %+v, want %d files", w.name, name, got, won)
			}
			s.clear(t)
			s.must(t, 200, "POST", "/api/v1/admin/cleanup", strings.NewReader(`{}`))
			if a := w.send(t, s, "next", w.body(content{"next", size}), chunked); a.status != w.status {
				t.Errorf("%s, %s: the next after a delete: %d %s", w.name, name, a.status, a.body)
			}
			s.clear(t)
			s.must(t, 200, "POST", "/api/v1/admin/cleanup", strings.NewReader(`{}`))
		}
	}

	// Without room for anything new, the rest goes on: one upload is made
	// permanent, changed, and deleted.
	var u struct{ Token string }
	s.must(t, 201, "POST", "/api/v1/uploads?filename=f", strings.NewReader("x")).json(t, &u)
	if err := s.stop(); err != nil {
		t.Fatalf("stop: %v", err)
	}
	s = start(t, dir, "UPLOAD_MIN_FREE=64MiB", "UPLOAD_UNDO=0")
	s.key = key
	for _, w := range ways {
		full.beforeAny(t, s, w)
	}
	var files struct{ Files []struct{ ID string } }
	s.must(t, 201, "POST", "/api/v1/uploads/"+u.Token+"/persist", strings.NewReader(`{}`)).json(t, &files)
	s.must(t, 200, "PATCH", "/api/v1/files/"+files.Files[0].ID, strings.NewReader(`{"tags":["a"]}`),
		"Content-Type", "application/merge-patch+json")
	s.must(t, 204, "DELETE", "/files/me/f", nil)
	s.wantClean(t, dir)
}

// TestVolumeWithoutReserve runs out of space in the middle of bodies.
func TestVolumeWithoutReserve(t *testing.T) {
	t.Parallel()
	full := refusalBy(t, "UPLOAD_MIN_FREE", 507, "full", 60)
	dir := volume(t, "20m")
	s := start(t, dir, "UPLOAD_UNDO=0")
	body := make([]byte, 21<<20) // and a rest that is read away behind a refusal
	for name, chunked := range lengths {
		full.check(t, name, ways[0].send(t, s, "f", body, chunked))
	}
	s.must(t, 201, "PUT", "/files/me/small", bytes.NewReader(body[:1<<20]))
	s.wantClean(t, dir)
}
