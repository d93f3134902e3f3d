package transport_test

import (
	"context"
	"net"
	"strings"
	"testing"
	"time"
)

func TestExpectation(t *testing.T) {
	t.Parallel()
	for _, via := range transports {
		for _, value := range []string{"100-continue", "100-Continue", "100-CONTINUE"} {
			t.Run(via.name+"/"+value, func(t *testing.T) {
				t.Parallel()
				w, dial := via.start(t, patient())
				c := dial()
				for range 2 { // the connection can be kept
					c.send(put("/sink", "Expect: "+value, length(20_000)))
					c.want(100)
					c.send(strings.Repeat("x", 20_000))
					r := c.want(200, "20000")
					if r.header.Get("Waited") == "" {
						t.Error("what was stored while the client waited is not there in the handler")
					}
					if r.header.Get("First-Pass") != "" {
						t.Error("the answer has a field from before the body")
					}
				}
				c.wantAlive()
				if n := w.stored.Load(); n != 2 {
					t.Errorf("%d bodies were stored, want 2", n)
				}
			})
		}
	}
}

func TestExpectationKeepsTheLimit(t *testing.T) {
	t.Parallel()
	w := start(t, patient())
	c := w.dial()
	c.send(put("/sink", "Expect: 100-continue", "Limit: 100", chunked))
	c.want(100)
	c.send(chunks(strings.Repeat("x", 200)))
	c.want(413)
	wantNotStored(t, w)
}

func TestExpectationOfShortBody(t *testing.T) {
	t.Parallel()
	w := start(t, patient())
	c := w.dial()
	c.send(put("/sink", "Expect: 100-continue", length(20_000)))
	c.want(100)
	c.send(strings.Repeat("x", 10_000))
	c.endSending()
	c.want(400)
	wantNotStored(t, w)
}

func TestNoBody(t *testing.T) {
	t.Parallel()
	w := start(t, patient())
	c := w.dial()
	c.send("PUT /none HTTP/1.1\r\nHost: h\r\n\r\n")
	c.want(200, "true")
	c.send(put("/none", "Expect: 100-continue"))
	c.want(200, "true")
	c.wantEnd()

	c = w.dial()
	c.send(put("/sink", length(0)))
	c.want(200, "0")
	c.send(put("/sink", chunked) + "0\r\n\r\n")
	c.want(200, "0")
	c.wantAlive()
}

func TestMalformedRequestsAreExplained(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("secret", 4<<10)
	for _, test := range []struct {
		name, request string
		status        int
	}{
		{"no HTTP", "hello\r\n\r\n", 400},
		{"TLS", "\x16\x03\x01\x02\x00\x01\x00\r\n\r\n", 400},
		{"no method", " / HTTP/1.1\r\nHost: h\r\n\r\n", 400},
		{"HTTP/2", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400},
		{"bad field", "GET / HTTP/1.1\r\nHost: h\r\nsecret\r\n\r\n", 400},
		{"bad escape", "GET http://%zz/ HTTP/1.1\r\nHost: h\r\n\r\n", 400},
		{"header beyond 16 KiB", "GET / HTTP/1.1\r\nHost: h\r\nX: " + long + "\r\n\r\n", 431},
		{"path beyond 16 KiB", "GET /" + long + " HTTP/1.1\r\nHost: h\r\n\r\n", 431},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			w := start(t, patient())
			c := w.dial()
			c.send(test.request)
			r := c.want(test.status)
			for _, internal := range []string{"secret", "fasthttp", "buffer", "error when"} {
				if strings.Contains(r.body, internal) {
					t.Errorf("the answer %q shows %q", r.body, internal)
				}
			}
			c.wantEnd()
			if strings.Contains(w.log.String(), "secret") {
				t.Error("the log shows what the client sent")
			}
		})
	}
}

