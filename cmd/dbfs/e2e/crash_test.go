package e2e

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dbfs/dbfs"
	"github.com/dbfs/dbfs/fault"
	"github.com/dbfs/dbfs/remote/server"
	"github.com/dbfs/dbfs/remote/server/badgerdb"
)

// A crash says how a program is brought to a point that it is to die at.
type crash struct {
	nth    int           // which time it comes there; 0: the first
	server bool          // it is the server that dies, not device one
	before func(w *ruin) // before the victim is started with its death in it
	reach  func(w *ruin) // what others then do; nil: device one's writers
	after  func(w *ruin) // when all are up again and have the same
	flags  []string      // of device one's mount
}

// crashes has every point of package fault. What writers of all kinds come to by themselves needs
// no more than a number, so that it happens among other things.
var crashes = map[fault.Point]crash{
	fault.DraftWritten:     {nth: 5},
	fault.AsideCopied:      {},
	fault.PromiseSynced:    {nth: 2},
	fault.SealHashed:       {nth: 2},
	fault.SealEntered:      {nth: 20},
	fault.LentCutOut:       {before: (*ruin).lendBefore, reach: (*ruin).writeLent, after: (*ruin).lentKept},
	fault.SealedUnrecorded: {nth: 20},
	fault.EditRecorded:     {nth: 40},
	fault.EditSynced:       {nth: 10},
	fault.CopiedNotDeleted: {nth: 4, before: (*ruin).second, reach: (*ruin).moveAll, after: (*ruin).allMoved},
	fault.CarriedOn:        {before: (*ruin).second, reach: (*ruin).moveAll, after: (*ruin).allMoved},
	fault.UploadBegins:     {nth: 3},
	fault.PutUnregistered:  {nth: 10},
	fault.ReceiptLost:      {nth: 10},
	fault.BatchTaken:       {nth: 3},
	fault.AnswerUnnoted:    {nth: 3},
	fault.AckedUnseen:      {nth: 3},
	fault.SettledPinned:    {nth: 3},

	fault.BetweenPages:   {before: (*ruin).muchNews, reach: idle},
	fault.BatchPreloaded: {before: (*ruin).heavyNews, reach: idle},
	fault.RebaseBegins:   {before: (*ruin).bothEdit, reach: idle, after: (*ruin).bothKept},
	fault.RebaseCounts:   {before: (*ruin).bothEdit, reach: idle, after: (*ruin).bothKept},
	fault.RebaseWritten:  {before: (*ruin).bothMakeMany, reach: idle, after: (*ruin).manyKept},
	fault.UpdateLogged:   {nth: 30},
	fault.LayerPoured:    {},

	fault.ListingPage:    {before: (*ruin).loseState, reach: idle},
	fault.ListingSwaps:   {before: (*ruin).restoreServer, reach: idle},
	fault.ListingSwapped: {before: (*ruin).restoreServer, reach: idle},

	fault.ChunkFetched:  {before: (*ruin).otherWrites, reach: (*ruin).readAll},
	fault.ChunkKept:     {before: (*ruin).otherWrites, reach: (*ruin).readAll},
	fault.ChunkEvicted:  {before: (*ruin).otherWrites, reach: (*ruin).readAll, flags: []string{"--cache-size", "10MiB"}},
	fault.ChunkUnpinned: {nth: 3},
	fault.BodyEntered:   {nth: 2},
	fault.BodyMoved:     {nth: 2},

	fault.CommitUnheard:   {server: true, nth: 3},
	fault.ChunkRegistered: {server: true, nth: 10},

	fault.VersionsForgotten: {server: true, before: (*ruin).garbage, reach: (*ruin).collect, after: (*ruin).collected},
	fault.LogTrimmed:        {server: true, before: (*ruin).garbage, reach: (*ruin).collect, after: (*ruin).collected},
	fault.ChunkCondemned:    {server: true, nth: 3, before: (*ruin).garbage, reach: (*ruin).collect, after: (*ruin).collected},
	fault.ChunkDying:        {server: true, nth: 3, before: (*ruin).condemned, reach: (*ruin).collect, after: (*ruin).collected},
	fault.ObjectDeleted:     {server: true, nth: 3, before: (*ruin).condemned, reach: (*ruin).collect, after: (*ruin).collected},

	fault.GroupGathered: {server: true, nth: 25},
	fault.GroupWritten:  {server: true, nth: 25},
}

// TestCrashPoints lets the program die at each of the points, on a real mount and a real disk.
// Then it is started again, and whatever was promised is there, nothing is a mixture, and the
// server and another device have the same in the end.
//
// One after the other: a process that is started while writers have files open closes its copies of them,
// which seals what is half written.
func TestCrashPoints(t *testing.T) {
	for _, p := range fault.Points {
		t.Run(string(p), func(t *testing.T) {
			c, ok := crashes[p]
			if !ok {
				t.Fatal("nothing is known of how to come here")
			}
			c.play(t, p)
		})
	}
}

