package journal

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/dbfs/dbfs"
)

// A Hold is a mass change that waits for a person, who approves or rejects it. It survives
// a restart, and turning the guard off.
//
// An outgoing one is edits of this device. They stay in the journal and in the view, and are
// not sent, nor is what builds on them; everything else goes on. What this device destroys
// within Window after the last of them joins them. Approved, they are sent. Rejected, they
// are taken back: what was deleted is shown again, and what was written over has its content
// back. What was written becomes a conflicted copy, unless that is to be discarded.
//
// An incoming one is the log from the cursor on. It is not applied: the tree stays what it
// was. As long as it is held nothing is sent either, because what the server answers could
// not be applied; edits go on being recorded. Approved, the log is applied. Rejected, it is applied,
// and edits are recorded at once that bring back what it destroyed, for everybody.
//
// What passed before the guard noticed, a Budget's worth at most, is not touched.
type Hold struct {
	ID         uint64    `json:"id"`
	Incoming   bool      `json:"incoming,omitempty"`
	Decision   Decision  `json:"decision"`
	Since      time.Time `json:"since"` // when it was made
	Last       int64     `json:"last"`  // nanoseconds: when the newest of it was done
	Deletes    int       `json:"deletes"`
	Overwrites int       `json:"overwrites"`
	Bytes      int64     `json:"bytes"`        // of what they destroy
	Of         int       `json:"of,omitempty"` // how many nodes there were, if that was counted

	Listing bool        `json:"listing,omitempty"` // incoming: not of the log but of a listing anew; see relist.go
	Upto    dbfs.Cursor `json:"upto,omitzero"`     // incoming: to where the log has been looked at
	Some    []Harmed    `json:"some,omitempty"`    // incoming: the first of what it destroys
}

// A Decision is what has been decided about a Hold.
type Decision string

const (
	Undecided Decision = "held"
	Approved  Decision = "approved"
	Rejected  Decision = "rejected"
	Discarded Decision = "discarded" // rejected, and what was written in place of the old is not wanted
)

func (v Decision) known() bool {
	return v == Undecided || v == Approved || v == Rejected || v == Discarded
}

func (v Decision) rejects() bool { return v == Rejected || v == Discarded }

// A Harmed is one file or directory of a Hold.
type Harmed struct {
	Node  dbfs.NodeID `json:"node"`
	Path  string      `json:"path"` // from the namespace's root, as it was
	What  Harm        `json:"what"`
	Bytes int64       `json:"bytes"`
	Time  time.Time   `json:"time"`
}

// maxSome is how many an incoming Hold names.
const maxSome = 200

func (h *Hold) count(m harm) {
	if m.what == HarmDelete {
		h.Deletes++
	} else {
		h.Overwrites++
	}
	h.Bytes += m.bytes
	h.Last = max(h.Last, m.time)
}

