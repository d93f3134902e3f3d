// Command bench measures the real binary, mostly beside nginx's DAV module,
// and prints ratios: absolute figures of one machine say little about another.
//
// Each comparison runs in interleaved rounds and reports the median of the
// rounds' ratios. Every server starts on a fresh folder, since file systems
// remember what was deleted. Nothing here passes or fails; docs/performance.md
// has the figures that were seen, and what they mean.
//
// Usage: bench [-dir folder] [-rounds n] [-cold] [part ...], where the parts are
// put, small, get, memory, trickle, tus, unfinished, commit, pieces, json,
// records. Without one all run.
package main

import (
	"crypto/sha256"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"time"
)

func main() {
	log.SetFlags(0)
	dir := flag.String("dir", "", "folder to work in; a temporary one by default")
	rounds := flag.Int("rounds", 5, "interleaved rounds of each comparison")
	cold := flag.Bool("cold", false, "do not have the kernel hand out warm memory before a large upload")
	flag.Parse()
	if os.Getenv("GOMAXPROCS") == "" { // what runs in this process runs as in the service
		n := runtime.GOMAXPROCS(0)
		runtime.GOMAXPROCS(n + max(n, 6))
	}
	b := &bench{rounds: *rounds, cold: *cold}
	if err := b.run(*dir, flag.Args()); err != nil {
		log.Fatal("bench: ", err)
	}
}

type bench struct {
	dir    string
	binary string
	rounds int
	cold   bool
}

// parts run in this order.
var parts = []struct {
	name string
	run  func(*bench) error
}{
	{"put", (*bench).put},
	{"small", (*bench).small},
	{"get", (*bench).get},
	{"memory", (*bench).memory},
	{"trickle", (*bench).trickle},
	{"tus", (*bench).tus},
	{"unfinished", (*bench).unfinished},
	{"commit", (*bench).commit},
	{"pieces", (*bench).pieces},
	{"json", (*bench).json},
	{"records", (*bench).records},
}

func (b *bench) run(dir string, names []string) (err error) {
	if b.dir, err = os.MkdirTemp(dir, "upload-service-bench-"); err != nil {
		return err
	}
	defer os.RemoveAll(b.dir)
	b.binary = filepath.Join(b.dir, "upload-service")
	build := exec.Command("go", "build", "-trimpath", "-ldflags", "-s -w", "-o", b.binary, "./cmd/upload-service")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return fmt.Errorf("build: %w\n%s", err, out)
	}
	for _, p := range parts {
		if len(names) > 0 && !slices.Contains(names, p.name) {
			continue
		}
		if err := p.run(b); err != nil {
			return fmt.Errorf("%s: %w", p.name, err)
		}
	}
	return nil
}

const (
	gib = 1 << 30
	key = "Authorization"
)

func report(what, value, target string) { fmt.Printf("%-58s %-22s %s\n", what, value, target) }

// peers are what is compared: nginx, then the service.
var peers = []func(*bench) (*process, error){
	(*bench).nginx,
	func(b *bench) (*process, error) { return b.service() },
}

func median(v []float64) float64 {
	v = slices.Clone(v)
	slices.Sort(v)
	return v[len(v)/2]
}

// spread is the median, and all that was seen.
func spread(v []float64) string {
	return fmt.Sprintf("%.2f (%.2f to %.2f)", median(v), slices.Min(v), slices.Max(v))
}

func seconds(d time.Duration) float64 { return d.Seconds() }

// warm has the kernel hand out memory that was used a moment ago. A virtual
// machine's host takes back what lies free for some seconds, and the first
// touch of it costs more than an upload: without this, whoever runs second
// pays for the pause that the first one made.
func (b *bench) warm() error {
	if b.cold {
		return nil
	}
	f, err := os.CreateTemp(b.dir, "warm-")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	defer f.Close()
	_, err = io.Copy(f, body(gib+gib/2))
	return err
}

