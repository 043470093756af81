//go:build !faults

package fault

import "time"

// Enabled reports whether the switches exist in this program.
const Enabled = false

// Here is a place where a test may let the process die.
func Here(Point) {}

// Bug reports whether a test has switched a bug on.
func Bug(Mutant) bool { return false }

// Now is what a server takes for the time.
func Now() time.Time { return time.Now() }
