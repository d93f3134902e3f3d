package e2e_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"net/textproto"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// The clients that people use come from npm (clients/package.json) and run in
// Node and in Chromium, against the real binary.

// event is one line of what a client prints.
type event struct {
	Event, URL, Token, Message string
	Status, Count              int

	// Of a page in the browser.
	First      string   // the address before the reload
	Stopped    int64    // bytes before the reload
	URLs, Left []string // addresses of uploads; tokens that the form still carries
	Names      []string
	Sizes      []int64
	Failed     []string
	Errors     []string
}

// client runs a script with a job until it ends; during is called with each
// event as it comes.
func runClient(t *testing.T, script string, job map[string]any, during func(event)) (events []event, ok bool) {
	t.Helper()
	arg, err := json.Marshal(job)
	if err != nil {
		t.Fatal(err)
	}
	if script == "browser.mjs" {
		browsers <- struct{}{}
		defer func() { <-browsers }()
	}
	cmd := exec.Command("node", filepath.Join("clients", script), string(arg))
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	watch := time.AfterFunc(2*time.Minute, func() { cmd.Process.Kill() }) //nolint:errcheck // it may have ended
	defer watch.Stop()
	for lines := bufio.NewScanner(out); lines.Scan(); {
		var e event
		if err := json.Unmarshal(lines.Bytes(), &e); err != nil {
			t.Errorf("%s printed %s", script, lines.Text())
			continue
		}
		events = append(events, e)
		if during != nil {
			during(e)
		}
	}
	err = cmd.Wait()
	if err != nil && stderr.Len() > 0 {
		t.Logf("%s: %v\n%s", script, err, &stderr)
	}
	return events, err == nil
}

func last(events []event, name string) (found event) {
	for _, e := range events {
		if e.Event == name {
			found = e
		}
	}
	return found
}

// randomFile makes a file, and returns its name and digest.
func randomFile(t *testing.T, size int) (name, sum string) {
	t.Helper()
	b := make([]byte, size)
	rng := rand.New(rand.NewPCG(uint64(size), 1))
	for i := range b {
		b[i] = byte(rng.Uint32())
	}
	name = filepath.Join(t.TempDir(), "file.bin")
	if err := os.WriteFile(name, b, 0o600); err != nil {
		t.Fatal(err)
	}
	return name, hexSum(b)
}

// wantUpload persists the upload of a token, as a form does, and checks that
// it has the digest.
func (s *server) wantUpload(t *testing.T, token, sum string) {
	t.Helper()
	s.must(t, http.StatusCreated, "POST", "/api/v1/uploads/"+token+"/persist",
		strings.NewReader(fmt.Sprintf(`{"on_conflict":"rename","expect":{"sha256":%q}}`, sum)), "Content-Type", "application/json")
}

func tokenOf(url string) string { return url[strings.LastIndexByte(url, '/')+1:] }

