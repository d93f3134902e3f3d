package main

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// process is a running server, and a client of it.
type process struct {
	cmd    *exec.Cmd
	dir    string
	addr   string
	path   string // in front of names
	key    string
	client *http.Client
}

func freePort() (string, error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer ln.Close()
	return ln.Addr().String(), nil
}

func newClient() *http.Client {
	return &http.Client{Transport: &http.Transport{
		MaxIdleConnsPerHost: 64, WriteBufferSize: 256 << 10, ReadBufferSize: 256 << 10, DisableCompression: true,
	}}
}

// nginx starts nginx with its DAV module on a fresh folder: no hash, no sync,
// no metadata.
func (b *bench) nginx() (*process, error) {
	binary, err := exec.LookPath("nginx")
	if err != nil {
		return nil, errors.New("install nginx with its DAV module: apt-get install nginx-extras")
	}
	dir, err := os.MkdirTemp(b.dir, "nginx-")
	if err != nil {
		return nil, err
	}
	addr, err := freePort()
	if err != nil {
		return nil, err
	}
	conf := fmt.Sprintf(`daemon off; worker_processes 2; pid %[1]s/pid; error_log %[1]s/error.log;
user root;
events { worker_connections 4096; }
http {
	access_log off; sendfile on; tcp_nopush on; keepalive_requests 1000000;
	client_body_temp_path %[1]s/tmp; client_body_buffer_size 1m; client_max_body_size 0;
	server {
		listen %[2]s;
		location / { root %[1]s/data; dav_methods PUT DELETE; create_full_put_path on; }
	}
}
`, dir, addr)
	if os.Getuid() != 0 {
		conf = strings.Replace(conf, "user root;", "", 1)
	}
	if err := errors.Join(os.Mkdir(filepath.Join(dir, "data"), 0o755), os.WriteFile(filepath.Join(dir, "conf"), []byte(conf), 0o644)); err != nil {
		return nil, err
	}
	p := &process{cmd: exec.Command(binary, "-c", filepath.Join(dir, "conf"), "-p", dir), dir: dir, addr: addr, path: "/", client: newClient()}
	p.cmd.Stderr = os.Stderr
	return p, p.start(nil)
}

// service starts the binary on a fresh folder.
func (b *bench) service(settings ...string) (*process, error) {
	dir, err := os.MkdirTemp(b.dir, "service-")
	if err != nil {
		return nil, err
	}
	return b.serviceOn(dir, settings...)
}

func (b *bench) serviceOn(dir string, settings ...string) (*process, error) {
	addr, err := freePort()
	if err != nil {
		return nil, err
	}
	p := &process{cmd: exec.Command(b.binary, "serve"), dir: dir, addr: addr, path: "/files/me/", client: newClient()}
	p.cmd.Dir, p.cmd.Stderr = dir, os.Stderr
	p.cmd.Env = append([]string{
		"HOME=" + dir, "UPLOAD_ADDR=" + addr, "UPLOAD_DIR=" + filepath.Join(dir, "uploads"), "UPLOAD_MIN_FREE=0", "UPLOAD_LOG_LEVEL=warn",
	}, settings...)
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	ready := make(chan error, 2)
	return p, p.start(func() error {
		go func() {
			for lines := bufio.NewScanner(out); lines.Scan(); {
				label, value, _ := strings.Cut(strings.TrimSpace(lines.Text()), " ")
				switch label {
				case "Key":
					p.key = strings.TrimSpace(value)
				case "Ready":
					ready <- nil
				}
			}
			ready <- errors.New("the service ended before it was ready")
		}()
		return <-ready
	})
}

