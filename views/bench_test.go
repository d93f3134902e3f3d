package views_test

import (
	"fmt"
	"io"
	"testing"
	"time"

	"upload-service/views"
)

// BenchmarkRows renders a thousand files.
func BenchmarkRows(b *testing.B) {
	var v views.Files
	v.Mine = true
	for i := range 1000 {
		name := fmt.Sprintf("report-%04d.pdf", i)
		v.Rows = append(v.Rows, views.Row{
			ID: fmt.Sprintf("%032x", i), Name: name, URL: "/files/alice/docs/" + name, Size: int64(i) * 1000,
			Details: "/files/alice/docs/?open=" + fmt.Sprintf("%032x", i), Created: time.Unix(1, 0),
			Kind: views.KindOf("application/pdf"), Tags: []string{"a", "b"},
		})
	}
	b.ReportAllocs()
	for b.Loop() {
		if err := v.Fragment(io.Discard); err != nil {
			b.Fatal(err)
		}
	}
}
