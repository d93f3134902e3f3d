package views_test

import (
	"strings"
	"testing"

	"upload-service/static"
	"upload-service/views"
)

// TestSearchGoesOn renders what a search found so far, while there are records
// that it has not looked at.
func TestSearchGoesOn(t *testing.T) {
	t.Parallel()
	assets, err := static.Load()
	if err != nil {
		t.Fatal(err)
	}
	for next, want := range map[string]string{"": "Nothing found", "/files/alice/?cursor=x&q=y": `id="more"`} {
		v := views.Files{Shell: views.Shell{Assets: assets}, Query: "y", Next: next}
		var page strings.Builder
		if err := v.Page(&page); err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(page.String(), want) {
			t.Errorf("next %q: the page does not have %q", next, want)
		}
		if next != "" && strings.Contains(page.String(), "Nothing found") {
			t.Error("a search that goes on says that nothing was found")
		}
	}
}
