package journal

import (
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/dbfs/dbfs"
)

// Random histories of several devices and the real server: edits, messages that get lost,
// restarts, failing disks, logs that are cut off or restored. Each ends in peace, and then
// the properties of the protocol must hold. The seed decides everything; to see one history:
//
//	go test ./journal -run 'Histories/offline' -seed 1234 -histories 1 -v
var (
	firstSeed = flag.Uint64("seed", 1, "of the first random history")
	histories = flag.Int("histories", 0, "how many random histories of each sort; 0: as many as a quick test should have")
)

// A plan is a sort of history.
type plan struct {
	name    string
	count   int
	devices int
	active  int // how many of them edit
	steps   int
	apart   bool // each edits in a directory of its own
	losses  bool // messages get lost
	crashes bool
	disks   bool // … that fail
	subsets bool // contents are ready at random
	resets  bool // the log is cut off
	trims   bool // the log is trimmed, and nodes are told of instead
	restore bool // the server is restored from a backup
	links   bool // files have several names
	guarded bool // nearly every harm is held, and decided at random
	txn     int  // bytes that a transaction holds; 0: as usual
}

var plans = []plan{
	{name: "quiet", count: 100, devices: 2, active: 2, steps: 30},
	{name: "alone", count: 100, devices: 2, active: 1, steps: 60, losses: true, crashes: true, subsets: true},
	{name: "alone through resets", count: 66, devices: 2, active: 1, steps: 60, losses: true, crashes: true, subsets: true, resets: true},
	{name: "apart", count: 66, devices: 3, active: 3, steps: 60, apart: true, losses: true, crashes: true, subsets: true},
	{name: "offline", count: 166, devices: 3, active: 3, steps: 60, losses: true, crashes: true, subsets: true},
	{name: "long", count: 40, devices: 4, active: 4, steps: 160, losses: true, crashes: true, subsets: true},
	{name: "disks", count: 100, devices: 2, active: 2, steps: 60, losses: true, crashes: true, disks: true, txn: 1500},
	{name: "resets", count: 133, devices: 3, active: 3, steps: 60, losses: true, crashes: true, subsets: true, resets: true, txn: 2500},
	{name: "guarded", count: 166, devices: 3, active: 3, steps: 80, losses: true, crashes: true, subsets: true, guarded: true},
	{name: "guarded through resets", count: 66, devices: 3, active: 3, steps: 60, losses: true, crashes: true, resets: true, guarded: true, txn: 2500},
	// Without losses: when an answer is lost, and its entries are trimmed before it is asked for
	// again, what was made and deleted in that batch may be made and deleted again, in sight.
	{name: "alone through trims", count: 66, devices: 2, active: 1, steps: 60, crashes: true, subsets: true, trims: true},
	{name: "trims", count: 133, devices: 3, active: 3, steps: 60, losses: true, crashes: true, subsets: true, trims: true, txn: 2500},
	{name: "guarded trims", count: 133, devices: 3, active: 3, steps: 80, losses: true, crashes: true, subsets: true, guarded: true, trims: true},
	{name: "trims and resets", count: 66, devices: 3, active: 3, steps: 60, losses: true, crashes: true, disks: true, trims: true, resets: true},
	{name: "guarded restores", count: 100, devices: 3, active: 3, steps: 60, losses: true, crashes: true, subsets: true, guarded: true, restore: true},
	{name: "links", count: 200, devices: 3, active: 3, steps: 80, losses: true, crashes: true, subsets: true, links: true},
	{name: "links alone", count: 100, devices: 2, active: 1, steps: 80, losses: true, crashes: true, subsets: true, links: true},
	{name: "links apart", count: 66, devices: 3, active: 3, steps: 80, apart: true, losses: true, crashes: true, subsets: true, links: true},
	{name: "links through resets", count: 133, devices: 3, active: 3, steps: 80, losses: true, crashes: true, subsets: true, resets: true, links: true, txn: 2500},
	{name: "links through trims", count: 100, devices: 3, active: 3, steps: 80, losses: true, crashes: true, disks: true, subsets: true, trims: true, links: true},
	{name: "guarded links", count: 133, devices: 3, active: 3, steps: 80, losses: true, crashes: true, subsets: true, guarded: true, links: true},
	{name: "links through restores", count: 100, devices: 3, active: 3, steps: 60, losses: true, crashes: true, subsets: true, restore: true, links: true},
	{name: "restores", count: 100, devices: 3, active: 3, steps: 60, losses: true, crashes: true, subsets: true, restore: true},
}

