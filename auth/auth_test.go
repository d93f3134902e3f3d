package auth_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"upload-service/auth"
	"upload-service/auth/githubtest"
	"upload-service/store"
	"upload-service/store/blob/disk"
	"upload-service/store/kv"
	"upload-service/store/kv/bolt"
	"upload-service/store/kv/kvtest"
	"upload-service/store/lock"
)

// world is a real store below the service, with a clock of the test's own.
type world struct {
	*auth.Service
	t      testing.TB
	github *githubtest.Server
	kv     kv.Store
	store  *store.Store
	mu     sync.Mutex
	now    time.Time
	cfg    auth.Config
}

func newWorld(t testing.TB, change func(*auth.Config)) *world {
	t.Helper()
	return openWorld(t, kvtest.Twice, change)
}

// openWorld is newWorld with something else before the metadata.
func openWorld(t testing.TB, before func(kv.Store) kv.Store, change func(*auth.Config)) *world {
	t.Helper()
	w := &world{t: t, github: githubtest.New(t), now: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)}
	dir := t.TempDir()
	blobs, err := disk.Open(filepath.Join(dir, ".upload-service", "blobs"))
	w.ok(err)
	db, err := bolt.Open(filepath.Join(dir, ".upload-service", "meta.db"), bolt.Options{})
	w.ok(err)
	locks, err := lock.Open(filepath.Join(dir, ".upload-service", "locks"))
	w.ok(err)
	w.kv = before(db)
	w.store, err = store.Open(t.Context(), store.Options{
		KV: w.kv, Blobs: blobs, Locks: locks, TemporaryTTL: time.Hour, Now: w.clock, Log: slog.New(slog.DiscardHandler),
	})
	w.ok(err)
	t.Cleanup(func() {
		w.ok(w.store.Close(context.Background()))
		w.ok(db.Close())
	})
	w.restart(change)
	return w
}

// restart makes a new service on the same data, with other settings.
func (w *world) restart(change func(*auth.Config)) {
	w.cfg = auth.Config{
		ClientID: githubtest.ClientID, ClientSecret: githubtest.ClientSecret,
		GitHubURL: w.github.URL, GitHubAPIURL: w.github.APIURL, Policy: auth.PolicyPAT, Now: w.clock,
	}
	if change != nil {
		change(&w.cfg)
	}
	w.Service = auth.New(w.cfg, w.kv, w.store)
}

func (w *world) clock() time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.now
}

func (w *world) advance(d time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.now = w.now.Add(d)
}

func (w *world) ok(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) wantCode(err error, want store.Code, what string) {
	w.t.Helper()
	if got := store.CodeOf(err); got != want {
		w.t.Fatalf("%s: got %q (%v), want %q", what, got, err, want)
	}
}

func (w *world) bearer(token string) (auth.Principal, error) {
	return w.Bearer(w.t.Context(), token, "192.0.2.1")
}

func (w *world) must(token string) auth.Principal {
	w.t.Helper()
	p, err := w.bearer(token)
	w.ok(err)
	return p
}

func TestPolicies(t *testing.T) {
	t.Parallel()
	const yes, no = store.Code(""), store.CodeUnauthenticated
	for _, row := range []struct {
		token         string
		app, pat, any store.Code
	}{
		{"gho_alice", yes, yes, yes},
		{"gho_other-alice", no, no, yes}, // the confused deputy
		{"ghp_alice", no, yes, yes},
		{"github_pat_alice", no, yes, yes},
		{"ghs_alice", no, no, no},
		{"ghr_alice", no, no, no},
		{"upg_alice", no, no, no},
		{"gho_nobody", no, no, no},
		{"ghp_nobody", no, no, no},
		{"anything", no, no, no},
		{"", no, no, no},
		{"ghp_alice\r\nX: y", no, no, no},
		{strings.Repeat("x", 5000), no, no, no},
	} {
		for policy, want := range map[auth.Policy]store.Code{auth.PolicyApp: row.app, auth.PolicyPAT: row.pat, auth.PolicyAny: row.any} {
			w := newWorld(t, func(c *auth.Config) { c.Policy = policy })
			p, err := w.bearer(row.token)
			if got := store.CodeOf(err); got != want {
				t.Errorf("policy %s, token %.20q: got %q, want %q", policy, row.token, got, want)
			}
			if err == nil && (p.Owner.ID != "github:1" || !p.Can(auth.Write) || p.Can(auth.Admin)) {
				t.Errorf("policy %s, token %q: got %+v", policy, row.token, p)
			}
			if err != nil && row.token != "" && strings.Contains(err.Error(), row.token) {
				t.Errorf("the error tells the token: %v", err)
			}
		}
	}
}

