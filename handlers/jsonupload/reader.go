// Package jsonupload reads the request body of the first upload API, a JSON
// array of files whose contents are base64 strings:
//
//	[{"filename": "docs/a.txt", "content": "SGVsbG8="}, ...]
//
// It reads as a stream, in memory that grows neither with a content nor with
// their number. It is not a general JSON decoder: it knows this one shape,
// and accepts in it what encoding/json and base64.StdEncoding accept, no more
// and no less. What a file name may be is for the caller to decide.
//
// Nothing that was cut short is taken for complete: a content ends with
// io.EOF only behind its closing quote, the array only when nothing but
// white space was left of the body.
package jsonupload

import (
	"bufio"
	"errors"
	"io"
	"sync"

	"github.com/segmentio/asm/base64"

	"upload-service/store"
)

// Limits bounds what a body may bring.
type Limits struct {
	Entries int // how many entries the array may have
}

const (
	bufferSize = 64 << 10 // bytes read ahead; larger ones measured no faster
	maxSpan    = 4 << 10  // bytes of a string looked at in one step
	maxText    = 8 << 10  // bytes of a file name or member name, as sent
	maxSkipped = 1 << 20  // bytes of all unknown members of a body together
	maxBlank   = 1 << 20  // bytes of white space in a body
	maxDepth   = 32       // arrays and objects within each other in an unknown member
)

var buffers = sync.Pool{New: func() any { return bufio.NewReaderSize(nil, bufferSize) }}

// Reader reads the entries of one body, one after the other:
//
//	r := jsonupload.New(body, limits)
//	defer r.Close()
//	for {
//		entry, err := r.Next() // io.EOF after the last
//		// read the content from entry
//		name, err := entry.Finish()
//	}
//
// Its errors and those of its entries are of code invalid, or too_large for
// too many entries, and say where in the body; an error of the body itself
// stays in the chain. After an error nothing more can be read. A Reader is
// used by one goroutine.
type Reader struct {
	limits  Limits
	src     source
	br      *bufio.Reader // over src
	err     error         // what ended the reading
	index   int           // of the entry that is read, -1 before the first
	entry   *Entry        // begun and not finished, or nil
	skipped int64         // bytes of unknown members so far
	blank   int64         // bytes of white space so far
	escape  [4]byte       // the character that the last escape stood for
	quantum [4]byte       // base64 that waits for its other characters
	decoded [(maxSpan/4 + 1) * 3]byte
}

// New makes a Reader of body. The caller closes it.
func New(body io.Reader, limits Limits) *Reader {
	r := &Reader{limits: limits, src: source{r: body}, index: -1}
	r.br = buffers.Get().(*bufio.Reader)
	r.br.Reset(&r.src)
	return r
}

// Close releases the buffer. It neither reads nor closes the body.
func (r *Reader) Close() {
	if r.br == nil {
		return
	}
	r.br.Reset(nil)
	buffers.Put(r.br)
	r.br = nil
	r.err = errors.New("jsonupload: the reader is closed")
}

// Entry is one entry of the array, an io.Reader of its decoded content. The
// file name is known only at the end, as it may come behind the content.
type Entry struct {
	r        *Reader
	members  int // begun so far
	name     string
	hasName  bool
	content  bool   // the content was met
	complete bool   // the content was read to its end
	waiting  int    // bytes of Reader.quantum in use
	padded   bool   // padding ended the base64
	pending  []byte // decoded and not yet read
}

// Next begins the next entry and returns it as soon as its content begins.
// It returns io.EOF after the last, once the body was read to its end. The
// entry before must be finished.
func (r *Reader) Next() (*Entry, error) {
	if r.err != nil {
		return nil, r.err
	}
	if r.entry != nil {
		return nil, errors.New("jsonupload: Next before Finish of the entry before")
	}
	e, err := r.next()
	r.entry, r.err = e, err
	return e, err
}

func (r *Reader) next() (*Entry, error) {
	// 1. Begin the array.
	if r.index < 0 {
		c, err := r.token()
		if err != nil {
			return nil, err
		}
		if c != '[' {
			return nil, r.invalid(`a JSON array was expected; send [{"filename": "...", "content": "..."}]`)
		}
	}
	// 2. Begin an object, or end the array and the body.
	c, err := r.element(r.index < 0, ']')
	if err != nil {
		return nil, err
	}
	if c == ']' {
		return nil, r.end()
	}
	r.index++
	if r.index >= r.limits.Entries {
		return nil, store.Errorf(store.CodeTooLarge,
			"One request may bring at most %d files; send the others in another.", r.limits.Entries)
	}
	if c != '{' {
		return nil, r.invalid(`an object was expected; send {"filename": "...", "content": "..."}`)
	}
	// 3. Read the members that come before the content.
	e := &Entry{r: r}
	if err := e.advance(); err != nil {
		return nil, err
	}
	if !e.content {
		return nil, r.invalid(`the entry has no "content"; send the file in base64, "" if it is empty`)
	}
	return e, nil
}