func TestTusJSClient(t *testing.T) {
	t.Parallel()
	s := start(t, t.TempDir())
	job := func(t *testing.T, file string, more map[string]any) map[string]any {
		j := map[string]any{
			"endpoint": s.url + "/tus/", "key": s.key, "file": file, "storage": filepath.Join(t.TempDir(), "urls.json"),
		}
		for k, v := range more {
			j[k] = v
		}
		return j
	}
	for name, more := range map[string]map[string]any{
		"one piece":                   {},
		"pieces":                      {"chunkSize": 1 << 20},
		"deferred length":             {"chunkSize": 1<<20 + 1, "deferred": true},
		"behind what knows only POST": {"chunkSize": 1<<20 + 1, "deferred": true, "override": true},
		"parallel":                    {"parallel": 3},
		"parallel with pieces":        {"parallel": 2, "chunkSize": 700_000},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			file, sum := randomFile(t, 5<<20)
			events, ok := runClient(t, "tus.mjs", job(t, file, more), nil)
			if !ok {
				t.Fatalf("got %v", events)
			}
			token := last(events, "token").Token
			if token == "" || token != tokenOf(last(events, "success").URL) {
				t.Errorf("the last answer carries the token %q: %v", token, events)
			}
			s.wantUpload(t, token, sum)
		})
	}
	// The IETF's protocol, as the same client speaks it (interop version 6).
	ietf := map[string]any{"endpoint": s.url + "/api/v1/uploads", "protocol": "ietf-draft-05"}
	for name, size := range map[string]int{"IETF, one piece": 6 << 20, "IETF, pieces and another process": 1 << 20} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			file, sum := randomFile(t, 5<<20)
			j := job(t, file, ietf)
			j["chunkSize"] = size
			if size < 5<<20 {
				j["stopAt"] = 2 << 20
				first, _ := runClient(t, "tus.mjs", j, nil)
				if last(first, "stopped").Event == "" {
					t.Fatalf("got %v", first)
				}
				delete(j, "stopAt")
				j["resume"] = true
			}
			events, ok := runClient(t, "tus.mjs", j, nil)
			if !ok {
				t.Fatalf("got %v", events)
			}
			s.wantUpload(t, tokenOf(last(events, "success").URL), sum)
		})
	}
	t.Run("a place that is taken meanwhile", func(t *testing.T) {
		t.Parallel()
		file, _ := randomFile(t, 3<<20)
		j := job(t, file, map[string]any{
			"chunkSize": 1 << 20, "stopAt": 1 << 20, "metadata": map[string]string{"filename": "place", "persist": "true"},
		})
		runClient(t, "tus.mjs", j, nil)
		s.must(t, 201, "PUT", "/files/me/place/below", strings.NewReader("x"))
		delete(j, "stopAt")
		j["resume"] = true
		events, ok := runClient(t, "tus.mjs", j, nil)
		if ok || !strings.Contains(last(events, "error").Message, "403") {
			t.Errorf("the client takes it for stored: %v", events)
		}
	})
	t.Run("an empty file", func(t *testing.T) {
		t.Parallel()
		file, sum := randomFile(t, 0)
		events, ok := runClient(t, "tus.mjs", job(t, file, nil), nil)
		if !ok {
			t.Fatalf("got %v", events)
		}
		s.wantUpload(t, last(events, "token").Token, sum)
	})
	t.Run("resume from another process", func(t *testing.T) {
		t.Parallel()
		file, sum := randomFile(t, 5<<20)
		j := job(t, file, map[string]any{"chunkSize": 1 << 20, "stopAt": 2 << 20})
		first, _ := runClient(t, "tus.mjs", j, nil)
		if last(first, "stopped").Event == "" {
			t.Fatalf("got %v", first)
		}
		delete(j, "stopAt")
		j["resume"] = true
		second, ok := runClient(t, "tus.mjs", j, nil)
		if !ok || last(second, "previous").Count != 1 || last(second, "success").URL != last(first, "url").URL {
			t.Fatalf("got %v, then %v", first, second)
		}
		s.wantUpload(t, last(second, "token").Token, sum)
	})
	t.Run("abort", func(t *testing.T) {
		t.Parallel()
		file, _ := randomFile(t, 5<<20)
		events, ok := runClient(t, "tus.mjs", job(t, file, map[string]any{"chunkSize": 1 << 20, "stopAt": 2 << 20, "terminate": true}), nil)
		if !ok || last(events, "terminated").Event == "" {
			t.Fatalf("got %v", events)
		}
		s.must(t, http.StatusGone, "HEAD", "/tus/"+tokenOf(last(events, "url").URL), nil, "Tus-Resumable", "1.0.0")
	})
	t.Run("persist at once", func(t *testing.T) {
		t.Parallel()
		file, sum := randomFile(t, 1<<20)
		events, ok := runClient(t, "tus.mjs", job(t, file, map[string]any{
			"metadata": map[string]string{"filename": "ünï 100%.bin", "folder": "in/tus", "persist": "true"},
		}), nil)
		if !ok {
			t.Fatalf("got %v", events)
		}
		if a := s.must(t, 200, "GET", "/files/me/in/tus/%C3%BCn%C3%AF%20100%25.bin", nil); hexSum(a.body) != sum {
			t.Error("the file is another one")
		}
	})
}

