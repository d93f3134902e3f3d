// Package githubtest is a stand-in for GitHub, for the tests of every package:
// an HTTP server on loopback with the few addresses that the service uses, which
// answers as GitHub does, errors included.
//
// A personal token is made up by its name: "ghp_alice" and "github_pat_alice"
// are alice's own, "gho_alice" was made for the app of the tests and
// "gho_other-alice" for another app. The web flow makes tokens of its own.
package githubtest

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"html/template"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
)

// The app that is registered.
const (
	ClientID     = "Iv1.app"
	ClientSecret = "app-secret"
)

// Cancel stands for a person who does not let the app in (see SignInAs).
const Cancel = "-"

// Account is a GitHub user.
type Account struct {
	ID    int64
	Login string
	Orgs  []string
}

// Server is the stand-in. Its methods may be called while it serves.
type Server struct {
	URL    string // for GITHUB_URL
	APIURL string // for GITHUB_API_URL

	mu       sync.Mutex
	accounts map[string]Account // by login, lower case
	grants   map[string]grant   // by code
	tokens   map[string]grant   // by token of the web flow
	as       string
	asked    int
	fault    func(w http.ResponseWriter, r *http.Request) bool
}

// grant is what a person has allowed the app.
type grant struct {
	login, redirect, challenge string
	scopes                     []string
}

// New starts a stand-in with the accounts alice (id 1, a member of acme), bob
// (2) and root (3), where alice lets the app in. It ends with the test.
func New(t testing.TB) *Server { return newServer(t, "", "") }

// NewEnterprise is New with the addresses of an Enterprise Server that shares
// its host with others.
func NewEnterprise(t testing.TB) *Server { return newServer(t, "/ghe", "/ghe/api/v3") }

func newServer(t testing.TB, web, api string) *Server {
	s := &Server{accounts: map[string]Account{}, grants: map[string]grant{}, tokens: map[string]grant{}}
	s.Add(Account{ID: 1, Login: "alice", Orgs: []string{"acme"}})
	s.Add(Account{ID: 2, Login: "bob"})
	s.Add(Account{ID: 3, Login: "root"})
	s.SignInAs("alice")

	mux := http.NewServeMux()
	mux.HandleFunc("GET "+web+"/login/oauth/authorize", s.authorize)
	mux.HandleFunc("POST "+web+"/login/oauth/access_token", s.accessToken)
	mux.HandleFunc("GET "+api+"/user", s.user)
	mux.HandleFunc("GET "+api+"/user/emails", s.emails)
	mux.HandleFunc("GET "+api+"/user/orgs", s.orgs)
	mux.HandleFunc("GET "+api+"/users/{login}", s.byLogin)
	mux.HandleFunc("POST "+api+"/applications/{client}/token", s.checkToken)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		s.asked++
		fault := s.fault
		s.mu.Unlock()
		if fault == nil || !fault(w, r) {
			mux.ServeHTTP(w, r)
		}
	}))
	t.Cleanup(server.Close)
	s.URL, s.APIURL = server.URL+web, server.URL+api
	return s
}

// Settings are the service's, as NAME=value, to use this stand-in.
func (s *Server) Settings() []string {
	return []string{
		"GITHUB_CLIENT_ID=" + ClientID, "GITHUB_CLIENT_SECRET=" + ClientSecret,
		"GITHUB_URL=" + s.URL, "GITHUB_API_URL=" + s.APIURL,
	}
}

// Add adds an account, or replaces the one with its login.
func (s *Server) Add(a Account) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.accounts[strings.ToLower(a.Login)] = a
}

// SignInAs says who sits at the browsers that come to authorize the app: the
// account with a login, or somebody who presses Cancel. With "" they get a page
// to choose on, which they also get when the service asks for that.
func (s *Server) SignInAs(login string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.as = login
}

// Fail lets fault see every request first: where it returns true it has
// answered. nil ends that.
func (s *Server) Fail(fault func(w http.ResponseWriter, r *http.Request) bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fault = fault
}

// Asked is the number of requests so far.
func (s *Server) Asked() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.asked
}

var choose = template.Must(template.New("").Parse(`<!doctype html><html lang="en"><title>GitHub</title>
<h1>Who are you?</h1>{{range .}}<p><a href="{{.Href}}">{{.Text}}</a></p>{{end}}`))

