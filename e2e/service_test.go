package e2e_test

import (
	"bufio"
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// TestREADME runs the transcript of the README as it stands there.
func TestREADME(t *testing.T) {
	t.Parallel()
	readme, err := os.ReadFile("../README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(readme), "<!-- transcript -->")
	text, _, found := strings.Cut(rest, "<!-- /transcript -->")
	if !found {
		t.Fatal("the README has no transcript")
	}
	dir := t.TempDir()
	photo := make([]byte, 48213)
	rand.Read(photo)
	if err := os.WriteFile(filepath.Join(dir, "photo.jpg"), photo, 0o600); err != nil {
		t.Fatal(err)
	}
	s := startBinary(t, plain, dir)
	script := "set -e\n"
	for line := range strings.Lines(text) {
		command, ok := strings.CutPrefix(line, "$ ")
		if !ok || strings.HasPrefix(command, "make run") {
			continue
		}
		command = strings.ReplaceAll(command, "http://127.0.0.1:8000", s.url)
		command = strings.ReplaceAll(command, "KEY=ups_...", "KEY="+s.key)
		script += command
	}
	cmd := exec.Command("bash", "-c", script)
	cmd.Dir = dir
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s\n%s", err, script, out)
	}
	if !strings.Contains(string(out), `"path":"photo.jpg"`) || !strings.HasSuffix(string(out), "the same\n") {
		t.Errorf("the transcript printed:\n%s", out)
	}
}

// TestStarts follows a data folder through its starts and the commands of a
// stopped service.
func TestStarts(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if out, code := command(t, dir, nil, "check"); code != 2 || !strings.Contains(out, "hint:") {
		t.Errorf("check without data: exit %d\n%s", code, out)
	}
	s := start(t, dir)
	if s.key == "" || !strings.Contains(s.signIn, "/login?code=") {
		t.Fatalf("the first start prints no key or link:\n%s", s.log)
	}
	key := s.key
	s.must(t, 201, "PUT", "/files/me/a.txt", strings.NewReader("hello"))

	// A second process, and every offline command, says what to do.
	if _, err := tryStart(t, program, dir); err == nil {
		t.Error("a second server starts on the same data")
	}
	out, code := command(t, t.TempDir(), []string{"UPLOAD_ADDR=" + strings.TrimPrefix(s.url, "http://")}, "serve")
	if code != 1 || !strings.Contains(out, "address already in use") || !strings.Contains(out, "hint: set UPLOAD_ADDR") {
		t.Errorf("a second server on the same port: exit %d\n%s", code, out)
	}
	for _, args := range [][]string{{"check"}, {"sweep"}, {"adopt"}, {"adopt", "--dry-run"}, {"keys", "list"}, {"serve"}} {
		begin := time.Now()
		out, code := command(t, dir, nil, args...)
		if code == 0 || !strings.Contains(out, "another process") || !strings.Contains(out, "hint:") || time.Since(begin) > 15*time.Second {
			t.Errorf("%v beside a server: exit %d after %s\n%s", args, code, time.Since(begin), out)
		}
	}
	if out, code := command(t, dir, []string{"UPLOAD_ADDR=" + strings.TrimPrefix(s.url, "http://")}, "healthcheck"); code != 0 {
		t.Errorf("healthcheck: exit %d\n%s", code, out)
	}
	if err := s.stop(); err != nil {
		t.Fatalf("stop: %v", err)
	}

	// Stopped: check, a new key, revoke the old one.
	if out, code := command(t, dir, nil, "check", "--content"); code != 0 {
		t.Errorf("check: exit %d\n%s", code, out)
	}
	out, code = command(t, dir, nil, "keys", "new", "--name", "lost the first")
	fresh := strings.TrimSpace(out)
	if code != 0 || !regexp.MustCompile(`^ups_[0-9A-Za-z]{33}$`).MatchString(fresh) {
		t.Fatalf("keys new: exit %d\n%s", code, out)
	}
	out, _ = command(t, dir, nil, "keys", "list")
	times := regexp.MustCompile(`made (\S+)  used (\S+)  never expires  first start\n`).FindStringSubmatch(out)
	if times == nil || times[2] < times[1] {
		t.Errorf("keys list says of a key that was used:\n%s", out)
	}
	id, _, _ := strings.Cut(out, " ")
	if out, code := command(t, dir, nil, "keys", "revoke", id); code != 0 {
		t.Errorf("keys revoke %s: exit %d\n%s", id, code, out)
	}
	s = start(t, dir)
	if s.key != "" {
		t.Error("the second start prints a key, too")
	}
	s.key = key
	s.must(t, 401, "GET", "/files/me/a.txt", nil)
	s.key = fresh
	if a := s.must(t, 200, "GET", "/files/me/a.txt", nil); string(a.body) != "hello" {
		t.Errorf("got %q", a.body)
	}
	s.must(t, 204, "DELETE", "/files/me/a.txt", nil)
	if err := s.stop(); err != nil {
		t.Fatalf("stop: %v", err)
	}

	// Damage is a finding.
	blobs, err := filepath.Glob(filepath.Join(dir, "uploads/.upload-service/blobs/*/*"))
	if err != nil || len(blobs) != 1 {
		t.Fatalf("got blobs %q, %v", blobs, err)
	}
	if err := os.Remove(blobs[0]); err != nil {
		t.Fatal(err)
	}
	if out, code := command(t, dir, nil, "check"); code != 1 || !strings.Contains(out, "missing") {
		t.Errorf("check of damaged data: exit %d\n%s", code, out)
	}
	if out, code := command(t, dir, []string{"UPLOAD_UNDO=0"}, "sweep", "--dry-run"); code != 0 {
		t.Errorf("sweep: exit %d\n%s", code, out)
	}
}

// dial opens a raw connection to the server.
func (s *server) dial(t testing.TB) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", strings.TrimPrefix(s.url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(30 * time.Second)) //nolint:errcheck // a TCP connection has deadlines
	return c
}

