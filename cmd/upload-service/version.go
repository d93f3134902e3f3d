package main

import (
	"fmt"
	"runtime"
	"runtime/debug"
)

// version is set by the linker: -X main.version=v1.2.3.
var version = "dev"

// about says what this binary was built from and with.
func about() string {
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
	return fmt.Sprintf("upload-service %s\ncommit %s%s\n%s %s/%s\n",
		version, commit, changed, runtime.Version(), runtime.GOOS, runtime.GOARCH)
}
