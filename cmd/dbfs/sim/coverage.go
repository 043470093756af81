package sim

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/dbfs/dbfs/journal"
)

// A row is a cell of the protocol's tables: what was to be done here, what others had done, and
// what may come of it if nothing else had happened.
type row struct {
	local   journal.Local
	remote  journal.Remote
	allowed string // verdicts, separated by spaces; those in parentheses need not come
}

// verdicts returns those that must come.
func (r row) verdicts() []string {
	return slices.DeleteFunc(strings.Fields(r.allowed), func(v string) bool { return v[0] == '(' })
}

// The tables of reconciling, as far as there are the edits. A verdict of several letters is
// several things that came of one edit.
var (
	sameNode = []row{
		{journal.LocalWrite, journal.RemoteWrite, "C"},
		{journal.LocalWrite, journal.RemoteSameWrite, "D"},
		{journal.LocalWrite, journal.RemoteMove, "K"},
		{journal.LocalWrite, journal.RemoteSetAttr, "K"},
		{journal.LocalWrite, journal.RemoteDeleted, "V VN"},
		{journal.LocalWrite, journal.RemoteRewritten, "C"},
		{journal.LocalWrite, journal.RemoteAncestorDeleted, "V VN"},
		{journal.LocalWrite, journal.RemoteAncestorMoved, "K"},

		{journal.LocalMove, journal.RemoteWrite, "K"},
		{journal.LocalMove, journal.RemoteMove, "D"},
		{journal.LocalMove, journal.RemoteSetAttr, "K"},
		{journal.LocalMove, journal.RemoteDeleted, "V VN"},
		{journal.LocalMove, journal.RemoteAncestorDeleted, "V"},
		{journal.LocalMove, journal.RemoteAncestorMoved, "K D"},
		{journal.LocalMove, journal.RemoteCycle, "D"},

		{journal.LocalReplace, journal.RemoteWrite, "K"},
		{journal.LocalReplace, journal.RemoteMove, "D"},
		{journal.LocalReplace, journal.RemoteSetAttr, "K"},
		{journal.LocalReplace, journal.RemoteDeleted, "V VN"},
		{journal.LocalReplace, journal.RemoteAncestorDeleted, "V VN"},
		{journal.LocalReplace, journal.RemoteAncestorMoved, "K"},

		{journal.LocalVictim, journal.RemoteWrite, "MN"},
		{journal.LocalVictim, journal.RemoteMove, "M MN"},
		{journal.LocalVictim, journal.RemoteSetAttr, "K"},
		{journal.LocalVictim, journal.RemoteDeleted, "M"},
		{journal.LocalVictim, journal.RemoteAncestorDeleted, "VM"},
		{journal.LocalVictim, journal.RemoteAncestorMoved, "K"},

		{journal.LocalExchange, journal.RemoteWrite, "K"},
		{journal.LocalExchange, journal.RemoteMove, "D"},
		{journal.LocalExchange, journal.RemoteSetAttr, "K"},
		{journal.LocalExchange, journal.RemoteDeleted, "M MN (VM) (D)"}, // D: the place is below the other one by now
		{journal.LocalExchange, journal.RemoteAncestorDeleted, "V VM"},
		{journal.LocalExchange, journal.RemoteAncestorMoved, "K"},
		{journal.LocalExchange, journal.RemoteCycle, "D"},

		{journal.LocalSetAttr, journal.RemoteWrite, "K"},
		{journal.LocalSetAttr, journal.RemoteMove, "K"},
		{journal.LocalSetAttr, journal.RemoteSetAttr, "K"},
		{journal.LocalSetAttr, journal.RemoteDeleted, "D"},
		{journal.LocalSetAttr, journal.RemoteAncestorDeleted, "D"},
		{journal.LocalSetAttr, journal.RemoteAncestorMoved, "K"},

		{journal.LocalDelete, journal.RemoteWrite, "D"},
		{journal.LocalDelete, journal.RemoteMove, "D"},
		{journal.LocalDelete, journal.RemoteSetAttr, "K"},
		{journal.LocalDelete, journal.RemoteDeleted, "D"},
		{journal.LocalDelete, journal.RemoteAncestorDeleted, "D"},
		{journal.LocalDelete, journal.RemoteAncestorMoved, "K"},

		{journal.LocalRmdir, journal.RemoteChild, "D"},
		{journal.LocalRmdir, journal.RemoteMove, "D"},
		{journal.LocalRmdir, journal.RemoteSetAttr, "K"},
		{journal.LocalRmdir, journal.RemoteDeleted, "D"},
		{journal.LocalRmdir, journal.RemoteAncestorDeleted, "D"},
		{journal.LocalRmdir, journal.RemoteAncestorMoved, "K"},

		{journal.LocalTree, journal.RemoteBelow, "P D"},
		{journal.LocalTree, journal.RemoteMove, "D"},
		{journal.LocalTree, journal.RemoteSetAttr, "K (P)"},
		{journal.LocalTree, journal.RemoteDeleted, "D"},
		{journal.LocalTree, journal.RemoteAncestorDeleted, "D"},
		{journal.LocalTree, journal.RemoteAncestorMoved, "K"},
	}
	sameName = []row{
		{journal.LocalCreate, journal.RemoteFile, "A N"},
		{journal.LocalCreate, journal.RemoteDir, "N"},
		{journal.LocalCopy, journal.RemoteFile, "A N"},
		{journal.LocalCopy, journal.RemoteDir, "N"},
		{journal.LocalMkdir, journal.RemoteFile, "N"},
		{journal.LocalMkdir, journal.RemoteDir, "A N"},
		{journal.LocalSymlink, journal.RemoteFile, "A N"},
		{journal.LocalSymlink, journal.RemoteDir, "N"},
		{journal.LocalMove, journal.RemoteFile, "N"},
		{journal.LocalMove, journal.RemoteDir, "N"},
		{journal.LocalReplace, journal.RemoteFile, "MN"},
		{journal.LocalReplace, journal.RemoteDir, "MN"},
	}
	parents = []row{
		{journal.LocalCreate, journal.RemoteParent, "V VN"},
		{journal.LocalCreate, journal.RemoteMoved, "K"},
		{journal.LocalCopy, journal.RemoteParent, "V VN"},
		{journal.LocalCopy, journal.RemoteMoved, "K"},
		{journal.LocalMkdir, journal.RemoteParent, "V VN"},
		{journal.LocalMkdir, journal.RemoteMoved, "K"},
		{journal.LocalSymlink, journal.RemoteParent, "V VN"},
		{journal.LocalSymlink, journal.RemoteMoved, "K"},
		{journal.LocalMove, journal.RemoteParent, "V VN (D)"}, // D: into what was lost with the directory that moves
		{journal.LocalMove, journal.RemoteMoved, "K"},
		{journal.LocalReplace, journal.RemoteParent, "VM"},
		{journal.LocalReplace, journal.RemoteMoved, "K"},
	}
)

