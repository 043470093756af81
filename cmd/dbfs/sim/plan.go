package sim

import "github.com/dbfs/dbfs"

// A Plan is a sort of history.
type Plan struct {
	Name   string
	Active int  // clients that edit; 0: all
	Apart  bool // each edits in a directory of its own
	Deep   bool // directories are made and moved more than anything else
	Crowd  bool // few names and directories, so that all meet
	Twins  bool // files often have the same content
	Links  bool // files have several names

	crashes  bool // clients die and start again
	power    bool // … and lose what was not synced
	disks    bool // … or their disks fail
	cutoff   bool // the log is cut off
	restore  bool // the server is brought back to an earlier state
	roles    bool // the second account is let in and kept out
	garbage  bool // … is collected, and what is old forgotten, while days pass
	chunks   bool // files have bytes, which travel before the record that names them
	holds    bool // files stay open for writing over remote changes
	smallTxn bool // transactions of the clients hold little
	tables   bool // one client has other tables of Unicode
	movers   bool // files move between two namespaces

	names dbfs.NameRule

	rates [faults]int // per thousand
}

// relists reports whether clients may have to list the tree anew.
func (p *Plan) relists() bool { return p.cutoff || p.restore || p.garbage }

// forgetful reports whether a client or its log may forget what the client was told, or do a step
// of several transactions by half.
func (p *Plan) forgetful() bool { return p.relists() || p.power || p.disks }

// A faultKind is what may go wrong on the way.
type faultKind int

const (
	requestLost    faultKind = iota
	answerLost               // the server did what was asked
	conflicts                // the server's database runs a transaction again
	unknownOutcome           // … or does not say that it is done
	blobFails                // the object store does not answer
	blobAnswerLost           // … though it has stored
	blobCut                  // … or breaks off
	hintLost
	hintTwice
	faults
)

var (
	lossy = [faults]int{requestLost: 60, answerLost: 60, conflicts: 30, unknownOutcome: 15, hintLost: 250, hintTwice: 100}
	rough = [faults]int{requestLost: 60, answerLost: 60, conflicts: 30, unknownOutcome: 15, hintLost: 250, hintTwice: 100,
		blobFails: 40, blobAnswerLost: 40, blobCut: 20}
)

// Plans are all sorts of histories; histories of consecutive seeds go through them in turn.
var Plans = []Plan{
	{Name: "quiet", chunks: true},
	{Name: "full", crashes: true, power: true, holds: true, chunks: true, rates: rough},
	{Name: "crowd", Crowd: true, crashes: true, holds: true, rates: lossy},
	{Name: "alone", Active: 1, crashes: true, holds: true, chunks: true, rates: rough},
	{Name: "cycles", Deep: true, crashes: true, rates: lossy},
	{Name: "twins", Deep: true, Twins: true, crashes: true, rates: lossy},
	{Name: "offline", crashes: true, power: true, holds: true, rates: lossy},
	{Name: "resets", crashes: true, cutoff: true, smallTxn: true, chunks: true, rates: lossy},
	{Name: "restores", crashes: true, restore: true, chunks: true, rates: lossy},
	{Name: "disks", crashes: true, disks: true, smallTxn: true, rates: lossy},
	{Name: "apart", Apart: true, crashes: true, holds: true, chunks: true, rates: rough},
	{Name: "garbage", garbage: true, crashes: true, holds: true, chunks: true, rates: rough},
	{Name: "roles", roles: true, crashes: true, chunks: true, rates: rough},
	{Name: "links", Links: true, crashes: true, power: true, holds: true, chunks: true, rates: rough},
	{Name: "links in a crowd", Links: true, Crowd: true, crashes: true, cutoff: true, smallTxn: true, rates: lossy},
	{Name: "movers", movers: true, crashes: true, chunks: true, rates: rough},
	{Name: "movers offline", movers: true, crashes: true, power: true, smallTxn: true, rates: lossy},
	{Name: "movers resets", movers: true, crashes: true, cutoff: true, chunks: true, rates: lossy},
	{Name: "movers and garbage", movers: true, garbage: true, chunks: true, rates: rough},
	{Name: "lone resets", Active: 1, crashes: true, cutoff: true, chunks: true, rates: lossy},
	{Name: "spellings", names: dbfs.NamesPortable, Crowd: true, crashes: true, power: true, holds: true, smallTxn: true, rates: lossy},
	{Name: "lone spellings", names: dbfs.NamesPortable, Active: 1, crashes: true, cutoff: true, holds: true, rates: lossy},
	{Name: "coarse tables", tables: true, Crowd: true, crashes: true, holds: true, rates: lossy},
	{Name: "fine tables", names: dbfs.NamesPortable, tables: true, Crowd: true, crashes: true, restore: true, rates: lossy},
}

// PlanOf returns the plan of a name, or that of a seed where the name is empty.
func PlanOf(name string, seed uint64) (Plan, bool) {
	if name == "" {
		return Plans[seed%uint64(len(Plans))], true
	}
	for _, p := range Plans {
		if p.Name == name {
			return p, true
		}
	}
	return Plan{}, false
}
