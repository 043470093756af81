package e2e

import (
	"bytes"
	"os"
	"testing"
	"time"
)

// A database that stays open: what it syncs survives a kill, and other devices get it while it is open.
func TestSyncedFileStaysOpen(t *testing.T) {
	m := newMachine(t)
	srv := m.serve()
	one, two := m.login("one", srv.url, srv.token), m.login("two", srv.url, srv.token)
	one.start()
	two.start()
	want := noise(1, 10<<20)
	m.must(os.WriteFile(one.at("db"), want, 0o644))
	one.sent()

	f, err := os.OpenFile(one.at("db"), os.O_RDWR, 0)
	m.must(err)
	for i, off := range []int{0, 5 << 20, 9 << 20} {
		copy(want[off:], noise(uint64(100+i), 5000))
		_, err := f.WriteAt(want[off:off+5000], int64(off))
		m.must(err)
		m.must(f.Sync())
	}
	two.has("db", want) // it has been quiet for a while
	copy(want[4<<20-100:], noise(200, 200))
	_, err = f.WriteAt(want[4<<20-100:4<<20+100], 4<<20-100)
	m.must(err)
	m.must(f.Sync())
	one.sent() // asks for it
	two.has("db", want)

	copy(want[7<<20:], noise(300, 70_000))
	_, err = f.WriteAt(want[7<<20:7<<20+70_000], 7<<20)
	m.must(err)
	m.must(f.Sync())
	grown, err := os.OpenFile(one.at("grown"), os.O_RDWR|os.O_CREATE|os.O_APPEND, 0o644)
	m.must(err)
	text := noise(4, 200_000)
	for _, piece := range [][]byte{text[:50_000], text[50_000:120_000], text[120_000:]} {
		_, err = grown.Write(piece)
		m.must(err)
		m.must(grown.Sync())
	}
	one.kill()
	f.Close()
	grown.Close()
	one.start()
	if got, err := os.ReadFile(one.at("grown")); err != nil || !bytes.Equal(got, text) {
		t.Errorf("after a kill a file that has grown is not what was synced: %d bytes, %v", len(got), err)
	}
	if names, err := os.ReadDir(one.mount()); err != nil || len(names) != 2 {
		t.Errorf("after a kill there are %v, %v", names, err)
	}
	if got, err := os.ReadFile(one.at("db")); err != nil || !bytes.Equal(got, want) {
		t.Errorf("after a kill it is not what was synced: %d bytes, %v", len(got), err)
	}
	one.sent()
	two.has("db", want)
	sameTrees(t, one, two)

	// One that is synced all the time, without rest.
	f, err = os.OpenFile(one.at("busy"), os.O_RDWR|os.O_CREATE, 0o644)
	m.must(err)
	defer f.Close()
	busy := noise(2, 300_000)
	for start, n := time.Now(), 0; ; n++ {
		if got, err := os.ReadFile(two.at("busy")); err == nil && len(got) == len(busy) {
			break
		}
		if time.Since(start) > 2*patience {
			t.Fatal("a file that is synced without end never arrives")
		}
		_, err := f.WriteAt(busy, 0)
		m.must(err)
		m.must(f.Sync())
		time.Sleep(200 * time.Millisecond)
	}
	m.must(f.Close())
	two.end()
	one.end()
}

// has waits until a file holds that.
func (d *drive) has(name string, want []byte) {
	d.m.t.Helper()
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		if got, err := os.ReadFile(d.at(name)); err == nil && bytes.Equal(got, want) {
			return
		}
	}
	d.m.t.Fatalf("%s does not show what was written to %s", d.profile, name)
}
