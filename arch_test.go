package architecture_test

import (
	"bytes"
	"encoding/json"
	"go/parser"
	"go/token"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

type pkg struct {
	ImportPath string
	Dir        string
	GoFiles    []string
	Imports    []string
}

func packages(t *testing.T) []pkg {
	t.Helper()
	out, err := exec.Command("go", "list", "-json=ImportPath,Dir,GoFiles,Imports", "./...").Output()
	if err != nil {
		t.Fatal(err)
	}
	var list []pkg
	for d := json.NewDecoder(bytes.NewReader(out)); d.More(); {
		var p pkg
		if err := d.Decode(&p); err != nil {
			t.Fatal(err)
		}
		list = append(list, p)
	}
	if len(list) < 10 {
		t.Fatalf("only %d packages found", len(list))
	}
	return list
}

// TestImports enforces the layers. only[x] are the packages, with those below
// them, that may import x.
func TestImports(t *testing.T) {
	only := map[string][]string{
		"github.com/gofiber/fiber/v2":    {"handlers"},
		"github.com/valyala/fasthttp":    {"handlers/transport"},
		"go.etcd.io/bbolt":               {"store/kv/bolt", "bench"},
		"github.com/gofrs/flock":         {"store/lock"},
		"github.com/go-co-op/gocron/v2":  {"cmd"},
		"golang.org/x/oauth2":            {"auth"},
		"github.com/spf13/cobra":         {"cmd"},
		"upload-service/handlers":        {"cmd", "handlers", "bench"},
		"upload-service/auth":            {"cmd", "handlers"},
		"upload-service/views":           {"handlers"},
		"upload-service/store/kv/bolt":   {"cmd", "bench"},
		"upload-service/store/blob/disk": {"cmd", "bench"},
		"upload-service/store/lock":      {"cmd", "bench"},
		"upload-service/store/tree":      {"cmd"},
	}
	for _, p := range packages(t) {
		short := strings.TrimPrefix(p.ImportPath, "upload-service/")
		under := func(dir string) bool { return short == dir || strings.HasPrefix(short, dir+"/") }
		for _, imported := range p.Imports {
			for rule, allowed := range only {
				if imported != rule && !strings.HasPrefix(imported, rule+"/") || under(strings.TrimPrefix(rule, "upload-service/")) {
					continue
				}
				if !slices.ContainsFunc(allowed, under) {
					t.Errorf("%s imports %s, which only %v may", short, imported, allowed)
				}
			}
			switch {
			case under("store") && (imported == "net/http" || strings.HasPrefix(imported, "upload-service/handlers")):
				t.Errorf("%s imports %s: the domain knows no HTTP", short, imported)
			case under("handlers") && !under("handlers/transport") && (imported == "os" || imported == "io/ioutil"):
				t.Errorf("%s imports %s: handlers touch no file system", short, imported)
			}
		}
	}
}

// TestPackageDocs asks for a doc comment of more than a line in every package.
func TestPackageDocs(t *testing.T) {
	for _, p := range packages(t) {
		doc := ""
		for _, name := range p.GoFiles {
			f, err := parser.ParseFile(token.NewFileSet(), filepath.Join(p.Dir, name), nil, parser.PackageClauseOnly|parser.ParseComments)
			if err != nil {
				t.Fatal(err)
			}
			if f.Doc != nil {
				doc += f.Doc.Text()
			}
		}
		if strings.Count(doc, "\n") < 2 {
			t.Errorf("%s has no doc comment that says what it is and what it is not", p.ImportPath)
		}
	}
}

// TestStatusesAreDecidedInOnePlace finds error statuses outside errors.go.
func TestStatusesAreDecidedInOnePlace(t *testing.T) {
	literal := regexp.MustCompile(`\b(?:fiber|http|fasthttp)\.(?:Status|Err)\w+|\b(?:4[0-9]{2}|50[0-9]|511)\b`)
	fine := map[string]bool{
		"fasthttp.ErrSmallBuffer": true, "fasthttp.ErrBodyStreamWritePanic": true,
		"fasthttp.StatusInternalServerError": true, // where the app failed and cannot be asked
	}
	for _, name := range []string{
		"OK", "Created", "NoContent", "PartialContent", "Found", "SeeOther", "NotModified", "PermanentRedirect", "Continue",
	} {
		fine["fiber.Status"+name], fine["fasthttp.Status"+name] = true, true
	}
	files, err := filepath.Glob("handlers/*.go")
	if err != nil {
		t.Fatal(err)
	}
	transport, err := filepath.Glob("handlers/transport/*.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range append(files, transport...) {
		if strings.HasSuffix(name, "_test.go") || filepath.Base(name) == "errors.go" {
			continue
		}
		source, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		for n, line := range strings.Split(string(source), "\n") {
			code, _, _ := strings.Cut(line, "//")
			for _, found := range literal.FindAllString(code, -1) {
				if !fine[found] {
					t.Errorf("%s:%d decides a status: %s", name, n+1, strings.TrimSpace(line))
				}
			}
		}
	}
}

// TestFailPointsAreOffByDefault makes sure that no release can be killed by a
// variable.
func TestFailPointsAreOffByDefault(t *testing.T) {
	out, err := exec.Command("go", "list", "-f", "{{.GoFiles}}", "./store/failpoint").Output()
	if err != nil {
		t.Fatal(err)
	}
	if got := strings.TrimSpace(string(out)); got != "[off.go]" {
		t.Errorf("a normal build has %s", got)
	}
}
