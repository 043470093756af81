package e2e

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"os"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// lentSize is that of a file which the kernel is lent: more than a chunk.
const lentSize = 5<<20 + 12345

func lentBytes(seed byte) []byte {
	b := make([]byte, lentSize)
	rand.NewChaCha8([32]byte{seed}).Read(b)
	return b
}

// canLend skips a test where the kernel or the disk does not allow for what it is about.
func (d *drive) canLend() {
	d.m.t.Helper()
	if st := d.status(); st.Reads != "passthrough" {
		d.m.t.Skipf("files are not lent to the kernel here: %s", st.ReadsWhy)
	}
}

// ready makes a file fit to be lent: sent, and read by this daemon.
func (d *drive) ready(name string) {
	d.m.t.Helper()
	d.settle()
	if _, err := os.ReadFile(d.at(name)); err != nil {
		d.m.t.Fatal(err)
	}
	time.Sleep(50 * time.Millisecond) // for the end of its handle to arrive
}

// TestLoansOutliveTheDaemon: what a daemon has lent and does not live to take back is in use for as long
// as somebody has a map of it. The next daemon knows nothing of that, and does not destroy it.
func TestLoansOutliveTheDaemon(t *testing.T) {
	ends := map[string]func(one *drive){
		"killed": func(one *drive) { one.kill() },
		"unmounted by force": func(one *drive) {
			unix.Unmount(one.mount(), unix.MNT_FORCE|unix.MNT_DETACH)
			select {
			case <-one.ended:
			case <-time.After(patience):
				t.Fatal("the daemon does not end")
			}
		},
	}
	for how, end := range ends {
		t.Run(how, func(t *testing.T) {
			m := newMachine(t)
			srv := m.serve()
			one := m.login("one", srv.url, srv.token)
			one.start()
			one.canLend()
			want, stored := lentBytes(1), lentBytes(2)
			m.must(os.WriteFile(one.at("read"), want, 0o644), os.WriteFile(one.at("stored"), stored, 0o644))
			one.ready("read")
			one.ready("stored")
			r := m.mapFile(one.at("read"), os.O_RDONLY, unix.PROT_READ)
			first, err := os.Open(one.at("stored")) // so that it is lent when the writer comes
			m.must(err)
			defer first.Close()
			w := m.mapFile(one.at("stored"), os.O_RDWR, unix.PROT_READ|unix.PROT_WRITE)
			copy(w, "recorded")
			copy(stored, "recorded")
			time.Sleep(2 * time.Second) // longer than it takes until it is
			end(one)
			copy(w, "too late")

			one.start()
			if got, err := os.ReadFile(one.at("stored")); err != nil || !bytes.Equal(got, stored) {
				t.Errorf("the next daemon shows other bytes than were recorded: %v, %q…", err, got[:min(16, len(got))])
			}
			one.settle()
			m.run("free", one.at("read"))
			if !bytes.Equal(r, want) {
				t.Fatal("after dbfs free the map shows other bytes")
			}
			m.must(os.WriteFile(one.at("read"), lentBytes(3), 0o644))
			f, err := os.OpenFile(one.at("read"), os.O_RDWR, 0)
			m.must(err)
			_, err = f.WriteAt([]byte("another"), 5)
			m.must(err, f.Truncate(lentSize/2), f.Close())
			one.settle()
			m.run("cache", "clear", "--profile", "one")
			if !bytes.Equal(r, want) {
				t.Fatal("after the file was written to the map shows other bytes")
			}
			if got, err := os.ReadFile(one.at("stored")); err != nil || !bytes.Equal(got, stored) {
				t.Errorf("at the end the file holds other bytes than were recorded: %v", err)
			}
			one.end()
		})
	}
}

// mapFile maps a file and closes it. The daemon is another process, so this one may.
func (m *machine) mapFile(name string, flag, prot int) []byte {
	m.t.Helper()
	f, err := os.OpenFile(name, flag, 0)
	m.must(err)
	defer f.Close()
	b, err := unix.Mmap(int(f.Fd()), 0, lentSize, prot, unix.MAP_SHARED)
	m.must(err)
	m.t.Cleanup(func() { unix.Munmap(b) })
	return b
}

func (m *machine) must(errs ...error) {
	m.t.Helper()
	if err := errors.Join(errs...); err != nil {
		m.t.Fatal(err)
	}
}

// lendBefore makes a file that writeLent writes to while it is lent.
func (w *ruin) lendBefore() {
	w.one.canLend()
	w.must(os.WriteFile(w.one.at("lent"), lentBytes(1), 0o644))
	w.one.settle()
}

func (w *ruin) writeLent() {
	w.one.ready("lent")
	r, err := os.Open(w.one.at("lent"))
	w.must(err)
	defer r.Close()
	f, err := os.OpenFile(w.one.at("lent"), os.O_WRONLY, 0)
	w.must(err)
	defer f.Close()
	if _, err = f.WriteAt(lentBytes(2), 0); err == nil {
		err = f.Sync()
	}
	if err == nil {
		w.t.Error("the daemon has not died")
	}
}

// lentKept sees that the file is one of its two versions.
func (w *ruin) lentKept() {
	got, err := os.ReadFile(w.one.at("lent"))
	w.must(err)
	if !bytes.Equal(got, lentBytes(1)) && !bytes.Equal(got, lentBytes(2)) {
		w.t.Error("the file is a mixture of two versions")
	}
}
