package views

import (
	"io"

	"upload-service/views/text"
)

// Docs shows a developer how to begin.
type Docs struct {
	Shell
	Address string // scheme and host, as the browser reached us
}

// Page renders the page.
func (v Docs) Page(w io.Writer) error { return execute(w, "docs.html", v) }

// Example is one thing to try.
type Example struct{ Name, Code string }

// Title says what it does.
func (e Example) Title() string { return text.Get("docs." + e.Name) }

// Lead says what comes of it.
func (e Example) Lead() string { return text.Get("docs." + e.Name + ".lead") }

// Examples are what to try, in this order.
func (v Docs) Examples() []Example {
	const auth = "\\\n  -H \"Authorization: Bearer $UPLOAD_KEY\" \\\n "
	at := v.Address
	return []Example{
		{"put", "curl -T report.pdf " + auth + " " + at + "/files/me/reports/"},
		{"temporary", "curl --data-binary @photo.jpg " + auth + " '" + at + "/api/v1/uploads?filename=photo.jpg'\n" +
			"curl --json '{\"folder\":\"photos\"}' " + auth + " " + at + "/api/v1/uploads/$TOKEN/persist"},
		{"tus", "new tus.Upload(file, {\n  endpoint: '" + at + "/tus/',\n" +
			"  headers: { Authorization: `Bearer ${key}` },\n  metadata: { filename: file.name, filetype: file.type },\n" +
			"  onSuccess: ({ lastResponse }) => { input.value = lastResponse.getHeader('Upload-Token') },\n}).start()"},
		{"filepond", "FilePond.setOptions({\n  server: {\n    url: '" + at + "/filepond',\n" +
			"    headers: { Authorization: `Bearer ${key}` },\n  },\n})"},
		{"list", "curl " + auth + " '" + at + "/api/v1/files?prefix=reports/&delimiter=/'\n" +
			"curl -O " + auth + " " + at + "/files/me/reports/report.pdf"},
	}
}