// TestInvariant7 sends refused requests whose bodies look like requests.
func TestInvariant7(t *testing.T) {
	t.Parallel()
	s := start(t, t.TempDir())
	inner := "DELETE /files/me/victim HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer " + s.key + "\r\nContent-Length: 0\r\n\r\n"
	s.must(t, 201, "PUT", "/files/me/victim", strings.NewReader("alive"))
	refused := map[string]string{
		"no credential": "PUT /files/me/x HTTP/1.1\r\nHost: localhost\r\n",
		"bad name":      "PUT /files/me/a%00b HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer " + s.key + "\r\n",
		"no route":      "PUT /nowhere HTTP/1.1\r\nHost: localhost\r\n",
		"no method":     "PUT /healthz HTTP/1.1\r\nHost: localhost\r\n",
		"another host":  "PUT /files/me/x HTTP/1.1\r\nHost: evil.example\r\n",
	}
	var wg sync.WaitGroup
	for name, head := range refused {
		for _, padding := range []int{0, 8 << 10, 300 << 10} {
			for _, chunked := range []bool{false, true} {
				body := strings.Repeat("x", padding) + inner
				request := head + fmt.Sprintf("Content-Length: %d\r\n\r\n", len(body)) + body
				if chunked {
					request = head + "Transfer-Encoding: chunked\r\n\r\n" + fmt.Sprintf("%x\r\n", len(body)) + body + "\r\n0\r\n\r\n"
				}
				c := s.dial(t)
				wg.Go(func() {
					io.WriteString(c, request) //nolint:errcheck // the server may close early
				})
				wg.Go(func() {
					c.SetReadDeadline(time.Now().Add(2 * time.Second)) //nolint:errcheck // as in dial
					got, _ := io.ReadAll(c)
					if n := bytes.Count(got, []byte("HTTP/1.1 ")); n != 1 || bytes.Contains(got, []byte("HTTP/1.1 2")) {
						t.Errorf("%s, padding %d, chunked %v: %d answers: %.200q", name, padding, chunked, n, got)
					}
				})
			}
		}
	}
	wg.Wait()
	s.must(t, 200, "GET", "/files/me/victim", nil)
}

