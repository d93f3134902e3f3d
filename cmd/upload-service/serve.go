package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/go-co-op/gocron/v2"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"upload-service/auth"
	"upload-service/handlers"
	"upload-service/handlers/transport"
	"upload-service/static"
	"upload-service/store"
	"upload-service/store/kv"
)

// closeWait is how long the end waits for the visible tree, whose locks other
// programs may hold. What is left is done at the next start.
const closeWait = 5 * time.Second

// jobsWait is how long the end waits for a sweep that runs.
const jobsWait = 30 * time.Second

// doubtGrace is how long running requests have when the metadata store has
// failed: none of them can succeed, so it is only for answers on their way.
const doubtGrace = time.Second

// useProcessors lets more goroutines run than there are processors: a thread
// that waits for the disk keeps its share of GOMAXPROCS until the runtime takes
// it away, up to 10 ms later, so that on two processors two syncs can stop
// everybody. docs/performance.md has what that costs.
func useProcessors() {
	if os.Getenv("GOMAXPROCS") == "" {
		runtime.SetDefaultGOMAXPROCS() // not more than an earlier call made of it
		n := runtime.GOMAXPROCS(0)
		runtime.GOMAXPROCS(n + max(n, 6))
	}
}

// ballast, in bytes, is what the collector finds besides the few MiB that are in
// use whatever is stored. It runs when the heap has doubled, which without
// ballast was at nearly every list of a thousand files, a quarter of the time
// that one took. Nobody touches it, so it is no memory, but up to as much
// garbage may lie about.
const ballast = 8 << 20

// serve runs the service until ctx is done, or until the metadata store can no
// longer be trusted.
func serve(ctx context.Context, p *program) (err error) {
	cfg, log := p.cfg, p.log
	ctx, giveUp := context.WithCancel(ctx)
	defer giveUp()
	useProcessors()
	defer runtime.KeepAlive(make([]byte, ballast))
	// 1. The data, recovered from whatever a crash left.
	warnForeign(p)
	q, err := openParts(p, true)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, q.close()) }()
	assets, err := static.Load()
	if err != nil {
		return err
	}
	st, err := store.Open(ctx, q.opts)
	if err != nil {
		return err
	}
	defer func() {
		last, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeWait)
		defer cancel()
		err = errors.Join(err, st.Close(last))
	}()
	if full, err := st.Full(ctx); full && err == nil {
		log.Warn("the volume has no more room than UPLOAD_MIN_FREE keeps: uploads are refused until it has", "UPLOAD_MIN_FREE", cfg.MinFree)
	}
	au := newAuth(cfg, q.kv, st)
	if err := prepareMode(ctx, cfg, st, log); err != nil {
		return err
	}
	signing, err := au.SigningKey(ctx)
	if err != nil {
		return err
	}
	adoption, err := beginAdoption(ctx, p, st, au)
	if err != nil {
		return err
	}
	defer adoption.close()

	// 2. The listener, so that a port that is taken is told before anything.
	ln, err := transport.Listen(cfg.Addr, transport.TLS{Cert: cfg.TLSCert, Key: cfg.TLSKey})
	if errors.Is(err, syscall.EADDRINUSE) {
		return hinted{err, "set UPLOAD_ADDR to an address that is free"}
	}
	if err != nil {
		return err
	}
	var ready atomic.Bool
	srv := newServer(cfg, assets, st, au, signing, log, ready.Load)
	served := make(chan error, 1)
	go func() { served <- srv.Serve(ln) }()

	// 3. The sweep, now and then, and what an earlier service has left.
	jobs, err := schedule(ctx, cfg, st, au, log)
	if err != nil {
		return errors.Join(err, srv.Shutdown(ctx))
	}
	ready.Store(true)
	if err := greet(ctx, cfg, au, ln.Addr(), p.stdout); err != nil {
		return errors.Join(err, srv.Shutdown(ctx), jobs.Shutdown())
	}

	adoption.start(ctx)

	// 4. Until told to stop.
	var ended error
	grace := time.Duration(cfg.ShutdownGrace)
	select {
	case <-ctx.Done():
	case err := <-served:
		ended = fmt.Errorf("serve: %w", err)
	case <-q.kv.Failed():
		ended = hinted{errors.New("a commit may or may not have reached the disk"),
			"look at the disk; the next start finds out what is there"}
		grace = min(grace, doubtGrace)
		giveUp() // the sweep and an adoption
	}

	// 5. Not ready, no new connections, running requests to their end, then
	// the jobs, then (deferred) the data.
	ready.Store(false)
	log.Info("stopping", "running", srv.Running(), "grace", grace)
	stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), grace)
	defer cancel()
	err = srv.Shutdown(stop)
	if errors.Is(err, context.DeadlineExceeded) {
		log.Warn("what still ran after the grace was cut off")
		err = nil
	}
	return errors.Join(ended, err, jobs.Shutdown())
}

