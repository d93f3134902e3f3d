package transport_test

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"upload-service/handlers/transport"
	"upload-service/store"
)

// hasty are timeouts that tests wait for.
func hasty() transport.Config {
	return transport.Config{HeaderTimeout: 500 * time.Millisecond, IdleTimeout: 500 * time.Millisecond}
}

// transports are the ways to reach a server. Each test over them also proves
// that deadlines, lingering and the end of bodies work there.
var transports = []struct {
	name  string
	start func(*testing.T, transport.Config) (*world, func() *client)
}{
	{"TCP", func(t *testing.T, cfg transport.Config) (*world, func() *client) {
		w := start(t, cfg)
		return w, w.dial
	}},
	{"Unix", func(t *testing.T, cfg transport.Config) (*world, func() *client) {
		w := startOn(t, cfg, "unix:"+filepath.Join(t.TempDir(), "s"), transport.TLS{})
		return w, w.dial
	}},
	{"TLS", func(t *testing.T, cfg transport.Config) (*world, func() *client) {
		w := startOn(t, cfg, "127.0.0.1:0", certificate(t))
		return w, w.overTLS
	}},
}

func TestHeaderTimeout(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name, sent string
		status     int // 0 for a close without an answer
	}{
		{"silence", "", 0},
		{"part of the request line", "PUT /si", 408},
		{"part of the header", "PUT /sink HTTP/1.1\r\nHost: h\r\n", 408},
		{"no body", put("/sink", length(100)), 408},
		{"part of what is read ahead", put("/sink", length(20_000)) + strings.Repeat("x", 100), 408},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			cfg := hasty()
			cfg.IdleTimeout = time.Minute
			w := start(t, cfg)
			c := w.dial()
			began := time.Now()
			c.send(test.sent)
			if test.status != 0 {
				c.want(test.status)
			}
			c.wantEnd()
			wantAbout(t, time.Since(began), cfg.HeaderTimeout)
			wantNotStored(t, w)
		})
	}
}

// A header that trickles in moves, but is cut all the same.
func TestHeaderTimeoutDoesNotSlide(t *testing.T) {
	t.Parallel()
	cfg := hasty()
	c := start(t, cfg).dial()
	began := time.Now()
	go trickle(c, "GET /ok HTTP/1.1\r\nHost: h\r\nX: "+strings.Repeat("x", 200), cfg.HeaderTimeout/10)
	c.want(408)
	wantAbout(t, time.Since(began), cfg.HeaderTimeout)
}

func TestIdleConnectionIsClosedQuietly(t *testing.T) {
	t.Parallel()
	cfg := hasty()
	cfg.HeaderTimeout = time.Minute
	c := start(t, cfg).dial()
	c.wantAlive()
	began := time.Now()
	c.wantEnd()
	wantAbout(t, time.Since(began), cfg.IdleTimeout)
}

func TestStalledBodyIsCut(t *testing.T) {
	t.Parallel()
	for _, via := range transports {
		for _, fields := range []string{length(20_000), chunked} {
			t.Run(via.name+"/"+fields, func(t *testing.T) {
				t.Parallel()
				cfg := hasty()
				cfg.HeaderTimeout = time.Minute
				w, dial := via.start(t, cfg)
				c := dial()
				c.send(put("/sink", fields))
				c.send("4000\r\n" + strings.Repeat("x", 10_000)) // with a length, just bytes
				began := time.Now()
				c.want(408)
				c.wantEnd()
				wantAbout(t, time.Since(began), cfg.IdleTimeout)
				wantNotStored(t, w)
				wantFailure(t, w, store.CodeTimeout)
			})
		}
	}
}

// A body that hangs ends at once when another request wants its place, and a
// late interrupt does not touch the next request of the connection.
func TestInterruptedBody(t *testing.T) {
	t.Parallel()
	for _, via := range transports {
		t.Run(via.name, func(t *testing.T) {
			t.Parallel()
			w, dial := via.start(t, patient())
			c := dial()
			c.send(put("/taken", length(20_000)) + strings.Repeat("x", 10_000))
			b := <-w.bodies
			b.Interrupt()
			c.want(423)
			c.wantEnd()
			wantFailure(t, w, store.CodeLocked)
			b.Interrupt()

			c = dial()
			c.send(put("/taken", length(1)) + "x")
			late := <-w.bodies
			c.want(200)
			c.send(put("/taken", length(20_000)) + strings.Repeat("x", 10_000))
			<-w.bodies
			late.Interrupt()
			c.send(strings.Repeat("x", 10_000))
			c.want(200)
		})
	}
}

