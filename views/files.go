package views

import (
	"io"
	"time"
)

// Files is the page of one folder, or of what a search found.
type Files struct {
	Shell
	Owner   string // slug
	Mine    bool   // the viewer may change what is here
	Final   bool   // what is deleted cannot be restored
	Folder  string // with a trailing slash; "" at the top
	URL     string // of the folder
	Zip     string // where its archive is
	Crumbs  []Crumb
	Query   string // what is searched for
	Sort    string
	Rows    []Row
	Next    string // address of the next page, "" at the end
	Storage Storage
	Open    *Details
	Close   string // address of the page without details
}

// Page renders the page.
func (v Files) Page(w io.Writer) error { return execute(w, "files.html", v) }

// Fragment renders the rows alone.
func (v Files) Fragment(w io.Writer) error { return execute(w, "rows", v) }

// Initials stand for a picture of the owner.
func (v Files) Initials() string { return initials(v.Owner) }

// Counts are the numbers of folders and files in the list.
func (v Files) Counts() (c struct{ Folders, Files int }) {
	for _, r := range v.Rows {
		if r.IsFolder {
			c.Folders++
		} else {
			c.Files++
		}
	}
	return c
}

// Crumb is one folder above the shown one.
type Crumb struct{ Name, URL string }

// Details is what one file is.
type Details struct {
	ID, Name, Folder, URL string
	Size                  int64 // bytes
	Type                  string
	Created, Updated      time.Time
	SHA256                string // hex, "" while it is not known
	Tags                  []string
	Metadata              map[string]string
	ETag                  string
	Kind                  Kind
	Preview               string // image, audio, video, text, pdf or ""
	Text                  string // the beginning, for Preview text
	Cut                   bool   // there is more of it
	Full                  string // address with scheme and host, to copy
}
