package fs

import (
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/dbfs/dbfs"
)

// These tests let another device change a few files and directories as fast as it can while
// several users here read, write, list, rename and remove them. What is asked for is that
// nothing hangs, and that in the end the kernel shows what the journal shows.

func TestRemoteChangesUnderLoad(t *testing.T) {
	d, there := withElsewhere(t)
	// Who rewrites a file here is alone with it, from open to close: two at once would make one
	// version of both, and a reader may see one that is half written.
	var writing sync.RWMutex
	var version atomic.Int32
	d.hammer(there, func(name string, rng *rand.Rand) {
		switch rng.IntN(8) {
		case 0:
			writing.Lock()
			os.WriteFile(name, []byte(nthVersion(1_000_000+int(version.Add(1)))), 0o644)
			writing.Unlock()
		case 1:
			os.Rename(name, d.path(fmt.Sprint("dir/mine", rng.IntN(5))))
		case 2:
			os.Remove(name)
		case 3:
			os.Chmod(name, 0o600)
		default:
			writing.RLock()
			d.readOneVersion(name)
			writing.RUnlock()
		}
	})
}

// Here every user only reads, or writes what is there already, so that all that is read
// through one handle has to be of one version.
func TestRemoteVersionsUnderLoad(t *testing.T) {
	d, there := withElsewhere(t)
	d.hammer(there, func(name string, rng *rand.Rand) {
		switch rng.IntN(8) {
		case 0:
			if f, err := os.OpenFile(name, os.O_RDWR, 0); err == nil {
				f.WriteString("version ")
				f.Close()
			}
		case 1:
			os.Rename(name, d.path(fmt.Sprint("dir/mine", rng.IntN(5))))
		case 2:
			os.Remove(name)
		default:
			d.readOneVersion(name)
		}
	})
}

func (d *drive) hammer(there *elsewhere, use func(name string, rng *rand.Rand)) {
	dir := there.put(dbfs.Node{Name: "dir", Kind: dbfs.KindDir})
	var nodes []dbfs.Node
	for i := range 6 {
		nodes = append(nodes, there.put(dbfs.Node{Name: fmt.Sprint("f", i), Kind: dbfs.KindFile, Parent: dir.ID, Content: there.content(nthVersion(0))}))
	}
	there.advance()
	stop := make(chan struct{})
	var users sync.WaitGroup
	for u := range 4 {
		users.Go(func() { d.useUnder("dir", uint64(u), stop, use) })
	}
	rng := rand.New(rand.NewPCG(1, 2))
	for i, end := 1, time.Now().Add(2*time.Second); time.Now().Before(end); i++ {
		there.change(&nodes[rng.IntN(len(nodes))], i, rng.IntN(8))
		there.advance()
		time.Sleep(time.Duration(rng.IntN(3)) * time.Millisecond)
	}
	close(stop)
	users.Wait()
	d.eventually("the kernel is told", d.fs.changes.idle)
	d.wantSameAsJournal("dir")
}

// change makes the ith change to a file, as the server would let it.
func (e *elsewhere) change(n *dbfs.Node, i, what int) {
	switch {
	case n.Deleted:
		n.Deleted = false
		*n = e.put(*n)
	case what == 0:
		*n = e.move(*n, n.Parent, fmt.Sprint("moved ", i))
	case what == 1:
		*n = e.remove(*n)
	case what == 2:
		*n = e.chmod(*n, 0o600+uint32(i%8))
	default:
		*n = e.write(*n, nthVersion(i))
	}
}

// nthVersion is a file's bytes in its nth version: a line, again and again.
func nthVersion(n int) string {
	return strings.Repeat(fmt.Sprintf("version %07d\n", n), 1000*(1+n%8))
}

// useUnder lets a user use files of a directory, until stop.
func (d *drive) useUnder(dir string, seed uint64, stop <-chan struct{}, use func(name string, rng *rand.Rand)) {
	rng := rand.New(rand.NewPCG(seed, 3))
	for {
		select {
		case <-stop:
			return
		default:
		}
		entries, err := os.ReadDir(d.path(dir))
		if err != nil {
			d.t.Errorf("list: %v", err)
		}
		if len(entries) > 0 {
			use(d.path(dir+"/"+entries[rng.IntN(len(entries))].Name()), rng)
		}
	}
}

// readOneVersion reads a file a piece at a time and checks that all pieces are of one version.
func (d *drive) readOneVersion(name string) {
	f, err := os.Open(name)
	if err != nil {
		return // removed meanwhile
	}
	defer f.Close()
	line := make([]byte, 16)
	first := ""
	for off := int64(0); ; off += 16 * 499 {
		if n, err := f.ReadAt(line, off); err != nil || n < 16 {
			return
		}
		switch {
		case first == "":
			first = string(line)
		case line[0] == 0:
			return // the kernel did not know yet how much shorter it is
		case first != string(line):
			d.t.Errorf("%s: %q at 0, %q at %d", name, first, line, off)
			return
		}
	}
}

// wantSameAsJournal compares what the kernel shows in a directory with what the journal does.
func (d *drive) wantSameAsJournal(dir string) {
	d.t.Helper()
	n, err := d.root.Lookup(dir)
	d.must(err)
	nodes, err := d.root.Children(n.ID)
	d.must(err)
	names := d.names(dir)
	if len(names) != len(nodes) {
		d.t.Errorf("%s lists %d names, the journal has %d", dir, len(names), len(nodes))
	}
	for _, n := range nodes {
		st := d.stat(dir + "/" + n.Name)
		if st.Ino != n.Ino || st.Size != n.Content.Size || st.Mode&0o7777 != n.Attr.Mode || st.Mtim.Nano() != n.Attr.MTime {
			d.t.Errorf("%s: shown with inode %d, size %d, mode %o, time %d; the journal says %d, %d, %o, %d",
				n.Name, st.Ino, st.Size, st.Mode&0o7777, st.Mtim.Nano(), n.Ino, n.Content.Size, n.Attr.Mode, n.Attr.MTime)
		}
		if got := d.read(dir + "/" + n.Name); int64(len(got)) != n.Content.Size || n.Content.Size > 0 && dbfs.HashChunk([]byte(got)) != n.Content.Chunks.At(0) {
			d.t.Errorf("%s: reads %s, which is not what the journal says", n.Name, brief(got))
		}
	}
}
