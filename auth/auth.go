// Package auth decides who is asking: it turns a credential into a Principal.
//
// There are three kinds of credential: GitHub bearer tokens (github.go), API
// keys (keys.go) and browser sessions (sessions.go), which begin with a sign-in
// at GitHub (oauth.go) or with a one-time link. Package handlers finds them in a
// request; nothing here knows HTTP but as a client of GitHub.
//
// An account is its numeric id. Logins change hands, so a login in a setting
// is pinned to the id that it first resolved to (policy.go). Secrets are
// stored only as SHA-256: they are random and long, so a slow hash would
// protect nothing that guessing could reach.
package auth

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/hashicorp/golang-lru/v2/expirable"
	"golang.org/x/sync/singleflight"

	"upload-service/store"
	"upload-service/store/kv"
)

// Owners is what auth needs of the domain: *store.Store implements it.
type Owners interface {
	// EnsureOwner returns the record of an account, made at first sight.
	EnsureOwner(ctx context.Context, id store.OwnerID, login string) (store.Owner, error)
	// OwnerByID returns an owner or CodeNotFound.
	OwnerByID(ctx context.Context, id store.OwnerID) (store.Owner, error)
	// NoteSeen records that an owner makes a request.
	NoteSeen(ctx context.Context, o store.Owner)
}

// Policy says which GitHub tokens count.
type Policy string

// The policies. App counts tokens that GitHub confirms as made for our app;
// PAT those and personal ones; Any whatever GitHub accepts, so also a token
// that somebody gave to another app.
const (
	PolicyApp Policy = "app"
	PolicyPAT Policy = "pat"
	PolicyAny Policy = "any"
)

// Config is how the service decides.
type Config struct {
	Local        bool // one owner, no GitHub
	ClientID     string
	ClientSecret string
	GitHubURL    string // without a trailing slash
	GitHubAPIURL string // without a trailing slash
	Policy       Policy
	AllowedUsers []string // logins or github:<id>
	AllowedOrgs  []string
	Restricted   bool // only those count; with both lists empty, nobody
	Admins       []string
	HTTPClient   *http.Client // nil: one with a timeout
	Now          func() time.Time
}

// Service answers who is asking. All methods may be called concurrently.
type Service struct {
	cfg    Config
	kv     kv.Store
	owners Owners
	client *http.Client
	flight singleflight.Group
	known  *expirable.LRU[[32]byte, account] // tokens that were good a moment ago
	failed *expirable.LRU[[32]byte, error]   // tokens that were not

	guesses *guesses
}

const (
	tokenLife  = 5 * time.Minute // how long a good token is believed without asking again
	missLife   = 30 * time.Second
	cacheSize  = 10000
	gitHubTime = 10 * time.Second // for one question to GitHub
)

// New returns a service that keeps its records in db, under keys that begin
// with "a/".
func New(cfg Config, db kv.Store, owners Owners) *Service {
	client := cfg.HTTPClient
	if client == nil {
		client = &http.Client{Timeout: gitHubTime}
	}
	own := *client
	// A redirect could carry the token to another host.
	own.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return &Service{
		cfg: cfg, kv: db, owners: owners, client: &own,
		known:  expirable.NewLRU[[32]byte, account](cacheSize, nil, tokenLife),
		failed: expirable.NewLRU[[32]byte, error](cacheSize, nil, missLife),

		guesses: newGuesses(),
	}
}

// The key layout of this package.
//
//	a/k/<sha-256 of the secret>         Key
//	a/o/<owner> 0 <key id>              sha-256 of the secret
//	a/s/<sha-256 of the session id>     Session
//	a/l/<owner> 0 <sha-256>             sessions of an owner
//	a/x/<minute><sha-256>               expiry of sessions: a hint, the record decides
//	a/u/<minute><sha-256>               a sign-in with GitHub that succeeded, until it could not be repeated
//	a/c/                                the sign-in code of local mode
//	a/n/                                what pages and addresses are signed with
//	a/p/<login, lower case>             the account id that a login in a setting means
//	a/m/<owner>                         member: which organization GitHub confirmed, and when
const (
	prefixKey      = "a/k/"
	prefixOwnerKey = "a/o/"
	prefixSession  = "a/s/"
	prefixOwnerSes = "a/l/"
	prefixExpiry   = "a/x/"
	prefixUsed     = "a/u/"
	keySignIn      = "a/c/"
	keySigning     = "a/n/"
	prefixPin      = "a/p/"
	prefixMember   = "a/m/"
)

const recordVersion = 1

func write(tx kv.Tx, key []byte, v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("encode %T: %w", v, err)
	}
	return tx.Put(key, append([]byte{recordVersion}, b...))
}

func read(tx kv.Tx, key []byte, v any) (bool, error) {
	b, err := tx.Get(key)
	if err != nil || b == nil {
		return false, err
	}
	if len(b) == 0 || b[0] != recordVersion {
		return false, fmt.Errorf("%w: decode %T: unknown record version", errDamaged, v)
	}
	if err := json.Unmarshal(b[1:], v); err != nil {
		return false, fmt.Errorf("%w: decode %T: %w", errDamaged, v, err)
	}
	return true, nil
}

// errDamaged is in the chain for a record that makes no sense. It signs nobody
// in, and is in the way of no other: check names it.
var errDamaged = errors.New("damaged record")

func hashed(prefix string, sum [32]byte) []byte { return append([]byte(prefix), sum[:]...) }

func ofOwner(prefix string, o store.OwnerID, rest string) []byte {
	return append(append([]byte(prefix+string(o)), 0), rest...)
}

func prefixEnd(prefix []byte) []byte {
	end := append([]byte(nil), prefix...)
	for i := len(end) - 1; ; i-- { // all begin with a letter, so one is less than 0xff
		if end[i]++; end[i] != 0 {
			return end[:i+1]
		}
	}
}

// sumIn is the digest that a key of the layout ends in.
func sumIn(key []byte) (sum [32]byte, ok bool) {
	if ok = len(key) >= len(sum); ok {
		sum = [32]byte(key[len(key)-len(sum):])
	}
	return sum, ok
}

func digest(secret string) [32]byte { return sha256.Sum256([]byte(secret)) }

// randomText is 26 characters with at least 128 bits of randomness.
func randomText() string { return rand.Text() }
