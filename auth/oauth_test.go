package auth_test

import (
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"upload-service/auth"
	"upload-service/auth/githubtest"
	"upload-service/store"
	"upload-service/store/kv"
)

const callback = "http://127.0.0.1/login/authorized"

// visit goes where BeginSignIn sends a browser, and returns what it brings back.
func (w *world) visit(address, pending string) auth.Callback {
	w.t.Helper()
	browser := http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	res, err := browser.Get(address)
	w.ok(err)
	w.ok(res.Body.Close())
	back, err := res.Location()
	if err != nil {
		w.t.Fatalf("GitHub answers %s", res.Status)
	}
	q := back.Query()
	return auth.Callback{
		Address: callback, State: q.Get("state"), Code: q.Get("code"), Error: q.Get("error"), Pending: pending,
	}
}

// signIn signs a new browser in.
func (w *world) signIn(login string) (session string) {
	w.t.Helper()
	w.github.SignInAs(login)
	session, _, err := w.FinishSignIn(w.t.Context(), w.visit(w.BeginSignIn(callback, "/", false)))
	w.ok(err)
	return session
}

func TestSignIn(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	address, pending := w.BeginSignIn(callback, "/files/me/?q=ä&sort=size", false)
	u, err := url.Parse(address)
	w.ok(err)
	q := u.Query()
	if got, want := u.Scheme+"://"+u.Host+u.Path, w.github.URL+"/login/oauth/authorize"; got != want {
		t.Errorf("the browser goes to %s, want %s", got, want)
	}
	for name, want := range map[string]string{
		"client_id": githubtest.ClientID, "redirect_uri": callback, "scope": "user:email", "response_type": "code",
		"code_challenge_method": "S256", "prompt": "",
	} {
		if got := q.Get(name); got != want {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
	if len(q.Get("state")) < 32 || len(q.Get("code_challenge")) != 43 {
		t.Errorf("state %q, challenge %q", q.Get("state"), q.Get("code_challenge"))
	}
	sum := sha256.Sum256([]byte(q.Get("state")))
	if q.Get("state") == pending || base64.RawURLEncoding.EncodeToString(sum[:]) == q.Get("code_challenge") {
		t.Error("the state tells a secret")
	}
	again, _ := w.BeginSignIn(callback, "/", true)
	if strings.Contains(again, q.Get("state")) || !strings.Contains(again, "prompt=select_account") {
		t.Errorf("the second sign-in is %s", again)
	}

	back := w.visit(address, pending)
	session, next, err := w.FinishSignIn(t.Context(), back)
	w.ok(err)
	if next != "/files/me/?q=ä&sort=size" {
		t.Errorf("next is %q", next)
	}
	p, err := w.Session(t.Context(), session)
	w.ok(err)
	if p.Owner.ID != "github:1" || p.Owner.Login != "alice" || !p.Can(auth.Write) || p.Can(auth.Admin) {
		t.Errorf("got %+v", p)
	}

	// The next sign-in of this browser ends that session.
	w.github.SignInAs("bob")
	other := w.visit(w.BeginSignIn(callback, "/", false))
	other.Old = session
	second, _, err := w.FinishSignIn(t.Context(), other)
	w.ok(err)
	_, err = w.Session(t.Context(), session)
	w.wantCode(err, store.CodeUnauthenticated, "the session before")
	p, err = w.Session(t.Context(), second)
	if err != nil || p.Owner.ID != "github:2" {
		t.Errorf("got %+v, %v", p, err)
	}

	// Who signs in is told what has become of the account, each time.
	w.restart(func(c *auth.Config) { c.Admins = []string{"bob"} })
	if p, err := w.Session(t.Context(), second); err != nil || !p.Can(auth.Admin) {
		t.Errorf("got %+v, %v", p, err)
	}
}

// TestSignInIsOnesOwn tries to end sign-ins that this browser did not begin.
func TestSignInIsOnesOwn(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	begin := func() auth.Callback { return w.visit(w.BeginSignIn(callback, "/", false)) }
	for name, change := range map[string]func(*auth.Callback){
		"no cookie":               func(c *auth.Callback) { c.Pending = "" },
		"no state":                func(c *auth.Callback) { c.State = "" },
		"a made-up state":         func(c *auth.Callback) { c.State = "x" },
		"a made-up cookie":        func(c *auth.Callback) { c.Pending = "x.9999999999.Lw" },
		"a cookie of no parts":    func(c *auth.Callback) { c.Pending = "x" },
		"another browser's":       func(c *auth.Callback) { c.Pending = begin().Pending },
		"another browser's state": func(c *auth.Callback) { c.State = begin().State },
		"another end":             func(c *auth.Callback) { c.Pending = strings.Replace(c.Pending, ".1", ".2", 1) },
		"another next":            func(c *auth.Callback) { c.Pending = c.Pending[:len(c.Pending)-2] + "Ly9l" },
		"an injected code":        func(c *auth.Callback) { c.Code = begin().Code }, // PKCE
		"a made-up code":          func(c *auth.Callback) { c.Code = "x" },
		"no code":                 func(c *auth.Callback) { c.Code = "" },
		"an error without state":  func(c *auth.Callback) { c.State, c.Error = "", "access_denied" },
	} {
		c := begin()
		change(&c)
		_, _, err := w.FinishSignIn(t.Context(), c)
		w.wantCode(err, store.CodeInvalid, name)
	}

	late := begin()
	w.advance(auth.SignInLife)
	_, _, err := w.FinishSignIn(t.Context(), late)
	w.wantCode(err, store.CodeInvalid, "after ten minutes")

	// What is old is another app's: it has another secret.
	early := begin()
	w.restart(func(c *auth.Config) { c.ClientSecret = "new" })
	_, _, err = w.FinishSignIn(t.Context(), early)
	w.wantCode(err, store.CodeInvalid, "begun under another secret")
}

// TestSignInOnce ends one sign-in many times. A GitHub that forgets that codes
// were used is in on it.
func TestSignInOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	c := w.visit(w.BeginSignIn(callback, "/", false))
	w.github.Fail(func(rw http.ResponseWriter, r *http.Request) bool {
		if r.URL.Path != "/login/oauth/access_token" {
			return false
		}
		rw.Header().Set("Content-Type", "application/json")
		fmt.Fprint(rw, `{"access_token":"gho_alice","token_type":"bearer"}`)
		return true
	})
	var wg sync.WaitGroup
	var ended atomic.Int64
	for range 10 {
		wg.Go(func() {
			_, _, err := w.FinishSignIn(t.Context(), c)
			if err == nil {
				ended.Add(1)
			} else if store.CodeOf(err) != store.CodeInvalid {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if ended.Load() != 1 {
		t.Errorf("one sign-in made %d sessions", ended.Load())
	}

	// Who has not signed in has left nothing, and what one has left goes.
	kept := func() (n int) {
		w.ok(w.kv.View(t.Context(), func(tx kv.Tx) error {
			n = 0
			return tx.Scan([]byte("a/u/"), []byte("a/u0"), 100, func(_, _ []byte) bool { n++; return true })
		}))
		return n
	}
	w.BeginSignIn(callback, "/", false)
	if n := kept(); n != 1 {
		t.Errorf("%d sign-ins are kept, want 1", n)
	}
	_, err := w.Sweep(t.Context())
	w.ok(err)
	if n := kept(); n != 1 {
		t.Errorf("the sweep left %d sign-ins that could be repeated, want 1", n)
	}
	w.advance(auth.SignInLife + time.Minute)
	_, err = w.Sweep(t.Context())
	w.ok(err)
	if n := kept(); n != 0 {
		t.Errorf("the sweep left %d sign-ins", n)
	}
}

// TestGitHubRefuses has GitHub refuse in every way it knows, at every question.
func TestGitHubRefuses(t *testing.T) {
	t.Parallel()
	type trouble = func(w http.ResponseWriter, r *http.Request) bool
	at := func(path string, answer http.HandlerFunc) trouble {
		return func(w http.ResponseWriter, r *http.Request) bool {
			if r.URL.Path == path {
				answer(w, r)
			}
			return r.URL.Path == path
		}
	}
	const exchange, user, orgs = "/login/oauth/access_token", "/user", "/user/orgs"
	refuse := func(name string) trouble {
		return at(exchange, func(w http.ResponseWriter, _ *http.Request) { // with 200, as GitHub does
			w.Header().Set("Content-Type", "application/json; charset=utf-8")
			fmt.Fprintf(w, `{"error":%q,"error_description":"<b>Visit evil.example</b>"}`, name)
		})
	}
	status := func(path string, code int, headers ...string) trouble {
		return at(path, func(w http.ResponseWriter, _ *http.Request) {
			for i := 0; i < len(headers); i += 2 {
				w.Header().Set(headers[i], headers[i+1])
			}
			w.WriteHeader(code)
		})
	}
	slow := func(_ http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body) //nolint:errcheck // only then does the server see that the client is gone
		<-r.Context().Done()
	}
	const silent, limits = "GitHub does not answer. Try again in a minute.", "GitHub limits how often we may ask. Try again in "
	for name, tt := range map[string]struct {
		trouble trouble
		code    store.Code
		says    string
	}{
		"a code it does not know": {refuse("bad_verification_code"), store.CodeInvalid, "Sign in again."},
		"our secret": {refuse("incorrect_client_credentials"), store.CodeUnavailable,
			"Tell the administrator to look at GITHUB_CLIENT_SECRET."},
		"our address": {refuse("redirect_uri_mismatch"), store.CodeUnavailable, "callback URL"},
		"suspended":   {refuse("application_suspended"), store.CodeUnavailable, "suspended"},
		"no e-mail address": {refuse("unverified_user_email"), store.CodeForbidden,
			"Verify it there and sign in again."},
		"something new":     {refuse("surprise"), store.CodeUnavailable, "GitHub refused this sign-in."},
		"down":              {status(exchange, 502), store.CodeUnavailable, silent},
		"down for users":    {status(user, 500), store.CodeUnavailable, silent},
		"no such app":       {status(exchange, 404), store.CodeUnavailable, silent},
		"a used-up token":   {status(user, 401), store.CodeInvalid, "Sign in again."},
		"limit":             {status(user, 403, "X-RateLimit-Remaining", "0", "X-RateLimit-Reset", "1767323105"), store.CodeUnavailable, limits + "60 seconds."},
		"limit of the page": {status(exchange, 429, "Retry-After", "60"), store.CodeUnavailable, limits + "60 seconds."},
		"limit of orgs":     {status(orgs, 403, "Retry-After", "900"), store.CodeUnavailable, limits + "15 minutes."},
		"hidden orgs":       {status(orgs, 403), store.CodeForbidden, "The account alice is not on the list"},
		"no answer":         {at(exchange, slow), store.CodeUnavailable, silent},
		"no user":           {at(user, slow), store.CodeUnavailable, silent},
		"rubbish":           {at(exchange, func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "<html>") }), store.CodeUnavailable, silent},
		"no token": {at(exchange, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			fmt.Fprint(w, "{}")
		}), store.CodeUnavailable, silent},
		"elsewhere": {at(exchange, func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "http://127.0.0.1:1/steal", http.StatusTemporaryRedirect)
		}), store.CodeUnavailable, silent},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, func(c *auth.Config) {
				c.Restricted, c.AllowedOrgs = true, []string{"acme"}
				c.HTTPClient = &http.Client{Timeout: time.Second}
			})
			c := w.visit(w.BeginSignIn(callback, "/", false))
			w.github.Fail(tt.trouble)
			_, _, err := w.FinishSignIn(t.Context(), c)
			w.wantCode(err, tt.code, name)
			if !strings.Contains(err.Error(), tt.says) || strings.Contains(err.Error(), "evil") {
				t.Errorf("it says %q, want %q", err, tt.says)
			}
			for _, secret := range []string{c.Code, c.State, c.Pending, githubtest.ClientSecret} {
				if strings.Contains(err.Error(), secret) {
					t.Errorf("the error tells a secret: %v", err)
				}
			}
		})
	}
}

func TestSignInDenied(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(c *auth.Config) {
		c.Restricted, c.AllowedUsers, c.AllowedOrgs = true, []string{"root"}, []string{"acme"}
	})
	address, _ := w.BeginSignIn(callback, "/", false)
	if !strings.Contains(address, "&scope=user%3Aemail+read%3Aorg&") {
		t.Errorf("the scope is not asked for: %s", address)
	}
	for login, want := range map[string]store.Code{
		"alice": "", "root": "", "bob": store.CodeForbidden, githubtest.Cancel: store.CodeForbidden,
	} {
		w.github.SignInAs(login)
		_, _, err := w.FinishSignIn(t.Context(), w.visit(w.BeginSignIn(callback, "/", false)))
		w.wantCode(err, want, login)
	}
}
