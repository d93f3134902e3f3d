package e2e_test

import (
	"io"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// network is a bad one between a client and a server: a TCP proxy that does to
// each connection what trouble says at that time.
type network struct {
	t      testing.TB
	ln     net.Listener
	target atomic.Value // string: where the server is now

	mu      sync.Mutex
	trouble func(n int) fate // of the n-th connection
	n       int
	open    map[net.Conn]bool
}

// fate is what happens to the bytes that a client sends on one connection.
type fate struct {
	after     int64 // good until then
	cut       bool  // the connection is reset
	blackHole bool  // nothing arrives any more, and nobody is told
	rate      int   // bytes a second, 0 for all there is
}

func newNetwork(t testing.TB, target string) *network {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &network{t: t, ln: ln, open: map[net.Conn]bool{}}
	p.to(target)
	p.good()
	t.Cleanup(func() {
		ln.Close()
		p.mu.Lock()
		defer p.mu.Unlock()
		for c := range p.open {
			c.Close()
		}
	})
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			go p.serve(c)
		}
	}()
	return p
}

func (p *network) url() string      { return "http://" + p.ln.Addr().String() }
func (p *network) to(target string) { p.target.Store(strings.TrimPrefix(target, "http://")) }

// bad sets what happens to connections from now on, counted from 0.
func (p *network) bad(trouble func(n int) fate) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.trouble, p.n = trouble, 0
}

func (p *network) good() { p.bad(func(int) fate { return fate{after: -1} }) }

func (p *network) serve(client net.Conn) {
	p.mu.Lock()
	f := p.trouble(p.n)
	p.n++
	p.open[client] = true
	p.mu.Unlock()
	defer func() {
		client.Close()
		p.mu.Lock()
		delete(p.open, client)
		p.mu.Unlock()
	}()
	server, err := net.Dial("tcp", p.target.Load().(string))
	if err != nil {
		return
	}
	defer server.Close()
	answered := make(chan struct{})
	go func() {
		defer close(answered)
		io.Copy(client, server) //nolint:errcheck // a bad network
		client.Close()
	}()
	p.forward(server, client, f)
	if f.blackHole {
		<-answered // the server gives up first
	}
}

func (p *network) forward(server, client net.Conn, f fate) {
	var r io.Reader = client
	if f.rate > 0 {
		r = &throttled{client, f.rate}
	}
	if f.after < 0 {
		io.Copy(server, r) //nolint:errcheck // a bad network
		return
	}
	io.CopyN(server, r, f.after) //nolint:errcheck // a bad network
	if f.cut {
		client.(*net.TCPConn).SetLinger(0) //nolint:errcheck // a bad network
		server.(*net.TCPConn).SetLinger(0) //nolint:errcheck // a bad network
	}
}

type throttled struct {
	r    io.Reader
	rate int
}

func (t *throttled) Read(p []byte) (int, error) {
	n, err := t.r.Read(p[:min(len(p), t.rate/50+1)])
	time.Sleep(time.Duration(n) * time.Second / time.Duration(t.rate))
	return n, err
}