func TestGitHubInTrouble(t *testing.T) {
	t.Parallel()
	for name, trouble := range map[string]func(w http.ResponseWriter, r *http.Request) bool{
		"down": func(w http.ResponseWriter, _ *http.Request) bool { w.WriteHeader(502); return true },
		"limit": func(w http.ResponseWriter, _ *http.Request) bool {
			w.Header().Set("X-RateLimit-Remaining", "0")
			w.Header().Set("X-RateLimit-Reset", "1767323105")
			w.WriteHeader(403)
			return true
		},
		"secondary limit": func(w http.ResponseWriter, _ *http.Request) bool {
			w.Header().Set("Retry-After", "60")
			w.WriteHeader(403)
			return true
		},
		"too many":   func(w http.ResponseWriter, _ *http.Request) bool { w.WriteHeader(429); return true },
		"rubbish":    func(w http.ResponseWriter, _ *http.Request) bool { fmt.Fprint(w, "<html>"); return true },
		"no account": func(w http.ResponseWriter, _ *http.Request) bool { fmt.Fprint(w, "{}"); return true },
		"endless": func(w http.ResponseWriter, _ *http.Request) bool {
			io.CopyN(w, endless{}, 8<<20) //nolint:errcheck // the client ends it
			return true
		},
		"redirect": func(w http.ResponseWriter, r *http.Request) bool {
			http.Redirect(w, r, "http://127.0.0.1:1/steal", http.StatusFound)
			return true
		},
		"cut": func(w http.ResponseWriter, _ *http.Request) bool { panic(http.ErrAbortHandler) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, nil)
			w.github.Fail(trouble)
			_, err := w.bearer("ghp_alice")
			w.wantCode(err, store.CodeUnavailable, name) // never 401
			_, err = w.LookUp(t.Context(), "alice")
			w.wantCode(err, store.CodeUnavailable, name) // never "there is none"
			w.github.Fail(nil)
			w.must("ghp_alice") // and never remembered
		})
	}
}

func TestLookUp(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	if id, err := w.LookUp(t.Context(), "Alice"); err != nil || id != "github:1" {
		t.Errorf("LookUp = %s, %v", id, err)
	}
	for _, login := range []string{"nobody", "../user"} {
		_, err := w.LookUp(t.Context(), login)
		w.wantCode(err, store.CodeNotFound, login)
	}
	w.restart(func(c *auth.Config) { c.ClientSecret = "old" })
	_, err := w.LookUp(t.Context(), "alice")
	w.wantCode(err, store.CodeUnavailable, "with a secret that is not accepted")
}

type endless struct{}

func (endless) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = ' '
	}
	return len(p), nil
}

func TestTokensAreAskedOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	var wg sync.WaitGroup
	for i := range 50 {
		wg.Go(func() {
			ctx, cancel := context.WithCancel(context.Background())
			if i == 0 {
				cancel() // one who gives up does not spoil it for the others
			}
			defer cancel()
			_, err := w.Bearer(ctx, "ghp_alice", "192.0.2.1")
			if err != nil && i != 0 {
				t.Errorf("caller %d: %v", i, err)
			}
		})
	}
	wg.Wait()
	w.must("ghp_alice")
	for range 5 {
		_, err := w.bearer("ghp_nobody")
		w.wantCode(err, store.CodeUnauthenticated, "a bad token")
	}
	if n := w.github.Asked(); n != 2 {
		t.Errorf("GitHub was asked %d times, want once for each token", n)
	}
}

