package views

import (
	"io"
	"time"

	"upload-service/views/text"
)

// SignIn is the page of a stranger: what the service is and how to get in,
// after an error also why that did not work.
type SignIn struct {
	Shell
	Local     bool
	Code      string        // of a one-time link, which the button uses up
	Next      string        // where to go then, "" for the first page
	TTL       time.Duration // how long an upload waits
	Problem   string        // "" if there is none
	Denied    string        // the login of an account that may not enter
	RequestID string        // of a problem that is not the person's, "" otherwise
}

// Task reports whether the person is in the middle of signing in, and has no
// eye for what the service is.
func (v SignIn) Task() bool { return v.Problem != "" || v.Code != "" }

// Forgotten says when an upload goes that nobody submits.
func (v SignIn) Forgotten() string {
	day := 24 * time.Hour
	switch {
	case v.TTL >= 2*day:
		return text.Get("signin.forgotten.days.n", int(v.TTL/day))
	case v.TTL >= time.Hour:
		return text.Get("signin.forgotten.hours.n", int(v.TTL/time.Hour))
	}
	return text.Get("signin.forgotten.minutes.n", int(v.TTL/time.Minute))
}

// Page renders the page.
func (v SignIn) Page(w io.Writer) error { return execute(w, "signin.html", v) }

// SignedIn is the page behind a sign-in in a tab of its own: its script tells
// the tab that waits for it, and closes it.
type SignedIn struct{ Shell }

// Page renders the page.
func (v SignedIn) Page(w io.Writer) error { return execute(w, "signedin.html", v) }

// SignOut asks whether a sign-out that another site started is meant.
type SignOut struct{ Shell }

// Page renders the page.
func (v SignOut) Page(w io.Writer) error { return execute(w, "signout.html", v) }