func newServer(
	cfg Config, assets *static.Assets, st *store.Store, au *auth.Service, signing []byte, log *slog.Logger, ready func() bool,
) *transport.Server {
	registry := prometheus.NewRegistry()
	registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	app := handlers.New(handlers.Config{
		PublicURL: cfg.PublicURL, Local: cfg.Local(), MaxRequestSize: int64(cfg.MaxRequestSize),
		RateLimit: cfg.RateLimit, CORSOrigins: cfg.CORSOrigins, TrustedProxies: cfg.TrustedProxies,
		Limits: limits(cfg), TemporaryTTL: time.Duration(cfg.TemporaryTTL), Version: version, Undo: time.Duration(cfg.Undo),
		Assets: assets, StaticURL: cfg.StaticURL, ContentURL: cfg.ContentURL,
		SigningKey: signing, Now: time.Now, Settings: shown(cfg),
	}, st, au, log, registry, ready)
	srv := transport.NewServer(app, transport.Config{
		HeaderTimeout: time.Duration(cfg.HeaderTimeout), IdleTimeout: time.Duration(cfg.IdleTimeout),
		Log: log,
	})
	registry.MustRegister(prometheus.NewCounterFunc(prometheus.CounterOpts{
		Name: "upload_refused_connections_total", Help: "Connections beyond those that can be served.",
	}, func() float64 { return float64(srv.Refused()) }))
	return srv
}

func newAuth(cfg Config, db kv.Store, st *store.Store) *auth.Service {
	return auth.New(auth.Config{
		Local: cfg.Local(), ClientID: cfg.GitHubClientID, ClientSecret: cfg.GitHubClientSecret,
		GitHubURL: cfg.GitHubURL, GitHubAPIURL: cfg.GitHubAPIURL, Policy: auth.Policy(cfg.GitHubTokenPolicy),
		AllowedUsers: cfg.GitHubAllowedUsers, AllowedOrgs: cfg.GitHubAllowedOrgs,
		Restricted: restricted(cfg), Admins: cfg.Admins, Now: time.Now,
	}, db, st)
}

// restricted reports whether there is an allow list, be it an empty one.
func restricted(cfg Config) bool {
	return cfg.GitHubAllowedUsers != nil || cfg.GitHubAllowedOrgs != nil
}

// prepareMode makes the account of local mode. It refuses that mode on data that
// belongs to GitHub accounts: most likely the settings of GitHub were lost, and
// local mode would hand the service to whoever sits at this machine.
func prepareMode(ctx context.Context, cfg Config, st *store.Store, log *slog.Logger) error {
	if !cfg.Local() {
		if !restricted(cfg) {
			log.Warn("every GitHub account may use this service; GITHUB_ALLOWED_USERS and GITHUB_ALLOWED_ORGS narrow that")
		}
		return nil
	}
	github, err := st.HasGitHubOwners(ctx)
	if err != nil {
		return err
	}
	if github {
		return hinted{errors.New("the data belongs to GitHub accounts, and no GitHub app is configured"),
			"set GITHUB_CLIENT_ID and GITHUB_CLIENT_SECRET, or another UPLOAD_DIR"}
	}
	_, err = st.EnsureOwner(ctx, store.LocalOwner, string(store.LocalOwner))
	return err
}

