package auth

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"upload-service/store"
)

// account is a GitHub user, as far as we need one.
type account struct {
	ID    int64  `json:"id"`
	Login string `json:"login"`
	orgs  []string
}

func (a account) owner() store.OwnerID { return store.OwnerID("github:" + strconv.FormatInt(a.ID, 10)) }

var errUnauthenticated = store.Errorf(store.CodeUnauthenticated, "This credential is not valid here; sign in again or use another one.")

// Bearer turns the credential of an Authorization header into a principal; from
// is whoever sends it, as far as the network tells. Errors: unauthenticated,
// forbidden (not on the allow list), rate_limited (too many guesses),
// unavailable (GitHub does not answer or limits us, which is never held against
// the caller).
func (s *Service) Bearer(ctx context.Context, token, from string) (Principal, error) {
	switch {
	case strings.HasPrefix(token, keyPrefix):
		return s.key(ctx, token)
	case s.cfg.Local,
		strings.HasPrefix(token, "upg_"),
		strings.HasPrefix(token, "ghs_"), // a server's, not a person's
		strings.HasPrefix(token, "ghr_"), // can only get other tokens
		len(token) > maxToken, !plainToken(token):
		return Principal{}, errUnauthenticated
	}
	a, err := s.account(ctx, token, from)
	if err != nil {
		return Principal{}, err
	}
	p, err := s.admit(ctx, a)
	p.token, p.from = token, from
	return p, err
}

// afresh asks GitHub again about the token of a principal, if it has one, and
// not only whoever remembers the last answer.
func (s *Service) afresh(ctx context.Context, p Principal) error {
	if p.token == "" {
		return nil
	}
	s.known.Remove(digest(p.token))
	now, err := s.Bearer(ctx, p.token, p.from)
	if err == nil && now.Owner.ID != p.Owner.ID {
		err = errUnauthenticated
	}
	return err
}

const maxToken = 4096

func plainToken(token string) bool {
	return token != "" && !strings.ContainsFunc(token, func(r rune) bool { return r <= ' ' || r > '~' })
}

// account asks GitHub whose token it is, at most once every few minutes, and
// once for any number of concurrent requests.
func (s *Service) account(ctx context.Context, token, from string) (account, error) {
	sum := digest(token)
	if a, ok := s.known.Get(sum); ok {
		return a, nil
	}
	if err, ok := s.failed.Get(sum); ok {
		return account{}, err
	}
	result := s.flight.DoChan(string(sum[:]), func() (any, error) {
		if err := s.guesses.begin(from, s.cfg.Now()); err != nil {
			return nil, err
		}
		// The question is asked for all who wait, so it does not end with
		// the one who came first.
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), gitHubTime)
		defer cancel()
		a, err := s.ask(ctx, token)
		if store.CodeOf(err) == store.CodeUnauthenticated {
			s.failed.Add(sum, err)
			return nil, err
		}
		s.guesses.forget(from)
		if err == nil {
			s.known.Add(sum, a)
		}
		return a, err
	})
	select {
	case r := <-result:
		if r.Err != nil {
			return account{}, r.Err
		}
		return r.Val.(account), nil
	case <-ctx.Done():
		return account{}, ctx.Err()
	}
}

// ask applies the policy and gets the account.
func (s *Service) ask(ctx context.Context, token string) (account, error) {
	personal := strings.HasPrefix(token, "ghp_") || strings.HasPrefix(token, "github_pat_")
	if s.cfg.Policy == PolicyAny || s.cfg.Policy == PolicyPAT && personal {
		return s.identify(ctx, token, s.user)
	}
	return s.identify(ctx, token, s.confirmed)
}

// identify gets the account of a token in one of two ways, and what the allow
// lists have to know of it.
func (s *Service) identify(
	ctx context.Context, token string, who func(context.Context, string) (account, error),
) (account, error) {
	a, err := who(ctx, token)
	if err != nil {
		return account{}, err
	}
	if a.ID <= 0 || a.Login == "" {
		return account{}, unavailable(errors.New("GitHub's answer names no account"))
	}
	if len(s.cfg.AllowedOrgs) > 0 {
		if a.orgs, err = s.orgs(ctx, token); err != nil {
			return account{}, err
		}
	}
	return a, nil
}

// user is the account of a token.
func (s *Service) user(ctx context.Context, token string) (a account, err error) {
	err = s.call(ctx, http.MethodGet, s.cfg.GitHubAPIURL+"/user", token, nil, &a, nil)
	return a, err
}

// LookUp returns the account that has a login now, asking as our app. Errors:
// not_found, unavailable.
func (s *Service) LookUp(ctx context.Context, login string) (store.OwnerID, error) {
	ctx, cancel := context.WithTimeout(ctx, gitHubTime)
	defer cancel()
	var a account
	err := s.call(ctx, http.MethodGet, s.cfg.GitHubAPIURL+"/users/"+url.PathEscape(login), "", nil, &a, nil)
	switch {
	case store.CodeOf(err) == store.CodeUnauthenticated, err == nil && a.ID > 0 && !strings.EqualFold(a.Login, login):
		return "", store.Errorf(store.CodeNotFound, "GitHub has no account %s.", login).WithCause(err)
	case err == nil && a.ID <= 0:
		err = unavailable(errors.New("GitHub's answer names no account"))
	}
	if err != nil {
		return "", err
	}
	return a.owner(), nil
}

