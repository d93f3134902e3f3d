package transport_test

import (
	"io"
	"log/slog"
	"net"
	"runtime"
	"strings"
	"testing"

	"github.com/gofiber/fiber/v2"

	"upload-service/handlers/transport"
)

// BenchmarkSmallUpload is a body of 4 KiB over one kept connection.
func BenchmarkSmallUpload(b *testing.B) {
	c := benchServer(b)()
	request := []byte(put("/sink", length(4<<10)) + strings.Repeat("x", 4<<10))
	answer := make([]byte, 4<<10)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := c.Write(request); err != nil {
			b.Fatal(err)
		}
		if _, err := c.Read(answer); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkLargeUpload is 64 MiB, which nobody keeps.
func BenchmarkLargeUpload(b *testing.B) {
	c := benchServer(b)()
	const size = 64 << 20
	head := []byte(put("/sink", length(size)))
	answer := make([]byte, 4<<10)
	b.SetBytes(size)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := c.Write(head); err != nil {
			b.Fatal(err)
		}
		if _, err := io.CopyN(c, zeros{}, size); err != nil {
			b.Fatal(err)
		}
		if _, err := c.Read(answer); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkIdleConnections holds 1,000 connections that made one request each,
// and reports what one of them costs, the client's side included.
func BenchmarkIdleConnections(b *testing.B) {
	dial := benchServer(b)
	const n = 1000
	before := memory()
	conns := make([]net.Conn, n)
	answer := make([]byte, 4<<10)
	for i := range conns {
		conns[i] = dial()
		if _, err := io.WriteString(conns[i], put("/sink", length(1))+"x"); err != nil {
			b.Fatal(err)
		}
		if _, err := conns[i].Read(answer); err != nil {
			b.Fatal(err)
		}
	}
	each := float64(memory()-before) / n
	for b.Loop() {
	}
	b.ReportMetric(each, "B/conn")
	runtime.KeepAlive(conns)
}

func memory() uint64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapInuse + m.StackInuse
}

func benchServer(b *testing.B) func() net.Conn {
	b.Helper()
	cfg := patient()
	cfg.Log = slog.New(slog.DiscardHandler)
	app := fiber.New(transport.AppConfig(fiber.Config{}))
	app.Use(transport.Guard())
	app.Put("/sink", func(c *fiber.Ctx) error {
		_, err := io.Copy(io.Discard, transport.Body(c))
		return err
	})
	srv := transport.NewServer(app, cfg)
	ln, err := transport.Listen("127.0.0.1:0", transport.TLS{})
	if err != nil {
		b.Fatal(err)
	}
	go srv.Serve(ln)                                //nolint:errcheck // until the end
	b.Cleanup(func() { srv.Shutdown(b.Context()) }) //nolint:errcheck // at the end
	return func() net.Conn {
		c, err := net.Dial("tcp", ln.Addr().String())
		if err != nil {
			b.Fatal(err)
		}
		b.Cleanup(func() { c.Close() })
		return c
	}
}