// regressions are seeds that once failed, by plan.
var regressions = map[string][]uint64{
	"long":                 {100062},                               // a file replaced while another's write to it had been pulled and not reconciled
	"alone through resets": {501187, 9001598, 9002043, 5157, 7398}, // a move and a delete that were both taken before the log was cut off; a create that was not; a write and a delete that were; an exchange and a move; two exchanges
	"disks":                {500188},                               // a name taken here and there, not reconciled, seen differently after a restart
	"resets":               {500950},                               // an unlisted directory made anew, and then revived by another under its old number
	"restores":             {500220},
}

func TestHistories(t *testing.T) {
	for _, p := range plans {
		t.Run(p.name, func(t *testing.T) {
			if p.txn > 0 {
				defer func(n int) { maxTxn = n }(maxTxn)
				maxTxn = p.txn
			}
			h := newHost(t)
			for _, seed := range regressions[p.name] {
				runHistory(t, h, p, seed)
			}
			count := p.count
			if *histories > 0 {
				count = *histories
			}
			clear(decisions)
			jumps := 0
			for i := range count {
				jumps += runHistory(t, h, p, *firstSeed+uint64(i))
			}
			if p.trims && jumps < count/3 {
				t.Errorf("%d pages of nodes in %d histories: they are hardly tried", jumps, count)
			}
			if p.guarded {
				t.Logf("decisions: %v", decisions)
				if len(decisions) < 6 {
					t.Error("not every decision was made about both directions")
				}
			}
		})
	}
}

// history is one run of a plan.
type history struct {
	t       *testing.T
	plan    plan
	h       *host
	ns      dbfs.NamespaceID
	rng     *rand.Rand
	devices []*device
	content int               // the last one given away
	written map[int]string    // contents that were recorded, by whom
	seen    map[int]bool      // … that somebody had in view and then overwrote or deleted
	cursors []dbfs.Cursor     // how far each device had got
	backups map[uint32]backup // by the epoch that they are restored as
	epoch   uint32
	before  string // what was seen before an edit
	trace   []string
}

func runHistory(t *testing.T, h *host, p plan, seed uint64) (jumps int) {
	hi := &history{
		t: t, plan: p, h: h, ns: h.namespace(t), rng: rand.New(rand.NewPCG(seed, 99)),
		written: make(map[int]string), seen: make(map[int]bool), epoch: 1,
	}
	done := false
	defer func() {
		if t.Failed() || !done {
			t.Logf("plan %q, seed %d; it went like this:\n%s", p.name, seed, strings.Join(hi.trace, "\n"))
		}
	}()
	for i := range p.devices {
		hi.devices = append(hi.devices, newDevice(t, h, i, hi.ns, seed))
		hi.devices[i].settle()
		if p.guarded {
			hi.devices[i].guard = &Budget{Window: time.Hour, Count: 1, Share: 1, Max: 2, Bytes: 1 << 40}
			hi.devices[i].open()
		}
	}
	hi.cursors = make([]dbfs.Cursor, p.devices)
	if p.apart {
		hi.homes()
	}
	for range p.steps {
		hi.step(hi.devices[hi.rng.IntN(p.devices)])
	}
	hi.peace()
	if done = true; t.Failed() {
		t.FailNow()
	}
	for _, d := range hi.devices {
		jumps += d.jumps
	}
	return jumps
}