// TestKeyOfRevokedToken: what is remembered of a token is not enough to make a
// key, which would outlive it.
func TestKeyOfRevokedToken(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(c *auth.Config) { c.Restricted, c.AllowedOrgs = true, []string{"acme"} })
	p := w.must("ghp_alice")
	before := w.github.Asked()
	_, secret, err := w.NewKey(t.Context(), p, auth.KeySpec{Scopes: auth.Scopes{auth.Read}})
	w.ok(err)
	if w.github.Asked() == before {
		t.Error("GitHub was not asked again")
	}
	for what, fault := range map[string]struct {
		status int
		want   store.Code
	}{"revoked": {401, store.CodeUnauthenticated}, "GitHub is down": {502, store.CodeUnavailable}} {
		p := w.must("ghp_alice")
		w.github.Fail(func(w http.ResponseWriter, _ *http.Request) bool { w.WriteHeader(fault.status); return true })
		_, _, err = w.NewKey(t.Context(), p, auth.KeySpec{})
		w.wantCode(err, fault.want, what)
		_, _, err = w.NewKey(t.Context(), w.must(secret), auth.KeySpec{}) // a key is ours to judge
		w.ok(err)
		w.github.Fail(nil)
		w.Service = auth.New(w.cfg, w.kv, w.store) // forgets
	}
	p = w.must("ghp_alice")
	w.github.Add(githubtest.Account{ID: 1, Login: "alice"}) // left acme
	w.must("ghp_alice")                                     // and is believed for minutes
	_, _, err = w.NewKey(t.Context(), p, auth.KeySpec{})
	w.wantCode(err, store.CodeForbidden, "a key for who left")
}

func TestAllowLists(t *testing.T) {
	t.Parallel()
	const yes, no = store.Code(""), store.CodeForbidden
	for _, row := range []struct {
		name        string
		restricted  bool
		users, orgs []string
		token       string
		want        store.Code
	}{
		{"no list", false, nil, nil, "ghp_bob", yes},
		{"an empty list", true, nil, nil, "ghp_alice", no},
		{"by login, any case", true, []string{"ALICE"}, nil, "ghp_alice", yes},
		{"by id", true, []string{"github:2"}, nil, "ghp_bob", yes},
		{"another", true, []string{"alice"}, nil, "ghp_bob", no},
		{"by organisation", true, nil, []string{"ACME"}, "ghp_alice", yes},
		{"another organisation", true, nil, []string{"acme"}, "ghp_bob", no},
		{"the token may not tell", true, nil, []string{"acme"}, "github_pat_alice", no},
		{"either suffices", true, []string{"bob"}, []string{"acme"}, "ghp_bob", yes},
	} {
		w := newWorld(t, func(c *auth.Config) {
			c.Restricted, c.AllowedUsers, c.AllowedOrgs = row.restricted, row.users, row.orgs
		})
		_, err := w.bearer(row.token)
		if got := store.CodeOf(err); got != row.want {
			t.Errorf("%s: got %q (%v), want %q", row.name, got, err, row.want)
		}
	}

	// The organisation may be far down the list.
	w := newWorld(t, func(c *auth.Config) { c.Restricted, c.AllowedOrgs = true, []string{"last"} })
	var orgs []string
	for i := range 250 {
		orgs = append(orgs, fmt.Sprintf("org%d", i))
	}
	w.github.Add(githubtest.Account{ID: 2, Login: "bob", Orgs: append(orgs, "last")})
	w.must("ghp_bob")
}

