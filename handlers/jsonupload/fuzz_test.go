package jsonupload_test

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"io"
	"slices"
	"testing"
	"testing/iotest"

	"upload-service/store"
)

// FuzzReader compares the reader with encoding/json and encoding/base64.
func FuzzReader(f *testing.F) {
	seed := func(body string) {
		if len(body) < 1000 { // the fuzzer is slow to vary long ones
			f.Add([]byte(body))
		}
	}
	for _, tt := range accepted {
		seed(tt.body)
	}
	for _, tt := range rejected {
		seed(tt.body)
	}
	for _, edit := range []func(string) string{unchanged, slashes, lines} {
		seed(string(bodyOf(content(200), edit)))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		if len(body) > 8<<10 {
			return // the limits, which have their own tests
		}
		want, ok := reference(body)
		for how, r := range map[string]io.Reader{
			"whole":         bytes.NewReader(body),
			"byte by byte":  iotest.OneByteReader(bytes.NewReader(body)),
			"half by half":  iotest.HalfReader(bytes.NewReader(body)),
			"data with EOF": iotest.DataErrReader(bytes.NewReader(body)),
		} {
			got, err := read(r)
			switch {
			case ok && (err != nil || !slices.Equal(got, want)):
				t.Errorf("%s: got %q, %v; want %q", how, got, err, want)
			case !ok && store.CodeOf(err) != store.CodeInvalid:
				t.Errorf("%s: got %q, %v; want an error of code invalid", how, got, err)
			}
		}
	})
}

// reference reads body with the standard library.
func reference(body []byte) (files []file, ok bool) {
	var entries []json.RawMessage
	if json.Unmarshal(body, &entries) != nil || entries == nil {
		return nil, false
	}
	for _, entry := range entries {
		if entry[0] != '{' {
			return nil, false
		}
		f, ok := referenceEntry(entry)
		if !ok {
			return nil, false
		}
		files = append(files, f)
	}
	return files, true
}

func referenceEntry(entry json.RawMessage) (f file, ok bool) {
	d := json.NewDecoder(bytes.NewReader(entry))
	d.Token() //nolint:errcheck // the brace; entry is valid JSON
	names, contents := 0, 0
	for d.More() {
		name, _ := d.Token()
		var value json.RawMessage
		if d.Decode(&value) != nil {
			return file{}, false
		}
		switch name {
		case "filename":
			names++
			if value[0] != '"' || json.Unmarshal(value, &f.name) != nil {
				return file{}, false
			}
		case "content":
			contents++
			var text string
			if value[0] != '"' || json.Unmarshal(value, &text) != nil {
				return file{}, false
			}
			content, err := base64.StdEncoding.DecodeString(text)
			if err != nil {
				return file{}, false
			}
			f.content = string(content)
		default:
			if depth(value) > 32 {
				return file{}, false
			}
		}
	}
	return f, names == 1 && contents == 1
}

// depth is how many arrays and objects of value lie within each other.
func depth(value json.RawMessage) (deepest int) {
	d := json.NewDecoder(bytes.NewReader(value))
	depth := 0
	for {
		token, err := d.Token()
		if err != nil {
			return deepest
		}
		switch token {
		case json.Delim('['), json.Delim('{'):
			depth++
			deepest = max(deepest, depth)
		case json.Delim(']'), json.Delim('}'):
			depth--
		}
	}
}