var tables = []struct {
	title string
	rows  []row
}{{"same node", sameNode}, {"same name", sameName}, {"parents", parents}}

// An Event is something that happens now and then, and that histories are no test without.
type Event string

const (
	Refusal      Event = "batches refused"
	Repeat       Event = "batches that came again"
	Relisting    Event = "listings anew"
	Death        Event = "clients that died"
	DeathInside  Event = "… in a transaction"
	PowerLoss    Event = "losses of power that took something back"
	DiskFailure  Event = "disks that failed"
	Upload       Event = "chunks put"
	Deletion     Event = "objects deleted"
	Collected    Event = "collections of garbage that deleted chunks"
	Restored     Event = "restores"
	CutOff       Event = "logs cut off"
	Locked       Event = "roles changed"
	LateClosing  Event = "files closed that others had changed meanwhile"
	ServerReborn Event = "servers started again"
	Held         Event = "versions held that a device builds on"
	MovedOut     Event = "files moved to another namespace"
)

var allEvents = []Event{Refusal, Repeat, Relisting, Death, DeathInside, PowerLoss, DiskFailure, Upload, Deletion, Collected,
	Restored, CutOff, Locked, LateClosing, ServerReborn, Held, MovedOut}

// Events counts them.
type Events map[Event]int

// Missing returns those that never happened.
func (e Events) Missing() []string {
	var all []string
	for _, what := range allEvents {
		if e[what] == 0 {
			all = append(all, string(what))
		}
	}
	return all
}

