package journal

import (
	"fmt"
	"strings"

	"github.com/dbfs/dbfs"
)

// A Salvaged is something that would be lost if the pending edits were dropped: a file with bytes
// that only these name, or a directory or symlink made by one.
type Salvaged struct {
	Node dbfs.Node
	Path string    // from the namespace's root; where it is not reachable, its name
	Last dbfs.OpID // of the last edit that made it what it is
	Ops  []dbfs.Op // all edits of the node
}

// Salvage returns what would be lost with the pending edits, directories before what is in
// them, and the edits that are about nothing of that.
func (j *Journal) Salvage() (all []Salvaged, rest []dbfs.Op, err error) {
	err = j.read(func(s *snapshot) error {
		at := make(map[dbfs.NodeID]int)
		for e := range j.pending.all() {
			i, ok := at[e.op.Node]
			if !ok {
				n, there := s.node(e.op.Node)
				if !there || n.Deleted || !j.holdsBytes(n.ID) {
					rest = append(rest, e.op)
					continue
				}
				i = len(all)
				at[n.ID] = i
				all = append(all, Salvaged{Node: n, Path: s.salvagePath(n)})
			}
			all[i].Ops = append(all[i].Ops, e.op)
			if e.op.Type.Makes() || e.op.Content != nil {
				all[i].Last = e.op.ID
			}
		}
		return nil
	})
	return all, rest, err
}

// holdsBytes reports whether a pending edit of a node brings something that the server has not.
func (j *Journal) holdsBytes(id dbfs.NodeID) bool {
	for _, e := range j.pending.byNode[id] {
		if e.op.Node == id && (e.op.Type.Makes() && e.op.Kind != dbfs.KindMount && e.op.Kind != dbfs.KindLink || e.op.Content != nil) {
			return true
		}
	}
	return false
}

func (s *snapshot) salvagePath(n dbfs.Node) string {
	parts := []string{n.Name}
	for id := n.Parent; id != dbfs.RootNode; {
		dir, ok := s.node(id)
		if !ok || len(parts) > maxDepth {
			return n.Name
		}
		parts = append([]string{dir.Name}, parts...)
		id = dir.Parent
	}
	return strings.Join(parts, "/")
}

// Abandon drops edits that have been looked at, and are unchanged since. A batch in flight is
// forgotten; if the server has it, it has it. While the tree is a mixture of times nothing is
// dropped, and it has to be called again.
func (j *Journal) Abandon(seen []dbfs.Op) error {
	if err := j.TakeBack(); err != nil {
		return err
	}
	want := make(map[dbfs.OpID]*dbfs.Op)
	for i := range seen {
		want[seen[i].ID] = &seen[i]
	}
	err := j.step(func(l *looks) error {
		j.abandoned = make(map[*edit]bool)
		for e := range j.pending.all() {
			if op := want[e.op.ID]; op != nil && sameContent(op.Content, e.op.Content) {
				j.abandoned[e] = true
			}
		}
		if len(j.abandoned) == 0 {
			return nil
		}
		j.st.owe(j.cursor.JID)
		return j.reconcileIfDue(l)
	})
	j.mu.Lock()
	j.abandoned = nil
	j.mu.Unlock()
	if err != nil {
		return fmt.Errorf("abandon edits: %w", err)
	}
	return nil
}

func sameContent(a, b *dbfs.Content) bool {
	return a == nil && b == nil || a != nil && b != nil && a.Equal(*b)
}
