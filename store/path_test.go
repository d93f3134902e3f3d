package store_test

import (
	"path"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"

	"upload-service/store"
)

var goodPaths = []struct {
	name string
	in   string
	want store.Path
}{
	{"file", "report.pdf", "report.pdf"},
	{"folders", "a/b/c.txt", "a/b/c.txt"},
	{"spaces", " a b / c ", " a b / c "},
	{"hidden", ".hidden", ".hidden"},
	{"hidden folder", ".git/config", ".git/config"},
	{"trailing dots", "name...", "name..."},
	{"three dots", "...", "..."},
	{"dots in front", "..a/b..", "..a/b.."},
	{"device of Windows", "CON", "CON"},
	{"drive of Windows", "C:", "C:"},
	{"stream of Windows", "a.txt:stream", "a.txt:stream"},
	{"percent stays", "%2e%2e%2f", "%2e%2e%2f"},
	{"characters of shells and URLs", "a?b#c&d;e'f\"g<h>|*$`", "a?b#c&d;e'f\"g<h>|*$`"},
	{"dash in front", "-rf", "-rf"},
	{"near the internal folder", ".upload-services/upload-service", ".upload-services/upload-service"},
	{"composed", "caf\u00e9", "caf\u00e9"},
	{"decomposed", "cafe\u0301", "caf\u00e9"},
	{"Kelvin sign", "\u212a", "K"},
	{"full-width full stops", "\uff0e\uff0e", "\uff0e\uff0e"},
	{"division slash", "a\u2215b", "a\u2215b"},
	{"right to left override", "a\u202egpj.exe", "a\u202egpj.exe"},
	{"replacement character", "a\ufffdb", "a\ufffdb"},
	{"longest segment", strings.Repeat("n", 255), store.Path(strings.Repeat("n", 255))},
	{"longest segment only in NFC", strings.Repeat("e\u0301", 127), store.Path(strings.Repeat("\u00e9", 127))},
	{"longest path", strings.Repeat("n/", 511) + "nn", store.Path(strings.Repeat("n/", 511) + "nn")},
}

var badPaths = []struct{ name, in string }{
	{"empty", ""},
	{"dot", "."},
	{"parent", ".."},
	{"parent in front", "../x"},
	{"parent within", "a/../b"},
	{"parent at the end", "a/.."},
	{"dot within", "a/./b"},
	{"absolute", "/etc/passwd"},
	{"slash", "/"},
	{"trailing slash", "a/"},
	{"double slash", "a//b"},
	{"parent with backslash", `..\x`},
	{"parent with two backslashes", `..\\x`},
	{"path of Windows", `C:\x`},
	{"share of Windows", `\\srv\x`},
	{"NUL", "a\x00b"},
	{"NUL at the end", "a.txt\x00"},
	{"line break", "a\nb"},
	{"carriage return", "a\r\nSet-Cookie: b"},
	{"tab", "a\tb"},
	{"escape", "a\x1b[2Jb"},
	{"DEL", "a\x7fb"},
	{"C1 control", "a\u0085b"},
	{"invalid UTF-8", "a\xffb"},
	{"overlong slash", "..\xc0\xafx"},
	{"half a surrogate pair", "a\xed\xa0\x80"},
	{"internal folder", ".upload-service"},
	{"internal folder in capitals", ".Upload-Service/meta.db"},
	{"internal folder within", "a/.upload-service/b"},
	{"internal folder with a long s", ".upload-\u017fervice"},
	{"segment of 256 bytes", strings.Repeat("n", 256)},
	{"segment of 300 bytes", "a/" + strings.Repeat("n", 300)},
	{"path of 1025 bytes", strings.Repeat("n/", 512) + "n"},
}