// confirmed is the account of a token that was made for our app. GitHub
// answers 404 for everybody else's.
func (s *Service) confirmed(ctx context.Context, token string) (account, error) {
	var answer struct {
		User account `json:"user"`
		App  struct {
			ClientID string `json:"client_id"`
		} `json:"app"`
	}
	body, err := json.Marshal(map[string]string{"access_token": token})
	if err != nil {
		return account{}, fmt.Errorf("ask about a token: %w", err)
	}
	address := s.cfg.GitHubAPIURL + "/applications/" + url.PathEscape(s.cfg.ClientID) + "/token"
	if err := s.call(ctx, http.MethodPost, address, "", body, &answer, nil); err != nil {
		return account{}, err
	}
	if answer.App.ClientID != s.cfg.ClientID {
		return account{}, errUnauthenticated
	}
	return answer.User, nil
}

// maxOrgPages bounds how many pages of a hundred organisations are read.
const maxOrgPages = 10

// orgs are the organisations of the account that the token may see.
func (s *Service) orgs(ctx context.Context, token string) (logins []string, err error) {
	for page := 1; page <= maxOrgPages; page++ {
		var list []struct {
			Login string `json:"login"`
		}
		address := fmt.Sprintf("%s/user/orgs?per_page=100&page=%d", s.cfg.GitHubAPIURL, page)
		var denied bool
		if err := s.call(ctx, http.MethodGet, address, token, nil, &list, &denied); err != nil {
			return nil, err
		}
		if denied {
			return logins, nil // the token may not see them: that is no membership
		}
		for _, org := range list {
			logins = append(logins, org.Login)
		}
		if len(list) < 100 {
			break
		}
	}
	return logins, nil
}

// maxAnswer bounds what is read of an answer of GitHub, in bytes.
const maxAnswer = 1 << 20

// call asks GitHub: with the token, or without one as our app. denied, if not
// nil, is set instead of an error where the token has not the scope.
func (s *Service) call(ctx context.Context, method, address, token string, body []byte, v any, denied *bool) error {
	req, err := http.NewRequestWithContext(ctx, method, address, bytes.NewReader(body))
	if err != nil {
		return fmt.Errorf("ask GitHub: %w", err)
	}
	req.Header.Set("Accept", "application/vnd.github+json")
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	} else {
		req.SetBasicAuth(s.cfg.ClientID, s.cfg.ClientSecret)
	}
	res, err := s.client.Do(req)
	if err != nil {
		return unavailable(err)
	}
	defer res.Body.Close()
	switch wait, limited := rateLimited(res, s.cfg.Now()); {
	case limited:
		return limitedFor(wait)
	case res.StatusCode == http.StatusOK:
		if err := json.NewDecoder(io.LimitReader(res.Body, maxAnswer)).Decode(v); err != nil {
			return unavailable(fmt.Errorf("read GitHub's answer: %w", err))
		}
		return nil
	case res.StatusCode == http.StatusForbidden && denied != nil:
		*denied = true
		return nil
	case token == "" && res.StatusCode == http.StatusUnauthorized:
		return unavailable(errors.New("GitHub does not accept GITHUB_CLIENT_ID and GITHUB_CLIENT_SECRET"))
	case res.StatusCode >= 400 && res.StatusCode < 500:
		return errUnauthenticated.WithCause(fmt.Errorf("GitHub answers %s", res.Status))
	}
	return unavailable(fmt.Errorf("GitHub answers %s", res.Status))
}

func unavailable(err error) error {
	return &store.Error{
		Code: store.CodeUnavailable, Message: "GitHub does not answer. Try again in a minute.",
		RetryAfter: 5 * time.Second, Err: err,
	}
}

func limitedFor(wait time.Duration) error {
	wait = max(wait, 5*time.Second)
	when := fmt.Sprintf("%.0f seconds", wait.Seconds())
	if wait > 2*time.Minute {
		when = fmt.Sprintf("%.0f minutes", math.Ceil(wait.Minutes()))
	}
	return &store.Error{
		Code: store.CodeUnavailable, Message: "GitHub limits how often we may ask. Try again in " + when + ".",
		RetryAfter: wait, Err: errors.New("GitHub limits our requests"),
	}
}

// rateLimited recognises GitHub's primary and secondary limits, and how long
// they last.
func rateLimited(res *http.Response, now time.Time) (time.Duration, bool) {
	if res.StatusCode != http.StatusForbidden && res.StatusCode != http.StatusTooManyRequests {
		return 0, false
	}
	if after, err := strconv.Atoi(res.Header.Get("Retry-After")); err == nil {
		return time.Duration(after) * time.Second, true
	}
	if res.Header.Get("X-RateLimit-Remaining") == "0" {
		reset, _ := strconv.ParseInt(res.Header.Get("X-RateLimit-Reset"), 10, 64)
		return time.Unix(reset, 0).Sub(now), true
	}
	return 0, res.StatusCode == http.StatusTooManyRequests
}
