package views

import (
	"io"
	"slices"
	"time"

	"upload-service/views/text"
)

// Keys is the page of an account's keys and sessions.
type Keys struct {
	Shell
	Secret   string // of the key that was just made
	Keys     []Key
	Sessions []Session

	// The form, as it was filled in.
	Name    string
	Scopes  []string
	Admin   bool // the scope may be chosen
	Message string
}

// Page renders the page.
func (v Keys) Page(w io.Writer) error { return execute(w, "keys.html", v) }

// Key is one key, without its secret.
type Key struct {
	ID, Name                         string
	Scopes                           []string
	CreatedAt, LastUsedAt, ExpiresAt time.Time
	Revoke                           string // where a POST revokes it
}

// Session is a browser that is signed in.
type Session struct {
	ID                    string
	This                  bool // the viewer's own
	CreatedAt, LastUsedAt time.Time
	Family, System        string // of the browser, "" if not known
	End                   string // where a POST ends it
}

// From says which browser it is.
func (s Session) From() string {
	family := s.Family
	if family == "" {
		family = text.Get("keys.session.unknown")
	}
	if s.System == "" {
		return family
	}
	return text.Get("keys.session.from", family, s.System)
}

// Choices are the scopes that a new key can have.
func (v Keys) Choices() (list []Choice) {
	for _, scope := range []string{"read", "write", "delete", "admin"} {
		if scope != "admin" || v.Admin {
			list = append(list, Choice{Value: scope, Name: text.Get("keys.scope." + scope), Checked: slices.Contains(v.Scopes, scope)})
		}
	}
	return list
}

// Lives are the days after which a new key can expire, the first one unless
// somebody chooses.
func (v Keys) Lives() []int { return []int{30, 7, 90, 365} }
