package e2e_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestDiskFullDuringAppend lets another program take the room while a piece is
// received: what was recorded stays, and the upload goes on when there is room.
// With a reserve the server refuses, without one the disk does. Of a chunk of
// FilePond's nothing stays.
func TestDiskFullDuringAppend(t *testing.T) {
	t.Parallel()
	const size, first = 24 << 20, 4 << 20
	content := bytes.Repeat([]byte("0123456789abcdef"), size/16)
	type way struct {
		begin, piece []string
		path, body   string
	}
	for name, way := range map[string]way{
		"tus": {
			[]string{"Tus-Resumable", "1.0.0", "Upload-Length", strconv.Itoa(size)},
			[]string{"Tus-Resumable", "1.0.0", "Content-Type", "application/offset+octet-stream"}, "/tus/", "",
		},
		"ietf": {
			[]string{"Upload-Complete", "?0", "Upload-Length", strconv.Itoa(size)},
			[]string{"Content-Type", "application/partial-upload"}, "/api/v1/uploads", "",
		},
		"filepond": {
			[]string{"Upload-Length", strconv.Itoa(size), "Content-Type", "multipart/form-data; boundary=b"},
			[]string{"Upload-Length", strconv.Itoa(size), "Content-Type", "application/offset+octet-stream"}, "/filepond", emptyFilePond,
		},
	} {
		for _, reserve := range []string{"1MiB", "0"} {
			t.Run(name+", UPLOAD_MIN_FREE="+reserve, func(t *testing.T) {
				t.Parallel()
				dir := volume(t, "96m")
				s := start(t, dir, "UPLOAD_MIN_FREE="+reserve)
				begun := s.must(t, 201, "POST", way.path, strings.NewReader(way.body), way.begin...)
				at := begun.header.Get("Location")
				token := tokenOf(at)
				if name == "filepond" {
					token = string(begun.body)
					at = way.path + "?patch=" + token
				}
				piece := func(offset, end int, complete string) []string {
					return append([]string{"Upload-Offset", strconv.Itoa(offset), "Upload-Complete", complete}, way.piece...)
				}
				if a, err := s.do("PATCH", at, bytes.NewReader(content[:first]), piece(0, first, "?0")...); err != nil || a.status != 204 {
					t.Fatalf("the first piece: %v, %d %s", err, a.status, a.body)
				}

				// The room goes when a part of the piece is there.
				filler := filepath.Join(dir, "uploads", "filler")
				before := free(t, dir)
				filled := make(chan struct{})
				body := io.MultiReader(bytes.NewReader(content[first:2*first]), &meanwhile{do: func() {
					defer close(filled)
					// Not beside the server: together they would take more than there is.
					for end := time.Now().Add(10 * time.Second); free(t, dir) > before-first+1<<20 && time.Now().Before(end); {
						runtime.Gosched()
					}
					if err := os.WriteFile(filler, make([]byte, free(t, dir)-(2<<20)), 0o600); err != nil && !errors.Is(err, syscall.ENOSPC) {
						t.Errorf("fill the volume: %v", err)
					}
				}}, bytes.NewReader(content[2*first:]))
				a, err := s.do("PATCH", at, io.MultiReader(body), piece(first, size, "?1")...)
				<-filled
				// A client that is still sending may lose the answer with the connection.
				if err == nil && (a.status != 507 || a.header.Get("Retry-After") == "") {
					t.Fatalf("a full disk: %d %v %s", a.status, a.header, a.body)
				}

				eventually(t, "the log has the cause", func() bool { return strings.Contains(s.log.String(), "code=full ") })
				if disk := strings.Contains(s.log.String(), ": no space left: "); disk != (reserve == "0") {
					t.Errorf("refused by the disk: %v", disk)
				}

				// The server says how far it is; at least what it had acknowledged.
				head := s.must(t, 200, "HEAD", at, nil, way.begin[:2]...)
				offset, err := strconv.Atoi(head.header.Get("Upload-Offset"))
				if err != nil || offset < first || offset >= size || name == "filepond" && offset != first {
					t.Fatalf("offset %q after a full disk", head.header.Get("Upload-Offset"))
				}
				if err := os.Remove(filler); err != nil {
					t.Fatal(err)
				}
				if a, err := s.do("PATCH", at, bytes.NewReader(content[offset:]), piece(offset, size, "?1")...); err != nil || a.status >= 300 {
					t.Fatalf("the rest: %v, %d %s", err, a.status, a.body)
				}
				s.wantUpload(t, token, hexSum(content))
				s.wantClean(t, dir)
			})
		}
	}
}

