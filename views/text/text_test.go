package text_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"upload-service/views/text"
)

// TestTexts compares the texts that there are with those that pages, handlers
// and scripts ask for, both ways.
func TestTexts(t *testing.T) {
	t.Parallel()
	texts := map[string]bool{} // key -> asked for
	files, err := filepath.Glob("*.json")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range files {
		var page map[string]string
		b, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(b, &page); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		for key := range page {
			texts[strings.TrimSuffix(name, ".json")+"."+key] = false
		}
	}

	// 1. In templates and Go: {{t "key"}}, text.Get("key"), also the beginning
	// of a key that is put together.
	asked := regexp.MustCompile(`(?:\bt|text\.Get\(|Text:) ?"([a-z]+\.[a-z_.]*)"( \+)?|"(common\.theme[a-z.]*)"`)
	for _, pattern := range []string{"../*.html", "../*.go", "../../handlers/*.go"} {
		sources, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		for _, source := range sources {
			if strings.HasSuffix(source, "_test.go") {
				continue
			}
			b, err := os.ReadFile(source)
			if err != nil {
				t.Fatal(err)
			}
			for _, m := range asked.FindAllStringSubmatch(string(b), -1) {
				key := m[1] + m[3]
				found := false
				for have := range texts {
					stem, counted := strings.CutSuffix(key, ".n")
					if have == key || m[2] != "" && strings.HasPrefix(have, key) ||
						counted && (have == stem+".one" || have == stem+".other") {
						texts[have], found = true, true
					}
				}
				if !found {
					t.Errorf("%s asks for %s, which is not there", source, key)
				}
			}
		}
	}

	// 2. In scripts: text.key.
	scripts, err := filepath.Glob("../../static/src/*.js")
	if err != nil {
		t.Fatal(err)
	}
	var source strings.Builder
	for _, name := range scripts {
		b, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		source.Write(b)
	}
	for _, m := range regexp.MustCompile(`\btext\.([a-zA-Z_0-9]+)`).FindAllStringSubmatch(source.String(), -1) {
		key := "script." + m[1]
		if _, ok := texts[key]; !ok && m[1] != "js" {
			t.Errorf("a script asks for %s, which is not there", key)
		}
		texts[key] = true
	}
	if strings.Contains(source.String(), "text[") {
		t.Error("a script asks for text[…], which brings all texts into its bundle")
	}
	for key, asked := range texts {
		if !asked {
			t.Errorf("nobody asks for %s", key)
		}
	}
}

func TestGet(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		key  string
		args []any
		want string
	}{
		{"home.saved.n", []any{1, "a/b"}, "Saved 1 file to a/b."},
		{"home.saved.n", []any{2, "a/b"}, "Saved 2 files to a/b."},
		{"common.undo", nil, "Undo"},
	} {
		if got := text.Get(c.key, c.args...); got != c.want {
			t.Errorf("%s %v: got %q, want %q", c.key, c.args, got, c.want)
		}
	}
}
