package main

import (
	"os"
	"slices"
	"strings"
	"testing"
)

// TestLimitsDoc keeps the defaults in docs/limits.md equal to the settings,
// and every limit in it. The e2e tests look at the answers.
func TestLimitsDoc(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../../docs/limits.md")
	if err != nil {
		t.Fatal(err)
	}
	defaults := map[string]string{}
	for _, s := range settings() {
		defaults[s.name] = s.value
	}
	var found []string
	for line := range strings.Lines(string(text)) {
		cells := strings.Split(line, "|")
		if len(cells) < 3 || !strings.HasPrefix(cells[1], " `UPLOAD_") {
			continue
		}
		name, value := strings.Trim(cells[1], " `"), strings.Trim(cells[2], " `")
		found = append(found, name)
		if defaults[name] != value {
			t.Errorf("docs/limits.md says that %s is %q, the default is %q", name, value, defaults[name])
		}
	}
	for name := range defaults {
		limit := strings.Contains(name, "_MAX_") || strings.HasPrefix(name, "UPLOAD_OWNER_") ||
			strings.HasSuffix(name, "_LIMIT") || name == "UPLOAD_MIN_FREE"
		if limit && !slices.Contains(found, name) {
			t.Errorf("docs/limits.md is without %s", name)
		}
	}
}