// TestInvariant8 cuts bodies short in every way in.
func TestInvariant8(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := start(t, dir)
	auth := "Host: localhost\r\nAuthorization: Bearer " + s.key + "\r\n"
	rest := strings.Repeat("x", 20_000)
	content := base64.StdEncoding.EncodeToString([]byte(rest))
	requests := map[string]string{
		"declared":        "PUT /files/me/cut HTTP/1.1\r\n" + auth + "Content-Length: 50000\r\n\r\n" + rest,
		"declared, small": "PUT /files/me/cut HTTP/1.1\r\n" + auth + "Content-Length: 50\r\n\r\nxxx",
		"last chunk":      "PUT /files/me/cut HTTP/1.1\r\n" + auth + "Transfer-Encoding: chunked\r\n\r\n4e20\r\n" + rest + "\r\n",
		"final line":      "PUT /files/me/cut HTTP/1.1\r\n" + auth + "Transfer-Encoding: chunked\r\n\r\n4e20\r\n" + rest + "\r\n0\r\n",
		"inside a chunk":  "PUT /files/me/cut HTTP/1.1\r\n" + auth + "Transfer-Encoding: chunked\r\n\r\n4e21\r\n" + rest,
		"JSON":            "PUT /api/upload HTTP/1.1\r\n" + auth + "Content-Length: 90000\r\n\r\n" + `[{"filename":"cut","content":"` + content + `"}]`,
		"form": "POST /upload HTTP/1.1\r\n" + auth + "Content-Type: multipart/form-data; boundary=b\r\nContent-Length: 90000\r\n\r\n" +
			"--b\r\nContent-Disposition: form-data; name=\"file\"; filename=\"cut\"\r\n\r\n" + rest + "\r\n--b--\r\n",
		"temporary": "POST /api/v1/uploads HTTP/1.1\r\n" + auth + "Content-Length: 50000\r\n\r\n" + rest,
	}
	for name, request := range requests {
		c := s.dial(t)
		if _, err := io.WriteString(c, request); err != nil {
			t.Fatal(err)
		}
		c.(*net.TCPConn).CloseWrite() //nolint:errcheck // the read below tells
		got, _ := io.ReadAll(c)
		if bytes.Contains(got, []byte("HTTP/1.1 2")) {
			t.Errorf("%s: stored: %.200q", name, got)
		}
		c.Close()
	}
	s.must(t, 404, "GET", "/files/me/cut", nil)
	if a := s.must(t, 200, "GET", "/api/v1/uploads", nil); !bytes.Contains(a.body, []byte(`"uploads":[]`)) {
		t.Errorf("an upload is left: %s", a.body)
	}
	eventually(t, "nothing is left of cut uploads", func() bool {
		blobs, _ := filepath.Glob(filepath.Join(dir, "uploads/.upload-service/blobs/*/*"))
		return len(blobs) == 0
	})
}

// TestIdle stalls in the middle of a body and of a download: the stalled
// transfer is cut, the moving one is not.
func TestIdle(t *testing.T) {
	t.Parallel()
	s := start(t, t.TempDir(), "UPLOAD_IDLE_TIMEOUT=600ms")
	head := "PUT /files/me/slow HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer " + s.key + "\r\nContent-Length: 10000\r\n\r\n" + strings.Repeat("x", 9000)

	stalled := s.dial(t)
	io.WriteString(stalled, head) //nolint:errcheck // the read below tells
	got, _ := io.ReadAll(stalled)
	if !bytes.HasPrefix(got, []byte("HTTP/1.1 408 ")) {
		t.Errorf("a stalled upload got %.200q", got)
	}

	moving := s.dial(t)
	io.WriteString(moving, head) //nolint:errcheck // the read below tells
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for range 10 { // 2 s in all: more than three idle times
		<-tick.C
		if _, err := io.WriteString(moving, strings.Repeat("x", 100)); err != nil {
			t.Fatal(err)
		}
	}
	answer, err := http.ReadResponse(bufio.NewReader(moving), nil)
	if err != nil || answer.StatusCode != 201 {
		t.Errorf("a moving upload got %v, %v", answer, err)
	}

	// A download that nobody reads does not keep its connection; one that is
	// read slowly comes whole. It is more than fits between the two.
	const size = 32 << 20
	s.must(t, 201, "PUT", "/files/me/large", io.LimitReader(zeros{}, size))
	get := "GET /files/me/large HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer " + s.key + "\r\n\r\n"
	download := func() (net.Conn, *http.Response) {
		c := s.dial(t)
		c.(*net.TCPConn).SetReadBuffer(64 << 10) //nolint:errcheck // a TCP connection has one
		io.WriteString(c, get)                   //nolint:errcheck // the answer tells
		answer, err := http.ReadResponse(bufio.NewReader(c), nil)
		if err != nil || answer.StatusCode != 200 {
			t.Fatalf("a download got %v, %v", answer, err)
		}
		return c, answer
	}
	unread, _ := download()
	eventually(t, "the server closes a stalled download", func() bool {
		_, err := io.WriteString(unread, "\r\n") // is only refused by what is closed
		return err != nil
	})
	_, slow := download()
	n := int64(0)
	for err = error(nil); err == nil; { // 2 s in all, as above
		var m int64
		m, err = io.CopyN(io.Discard, slow.Body, size/10)
		n += m
		<-tick.C
	}
	if err != io.EOF || n != size {
		t.Errorf("a download that moves ends after %d bytes: %v", n, err)
	}
}