// TestBadNetwork uploads over connections that are cut, throttled or vanish.
func TestBadNetwork(t *testing.T) {
	t.Parallel()
	for name, trouble := range map[string]func(n int) fate{
		"cut":        func(n int) fate { return fate{after: int64(300_000 * (n%7 + 1)), cut: true} },
		"closed":     func(n int) fate { return fate{after: int64(300_000 * (n%7 + 1))} },
		"black hole": func(n int) fate { return fate{after: int64(900_000 * (n%4 + 1)), blackHole: true} },
		"throttled":  func(n int) fate { return fate{after: -1, rate: 3 << 20} },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := start(t, t.TempDir(), "UPLOAD_IDLE_TIMEOUT=1s")
			p := newNetwork(t, s.url)
			p.bad(trouble)
			file, sum := randomFile(t, 5<<20)
			events, ok := runClient(t, "tus.mjs", map[string]any{
				"endpoint": p.url() + "/tus/", "key": s.key, "file": file, "storage": filepath.Join(t.TempDir(), "urls.json"), "retryDelay": 20,
			}, nil)
			if !ok {
				t.Fatalf("got %v", events)
			}
			s.wantUpload(t, last(events, "token").Token, sum)
			if err := s.stop(); err != nil {
				t.Fatal(err)
			}
			if out, code := command(t, s.cmd.Dir, nil, "check", "--content"); code != 0 {
				t.Errorf("check: %s", out)
			}
		})
	}
}

// TestTakeover: a client whose network vanished comes back over another one
// and goes on at once, while the server still waits for the first connection.
func TestTakeover(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := start(t, dir)
	p := newNetwork(t, s.url)
	p.bad(func(int) fate { return fate{after: 900_000, blackHole: true} })
	content := bytes.Repeat([]byte("0123456789abcdef"), 5<<16)

	located := make(chan string, 1)
	ended := make(chan error, 1)
	trace := &httptrace.ClientTrace{Got1xxResponse: func(code int, header textproto.MIMEHeader) error {
		if at := header.Get("Location"); code == 104 && at != "" {
			located <- at
		}
		return nil
	}}
	req, err := http.NewRequestWithContext(httptrace.WithClientTrace(t.Context(), trace), "POST", p.url()+"/api/v1/uploads", bytes.NewReader(content))
	if err != nil {
		t.Fatal(err)
	}
	for name, value := range map[string]string{
		"Authorization": "Bearer " + s.key, "Upload-Draft-Interop-Version": "8", "Upload-Complete": "?1",
	} {
		req.Header.Set(name, value)
	}
	go func() {
		res, err := http.DefaultTransport.RoundTrip(req)
		if err == nil {
			err = res.Body.Close()
		}
		ended <- err
	}()
	var at string
	select {
	case at = <-located:
	case err := <-ended:
		t.Fatalf("the first connection ended: %v", err)
	}
	eventually(t, "something has come over it", func() bool {
		parts, err := filepath.Glob(filepath.Join(dir, "uploads", ".upload-service", "blobs", "*", "*"))
		return err == nil && slices.ContainsFunc(parts, func(name string) bool {
			info, err := os.Stat(name)
			return err == nil && info.Size() > 0
		})
	})
	began := time.Now()
	head := s.must(t, 200, "HEAD", at, nil)
	if took := time.Since(began); took > time.Second {
		t.Errorf("the newcomer waited %s", took)
	}
	offset, err := strconv.Atoi(head.header.Get("Upload-Offset"))
	if err != nil || offset == 0 || offset > 900_000 {
		t.Fatalf("the offset is %q", head.header.Get("Upload-Offset"))
	}
	s.must(t, 200, "PATCH", at, bytes.NewReader(content[offset:]), "Content-Type", "application/partial-upload",
		"Upload-Offset", strconv.Itoa(offset), "Upload-Complete", "?1")
	s.wantUpload(t, tokenOf(at), hexSum(content))
}

