package e2e_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"upload-service/auth/githubtest"
)

const uuid = "6f1c2d9e-0b7a-4c55-9d2e-1f3a5b7c9d0e"

// flask writes a folder as the Flask service left it: two logins with files,
// one of them with a temporary upload and odd names. The contents differ.
func flask(t testing.TB, dir string) {
	t.Helper()
	for name, content := range map[string]string{
		"carol/report.pdf":         "carol's report",
		"carol/2020/summer/a.txt":  "a in a folder",
		"carol/.profile":           "a dotfile",
		"carol/caf\u00e9.txt":      "composed",
		"carol/cafe\u0301.txt":     "decomposed",
		"carol/" + uuid + "/b.txt": "temporary",
		"dave/report.pdf":          "dave's report",
		"back\\slash":              "nobody's",
		"carol/back\\slash":        "refused",
	} {
		name = filepath.Join(dir, "uploads", name)
		err := errors.Join(os.MkdirAll(filepath.Dir(name), 0o755), os.WriteFile(name, []byte(content), 0o644))
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink("/etc/passwd", filepath.Join(dir, "uploads/carol/passwd")); err != nil {
		t.Fatal(err)
	}
}

// fileNames are the paths that an admin sees of an owner.
func (s *server) fileNames(t testing.TB, owner string) (names []string) {
	t.Helper()
	var page struct {
		Files []struct {
			Path   string
			SHA256 *string
		}
	}
	s.must(t, 200, "GET", "/api/v1/files?limit=1000&owner="+owner, nil).json(t, &page)
	for _, f := range page.Files {
		names = append(names, f.Path)
	}
	return names
}

func (s *server) adopted(t testing.TB) bool {
	t.Helper()
	return strings.Contains(s.log.String(), "msg=adopted ")
}

var carols = []string{".profile", "2020/summer/a.txt", "caf\u00e9 (1).txt", "caf\u00e9.txt", "report.pdf"}

// TestAdoptAtStart puts the binary on the folder of the Flask service.
func TestAdoptAtStart(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	flask(t, dir)
	s := start(t, dir)
	key := s.key
	s.must(t, 201, "PUT", "/files/me/new.txt", strings.NewReader("served meanwhile"))
	eventually(t, "the adoption", func() bool { return s.adopted(t) })
	if got := s.fileNames(t, "carol"); !slices.Equal(got, carols) {
		t.Errorf("carol has %q, want %q", got, carols)
	}
	for _, want := range []string{`name=carol/passwd reason="it is a symbolic link`, `back\slash`} {
		if !strings.Contains(s.log.String(), want) {
			t.Errorf("the log does not tell %s", want)
		}
	}
	if a := s.must(t, 200, "GET", "/files/carol/report.pdf", nil); string(a.body) != "carol's report" {
		t.Errorf("got %q", a.body)
	}
	eventually(t, "the digests", func() bool { return strings.Contains(s.log.String(), "computed the SHA-256") })
	a := s.must(t, 200, "GET", "/files/carol/report.pdf", nil)
	if a.header.Get("Repr-Digest") == "" {
		t.Error("no digest")
	}
	if err := s.stop(); err != nil {
		t.Fatal(err)
	}

	// The second start has nothing to do; what was unclaimed is given away.
	s = start(t, dir)
	if err := s.stop(); err != nil || s.adopted(t) {
		t.Errorf("the second start adopts again (%v)", err)
	}
	out, code := command(t, dir, nil, "adopt", "--owner", "carol=local")
	if code != 0 || !strings.Contains(out, "Adopted 0 files and 0 temporary uploads") ||
		!strings.Contains(out, "Gave 5 files and 1 temporary uploads of carol to local.") {
		t.Fatalf("adopt --owner: exit %d\n%s", code, out)
	}
	s = start(t, dir)
	s.key = key
	s.must(t, 404, "GET", "/api/v1/files?owner=carol", nil)
	s.must(t, 200, "GET", "/files/me/report.pdf", nil)
	s.must(t, 201, "POST", "/api/v1/uploads/"+uuid+"/persist", strings.NewReader(`{"folder":"kept"}`))
	if a := s.must(t, 200, "GET", "/files/me/kept/b.txt", nil); string(a.body) != "temporary" {
		t.Errorf("got %q", a.body)
	}
}

// TestAdoptCommand follows an operator: look, then do, then check.
func TestAdoptCommand(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if out, code := command(t, dir, nil, "adopt"); code != 1 || !strings.Contains(out, "hint: set UPLOAD_DIR") {
		t.Errorf("adopt of nothing: exit %d\n%s", code, out)
	}
	flask(t, dir)
	unreadable := filepath.Join(dir, "uploads/dave/secret")
	if err := os.WriteFile(unreadable, nil, 0); err != nil {
		t.Fatal(err)
	}
	asOther := asStranger(t, dir, unreadable)
	const report = " 6 files and 1 temporary uploads, 76 B, of 2 logins (2 unclaimed). Left 4."

	out, code := asOther("adopt", "--dry-run")
	if code != 0 || !strings.Contains(out, "Would adopt"+report) ||
		!strings.Contains(out, `left: "dave/secret": it cannot be read: permission denied`) {
		t.Errorf("adopt --dry-run: exit %d\n%s", code, out)
	}
	if _, err := os.Stat(filepath.Join(dir, "uploads/.upload-service")); err == nil {
		t.Error("the dry run made something")
	}
	if out, code = asOther("adopt"); code != 0 || !strings.Contains(out, "Adopted"+report) {
		t.Errorf("adopt: exit %d\n%s", code, out)
	}
	if out, code = asOther("adopt"); code != 0 || !strings.Contains(out, "Adopted 0 files and 0 temp") {
		t.Errorf("adopt again: exit %d\n%s", code, out)
	}
	out, code = asOther("check", "--content")
	if code != 1 || strings.Count(out, "finding:") != 4 || !strings.Contains(out, "SHA-256 of 7 adopted") {
		t.Errorf("check: exit %d\n%s", code, out)
	}
	if out, code = asOther("adopt", "--owner", "carol"); code != 2 || !strings.Contains(out, "hint:") {
		t.Errorf("adopt --owner carol: exit %d\n%s", code, out)
	}
	if out, code = asOther("adopt", "--owner", "zoe=7"); code != 1 || !strings.Contains(out, "no such owner") {
		t.Errorf("adopt --owner zoe=7: exit %d\n%s", code, out)
	}
}

// asStranger returns a way to run commands as somebody who owns all of dir
// but one file: root can read everything.
func asStranger(t *testing.T, dir, but string) func(args ...string) (string, int) {
	t.Helper()
	if os.Getuid() != 0 {
		return func(args ...string) (string, int) { return command(t, dir, nil, args...) }
	}
	const nobody = 65534
	for _, name := range []string{filepath.Dir(program), filepath.Dir(dir)} {
		if err := os.Chmod(name, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	err := filepath.WalkDir(dir, func(name string, _ os.DirEntry, err error) error {
		if err == nil && name != but {
			err = os.Lchown(name, nobody, nobody)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return func(args ...string) (string, int) {
		as := []string{"setpriv", fmt.Sprint("--reuid=", nobody), fmt.Sprint("--regid=", nobody), "--clear-groups", program}
		return execute(t, dir, nil, append(as, args...)...)
	}
}

// TestAdoptForGitHub asks a stand-in of GitHub whose the logins are.
func TestAdoptForGitHub(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	flask(t, dir)
	github := githubtest.New(t)
	github.Add(githubtest.Account{ID: 33, Login: "Carol"})
	settings := github.Settings()
	s := start(t, dir, settings...)
	eventually(t, "the adoption", func() bool { return s.adopted(t) })
	s.key = "ghp_carol"
	s.must(t, 200, "GET", "/files/me/report.pdf", nil)
	s.must(t, 200, "GET", "/api/v1/uploads/"+uuid, nil)
	s.must(t, 404, "GET", "/files/dave/report.pdf", nil)
	// Nobody had the login dave when GitHub was asked: who has it now is new.
	github.Add(githubtest.Account{ID: 44, Login: "dave"})
	s.key = "ghp_dave"
	s.must(t, 404, "GET", "/files/me/report.pdf", nil)
	s.must(t, 404, "GET", "/files/dave/report.pdf", nil)
	s.must(t, 201, "PUT", "/files/me/mine", strings.NewReader("of the new dave"))
	if err := s.stop(); err != nil {
		t.Fatal(err)
	}
	out, code := command(t, dir, settings, "adopt", "--owner", "dave=44")
	if code != 0 || !strings.Contains(out, "Gave 1 files and 0 temporary uploads of dave to github:44.") {
		t.Fatalf("adopt --owner: exit %d\n%s", code, out)
	}
	if b, err := os.ReadFile(filepath.Join(dir, "uploads/dave~44/report.pdf")); string(b) != "dave's report" {
		t.Errorf("the tree shows %q, %v", b, err)
	}
	s = start(t, dir, settings...)
	s.key = "ghp_dave"
	s.must(t, 200, "GET", "/files/me/report.pdf", nil)
}

// adoptSteps are the fail points of an adoption and of what follows it.
var adoptSteps = []string{"adopt: linked", "adopt: committed", "adopt: names removed", "claim: begun", "claim: moved"}

// TestAdoptCrash kills an adoption at every step, by command and at the start
// of the server, and finishes it: each content is there exactly once.
func TestAdoptCrash(t *testing.T) {
	t.Parallel()
	more := []string{"epoch: opened", "commit: before", "commit: after", "tree: locked", "tree: shown"}
	for _, step := range slices.Concat(adoptSteps, more) {
		t.Run(step, func(t *testing.T) {
			t.Parallel()
			crashAdoption(t, step+"#1", func(t *testing.T, dir, point string) {
				out, _ := command(t, dir, []string{point}, "adopt", "--owner", "dave=local", "--owner", "carol=44")
				if !strings.Contains(out, "failpoint: "+step+"\n") {
					t.Errorf("%s was not reached:\n%s", point, out)
				}
			})
			crashAdoption(t, step+"#2", func(t *testing.T, dir, point string) {
				command(t, dir, []string{point}, "adopt", "--owner", "dave=local", "--owner", "carol=44")
			})
			if strings.HasPrefix(step, "claim") {
				return // by command only
			}
			crashAdoption(t, step+"#1", func(t *testing.T, dir, point string) {
				s, err := tryStart(t, program, dir, point)
				if err == nil {
					select {
					case <-s.done:
					case <-time.After(20 * time.Second):
						s.kill()
					}
				}
				if !strings.Contains(s.log.String(), "failpoint: "+step+"\n") {
					t.Errorf("%s was not reached by the server:\n%s", point, s.log)
				}
			})
		})
	}
}

// crashAdoption lets die adopt a folder, and then an operator who does it
// again and checks.
func crashAdoption(t *testing.T, point string, die func(t *testing.T, dir, point string)) {
	t.Helper()
	dir := t.TempDir()
	flask(t, dir)
	die(t, dir, "FAILPOINT="+point)
	out, code := command(t, dir, nil, "adopt", "--owner", "carol=44")
	if code != 0 && !strings.Contains(out, "no such owner") { // that was finished by itself
		t.Fatalf("%s: adopt: exit %d\n%s", point, code, out)
	}
	out, code = command(t, dir, nil, "check", "--content")
	if code != 1 || strings.Count(out, "finding:") != 3 ||
		!strings.Contains(out, " 6 files, 1 uploads, 7 contents of 76 B") {
		t.Fatalf("%s: check: exit %d\n%s", point, code, out)
	}
	want := append(slices.Clone(carols), "back\\slash")
	slices.Sort(want)
	if got := treeOf(t, filepath.Join(dir, "uploads/carol")); !slices.Equal(got, want) {
		t.Fatalf("%s: the tree shows %q, want %q", point, got, want)
	}
}

// treeOf lists the regular files below a folder, sorted.
func treeOf(t testing.TB, dir string) (names []string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(name string, d os.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() {
			rel, _ := filepath.Rel(dir, name)
			names = append(names, rel)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(names)
	return names
}

// TestAdoptMany serves while many files are adopted, is killed in the middle
// and goes on. Uploads race with the adoption for the same paths: each old file
// is there in the end, beside what took its path before it was adopted, and no
// upload waits long. ADOPT_FILES makes it more; times and memory are logged.
func TestAdoptMany(t *testing.T) {
	files := 4000
	if v := os.Getenv("ADOPT_FILES"); v != "" {
		n, err := strconv.Atoi(v)
		if err != nil {
			t.Fatalf("ADOPT_FILES: %v", err)
		}
		files = n
	}
	dir := t.TempDir()
	for i := range files {
		login := fmt.Sprintf("login-%d", i%10)
		if i%10 == 0 {
			login = "local"
		}
		folder := filepath.Join(dir, "uploads", login, fmt.Sprint(i/1000))
		err := errors.Join(os.MkdirAll(folder, 0o755),
			os.WriteFile(filepath.Join(folder, fmt.Sprint(i)), fmt.Appendf(nil, "content %d", i), 0o644))
		if err != nil {
			t.Fatal(err)
		}
	}
	begin := time.Now()
	s := startBinary(t, plain, dir)
	listening := time.Since(begin)
	peak := watchMemory(t, s.cmd.Process.Pid)
	uploads, created, slowest := 0, 0, time.Duration(0)
	for !s.adopted(t) {
		sent := time.Now()
		// The last old file first; an upload that comes later replaces it.
		i := files - 10*(uploads%(files/10)+1)
		a, err := s.do("PUT", fmt.Sprintf("/files/me/%d/%d", i/1000, i), strings.NewReader("served meanwhile"))
		if err != nil || a.status != 201 && a.status != 200 {
			t.Fatalf("PUT: %d, %v: %s", a.status, err, a.body)
		}
		if a.status == 201 {
			created++
		}
		slowest = max(slowest, time.Since(sent))
		if uploads++; uploads == 100 {
			s.kill()
			if s.adopted(t) {
				t.Fatal("too few files: nothing was left to adopt")
			}
			key := s.key
			s = startBinary(t, plain, dir)
			s.key = key
			peak = watchMemory(t, s.cmd.Process.Pid)
		}
		if time.Since(begin) > 10*time.Minute {
			t.Fatal("not adopted after 10 minutes")
		}
	}
	t.Logf("%d files: listening after %s, adopted after %s, %d uploads meanwhile, %d of them before the old file, the slowest took %s, peak %d MiB",
		files, listening, time.Since(begin), uploads, created, slowest, peak.Load()>>20)
	if peak.Load() > 64<<20 {
		t.Errorf("the server took %d MiB", peak.Load()>>20)
	}
	if slowest > 5*time.Second {
		t.Errorf("an upload took %s", slowest)
	}
	var stats struct{ Files int }
	if err := json.Unmarshal(s.must(t, 200, "GET", "/api/v1/admin/stats", nil).body, &stats); err != nil {
		t.Fatal(err)
	}
	if stats.Files != files+created {
		t.Errorf("there are %d files, want %d and %d", stats.Files, files, created)
	}
	if err := s.stop(); err != nil {
		t.Fatal(err)
	}
	if out, code := command(t, dir, nil, "check"); code != 0 {
		t.Errorf("check: exit %d\n%.2000s", code, out)
	}
}

// TestAdoptOthersFiles adopts files that belong to another user, in folders
// that cannot be written: they are copied, once, and the old names are reported.
func TestAdoptOthersFiles(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	flask(t, dir)
	theirs := filepath.Join(dir, "uploads/erin")
	names := []string{filepath.Join(theirs, "a"), filepath.Join(theirs, uuid, "b")}
	for _, name := range names {
		err := errors.Join(os.MkdirAll(filepath.Dir(name), 0o755), os.WriteFile(name, []byte("theirs"), 0o644))
		if err != nil {
			t.Fatal(err)
		}
	}
	asOther := asStranger(t, dir, "")
	for _, name := range []string{names[0], names[1], filepath.Dir(names[1]), theirs} {
		info, err := os.Stat(name)
		if err == nil && info.IsDir() {
			err = os.Chmod(name, 0o555)
			t.Cleanup(func() { os.Chmod(name, 0o755) }) //nolint:errcheck // so that it can be removed
		}
		if err == nil && os.Getuid() == 0 {
			err = os.Chown(name, 0, 0)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	const copied = "2 of the files, 12 B, cannot be linked and "
	out, code := asOther("adopt", "--dry-run")
	if os.Getuid() == 0 && (code != 0 || !strings.Contains(out, `copy: "erin/a"`) || !strings.Contains(out, copied+"would be copied.")) {
		t.Errorf("adopt --dry-run: exit %d\n%s", code, out)
	}
	out, code = asOther("adopt")
	if os.Getuid() == 0 && !strings.Contains(out, copied+"were copied.") {
		t.Errorf("adopt does not say what it copied:\n%s", out)
	}
	if code != 0 || !strings.Contains(out, "Adopted 7 files and 2 temporary uploads") ||
		!strings.Contains(out, `left: "erin/`+uuid+`/b": it is adopted, but its old name cannot be removed`) {
		t.Fatalf("adopt: exit %d\n%s", code, out)
	}
	for range 2 {
		out, code = asOther("adopt")
		if code != 0 || !strings.Contains(out, "Adopted 0 files and 0 temporary uploads") ||
			!strings.Contains(out, "its old name cannot be removed") || strings.Contains(out, "keeps changing") {
			t.Fatalf("adopt again: exit %d\n%s", code, out)
		}
	}
}
