package handlers

import (
	"time"

	"github.com/xhit/go-str2duration/v2"

	"upload-service/store"
)

// parseDuration reads a time span as settings write it: that of time.Duration,
// with d for 24 hours and w for 7 days in addition.
func parseDuration(field, text string) (time.Duration, error) {
	d, err := str2duration.ParseDuration(text)
	if err != nil || d < 0 {
		return 0, store.FieldErrorf(field, "Write a duration, for example 90m, 24h or 7d.")
	}
	return d, nil
}
