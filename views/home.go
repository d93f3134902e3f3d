package views

import (
	"io"
	"slices"
	"time"

	"upload-service/views/text"
)

// Home is the page on which files are added and submitted.
type Home struct {
	Shell
	Address string        // scheme and host, as the browser reached us
	MaxFile int64         // bytes, 0 for no limit
	TTL     time.Duration // how long an upload waits
	Storage Storage
	Waiting []Waiting
	More    bool // uploads wait that are not listed
	Submit  Submit
	Folders []string // that there are, with a trailing slash
	Recent  []Recent

	MaxDescription int // bytes
}

// Page renders the page.
func (v Home) Page(w io.Writer) error { return execute(w, "home.html", v) }

// Rows renders the uploads that wait, and what changes with them.
func (v Home) Rows(w io.Writer) error { return execute(w, "waitingrows", v) }

// Waiting is an upload that is complete and not yet permanent.
type Waiting struct {
	Token     string
	Name      string // of its first file, with the folders that came with it
	More      int    // further files
	Size      int64  // bytes of all
	Kind      Kind
	ExpiresAt time.Time
	Left      time.Duration
	Soon      bool // little is left
	Chosen    bool // for the form
}

// Seconds are how many are left.
func (w Waiting) Seconds() int { return int(w.Left.Seconds()) }

// Expires says how much time is left.
func (w Waiting) Expires() string {
	if w.Left < time.Hour {
		return text.Get("home.expires.minutes", int(w.Left.Minutes())+1)
	}
	if w.Left < 48*time.Hour {
		return text.Get("home.expires.hours", int(w.Left.Hours()))
	}
	return text.Get("home.expires.days", int(w.Left.Hours()/24))
}

// Submit is the form that makes uploads permanent, as it was filled in.
type Submit struct {
	Tokens      []string // nil before the form was sent
	Folder      string
	Description string
	Tags        []string
	OnConflict  string

	// What was wrong.
	Field   string
	Message string
	Taken   []Taken // names that are taken
	Lost    int     // tokens that are no longer there
	Saved   int     // tokens that were submitted before
}

// General is what was wrong, if it is not about one of the fields.
func (s Submit) General() string {
	if slices.Contains([]string{"path", "metadata.description", "tags"}, s.Field) {
		return ""
	}
	return s.Message
}

// Wrong reports whether a field is the one that was wrong.
func (s Submit) Wrong(field string) bool { return s.Message != "" && s.Field == field }

// Taken is a name that a form wants and cannot have.
type Taken struct {
	Name    string // with its folders below that of the form
	Size    int64
	NewSize int64
	Twice   bool // by the form itself
}

// Recent is a file that was submitted a short while ago.
type Recent struct {
	Name, Folder, URL string
	Size              int64
	At                time.Time
	Kind              Kind
}

// Storage is what an account uses of what it may use.
type Storage struct {
	Used, Quota     int64 // bytes; a Quota of 0 is none
	Files, MaxFiles int64
	Disk            bool // the volume keeps the space that it has left
	Part            bool // it takes the place of the one in the page
}

// Percent is how full it is.
func (s Storage) Percent() int64 {
	if s.Quota <= 0 {
		return 0
	}
	return min(100, s.Used*100/s.Quota)
}

// Left is how many bytes may come, or -1 if there is no limit.
func (s Storage) Left() int64 {
	if s.Quota <= 0 {
		return -1
	}
	return max(0, s.Quota-s.Used)
}

// Full says what keeps more from coming, if anything does.
func (s Storage) Full() string {
	switch {
	case s.Left() == 0:
		return text.Get("home.full.bytes")
	case s.MaxFiles > 0 && s.Files >= s.MaxFiles:
		return text.Get("home.full.files")
	case s.Disk:
		return text.Get("home.full.disk")
	}
	return ""
}

// Level is the state that the meter shows.
func (s Storage) Level() string {
	switch p := s.Percent(); {
	case p >= 95:
		return "full"
	case p >= 80:
		return "hi"
	}
	return ""
}

// Choice is one answer to what happens with a taken name.
type Choice struct {
	Value, Name, Hint string
	Checked           bool
}

// Choices are all answers.
func (s Submit) Choices() []Choice {
	var list []Choice
	for _, value := range []string{"fail", "rename", "replace"} {
		list = append(list, Choice{
			Value: value, Name: text.Get("home.conflict." + value), Hint: text.Get("home.conflict." + value + ".hint"),
			Checked: value == s.OnConflict,
		})
	}
	return list
}
