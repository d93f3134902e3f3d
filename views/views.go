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
	"time"
)

//go:embed *.html
var files embed.FS

var templates = template.Must(template.New("").Funcs(functions).ParseFS(files, "*.html"))

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

// Crumb is one folder above the shown one.
type Crumb struct{ Name, URL string }

// Row is a file or folder of a list.
type Row struct {
	Name     string
	URL      string
	Size     int64 // bytes
	Created  time.Time
	IsFolder bool
}

// Folder is the list of one folder, with the form that uploads to it.
type Folder struct {
	Shell
	Slug       string
	Path       string // with a trailing slash; "" at the top
	Mine       bool
	Crumbs     []Crumb
	Rows       []Row
	Next       string // cursor of the next page, "" at the end
	UsedBytes  int64
	QuotaBytes int64 // 0 for none
	MaxFile    int64 // bytes, 0 for no limit
}

// Page renders the page.
func (v Folder) Page(w io.Writer) error { return execute(w, "folder.html", v) }

// Fragment renders the rows alone.
func (v Folder) Fragment(w io.Writer) error { return execute(w, "rows", v) }

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