// TestShutdown stops the server in the middle of an upload: it is finished,
// nobody else gets in, and the process ends at once behind it.
func TestShutdown(t *testing.T) {
	t.Parallel()
	s := start(t, t.TempDir())
	idle := s.dial(t) // a connection without a request does not hold it up
	r, w := io.Pipe()
	uploaded := make(chan error, 1)
	go func() {
		a, err := s.do("PUT", "/files/me/f", r)
		if err == nil && a.status != 201 {
			err = fmt.Errorf("got %d %s", a.status, a.body)
		}
		uploaded <- err
	}()
	w.Write(make([]byte, 100_000)) //nolint:errcheck // the answer tells
	s.must(t, 200, "GET", "/readyz", nil)
	s.cmd.Process.Signal(os.Interrupt) //nolint:errcheck // it runs
	eventually(t, "the listener closes", func() bool {
		c, err := net.Dial("tcp", strings.TrimPrefix(s.url, "http://"))
		if err == nil {
			c.Close()
		}
		return err != nil
	})
	if _, err := io.ReadAll(idle); err != nil && !strings.Contains(err.Error(), "reset") {
		t.Errorf("an idle connection: %v", err)
	}
	w.Write(make([]byte, 100_000)) //nolint:errcheck // the answer tells
	w.Close()
	if err := <-uploaded; err != nil {
		t.Errorf("the running upload: %v", err)
	}
	drained := time.Now()
	<-s.done
	if s.err != nil {
		t.Errorf("exit: %v", s.err)
	}
	if took := time.Since(drained); took > 3*time.Second { // with the race detector
		t.Errorf("ended %s after the last request", took)
	}
}

// TestShutdownCutsOff ends a server whose client never finishes.
func TestShutdownCutsOff(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := start(t, dir, "UPLOAD_SHUTDOWN_GRACE=300ms")
	c := s.dial(t)
	io.WriteString(c, "PUT /files/me/f HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer "+s.key+"\r\nContent-Length: 100000\r\n\r\n"+strings.Repeat("x", 50_000)) //nolint:errcheck // it never ends
	eventually(t, "the upload runs", func() bool {
		blobs, _ := filepath.Glob(filepath.Join(dir, "uploads/.upload-service/blobs/*/*"))
		return len(blobs) == 1
	})
	if err := s.stop(); err != nil {
		t.Errorf("stop: %v", err)
	}
	if out, code := command(t, dir, nil, "check"); code != 0 {
		t.Errorf("check: exit %d\n%s", code, out)
	}
}

// TestCommitInDoubt: a process whose metadata may not be on the disk says so and
// ends soon, whoever is still sending, so that the next one can find out.
func TestCommitInDoubt(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := start(t, dir, "FAILPOINT=commit: the sync of the meta page#30", "UPLOAD_SHUTDOWN_GRACE=10m")
	c := s.dial(t)
	io.WriteString(c, "PUT /files/me/f HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer "+s.key+"\r\nContent-Length: 100000\r\n\r\n"+strings.Repeat("x", 50_000)) //nolint:errcheck // it never ends
	var acknowledged []string
	for i := 0; ; i++ {
		name := fmt.Sprintf("/files/me/n%d", i)
		a, err := s.do("PUT", name, strings.NewReader(name))
		if err == nil && a.status == 201 && i < 100 {
			acknowledged = append(acknowledged, name)
			continue
		}
		if err != nil || a.status < 500 {
			t.Errorf("the upload in doubt: %d %s, %v", a.status, a.body, err)
		}
		break
	}
	began := time.Now()
	select {
	case <-s.done:
	case <-time.After(10 * time.Second):
		t.Fatal("it goes on after a commit in doubt")
	}
	if s.err == nil || !strings.Contains(s.log.String(), "look at the disk") {
		t.Errorf("it ended with %v", s.err)
	}
	t.Logf("%d uploads, ended after %s", len(acknowledged), time.Since(began))
	next := start(t, dir)
	next.key = s.key
	for _, name := range acknowledged {
		if a := next.must(t, 200, "GET", name, nil); string(a.body) != name {
			t.Errorf("%s has %q", name, a.body)
		}
	}
}