// meanwhile does something when it is read, and yields nothing.
type meanwhile struct{ do func() }

func (o *meanwhile) Read([]byte) (int, error) {
	o.do()
	return 0, io.EOF
}

// TestCurlResumable walks through the IETF's protocol with curl alone.
func TestCurlResumable(t *testing.T) {
	t.Parallel()
	s := start(t, t.TempDir())
	dir := t.TempDir()
	content := bytes.Repeat([]byte("resumable "), 20_000)
	part := func(name string, b []byte) string {
		name = filepath.Join(dir, name)
		if err := os.WriteFile(name, b, 0o600); err != nil {
			t.Fatal(err)
		}
		return "@" + name
	}
	curl := func(args ...string) string {
		t.Helper()
		args = append([]string{
			"-sS", "-v", "--max-time", "30", "-H", "Authorization: Bearer " + s.key, "-H", "Upload-Draft-Interop-Version: 8",
		}, args...)
		out, err := exec.Command("curl", args...).CombinedOutput()
		if err != nil {
			t.Fatalf("curl %q: %v\n%s", args, err, out)
		}
		return string(out)
	}
	value := func(out, name string) string {
		t.Helper()
		m := regexp.MustCompile(`(?mi)^< `+name+`: (.*?)\r?$`).FindAllStringSubmatch(out, -1)
		if m == nil {
			t.Fatalf("no %s in:\n%s", name, out)
		}
		return m[len(m)-1][1]
	}
	half := len(content) / 2
	out := curl("-H", "Upload-Complete: ?0", "-H", "Content-Type: text/plain", "--data-binary", part("1", content[:half]),
		s.url+"/api/v1/uploads?filename=c.txt")
	if !strings.Contains(out, "< HTTP/1.1 104 ") || !strings.Contains(out, "< HTTP/1.1 201 ") {
		t.Fatalf("no 104 before the answer:\n%s", out)
	}
	at := s.url + strings.TrimPrefix(value(out, "Location"), s.url)
	out = curl("-I", at)
	if got := value(out, "Upload-Offset"); got != strconv.Itoa(half) || value(out, "Upload-Complete") != "?0" {
		t.Fatalf("offset %s after half:\n%s", got, out)
	}
	out = curl("-X", "PATCH", "-H", "Content-Type: application/partial-upload", "-H", "Upload-Complete: ?1",
		"-H", fmt.Sprintf("Upload-Offset: %d", half), "--data-binary", part("2", content[half:]), at)
	if value(out, "Upload-Complete") != "?1" {
		t.Fatalf("not complete:\n%s", out)
	}
	out = curl("-H", "Upload-Complete: ?0", "--data-binary", "begun", s.url+"/api/v1/uploads")
	begun := s.url + strings.TrimPrefix(value(out, "Location"), s.url)
	if out := curl("-X", "DELETE", begun); !strings.Contains(out, "< HTTP/1.1 204 ") {
		t.Errorf("an upload that nobody wants any more:\n%s", out)
	}
	if out := curl("-I", begun); !strings.Contains(out, "< HTTP/1.1 410 ") {
		t.Errorf("after its end:\n%s", out)
	}
	sum := sha256.Sum256(content)
	s.wantUpload(t, tokenOf(at), hex.EncodeToString(sum[:]))
	got := s.must(t, http.StatusOK, "GET", "/files/me/c.txt", nil)
	if !bytes.Equal([]byte(got.body), content) {
		t.Errorf("the file has %d bytes, want %d", len(got.body), len(content))
	}
}