func (hi *history) log(d *device, format string, args ...any) {
	hi.trace = append(hi.trace, d.name+" "+fmt.Sprintf(format, args...))
}

// homes gives each device a directory of its own.
func (hi *history) homes() {
	for _, d := range hi.devices {
		d.make(d.name, dir)
		d.settle()
	}
	for _, d := range hi.devices {
		d.settle()
	}
}

func (hi *history) step(d *device) {
	i := slices.Index(hi.devices, d)
	alone := hi.plan.active == 1
	before, changes := "", len(d.changes)
	if alone {
		before = d.show(true)
	}
	edited, restarted := false, false
	seen, at := d.nodes(), d.j.Cursor()
	switch n := hi.rng.IntN(100); {
	case n < 50 && i < hi.plan.active:
		edited = true
		hi.edit(d)
	case n < 68:
		hi.push(d)
	case n < 88:
		hi.pull(d)
	case n < 94 && hi.plan.crashes:
		restarted = true
		hi.crash(d)
	case n < 97 && hi.plan.guarded && hi.rng.IntN(2) == 0:
		hi.decide(d)
	case n < 97 && hi.plan.resets:
		hi.log(d, "finds the log cut off")
		hi.h.store.forget(hi.t, hi.ns)
	case n < 99 && hi.plan.trims:
		hi.log(d, "finds the log trimmed")
		hi.h.store.trim(hi.t, hi.ns)
	case n < 97 && hi.plan.restore:
		hi.restore(d)
	case hi.plan.disks:
		d.kv.left = hi.rng.IntN(5)
		hi.log(d, "has a disk that fails after %d updates", d.kv.left)
	}
	if !restarted && at != (dbfs.Cursor{}) {
		if d.told(seen, d.changes[changes:]); hi.t.Failed() {
			hi.t.FailNow()
		}
	}
	if alone && i == 0 && !edited {
		hi.unchanged(d, before, changes)
	}
	hi.forward(i)
}

// unchanged checks P11: syncing the only active device's own edits changes nothing it sees.
// Where the log was cut off, files whose creation may have been lost get other ids, and
// observers are told; nothing else.
func (hi *history) unchanged(d *device, before string, changes int) {
	after, told := d.show(true), d.changes[changes:]
	if hi.plan.resets {
		before, after, told = nodeIDs.ReplaceAllString(before, ""), nodeIDs.ReplaceAllString(after, ""), nil
	}
	if after != before {
		hi.t.Fatalf("syncing changed what %s sees, from\n%sto\n%s", d.name, before, after)
	}
	if len(told) > 0 {
		hi.t.Fatalf("syncing told %s of changes: %+v", d.name, told)
	}
}

var nodeIDs = regexp.MustCompile(`\b[0-9a-f]{32}\b`)

// forward checks P10: a cursor never goes back within an epoch.
func (hi *history) forward(i int) {
	at := hi.devices[i].j.Cursor()
	if was := hi.cursors[i]; at.Epoch == was.Epoch && at.JID < was.JID && !hi.plan.resets {
		hi.t.Fatalf("the cursor of %s went from %v to %v", hi.devices[i].name, was, at)
	}
	hi.cursors[i] = at
}

// must lets the failures pass that a failing disk explains: then the view is as before, or
// as after a restart.
func (hi *history) must(d *device, err error) {
	hi.t.Helper()
	switch {
	case err == nil:
	case errors.Is(err, errDisk):
		hi.log(d, "fails: %v", err)
		d.kv.left = -1
	default:
		hi.t.Fatalf("%s: %v", d.name, err)
	}
}

