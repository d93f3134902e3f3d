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
		c, err := net.Dial("tcp", strings.TrimPrefix(w.url, "http://"))
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
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

// metric is the value of a metric, "" if there is none.
func (w *world) metric(label string) string {
	w.t.Helper()
	_, rest, _ := strings.Cut(w.want(200, "root", "GET", "/metrics", nil).body, label)
	value, _, _ := strings.Cut(rest, "\n")
	return value
}