// put compares uploads of 1 GiB, and what the machine alone takes to receive,
// hash, write and sync as much: nginx neither hashes nor syncs.
func (b *bench) put() error {
	var speed, cpu, bareSpeed []float64
	for round := range b.rounds {
		var took, used [2]float64
		for i := range peers {
			i := (i + round) % len(peers)
			p, err := peers[i](b)
			if err != nil {
				return err
			}
			if err := b.warm(); err != nil {
				return err
			}
			before := p.cpu()
			began := time.Now()
			err = p.put(fmt.Sprintf("big%d", round), gib)
			took[i], used[i] = seconds(time.Since(began)), p.cpu()-before
			p.stop()
			if err != nil {
				return err
			}
		}
		if err := b.warm(); err != nil {
			return err
		}
		bare, err := b.bareSink()
		if err != nil {
			return err
		}
		speed, cpu = append(speed, took[0]/took[1]), append(cpu, used[1]/used[0])
		bareSpeed = append(bareSpeed, bare/took[1])
	}
	report("PUT of 1 GiB, speed beside nginx", spread(speed), ">= 0.45")
	report("  beside bare receive, SHA-256, write, fsync", spread(bareSpeed), "")
	report("PUT of 1 GiB, CPU seconds beside nginx", spread(cpu), "<= 3.3")
	return nil
}

// bareSink is the time to receive 1 GiB over TCP, hash, write and sync it, and
// nothing else.
func (b *bench) bareSink() (took float64, err error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	defer ln.Close()
	f, err := os.CreateTemp(b.dir, "sink-")
	if err != nil {
		return 0, err
	}
	defer os.Remove(f.Name())
	defer f.Close()
	began := time.Now()
	sent := make(chan error, 1)
	go func() {
		c, err := net.Dial("tcp", ln.Addr().String())
		if err == nil {
			_, err = io.CopyBuffer(struct{ io.Writer }{c}, body(gib), make([]byte, 256<<10))
			err = errors.Join(err, c.Close())
		}
		sent <- err
	}()
	c, err := ln.Accept()
	if err != nil {
		return 0, err
	}
	defer c.Close()
	to := struct{ io.Writer }{io.MultiWriter(sha256.New(), f)}
	_, err = io.CopyBuffer(to, struct{ io.Reader }{c}, make([]byte, 1<<20))
	err = errors.Join(err, f.Sync(), <-sent)
	return seconds(time.Since(began)), err
}

// small compares uploads of 4 KiB by 16 clients, and what the file system
// alone takes for as many files that are synced with their folder.
func (b *bench) small() error {
	const n, clients = 20000, 16 // what a fast server does in a second or two
	var ratio, fsRatio []float64
	for round := range b.rounds {
		var rate [2]float64
		for i := range peers {
			i := (i + round) % len(peers) // whoever is second finds the disk busier
			p, err := peers[i](b)
			if err != nil {
				return err
			}
			began := time.Now()
			err = parallel(clients, n, func(c, k int) error { return p.put(fmt.Sprintf("c%d/f%d", c, k), 4096) })
			rate[i] = n / seconds(time.Since(began))
			p.stop()
			if err != nil {
				return err
			}
		}
		bare, err := b.bareFiles(n, clients)
		if err != nil {
			return err
		}
		ratio, fsRatio = append(ratio, rate[1]/rate[0]), append(fsRatio, rate[1]/bare)
	}
	report("PUT of 4 KiB, 16 clients, rate beside nginx", spread(ratio), ">= 0.25")
	report("  beside bare create, write, fsync, fsync of the folder", spread(fsRatio), "")
	return nil
}

// bareFiles is the rate of files that are written and synced without a server.
func (b *bench) bareFiles(n, clients int) (float64, error) {
	dir, err := os.MkdirTemp(b.dir, "bare-")
	if err != nil {
		return 0, err
	}
	defer os.RemoveAll(dir)
	content := make([]byte, 4096)
	began := time.Now()
	err = parallel(clients, n, func(c, k int) error {
		f, err := os.Create(filepath.Join(dir, fmt.Sprintf("%d-%d", c, k)))
		if err != nil {
			return err
		}
		defer f.Close()
		if _, err := f.Write(content); err != nil {
			return err
		}
		if err := f.Sync(); err != nil {
			return err
		}
		d, err := os.Open(dir)
		if err != nil {
			return err
		}
		defer d.Close()
		return d.Sync()
	})
	return float64(n) / seconds(time.Since(began)), err
}

// get compares downloads of 1 GiB.
func (b *bench) get() error {
	var running []*process
	for _, start := range peers {
		p, err := start(b)
		if err != nil {
			return err
		}
		defer p.stop()
		if err := p.put("big", gib); err != nil {
			return err
		}
		running = append(running, p)
	}
	var speed []float64
	for range b.rounds {
		var took [2]float64
		for i, p := range running {
			began := time.Now()
			if err := p.get("big", gib); err != nil {
				return err
			}
			took[i] = seconds(time.Since(began))
		}
		speed = append(speed, took[0]/took[1])
	}
	report("GET of 1 GiB, speed beside nginx", spread(speed), ">= 0.6")
	return nil
}

