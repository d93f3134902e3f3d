package handlers_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"upload-service/handlers"
)

// TestRefusedBelowTheRouter: requests that never reach a route are answered
// with a problem document, and are in the access log and the metrics.
func TestRefusedBelowTheRouter(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{header: 300 * time.Millisecond})
	const host = "Host: localhost\r\n"
	for _, test := range []struct {
		name, request string
		method        string // in log and metrics
		status        int
		code          string
	}{
		{"both lengths", "PUT /files/me/a HTTP/1.1\r\n" + host +
			"Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", "PUT", 400, "invalid"},
		{"bare line feed", "DELETE /files/me/a HTTP/1.1\r\n" + host + "X: a\nY: b\r\n\r\n",
			"DELETE", 400, "invalid"},
		{"no HTTP", "secret\r\n\r\n", "GET", 400, "invalid"},
		{"unknown method", "SECRET /files/me/a HTTP/1.1\r\n" + host + "\r\n", "other", 405, "method_not_allowed"},
		{"slow header", "GET /healthz HTTP/1.1\r\nHost: loc", "GET", 408, "timeout"},
		{"long header", "GET / HTTP/1.1\r\n" + host + "X: " + strings.Repeat("secret", 4<<10) + "\r\n\r\n",
			"GET", 431, "header_too_large"},
	} {
		label := fmt.Sprintf("upload_requests_total{method=%q,route=\"\",status=\"%d\"} ", test.method, test.status)
		before := w.metric(label)
		c := w.dial()
		io.WriteString(c, test.request) //nolint:errcheck // the answer tells
		res, err := http.ReadResponse(bufio.NewReader(c), nil)
		if err != nil {
			t.Fatalf("%s: %v", test.name, err)
		}
		defer res.Body.Close()
		var doc struct {
			Type, Title, Detail, Code string
			Status                    int
		}
		if err := json.NewDecoder(res.Body).Decode(&doc); err != nil {
			t.Fatalf("%s: %v", test.name, err)
		}
		if res.StatusCode != test.status || doc.Status != test.status || doc.Code != test.code ||
			doc.Type == "" || doc.Title == "" || doc.Detail == "" || !res.Close {
			t.Errorf("%s: got %s (closes: %v) %+v, want %d %s",
				test.name, res.Status, res.Close, doc, test.status, test.code)
		}
		if got := w.metric(label); got == before {
			t.Errorf("%s: not counted as %s", test.name, label)
		}
		line := "msg=request id=" + res.Header.Get("X-Request-Id") + " method=" + test.method
		_, rest, logged := strings.Cut(w.log.String(), line)
		rest, _, _ = strings.Cut(rest, "\n")
		if !logged || !strings.Contains(rest, fmt.Sprintf(" status=%d ", test.status)) {
			t.Errorf("%s: the access log is without %q", test.name, line)
		}
	}
	if strings.Contains(strings.ToLower(w.log.String()), "secret") {
		t.Error("the log shows what a client sent")
	}
}

