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
