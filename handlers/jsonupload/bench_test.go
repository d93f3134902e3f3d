package jsonupload_test

import (
	"bytes"
	"encoding/base64"
	"io"
	"strings"
	"testing"

	"upload-service/handlers/jsonupload"
)

// content is size bytes of every value.
func content(size int) []byte {
	b := make([]byte, size)
	for i := range b {
		b[i] = byte(i * i >> 3)
	}
	return b
}

// bodyOf is a body with one file, its base64 changed by edit.
func bodyOf(content []byte, edit func(string) string) []byte {
	text := edit(base64.StdEncoding.EncodeToString(content))
	return []byte(`[{"filename": "file.bin", "content": "` + text + `"}]`)
}

func unchanged(s string) string { return s }

// slashes writes every slash as PHP does.
func slashes(s string) string { return strings.ReplaceAll(s, "/", `\/`) }

// lines breaks the text every 76 characters, as Python's base64.encodebytes
// does, and escapes the breaks.
func lines(s string) string {
	var b strings.Builder
	for len(s) > 76 {
		b.WriteString(s[:76] + `\n`)
		s = s[76:]
	}
	return b.String() + s + `\n`
}

const benchSize = 16 << 20

// BenchmarkReader reads one file of 16 MiB.
func BenchmarkReader(b *testing.B) {
	for _, bm := range []struct {
		name string
		edit func(string) string
	}{
		{"plain", unchanged},
		{"slashes escaped", slashes},
		{"lines of 76", lines},
	} {
		b.Run(bm.name, func(b *testing.B) {
			body := bodyOf(content(benchSize), bm.edit)
			p := make([]byte, 256<<10)
			b.SetBytes(benchSize)
			b.ReportAllocs()
			for b.Loop() {
				r := jsonupload.New(bytes.NewReader(body), jsonupload.Limits{Entries: 1})
				entry, err := r.Next()
				if err != nil {
					b.Fatal(err)
				}
				n, err := io.CopyBuffer(struct{ io.Writer }{io.Discard}, entry, p)
				if err != nil || n != benchSize {
					b.Fatalf("%d bytes, %v", n, err)
				}
				if _, err := entry.Finish(); err != nil {
					b.Fatal(err)
				}
				r.Close()
			}
		})
	}
}
