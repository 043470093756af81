// Package fault holds the switches by which tests break dbfs on purpose, to see that the
// suite notices. They exist only in programs built with the tag "faults"; without it every
// call here compiles to nothing.
//
// A crash point is a place between two steps of which a crash must lose nothing (Here). A
// mutant is a bug that somebody could make, put in at the place where it would be made (Bug).
// Both have their names in this file, with what they stand for, and a test that every name is used.
package fault

// A Point is a place where a test may let the process die.
type Point string

// A Mutant is a bug that a test may switch on.
type Mutant string

// Bugs of garbage collection.
const (
	CollectAtOnce       Mutant = "collect-at-once"        // what was touched a moment ago is condemned if nothing names it
	CollectEarly        Mutant = "collect-early"          // the age of condemned chunks is receipt life less touch interval
	NoTouchBeforeRevive Mutant = "no-touch-before-revive" // a revived file's old chunks are taken for granted
	ObjectNamesReused   Mutant = "object-names-reused"    // a chunk always gets the same object name
	NoGrace             Mutant = "no-grace-for-condemned" // condemned chunks are deleted at once
)