// TestRestartsDuringUpload kills the server three times while a client
// uploads, which notices no more than a bad network.
func TestRestartsDuringUpload(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := start(t, dir)
	key := s.key
	p := newNetwork(t, s.url)
	p.bad(func(int) fate { return fate{after: -1, rate: 4 << 20} }) // slow enough to be hit
	file, sum := randomFile(t, 8<<20)
	var events []event
	done := make(chan bool, 1)
	began := make(chan struct{})
	var once sync.Once
	go func() {
		var ok bool
		events, ok = runClient(t, "tus.mjs", map[string]any{
			"endpoint": p.url() + "/tus/", "key": key, "file": file, "chunkSize": 512 << 10,
			"storage": filepath.Join(t.TempDir(), "urls.json"), "retryDelay": 50,
		}, func(e event) {
			if e.Event == "url" {
				once.Do(func() { close(began) })
			}
		})
		done <- ok
	}()
	<-began
	for range 3 {
		seen := offsets(s)
		eventually(t, "the upload goes on", func() bool { return offsets(s) >= seen+512<<10 })
		s.kill()
		s = start(t, dir)
		s.key = key
		p.to(s.url)
	}
	if !<-done {
		t.Fatalf("got %v", events)
	}
	s.wantUpload(t, last(events, "token").Token, sum)
	if err := s.stop(); err != nil {
		t.Fatal(err)
	}
	if out, code := command(t, dir, nil, "check", "--content"); code != 0 {
		t.Errorf("check: %s", out)
	}
}

// offsets is how much of all unfinished uploads is recorded.
func offsets(s *server) (sum int64) {
	a, err := s.do("GET", "/api/v1/uploads", nil)
	if err != nil {
		return 0
	}
	var list struct {
		Uploads []struct{ Files []struct{ Offset int64 } }
	}
	if json.Unmarshal(a.body, &list) != nil {
		return 0
	}
	for _, u := range list.Uploads {
		for _, f := range u.Files {
			sum += f.Offset
		}
	}
	return sum
}

// page serves the page of another site, with the clients bundled as sites do.
func page(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	out, err := exec.Command("node_modules/.bin/esbuild", "clients/page.mjs", "--bundle", "--outfile="+filepath.Join(dir, "page.js"),
		"--log-level=error").CombinedOutput()
	if err != nil {
		t.Fatalf("bundle the page: %v\n%s", err, out)
	}
	html := `<!doctype html><meta charset="utf-8"><title>Another site</title><link rel="icon" href="data:,">
<form><input type="file" id="file" name="filepond"><div id="app"></div></form><script src="page.js"></script>`
	if err := os.WriteFile(filepath.Join(dir, "index.html"), []byte(html), 0o600); err != nil {
		t.Fatal(err)
	}
	site := httptest.NewServer(http.FileServer(http.Dir(dir)))
	t.Cleanup(site.Close)
	return site.URL
}