// TestInvariant5 watches the memory of the released binary: eight uploads at
// once, declared and chunked, eight downloads at once, forms and JSON with one
// large content and with a thousand small ones, fields that are too long to be
// kept, strangers that hold on to a body, and idle connections.
func TestInvariant5(t *testing.T) {
	s := startBinary(t, plain, t.TempDir(), "UPLOAD_OWNER_QUOTA=none")
	peak := watchMemory(t, s.cmd.Process.Pid)
	const size = 96 << 20

	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			body := io.Reader(io.LimitReader(zeros{}, size))
			if i%2 == 0 {
				body = io.MultiReader(body) // chunked
			}
			req, err := http.NewRequest("PUT", fmt.Sprintf("%s/files/me/big%d", s.url, i), body)
			if err != nil {
				t.Error(err)
				return
			}
			if i%2 == 1 {
				req.ContentLength = size
			}
			req.Header.Set("Authorization", "Bearer "+s.key)
			res, err := client.Do(req)
			if err != nil {
				t.Error(err)
				return
			}
			defer res.Body.Close()
			if res.StatusCode != 201 {
				t.Errorf("upload %d: %s", i, res.Status)
			}
		})
	}
	wg.Wait()
	uploads := peak.Load()

	for i := range 8 {
		wg.Go(func() {
			req, err := http.NewRequest("GET", fmt.Sprintf("%s/files/me/big%d", s.url, i), nil)
			if err != nil {
				t.Error(err)
				return
			}
			req.Header.Set("Authorization", "Bearer "+s.key)
			res, err := client.Do(req)
			if err != nil {
				t.Error(err)
				return
			}
			defer res.Body.Close()
			if n, err := io.Copy(io.Discard, res.Body); n != size || err != nil {
				t.Errorf("download %d: %d bytes, %v", i, n, err)
			}
		})
	}
	wg.Wait()
	downloads := peak.Load()

	json := io.MultiReader(strings.NewReader(`[{"filename":"json","content":"`), io.LimitReader(letters{}, 128<<20), strings.NewReader(`"}]`))
	s.must(t, 200, "PUT", "/api/upload", json)
	form := way{kind: "form"}
	multipart := []string{"Content-Type", form.contentType()}
	const head = "--b\r\nContent-Disposition: form-data; name=\"file\"; filename=\"form\"\r\n\r\n"
	s.must(t, 303, "POST", "/upload", io.MultiReader(strings.NewReader(head), io.LimitReader(letters{}, 128<<20),
		strings.NewReader("\r\n--b--\r\n")), multipart...)
	var many []content
	for i := range 1000 {
		many = append(many, content{fmt.Sprintf("many%d", i), 8 << 10})
	}
	s.must(t, 303, "POST", "/upload", bytes.NewReader(form.body(many...)), multipart...)
	s.must(t, 200, "PUT", "/api/upload", bytes.NewReader(way{kind: "json"}.body(many...)))
	var fields strings.Builder
	for i := range 100 {
		const field = "--b\r\nContent-Disposition: form-data; name=\"%s%d\"\r\n\r\nvalue\r\n"
		fmt.Fprintf(&fields, field, strings.Repeat("x", 10<<10), i)
	}
	a := s.must(t, 400, "POST", "/upload", strings.NewReader(fields.String()+"--b--\r\n"), multipart...)
	if !bytes.Contains(a.body, []byte(`"code":"invalid"`)) {
		t.Errorf("fields with long names: %s", a.body)
	}
	var conns []net.Conn
	for i := range 200 { // half a megabyte each, and no end
		c := s.dial(t)
		path := []string{"/login", "/theme"}[i%2]
		fmt.Fprintf(c, "POST %s HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n80000\r\n", path)
		c.Write(make([]byte, 500<<10)) //nolint:errcheck // it may be refused by then
		conns = append(conns, c)
	}
	for range 500 {
		c := s.dial(t)
		io.WriteString(c, "GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n") //nolint:errcheck // only to have been served
		conns = append(conns, c)
	}
	for _, c := range conns {
		c.Read(make([]byte, 1)) //nolint:errcheck // only to have been served
	}
	t.Logf("peak of anonymous memory: %d MiB for 8 uploads of %d MiB at once, %d MiB with 8 downloads, %d MiB at the end",
		uploads>>20, size>>20, downloads>>20, peak.Load()>>20)
	if peak.Load() > 64<<20 {
		t.Errorf("the server took %d MiB", peak.Load()>>20)
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}