func TestMovingBodyIsNeverCut(t *testing.T) {
	t.Parallel()
	for _, via := range transports {
		t.Run(via.name, func(t *testing.T) {
			t.Parallel()
			cfg := hasty()
			w, dial := via.start(t, cfg)
			c := dial()
			slow := strings.Repeat("x", 30) // three idle times
			c.send(put("/sink", length(10_000+len(slow))) + strings.Repeat("x", 10_000))
			began := time.Now()
			trickle(c, slow, cfg.IdleTimeout/10)
			c.want(200, "10030")
			if took := time.Since(began); took < 2*cfg.IdleTimeout {
				t.Errorf("the body took %v, which proves nothing", took)
			}
			if w.stored.Load() != 1 {
				t.Error("the body was not stored")
			}
		})
	}
}

// One TLS record may take longer than the idle time, as long as it moves.
func TestMovingRecordIsNeverCut(t *testing.T) {
	t.Parallel()
	cfg := hasty()
	w, _ := startSecure(t, cfg, true)
	raw, err := net.Dial("tcp", w.addr.String())
	if err != nil {
		t.Fatal(err)
	}
	slow := &slowWriter{Conn: raw}
	c := w.client(secured(slow))
	c.send(put("/sink", length(26_000)) + strings.Repeat("x", 10_000))
	slow.pause = cfg.IdleTimeout / 10
	c.send(strings.Repeat("x", 16_000))
	slow.pause = 0
	c.want(200, "26000")
}

// A peer that takes little is waited for, even if the kernel does not wake us
// in the idle time.
func TestMovingResponseIsNeverCut(t *testing.T) {
	t.Parallel()
	const size, step = 6 << 20, 128 << 10
	for _, via := range transports {
		t.Run(via.name, func(t *testing.T) {
			t.Parallel()
			cfg := hasty()
			w, dial := via.start(t, cfg)
			w.file("large", size)
			c := dial()
			c.send("GET /file/large HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")
			began := time.Now()
			got := int64(0)
			pace := time.NewTicker(cfg.IdleTimeout / 8)
			defer pace.Stop()
			for {
				n, err := io.CopyN(io.Discard, c.r, step)
				got += n
				if errors.Is(err, io.EOF) {
					break
				}
				if err != nil {
					t.Fatalf("after %d bytes and %v: %v", got, time.Since(began), err)
				}
				<-pace.C
			}
			if got < size {
				t.Errorf("got %d bytes in %v, want %d", got, time.Since(began), size)
			}
		})
	}
}

func TestStalledResponseIsCut(t *testing.T) {
	t.Parallel()
	const size = 64 << 20 // more than the kernel takes
	for _, via := range transports {
		t.Run(via.name, func(t *testing.T) {
			t.Parallel()
			cfg := hasty()
			w, dial := via.start(t, cfg)
			w.file("large", size)
			c := dial()
			began := time.Now()
			c.send("GET /file/large HTTP/1.1\r\nHost: h\r\n\r\n")
			soon(t, "the response runs", func() bool { return w.srv.Running() == 1 })
			<-w.closed // the handler's file: the server gave up
			if took := time.Since(began); took < cfg.IdleTimeout || took > 8*cfg.IdleTimeout {
				t.Errorf("cut after %v, want between one and two times %v", took, cfg.IdleTimeout)
			}
			soon(t, "the request ends", func() bool { return w.srv.Running() == 0 })
			if n, _ := io.Copy(io.Discard, c.r); n >= size {
				t.Errorf("all %d bytes came", n)
			}
		})
	}
}

// A client that sends its whole body before it reads must get the answer that
// refused it. Not parallel: the server gives it a second.
func TestRefusedClientReadsWhy(t *testing.T) {
	body := strings.Repeat("x", 4<<20)
	for _, via := range transports {
		for _, field := range []string{"X: y", "Expect: 100-continue"} {
			t.Run(via.name+"/"+field, func(t *testing.T) {
				_, dial := via.start(t, patient())
				for range 20 {
					c := dial()
					c.send(put("/sink", "Authorization: none", field, length(len(body))))
					c.send(body)
					c.want(401)
					c.wantEnd()
					c.Close()
				}
			})
		}
	}
}