// TestBrowserClients uses the service from a page of another site, in Chromium.
func TestBrowserClients(t *testing.T) {
	t.Parallel()
	chromium, err := exec.LookPath("chromium")
	if err != nil {
		t.Fatal("install chromium: make test does")
	}
	site := page(t)
	s := start(t, t.TempDir(), "UPLOAD_CORS_ORIGINS="+site)
	p := newNetwork(t, s.url)
	file, sum := randomFile(t, 5<<20)
	do := func(t *testing.T, job map[string]any) event {
		t.Helper()
		job["page"], job["key"], job["file"], job["chromium"] = site+"/", s.key, file, chromium
		if job["url"] == nil {
			job["url"] = s.url
		}
		events, ok := runClient(t, "browser.mjs", job, nil)
		e := last(events, "result")
		if !ok || len(e.Errors)+len(e.Failed) > 0 || last(events, "pageerror").Event != "" {
			t.Fatalf("got %+v", events)
		}
		return e
	}
	t.Run("tus", func(t *testing.T) {
		e := do(t, map[string]any{"scenario": "tus", "chunkSize": 1 << 20})
		s.wantUpload(t, e.Token, sum)
	})
	t.Run("tus, parallel", func(t *testing.T) {
		e := do(t, map[string]any{"scenario": "tus", "parallel": 3})
		s.wantUpload(t, e.Token, sum)
	})
	t.Run("tus, the page is loaded again", func(t *testing.T) {
		e := do(t, map[string]any{"scenario": "tusReload", "chunkSize": 1 << 20, "stopAt": 2 << 20})
		if e.First != e.URL || e.Stopped < 2<<20 {
			t.Errorf("got %+v", e)
		}
		s.wantUpload(t, e.Token, sum)
	})
	t.Run("Uppy", func(t *testing.T) {
		e := do(t, map[string]any{"scenario": "uppy", "chunkSize": 1 << 20})
		s.wantUpload(t, tokenOf(e.URLs[0]), sum)
	})
	t.Run("Uppy over a network that cuts", func(t *testing.T) {
		p.bad(func(n int) fate { return fate{after: int64(500_000 * (n%7 + 1)), cut: true} })
		defer p.good()
		e := do(t, map[string]any{"scenario": "uppy", "url": p.url()})
		s.wantUpload(t, tokenOf(e.URLs[0]), sum)
	})
	t.Run("Uppy cancels", func(t *testing.T) {
		p.bad(func(int) fate { return fate{after: -1, rate: 1 << 20} }) // else it is done before somebody can cancel it
		defer p.good()
		e := do(t, map[string]any{"scenario": "uppyCancel", "chunkSize": 1 << 20, "url": p.url()})
		s.must(t, http.StatusGone, "HEAD", "/tus/"+tokenOf(e.URL), nil, "Tus-Resumable", "1.0.0")
	})
	t.Run("FilePond", func(t *testing.T) {
		s.wantUpload(t, do(t, map[string]any{"scenario": "pond"}).Token, sum)
	})
	t.Run("FilePond in chunks", func(t *testing.T) {
		for _, size := range []int{1 << 20, 1_500_000} { // the first divides the file
			s.wantUpload(t, do(t, map[string]any{"scenario": "pond", "chunkSize": size}).Token, sum)
		}
	})
	t.Run("FilePond in chunks over a network that cuts", func(t *testing.T) {
		p.bad(func(n int) fate { return fate{after: int64(900_000 * (n%7 + 1)), cut: true} })
		defer p.good()
		s.wantUpload(t, do(t, map[string]any{"scenario": "pond", "chunkSize": 1 << 20, "url": p.url()}).Token, sum)
	})
	t.Run("FilePond reverts", func(t *testing.T) {
		e := do(t, map[string]any{"scenario": "pond", "revert": true})
		if len(e.Left) != 0 {
			t.Errorf("the form still carries %v", e.Left)
		}
		s.must(t, http.StatusGone, "GET", "/api/v1/uploads/"+e.Token, nil)
	})
	t.Run("FilePond restores and loads", func(t *testing.T) {
		token := do(t, map[string]any{"scenario": "pond"}).Token
		s.must(t, 201, "PUT", "/files/me/in/100%25%20%C3%BC.txt", strings.NewReader("loaded"))
		e := do(t, map[string]any{"scenario": "pondOpenWith", "files": [][]string{{token, "limbo"}, {"in/100% ü.txt", "local"}}})
		if len(e.Names) != 2 || e.Names[0] != "file.bin" || e.Names[1] != "100% ü.txt" || e.Sizes[0] != 5<<20 || e.Sizes[1] != 6 {
			t.Errorf("got %+v", e)
		}
	})
}