func TestParsePath(t *testing.T) {
	t.Parallel()
	for _, tt := range goodPaths {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			got, err := store.ParsePath(tt.in)
			if got != tt.want || err != nil {
				t.Errorf("ParsePath(%q): got %q, %v; want %q", tt.in, got, err, tt.want)
			}
		})
	}
	for _, tt := range badPaths {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			got, err := store.ParsePath(tt.in)
			if got != "" || store.CodeOf(err) != store.CodeInvalid {
				t.Errorf("ParsePath(%q): got %q, %v; want an error of code invalid", tt.in, got, err)
			}
		})
	}
}

func TestCleanName(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ name, in, want string }{
		{"as it is", "report.pdf", "report.pdf"},
		{"nothing", "", "fallback"},
		{"space", " \t ", "_"},
		{"spaces", "  ", "fallback"},
		{"spaces around", "  a b.txt ", "a b.txt"},
		{"folder", "a/b/c.txt", "c.txt"},
		{"folder of Windows", `C:\Users\me\c.txt`, "c.txt"},
		{"mixed slashes", `a\b/c.txt`, "c.txt"},
		{"only a folder", "a/", "fallback"},
		{"dot", ".", "fallback"},
		{"parent", "..", "fallback"},
		{"parent in front", "../../etc/passwd", "passwd"},
		{"parent at the end", `a\..`, "fallback"},
		{"dots with spaces", " .. ", "fallback"},
		{"internal folder", ".Upload-Service", "fallback"},
		{"hidden", ".hidden", ".hidden"},
		{"trailing dots", "name...", "name..."},
		{"device of Windows", "CON", "CON"},
		{"control characters", "a\x00b\nc\u0085d", "a_b_c_d"},
		{"invalid UTF-8", "a\xff\xfeb.txt", "a_b.txt"},
		{"decomposed", "cafe\u0301.txt", "caf\u00e9.txt"},
		{"long", strings.Repeat("n", 300), strings.Repeat("n", 255)},
		{"long with extension", strings.Repeat("n", 300) + ".txt", strings.Repeat("n", 251) + ".txt"},
		{"long with long extension", strings.Repeat("n", 300) + "." + strings.Repeat("x", 31),
			strings.Repeat("n", 223) + "." + strings.Repeat("x", 31)},
		{"long behind the dot", "a." + strings.Repeat("n", 300), "a." + strings.Repeat("n", 253)},
		{"long and hidden", "." + strings.Repeat("n", 300), "." + strings.Repeat("n", 254)},
		{"long, cut between characters", strings.Repeat("\u00e9", 200) + ".txt", strings.Repeat("\u00e9", 125) + ".txt"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			if got := store.CleanName(tt.in, "fallback"); string(got) != tt.want {
				t.Errorf("CleanName(%q): got %q, want %q", tt.in, got, tt.want)
			}
		})
	}
}

func TestPathParts(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		path      store.Path
		dir, base string
		ancestors []store.Path
	}{
		{"a", "", "a", nil},
		{"a/b", "a", "b", []store.Path{"a"}},
		{"a/b/c.txt", "a/b", "c.txt", []store.Path{"a", "a/b"}},
	} {
		t.Run(string(tt.path), func(t *testing.T) {
			t.Parallel()
			if got := tt.path.Dir(); got != tt.dir {
				t.Errorf("Dir: got %q, want %q", got, tt.dir)
			}
			if got := tt.path.Base(); got != tt.base {
				t.Errorf("Base: got %q, want %q", got, tt.base)
			}
			if got := tt.path.Ancestors(); !slices.Equal(got, tt.ancestors) {
				t.Errorf("Ancestors: got %q, want %q", got, tt.ancestors)
			}
		})
	}
}

func TestParseFolder(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, in, want string
		code           store.Code
	}{
		{"top", "", "", ""},
		{"slash", "/", "", ""},
		{"folder", "a/b", "a/b", ""},
		{"trailing slash", "a/b/", "a/b", ""},
		{"decomposed", "cafe\u0301/", "caf\u00e9", ""},
		{"two trailing slashes", "a//", "", store.CodeInvalid},
		{"parent", "../", "", store.CodeInvalid},
		{"absolute", "/a", "", store.CodeInvalid},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			got, err := store.ParseFolder(tt.in)
			if got != tt.want || store.CodeOf(err) != tt.code {
				t.Errorf("ParseFolder(%q): got %q, %v; want %q, code %q", tt.in, got, err, tt.want, tt.code)
			}
		})
	}
}

