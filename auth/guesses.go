package auth

import (
	"sync"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"

	"upload-service/store"
)

// guesses bounds how often one address makes us ask GitHub about a token that
// is none. GitHub lets an app ask a few thousand times an hour: without a bound
// a stranger who sends random tokens uses that up, and then nobody's token is
// believed. A question counts while it is asked and when the answer is no.
type guesses struct {
	mu   sync.Mutex
	from *lru.Cache[string, *guess] // a bounded number; one that falls out starts anew
}

type guess struct {
	began time.Time
	n     int
}

const (
	maxGuesses  = 20 // of one address, in guessWindow
	guessWindow = time.Minute
	guessers    = 65536
)

func newGuesses() *guesses {
	from, _ := lru.New[string, *guess](guessers) // fails only for a size below 1
	return &guesses{from: from}
}

// begin counts a question that is about to be asked.
func (g *guesses) begin(from string, now time.Time) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	at, ok := g.from.Get(from)
	if !ok || now.Sub(at.began) >= guessWindow {
		at = &guess{began: now}
		g.from.Add(from, at)
	}
	if at.n >= maxGuesses {
		return &store.Error{
			Code: store.CodeRateLimited, Message: "Too many credentials from your address were not valid; wait a minute.",
			RetryAfter: at.began.Add(guessWindow).Sub(now),
		}
	}
	at.n++
	return nil
}

// forget takes a question back whose answer was not a no.
func (g *guesses) forget(from string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if at, ok := g.from.Get(from); ok && at.n > 0 {
		at.n--
	}
}
