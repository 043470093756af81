package e2e

import (
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// powerCuts is how often the power goes in a test.
const powerCuts = 8

// TestPowerCuts takes the power from the disk under a device, again and again while files are
// written to its mount: what was not synced is lost, for good. What an fsync had returned for
// is there afterwards; of what had only been closed there is this version or an older one, whole;
// nothing has become unreadable, and another device sees the same in the end.
func TestPowerCuts(t *testing.T) {
	disk := newDisk(t)
	rng := rand.New(rand.NewPCG(seed(t), 0))
	far := newMachine(t)
	srv := far.serve()
	m := &machine{t, disk.dir, far.dbfs}
	one, two := m.login("one", srv.url, srv.token), far.login("two", srv.url, srv.token)
	two.start()
	l := newLedger(one.mount())
	l.power = true
	for n := range powerCuts {
		one.start()
		if l.verify(t); t.Failed() {
			t.Fatalf("after %d cuts; the daemon said:\n%s", n, one.says.tail(4000))
		}
		stop := l.write(rng.Uint64())
		time.Sleep(200 * time.Millisecond)
		pause(rng, 1500)
		disk.cut()
		one.kill()
		stop()
		must0(t, unix.Unmount(one.mount(), unix.MNT_DETACH))
		disk.back()
	}
	one.start()
	l.verify(t)
	one.sent()
	two.sent()
	sameTrees(t, one, two)
	l.verify(t)
	t.Logf("%d versions were written, %d of them promised", l.tried.Load(), l.promised.Load())
	two.end()
	one.end()
}

// A disk is a file system of its own, in a file.
type disk struct {
	t     *testing.T
	image string
	dir   string // where it is mounted
}

func newDisk(t *testing.T) *disk {
	t.Helper()
	mkfs, err := exec.LookPath("mkfs.ext4")
	if err != nil {
		mkfs, err = exec.LookPath("/usr/sbin/mkfs.ext4")
	}
	if err == nil {
		_, err = os.Stat("/dev/loop-control")
	}
	if err != nil {
		t.Skipf("there is no disk here to take the power from: %v", err)
	}
	top := tempDir(t)
	d := &disk{t, filepath.Join(top, "image"), filepath.Join(top, "disk")}
	must0(t, os.WriteFile(d.image, nil, 0o600))
	must0(t, os.Truncate(d.image, 2<<30))
	d.run(mkfs, "-q", "-F", d.image)
	must0(t, os.Mkdir(d.dir, 0o755))
	d.back()
	t.Cleanup(func() { unix.Unmount(d.dir, unix.MNT_DETACH) })
	return d
}

func (d *disk) run(name string, args ...string) {
	d.t.Helper()
	if out, err := exec.CommandContext(within(d.t, patience), name, args...).CombinedOutput(); err != nil {
		d.t.Fatalf("%s %q: %v\n%s", name, args, err, out)
	}
}

// What ext4 calls EXT4_IOC_SHUTDOWN, and the kind of it that writes out nothing more, not even the
// file system's own journal.
const (
	iocShutdown = 0x8004587d
	noLogFlush  = 2
)

// cut takes the power away: nothing that is written from now on, or was not synced, gets to
// the disk.
func (d *disk) cut() {
	d.t.Helper()
	f, err := os.Open(d.dir)
	must0(d.t, err)
	defer f.Close()
	must0(d.t, unix.IoctlSetPointerInt(int(f.Fd()), iocShutdown, noLogFlush))
}

// back gives the power back, after whoever used the disk has gone.
func (d *disk) back() {
	d.t.Helper()
	unix.Unmount(d.dir, 0)
	d.run("mount", "-o", "loop", d.image, d.dir)
}

func must0(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