func (p *process) start(wait func() error) error {
	if err := p.cmd.Start(); err != nil {
		return err
	}
	if wait != nil {
		if err := wait(); err != nil {
			return err
		}
	}
	for deadline := time.Now().Add(10 * time.Second); ; {
		c, err := net.Dial("tcp", p.addr)
		if err == nil {
			return c.Close()
		}
		if time.Now().After(deadline) {
			return err
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// stop ends the process and removes what it stored.
func (p *process) stop() {
	p.end()
	os.RemoveAll(p.dir)
}

// end is stop, but leaves the folder.
func (p *process) end() {
	p.client.CloseIdleConnections()
	p.cmd.Process.Signal(syscall.SIGTERM) //nolint:errcheck // it may have ended
	p.cmd.Wait()                          //nolint:errcheck // it was told to
}

// cpu is the time in seconds that the process and its children have used.
func (p *process) cpu() float64 {
	sum := 0.0
	for _, pid := range append(children(p.cmd.Process.Pid), p.cmd.Process.Pid) {
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		if err != nil {
			continue
		}
		f := strings.Fields(string(b[bytes.LastIndexByte(b, ')')+1:]))
		user, _ := strconv.Atoi(f[11])
		system, _ := strconv.Atoi(f[12])
		sum += float64(user+system) / 100
	}
	return sum
}

func children(pid int) (list []int) {
	b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", pid, pid))
	for _, s := range strings.Fields(string(b)) {
		n, _ := strconv.Atoi(s)
		list = append(list, n)
	}
	return list
}

// watchMemory samples the anonymous memory until the function that it returns
// is called, which returns the peak in bytes.
func (p *process) watchMemory() func() int64 {
	var peak atomic.Int64
	stop := make(chan struct{})
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid))
			for line := range strings.Lines(string(b)) {
				if kb, ok := strings.CutPrefix(line, "RssAnon:"); ok {
					n, _ := strconv.ParseInt(strings.Fields(kb)[0], 10, 64)
					peak.Store(max(peak.Load(), n<<10))
				}
			}
			select {
			case <-stop:
				return
			case <-time.After(10 * time.Millisecond):
			}
		}
	}()
	return func() int64 { close(stop); <-done; return peak.Load() }
}

// noise is what uploads consist of.
var noise = func() []byte {
	b := make([]byte, 1<<20)
	rng := rand.New(rand.NewPCG(1, 2))
	for i := range b {
		b[i] = byte(rng.Uint32())
	}
	return b
}()

// body yields n bytes of noise.
func body(n int64) io.Reader { return io.LimitReader(&endless{}, n) }

type endless struct{ at int }

func (e *endless) Read(p []byte) (int, error) {
	n := copy(p, noise[e.at:])
	e.at = (e.at + n) % len(noise)
	return n, nil
}

func (p *process) do(method, path string, r io.Reader, size int64, headers ...string) (*http.Response, error) {
	req, err := http.NewRequest(method, "http://"+p.addr+path, r)
	if err != nil {
		return nil, err
	}
	req.ContentLength = size
	if p.key != "" {
		req.Header.Set(key, "Bearer "+p.key)
	}
	for i := 0; i < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	res, err := p.client.Do(req)
	if err != nil {
		return nil, err
	}
	if res.StatusCode >= 300 {
		b, _ := io.ReadAll(res.Body)
		res.Body.Close()
		return nil, fmt.Errorf("%s %s: %s: %.200s", method, path, res.Status, b)
	}
	return res, nil
}

func drain(res *http.Response, err error) (int64, error) {
	if err != nil {
		return 0, err
	}
	defer res.Body.Close()
	return io.Copy(io.Discard, res.Body)
}

func (p *process) put(name string, size int64) error {
	_, err := drain(p.do("PUT", p.path+name, body(size), size))
	return err
}

func (p *process) get(name string, size int64) error {
	n, err := drain(p.do("GET", p.path+name, nil, 0))
	if err == nil && n != size {
		err = fmt.Errorf("got %d bytes", n)
	}
	return err
}