type letters struct{}

func (letters) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = 'A'
	}
	return len(p), nil
}

// watchMemory follows RssAnon, the memory that is not a cache of files, until
// the test ends.
func watchMemory(t *testing.T, pid int) *atomic.Int64 {
	t.Helper()
	var peak atomic.Int64
	stop := make(chan struct{})
	done := make(chan struct{})
	go func() {
		defer close(done)
		tick := time.NewTicker(10 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-stop:
				return
			case <-tick.C:
			}
			status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
			if err != nil {
				return
			}
			for line := range strings.Lines(string(status)) {
				if value, ok := strings.CutPrefix(line, "RssAnon:"); ok {
					kb, _ := strconv.ParseInt(strings.Fields(value)[0], 10, 64)
					peak.Store(max(peak.Load(), kb<<10))
				}
			}
		}
	}()
	t.Cleanup(func() { close(stop); <-done })
	return &peak
}

// TestInvariant1 kills the server right behind each acknowledgement, by every
// way in: what was acknowledged is there, with the bytes that were answered.
// TestCrash does the same under load, at every step.
func TestInvariant1(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := start(t, dir)
	key := s.key
	content := strings.Repeat("content", 20_000)
	sum := hexSum([]byte(content))
	form := "--b\r\nContent-Disposition: form-data; name=\"file\"; filename=\"form\"\r\n\r\n" + content + "\r\n--b--\r\n"
	multipart := []string{"Content-Type", "multipart/form-data; boundary=b"}
	legacy := func(name string) string {
		return `[{"filename":"` + name + `","content":"` + base64.StdEncoding.EncodeToString([]byte(content)) + `"}]`
	}
	token := ""
	for _, step := range []struct {
		method, path, body string
		headers            []string
		status             int
		stored             string // "" for a temporary upload
	}{
		{"PUT", "/files/me/put", content, nil, 201, "put"},
		{"PUT", "/api/upload", legacy("legacy"), nil, 200, "legacy"},
		{"POST", "/upload", form, multipart, 303, "form"},
		{"POST", "/api/v1/uploads?filename=raw", content, nil, 201, ""},
		{"POST", "/api/v1/uploads/<token>/persist", "{}", nil, 201, "raw"},
		{"POST", "/api/v1/uploads", form, multipart, 201, ""},
		{"PUT", "/api/upload_temporary", legacy("temporary"), nil, 200, ""},
		{"POST", "/api/v1/persist", `{"tokens":["<token>"]}`, nil, 201, "temporary"},
	} {
		fill := strings.NewReplacer("<token>", token)
		a := s.must(t, step.status, step.method, fill.Replace(step.path), strings.NewReader(fill.Replace(step.body)), step.headers...)
		s.kill()
		if step.status != 303 && !bytes.Contains(a.body, []byte(sum)) {
			t.Errorf("%s %s: the answer does not have the digest: %s", step.method, step.path, a.body)
		}
		s = start(t, dir)
		s.key = key
		if step.stored == "" {
			var u struct{ Token string }
			a.json(t, &u)
			token = u.Token
			a = s.must(t, 200, "GET", "/api/v1/uploads/"+token+"/content", nil)
		} else {
			a = s.must(t, 200, "GET", "/files/me/"+step.stored, nil)
		}
		if got := hexSum(a.body); got != sum {
			t.Errorf("%s %s: after the kill the bytes hash to %s, want %s", step.method, step.path, got, sum)
		}
	}
}

// TestPeriodicSweep waits for the job that clears what was abandoned.
func TestPeriodicSweep(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := start(t, dir, "UPLOAD_TEMPORARY_TTL=1s", "UPLOAD_CLEANUP_INTERVAL=300ms")
	a := s.must(t, 201, "POST", "/api/v1/uploads", strings.NewReader("abandoned"))
	var u struct{ Token string }
	a.json(t, &u)
	eventually(t, "the bytes of an abandoned upload go", func() bool {
		blobs, _ := filepath.Glob(filepath.Join(dir, "uploads/.upload-service/blobs/*/*"))
		return len(blobs) == 0
	})
	if a, err := s.do("GET", "/api/v1/uploads/"+u.Token, nil); err != nil || a.status != 410 && a.status != 404 {
		t.Errorf("got %d %s, %v", a.status, a.body, err)
	}
}