func TestPanicInHandler(t *testing.T) {
	t.Parallel()
	w := start(t, patient())
	c := w.dial()
	c.send("GET /panic HTTP/1.1\r\nHost: h\r\n\r\n")
	if r := c.want(500); !r.closes {
		t.Error("the connection is kept")
	}
	c.wantEnd()
	for _, want := range []string{"in the handler", "world_test.go"} {
		if got := w.log.String(); !strings.Contains(got, want) {
			t.Errorf("the log %q is without %q", got, want)
		}
	}
	w.dial().wantAlive()
}

func TestShutdownLetsRequestsEnd(t *testing.T) {
	t.Parallel()
	for _, via := range transports {
		t.Run(via.name, func(t *testing.T) {
			t.Parallel()
			w, dial := via.start(t, patient())
			silent, idle, busy, upload := dial(), dial(), dial(), dial()
			idle.wantAlive()
			busy.send("GET /hold HTTP/1.1\r\nHost: h\r\n\r\n")
			upload.send(put("/sink", length(20_000)) + strings.Repeat("x", 10_000))
			soon(t, "both run", func() bool { return w.srv.Running() == 2 })

			ended := make(chan error, 1)
			go func() { ended <- w.srv.Shutdown(t.Context()) }()
			// What only waits for a request ends at once,
			idle.wantEnd()
			silent.wantEnd()
			// nobody is let in any more,
			soon(t, "the listener is closed", func() bool {
				c, err := net.Dial(w.addr.Network(), w.addr.String())
				if err == nil {
					c.Close()
				}
				return err != nil
			})
			// and what runs goes on to its end.
			upload.send(strings.Repeat("x", 10_000))
			if r := upload.want(200, "20000"); !r.closes {
				t.Error("the answer does not say that the connection ends")
			}
			select {
			case err := <-ended:
				t.Fatalf("ended with a running request: %v", err)
			default:
			}
			close(w.held)
			busy.want(200, "held")
			began := time.Now()
			if err := <-ended; err != nil {
				t.Errorf("got %v, want no error", err)
			}
			if took := time.Since(began); took > time.Second {
				t.Errorf("took %v behind the last answer", took)
			}
		})
	}
}

func TestShutdownWithoutRequestsIsQuick(t *testing.T) {
	t.Parallel()
	w := start(t, patient())
	for range 100 {
		w.dial().wantAlive()
	}
	began := time.Now()
	if err := w.srv.Shutdown(t.Context()); err != nil {
		t.Errorf("got %v, want no error", err)
	}
	took := time.Since(began)
	t.Logf("100 idle connections: %v", took)
	if took > time.Second {
		t.Errorf("took %v", took)
	}
}

func TestShutdownWaitsForLingering(t *testing.T) {
	t.Parallel()
	w := start(t, patient())
	c := w.dial()
	c.send(put("/sink", "Authorization: none", length(1<<20)) + strings.Repeat("x", 9<<10))
	c.want(401)
	soon(t, "the request ends", func() bool { return w.srv.Running() == 0 })
	ended := make(chan error, 1)
	go func() { ended <- w.srv.Shutdown(t.Context()) }()
	c.wantEnd()
	c.send(strings.Repeat("x", 256<<10))
	select {
	case err := <-ended:
		t.Errorf("ended beside a client that still sends: %v", err)
	default:
	}
	c.Close()
	if err := <-ended; err != nil {
		t.Errorf("got %v, want no error", err)
	}
}

// A handler that does not end without its connection is waited for: the store
// behind it must not be closed under it.
func TestShutdownWaitsForHandlers(t *testing.T) {
	t.Parallel()
	w := start(t, patient())
	c := w.dial()
	c.send("GET /hold HTTP/1.1\r\nHost: h\r\n\r\n")
	soon(t, "it runs", func() bool { return w.srv.Running() == 1 })
	ctx, cancel := context.WithCancel(context.Background())
	cancel() // no grace at all
	ended := make(chan error, 1)
	go func() { ended <- w.srv.Shutdown(ctx) }()
	c.wantEnd()
	select {
	case err := <-ended:
		t.Fatalf("ended beside a handler: %v", err)
	default:
	}
	close(w.held)
	if err := <-ended; err == nil {
		t.Error("got no error, want one that says what was cut off")
	}
}
