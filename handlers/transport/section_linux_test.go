package transport_test

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestFileSection(t *testing.T) {
	t.Parallel()
	content := make([]byte, 3<<20)
	for i := range content {
		content[i] = byte(i >> 8)
	}
	for _, via := range transports {
		t.Run(via.name, func(t *testing.T) {
			t.Parallel()
			w, dial := via.start(t, patient())
			if err := os.WriteFile(filepath.Join(w.dir, "f"), content, 0o600); err != nil {
				t.Fatal(err)
			}
			c := dial()
			for _, from := range []int{0, 1, 1 << 20, len(content) - 100, len(content)} {
				c.send(fmt.Sprintf("GET /file/f?from=%d HTTP/1.1\r\nHost: h\r\n\r\n", from))
				if r := c.want(200); !bytes.Equal([]byte(r.body), content[from:]) {
					t.Errorf("from %d: got %d other bytes", from, len(r.body))
				}
				<-w.closed
			}
			c.send("HEAD /file/f HTTP/1.1\r\nHost: h\r\n\r\n")
			r, err := c.tryResponse("HEAD")
			if got := r.header.Get("Content-Length"); err != nil || got != fmt.Sprint(len(content)) {
				t.Errorf("HEAD: got length %s, %v, want %d", got, err, len(content))
			}
			<-w.closed
			c.wantAlive()
		})
	}
}

func TestFileSectionIsClosedIfTheClientGoes(t *testing.T) {
	t.Parallel()
	w := start(t, patient())
	w.file("large", 64<<20)
	c := w.dial()
	c.send("GET /file/large HTTP/1.1\r\nHost: h\r\n\r\n")
	if _, err := io.CopyN(io.Discard, c.r, 1<<20); err != nil {
		t.Fatal(err)
	}
	c.Close()
	<-w.closed
}

func TestFileSectionOfShortFile(t *testing.T) {
	t.Parallel()
	for _, via := range transports {
		t.Run(via.name, func(t *testing.T) {
			t.Parallel()
			w, dial := via.start(t, patient())
			w.file("short", 100_000)
			c := dial()
			c.send("GET /file/short?beyond=1 HTTP/1.1\r\nHost: h\r\n\r\n")
			if r, err := c.tryResponse("GET"); err == nil {
				t.Errorf("got a whole response of %d bytes", len(r.body))
			}
			soon(t, "the log says so", func() bool { return strings.Contains(w.log.String(), "shorter") })
		})
	}
}

// Not parallel: it counts the system calls of the process. A copy in user
// space takes one for each 32 KiB.
func TestFileSectionUsesSendfile(t *testing.T) {
	const size = 256 << 20
	w := start(t, patient())
	w.file("large", size)
	c := w.dial()
	before := writes(t)
	c.send("GET /file/large HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")
	if n, err := io.Copy(io.Discard, c.r); err != nil || n < size {
		t.Fatalf("got %d bytes, %v", n, err)
	}
	n := writes(t) - before
	t.Logf("%d system calls that write, for %d MiB", n, size>>20)
	if n > size/(32<<10)/2 {
		t.Errorf("%d system calls that write: the kernel did not copy the file", n)
	}
}

// writes is how many system calls of this process wrote something (proc(5)).
func writes(t *testing.T) (n int) {
	t.Helper()
	data, err := os.ReadFile("/proc/self/io")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(data), "syscw:")
	if _, err := fmt.Sscan(rest, &n); err != nil {
		t.Fatal(err)
	}
	return n
}