// Guard looks at the edits that have been recorded since it was last called, and holds those
// that are too much. Batch does it, too.
func (j *Journal) Guard() error {
	if j.out == nil {
		return j.tidyHolds()
	}
	if err := j.measure(j.out, j.unjudged()); err != nil {
		return err
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.broken != nil {
		return j.broken
	}
	g := &judging{j: j}
	if err := j.cfg.KV.View(g.edits); err != nil {
		return err
	}
	g.number()
	if err := g.write(); err != nil {
		j.reload()
		return fmt.Errorf("hold edits of namespace %s: %w", j.cfg.NS, err)
	}
	return nil
}

// unjudged returns how many edits that may destroy something the guard has not seen.
func (j *Journal) unjudged() int {
	j.mu.RLock()
	defer j.mu.RUnlock()
	n := 0
	for e := range j.pending.all() {
		if !e.judged && mayHarm(&e.op) {
			n += 1 + len(e.op.Below)
		}
	}
	return n
}

// measure counts the nodes of the namespace, if that may matter to the next n harms.
func (j *Journal) measure(g *guard, n int) error {
	now := j.cfg.Clock().UnixNano()
	j.mu.RLock()
	want := n > 0 && g.wantsSize(n, now)
	places := slices.Collect(maps.Keys(g.known))
	j.mu.RUnlock()
	if !want {
		return nil
	}
	size, err := j.countTree(places)
	if err != nil {
		return fmt.Errorf("count namespace %s: %w", j.cfg.NS, err)
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	g.size, g.sizeAt = size, now
	return nil
}

// countTree counts the live nodes of the tree, and those that were at the places and are not
// there any more, in short transactions.
func (j *Journal) countTree(gone []place) (int, error) {
	n := 0
	const page = 5000
	for after, more := dbfs.RootNode, true; more; {
		err := j.read(func(s *snapshot) error {
			seen := 0
			more = false
			return s.tree.Nodes(s.txn, after, func(node dbfs.Node) bool {
				after = node.ID
				if !node.Deleted && !node.IsRoot() {
					n++
				}
				seen++
				more = seen == page
				return !more
			})
		})
		if err != nil {
			return 0, err
		}
	}
	err := j.read(func(s *snapshot) error {
		for _, at := range gone {
			if _, ok := s.treeChild(at.parent, at.name); !ok {
				n++
			}
		}
		return nil
	})
	return n, err
}

// judging is one look at the edits that the guard has not seen.
type judging struct {
	j       *Journal
	tree    *snapshot // without the edits
	held    []*edit
	changed []*Hold
	opened  []*Hold
	gone    []*Hold
}

func (g *judging) edits(txn dbfs.Txn) error {
	j := g.j
	g.tree = &snapshot{txn: txn, tree: j.cfg.Tree, view: newView(), rootIno: j.st.rootIno, rule: j.cfg.Names}
	view := j.snapshot(txn)
	for e := range j.pending.all() {
		if e.judged {
			continue
		}
		e.judged = true
		if e.hold != 0 {
			continue
		}
		ms := harmsOf(&e.op, g.tree)
		if len(ms) > 0 && !(ms[0].what == HarmDelete && sameAgain(&e.op, ms[0].at, view, g.tree)) {
			g.judge(e, ms)
		}
	}
	g.gone = j.emptyHolds()
	return errors.Join(g.tree.err, view.err)
}

// judge looks at what an edit destroys.
func (g *judging) judge(e *edit, ms []harm) {
	j := g.j
	h := j.joins(ms[0].time)
	if h == nil || e.sent {
		tooMuch := false
		for _, m := range ms {
			tooMuch = j.out.step(m) || tooMuch
		}
		if !tooMuch || e.sent {
			return
		}
		h = g.open(e)
	} else {
		g.take(h, e, ms)
	}
	g.changed = append(g.changed, h)
}

// sameAgain reports whether the name of a deleted file has been given to one with the same bytes.
func sameAgain(op *dbfs.Op, at place, view, tree state) bool {
	was, _ := tree.node(op.Node)
	now, ok := view.child(at.parent, at.name)
	return ok && was.Kind == dbfs.KindFile && now.Kind == dbfs.KindFile && now.Content.Equal(was.Content)
}

// joins returns the hold that what is destroyed at a time belongs to, or nil.
func (j *Journal) joins(at int64) *Hold {
	for _, h := range j.holds {
		if !h.Incoming && h.Decision == Undecided && at <= h.Last+int64(j.out.Window) {
			return h
		}
	}
	return nil
}

// open makes a hold of e and of what was let pass before it and has not been sent.
func (g *judging) open(last *edit) *Hold {
	j := g.j
	h := &Hold{ID: j.freeHold(), Decision: Undecided, Since: j.cfg.Clock(), Of: j.out.size}
	for e := range j.pending.all() {
		ms := harmsOf(&e.op, g.tree)
		if len(ms) > 0 && !e.sent && e.hold == 0 && (e == last || j.out.known[ms[0].at]) {
			g.take(h, e, ms)
		}
		if e == last {
			break
		}
	}
	j.holds = append(j.holds, h)
	g.opened = append(g.opened, h)
	j.out.clear()
	return h
}

// number gives the holds that were opened their numbers, which are of all namespaces and written
// down: not while the database is being read (see dbfs.KV).
func (g *judging) number() {
	now := make(map[uint64]uint64)
	for _, h := range g.opened {
		id := g.j.nextHold()
		now[h.ID], h.ID = id, id
	}
	for _, e := range g.held {
		if id, ok := now[e.hold]; ok {
			e.hold = id
		}
	}
}

func (g *judging) take(h *Hold, e *edit, ms []harm) {
	e.hold = h.ID
	for _, m := range ms {
		h.count(m)
	}
	g.held = append(g.held, e)
}

// write makes it durable. If a crash cuts it short, the rest joins the hold after the start.
func (g *judging) write() error {
	j := g.j
	var ws writes
	written := make(map[*Hold]bool)
	for _, h := range g.changed {
		if !written[h] {
			written[h] = true
			ws.add(500, func(txn dbfs.Txn) error { return j.log.putHold(txn, h) })
		}
	}
	for _, e := range g.held {
		ws.add(200+opBytes(&e.op), func(txn dbfs.Txn) error { return j.log.put(txn, e) })
	}
	for _, h := range g.gone {
		ws.add(100, func(txn dbfs.Txn) error { return j.log.removeHold(txn, h) })
	}
	if err := ws.run(j.cfg.KV, j.txnBytes()); err != nil {
		return err
	}
	j.dropHolds(g.gone)
	for _, h := range g.opened {
		j.cfg.Log.Warn("too many deletes or overwrites: they are held and not sent",
			"hold", h.ID, "deletes", h.Deletes, "overwrites", h.Overwrites, "bytes", h.Bytes)
	}
	return nil
}

// tidyHolds forgets holds that nothing is in any more.
func (j *Journal) tidyHolds() error {
	j.mu.Lock()
	defer j.mu.Unlock()
	g := &judging{j: j, gone: j.emptyHolds()}
	if j.broken != nil || len(g.gone) == 0 {
		return j.broken
	}
	return g.write()
}

// emptyHolds returns the holds that nothing is in any more.
func (j *Journal) emptyHolds() []*Hold {
	if len(j.holds) == 0 {
		return nil
	}
	used := make(map[uint64]bool)
	for e := range j.pending.all() {
		used[e.hold] = true
	}
	var gone []*Hold
	for _, h := range j.holds {
		if !h.Incoming && !used[h.ID] || h.Incoming && h.Decision != Undecided && j.passed(h) {
			gone = append(gone, h)
		}
	}
	return gone
}

// passed reports whether the tree has got to where a hold of the log ends, or follows another log.
func (j *Journal) passed(h *Hold) bool {
	if h.Listing {
		return j.cursor.Epoch > h.Upto.Epoch || j.cursor.Epoch == h.Upto.Epoch && j.cursor.JID >= h.Upto.JID
	}
	return j.cursor.Epoch != h.Upto.Epoch || j.cursor.JID >= h.Upto.JID
}

func (j *Journal) dropHolds(gone []*Hold) {
	j.holds = slices.DeleteFunc(j.holds, func(h *Hold) bool { return slices.Contains(gone, h) })
}

func (j *Journal) nextHold() uint64 {
	if j.cfg.HoldID != nil {
		return j.cfg.HoldID()
	}
	return j.freeHold()
}

// freeHold returns a number that no hold of this namespace has.
func (j *Journal) freeHold() uint64 {
	id := uint64(1)
	for _, h := range j.holds {
		id = max(id, h.ID+1)
	}
	return id
}

func (j *Journal) holdOf(id uint64) *Hold {
	for _, h := range j.holds {
		if h.ID == id {
			return h
		}
	}
	return nil
}

// isHeld reports whether an edit must not be sent now.
func (j *Journal) isHeld(e *edit) bool {
	if j.out != nil && !e.judged {
		return true
	}
	if len(j.holds) == 0 {
		return false
	}
	return j.keeps(e) || e.op.Type.Makes() && slices.ContainsFunc(j.pending.byNode[e.op.Node], j.keeps)
}

// keeps reports whether an edit is in a hold that has not been approved. What is made only to
// be moved by such an edit is not sent either.
func (j *Journal) keeps(e *edit) bool {
	h := j.holdOf(e.hold)
	return e.hold != 0 && h != nil && !h.Incoming && h.Decision != Approved
}

// isRejected reports whether an edit is to be taken back.
func (j *Journal) isRejected(e *edit) bool {
	if e.hold == 0 {
		return false
	}
	h := j.holdOf(e.hold)
	return h != nil && !h.Incoming && h.Decision.rejects()
}

// Holds returns what is held, and what has been decided and is not through yet, oldest first.
func (j *Journal) Holds() []Hold {
	j.mu.RLock()
	defer j.mu.RUnlock()
	var all []Hold
	for _, h := range j.holds {
		switch {
		case !h.Incoming:
			all = append(all, j.recounted(*h))
		case h.Decision == Undecided || !j.passed(h):
			all = append(all, *h)
		}
	}
	return all
}

// recounted returns an outgoing hold as what is left of it: of its edits some may have been
// changed or taken back since.
func (j *Journal) recounted(h Hold) Hold {
	h.Deletes, h.Overwrites = 0, 0
	for e := range j.pending.all() {
		if e.hold == h.ID && (e.op.Type == dbfs.OpDelete || e.op.Type == dbfs.OpDeleteTree) {
			h.Deletes += 1 + len(e.op.Below)
		} else if e.hold == h.ID {
			h.Overwrites++
		}
	}
	return h
}

// Harmed returns what a hold is about, of a very large incoming one the first part.
func (j *Journal) Harmed(id uint64) ([]Harmed, error) {
	var all []Harmed
	err := j.read(func(s *snapshot) error {
		h := j.holdOf(id)
		if h == nil {
			return fmt.Errorf("hold %d: %w", id, dbfs.ErrNotExist)
		}
		if h.Incoming {
			all = h.Some
			return nil
		}
		tree := *s
		tree.view = newView()
		for e := range j.pending.all() {
			if e.hold != id {
				continue
			}
			for _, m := range harmsOf(&e.op, &tree) {
				id := e.op.Node
				if n, ok := tree.child(m.at.parent, m.at.name); ok && len(e.op.Below) > 0 {
					id = n.ID
				}
				all = append(all, harmedBy(&tree, id, m))
			}
		}
		return tree.err
	})
	return all, err
}

func harmedBy(s state, id dbfs.NodeID, m harm) Harmed {
	return Harmed{Node: id, Path: pathOf(s, m.at), What: m.what, Bytes: m.bytes, Time: time.Unix(0, m.time)}
}

// pathOf returns the path of a place, as far up as it can be told.
func pathOf(s state, at place) string {
	parts := []string{at.name}
	for id := at.parent; id != dbfs.RootNode && len(parts) < maxDepth; {
		n, ok := s.node(id)
		if !ok {
			break
		}
		parts = append(parts, n.Name)
		id = n.Parent
	}
	slices.Reverse(parts)
	return strings.Join(parts, "/")
}

// HeldOf reports the hold that keeps a node's edits from being sent, if there is one.
func (j *Journal) HeldOf(id dbfs.NodeID) (hold uint64, held bool) {
	j.mu.RLock()
	defer j.mu.RUnlock()
	for _, e := range j.pending.byNode[id] {
		if h := j.holdOf(e.hold); e.hold != 0 && h != nil && h.Decision == Undecided {
			return h.ID, true
		}
	}
	if h := j.incoming(); h != nil && h.Decision == Undecided && len(j.pending.byNode[id]) > 0 {
		return h.ID, true
	}
	return 0, false
}

// Decide notes what a person says about a hold. What follows from it is done at once or, where
// the server is needed, soon; the caller sees to it that the log is read.
func (j *Journal) Decide(id uint64, v Decision) error {
	if !v.known() || v == Undecided {
		return fmt.Errorf("%w: decide %q", dbfs.ErrInvalid, v)
	}
	if err := j.decide(id, v); err != nil {
		return err
	}
	return j.catchUp()
}

func (j *Journal) decide(id uint64, v Decision) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	h := j.holdOf(id)
	switch {
	case j.broken != nil:
		return j.broken
	case h == nil:
		return fmt.Errorf("hold %d: %w", id, dbfs.ErrNotExist)
	case h.Decision != Undecided:
		return fmt.Errorf("hold %d has been %s: %w", id, h.Decision, dbfs.ErrExist)
	}
	decided, st := *h, j.st
	decided.Decision = v
	if !h.Incoming && v.rejects() {
		st.owe(j.cursor.JID)
	}
	err := j.cfg.KV.Update(func(txn dbfs.Txn) error {
		if err := j.log.putHold(txn, &decided); err != nil {
			return err
		}
		return j.log.setState(txn, st)
	})
	if err != nil {
		return fmt.Errorf("decide hold %d: %w", id, err)
	}
	*h, j.st = decided, st
	for _, g := range []*guard{j.out, j.in} {
		if g != nil {
			g.clear()
		}
	}
	j.cfg.Log.Info("hold decided", "hold", id, "decision", v)
	j.hasMoved()
	return nil
}

// takeBack makes of an edit in a rejected hold what is left of it, and reports whether that
// is nothing.
func (r *rebase) takeBack(e *edit, op *dbfs.Op) bool {
	if !r.j.isRejected(e) {
		return r.unwanted[op.Node] || r.j.abandoned[e]
	}
	switch {
	case op.Type == dbfs.OpDelete, op.Type == dbfs.OpDeleteTree, r.takesLink(op), r.j.holdOf(e.hold).Decision == Discarded:
		return true
	case op.Type == dbfs.OpWrite:
		op.Base.Content = noRev // so it is beaten, and becomes a copy
	case op.Replace != nil:
		op.Replace.Base = dbfs.Revs{Content: noRev, Place: noRev} // nobody saw it: the mover steps aside
	}
	return false
}

// discard finds the files that were made only to be put in the place of others, by edits that
// are not wanted.
func (r *rebase) discard() {
	for e := range r.old.all() {
		if !r.j.isRejected(e) || r.j.holdOf(e.hold).Decision != Discarded || e.op.Replace == nil {
			continue
		}
		if first := r.old.byNode[e.op.Node][0]; first.op.Type.Makes() && first.op.Node == e.op.Node && !first.fixed() {
			r.unwanted[e.op.Node] = true
		}
	}
}

// endRejected forgets the rejected holds, whose edits have been taken back.
func (j *Journal) endRejected(txn dbfs.Txn) error {
	for _, h := range j.rejected() {
		if err := j.log.removeHold(txn, h); err != nil {
			return err
		}
	}
	return nil
}

func (j *Journal) rejected() []*Hold {
	var all []*Hold
	for _, h := range j.holds {
		if !h.Incoming && h.Decision.rejects() {
			all = append(all, h)
		}
	}
	return all
}
