package views_test

import (
	"strings"
	"testing"

	"upload-service/views"
)

// TestParseAPI refuses documents of which the page would lack something.
func TestParseAPI(t *testing.T) {
	t.Parallel()
	const good = "tags: [{name: a}]\npaths: {/x: {get: {tags: [a], responses: {'200': {$ref: '#/components/responses/Done'}}}}}\n" +
		"components: {responses: {Done: {description: Done.}}}"
	for broken, want := range map[string]string{
		"":                     "",
		"name: a}]|name: b}]":  "GET /x has no tag that there is",
		"Done: {|Other: {":     "there is no #/components/responses/Done",
		"paths: {|paths: [":    "",
		"responses: {'|other:": "",
	} {
		old, other, _ := strings.Cut(broken, "|")
		document := good
		if broken != "" {
			document = strings.Replace(good, old, other, 1)
		}
		_, err := views.ParseAPI([]byte(document))
		if (err != nil) != (broken != "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %q", document, err, want)
		}
	}
}