func TestJoin(t *testing.T) {
	t.Parallel()
	if got, err := store.Path("c").Join("a/b"); got != "a/b/c" || err != nil {
		t.Errorf("got %q, %v; want a/b/c", got, err)
	}
	if got, err := store.Path("c").Join(""); got != "c" || err != nil {
		t.Errorf("got %q, %v; want c", got, err)
	}
	folder := strings.Repeat("n/", 511) + "n"
	if got, err := store.Path("c").Join(folder); store.CodeOf(err) != store.CodeInvalid {
		t.Errorf("got %q, %v; want an error of code invalid", got, err)
	}
}

// seeds are the names of all tables above.
func seeds(f *testing.F) {
	for _, tt := range goodPaths {
		f.Add(tt.in)
	}
	for _, tt := range badPaths {
		f.Add(tt.in)
	}
	// So many combining characters that the normal form breaks them up.
	f.Add("a" + strings.Repeat("\u0301", 40))
	f.Add(strings.Repeat("\u1e69\u0323", 90) + ".tar.gz")
	f.Add(strings.Repeat("\u1161", 300) + ".txt")
}

// checkPath checks what must hold of every Path, whoever made it.
func checkPath(t *testing.T, p store.Path) {
	t.Helper()
	s := string(p)
	if len(s) == 0 || len(s) > store.MaxPath {
		t.Errorf("%q: has %d bytes", s, len(s))
	}
	if !utf8.ValidString(s) || !norm.NFC.IsNormalString(s) {
		t.Errorf("%q: is not UTF-8 in NFC", s)
	}
	if strings.ContainsRune(s, '\\') || strings.ContainsFunc(s, unicode.IsControl) {
		t.Errorf("%q: contains a backslash or a control character", s)
	}
	// What path.Clean changes has an empty, "." or ".." segment.
	if path.Clean("/"+s) != "/"+s {
		t.Errorf("%q: is not clean", s)
	}
	for segment := range strings.SplitSeq(s, "/") {
		if len(segment) > store.MaxSegment {
			t.Errorf("%q: a segment has %d bytes", s, len(segment))
		}
		if strings.EqualFold(segment, store.InternalDir) {
			t.Errorf("%q: has the name of the internal folder", s)
		}
	}
	if again, err := store.ParsePath(s); again != p || err != nil {
		t.Errorf("ParsePath(%q): got %q, %v; want the same", s, again, err)
	}
}

func FuzzParsePath(f *testing.F) {
	seeds(f)
	f.Fuzz(func(t *testing.T, s string) {
		p, err := store.ParsePath(s)
		if err != nil {
			if p != "" || store.CodeOf(err) != store.CodeInvalid {
				t.Errorf("ParsePath(%q): got %q, %v; want nothing and code invalid", s, p, err)
			}
			return
		}
		checkPath(t, p)
		for _, ancestor := range p.Ancestors() {
			checkPath(t, ancestor)
		}
		if got, err := store.Path(p.Base()).Join(p.Dir()); got != p || err != nil {
			t.Errorf("%q: its parts joined: got %q, %v", p, got, err)
		}
	})
}

// extension is one that CleanName keeps whatever it is part of.
var extension = regexp.MustCompile(`\.[a-zA-Z0-9]{1,31}$`)

func FuzzCleanName(f *testing.F) {
	seeds(f)
	f.Fuzz(func(t *testing.T, hint string) {
		p := store.CleanName(hint, "fallback")
		checkPath(t, p)
		if p.Base() != string(p) {
			t.Errorf("CleanName(%q): got %q, want one segment", hint, p)
		}
		if ext := extension.FindString(hint); !strings.HasSuffix(string(p), ext) {
			t.Errorf("CleanName(%q): got %q, want the extension %q kept", hint, p, ext)
		}
	})
}
