package e2e_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// unprivileged is who runs the binary in a container image of ours.
const unprivileged = 65532

// serveAs runs "serve" as an unprivileged user, in a folder of its own with
// the data in "uploads", until it gives up. prepare makes the data.
func serveAs(t *testing.T, prepare func(uploads string)) (output string, code int) {
	t.Helper()
	dir, err := os.MkdirTemp("", "upload-service-rights-") // T.TempDir is closed to other users
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	binary, uploads := filepath.Join(dir, "upload-service"), filepath.Join(dir, "uploads")
	content, err := os.ReadFile(plain)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(binary, content, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	prepare(uploads)
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, binary, "serve")
	cmd.Dir = dir
	cmd.Env = environ(dir)
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Credential: &syscall.Credential{Uid: unprivileged, Gid: unprivileged},
	}
	out, err := cmd.CombinedOutput()
	if cmd.ProcessState == nil {
		t.Fatalf("run as user %d: %v; this test needs root", unprivileged, err)
	}
	return string(out), cmd.ProcessState.ExitCode()
}

// TestFolderOfAnotherUser starts the service on data that it may not change,
// as a container does on a folder of the host that root made.
func TestFolderOfAnotherUser(t *testing.T) {
	t.Parallel()
	mkdir := func(name string) {
		if err := os.Mkdir(name, 0o755); err != nil {
			t.Error(err)
		}
	}
	for _, tt := range []struct {
		name    string
		prepare func(uploads string)
	}{
		{"new", mkdir},
		{"used", func(uploads string) {
			mkdir(uploads)
			mkdir(filepath.Join(uploads, ".upload-service"))
		}},
		{"chown without -R", func(uploads string) {
			inner := filepath.Join(uploads, ".upload-service")
			mkdir(uploads)
			mkdir(inner)
			for _, dir := range []string{uploads, inner} {
				if err := os.Chown(dir, unprivileged, unprivileged); err != nil {
					t.Error(err)
				}
			}
			if err := os.WriteFile(filepath.Join(inner, "meta.db"), nil, 0o600); err != nil {
				t.Error(err)
			}
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			out, code := serveAs(t, tt.prepare)
			if code != 1 {
				t.Errorf("got exit code %d, want 1", code)
			}
			if strings.Contains(out, "belongs to user 0, this is user") {
				t.Errorf("told to run as root, besides how to get the folder:\n%s", out)
			}
			for _, want := range []string{
				"permission denied", fmt.Sprintf("user %d, group %[1]d", unprivileged),
				fmt.Sprintf("chown -R %d:%[1]d /", unprivileged), "--user",
			} {
				if !strings.Contains(out, want) {
					t.Errorf("got no %q in:\n%s", want, out)
				}
			}
		})
	}
}

// TestFolderThatCannotBeMade starts the service where its user may not make the
// folder of the data.
func TestFolderThatCannotBeMade(t *testing.T) {
	t.Parallel()
	out, code := serveAs(t, func(string) {})
	if want := fmt.Sprintf("sudo install -d -o %d -g %[1]d /", unprivileged); code != 1 || !strings.Contains(out, want) {
		t.Errorf("got exit code %d and no %q in:\n%s", code, want, out)
	}
}

// TestReadOnlyVolume starts the service on a volume that nobody can write.
func TestReadOnlyVolume(t *testing.T) {
	t.Parallel()
	dir := volume(t, "1m")
	data := filepath.Join(dir, "uploads")
	if err := syscall.Mount("", data, "", syscall.MS_REMOUNT|syscall.MS_RDONLY, ""); err != nil {
		t.Fatal(err)
	}
	out, code := command(t, dir, nil, "serve")
	if want := data + " is mounted read-only"; code != 1 || !strings.Contains(out, want) {
		t.Errorf("got exit code %d and no %q in:\n%s", code, want, out)
	}
}

// TestCommandOfAnotherUser runs the commands for a stopped service as root on
// data of the service's user, who could not use what root would make there. The
// command that they are told instead works.
func TestCommandOfAnotherUser(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	start(t, dir).kill()
	unreadable := filepath.Join(dir, "none")
	asOwner := asStranger(t, dir, unreadable)
	data := filepath.Join(dir, "uploads")
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{
		{"check"}, {"check", "--repair"}, {"sweep"}, {"adopt"}, {"adopt", "--dry-run"}, {"keys", "list"},
		{"keys", "new", "--name", "it's new"},
	} {
		out, code := command(t, dir, nil, args...)
		if code == 0 || !strings.Contains(out, "belongs to user 65534") {
			t.Errorf("%q as root: exit %d\n%s", args, code, out)
		}
		_, hint, _ := strings.Cut(out, "upload-service: hint: run it as that user: ")
		line, container, _ := strings.Cut(hint, " (of a container: ")
		if !strings.Contains(container, "docker run --user 65534:65534") {
			t.Errorf("%q: no word for containers:\n%s", args, out)
		}
		// Where the settings came from may be out of reach for that user.
		if out, code := execute(t, dir, []string{"UPLOAD_DIR=/nowhere"}, "bash", "-c", line); code != 0 {
			t.Errorf("%s: exit %d\n%s", line, code, out)
		}
	}
	err := filepath.WalkDir(data, func(name string, d os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err == nil && info.Sys().(*syscall.Stat_t).Uid != 65534 {
			t.Errorf("%s now belongs to another user", name)
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
	if out, code := asOwner("check", "--content"); code != 0 {
		t.Errorf("check: exit %d\n%s", code, out)
	}
}
