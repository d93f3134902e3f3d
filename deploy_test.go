package architecture_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"
)

func read(t *testing.T, name string) string {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// find returns what the group of pattern matches in a file.
func find(t *testing.T, name, pattern string) string {
	t.Helper()
	m := regexp.MustCompile(pattern).FindStringSubmatch(read(t, name))
	if m == nil {
		t.Fatalf("%s has nothing like %s", name, pattern)
	}
	return m[1]
}

// TestImageContext compares what is sent to the builder of the image with the
// packages of the program, and its Go with that of go.mod.
func TestImageContext(t *testing.T) {
	t.Parallel()
	sent := strings.Split(read(t, ".dockerignore"), "\n")
	out, err := exec.Command("go", "list", "-deps", "./cmd/upload-service").Output()
	if err != nil {
		t.Fatal(err)
	}
	for p := range strings.FieldsSeq(string(out)) {
		rest, ours := strings.CutPrefix(p, "upload-service/")
		top, _, _ := strings.Cut(rest, "/")
		if ours && !strings.Contains(strings.Join(sent, "\n")+"\n", "\n!"+top+"\n") {
			t.Errorf(".dockerignore leaves out %s, which the program needs", top)
		}
	}
	image := find(t, "Dockerfile", `golang:(\d+\.\d+)-`)
	if module := find(t, "go.mod", `(?m)^go (\d+\.\d+)`); image != module {
		t.Errorf("the image is built by Go %s, go.mod has %s", image, module)
	}
	if flake := find(t, "flake.nix", `go_(1_\d+)`); flake != strings.Replace(image, ".", "_", 1) {
		t.Errorf("flake.nix has Go %s, the image %s", flake, image)
	}
}

// TestTimeToStop asks everybody who stops the service for more time than the
// steps of its end may take together.
func TestTimeToStop(t *testing.T) {
	t.Parallel()
	most, err := time.ParseDuration(find(t, ".env.example", `UPLOAD_SHUTDOWN_GRACE=(\S+)`))
	if err != nil {
		t.Fatal(err)
	}
	for _, step := range [][2]string{
		{"handlers/transport/server.go", `cutWait = (\d+) \* time.Second`},
		{"handlers/transport/conn.go", `lingerTime += (\d+) \* time.Second`},
		{"cmd/upload-service/serve.go", `jobsWait = (\d+) \* time.Second`},
		{"cmd/upload-service/serve.go", `closeWait = (\d+) \* time.Second`},
	} {
		seconds, err := strconv.Atoi(find(t, step[0], step[1]))
		if err != nil {
			t.Fatal(err)
		}
		most += time.Duration(seconds) * time.Second
	}
	for name, pattern := range map[string]string{
		"compose.yaml":                  `stop_grace_period: (\d+s)`,
		"deploy/upload-service.service": `TimeoutStopSec=(\d+s)`,
	} {
		got, err := time.ParseDuration(find(t, name, pattern))
		if err != nil || got <= most {
			t.Errorf("%s gives %v, %v; want more than %v", name, got, err, most)
		}
	}
}

// TestImageUser compares who runs the service in a container with who owns the
// folder, wherever a text or a file says so.
func TestImageUser(t *testing.T) {
	t.Parallel()
	user := find(t, "Dockerfile", `USER (\S+)`)
	for name, pattern := range map[string]string{
		"flake.nix":          `User = "(.*)"`,
		"compose.yaml":       `user: "(.*)"`,
		"README.md":          `chown -R (\S+) uploads`,
		"docs/operations.md": `chown -R (\S+) uploads`,
	} {
		if got := find(t, name, pattern); got != user {
			t.Errorf("%s has user %s, the image %s", name, got, user)
		}
	}
}

// TestPictures bounds what the pictures of the README weigh.
func TestPictures(t *testing.T) {
	t.Parallel()
	pictures, err := filepath.Glob("docs/img/*.png")
	if err != nil || len(pictures) != 2 {
		t.Fatalf("docs/img has %q, %v; want one picture of each scheme", pictures, err)
	}
	for _, name := range pictures {
		if size := len(read(t, name)); size > 150_000 {
			t.Errorf("%s has %d bytes, more than 150,000", name, size)
		}
		if !strings.Contains(read(t, "README.md"), name) {
			t.Errorf("the README does not show %s", name)
		}
	}
}

// TestUnit lets systemd read its unit and judge how much it may do.
func TestUnit(t *testing.T) {
	t.Parallel()
	unit := filepath.Join(t.TempDir(), "upload-service.service")
	text := read(t, "deploy/upload-service.service")
	// The binary need not be installed on this machine, nor its manual.
	text = strings.Replace(text, "/usr/local/bin/upload-service", "/bin/true", 1)
	text = regexp.MustCompile("(?m)^Documentation=.*\n").ReplaceAllString(text, "")
	if err := os.WriteFile(unit, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command("systemd-analyze", "verify", unit).CombinedOutput()
	if lines := about(out, unit); err != nil || lines != "" {
		t.Errorf("systemd-analyze verify: %v\n%s", err, out)
	}
	const most = "20" // of 100; 96 is a unit that restricts nothing
	out, err = exec.Command("systemd-analyze", "security", "--offline=true", "--threshold="+most,
		"--no-pager", unit).CombinedOutput()
	if err != nil {
		t.Errorf("systemd-analyze security: %v\n%s", err, out)
	}
}

// about returns the lines that name the unit: other units of this machine may
// have mistakes too.
func about(out []byte, unit string) (lines string) {
	for line := range strings.Lines(string(out)) {
		if strings.Contains(line, filepath.Base(unit)) {
			lines += line
		}
	}
	return lines
}

// TestVendorHash compares the hash in flake.nix with the dependencies that
// Nix would fetch: the archive (NAR) of the folder of "go mod vendor".
func TestVendorHash(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "vendor")
	if out, err := exec.Command("go", "mod", "vendor", "-o", dir).CombinedOutput(); err != nil {
		t.Fatalf("go mod vendor: %v\n%s", err, out)
	}
	sum := sha256.New()
	put(sum, "nix-archive-1")
	archive(t, sum, dir)
	want := "sha256-" + base64.StdEncoding.EncodeToString(sum.Sum(nil))
	if got := find(t, "flake.nix", `vendorHash = "(.*)"`); got != want {
		t.Errorf("flake.nix has vendorHash %q, the dependencies have %q", got, want)
	}
}

// TestPagesHash compares the hash in flake.nix with what the pages load.
func TestPagesHash(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	names, err := filepath.Glob("static/dist/*")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		switch filepath.Ext(name) {
		case ".css", ".js", ".txt", ".json":
			err := os.WriteFile(filepath.Join(dir, filepath.Base(name)), []byte(read(t, name)), 0o600)
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	sum := sha256.New()
	put(sum, "nix-archive-1")
	archive(t, sum, dir)
	want := "sha256-" + base64.StdEncoding.EncodeToString(sum.Sum(nil))
	if got := find(t, "flake.nix", `outputHash = "(.*)"`); got != want {
		t.Errorf("flake.nix has outputHash %q, the bundles have %q", got, want)
	}
}

// archive writes a file or folder as NAR does: names in order, and of the
// metadata only whether a file can be executed, which no vendored one can.
func archive(t *testing.T, w io.Writer, name string) {
	entries, err := os.ReadDir(name)
	if err != nil {
		put(w, "(", "type", "regular", "contents", read(t, name), ")")
		return
	}
	put(w, "(", "type", "directory")
	for _, e := range entries {
		put(w, "entry", "(", "name", e.Name(), "node")
		archive(t, w, filepath.Join(name, e.Name()))
		put(w, ")")
	}
	put(w, ")")
}

// put writes strings with their length, padded to eight bytes.
func put(w io.Writer, list ...string) {
	for _, s := range list {
		var b bytes.Buffer
		binary.Write(&b, binary.LittleEndian, uint64(len(s))) //nolint:errcheck // a buffer
		b.WriteString(s)
		b.Write(make([]byte, -len(s)&7))
		w.Write(b.Bytes()) //nolint:errcheck // a hash never fails
	}
}