// putJSON sends a request of the Flask service.
func (p *process) putJSON(size int64) error {
	r, w := io.Pipe()
	go func() {
		io.WriteString(w, `[{"filename":"j","content":"`) //nolint:errcheck // the reader ended
		e := base64.NewEncoder(base64.StdEncoding, w)
		io.Copy(e, body(size)) //nolint:errcheck // the reader ended
		e.Close()
		io.WriteString(w, `"}]`) //nolint:errcheck // the reader ended
		w.Close()
	}()
	_, err := drain(p.do("PUT", "/api/upload", r, -1))
	return err
}

// putPieces uploads by tus.
func (p *process) putPieces(size, piece int64) error {
	res, err := p.do("POST", "/tus/", nil, 0, "Tus-Resumable", "1.0.0", "Upload-Length", strconv.FormatInt(size, 10))
	if err != nil {
		return err
	}
	res.Body.Close()
	for at := int64(0); at < size; at += piece {
		_, err := drain(p.do("PATCH", res.Header.Get("Location"), body(piece), piece, "Tus-Resumable", "1.0.0",
			"Content-Type", "application/offset+octet-stream", "Upload-Offset", strconv.FormatInt(at, 10)))
		if err != nil {
			return err
		}
	}
	return nil
}

// begin leaves n uploads by tus behind, with half of their bytes.
func (p *process) begin(n int) error {
	return parallel(32, n, func(_, _ int) error {
		_, err := drain(p.do("POST", "/tus/", body(512), 512, "Tus-Resumable", "1.0.0", "Upload-Length", "1024",
			"Content-Type", "application/offset+octet-stream"))
		return err
	})
}

// tricklers opens n uploads that send their first 9 KiB and then a byte a
// second. The function returned ends them; it fails if one was cut before.
func (p *process) tricklers(n int) (func() error, error) {
	var conns []net.Conn
	for i := range n {
		c, err := net.Dial("tcp", p.addr)
		if err == nil {
			conns = append(conns, c)
			_, err = fmt.Fprintf(c, "PUT /files/me/slow/%d HTTP/1.1\r\nHost: %s\r\nAuthorization: Bearer %s\r\nContent-Length: 100000\r\n\r\n%s",
				i, p.addr, p.key, noise[:9<<10])
		}
		if err != nil {
			for _, c := range conns {
				c.Close()
			}
			return func() error { return nil }, err
		}
	}
	stop, ended := make(chan struct{}), make(chan error)
	go func() {
		tick := time.NewTicker(time.Second)
		defer tick.Stop()
		var err error
		for {
			select {
			case <-tick.C:
				for _, c := range conns {
					if _, e := c.Write(noise[:1]); e != nil && err == nil {
						err = fmt.Errorf("a trickling upload was cut: %w", e)
					}
				}
			case <-stop:
				for _, c := range conns {
					// An answer would mean that it was refused.
					c.SetReadDeadline(time.Now().Add(time.Millisecond)) //nolint:errcheck // it is open
					if _, e := c.Read(make([]byte, 1)); !errors.Is(e, os.ErrDeadlineExceeded) && err == nil {
						err = fmt.Errorf("a trickling upload was answered or cut: %w", e)
					}
					c.Close()
				}
				ended <- err
				return
			}
		}
	}()
	return func() error { close(stop); return <-ended }, nil
}

// parallel runs fn n times on some goroutines; c and k tell the calls apart.
func parallel(goroutines, n int, fn func(c, k int) error) error {
	var next atomic.Int64
	errs := make([]error, goroutines)
	var wg sync.WaitGroup
	for c := range goroutines {
		wg.Go(func() {
			for {
				k := int(next.Add(1)) - 1
				if k >= n || errs[c] != nil {
					return
				}
				errs[c] = fn(c, k)
			}
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}

// lastCursor reads a page of a listing.
func lastCursor(res *http.Response) (next string, files int, err error) {
	defer res.Body.Close()
	var page struct {
		Files []json.RawMessage `json:"files"`
		Next  string            `json:"next_cursor"`
	}
	err = json.NewDecoder(res.Body).Decode(&page)
	return page.Next, len(page.Files), err
}
