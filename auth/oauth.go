package auth

import (
	"cmp"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"golang.org/x/oauth2"

	"upload-service/store"
	"upload-service/store/kv"
)

// SignInLife is how long somebody may take to sign in with GitHub.
const SignInLife = 10 * time.Minute

// A sign-in that has begun is kept by the browser, in a cookie: random text,
// when it ends, and where to go then. So a stranger can begin any number of
// them and takes no room here, and it can end at another replica or after a
// restart. The state that travels through GitHub, and the verifier of PKCE, are
// MACs of the cookie under the secret of the app, which every replica has: no
// state fits another browser's cookie, nobody but us can make either, and the
// verifier never leaves us. What is stored is that a sign-in has succeeded, for
// as long as it could be repeated.

// BeginSignIn begins a sign-in with GitHub. The browser has to go to address
// and to keep pending in a cookie until it comes back to callback; next is for
// then. With another, GitHub asks which account to use.
func (s *Service) BeginSignIn(callback, next string, another bool) (address, pending string) {
	ends := s.cfg.Now().Add(SignInLife).Unix()
	pending = fmt.Sprintf("%s.%d.%s", randomText(), ends, base64.RawURLEncoding.EncodeToString([]byte(next)))
	options := []oauth2.AuthCodeOption{oauth2.S256ChallengeOption(s.verifierOf(pending))}
	if another {
		options = append(options, oauth2.SetAuthURLParam("prompt", "select_account"))
	}
	return s.oauth(callback).AuthCodeURL(s.stateOf(pending), options...), pending
}

// Callback is what a browser brings back from GitHub.
type Callback struct {
	Address string // ours, without the query
	State   string
	Code    string
	Error   string // instead of a code
	Pending string // of the cookie; "" if there is none
	Old     string // the id of the session that this one takes the place of, if any
	From    Browser
}

// FinishSignIn ends a sign-in: it returns the id of a new session, always
// another one than before, and what BeginSignIn got as next, also with an error
// about a sign-in that this browser did begin. What the token of GitHub is good
// for is asked here, and then it is forgotten. Errors: invalid (begin again),
// forbidden (see NotAllowed), unavailable.
func (s *Service) FinishSignIn(ctx context.Context, c Callback) (id, next string, err error) {
	// 1. Did this browser begin it, and not long ago?
	if c.Pending == "" {
		return "", "", errNoCookie
	}
	now := s.cfg.Now()
	parts := strings.Split(c.Pending, ".")
	if !hmac.Equal([]byte(s.stateOf(c.Pending)), []byte(c.State)) || len(parts) != 3 {
		return "", "", errBeginAgain
	}
	seconds, err := strconv.ParseInt(parts[1], 10, 64)
	text, err2 := base64.RawURLEncoding.DecodeString(parts[2])
	ends := time.Unix(seconds, 0)
	if err := errors.Join(err, err2); err != nil || !now.Before(ends) {
		return "", "", errBeginAgain.WithCause(err)
	}
	next = string(text)

	// 2. Who is it?
	if c.Error != "" {
		return "", next, refusal(c.Error)
	}
	ctx, cancel := context.WithTimeout(ctx, gitHubTime)
	defer cancel()
	token, err := s.exchange(ctx, c)
	if err != nil {
		return "", next, err
	}
	a, err := s.identify(ctx, token, s.user)
	if store.CodeOf(err) == store.CodeUnauthenticated {
		err = errBeginAgain.WithCause(err)
	}
	if err != nil {
		return "", next, err
	}
	p, err := s.admit(ctx, a)
	if err != nil {
		return "", next, err
	}

	// 3. A new session, once.
	id = randomText() + randomText()
	ses := s.newSession(p.Owner.ID, c.From)
	sum := digest(c.Pending)
	used := append(binary.BigEndian.AppendUint32([]byte(prefixUsed), uint32(ends.Unix()/60)), sum[:]...)
	err = s.kv.Update(ctx, string(p.Owner.ID), func(tx kv.Tx) error {
		if mark, err := tx.Get(used); err != nil || mark != nil {
			return orElse(err, errBeginAgain)
		}
		if err := tx.Put(used, []byte{recordVersion}); err != nil {
			return err
		}
		return replaceSession(tx, c.Old, id, ses)
	})
	return id, next, err
}

