// Package views renders the pages. Each page is a type whose fields are all
// that its template may show; html/template escapes every one of them, so a
// file name is never markup. The pages work without scripts. Their words are
// in package text.
package views

import (
	"embed"
	"fmt"
	"html/template"
	"io"
	"regexp"

	"upload-service/views/text"
)

//go:embed *.html
var files embed.FS

var templates = parse()

func parse() *template.Template {
	all := template.New("").Funcs(functions)
	entries, _ := files.ReadDir(".") // reading what is embedded cannot fail
	for _, e := range entries {
		source, _ := files.ReadFile(e.Name())
		template.Must(all.New(e.Name()).Parse(fold(string(source))))
	}
	return all
}

var constant = regexp.MustCompile(`\{\{(t|icon) "([^"]+)"(?: "([^"]+)")?\}\}`)

// fold puts texts and icons that depend on nothing into the source: they are
// most of what a row of a long list consists of.
func fold(source string) string {
	return constant.ReplaceAllStringFunc(source, func(action string) string {
		m := constant.FindStringSubmatch(action)
		if m[1] == "icon" {
			return string(icon(m[2], m[3]))
		}
		return template.HTMLEscapeString(text.Get(m[2]))
	})
}

// execute renders one template of files.
func execute(w io.Writer, name string, data any) error {
	if err := templates.ExecuteTemplate(w, name, data); err != nil {
		return fmt.Errorf("render %s: %w", name, err)
	}
	return nil
}

// Error is what a person sees of a problem.
type Error struct {
	Shell
	Status    int
	Heading   string
	Message   string
	RequestID string
}

// Page renders the problem as a page.
func (v Error) Page(w io.Writer) error { return execute(w, "error.html", v) }

// Fragment renders the problem for a part of a page.
func (v Error) Fragment(w io.Writer) error { return execute(w, "alert", v) }

// Code explains one error code.
type Code struct {
	Code   string
	Status int
	Title  string
	Help   string
}

// Errors is the page that explains every error code.
type Errors struct {
	Shell
	Codes []Code
}

// Page renders the page.
func (v Errors) Page(w io.Writer) error { return execute(w, "errors.html", v) }
