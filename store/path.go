package store

import (
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

// Limits of a path, in bytes.
const (
	MaxPath    = 1024
	MaxSegment = 255
)

// InternalDir is the one folder of an upload directory that is ours; no path
// segment may carry its name.
const InternalDir = ".upload-service"

// Path is a relative name inside an owner's tree, segments separated by
// slashes, in Unicode NFC. Only ParsePath and CleanName make one, so a Path
// in hand is safe to use as a name on disk below the owner's folder.
type Path string

// ParsePath checks s and returns it in NFC. It refuses what it does not
// accept and never repairs it: no empty, "." or ".." segment, no backslash,
// no control character, valid UTF-8, segments of 1 to MaxSegment bytes, at
// most MaxPath bytes in all.
func ParsePath(s string) (Path, error) {
	if !utf8.ValidString(s) {
		return "", FieldErrorf("path", "The path is not valid UTF-8.")
	}
	s = norm.NFC.String(s)
	if s == "" {
		return "", FieldErrorf("path", "The path is empty; give a file name.")
	}
	if len(s) > MaxPath {
		return "", FieldErrorf("path", "The path is longer than %d bytes.", MaxPath)
	}
	for segment := range strings.SplitSeq(s, "/") {
		if err := checkSegment(segment); err != nil {
			return "", err
		}
	}
	return Path(s), nil
}

func checkSegment(segment string) error {
	switch {
	case segment == "":
		return FieldErrorf("path", "The path has an empty segment; remove leading, trailing and double slashes.")
	case segment == "." || segment == "..":
		return FieldErrorf("path", `The path may not contain "." or ".." segments.`)
	case len(segment) > MaxSegment:
		return FieldErrorf("path", "A path segment is longer than %d bytes.", MaxSegment)
	case strings.EqualFold(segment, InternalDir):
		return FieldErrorf("path", "The name %s is reserved.", InternalDir)
	case strings.ContainsFunc(segment, forbidden):
		return FieldErrorf("path", "The path contains a backslash or a control character.")
	}
	return nil
}

func forbidden(r rune) bool { return r == '\\' || unicode.IsControl(r) }

// CleanName makes a single-segment path from a name that a client only
// suggests (multipart, tus metadata). It takes the part behind the last
// slash or backslash, replaces what ParsePath would refuse, shortens it while
// keeping the extension, and returns fallback when nothing is left.
func CleanName(hint, fallback string) Path {
	s := norm.NFC.String(strings.ToValidUTF8(hint, "_"))
	if i := strings.LastIndexAny(s, `/\`); i >= 0 {
		s = s[i+1:]
	}
	s = strings.Map(func(r rune) rune {
		if forbidden(r) {
			return '_'
		}
		return r
	}, s)
	s = strings.TrimSpace(s)
	if s == "" || s == "." || s == ".." || strings.EqualFold(s, InternalDir) {
		s = fallback
	}
	return Path(shorten(s, MaxSegment))
}

// shorten cuts s to at most limit bytes at a rune boundary, in front of the
// extension if that is short enough to be one.
func shorten(s string, limit int) string {
	if len(s) <= limit {
		return s
	}
	ext := ""
	if i := strings.LastIndexByte(s, '.'); i > 0 && len(s)-i <= 32 {
		ext = s[i:]
	}
	return truncate(s, limit-len(ext)) + ext
}

// truncate cuts s to at most limit bytes at a rune boundary.
func truncate(s string, limit int) string {
	if len(s) <= limit {
		return s
	}
	for limit > 0 && !utf8.RuneStart(s[limit]) {
		limit--
	}
	return s[:limit]
}

// Base is the last segment.
func (p Path) Base() string {
	return string(p[strings.LastIndexByte(string(p), '/')+1:])
}

// Dir is everything before the last segment, without the slash; "" at the top.
func (p Path) Dir() string {
	i := strings.LastIndexByte(string(p), '/')
	if i < 0 {
		return ""
	}
	return string(p[:i])
}

// Join puts p into folder; an empty folder is the top of the tree.
func (p Path) Join(folder string) (Path, error) {
	if folder == "" {
		return p, nil
	}
	return ParsePath(folder + "/" + string(p))
}

// Ancestors are the folders that p lies in, outermost first.
func (p Path) Ancestors() []Path {
	var dirs []Path
	for i := range p {
		if p[i] == '/' {
			dirs = append(dirs, p[:i])
		}
	}
	return dirs
}

// ParseFolder checks the name of a folder: "" is the top of the tree, and one
// trailing slash is allowed.
func ParseFolder(s string) (string, error) {
	s = strings.TrimSuffix(s, "/")
	if s == "" {
		return "", nil
	}
	p, err := ParsePath(s)
	if err != nil {
		return "", err
	}
	return string(p), nil
}
