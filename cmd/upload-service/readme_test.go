package main

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "rewrite .env.example and the table in README.md")

// TestEnvExample keeps .env.example equal to the settings.
func TestEnvExample(t *testing.T) {
	t.Parallel()
	const path = "../../.env.example"
	want := envExample()
	if *update {
		if err := os.WriteFile(path, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != want {
		t.Errorf("%s is old: go test ./cmd/upload-service -run TestEnvExample -update", path)
	}
}

// TestReadmeSettings keeps the table in the README equal to the settings.
func TestReadmeSettings(t *testing.T) {
	t.Parallel()
	const path, begin, end = "../../README.md", "<!-- settings -->\n", "<!-- /settings -->"
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, ok := strings.Cut(string(text), begin)
	got, after, closed := strings.Cut(rest, end)
	if !ok || !closed {
		t.Fatalf("%s has no lines %q and %q", path, begin, end)
	}
	want := settingsTable()
	if *update {
		if err := os.WriteFile(path, []byte(before+begin+want+end+after), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if got != want {
		t.Errorf("the table in %s is old: go test ./cmd/upload-service -run TestReadmeSettings -update",
			path)
	}
}

// settingsTable is a Markdown table of all settings.
func settingsTable() string {
	var b strings.Builder
	b.WriteString("| name | default | meaning |\n|---|---|---|\n")
	for _, s := range settings() {
		value := ""
		if s.value != "" {
			value = "`" + s.value + "`"
		}
		fmt.Fprintf(&b, "| `%s` | %s | %s |\n", s.name, value, s.help)
	}
	return b.String()
}

// envExample is a .env file in which every setting is a comment.
func envExample() string {
	var b strings.Builder
	b.WriteString(`# The settings, each with its default. Copy this file to .env in the working
# directory and remove the # before those you change. Write a value with a $ in
# single quotes; but "docker run --env-file" knows no quotes: they would become a
# part of the value there, and a $ is just a $.
`)
	for _, s := range settings() {
		fmt.Fprintf(&b, "\n# %s\n#%s=%s\n", s.help, s.name, s.value)
	}
	return b.String()
}