// Read reads the decoded content. It fills p as far as the body has arrived,
// which saves the consumer many small writes.
func (e *Entry) Read(p []byte) (n int, err error) {
	r := e.r
	for {
		c := copy(p[n:], e.pending)
		e.pending = e.pending[c:]
		n += c
		switch {
		case len(e.pending) > 0:
			return n, nil
		case n == 0 && e.complete:
			return 0, io.EOF
		case r.err != nil:
			return n, r.err
		case n > 0 && (e.complete || r.br.Buffered() == 0):
			return n, nil
		}
		r.err = e.decode()
	}
}

// Finish reads the entry to its end and returns its file name, as sent. It
// verifies and drops what was not read of the content. The entry is used up.
func (e *Entry) Finish() (filename string, err error) {
	r := e.r
	if r.err != nil {
		return "", r.err
	}
	if r.entry != e {
		return "", errors.New("jsonupload: Finish of a finished entry")
	}
	r.entry = nil
	if r.err = e.finish(); r.err != nil {
		return "", r.err
	}
	return e.name, nil
}

func (e *Entry) finish() error {
	for !e.complete {
		if err := e.decode(); err != nil {
			return err
		}
	}
	e.pending = nil
	if err := e.advance(); err != nil {
		return err
	}
	if !e.hasName {
		return e.r.invalid(`the entry has no "filename"; say where the file goes`)
	}
	return nil
}

// advance reads members up to the first byte of the content, or else to the
// end of the object.
func (e *Entry) advance() error {
	r := e.r
	for {
		// 1. The name of the member, if there is another.
		c, err := r.element(e.members == 0, '}')
		if err != nil || c == '}' {
			return err
		}
		e.members++
		begin := r.offset()
		name, err := r.memberName(c)
		if err != nil {
			return err
		}
		// 2. Its value.
		c, err = r.token()
		if err != nil {
			return err
		}
		known := name == "content" || name == "filename"
		switch {
		case name == "content" && e.content, name == "filename" && e.hasName:
			return r.invalid("%q comes twice in one entry; send it once", name)
		case known && c != '"':
			return r.invalid("%q must be a string", name)
		case name == "content":
			e.content = true
			return nil
		case name == "filename":
			e.hasName = true
			if e.name, err = r.text(); err != nil {
				return err
			}
		default:
			limit := begin + maxSkipped - r.skipped
			if err := r.skip(c, 0, limit); err != nil {
				return err
			}
			r.skipped += r.offset() - begin
		}
	}
}

// decode takes the next span of the content and leaves what it decodes to in
// e.pending.
func (e *Entry) decode() error {
	r := e.r
	span, escaped, err := r.span()
	if err != nil {
		return err
	}
	// 1. The closing quote, or a line break, which base64 may have anywhere.
	if span == nil {
		if e.waiting > 0 {
			return r.notBase64(1)
		}
		e.complete = true
		return nil
	}
	if escaped && (span[0] == '\n' || span[0] == '\r') {
		return nil
	}
	// 2. Complete the quantum that an earlier span began.
	e.pending = r.decoded[:0]
	if e.waiting > 0 {
		n := copy(r.quantum[e.waiting:], span)
		span = span[n:]
		e.waiting += n
		if e.waiting < len(r.quantum) {
			return nil
		}
		e.waiting = 0
		if err := e.decodeQuanta(r.quantum[:], len(span)); err != nil {
			return err
		}
	}
	// 3. Decode the whole quanta of this one, and keep the rest.
	whole := len(span) &^ 3
	e.waiting = copy(r.quantum[:], span[whole:])
	return e.decodeQuanta(span[:whole], e.waiting)
}

// decodeQuanta appends to e.pending what src, whole quanta, decodes to. The
// byte taken last is so many bytes behind src.
func (e *Entry) decodeQuanta(src []byte, behind int) error {
	if len(src) == 0 {
		return nil
	}
	r := e.r
	if e.padded {
		return r.notBase64(len(src) + behind)
	}
	have, most := len(e.pending), len(src)/4*3
	n, err := base64.StdEncoding.Decode(r.decoded[have:], src)
	// The decoder passes over line breaks, but in a JSON string they must be
	// escaped. They come in fours, else a quantum would be incomplete, and so
	// leave at least three bytes less; padding leaves one or two less.
	if err != nil || most-n > 2 {
		return r.notBase64(len(src) - n/3*4 + behind)
	}
	e.padded = n < most
	e.pending = r.decoded[:have+n]
	return nil
}