// TestMembershipIsConfirmed: keys of who came in by an organization count as
// long as GitHub's word about it is fresh.
func TestMembershipIsConfirmed(t *testing.T) {
	t.Parallel()
	acme := func(c *auth.Config) { c.Restricted, c.AllowedOrgs = true, []string{"acme"} }
	w := newWorld(t, acme)
	p := w.must("ghp_alice")
	_, secret, err := w.NewKey(t.Context(), p, auth.KeySpec{Scopes: auth.Scopes{auth.Read}})
	w.ok(err)
	w.advance(29 * 24 * time.Hour)
	w.must(secret)
	w.advance(2 * 24 * time.Hour)
	_, err = w.bearer(secret)
	w.wantCode(err, store.CodeForbidden, "not confirmed for 31 days")
	w.must("ghp_alice") // confirms it
	w.must(secret)
	w.restart(func(c *auth.Config) { c.Restricted, c.AllowedOrgs = true, []string{"other"} })
	_, err = w.bearer(secret)
	w.wantCode(err, store.CodeForbidden, "another organization is allowed now")
	w.restart(func(c *auth.Config) {
		c.Restricted, c.AllowedUsers, c.AllowedOrgs = true, []string{"alice"}, []string{"other"}
	})
	w.must(secret)
}

// TestLoginsArePinned gives a login on the lists to another account.
func TestLoginsArePinned(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(c *auth.Config) {
		c.Restricted, c.AllowedUsers, c.Admins = true, []string{"alice"}, []string{"alice"}
	})
	if p := w.must("ghp_alice"); !p.Can(auth.Admin) {
		t.Error("alice is no admin")
	}
	w.github.Add(githubtest.Account{ID: 99, Login: "alice"})
	w.restart(func(c *auth.Config) {
		c.Restricted, c.AllowedUsers, c.Admins = true, []string{"alice"}, []string{"alice"}
	})
	_, err := w.bearer("ghp_alice")
	w.wantCode(err, store.CodeForbidden, "who took the login over")
	w.restart(func(c *auth.Config) {
		c.Restricted, c.AllowedUsers, c.Admins = true, []string{"github:99"}, []string{"alice"}
	})
	if p := w.must("ghp_alice"); p.Can(auth.Admin) {
		t.Error("who took the login over is an admin")
	}
}

func TestKeys(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(c *auth.Config) { c.Admins = []string{"alice"} })
	ctx := t.Context()
	alice, bob := w.must("ghp_alice"), w.must("ghp_bob")

	_, _, err := w.NewKey(ctx, bob, auth.KeySpec{Scopes: auth.Scopes{auth.Admin}})
	w.wantCode(err, store.CodeForbidden, "more than the minter has")
	first, secret, err := w.NewKey(ctx, alice, auth.KeySpec{Name: "ci", Scopes: auth.Scopes{auth.Admin, auth.Read, auth.Write}})
	w.ok(err)
	w.advance(time.Second)
	p := w.must(secret)
	if p.Owner.ID != "github:1" || p.KeyID != first.ID || !p.Can(auth.Admin) || p.Can(auth.Delete) {
		t.Errorf("got %+v", p)
	}
	if list, err := w.ListKeys(ctx, "github:1"); err != nil || list[0].LastUsedAt.Before(list[0].CreatedAt) {
		t.Errorf("used before it was made: %+v, %v", list, err)
	}
	_, _, err = w.NewKey(ctx, p, auth.KeySpec{Scopes: auth.Scopes{auth.Delete}})
	w.wantCode(err, store.CodeForbidden, "more than the minting key has")
	_, child, err := w.NewKey(ctx, p, auth.KeySpec{Scopes: auth.Scopes{auth.Admin, auth.Read}})
	w.ok(err)
	_, grandchild, err := w.NewKey(ctx, w.must(child), auth.KeySpec{Scopes: auth.Scopes{auth.Read}, ExpiresIn: time.Hour})
	w.ok(err)
	w.must(grandchild)

	other := "x"
	if strings.HasSuffix(secret, other) {
		other = "y"
	}
	// A changed character is not looked up, and a wrong secret is not found.
	for _, bad := range []string{secret[:len(secret)-1] + other, secret + "0", "ups_", "ups_" + strings.Repeat("0", 33)} {
		_, err := w.bearer(bad)
		w.wantCode(err, store.CodeUnauthenticated, bad)
	}

	// What the owner loses, the keys lose.
	w.restart(nil)
	if w.must(child).Can(auth.Admin) {
		t.Error("a key of a demoted admin is an admin's")
	}
	w.restart(func(c *auth.Config) { c.Restricted, c.AllowedUsers = true, []string{"bob"} })
	_, err = w.bearer(secret)
	w.wantCode(err, store.CodeForbidden, "a key of somebody struck off the list")
	w.restart(nil)

	w.advance(2 * time.Hour)
	_, err = w.bearer(grandchild)
	w.wantCode(err, store.CodeUnauthenticated, "an expired key")
	w.must(child)

	// Listing, and revoking only one's own.
	list, err := w.ListKeys(ctx, "github:1")
	w.ok(err)
	if len(list) != 3 || list[0].ID != first.ID || list[0].LastUsedAt.IsZero() {
		t.Errorf("got %+v", list)
	}
	if other, err := w.ListKeys(ctx, "github:2"); err != nil || len(other) != 0 {
		t.Errorf("bob has %v, %v", other, err)
	}
	w.wantCode(w.DropKey(ctx, "github:2", first.ID), store.CodeNotFound, "revoke somebody else's")
	weak := p
	weak.KeyID, weak.Scopes = list[2].ID, auth.Scopes{auth.Read}
	w.wantCode(w.RevokeKey(ctx, weak, first.ID), store.CodeForbidden, "a key that can do more")
	w.ok(w.RevokeKey(ctx, p, first.ID)) // itself
	w.wantCode(w.RevokeKey(ctx, p, first.ID), store.CodeNotFound, "revoke again")
	for name, s := range map[string]string{"revoked": secret, "made by a revoked key": child} {
		_, err := w.bearer(s)
		w.wantCode(err, store.CodeUnauthenticated, name)
	}
}