// A ruin is where a crash happens: a server and two devices of one account, the first of which
// has had writers, and has promised things.
type ruin struct {
	t        *testing.T
	m        *machine
	srv      *served
	one, two *drive
	lost     bool // device one has no database
	ledger   *ledger
}

func (c crash) play(t *testing.T, p fault.Point) {
	m := newFaultyMachine(t)
	w := &ruin{t: t, m: m, srv: m.serve()}
	w.one, w.two = m.login("one", w.srv.url, w.srv.token), m.login("two", w.srv.url, w.srv.token)
	w.one.flags = c.flags
	w.ledger = newLedger(w.one.mount())
	w.one.start()
	w.two.start()
	w.writeFor(100 * time.Millisecond)
	if c.before != nil {
		c.before(w)
	}
	deadly := fmt.Sprintf("DBFS_FAILPOINT=%s:%d", p, max(c.nth, 1))
	victim := w.doom(c.server, deadly)
	reach := c.reach
	if reach == nil {
		reach = (*ruin).writeOn
	}
	reach(w)
	select {
	case <-victim.ended:
	case <-time.After(10 * time.Second):
		t.Fatalf("%s never comes to %s:%d", victim.name, p, c.nth)
	}
	if st := victim.cmd.ProcessState.Sys().(syscall.WaitStatus); !st.Signaled() || st.Signal() != unix.SIGKILL {
		t.Fatalf("%s did not die at %s, but of %v:\n%s", victim.name, p, victim.cmd.ProcessState, victim.says.tail(4000))
	}
	victim.killed = true
	w.revive(c.server)
	w.check(c.after)
}

// doom starts the server or device one anew, to die.
func (w *ruin) doom(server bool, deadly string) *process {
	w.t.Helper()
	if server {
		w.srv.kill()
		w.srv.doomed(deadly)
		return w.srv.process
	}
	if w.one.running() {
		w.one.end()
	}
	if w.lost { // it cannot mount without the server
		w.one.doomed(deadly)
		return w.one.process
	}
	// A program that dies while it mounts waits for itself: it is mounted before there is news.
	w.srv.kill()
	w.one.doomed(deadly)
	w.one.await(mounted)
	w.srv.again()
	return w.one.process
}

// revive starts again what is dead.
func (w *ruin) revive(server bool) {
	w.t.Helper()
	if server {
		w.srv.again()
	} else {
		w.one.start()
	}
}

// check sees that nothing is lost, here, at the server and on the other device.
func (w *ruin) check(after func(*ruin)) {
	w.t.Helper()
	w.ledger.verify(w.t)
	allAgree(w.t, w.srv, w.one, w.two)
	w.ledger.verify(w.t)
	if after != nil {
		after(w)
	}
	w.one.end()
	w.two.end()
}

func idle(*ruin) {}

// writeFor lets writers loose for a while.
func (w *ruin) writeFor(d time.Duration) {
	stop := w.ledger.write(rand.Uint64())
	time.Sleep(d)
	stop()
}

// writeOn lets writers loose until somebody dies, or nobody will.
func (w *ruin) writeOn() {
	stop := w.ledger.write(rand.Uint64())
	defer stop()
	select {
	case <-w.one.ended:
	case <-w.srv.ended:
	case <-time.After(10 * time.Second):
	}
}

// must ends the test unless what a device was made to do went well.
func (w *ruin) must(errs ...error) {
	w.t.Helper()
	if err := errors.Join(errs...); err != nil {
		w.t.Fatal(err)
	}
}

// apart lets device one do something while the server is away, and device two something else
// when device one is.
func (w *ruin) apart(one, two func(d *drive) error) {
	w.t.Helper()
	w.one.sent()
	w.two.sent()
	sameTrees(w.t, w.one, w.two)
	w.srv.kill()
	w.must(one(w.one))
	w.one.end()
	w.srv.again()
	w.must(two(w.two))
	w.two.sent()
}

func nothing(*drive) error { return nil }

// muchNews gives device one more pages to read than one.
func (w *ruin) muchNews() {
	w.apart(nothing, func(d *drive) error {
		for i := range 1100 {
			if err := os.Mkdir(d.at(fmt.Sprintf("news%d", i)), 0o755); err != nil {
				return err
			}
		}
		return nil
	})
}

// heavyNews gives device one a batch to read that one transaction does not hold.
func (w *ruin) heavyNews() {
	w.apart(nothing, func(d *drive) error {
		ctx := within(w.t, patience)
		w.must(d.control.Pause(ctx, time.Minute))
		for i := range 42 {
			name := d.at(fmt.Sprintf("heavy%d", i))
			err := errors.Join(os.WriteFile(name, nil, 0o644), unix.Setxattr(name, "user.heavy", noise(uint64(i), 12<<10), 0))
			if err != nil {
				return err
			}
		}
		return d.control.Resume(ctx)
	})
}

// bothEdit lets both devices edit one file.
func (w *ruin) bothEdit() {
	w.ledger.conflicts = true
	w.must(os.WriteFile(w.one.at("both.txt"), []byte("old"), 0o644))
	w.apart(writes("both.txt", "one's"), writes("both.txt", "two's"))
}

