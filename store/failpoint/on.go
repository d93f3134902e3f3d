//go:build failpoint

// Package failpoint; see off.go.
package failpoint

import (
	"errors"
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
)

// step and nth come from FAILPOINT=<step>#<n>: die when the step is reached
// for the n-th time.
var step, nth = parse(os.Getenv("FAILPOINT"))

var count atomic.Int64

func parse(s string) (string, int64) {
	name, n, _ := strings.Cut(s, "#")
	k, err := strconv.ParseInt(n, 10, 64)
	if err != nil {
		k = 1
	}
	return name, k
}

// Hit marks a step, and ends the process there if FAILPOINT says so. SIGKILL
// leaves no deferred function and no buffer a chance. The line on standard
// error tells a test this death from every other.
func Hit(name string) {
	if step != "" && name == step && count.Add(1) == nth {
		os.Stderr.WriteString("failpoint: " + name + "\n")
		syscall.Kill(syscall.Getpid(), syscall.SIGKILL) //nolint:errcheck // nothing would be left to tell
		select {}
	}
}

// Err marks a step that can fail.
func Err(name string) error {
	if step != "" && name == step && count.Add(1) == nth {
		return errors.New("failpoint: " + name)
	}
	return nil
}