func TestKeyLimits(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	ctx := t.Context()
	p := w.must("ghp_alice")
	_, _, err := w.NewKey(ctx, p, auth.KeySpec{Name: strings.Repeat("x", 101)})
	w.wantCode(err, store.CodeInvalid, "a long name")
	for i := 0; ; i++ {
		_, secret, err := w.NewKey(ctx, p, auth.KeySpec{Scopes: auth.Scopes{auth.Read}})
		if err != nil {
			w.wantCode(err, store.CodeConflict, "a long chain of keys")
			break
		}
		if i > 20 {
			t.Fatal("keys make keys without end")
		}
		p = w.must(secret)
	}
	p = w.must("ghp_bob")
	for i := range 101 {
		_, _, err := w.NewKey(ctx, p, auth.KeySpec{})
		if i < 100 {
			w.ok(err)
		} else {
			w.wantCode(err, store.CodeConflict, "the 101st key")
		}
	}

	// Keys that are no longer good leave room for others.
	p = w.must("ghp_root")
	lasting, secret, err := w.NewKey(ctx, p, auth.KeySpec{Scopes: auth.Scopes{auth.Read}, ExpiresIn: 48 * time.Hour})
	w.ok(err)
	made := w.must(secret)
	for range 50 {
		_, _, err := w.NewKey(ctx, p, auth.KeySpec{ExpiresIn: time.Hour})
		w.ok(err)
	}
	for range 49 {
		_, _, err := w.NewKey(ctx, made, auth.KeySpec{})
		w.ok(err)
	}
	_, _, err = w.NewKey(ctx, p, auth.KeySpec{})
	w.wantCode(err, store.CodeConflict, "a key beside a hundred good ones")
	count := func(want int, what string) {
		t.Helper()
		keys, err := w.ListKeys(ctx, p.Owner.ID)
		w.ok(err)
		if len(keys) != want {
			t.Errorf("%s: %d keys, want %d", what, len(keys), want)
		}
	}
	w.advance(time.Hour)
	_, _, err = w.NewKey(ctx, made, auth.KeySpec{})
	w.ok(err)
	count(51, "when fifty have expired")
	w.ok(w.RevokeKey(ctx, p, lasting.ID))
	_, _, err = w.NewKey(ctx, p, auth.KeySpec{})
	w.ok(err)
	count(1, "when what made the others is gone")
}