// authorize is where the service sends browsers.
func (s *Server) authorize(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	back, err := url.Parse(q.Get("redirect_uri"))
	if err != nil || back.Host == "" || back.Path != "/login/authorized" || q.Get("client_id") != ClientID {
		http.NotFound(w, r)
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	as := s.as
	if q.Get("prompt") == "select_account" {
		as = ""
	}
	if q.Has("as") {
		as = q.Get("as")
	}
	if as == "" {
		type choice struct{ Href, Text string }
		var list []choice
		for _, login := range append(slices.Sorted(maps.Keys(s.accounts)), Cancel) {
			q.Set("as", login)
			list = append(list, choice{"?" + q.Encode(), strings.Replace("Continue as "+login, "Continue as "+Cancel, "Cancel", 1)})
		}
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		choose.Execute(w, list) //nolint:errcheck // the browser tells
		return
	}
	answer := url.Values{"state": {q.Get("state")}}
	if account, ok := s.accounts[as]; ok {
		code := rand.Text()
		g := grant{login: strings.ToLower(account.Login), redirect: q.Get("redirect_uri"), scopes: strings.Fields(q.Get("scope"))}
		if q.Get("code_challenge_method") == "S256" {
			g.challenge = q.Get("code_challenge")
		}
		s.grants[code] = g
		answer.Set("code", code)
	} else {
		answer.Set("error", "access_denied")
		answer.Set("error_description", "The user has denied your application access.")
	}
	back.RawQuery = answer.Encode()
	http.Redirect(w, r, back.String(), http.StatusFound)
}

// accessToken exchanges a code for a token. As GitHub does, it answers 200 to
// what it refuses.
func (s *Server) accessToken(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	code := r.PostFormValue("code")
	g, known := s.grants[code]
	verifier := sha256.Sum256([]byte(r.PostFormValue("code_verifier")))
	refuse := func(reason string) {
		answer(w, r, map[string]string{"error": reason, "error_description": "Refused by the stand-in: " + reason})
	}
	switch {
	case r.PostFormValue("client_id") != ClientID:
		http.NotFound(w, r)
		return
	case r.PostFormValue("client_secret") != ClientSecret:
		refuse("incorrect_client_credentials")
		return
	case !known:
		refuse("bad_verification_code")
		return
	case r.PostFormValue("redirect_uri") != g.redirect:
		refuse("redirect_uri_mismatch")
		return
	}
	delete(s.grants, code) // whoever it was: a code counts once
	if g.challenge != base64.RawURLEncoding.EncodeToString(verifier[:]) {
		refuse("bad_verification_code")
		return
	}
	token := "gho_" + rand.Text()
	s.tokens[token] = g
	answer(w, r, map[string]string{"access_token": token, "token_type": "bearer", "scope": strings.Join(g.scopes, ",")})
}

// answer writes JSON if that is asked for, and a form otherwise.
func answer(w http.ResponseWriter, r *http.Request, fields map[string]string) {
	if strings.Contains(r.Header.Get("Accept"), "application/json") {
		reply(w, fields)
		return
	}
	form := url.Values{}
	for name, value := range fields {
		form.Set(name, value)
	}
	w.Header().Set("Content-Type", "application/x-www-form-urlencoded; charset=utf-8")
	fmt.Fprint(w, form.Encode())
}

func reply(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	json.NewEncoder(w).Encode(v) //nolint:errcheck // the caller tells
}

func refused(w http.ResponseWriter, status int) {
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.WriteHeader(status)
	fmt.Fprintf(w, `{"message":%q}`, http.StatusText(status))
}

// owner is the account of a token, the scopes that it has, and whether it was
// made for the app.
func (s *Server) owner(token string) (a Account, scopes []string, ours, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if g, known := s.tokens[token]; known {
		a, ok = s.accounts[g.login]
		return a, g.scopes, true, ok
	}
	kind, login, _ := strings.Cut(token, "_")
	if rest, fine := strings.CutPrefix(login, "pat_"); kind == "github" && fine {
		kind, login = "pat", rest
	} else {
		scopes = []string{"user:email", "read:org"}
	}
	login, foreign := strings.CutPrefix(login, "other-")
	a, ok = s.accounts[login]
	return a, scopes, kind == "gho" && !foreign, ok
}

// signedIn finds the account of a request, or refuses the request.
func (s *Server) signedIn(w http.ResponseWriter, r *http.Request, scope string) (Account, bool) {
	a, scopes, _, ok := s.owner(strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer "))
	switch {
	case !ok:
		refused(w, http.StatusUnauthorized)
	case scope != "" && !slices.Contains(scopes, scope):
		refused(w, http.StatusForbidden)
		ok = false
	}
	return a, ok
}

func (a Account) json() map[string]any { return map[string]any{"id": a.ID, "login": a.Login} }

func (s *Server) user(w http.ResponseWriter, r *http.Request) {
	if a, ok := s.signedIn(w, r, ""); ok {
		reply(w, a.json())
	}
}

func (s *Server) emails(w http.ResponseWriter, r *http.Request) {
	if a, ok := s.signedIn(w, r, "user:email"); ok {
		reply(w, []map[string]any{{"email": a.Login + "@example.com", "primary": true, "verified": true}})
	}
}

func (s *Server) orgs(w http.ResponseWriter, r *http.Request) {
	a, ok := s.signedIn(w, r, "read:org")
	if !ok {
		return
	}
	const size = 100
	page, _ := strconv.Atoi(r.URL.Query().Get("page"))
	from := min(len(a.Orgs), max(0, page-1)*size)
	list := []map[string]string{}
	for _, org := range a.Orgs[from:min(len(a.Orgs), from+size)] {
		list = append(list, map[string]string{"login": org})
	}
	reply(w, list)
}

func (s *Server) byLogin(w http.ResponseWriter, r *http.Request) {
	if !fromApp(r) {
		refused(w, http.StatusUnauthorized)
		return
	}
	s.mu.Lock()
	a, ok := s.accounts[strings.ToLower(r.PathValue("login"))]
	s.mu.Unlock()
	if !ok {
		refused(w, http.StatusNotFound)
		return
	}
	reply(w, a.json())
}

func (s *Server) checkToken(w http.ResponseWriter, r *http.Request) {
	if !fromApp(r) || r.PathValue("client") != ClientID {
		refused(w, http.StatusUnauthorized)
		return
	}
	var question struct {
		Token string `json:"access_token"`
	}
	err := json.NewDecoder(r.Body).Decode(&question)
	a, _, ours, ok := s.owner(question.Token)
	if err != nil || !ours || !ok {
		refused(w, http.StatusNotFound)
		return
	}
	reply(w, map[string]any{"user": a.json(), "app": map[string]string{"client_id": ClientID}})
}

func fromApp(r *http.Request) bool {
	id, secret, ok := r.BasicAuth()
	return ok && id == ClientID && secret == ClientSecret
}
