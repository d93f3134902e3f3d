package transport

import (
	"errors"
	"io"
	"os"
)

// FileSection is a response body: n bytes of f from offset, which the kernel
// copies to the connection where it can (sendfile). f is for this response
// alone, because its position moves; closing the section closes closer.
func FileSection(f *os.File, offset, n int64, closer io.Closer) io.ReadCloser {
	return &fileSection{io.NewSectionReader(f, offset, n), f, closer}
}

type fileSection struct {
	*io.SectionReader
	file *os.File
	io.Closer
}

// WriteTo implements io.WriterTo. What fasthttp and the kernel recognise is a
// file in a LimitedReader.
func (s *fileSection) WriteTo(w io.Writer) (int64, error) {
	done, err := s.Seek(0, io.SeekCurrent)
	if err != nil {
		return 0, err
	}
	_, offset, n := s.Outer()
	if _, err := s.file.Seek(offset+done, io.SeekStart); err != nil {
		return 0, err
	}
	copied, err := io.Copy(w, &io.LimitedReader{R: s.file, N: n - done})
	if err == nil && copied < n-done {
		err = errShortFile
	}
	return copied, err
}

var errShortFile = errors.New("the file is shorter than the section of it to be sent")
