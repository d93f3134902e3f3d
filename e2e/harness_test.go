package e2e_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// program is the binary under test, built once with the race detector and
// with fail points, which do nothing unless a test names one. plain is the
// binary as it is released, for tests that look at its memory.
var program, plain string

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "upload-service-e2e-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	program, plain = filepath.Join(dir, "upload-service-race"), filepath.Join(dir, "upload-service")
	code := 1
	err = errors.Join(
		build("-race", "-tags", "failpoint", "-o", program),
		build("-o", plain),
	)
	if err != nil {
		fmt.Fprintln(os.Stderr, "build the binary:", err)
	} else {
		code = m.Run()
	}
	os.RemoveAll(dir)
	os.Exit(code)
}

func build(args ...string) error {
	cmd := exec.Command("go", append(append([]string{"build"}, args...), "../cmd/upload-service")...)
	cmd.Stderr = os.Stderr
	return cmd.Run()
}

// server is one running process of the binary.
type server struct {
	t      testing.TB
	cmd    *exec.Cmd
	url    string
	key    string // printed at the first start on a data folder
	signIn string
	log    *lockedBuffer
	done   chan struct{} // closed when the process has ended
	err    error         // of Wait; read it after done
}

// lockedBuffer collects output while the test may read it.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// environ is a clean environment with the given settings.
func environ(dir string, settings ...string) []string {
	return append([]string{
		"PATH=" + os.Getenv("PATH"), "HOME=" + dir, "GORACE=halt_on_error=1 exitcode=66 atexit_sleep_ms=0",
		"UPLOAD_ADDR=127.0.0.1:0", "UPLOAD_DIR=" + filepath.Join(dir, "uploads"), "UPLOAD_MIN_FREE=0",
	}, settings...)
}

// start runs "serve" in dir until it listens. It is stopped with the test.
func start(t testing.TB, dir string, settings ...string) *server {
	t.Helper()
	return startBinary(t, program, dir, settings...)
}

func startBinary(t testing.TB, binary, dir string, settings ...string) *server {
	t.Helper()
	s, err := tryStart(t, binary, dir, settings...)
	if err != nil {
		t.Fatalf("start: %v\n%s", err, s.log)
	}
	t.Cleanup(func() {
		s.kill()
		if t.Failed() {
			t.Logf("server log:\n%s", s.log)
		}
	})
	return s
}

func tryStart(t testing.TB, binary, dir string, settings ...string) (*server, error) {
	s := &server{t: t, log: &lockedBuffer{}, done: make(chan struct{})}
	s.cmd = exec.Command(binary, "serve")
	s.cmd.Dir = dir
	s.cmd.Env = environ(dir, settings...)
	s.cmd.Stderr = s.log
	out, err := s.cmd.StdoutPipe()
	if err != nil {
		return s, err
	}
	if err := s.cmd.Start(); err != nil {
		return s, err
	}
	listening := make(chan struct{})
	go func() {
		lines := bufio.NewScanner(out)
		for lines.Scan() {
			fmt.Fprintln(s.log, lines.Text())
			label, value, _ := strings.Cut(strings.TrimSpace(lines.Text()), " ")
			value = strings.TrimSpace(value)
			switch label {
			case "Address":
				s.url = value
			case "Key":
				s.key = value
			case "Sign-in":
				s.signIn = value
			case "Ready":
				close(listening)
			}
		}
		s.err = s.cmd.Wait()
		close(s.done)
	}()
	select {
	case <-listening:
		return s, nil
	case <-s.done:
		return s, fmt.Errorf("ended before it was ready: %w", errors.Join(s.err, errors.New("see the log")))
	case <-time.After(30 * time.Second):
		s.kill()
		return s, errors.New("not ready after 30 s")
	}
}

// kill ends the process at once, like a power button, and waits.
func (s *server) kill() {
	s.cmd.Process.Kill() //nolint:errcheck // it may have ended
	<-s.done
}

// stop asks the process to end and returns its error.
func (s *server) stop() error {
	s.cmd.Process.Signal(syscall.SIGTERM) //nolint:errcheck // it may have ended
	select {
	case <-s.done:
		return s.err
	case <-time.After(30 * time.Second):
		s.kill()
		return errors.New("did not stop within 30 s")
	}
}

// command runs another command of the binary on the same data and returns
// its output and exit code.
func command(t testing.TB, dir string, settings []string, args ...string) (string, int) {
	t.Helper()
	return execute(t, dir, settings, append([]string{program}, args...)...)
}

func execute(t testing.TB, dir string, settings []string, args ...string) (string, int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	cmd.Dir = dir
	cmd.Env = environ(dir, settings...)
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatalf("%v: %v", args, err)
	}
	return string(out), cmd.ProcessState.ExitCode()
}

// answer is a response that was read to its end.
type answer struct {
	status int
	header http.Header
	body   []byte
}

func (a answer) json(t testing.TB, v any) {
	t.Helper()
	if err := json.Unmarshal(a.body, v); err != nil {
		t.Fatalf("answer %d is not the JSON expected: %v\n%s", a.status, err, a.body)
	}
}

// sized is a body whose length is declared.
type sized struct {
	io.Reader
	size int64
}

// do sends one request with the server's key.
func (s *server) do(method, path string, body io.Reader, headers ...string) (answer, error) {
	req, err := http.NewRequest(method, s.url+path, body)
	if err != nil {
		return answer{}, err
	}
	if b, ok := body.(sized); ok {
		req.ContentLength = b.size
	}
	if s.key != "" {
		req.Header.Set("Authorization", "Bearer "+s.key)
	}
	for i := 0; i+1 < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	res, err := client.Do(req)
	if err != nil {
		return answer{}, err
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	return answer{res.StatusCode, res.Header, b}, err
}

// client does not follow redirects: tests look at them.
var client = &http.Client{
	Timeout:       time.Minute,
	CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
}

// must is do for requests that have to work.
func (s *server) must(t testing.TB, want int, method, path string, body io.Reader, headers ...string) answer {
	t.Helper()
	a, err := s.do(method, path, body, headers...)
	if err != nil {
		t.Fatalf("%s %s: %v", method, path, err)
	}
	if a.status != want {
		t.Fatalf("%s %s: got %d, want %d: %s", method, path, a.status, want, a.body)
	}
	return a
}

func hexSum(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

// eventually polls until ok or the deadline.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	deadline := time.Now().Add(20 * time.Second)
	for !ok() {
		if time.Now().After(deadline) {
			t.Fatalf("%s: not within 20 s", what)
		}
		<-time.After(10 * time.Millisecond)
	}
}