func (hi *history) push(d *device) {
	what := none
	if hi.plan.losses {
		what = []accident{none, none, none, requestLost, answerLost}[hi.rng.IntN(5)]
	}
	ready := always
	if hi.plan.subsets {
		chance := hi.rng.IntN(5)
		ready = func(*dbfs.Op) bool { return hi.rng.IntN(4) < chance }
	}
	var batch []dbfs.Op
	sent, err := d.push(func(op *dbfs.Op) bool {
		ok := ready(op)
		if ok {
			batch = append(batch, *op)
		}
		return ok
	}, what)
	hi.log(d, "pushes (%v, accident %d, refused %d so far): %s", sent, what, d.refused, ops(batch))
	hi.must(d, err)
}

func ops(all []dbfs.Op) string {
	var b strings.Builder
	for _, op := range all {
		fmt.Fprintf(&b, " [%s %s %s %q %v", op.Type, op.Node.String()[:4], op.Parent.String()[:4], op.Name, op.Base)
		if op.Replace != nil {
			fmt.Fprintf(&b, " over %s %v %q", op.Replace.Node.String()[:4], op.Replace.Base, op.Replace.Name)
		}
		if op.Content != nil {
			fmt.Fprintf(&b, " size=%d", op.Content.Size)
		}
		b.WriteByte(']')
	}
	return b.String()
}

// decisions counts what has been decided, by what it was.
var decisions = make(map[string]int)

// decide decides what a device holds, if it holds anything, and reports whether it did.
func (hi *history) decide(d *device) bool {
	for _, h := range d.j.Holds() {
		if h.Decision != Undecided {
			continue
		}
		v := []Decision{Approved, Approved, Rejected, Discarded}[hi.rng.IntN(4)]
		hi.log(d, "decides %s about %+v", v, h)
		if v == Discarded || v == Rejected && h.Incoming { // what was written is not wanted
			for c := range hi.written {
				hi.seen[c] = true
			}
		}
		check(hi.t, d.j.Decide(h.ID, v))
		decisions[fmt.Sprintf("%v incoming=%v", v, h.Incoming)]++
		return true
	}
	return false
}

func (hi *history) pull(d *device) {
	err := d.pull(1 + hi.rng.IntN(3))
	hi.log(d, "pulls to %v; pending:%s", d.j.Cursor(), ops(d.j.Pending()))
	hi.must(d, err)
}

// crash checks P12: what was seen before it is seen after it.
func (hi *history) crash(d *device) {
	before, owed := d.show(true), d.j.st.owed
	d.open()
	hi.log(d, "restarts")
	if after := d.show(true); after != before && !owed {
		hi.t.Fatalf("before the restart %s saw\n%safter it\n%s", d.name, before, after)
	}
}

// restore brings the server back to an earlier state, or keeps one for later.
func (hi *history) restore(d *device) {
	if hi.backups == nil || hi.rng.IntN(2) == 0 {
		hi.log(d, "sees a backup made")
		hi.backups = map[uint32]backup{hi.epoch: hi.h.store.backup(hi.t, hi.ns)}
		return
	}
	for _, b := range hi.backups {
		hi.epoch++
		hi.log(d, "finds the server restored")
		hi.h.store.restore(hi.t, hi.ns, b, hi.epoch)
	}
	hi.backups = nil
	// What the server had taken and lost again is nobody's fault here.
	pending := hi.pending()
	for c := range hi.written {
		if !pending[c] {
			hi.seen[c] = true
		}
	}
}

func (hi *history) pending() map[int]bool {
	all := make(map[int]bool)
	for _, d := range hi.devices {
		for _, op := range d.j.Pending() {
			if op.Content != nil {
				all[int(op.Content.Size)] = true
			}
		}
	}
	return all
}

