package views

import (
	"io"
	"time"

	"upload-service/views/text"
)

// Admin is the page of the operator.
type Admin struct {
	Shell
	Version                   string
	Owners                    int64
	Files, FileBytes          int64
	Temporary, TemporaryBytes int64
	Free, Reserve             int64  // bytes; Free is negative if it is not known
	Query, Sort               string // of the accounts
	Accounts                  []Account
	Next                      string // where there are more accounts, "" at the end
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
	All          int64     // bytes of all accounts
	Since, Seen  time.Time // Seen is zero if it is not known
}

// Share is how much of all that is stored is the account's, in percent.
func (a Account) Share() int64 { return a.Bytes * 100 / max(1, a.All) }

// Sorts are the orders of the accounts.
func (v Admin) Sorts() (list []Choice) {
	for _, sort := range []string{"used", "files", "name", "seen", "since"} {
		list = append(list, Choice{Value: sort, Name: text.Get("admin.sort." + sort), Checked: sort == v.Sort})
	}
	return list
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
	ID     string
	Count  int
	Bytes  int64
	Shown  int // how many of them are in the groups
	Groups []SweepGroup
}

// SweepGroup is what goes for the same reason.
type SweepGroup struct {
	Heading string
	Bytes   int64
	Items   []SweepItem
}

// SweepItem is one thing that goes, and why.
type SweepItem struct {
	ID, Name, Owner, Reason string
	Bytes                   int64
}

// Called is the name, or the beginning of the id where nobody knows one.
func (i SweepItem) Called() string {
	if i.Name != "" {
		return i.Name
	}
	return i.ID[:min(len(i.ID), 8)]
}

// Settings is the page of what the service runs with.
type Settings struct {
	Shell
	Groups []SettingGroup
}

// Page renders the page.
func (v Settings) Page(w io.Writer) error { return execute(w, "settings.html", v) }

// SettingGroup is settings that are about the same.
type SettingGroup struct {
	Name     string
	Settings []Setting
}

// Heading says what they are about.
func (g SettingGroup) Heading() string { return text.Get("admin.settings." + g.Name) }

// Setting is one setting; of a secret, whether it is set.
type Setting struct {
	Name, Value, Help string
	Secret, Set       bool
}

// State is what there is to say where no value is shown.
func (s Setting) State() string {
	switch {
	case !s.Set:
		return text.Get("admin.setting.unset")
	case s.Secret:
		return text.Get("admin.setting.set")
	}
	return text.Get("admin.setting.empty")
}

// Owner is the page of one account, for the operator.
type Owner struct {
	Shell
	Slug, ID     string
	Files, Bytes int64
	Seen         time.Time // zero if it is not known
	Keys         []Key
	Sessions     []Session
}

// Page renders the page.
func (v Owner) Page(w io.Writer) error { return execute(w, "owner.html", v) }

// Initials stand for a picture.
func (v Owner) Initials() string { return initials(v.Slug) }
