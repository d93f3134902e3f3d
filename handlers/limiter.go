package handlers

import (
	"time"

	lru "github.com/hashicorp/golang-lru/v2"
	"golang.org/x/time/rate"

	"upload-service/store"
)

// limiter bounds requests a minute, per owner and per network of a client. It remembers a
// bounded number of them; one that falls out starts anew.
type limiter struct {
	perMinute int
	buckets   *lru.Cache[string, *rate.Limiter]
}

const maxBuckets = 65536

func newLimiter(perMinute int) *limiter {
	buckets, err := lru.New[string, *rate.Limiter](maxBuckets)
	if err != nil || perMinute <= 0 {
		return &limiter{} // no limit; lru.New fails only for a size below 1
	}
	return &limiter{perMinute, buckets}
}

// allow counts one request.
func (l *limiter) allow(who string) error {
	if l.perMinute <= 0 {
		return nil
	}
	fresh := rate.NewLimiter(rate.Limit(float64(l.perMinute)/60), l.perMinute)
	bucket, known, _ := l.buckets.PeekOrAdd(who, fresh)
	if known {
		l.buckets.Get(who) // mark it as used
	} else {
		bucket = fresh
	}
	// Allow takes nothing when it refuses; a reservation that is cancelled
	// beside others would not give back all that it took.
	if bucket.Allow() {
		return nil
	}
	wait := time.Minute / time.Duration(l.perMinute) // until there is one more
	return &store.Error{
		Code: store.CodeRateLimited, Message: "Too many requests; wait a little.", RetryAfter: max(wait, time.Second),
	}
}