// edit does one thing that a user could do, somewhere in the view.
func (hi *history) edit(d *device) {
	files, dirs := hi.nodes(d)
	hi.before = d.show(true)
	err := hi.change(d, files, dirs)
	if now := d.show(true); err != nil && now != hi.before {
		hi.t.Fatalf("an edit that failed changed what %s sees, from\n%sto\n%s", d.name, hi.before, now)
	}
	for _, ok := range []error{dbfs.ErrExist, dbfs.ErrManyLinks, dbfs.ErrNotEmpty, dbfs.ErrLoop, dbfs.ErrIsDir, dbfs.ErrNotDir} {
		if errors.Is(err, ok) {
			hi.log(d, "  … is refused: %v", err)
			return
		}
	}
	hi.must(d, err)
}

func (hi *history) nodes(d *device) (files, dirs []dbfs.Node) {
	if !hi.plan.apart {
		dirs = append(dirs, dbfs.Node{Kind: dbfs.KindDir})
	}
	d.walk(func(p string, n dbfs.Node) {
		if hi.plan.apart && p != d.name && !strings.HasPrefix(p, d.name+"/") {
			return
		}
		if n.Kind.IsDir() {
			dirs = append(dirs, n)
		} else {
			files = append(files, n)
		}
	})
	return files, dirs
}

func (hi *history) change(d *device, files, dirs []dbfs.Node) error {
	pick := func(all []dbfs.Node) dbfs.Node { return all[hi.rng.IntN(len(all))] }
	in, name := pick(dirs), string("abc"[hi.rng.IntN(3)])
	movable := dirs[1:]
	if hi.plan.links && len(files) > 0 && hi.rng.IntN(5) == 0 {
		return hi.link(d, pick(files), in, name)
	}
	switch n := hi.rng.IntN(100); {
	case n < 22 || len(files) == 0 && n < 34:
		return hi.create(d, in, name)
	case n < 34:
		return hi.write(d, pick(files))
	case n < 46:
		hi.log(d, "mkdir %s in %s", name, in.ID.String()[:4])
		_, err := d.j.Create(in.ID, name, dir)
		return err
	case n < 50:
		hi.log(d, "symlink %s in %s", name, in.ID.String()[:4])
		_, err := d.j.Create(in.ID, name, NewNode{Kind: dbfs.KindSymlink, Target: "to " + string("xy"[hi.rng.IntN(2)]), Attr: dbfs.Attr{Mode: 0o777}})
		return err
	case n < 64 && len(files) > 0:
		return hi.move(d, pick(files), in, name)
	case n < 76 && len(movable) > 0:
		return hi.move(d, pick(movable), in, name)
	case n < 80 && len(files)+len(movable) > 1:
		a, b := pick(slices.Concat(files, movable)), pick(slices.Concat(files, movable))
		hi.log(d, "exchange %s, %s, with %s, %s", a.ID.String()[:4], a.Name, b.ID.String()[:4], b.Name)
		return d.j.Exchange(a.ID, b.ID)
	case n < 86 && len(files) > 0:
		f := pick(files)
		hi.log(d, "delete %s, %s size=%d", f.ID.String()[:4], f.Name, f.Content.Size)
		err := d.j.Delete(f.ID)
		if err == nil {
			hi.unname(d, f)
		}
		return err
	case n < 89 && len(movable) > 0:
		return hi.removeAll(d, pick(movable))
	case n < 92 && len(movable) > 0:
		n := pick(movable)
		hi.log(d, "rmdir %s", n.ID.String()[:4])
		return d.j.RemoveDir(n.ID)
	case len(files)+len(movable) > 0:
		n := pick(append(files, movable...))
		hi.log(d, "chmod %s", n.ID.String()[:4])
		_, err := d.j.SetAttr(n.ID, dbfs.AttrMode, dbfs.Attr{Mode: 0o600 + uint32(hi.rng.IntN(8))})
		return err
	}
	return nil
}