// schedule starts the periodic sweep.
func schedule(ctx context.Context, cfg Config, st *store.Store, au *auth.Service, log *slog.Logger) (gocron.Scheduler, error) {
	jobs, err := gocron.NewScheduler(gocron.WithStopTimeout(jobsWait))
	if err != nil {
		return nil, err
	}
	_, err = jobs.NewJob(gocron.DurationJob(time.Duration(cfg.CleanupInterval)), gocron.NewTask(func() {
		report, err := st.Sweep(ctx, store.SweepOptions{})
		if err == nil {
			_, err = au.Sweep(ctx)
		}
		switch {
		case err != nil && ctx.Err() == nil:
			log.Error("sweep failed", "error", err)
		case len(report.Errors) > 0:
			log.Warn("sweep left something", "errors", report.Errors)
		case report.Uploads+report.Blobs > 0:
			log.Info("swept", "uploads", report.Uploads, "blobs", report.Blobs, "bytes", report.Bytes)
		}
	}), gocron.WithSingletonMode(gocron.LimitModeReschedule))
	if err != nil {
		return nil, errors.Join(err, jobs.Shutdown())
	}
	jobs.Start()
	return jobs, nil
}

// greet prints where the service is and, in local mode, how to get in. People
// and tests read these lines; the secrets in them appear nowhere else.
func greet(ctx context.Context, cfg Config, au *auth.Service, addr net.Addr, out io.Writer) error {
	dir, err := filepath.Abs(cfg.Dir)
	if err != nil {
		return err
	}
	base, curl := baseURL(cfg, addr), "curl"
	shown, link := base, base
	if addr.Network() == "unix" && cfg.PublicURL == "" {
		// Browsers come through a proxy, whose address only the operator knows.
		shown, link = "unix:"+addr.String(), ""
		curl = "curl --unix-socket " + shellWord(addr.String())
	}
	say := func(label, text string) { fmt.Fprintf(out, "  %-8s %s\n", label, text) }
	fmt.Fprintf(out, "Upload Service %s\n", version)
	say("Address", shown)
	if cfg.PublicURL != "" {
		say("", "(behind a proxy, which reaches it at "+addr.String()+")")
	}
	if cfg.Local() && unspecified(addr) {
		say("", "(and every address of this machine)")
	}
	say("Data", dir)
	if cfg.Local() {
		code, err := au.NewSignInCode(ctx)
		if err != nil {
			return err
		}
		say("Sign-in", link+"/login?code="+code)
		say("", "(the link works once, for ten minutes)")
		keys, err := au.ListKeys(ctx, store.LocalOwner)
		if err != nil {
			return err
		}
		if len(keys) == 0 {
			_, secret, err := au.MintKey(ctx, store.LocalOwner, auth.KeySpec{Name: "first start", Scopes: auth.AllScopes})
			if err != nil {
				return err
			}
			say("Key", secret)
			say("", "(keep it: it is not shown again)")
			say("Try", fmt.Sprintf(`%s -H "Authorization: Bearer %s" -T FILE %s/files/me/`, curl, secret, base))
		}
	} else {
		say("GitHub", "callback URL of the app: "+link+"/login/authorized")
	}
	say("Ready", "stop with Ctrl-C")
	return nil
}

// baseURL is how to reach the service from this machine.
func baseURL(cfg Config, addr net.Addr) string {
	if cfg.PublicURL != "" {
		return cfg.PublicURL
	}
	scheme := "http"
	if cfg.TLSCert != "" {
		scheme = "https"
	}
	host := addr.String()
	switch tcp, _ := addr.(*net.TCPAddr); {
	case addr.Network() == "unix":
		host = "localhost" // a name that local mode accepts
	case unspecified(addr):
		host = fmt.Sprintf("localhost:%d", tcp.Port)
	}
	return scheme + "://" + host
}

// unspecified reports whether addr stands for every address of the machine.
func unspecified(addr net.Addr) bool {
	tcp, ok := addr.(*net.TCPAddr)
	return ok && tcp.IP.IsUnspecified()
}