func (s *Service) stateOf(pending string) string    { return s.mac("state", pending) }
func (s *Service) verifierOf(pending string) string { return s.mac("verifier", pending) }

func (s *Service) mac(purpose, text string) string {
	m := hmac.New(sha256.New, []byte(s.cfg.ClientSecret))
	fmt.Fprintf(m, "%s\x00%s", purpose, text)
	return base64.RawURLEncoding.EncodeToString(m.Sum(nil))
}

func (s *Service) oauth(callback string) *oauth2.Config {
	c := &oauth2.Config{
		ClientID: s.cfg.ClientID, ClientSecret: s.cfg.ClientSecret, RedirectURL: callback, Scopes: []string{"user:email"},
		Endpoint: oauth2.Endpoint{
			AuthURL:   s.cfg.GitHubURL + "/login/oauth/authorize",
			TokenURL:  s.cfg.GitHubURL + "/login/oauth/access_token",
			AuthStyle: oauth2.AuthStyleInParams,
		},
	}
	if len(s.cfg.AllowedOrgs) > 0 {
		c.Scopes = append(c.Scopes, "read:org")
	}
	return c
}

// exchange turns the code into a token.
func (s *Service) exchange(ctx context.Context, c Callback) (string, error) {
	ctx = context.WithValue(ctx, oauth2.HTTPClient, s.client)
	token, err := s.oauth(c.Address).Exchange(ctx, c.Code, oauth2.VerifierOption(s.verifierOf(c.Pending)))
	if err == nil {
		return token.AccessToken, nil
	}
	refused, ok := errors.AsType[*oauth2.RetrieveError](err)
	switch {
	case !ok:
		return "", unavailable(err)
	case refused.Response.StatusCode == http.StatusOK:
		return "", refusal(refused.ErrorCode)
	}
	if wait, limited := rateLimited(refused.Response, s.cfg.Now()); limited {
		return "", limitedFor(wait)
	}
	return "", unavailable(fmt.Errorf("GitHub answers %s", refused.Response.Status)) // its body may be anything
}

var (
	errNoCookie = store.Errorf(store.CodeInvalid,
		"The browser did not bring back the cookie of this sign-in. Allow cookies for this site and sign in again.")
	errBeginAgain = store.Errorf(store.CodeInvalid,
		"This sign-in has ended, or it began in another window or over ten minutes ago. Sign in again.")
)

// refusals are the errors that GitHub names. Its own words are not shown: on
// their way through the browser anybody can write them.
var refusals = map[string]*store.Error{
	"access_denied": store.Errorf(store.CodeForbidden,
		"You did not let GitHub tell us who you are, so you are not signed in."),
	"unverified_user_email": store.Errorf(store.CodeForbidden,
		"Your e-mail address at GitHub is not verified. Verify it there and sign in again."),
	"bad_verification_code": errBeginAgain,
	"incorrect_client_credentials": store.Errorf(store.CodeUnavailable,
		"GitHub does not accept this service's own secret. Tell the administrator to look at GITHUB_CLIENT_SECRET."),
	"redirect_uri_mismatch": store.Errorf(store.CodeUnavailable,
		"GitHub does not know the address of this service. "+
			"Tell the administrator to look at the callback URL of the GitHub app and at UPLOAD_PUBLIC_URL."),
	"application_suspended": store.Errorf(store.CodeUnavailable,
		"GitHub has suspended the app of this service. Tell the administrator."),
}

func refusal(name string) error {
	other := store.Errorf(store.CodeUnavailable, "GitHub refused this sign-in. Sign in again, or tell the administrator.")
	return cmp.Or(refusals[name], other).WithCause(fmt.Errorf("GitHub refuses: %.100q", name))
}