// Print writes them, a line each.
func (e Events) Print(to io.Writer) error {
	for _, what := range allEvents {
		if _, err := fmt.Fprintf(to, "%9d  %s\n", e[what], what); err != nil {
			return err
		}
	}
	return nil
}

// Coverage counts how often each case of reconciling was met.
type Coverage map[journal.Cell]int

// Add adds another's counts.
func (c Coverage) Add(other Coverage) {
	for cell, n := range other {
		c[cell] += n
	}
}

// A Count says how often a cell was met.
type Count struct {
	Here    journal.Local   `json:"here"`
	Others  journal.Remote  `json:"others"`
	Verdict journal.Verdict `json:"verdict"`
	Count   int             `json:"count"`
}

// Counts returns all cells of the tables.
func (c Coverage) Counts() []Count {
	all := []Count{}
	for _, table := range tables {
		for _, r := range table.rows {
			for _, v := range r.verdicts() {
				all = append(all, Count{r.local, r.remote, journal.Verdict(v), c.count(r, v)})
			}
		}
	}
	return all
}

// count returns how often a row was met with a verdict.
func (c Coverage) count(r row, v string) int {
	cell := journal.Cell{Local: r.local, Remote: r.remote, Verdict: journal.Verdict(v)}
	n := c[cell]
	cell.Only = true
	return n + c[cell]
}

// strict is what the tables say of an edit that met one thing only.
var strict = func() map[journal.Cell]bool {
	all := make(map[journal.Cell]bool)
	for _, table := range tables {
		for _, r := range table.rows {
			for _, v := range strings.Fields(r.allowed) {
				v = strings.Trim(v, "()")
				all[journal.Cell{Local: r.local, Remote: r.remote, Verdict: journal.Verdict(v), Only: true}] = true
			}
		}
	}
	return all
}()

// known reports whether a case is in one of the tables: they say nothing of edits that reconciling
// itself made, nor of what was lost with a log.
func known(cell journal.Cell) bool {
	return cell.Local != journal.LocalRevive && cell.Remote != journal.RemoteLost
}

// met counts a case, which must be as the tables have it.
func (w *world) met(cell journal.Cell) {
	w.cover[cell]++
	if cell.Only && known(cell) && !strict[cell] && !w.plan.Links { // the tables know files of one name
		w.fail("table", "%s × %s became %s, which the table does not have", cell.Local, cell.Remote, cell.Verdict)
	}
}

// Missing returns the cells of the tables that were never met, also where a cell has several
// verdicts and one of them never came.
func (c Coverage) Missing() []string {
	var all []string
	for _, n := range c.Counts() {
		if n.Count == 0 {
			all = append(all, fmt.Sprintf("%s × %s: %s", n.Here, n.Others, n.Verdict))
		}
	}
	return all
}

// Print writes the tables with the counts. In parentheses is what came of edits that had met
// several things at once.
func (c Coverage) Print(to io.Writer) error {
	out := tabwriter.NewWriter(to, 0, 8, 2, ' ', 0)
	for _, table := range tables {
		fmt.Fprintf(out, "%s\there\tothers\tverdicts\n", table.title)
		for _, r := range table.rows {
			fmt.Fprintf(out, "\t%s\t%s\t%s\n", r.local, r.remote, c.verdicts(r))
		}
	}
	return out.Flush()
}

func (c Coverage) verdicts(r row) string {
	allowed := r.verdicts()
	var texts, others []string
	for _, v := range allowed {
		texts = append(texts, fmt.Sprintf("%s %d", v, c.count(r, v)))
	}
	for cell := range c {
		if v := string(cell.Verdict); cell.Local == r.local && cell.Remote == r.remote && !slices.Contains(allowed, v) {
			others = append(others, fmt.Sprintf("(%s %d)", v, c.count(r, v)))
		}
	}
	slices.Sort(others)
	return strings.Join(append(texts, others...), "  ")
}
