package e2e

import (
	"bytes"
	"os"
	"os/exec"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dbfs/dbfs"
)

// The largest file there is, with bytes at few places, reaches the other device, costs what its bytes cost, and can
// be copied there by a program that looks for the holes.
func TestLargestFile(t *testing.T) {
	m := newMachine(t)
	srv := m.serve()
	one, two := m.login("one", srv.url, srv.token), m.login("two", srv.url, srv.token)
	one.start()
	two.start()
	places := map[int64][]byte{0: noise(1, 4096), 7<<40 + 5: noise(2, 9<<20), dbfs.MaxFileSize - 100: noise(3, 100)}
	f, err := os.Create(one.at("image"))
	m.must(err)
	m.must(f.Truncate(dbfs.MaxFileSize))
	for off, b := range places {
		_, err := f.WriteAt(b, off)
		m.must(err)
	}
	m.must(f.Close())
	one.sent()

	first := int64(7 << 40) // of those behind 1 GiB
	check := func(name string) {
		t.Helper()
		f, err := os.Open(name)
		m.must(err)
		defer f.Close()
		for off, want := range places {
			got := make([]byte, len(want))
			if _, err := f.ReadAt(got, off); err != nil || !bytes.Equal(got, want) {
				t.Errorf("%s at %d is not what was written: %v", name, off, err)
			}
		}
		var st unix.Stat_t
		m.must(unix.Fstat(int(f.Fd()), &st))
		if st.Size != dbfs.MaxFileSize || st.Blocks*512 > 8*dbfs.ChunkSize {
			t.Errorf("%s has %d bytes in %d blocks", name, st.Size, st.Blocks)
		}
		if at, err := unix.Seek(int(f.Fd()), 1<<30, unix.SEEK_DATA); err != nil || at < first-dbfs.ChunkSize || at > first+5 {
			t.Errorf("%s: from 1 GiB on there is data at %d, %v", name, at, err)
		}
	}
	shows(two, "image", 7<<40+5, places[7<<40+5])
	check(two.at("image"))
	copied := m.path("copied")
	if out, err := exec.Command("cp", "--sparse=auto", two.at("image"), copied).CombinedOutput(); err != nil {
		t.Fatalf("cp: %v: %s", err, out)
	}
	check(copied)
	m.must(os.Remove(copied))

	g, err := os.OpenFile(two.at("image"), os.O_RDWR, 0)
	m.must(err)
	places[3<<40] = noise(4, 10)
	_, err = g.WriteAt(places[3<<40], 3<<40)
	m.must(err)
	m.must(g.Close())
	two.sent()
	shows(one, "image", 3<<40, places[3<<40])
	first = 3 << 40
	check(one.at("image"))
	two.end()
	one.end()
}

// shows waits until a file holds that at a place.
func shows(d *drive, name string, off int64, want []byte) {
	d.m.t.Helper()
	got := make([]byte, len(want))
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		if f, err := os.Open(d.at(name)); err == nil {
			n, _ := f.ReadAt(got, off)
			f.Close()
			if bytes.Equal(got[:n], want) {
				return
			}
		}
	}
	d.m.t.Fatalf("%s does not show what was written to %s at %d", d.profile, name, off)
}