func TestLingeringIsBounded(t *testing.T) {
	t.Parallel()
	refused := put("/sink", "Authorization: none", length(1<<30)) + strings.Repeat("x", 9<<10)

	t.Run("in time", func(t *testing.T) {
		t.Parallel()
		w := start(t, patient())
		c := w.dial()
		c.send(refused)
		c.want(401)
		began := time.Now()
		var err error
		soon(t, "the connection ends", func() bool {
			_, err = c.Write([]byte("x"))
			return err != nil
		})
		wantAbout(t, time.Since(began), time.Second)
	})
	t.Run("in bytes", func(t *testing.T) {
		t.Parallel()
		w := start(t, patient())
		c := w.dial()
		c.send(refused)
		n, err := io.Copy(c, io.LimitReader(zeros{}, 1<<30))
		if err == nil {
			t.Errorf("all %d bytes were taken", n)
		}
		if limit := int64(32 << 20); n > limit { // 8 MiB, and what the kernel holds
			t.Errorf("%d bytes were taken, want less than %d", n, limit)
		}
	})
	t.Run("in number", func(t *testing.T) {
		t.Parallel()
		w := start(t, patient())
		clients := make([]*client, 200)
		for i := range clients {
			clients[i] = w.dial()
			clients[i].send(refused)
		}
		for _, c := range clients {
			io.Copy(io.Discard, c.r) //nolint:errcheck // the answer, which those above the bound may lose
			c.Write([]byte("x"))     //nolint:errcheck // a closed connection answers with a reset
		}
		// A reset can take a moment to arrive, though less than a connection lingers.
		open := len(clients)
		for began := time.Now(); open > 64 && time.Since(began) < 300*time.Millisecond; {
			open = 0
			for _, c := range clients {
				if _, err := c.Write([]byte("x")); err == nil {
					open++
				}
			}
		}
		if open > 64 {
			t.Errorf("%d connections linger at once, want at most 64", open)
		}
		t.Logf("%d of %d linger", open, len(clients))
	})
}

func TestPipelinedRequestsAreAnsweredInOrder(t *testing.T) {
	t.Parallel()
	for _, via := range transports {
		t.Run(via.name, func(t *testing.T) {
			t.Parallel()
			w, dial := via.start(t, patient())
			c := dial()
			var all strings.Builder
			for i := range 50 {
				all.WriteString(put("/sink", length(i)) + strings.Repeat("x", i))
				all.WriteString(put("/sink", chunked) + chunks(strings.Repeat("x", i+1)))
				all.WriteString("GET /ok HTTP/1.1\r\nHost: h\r\n\r\n")
			}
			c.send(all.String())
			for i := range 50 {
				c.want(200, fmt.Sprint(i))
				c.want(200, fmt.Sprint(i+1))
				c.want(200, "ok")
			}
			c.wantAlive()
			if n := w.stored.Load(); n != 100 {
				t.Errorf("%d bodies were stored, want 100", n)
			}
		})
	}
}

// file makes a sparse file of n bytes.
func (w *world) file(name string, n int64) {
	w.t.Helper()
	f, err := os.Create(filepath.Join(w.dir, name))
	if err != nil {
		w.t.Fatal(err)
	}
	if err := errors.Join(f.Truncate(n), f.Close()); err != nil {
		w.t.Fatal(err)
	}
}

// trickle sends text byte by byte.
func trickle(c *client, text string, pause time.Duration) {
	pace := time.NewTicker(pause)
	defer pace.Stop()
	for i := range len(text) {
		if _, err := io.WriteString(c, text[i:i+1]); err != nil {
			return
		}
		<-pace.C
	}
}

// wantAbout wants a time that is not shorter, and not much longer. The machine
// may be busy.
func wantAbout(t *testing.T, got, want time.Duration) {
	t.Helper()
	if got < want*8/10 || got > want+3*time.Second {
		t.Errorf("took %v, want about %v", got, want)
	}
}

// slowWriter pauses between the parts of one write.
type slowWriter struct {
	net.Conn
	pause time.Duration
}

func (s *slowWriter) Write(p []byte) (n int, err error) {
	if s.pause == 0 {
		return s.Conn.Write(p)
	}
	pace := time.NewTicker(s.pause)
	defer pace.Stop()
	for part := 600; n < len(p) && err == nil; <-pace.C {
		var k int
		k, err = s.Conn.Write(p[n:min(n+part, len(p))])
		n += k
	}
	return n, err
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}
