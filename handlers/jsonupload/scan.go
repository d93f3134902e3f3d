package jsonupload

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"

	"upload-service/store"
)

// source is the body. It counts what was read, and repeats an error.
type source struct {
	r   io.Reader
	n   int64
	err error
}

func (s *source) Read(p []byte) (int, error) {
	if s.err != nil {
		return 0, s.err
	}
	n, err := s.r.Read(p)
	s.n += int64(n)
	if err != nil && err != io.EOF {
		err = fmt.Errorf("read the JSON body: %w", err)
	}
	s.err = err
	return n, err
}

// offset is how many bytes of the body were taken: the number, counted from
// one, of the byte taken last.
func (r *Reader) offset() int64 { return r.src.n - int64(r.br.Buffered()) }

// invalid makes an error about the byte taken last.
func (r *Reader) invalid(format string, args ...any) error {
	return r.invalidAt(r.offset(), fmt.Sprintf(format, args...))
}

// notBase64 makes an error about the first of the last n bytes taken.
func (r *Reader) notBase64(n int) error {
	return r.invalidAt(r.offset()-int64(n)+1,
		"the content is not base64; use the standard alphabet, with + and /, and padding")
}

func (r *Reader) invalidAt(offset int64, message string) error {
	entry := ""
	if r.index >= 0 {
		entry = fmt.Sprintf(", entry [%d]", r.index)
	}
	return store.Errorf(store.CodeInvalid, "JSON body, byte %d%s: %s.", offset, entry, message)
}

// early turns the end of the body, where more must come, into an error that
// no caller takes for a proper end. Other errors stay.
func (r *Reader) early(err error) error {
	if err == io.EOF {
		return r.invalid("the body ends too early; send the whole array")
	}
	return err
}

// take takes the next byte.
func (r *Reader) take() (byte, error) {
	c, err := r.br.ReadByte()
	return c, r.early(err)
}

// space takes white space and the byte behind it. It returns io.EOF at the
// end of the body.
func (r *Reader) space() (byte, error) {
	for {
		c, err := r.br.ReadByte()
		if err != nil || c != ' ' && c != '\n' && c != '\r' && c != '\t' {
			return c, err
		}
		if r.blank++; r.blank > maxBlank {
			return 0, r.invalid("there is more than %d bytes of white space", maxBlank)
		}
	}
}

// token takes the first byte of the next token.
func (r *Reader) token() (byte, error) {
	c, err := r.space()
	return c, r.early(err)
}

// end takes the rest of the body, which must be white space. It returns
// io.EOF if all is well.
func (r *Reader) end() error {
	_, err := r.space()
	if err == nil {
		return r.invalid("something follows the array; send nothing behind it")
	}
	return err
}

// element takes the comma in front of all but the first element of an array
// or object, and the first byte of the element; or it takes and returns
// closing, with which no element begins.
func (r *Reader) element(first bool, closing byte) (byte, error) {
	c, err := r.token()
	if err != nil || c == closing || first {
		return c, err
	}
	if c != ',' {
		return 0, r.invalid("a comma or %q was expected", closing)
	}
	if c, err = r.token(); err == nil && c == closing {
		return 0, r.invalid("nothing follows the comma; remove it")
	}
	return c, err
}

// memberName takes the name of a member, which begins with c, and its colon.
func (r *Reader) memberName(c byte) (string, error) {
	if c != '"' {
		return "", r.invalid("the name of a member was expected, in double quotes")
	}
	name, err := r.text()
	if err != nil {
		return "", err
	}
	if c, err = r.token(); err == nil && c != ':' {
		return "", r.invalid("a colon was expected")
	}
	return name, err
}

// span takes the next piece of a string whose opening quote was taken: bytes
// as they stand in the body, or the character that one escape stands for. It
// is valid until the next call that reads. At the closing quote it is nil.
//
// Control characters are not looked for, as that would be most of the cost of
// a content: the caller refuses them.
func (r *Reader) span() (b []byte, escaped bool, err error) {
	if _, err := r.br.Peek(1); err != nil {
		return nil, false, r.early(err)
	}
	b, _ = r.br.Peek(min(r.br.Buffered(), maxSpan)) // cannot fail: it is buffered
	switch b[0] {
	case '"':
		r.discard(1)
		return nil, false, nil
	case '\\':
		r.discard(1)
		b, err = r.unescape()
		return b, true, err
	}
	// The backslash first: where there are many, the quote is then looked for
	// in a few bytes only.
	if i := bytes.IndexByte(b, '\\'); i >= 0 {
		b = b[:i]
	}
	if i := bytes.IndexByte(b, '"'); i >= 0 {
		b = b[:i]
	}
	r.discard(len(b))
	return b, false, nil
}

