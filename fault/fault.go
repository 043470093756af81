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

// Bugs of reconciling and of the journal.
const (
	DeleteBeatsEdit Mutant = "delete-beats-edit" // what was written to a file that another device deleted is dropped
	AdoptOwn        Mutant = "adopt-own"         // a new file is taken for another one of the same device
	NotFollowed     Mutant = "not-followed"      // later edits do not follow a file to its conflicted copy
	SelfUnresolved  Mutant = "self-unresolved"   // an edit's base stays "self" when what it is based on has been taken
	NewSeqOnRetry   Mutant = "new-seq-on-retry"  // a batch gets another number each time it is sent
	BatchNotSynced  Mutant = "batch-not-synced"  // a batch is sent that a loss of power takes back
	SaveReplaces    Mutant = "save-replaces"     // a new file that is renamed over an old one replaces it, and its history ends
	EvictPinned     Mutant = "evict-pinned"      // chunks are let go that pending edits name
	CopyNotAwaited  Mutant = "copy-not-awaited"  // a file that is moved to another namespace is deleted before it is there
)

// Bugs of the server's commit, of its hints and of sharing chunks.
const (
	BlindWrite        Mutant = "blind-write"        // a write replaces what its user did not see
	LinksOrphaned     Mutant = "links-orphaned"     // a file is deleted that has other names
	BlindDelete       Mutant = "blind-delete"       // a delete deletes what its user did not see
	RefusalsForgotten Mutant = "refusals-forgotten" // a refused batch that comes again is judged again
	NoCycleCheck      Mutant = "no-cycle-check"     // a directory may be moved below itself
	HintBeforeCommit  Mutant = "hint-before-commit" // who waits is woken before there is anything to see
	PollBlind         Mutant = "poll-blind"         // who waits hears only of what happens from then on
	SpellingsApart    Mutant = "spellings-apart"    // two spellings of a portable name are two names
	UnverifiedShared  Mutant = "unverified-shared"  // what another account uploaded is believed unread
	ProofUnchecked    Mutant = "proof-unchecked"    // whoever says that it has a chunk is believed
	DeltaFast         Mutant = "delta-fast"         // deltas are made at a level that forgets most of its dictionary
)

// Bugs of lending files to the kernel.
const (
	NoLease Mutant = "no-lease" // bytes are destroyed in place whoever has the file
)

// Bugs of garbage collection.
const (
	CollectAtOnce       Mutant = "collect-at-once"        // what was touched a moment ago is condemned if nothing names it
	CollectEarly        Mutant = "collect-early"          // the age of condemned chunks is receipt life less touch interval
	NoTouchBeforeRevive Mutant = "no-touch-before-revive" // a revived file's old chunks are taken for granted
	HoldsIgnored        Mutant = "holds-ignored"          // versions go though somebody builds on them
	CopyUntouched       Mutant = "copy-untouched"         // what a copy takes from its source is not touched
	ObjectNamesReused   Mutant = "object-names-reused"    // a chunk always gets the same object name
	NoGrace             Mutant = "no-grace-for-condemned" // condemned chunks are deleted at once
)
