package views

import (
	"strings"
	"unicode/utf8"

	"upload-service/static"
	"upload-service/views/text"
)

// Shell is what every page has around its content.
type Shell struct {
	Title  string
	Nav    string // the current entry of the navigation
	Theme  string // "light", "dark" or "": the system's
	Viewer *Viewer
	Note   *Note

	Nonce     string // what the policy of this page lets its script and style sheet be known by
	Assets    *static.Assets
	StaticURL string // in front of the names of assets, without a trailing slash
}

// Viewer is who looks at the page.
type Viewer struct {
	ID    string // of the account
	Slug  string
	Login string
	Admin bool
}

// Files is the address of the viewer's files.
func (v Viewer) Files() string { return "/files/" + v.Slug + "/" }

// Initials stand for a picture.
func (v Viewer) Initials() string { return initials(v.Login) }

func initials(login string) string {
	r, n := utf8.DecodeRuneInString(login)
	second, _ := utf8.DecodeRuneInString(login[n:])
	return strings.ToUpper(strings.Trim(string(r)+string(second), string(utf8.RuneError)))
}

// Note says what an action came to, on the page that follows it.
type Note struct {
	Bad  bool
	Text string
	Link string // where to see it, "" for nowhere
	Undo string // where a POST takes it back, "" if nothing does
}

// Asset is the address of a static file by its plain name.
func (s Shell) Asset(name string) (string, error) {
	path, err := s.Assets.Path(name)
	return s.StaticURL + "/" + path, err
}

// Link is one entry of the navigation.
type Link struct {
	Name, Path, Icon string
	Current          bool
}

// Text is what the entry is called.
func (l Link) Text() string { return text.Get("common.nav." + l.Name) }

// Link makes an entry of the navigation.
func (s Shell) Link(name, path, icon string) Link { return Link{name, path, icon, s.Nav == name} }

// themes are the choices in the order in which the button goes through them.
var themes = map[string]struct{ next, icon, text string }{
	"":      {"light", "auto", "common.theme"},
	"light": {"dark", "sun", "common.theme.light"},
	"dark":  {"auto", "moon", "common.theme.dark"},
}

// NextTheme is what the button chooses.
func (s Shell) NextTheme() string { return themes[s.Theme].next }

// ThemeIcon shows the present choice.
func (s Shell) ThemeIcon() string { return themes[s.Theme].icon }

// ThemeText names the present choice and the next.
func (s Shell) ThemeText() string { return text.Get(themes[s.Theme].text) }
