package transport_test

import (
	"strings"
	"testing"

	"upload-service/handlers/transport"
)

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