// TestRefusedBelowTusAndCORS: what never reaches a route is answered as its
// other requests are: with what clients of tus repeat, and so that a page of
// another site can read it.
func TestRefusedBelowTusAndCORS(t *testing.T) {
	t.Parallel()
	const origin, other = "https://app.example", "https://other.example"
	w := tus{newWorld(t, setup{header: 300 * time.Millisecond, http: func(c *handlers.Config) {
		c.CORSOrigins = []string{origin, other}
	}})}
	url := w.create("Upload-Length", "100000")
	head := func(method, path, more string) string {
		return method + " " + path + " HTTP/1.1\r\nHost: h\r\nOrigin: " + origin + "\r\nTus-Resumable: 1.0.0\r\n" +
			"Authorization: Bearer " + w.keys["alice"] + "\r\nUpload-Offset: 0\r\nContent-Type: application/offset+octet-stream\r\n" + more
	}
	for name, test := range map[string]struct {
		request string
		status  int
		tus     bool
	}{
		"a body that stalls":       {head("PATCH", url, "Content-Length: 9500\r\n\r\nxxx"), 503, true},
		"a large body that stalls": {head("PATCH", url, "Content-Length: 90000\r\n\r\nxxx"), 503, true},
		"one that is asked for":    {head("PATCH", url, "Content-Length: 9500\r\nExpect: 100-continue\r\n\r\n"), 503, true},
		"another route":            {head("PUT", "/files/me/a", "Content-Length: 9500\r\n\r\nxxx"), 408, false},
		"a piece that stalls":      {head("PATCH", "/api/v1/uploads/"+strings.TrimPrefix(url, "/tus/"), "Content-Length: 9500\r\n\r\nxxx"), 503, false},
		"a head that stalls":       {head("POST", "/tus/", ""), 503, true},
		"a head too large":         {head("POST", "/tus/", "Upload-Metadata: "+strings.Repeat("a", 17<<10)+"\r\n\r\n"), 431, true},
		"no number":                {head("PATCH", url, "Content-Length: x\r\n\r\n"), 400, true},
		"both lengths":             {head("PATCH", url, "Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n"), 400, true},
	} {
		c := w.dial()
		// The first request of a connection, and one that follows another.
		for _, before := range []string{"", "GET /healthz HTTP/1.1\r\nHost: h\r\n\r\n"} {
			r := bufio.NewReader(c)
			if before != "" {
				c = w.dial()
				r.Reset(c)
				io.WriteString(c, before) //nolint:errcheck // the answer tells
				if res, err := http.ReadResponse(r, nil); err != nil {
					t.Fatalf("%s: %v", name, err)
				} else if _, err := io.Copy(io.Discard, res.Body); err != nil {
					t.Fatalf("%s: %v", name, err)
				}
			}
			io.WriteString(c, test.request) //nolint:errcheck // the answer tells
			res, err := http.ReadResponse(r, nil)
			for err == nil && res.StatusCode == http.StatusContinue {
				res, err = http.ReadResponse(r, nil)
			}
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			res.Body.Close()
			if res.StatusCode != test.status || (res.Header.Get("Tus-Resumable") == "1.0.0") != test.tus ||
				(res.Header.Get("Retry-After") != "") != (test.status == 503) {
				t.Errorf("%s: got %s %v, want %d", name, res.Status, res.Header, test.status)
			}
			if got := res.Header.Get("Access-Control-Allow-Origin"); got != origin || res.Header.Get("Vary") == "" {
				t.Errorf("%s: the page of %s cannot read it: %v", name, origin, res.Header)
			}
		}
	}
	w.wantOffset(url, 0)
}

// TestRefusedToTheOnlyOrigin: a head that is too large may hide the origin.
func TestRefusedToTheOnlyOrigin(t *testing.T) {
	t.Parallel()
	const origin = "https://app.example"
	w := newWorld(t, setup{http: func(c *handlers.Config) { c.CORSOrigins = []string{origin} }})
	c := w.dial()
	io.WriteString(c, "POST /tus/ HTTP/1.1\r\nHost: h\r\nUpload-Metadata: "+strings.Repeat("a", 17<<10)+ //nolint:errcheck // the answer tells
		"\r\nOrigin: "+origin+"\r\n\r\n")
	res, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	if res.StatusCode != 431 || res.Header.Get("Access-Control-Allow-Origin") != origin {
		t.Errorf("got %s %v", res.Status, res.Header)
	}
}

// dial opens a connection that ends with the test.
func (w *world) dial() net.Conn {
	w.t.Helper()
	c, err := net.Dial("tcp", strings.TrimPrefix(w.url, "http://"))
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { c.Close() })
	return c
}

// metric is the value of a metric, "" if there is none.
func (w *world) metric(label string) string {
	w.t.Helper()
	_, rest, _ := strings.Cut(w.want(200, "root", "GET", "/metrics", nil).body, label)
	value, _, _ := strings.Cut(rest, "\n")
	return value
}
