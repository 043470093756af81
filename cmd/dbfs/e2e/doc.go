// Package e2e holds the tests of dbfs as a whole: real mounts of real daemons, a real server
// over HTTP, and people who use them. It has no code of its own.
//
// A site is a server: its data, its objects, and an address that stays when it restarts. A
// device is a daemon with its directories and a mount, reached through a line that can be cut. A
// story is what people do on their devices, one after the other; it ends with a check that
// all devices and the server have the same tree, that every chunk can be read, and that no
// edit is left over.
//
// Stories run devices and server in the test's own process, so that the race detector sees
// all of them. Tests that kill, or measure, run the real program.
package e2e