// removeAll does what rm -r does, or now and then only the beginning of it.
func (hi *history) removeAll(d *device, n dbfs.Node) error {
	hi.log(d, "rm -r %s %s", n.ID.String()[:4], n.Name)
	if hi.rng.IntN(20) == 0 {
		return nil
	}
	if !n.Kind.IsDir() {
		err := d.j.Delete(n.ID)
		if err == nil {
			hi.unname(d, n)
		}
		return err
	}
	children, err := d.j.Children(n.ID)
	if err != nil {
		return err
	}
	for _, c := range children {
		if hi.plan.links { // what a name leads to, and its other names, change meanwhile
			if c, err = d.j.Child(n.ID, c.Name); err != nil {
				return err
			}
		}
		if err := hi.removeAll(d, c); err != nil {
			return err
		}
		hi.before = d.show(true)
	}
	return d.j.RemoveDir(n.ID)
}

// next returns a content nobody has used, or now and then one that somebody has.
func (hi *history) next() int {
	if hi.content > 0 && hi.plan.active > 1 && hi.rng.IntN(6) == 0 {
		return 1 + hi.rng.IntN(hi.content)
	}
	hi.content++
	return hi.content
}

func (hi *history) wrote(d *device, c int) { hi.written[c] = d.name }

func (hi *history) overwrite(n dbfs.Node) { hi.seen[int(n.Content.Size)] = true }

// unname notes that a name of a file is gone, and with the last one what it held.
func (hi *history) unname(d *device, n dbfs.Node) {
	switch {
	case n.Kind == dbfs.KindLink:
	case len(n.Links) > 0:
		if _, err := d.j.Node(n.ID); err != nil {
			hi.t.Fatalf("%s: %s had other names, and is gone with one: %v", d.name, n.Name, err)
		}
	default:
		hi.overwrite(n)
	}
}

func (hi *history) create(d *device, in dbfs.Node, name string) error {
	c := hi.next()
	hi.log(d, "create %s in %s size=%d", name, in.ID.String()[:4], c)
	n, err := d.j.Create(in.ID, name, file)
	if err != nil || hi.rng.IntN(8) == 0 {
		return err
	}
	hi.before = d.show(true)
	if _, err = d.j.Write(n.ID, n.Content, bytesOf(c), int64(c)); err == nil {
		hi.wrote(d, c)
	}
	return err
}

// link gives a file one more name.
func (hi *history) link(d *device, n, in dbfs.Node, name string) error {
	if n = hi.named(d, n); n.Kind == dbfs.KindLink {
		return nil
	}
	hi.log(d, "link %s as %s in %s", n.ID.String()[:4], name, in.ID.String()[:4])
	_, err := d.j.Link(n.ID, in.ID, name)
	return err
}

// named returns what a name leads to. As long as it is not reconciled that somebody has made
// a name for what has been deleted here, that is nothing, and the name itself is returned.
func (hi *history) named(d *device, n dbfs.Node) dbfs.Node {
	if n.Kind == dbfs.KindLink {
		if f, err := d.j.Node(n.Link); err == nil {
			return f
		}
	}
	return n
}

func (hi *history) write(d *device, n dbfs.Node) error {
	n = hi.named(d, n)
	if n.Kind != dbfs.KindFile {
		return nil
	}
	c := hi.next()
	hi.log(d, "write %s %s size=%d to %d", n.ID.String()[:4], n.Name, n.Content.Size, c)
	_, err := d.j.Write(n.ID, n.Content, bytesOf(c), int64(c))
	if err == nil {
		hi.overwrite(n)
		hi.wrote(d, c)
	}
	return err
}

func (hi *history) move(d *device, n, in dbfs.Node, name string) error {
	hi.log(d, "move %s to %s in %s", n.ID.String()[:4], name, in.ID.String()[:4])
	m, err := d.j.Child(in.ID, name)
	replaces := err == nil && !sameFile(n, m)
	_, err = d.j.Move(n.ID, in.ID, name, false)
	if err == nil && replaces {
		hi.unname(d, m)
	}
	return err
}

