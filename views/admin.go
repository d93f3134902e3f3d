package views

import (
	"io"
	"time"
)

// Admin is the page of the operator.
type Admin struct {
	Shell
	Version                   string
	Owners                    int64
	Files, FileBytes          int64
	Temporary, TemporaryBytes int64
	Free, Reserve             int64 // bytes; Free is negative if it is not known
	Accounts                  []Account
	Next                      string // cursor of more accounts, "" at the end
	Sweeps                    []Sweep

	// The cleanup, as it was asked for.
	OlderThan, Owner, Message string
	Preview                   *Preview
}

// Page renders the page.
func (v Admin) Page(w io.Writer) error { return execute(w, "admin.html", v) }

// Below reports whether uploads are refused for want of space.
func (v Admin) Below() bool { return v.Free >= 0 && v.Free < v.Reserve }

// Account is one row of the usage.
type Account struct {
	Slug, ID     string
	Files, Bytes int64
	Since        time.Time
}

// Sweep is one that has run.
type Sweep struct {
	At                    time.Time
	Uploads, Blobs, Bytes int64
	Duration              time.Duration
	Errors                []string
}

// Preview is what a cleanup would remove.
type Preview struct {
	ID    string
	Count int
	Bytes int64
	Items []SweepItem // the first of them
}

// SweepItem is one thing that goes, and why.
type SweepItem struct {
	Kind, ID, Owner, Reason string
	Bytes                   int64
}

// Short is the beginning of the id.
func (i SweepItem) Short() string { return i.ID[:min(len(i.ID), 8)] }

// Owner is the page of one account, for the operator.
type Owner struct {
	Shell
	Slug, ID     string
	Files, Bytes int64
	Keys         []Key
	Sessions     int
}

// Page renders the page.
func (v Owner) Page(w io.Writer) error { return execute(w, "owner.html", v) }

// Initials stand for a picture.
func (v Owner) Initials() string { return initials(v.Slug) }
