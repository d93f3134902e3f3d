package e2e_test

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestBehindNginx runs nginx with the text of docs/operations.md in front of
// the service.
func TestBehindNginx(t *testing.T) {
	t.Parallel()
	testBehind(t, "nginx", "listen 443 ssl;", "listen %s;", func(dir, snippet string) *exec.Cmd {
		user := ""
		if os.Getuid() == 0 {
			user = "user root;\n"
		}
		conf := writeConfig(t, dir, fmt.Sprintf(`%sdaemon off;
pid %[2]s/pid;
error_log stderr;
events {}
http {
client_body_temp_path %[2]s/body; proxy_temp_path %[2]s/proxy; fastcgi_temp_path %[2]s/f; uwsgi_temp_path %[2]s/u; scgi_temp_path %[2]s/s;
access_log off;
%[3]s}
`, user, dir, snippet))
		return exec.Command("nginx", "-e", "stderr", "-p", dir, "-c", conf)
	})
}

// TestBehindCaddy is the same with Caddy.
func TestBehindCaddy(t *testing.T) {
	t.Parallel()
	testBehind(t, "caddyfile", "files.example.com {", "http://%s {", func(dir, snippet string) *exec.Cmd {
		conf := writeConfig(t, dir, "{\n\tadmin off\n}\n"+snippet)
		cmd := exec.Command("caddy", "run", "--config", conf, "--adapter", "caddyfile")
		cmd.Env = []string{"HOME=" + dir, "XDG_DATA_HOME=" + dir, "XDG_CONFIG_HOME=" + dir}
		return cmd
	})
}

func writeConfig(t *testing.T, dir, text string) string {
	t.Helper()
	name := filepath.Join(dir, "config")
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

// testBehind runs a proxy with its part of docs/operations.md in front of the
// service. Where it listens is written there as name; address, with the one
// of the test in it, takes its place.
func testBehind(t *testing.T, language, name, address string, proxy func(dir, snippet string) *exec.Cmd) {
	t.Helper()
	front, back := freeAddress(t), freeAddress(t)
	// It tells the address by which browsers reach it.
	s := start(t, t.TempDir(), "UPLOAD_ADDR="+back, "UPLOAD_PUBLIC_URL=http://"+front, "UPLOAD_TRUSTED_PROXIES=127.0.0.1",
		"UPLOAD_MAX_FILE_SIZE=1GiB")
	if s.url != "http://"+front {
		t.Fatalf("the service says that it is at %s", s.url)
	}

	// 1. The snippet, but for names and certificates.
	doc, err := os.ReadFile("../docs/operations.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, ok := strings.Cut(string(doc), "```"+language+"\n")
	snippet, _, closed := strings.Cut(rest, "```")
	if !ok || !closed {
		t.Fatalf("docs/operations.md has no part in %s", language)
	}
	for from, to := range map[string]string{name: fmt.Sprintf(address, front), "127.0.0.1:8000": back} {
		if !strings.Contains(snippet, from) {
			t.Fatalf("the part in %s has no %q", language, from)
		}
		snippet = strings.Replace(snippet, from, to, 1)
	}
	cmd := proxy(t.TempDir(), snippet)
	var out lockedBuffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		t.Fatalf("%v: make test installs %s", err, cmd.Path)
	}
	t.Cleanup(func() {
		cmd.Process.Signal(os.Interrupt) //nolint:errcheck // it may have ended
		cmd.Wait()                       //nolint:errcheck // it was told to end
		if t.Failed() {
			t.Logf("%s: %s", cmd.Path, out.String())
		}
	})
	eventually(t, "the proxy answers", func() bool {
		a, err := s.do("GET", "/healthz", nil)
		return err == nil && a.status == http.StatusOK
	})

	// 2. A large body goes through, and links lead to the proxy.
	content := bytes.Repeat([]byte("behind a proxy! "), 4<<20)
	a := s.must(t, http.StatusCreated, "PUT", "/files/me/large.bin", bytes.NewReader(content))
	if at := a.header.Get("Location"); !strings.HasPrefix(at, s.url+"/files/") {
		t.Errorf("Location %s", at)
	}
	if got := s.must(t, http.StatusOK, "GET", "/files/me/large.bin", nil); hexSum([]byte(got.body)) != hexSum(content) {
		t.Error("other bytes came back")
	}

	// 3. tus in pieces.
	tus := []string{"Tus-Resumable", "1.0.0"}
	at := s.must(t, http.StatusCreated, "POST", "/tus/", nil, append(tus, "Upload-Length", fmt.Sprint(len(content)))...).header.Get("Location")
	at = strings.TrimPrefix(at, s.url)
	for offset := 0; offset < len(content); offset += len(content) / 4 {
		s.must(t, http.StatusNoContent, "PATCH", at, bytes.NewReader(content[offset:offset+len(content)/4]),
			append(tus, "Content-Type", "application/offset+octet-stream", "Upload-Offset", fmt.Sprint(offset))...)
	}
	s.wantUpload(t, tokenOf(at), hexSum(content))

	// A client of the IETF's protocol is answered, and its connection is free
	// for the next request.
	begun := time.Now()
	req, err := http.NewRequest("POST", s.url+"/api/v1/uploads", strings.NewReader("abc"))
	if err != nil {
		t.Fatal(err)
	}
	for name, value := range map[string]string{
		"Authorization": "Bearer " + s.key, "Upload-Complete": "?0", "Upload-Draft-Interop-Version": "8",
	} {
		req.Header.Set(name, value)
	}
	one := &http.Client{Transport: &http.Transport{MaxConnsPerHost: 1}, Timeout: 20 * time.Second}
	for range 2 {
		res, err := one.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		if res.StatusCode != http.StatusCreated || res.Header.Get("Location") == "" {
			t.Errorf("an upload in pieces: %s %v", res.Status, res.Header)
		}
		if req.Body, err = req.GetBody(); err != nil {
			t.Fatal(err)
		}
	}
	if took := time.Since(begun); took > 10*time.Second {
		t.Errorf("two requests on one connection took %v", took)
	}

	// 4. What is refused from the head is told while the body is sent; by nginx
	// before.
	c, err := net.Dial("tcp", front)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	fmt.Fprintf(c, "PUT /files/me/huge HTTP/1.1\r\nHost: %s\r\nAuthorization: Bearer %s\r\nContent-Length: %d\r\n\r\n", front, s.key, 2<<30)
	if err := c.SetReadDeadline(time.Now().Add(20 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if language != "nginx" {
		go io.Copy(c, zeros{}) //nolint:errcheck // until the connection is closed
	}
	status := make([]byte, 12)
	if _, err := c.Read(status); err != nil || string(status) != "HTTP/1.1 413" {
		t.Errorf("a body that is too large: %q, %v", status, err)
	}

	// 5. The pages are there, and know by which name they were reached.
	res, err := http.Get(s.url + "/")
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	if res.StatusCode != http.StatusOK {
		t.Errorf("the first page: %s", res.Status)
	}
}

// freeAddress is one that nobody listened at a moment ago.
func freeAddress(t *testing.T) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	return ln.Addr().String()
}