// peace lets all devices sync until nothing moves, and checks what must be true then.
func (hi *history) peace() {
	for _, d := range hi.devices {
		d.kv.left = -1
	}
	for quiet := 0; quiet < 4; quiet++ {
		for _, d := range hi.devices {
			hi.log(d, "settles; pending:%s", ops(d.j.Pending()))
			d.settle()
			for hi.decide(d) {
				d.settle()
				quiet = 0
			}
		}
	}
	want, live := serverShows(hi.t, hi.h, hi.ns)
	if got := strings.Count(want, "\n"); got != live { // P4
		hi.t.Errorf("%d of %d live nodes can be reached:\n%s", got, live, want)
	}
	devices := append(slices.Clone(hi.devices), newDevice(hi.t, hi.h, 4, hi.ns, 1))
	devices[len(devices)-1].settle()
	for _, d := range devices { // P1
		if left := d.j.Pending(); len(left) > 0 {
			hi.t.Errorf("%s still has edits:%s", d.name, ops(left))
		}
		if got := d.show(false); got != want {
			hi.t.Errorf("%s sees\n%sthe server has\n%s", d.name, got, want)
		}
		hi.sound(d)
	}
	hi.nothingLost()
	hi.nothingInvented()
	if hi.plan.active == 1 || hi.plan.apart { // P5
		for _, d := range hi.devices {
			told := d.noticed
			if hi.plan.resets { // what was written and deleted in a batch that was cut off is made and deleted again
				told = slices.DeleteFunc(told, func(s string) bool { return strings.Contains(s, "what="+string(NoticeRevive)) })
			}
			if len(told) > 0 {
				hi.t.Errorf("nobody was in the way of %s, but: %q", d.name, told)
			}
		}
	}
}

// nothingLost checks P2.
func (hi *history) nothingLost() {
	live := make(map[int]bool)
	hi.devices[0].walk(func(_ string, n dbfs.Node) { live[int(n.Content.Size)] = true })
	for c, who := range hi.written {
		if !live[c] && !hi.seen[c] {
			hi.t.Errorf("content %d of %s is lost", c, who)
		}
	}
}

var someName = regexp.MustCompile(`^([abc]|file [0-9a-f]{8})( \((conflicted copy|name conflict), (alice|bob|carol|dave) 2026-05-01( \d+)?\))?$`)

// nothingInvented checks P3.
func (hi *history) nothingInvented() {
	hi.devices[0].walk(func(p string, n dbfs.Node) {
		if !someName.MatchString(n.Name) && !slices.Contains(people, n.Name) {
			hi.t.Errorf("nobody called anything %q", n.Name)
		}
		if c := int(n.Content.Size); c != 0 && hi.written[c] == "" {
			hi.t.Errorf("nobody wrote content %d", c)
		}
	})
}

// sound checks what a journal at rest must be like inside.
func (hi *history) sound(d *device) {
	j := d.j
	if len(j.view.nodes) > 0 || len(j.view.names) > 0 || len(j.needed) > 0 || len(j.pending.byNode) > 0 || len(j.pending.inside) > 0 || j.pending.shifts != 0 || j.pending.rmdirs != 0 {
		hi.t.Errorf("the journal of %s is not empty inside: %+v %+v", d.name, j.view, j.pending)
	}
	seen := make(map[uint64]dbfs.NodeID)
	d.walk(func(p string, n dbfs.Node) {
		if other, twice := seen[n.Ino]; twice || n.Ino == 0 {
			hi.t.Errorf("%s: %s and %s have inode %d", d.name, other, n.ID, n.Ino)
		}
		seen[n.Ino] = n.ID
		if n.Kind != dbfs.KindLink {
			return
		}
		f, err := d.j.Node(n.Link)
		if _, reached := d.j.Path(n.Link); err != nil || !reached || !slices.Contains(f.Links, n.ID) {
			hi.t.Errorf("%s: %s is a name of %s, which has the links %v: %v", d.name, p, n.Link, f.Links, err)
		}
	})
}
