package main

import (
	"fmt"
	"io"
	"runtime"
	"runtime/debug"
)

// version is set by the linker: -X main.version=v1.2.3.
var version = "dev"

// printVersion writes what this binary was built from and with.
func printVersion(out io.Writer) error {
	commit, changed := "unknown", ""
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, s := range info.Settings {
			switch {
			case s.Key == "vcs.revision":
				commit = s.Value
			case s.Key == "vcs.modified" && s.Value == "true":
				changed = " (with changes)"
			}
		}
	}
	_, err := fmt.Fprintf(out, "upload-service %s\ncommit %s%s\n%s %s/%s\n",
		version, commit, changed, runtime.Version(), runtime.GOOS, runtime.GOARCH)
	return err
}
