// Command upload-service takes uploads, keeps them as temporary ones under a
// token and makes them permanent. Without a command it serves.
//
// This package reads the settings, puts the parts together and starts them. It
// holds no rule about files or requests: those are in the packages store, auth
// and handlers. Only main ends the process; everything else returns an error,
// which becomes a line on standard error and an exit code in one place, run.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal ends the process at once
	os.Exit(run(ctx, os.Args[1:], os.Environ(), os.Stdout, os.Stderr))
}
