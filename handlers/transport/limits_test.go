package transport_test

import (
	"strings"
	"testing"

	"upload-service/handlers/transport"
)

// TestRefusedBeforeTheBody sends the head of a large upload and nothing of its
// body: a refusal comes all the same.
func TestRefusedBeforeTheBody(t *testing.T) {
	t.Parallel()
	for _, via := range transports {
		t.Run(via.name, func(t *testing.T) {
			t.Parallel()
			for _, test := range []struct {
				name, fields string
				status       int
			}{
				{"not known", "Authorization: none\r\n" + length(1<<20), 401},
				{"not known, chunked", "Authorization: none\r\n" + chunked, 401},
				{"too large", "Limit: 100\r\n" + length(1<<20), 413},
				{"panic", "Panic: 1\r\n" + length(1<<20), 500},
				{"both lengths", length(1<<20) + "\r\n" + chunked, 400},
			} {
				w, dial := via.start(t, patient())
				c := dial()
				c.send(put("/sink", test.fields))
				if r := c.want(test.status); !r.closes {
					t.Errorf("%s: the answer does not say that the connection ends", test.name)
				}
				c.wantEnd()
				wantNotStored(t, w)
			}
		})
	}
}

// TestLargeBodyWithoutExpectation: what is decided first shows in nothing else:
// the client gets no interim answer that it did not ask for, and the connection
// can be kept.
func TestLargeBodyWithoutExpectation(t *testing.T) {
	t.Parallel()
	for _, via := range transports {
		t.Run(via.name, func(t *testing.T) {
			t.Parallel()
			_, dial := via.start(t, patient())
			c := dial()
			body := strings.Repeat("x", 1<<20)
			for range 2 {
				c.send(put("/sink", length(len(body))) + body)
				c.want(200, "1048576")
				c.send(put("/sink", "Expect: 100-continue", length(len(body))))
				c.want(100)
				c.send(body)
				c.want(200, "1048576")
			}
			c.wantAlive()
			c = dial()
			c.send("PUT /sink HTTP/1.0\r\nHost: h\r\n" + length(len(body)) + "\r\n\r\n" + body)
			c.want(200, "1048576")
		})
	}
}

// TestTooManyConnections: those beyond what is served get an answer, and the
// log and a counter tell the operator.
func TestTooManyConnections(t *testing.T) {
	t.Parallel()
	w := startOn(t, patient(), "127.0.0.1:0", transport.TLS{}, func(s *transport.Server) { s.ServeAtMost(1) })
	first := w.dial()
	first.wantAlive()
	for range 3 {
		w.dial().want(503)
	}
	soon(t, "the refusals are counted", func() bool { return w.srv.Refused() == 3 })
	soon(t, "the log says so", func() bool {
		return strings.Count(w.log.String(), "level=WARN msg=\"connections are refused") == 1
	})
	first.wantAlive()
}