// stoppedWith is the data of a stopped service that has n files: its folder, the
// name of the metadata file and what is in it.
func stoppedWith(t *testing.T, n int) (dir, meta string, content []byte) {
	t.Helper()
	dir = t.TempDir()
	s := start(t, dir)
	for i := range n {
		s.must(t, 201, "PUT", fmt.Sprintf("/files/me/%d", i), strings.NewReader("x"))
	}
	if err := s.stop(); err != nil {
		t.Fatal(err)
	}
	meta = filepath.Join(dir, "uploads", ".upload-service", "meta.db")
	content, err := os.ReadFile(meta)
	if err != nil {
		t.Fatal(err)
	}
	return dir, meta, content
}

// TestCheckReadsEveryPage damages the metadata file where no start would look.
func TestCheckReadsEveryPage(t *testing.T) {
	t.Parallel()
	dir, meta, b := stoppedWith(t, 100)
	if out, code := command(t, dir, nil, "check"); code != 0 {
		t.Fatalf("check of what is whole: %d %s", code, out)
	}
	// A page begins with its number, its kind and the count of its entries; 2 is
	// a leaf. Those with few entries are needed to open the file at all.
	damaged := 0
	for page := b[:len(b):len(b)]; len(page) >= os.Getpagesize(); page = page[os.Getpagesize():] {
		kind, entries := binary.NativeEndian.Uint16(page[8:]), binary.NativeEndian.Uint16(page[10:])
		if kind == 2 && entries > 5 {
			clear(page[:os.Getpagesize()])
			damaged++
		}
	}
	if err := os.WriteFile(meta, b, 0o600); err != nil {
		t.Fatal(err)
	}
	out, code := command(t, dir, nil, "check")
	if code != 1 || !strings.Contains(out, "The metadata file is damaged: ") {
		t.Errorf("check with %d damaged pages: %d %s", damaged, code, out)
	}
}

// TestDamagedMetadata breaks meta.db in every way that a disk or a person does:
// whoever starts something on it is told what to do, and nothing crashes.
func TestDamagedMetadata(t *testing.T) {
	t.Parallel()
	dir, meta, whole := stoppedWith(t, 20)
	size := os.Getpagesize()
	used := (len(bytes.TrimRight(whole, "\x00")) + size - 1) / size * size // the file grows in steps
	whole = whole[:used]
	type damage struct {
		name    string
		content []byte // nil: the file is gone
		sure    bool   // and not only perhaps
	}
	ways := []damage{
		{"gone", nil, true}, {"empty", []byte{}, true}, {"one page", whole[:size], true}, {"a part of a page", whole[:size+10], true},
		{"cut in the middle", whole[:used/2], true}, {"without its last page", whole[:used-size], false},
		{"both meta pages", append(make([]byte, 2*size), whole[2*size:]...), true},
	}
	for page := range used / size {
		lost := bytes.Clone(whole)
		clear(lost[page*size:][:size])
		ways = append(ways, damage{fmt.Sprintf("page %d", page), lost, false})
	}
	hints := regexp.MustCompile(`hint: (look at the disk and restore|the metadata may be damaged)|The metadata file is damaged`)
	for _, way := range ways {
		for _, args := range [][]string{{"check"}, {"sweep"}, {"serve"}} {
			if args[0] == "serve" && !way.sure {
				continue // it may well start
			}
			if err := os.WriteFile(meta, way.content, 0o600); err != nil {
				t.Fatal(err)
			}
			if way.content == nil {
				os.Remove(meta)
			}
			out, code := command(t, dir, nil, args...)
			if (code != 0 || way.sure) && (code == 0 || !hints.MatchString(out)) {
				t.Errorf("%s, %s: exit %d\n%s", way.name, args[0], code, out)
			}
			if strings.Contains(out, "fatal error") {
				t.Errorf("%s, %s crashes:\n%s", way.name, args[0], out)
			}
		}
	}
	if err := os.WriteFile(meta, whole, 0o600); err != nil {
		t.Fatal(err)
	}
	if out, code := command(t, dir, nil, "check"); code != 0 {
		t.Errorf("check of what was restored: exit %d\n%s", code, out)
	}
}
