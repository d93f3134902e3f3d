// Package e2e holds the black-box tests: they build the real binary, start it
// on a free port and talk to it over TCP, as its users do. The crash tests
// build it with fail points and kill it. There is no code here but tests.
package e2e
