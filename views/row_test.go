package views_test

import (
	"strings"
	"testing"

	"upload-service/views"
)

// TestRowEscapes puts markup into every member of a row.
func TestRowEscapes(t *testing.T) {
	t.Parallel()
	const evil = `"'><img src=x onerror=alert(1)>&`
	for _, folder := range []bool{false, true} {
		v := views.Files{Mine: true, Rows: []views.Row{{
			ID: evil, Path: evil, Name: evil, URL: evil, Details: evil, Kind: views.Kind{Class: evil, Icon: "doc"},
			Tags: []string{evil}, IsFolder: folder,
		}}}
		got := string(v.HTML())
		if strings.Contains(got, "<img") || strings.Contains(got, `"'`) || strings.Contains(got, "onerror=alert(1)>&\"") {
			t.Errorf("folder %v: %s", folder, got)
		}
		if !strings.Contains(got, "&#34;&#39;&gt;&lt;img") {
			t.Errorf("folder %v: the name is not there: %s", folder, got)
		}
	}
}