func writes(name, text string) func(*drive) error {
	return func(d *drive) error { return os.WriteFile(d.at(name), []byte(text), 0o644) }
}

// bothKept sees that each of the two edits is there once.
func (w *ruin) bothKept() {
	w.t.Helper()
	got, err := texts(w.two.at("both*.txt"))
	if want := []string{"one's", "two's"}; err != nil || len(got) != 2 || got[want[0]] != 1 || got[want[1]] != 1 {
		w.t.Errorf("both edited one file, and now there is %v, %v; want each of %q once", got, err, want)
	}
}

// texts counts the files that fit a pattern, by what they hold.
func texts(pattern string) (map[string]int, error) {
	names, err := filepath.Glob(pattern)
	found := make(map[string]int)
	for _, name := range names {
		b, readErr := os.ReadFile(name)
		found[string(b)]++
		err = errors.Join(err, readErr)
	}
	return found, err
}

// many is how many names both devices take: what reconciling makes of them is more than one
// transaction holds.
const many = 450

// bothMakeMany lets both devices take many names.
func (w *ruin) bothMakeMany() {
	w.ledger.conflicts = true
	link := func(target string) func(*drive) error {
		return func(d *drive) error {
			for i := range many {
				if err := os.Symlink(fmt.Sprint(target, i, strings.Repeat("/far", 300)), d.at(fmt.Sprintf("link%d", i))); err != nil {
					return err
				}
			}
			return nil
		}
	}
	w.apart(link("one"), link("two"))
}

// manyKept sees that every link of both devices is there once.
func (w *ruin) manyKept() {
	w.t.Helper()
	found := make(map[string]int)
	names, err := filepath.Glob(w.two.at("link*"))
	for _, name := range names {
		target, readErr := os.Readlink(name)
		first, _, _ := strings.Cut(target, "/")
		found[first]++
		err = errors.Join(err, readErr)
	}
	w.must(err)
	for i := range many {
		for _, who := range []string{"one", "two"} {
			if n := found[fmt.Sprint(who, i)]; n != 1 {
				w.t.Errorf("%d links lead to %s%d, want 1", n, who, i)
			}
		}
	}
}

// loseState takes device one's database away, when everything is at the server.
func (w *ruin) loseState() {
	w.one.sent()
	w.one.end()
	for _, dir := range []string{"meta", "bodies", "chunks"} { // not the login
		w.must(os.RemoveAll(w.m.path(".local/state/dbfs/one/" + dir)))
	}
	w.lost = true
}

// restoreServer takes the server back to a copy that knows less than device one, which has
// something unsent.
func (w *ruin) restoreServer() {
	w.one.sent()
	w.two.sent()
	root := w.one.status().Namespaces[0].ID
	w.srv.kill()
	meta, saved := w.m.path("data/meta"), w.m.path("meta.saved")
	w.must(os.CopyFS(saved, os.DirFS(meta)))
	w.srv.again()
	w.must(os.WriteFile(w.two.at("forgotten"), []byte("by the server"), 0o644))
	w.two.sent()
	w.one.sent()
	sameTrees(w.t, w.one, w.two)
	w.srv.kill()
	w.writeFor(100 * time.Millisecond)
	w.one.end()
	w.must(os.RemoveAll(meta), os.CopyFS(meta, os.DirFS(saved)), raiseEpoch(w.t, meta, root))
	w.srv.again()
}

// raiseEpoch does to a server's database what whoever restores it has to.
func raiseEpoch(t *testing.T, meta string, ns dbfs.NamespaceID) error {
	store, err := badgerdb.Open(meta, discard())
	if err != nil {
		return err
	}
	err = store.Update(t.Context(), ns, func(tx server.Tx) error {
		head, err := tx.Head()
		head.Epoch++
		return errors.Join(err, tx.SetHead(head))
	})
	return errors.Join(err, store.Close())
}

// otherWrites lets device two write what device one does not have: more than a small cache holds.
func (w *ruin) otherWrites() {
	w.apart(nothing, func(d *drive) error {
		var errs []error
		for i := range 4 {
			errs = append(errs, os.WriteFile(d.at(fmt.Sprintf("small%d", i)), noise(uint64(i), 3000), 0o644),
				os.WriteFile(d.at(fmt.Sprintf("large%d", i)), noise(uint64(i), 9<<20), 0o644))
		}
		return errors.Join(errs...)
	})
}

// readAll reads everything on device one, until that dies.
func (w *ruin) readAll() {
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end) && w.one.running(); time.Sleep(time.Millisecond) {
		for i := range 4 {
			for _, name := range []string{"small", "large"} {
				b, err := os.ReadFile(w.one.at(fmt.Sprint(name, i)))
				if err == nil && !bytes.Equal(b, noise(uint64(i), len(b))) {
					w.t.Errorf("device one reads another %s%d than device two wrote", name, i)
				}
			}
		}
	}
}