// TestGuesses: tokens that are none make us ask GitHub only so often for each
// address, and a good one does not count.
func TestGuesses(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	ctx := t.Context()
	asked := w.github.Asked
	for _, who := range []string{"alice", "bob"} {
		w.must("ghp_" + who)
	}
	before := asked()
	for i := range 100 {
		_, err := w.Bearer(ctx, fmt.Sprintf("gho_made_up_%d", i), "198.51.100.1")
		if i < 20 {
			w.wantCode(err, store.CodeUnauthenticated, "a guess")
		} else {
			w.wantCode(err, store.CodeRateLimited, "one of many guesses")
		}
	}
	if n := asked() - before; n != 20 {
		t.Errorf("GitHub was asked %d times for guesses, want 20", n)
	}
	_, err := w.Bearer(ctx, "ghp_root", "198.51.100.1")
	w.wantCode(err, store.CodeRateLimited, "an unknown token of an address that guesses")
	for _, token := range []string{"ghp_alice", "ghp_bob"} { // known already
		_, err := w.Bearer(ctx, token, "198.51.100.1")
		w.ok(err)
	}
	_, err = w.Bearer(ctx, "ghp_root", "198.51.100.2")
	w.ok(err)
	w.advance(time.Minute)
	_, err = w.Bearer(ctx, "gho_another", "198.51.100.1")
	w.wantCode(err, store.CodeUnauthenticated, "a guess a minute later")

	// Good tokens of one address, one after the other, are no guesses.
	for i := range 30 {
		login := fmt.Sprintf("user%d", i)
		w.github.Add(githubtest.Account{ID: int64(100 + i), Login: login})
		_, err := w.Bearer(ctx, "ghp_"+login, "198.51.100.3")
		w.ok(err)
	}
	// Of many at once no more than so many are asked for.
	var wg sync.WaitGroup
	before = asked()
	for i := range 100 {
		wg.Go(func() {
			if _, err := w.Bearer(ctx, fmt.Sprintf("gho_at_once_%d", i), "198.51.100.4"); err == nil {
				t.Error("a guess was right")
			}
		})
	}
	wg.Wait()
	if n := asked() - before; n != 20 {
		t.Errorf("GitHub was asked %d times for guesses at once, want 20", n)
	}
}

func TestSessions(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	ctx := t.Context()
	first, second := w.signIn("alice"), w.signIn("alice")
	p, err := w.Session(ctx, first)
	w.ok(err)
	if p.Owner.ID != "github:1" || !p.Can(auth.Delete) {
		t.Errorf("got %+v", p)
	}
	_, err = w.Session(ctx, "made up")
	w.wantCode(err, store.CodeUnauthenticated, "a made-up id")

	for range 4 { // use keeps it alive
		w.advance(20 * 24 * time.Hour)
		_, err = w.Session(ctx, first)
		w.ok(err)
	}
	_, err = w.Session(ctx, second)
	w.wantCode(err, store.CodeUnauthenticated, "a session that was not used")
	if n, err := w.Sweep(ctx); err != nil || n != 1 {
		t.Errorf("swept %d, %v, want 1", n, err)
	}
	if n, err := w.Sweep(ctx); err != nil || n != 0 {
		t.Errorf("swept %d more, %v", n, err)
	}
	w.ok(w.EndSession(ctx, first))
	w.ok(w.EndSession(ctx, first))
	_, err = w.Session(ctx, first)
	w.wantCode(err, store.CodeUnauthenticated, "after sign-out")

	ids := []string{w.signIn("alice"), w.signIn("alice"), w.signIn("alice")}
	bob := w.signIn("bob")
	w.ok(w.EndAllSessions(ctx, "github:1"))
	for _, id := range ids {
		_, err := w.Session(ctx, id)
		w.wantCode(err, store.CodeUnauthenticated, "after sign-out everywhere")
	}
	_, err = w.Session(ctx, bob)
	w.ok(err)
}

