package main

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"reflect"
	"slices"
	"strings"

	"github.com/agnivade/levenshtein"
	"github.com/joho/godotenv"

	"upload-service/handlers"
)

// setting is what the tags of one field of Config say.
type setting struct {
	group   string
	field   string // of Config
	name    string // in the environment
	value   string // if it is not set; "" for none
	example string
	help    string // without a final dot
	secret  bool
}

// settings lists all settings in the order of Config.
func settings() []setting {
	var list []setting
	group := ""
	for f := range reflect.TypeFor[Config]().Fields() {
		group = cmp.Or(f.Tag.Get("group"), group)
		value := f.Tag.Get("envDefault")
		list = append(list, setting{
			group:   group,
			field:   f.Name,
			name:    f.Tag.Get("env"),
			value:   value,
			example: cmp.Or(f.Tag.Get("example"), value),
			help:    f.Tag.Get("help"),
			secret:  f.Tag.Get("secret") == "true",
		})
	}
	return list
}

// flag is the name on the command line, where secrets are not accepted.
func (s setting) flag() string {
	return strings.ReplaceAll(strings.ToLower(s.name), "_", "-")
}

// shown is every setting as the service runs with it, for the page of the
// operator. The value of a secret does not leave this package.
func shown(cfg Config) []handlers.Setting {
	var list []handlers.Setting
	fields := reflect.ValueOf(cfg)
	for _, s := range settings() {
		field := fields.FieldByName(s.field)
		v := handlers.Setting{Group: s.group, Name: s.name, Help: s.help, Secret: s.secret, Set: !field.IsZero()}
		if !s.secret {
			v.Value = fmt.Sprint(field.Interface())
		}
		list = append(list, v)
	}
	return list
}

// readDotenv parses a file of NAME=value lines; a missing file has none. The
// parser's own errors quote the file, secrets and all, so they are not shown.
func readDotenv(path string) (map[string]string, error) {
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read settings: %w", err)
	}
	text = append(text, '\n') // a last line without "=" would pass otherwise
	values, err := godotenv.UnmarshalBytes(text)
	if err == nil {
		return values, nil
	}
	lines := bytes.SplitAfter(text, []byte("\n"))
	good := len(lines) - 1
	for good > 0 && err != nil {
		good--
		_, err = godotenv.UnmarshalBytes(bytes.Join(lines[:good], nil))
	}
	return nil, fmt.Errorf("%s: line %d is not NAME=value, or its quote is not closed", path, good+1)
}

// readSecret reads a secret from the file named by its _FILE setting, if any.
// Editors and echo end a file with a newline that is not part of the secret.
func readSecret(secret *string, file string) error {
	if file == "" {
		return nil
	}
	if *secret != "" {
		return errors.New("is set, and so is the secret itself; keep one")
	}
	b, err := os.ReadFile(file)
	if err != nil {
		return fmt.Errorf("cannot be read: %w", err)
	}
	*secret = strings.TrimSuffix(strings.TrimSuffix(string(b), "\n"), "\r")
	if *secret == "" {
		return errors.New("is an empty file")
	}
	return nil
}

// strangers returns, sorted, the names in source that look meant as settings
// and are none: those with our prefix, and those at most two typing errors
// from a setting. The prefix GITHUB_ alone says nothing: CI systems set dozens.
func strangers(source map[string]string, names []string) []string {
	var list []string
	for _, name := range slices.Sorted(maps.Keys(source)) {
		near := nearest(name, names)
		ours := strings.HasPrefix(name, "UPLOAD_") || levenshtein.ComputeDistance(name, near) <= 2
		if ours && name != near {
			list = append(list, name)
		}
	}
	return list
}

// nearest returns the candidate with the fewest edits from name.
func nearest(name string, candidates []string) string {
	words := strings.FieldsFunc(name, isBetweenWords)
	distance := func(candidate string) int {
		switch {
		case strings.HasPrefix(candidate, name):
			return 0 // it was cut short
		case len(words) > 1 && hasAll(strings.FieldsFunc(candidate, isBetweenWords), words):
			return 1 // a word is missing
		}
		return levenshtein.ComputeDistance(name, candidate)
	}
	return slices.MinFunc(candidates, func(a, b string) int { return cmp.Compare(distance(a), distance(b)) })
}

func isBetweenWords(r rune) bool { return r == '_' || r == '-' }

func hasAll(list, wanted []string) bool {
	return !slices.ContainsFunc(wanted, func(w string) bool { return !slices.Contains(list, w) })
}
