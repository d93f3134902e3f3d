//go:build !failpoint

// Package failpoint lets a test kill the program at a chosen step. In a
// normal build Hit does nothing and costs nothing; built with the tag
// "failpoint", it says so on standard error and ends the process by SIGKILL at
// the step that the variable FAILPOINT names. The names stand in the code where
// the steps are; the crash test refuses to run if it does not know one of them.
// Err is the same for what fails in a way that no test can bring about from
// outside.
package failpoint

// Hit marks a step.
func Hit(string) {}

// Err marks a step that can fail: with FAILPOINT it does, otherwise it is nil.
func Err(string) error { return nil }