// memory looks at the anonymous memory of the server under large bodies.
func (b *bench) memory() error {
	p, err := b.service()
	if err != nil {
		return err
	}
	peak := p.watchMemory()
	err = parallel(8, 8, func(c, _ int) error { return p.put(fmt.Sprintf("m%d", c), gib) })
	report("8 x 1 GiB at once, peak RssAnon", fmt.Sprintf("%d MiB", peak()>>20), "<= 64 MiB")
	p.stop()
	if err != nil {
		return err
	}
	if p, err = b.service(); err != nil {
		return err
	}
	defer p.stop()
	peak = p.watchMemory()
	err = p.putJSON(256 << 20)
	report("legacy JSON with 256 MiB of content, peak RssAnon", fmt.Sprintf("%d MiB", peak()>>20), "<= 64 MiB")
	return err
}

// trickle has 1,000 connections send a byte a second while another client
// uploads small files, for as long as each of them sends ten.
func (b *bench) trickle() error {
	const slow, during = 1000, 10 * time.Second
	p, err := b.service("UPLOAD_OWNER_MAX_ACTIVE=2000")
	if err != nil {
		return err
	}
	defer p.stop()
	run := func(name string) (rate float64, err error) {
		var done atomic.Int64
		began := time.Now()
		err = parallel(4, 1<<30, func(c, k int) error {
			if time.Since(began) > during {
				return io.EOF
			}
			done.Add(1)
			return p.put(fmt.Sprintf("%s/c%d/f%d", name, c, k), 4096)
		})
		if err = others(err, io.EOF); err != nil {
			return 0, err
		}
		return float64(done.Load()) / seconds(time.Since(began)), nil
	}
	var ratios []float64
	for round := range b.rounds {
		before, err := run(fmt.Sprintf("before%d", round))
		if err != nil {
			return err
		}
		end, err := p.tricklers(slow)
		if err == nil {
			var rate float64
			rate, err = run(fmt.Sprintf("during%d", round))
			ratios = append(ratios, before/rate)
		}
		if err = errors.Join(err, end()); err != nil {
			return err
		}
	}
	report("4 KiB uploads beside 1,000 trickling ones, time", spread(ratios), "<= 2x")
	return nil
}

// others is err without what only ended a loop: nil if nothing else is left.
func others(err, end error) error {
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		return errors.Join(slices.DeleteFunc(slices.Clone(joined.Unwrap()), func(e error) bool { return errors.Is(e, end) })...)
	}
	return err
}

// tus compares 1 GiB in pieces of 8 MiB with one PUT.
func (b *bench) tus() error {
	var cpu []float64
	for range b.rounds {
		p, err := b.service()
		if err != nil {
			return err
		}
		before := p.cpu()
		err = p.put("big", gib)
		middle := p.cpu()
		if err == nil {
			err = p.putPieces(gib, 8<<20)
		}
		after := p.cpu()
		p.stop()
		if err != nil {
			return err
		}
		cpu = append(cpu, (after-middle)/(middle-before))
	}
	report("1 GiB by tus in 8 MiB pieces, CPU beside one PUT", spread(cpu), "<= 1.2")
	return nil
}

// unfinished looks at what 10,000 uploads cost that were begun and left.
func (b *bench) unfinished() error {
	const count, idle = 10_000, 10 * time.Second
	p, err := b.service()
	if err != nil {
		return err
	}
	defer p.stop()
	cleanup := func() (time.Duration, error) {
		began := time.Now()
		_, err := drain(p.do("POST", "/api/v1/admin/cleanup", strings.NewReader("{}"), 2, "Content-Type", "application/json"))
		return time.Since(began), err
	}
	// What serving allocates at all is there before anything is measured.
	if err := p.begin(100); err != nil {
		return err
	}
	if _, err := cleanup(); err != nil {
		return err
	}
	before := p.watchMemory()()
	if err := p.begin(count); err != nil {
		return err
	}
	used := p.cpu()
	time.Sleep(idle)
	used = p.cpu() - used
	after := p.watchMemory()()
	took, err := cleanup()
	if err != nil {
		return err
	}
	report("10,000 unfinished uploads, growth of RssAnon", fmt.Sprintf("%.1f MiB", float64(after-before)/(1<<20)), "nothing to speak of")
	report("the same, CPU in 10 idle seconds", fmt.Sprintf("%.2f s", used), "0")
	report("the same, a cleanup that finds nothing due", took.Round(100*time.Microsecond).String(), "nothing to speak of")
	return nil
}