func TestSignInCode(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(c *auth.Config) { c.Local = true })
	ctx := t.Context()
	_, err := w.store.EnsureOwner(ctx, store.LocalOwner, "local")
	w.ok(err)
	old, err := w.NewSignInCode(ctx)
	w.ok(err)
	code, err := w.NewSignInCode(ctx)
	w.ok(err)
	w.wantCode(w.CheckSignInCode(ctx, old), store.CodeUnauthenticated, "the code of an earlier start")
	w.ok(w.CheckSignInCode(ctx, code))
	var wg sync.WaitGroup
	var redeemed atomic.Int64
	for range 10 {
		wg.Go(func() {
			if id, err := w.RedeemSignInCode(ctx, code, "", auth.Browser{}); err == nil {
				redeemed.Add(1)
				if p, err := w.Session(ctx, id); err != nil || p.Owner.ID != store.LocalOwner || !p.Can(auth.Admin) {
					t.Errorf("got %+v, %v", p, err)
				}
			}
		})
	}
	wg.Wait()
	if redeemed.Load() != 1 {
		t.Errorf("the code worked %d times", redeemed.Load())
	}
	late, err := w.NewSignInCode(ctx)
	w.ok(err)
	w.advance(10 * time.Minute)
	w.wantCode(w.CheckSignInCode(ctx, late), store.CodeUnauthenticated, "a late code")
	_, err = w.bearer("ghp_alice")
	w.wantCode(err, store.CodeUnauthenticated, "a GitHub token in local mode")
}

func TestCheckOrigin(t *testing.T) {
	t.Parallel()
	const own = "https://files.example"
	for _, row := range []struct {
		site, origin string
		ok           bool
	}{
		{"same-origin", "", true},
		{"none", "", true},
		{"", own, true},
		{"", "https://FILES.example", true},
		{"", "", true}, // not a browser
		{"same-site", "", false},
		{"cross-site", "", false},
		{"cross-site", "https://evil.example", false},
		{"", "https://evil.example", false},
		{"", "http://files.example", false},
		{"", "https://files.example:444", false},
		{"", "null", false},
	} {
		if err := auth.CheckOrigin(own, row.site, row.origin); (err == nil) != row.ok {
			t.Errorf("site %q origin %q: %v", row.site, row.origin, err)
		}
	}
}

// TestCheck damages lists of keys and sessions: what is not listed is good for
// nothing until it is mended, since nobody could end it.
func TestCheck(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	ctx := t.Context()
	o, err := w.store.EnsureOwner(ctx, "github:1", "alice")
	w.ok(err)
	_, _, err = w.MintKey(ctx, o.ID, auth.KeySpec{Name: "a", Scopes: auth.AllScopes})
	w.ok(err)
	w.ok(w.kv.Update(ctx, "", func(tx kv.Tx) error {
		return errors.Join(
			tx.Put(append([]byte("a/s/"), make([]byte, 32)...), []byte("\x01{\"owner\":\"github:1\"}")),
			tx.Put(append([]byte("a/l/github:1\x00"), make([]byte, 31)...), nil),
			tx.Put([]byte("a/o/github:1\x00ghost"), make([]byte, 32)),
		)
	}))
	w.ok(w.kv.Update(ctx, "", func(tx kv.Tx) error {
		var lost []byte
		err := tx.Scan([]byte("a/o/"), []byte("a/o0"), 10, func(k, _ []byte) bool {
			if !strings.HasSuffix(string(k), "ghost") {
				lost = slices.Clone(k)
			}
			return true
		})
		return errors.Join(err, tx.Delete(lost))
	}))
	check := func(repair bool) (found, mended int) {
		w.ok(auth.Check(ctx, w.kv, repair, func(done bool, sentence string) {
			t.Log(sentence)
			if done {
				mended++
			} else {
				found++
			}
		}))
		return found, mended
	}
	if found, mended := check(false); found != 4 || mended != 0 {
		t.Errorf("found %d, mended %d; want 4 and none", found, mended)
	}
	if found, mended := check(true); found != 0 || mended != 4 {
		t.Errorf("on repair found %d, mended %d; want none and 4", found, mended)
	}
	if found, mended := check(true); found+mended != 0 {
		t.Errorf("after the repair: found %d, mended %d", found, mended)
	}
	keys, err := w.ListKeys(ctx, o.ID)
	w.ok(err)
	if len(keys) != 1 {
		t.Errorf("keys %+v", keys)
	}
}
