package views_test

import (
	"testing"

	"upload-service/views"
)

func TestSizes(t *testing.T) {
	t.Parallel()
	for n, want := range map[int64]string{
		0: "0\u00a0bytes", 1: "1\u00a0byte", 999: "999\u00a0bytes", 1000: "1\u00a0kB", 1234: "1.23\u00a0kB", 47_500_000: "47.5\u00a0MB",
		999_499: "999\u00a0kB", 999_999: "1\u00a0MB", 99_960: "100\u00a0kB", 3_400_000_000: "3.4\u00a0GB", -5: "0\u00a0bytes",
	} {
		if got := views.Bytes(n); got != want {
			t.Errorf("%d: got %q, want %q", n, got, want)
		}
	}
	for n, want := range map[int64]string{5 << 30: "5\u00a0GiB", 100 << 30: "100\u00a0GiB", 1 << 40: "1\u00a0TiB", 5_000_000_000: "5\u00a0GB"} {
		if got := views.Limit(n); got != want {
			t.Errorf("limit %d: got %q, want %q", n, got, want)
		}
	}
}