// discard takes n bytes that were peeked at, which cannot fail.
func (r *Reader) discard(n int) { r.br.Discard(n) } //nolint:errcheck // see above

// unescape takes an escape behind its backslash, and returns the character it
// stands for.
func (r *Reader) unescape() ([]byte, error) {
	c, err := r.take()
	if err != nil {
		return nil, err
	}
	const short, meaning = `"\/bfnrt`, "\"\\/\b\f\n\r\t"
	if i := strings.IndexByte(short, c); i >= 0 {
		return append(r.escape[:0], meaning[i]), nil
	}
	if c != 'u' {
		return nil, r.invalid(`no such escape; write \\ for a backslash`)
	}
	digits, err := r.br.Peek(4)
	if err != nil {
		return nil, r.early(err)
	}
	unit, err := strconv.ParseUint(string(digits), 16, 16)
	if err != nil {
		return nil, r.invalid(`\u needs four hexadecimal digits`)
	}
	r.discard(4)
	char := rune(unit)
	if utf16.IsSurrogate(char) {
		char = r.pair(char)
	}
	return utf8.AppendRune(r.escape[:0], char), nil
}

// pair combines a surrogate with the escape behind it, which is taken if it
// is the other half. A half on its own stands for U+FFFD.
func (r *Reader) pair(first rune) rune {
	b, err := r.br.Peek(6)
	if err != nil || b[0] != '\\' || b[1] != 'u' {
		return utf8.RuneError
	}
	second, err := strconv.ParseUint(string(b[2:]), 16, 16)
	char := utf16.DecodeRune(first, rune(second))
	if err != nil || char == utf8.RuneError {
		return utf8.RuneError
	}
	r.discard(6)
	return char
}

// characters is span for a string that is read as text.
func (r *Reader) characters() ([]byte, error) {
	b, escaped, err := r.span()
	if !escaped && bytes.ContainsFunc(b, func(c rune) bool { return c < ' ' }) {
		return nil, r.invalid("a string contains a control character; write it as an escape")
	}
	return b, err
}

// text takes the rest of a string and returns it, with U+FFFD for each byte
// that is not UTF-8.
func (r *Reader) text() (string, error) {
	begin := r.offset()
	var text []byte
	for {
		b, err := r.characters()
		if err != nil {
			return "", err
		}
		if b == nil {
			return string([]rune(string(text))), nil
		}
		if r.offset()-begin > maxText {
			return "", r.invalid("a name is longer than %d bytes; shorten it", maxText)
		}
		text = append(text, b...)
	}
}

// skip takes the rest of a value that begins with c, depth arrays and objects
// deep, and checks it. It stops beyond limit, an offset.
func (r *Reader) skip(c byte, depth int, limit int64) error {
	if r.offset() > limit {
		return r.tooMuch()
	}
	switch c {
	case '"':
		return r.skipString(limit)
	case '[', '{':
		if depth == maxDepth {
			return r.invalid("an unknown member is deeper than %d levels; leave it out", maxDepth)
		}
		closing := c + 2 // so ASCII has them
		for first := true; ; first = false {
			e, err := r.element(first, closing)
			if err != nil || e == closing {
				return err
			}
			if c == '{' {
				if _, err = r.memberName(e); err != nil {
					return err
				}
				if e, err = r.token(); err != nil {
					return err
				}
			}
			if err = r.skip(e, depth+1, limit); err != nil {
				return err
			}
		}
	default:
		return r.skipScalar(c)
	}
}

func (r *Reader) tooMuch() error {
	return r.invalid("unknown members have more than %d bytes; leave them out", maxSkipped)
}

func (r *Reader) skipString(limit int64) error {
	for {
		b, err := r.characters()
		if err != nil || b == nil {
			return err
		}
		if r.offset() > limit {
			return r.tooMuch()
		}
	}
}

// skipScalar takes the rest of a number, true, false or null.
func (r *Reader) skipScalar(c byte) error {
	text := []byte{c}
	for {
		c, err := r.take()
		if err != nil {
			return err
		}
		if strings.IndexByte("+-.0123456789Eaeflnrstu", c) < 0 {
			break
		}
		if text = append(text, c); len(text) > maxText {
			break
		}
	}
	if len(text) > maxText || !json.Valid(text) {
		return r.invalid("a JSON value was expected")
	}
	return r.br.UnreadByte()
}
