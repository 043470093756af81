package e2e

import (
	"fmt"
	"os"
	"time"

	"github.com/dbfs/dbfs"
	"github.com/dbfs/dbfs/remote"
)

// Crashes of a server that collects garbage, which is weeks old: its clock is put forward.

// garbage leaves files that are written over and files that are removed, more than a month ago.
func (w *ruin) garbage() {
	for round := range 2 {
		for i := range 6 {
			w.must(os.WriteFile(w.one.at(fmt.Sprintf("kept%d", i)), noise(uint64(10*round+i), 70_000), 0o644))
			w.must(os.WriteFile(w.one.at(fmt.Sprintf("gone%d", i)), noise(uint64(100+10*round+i), 70_000), 0o644))
		}
		w.one.sent()
	}
	for i := range 6 {
		w.must(os.Remove(w.one.at(fmt.Sprintf("gone%d", i))))
	}
	w.one.sent()
	w.two.sent()
	sameTrees(w.t, w.one, w.two)
	w.pass(40 * 24 * time.Hour)
}

// condemned also lets the server condemn it, more than a week ago.
func (w *ruin) condemned() {
	w.garbage()
	w.await(w.collecting())
	w.pass(50 * 24 * time.Hour)
}

// pass starts the server again, so much later.
func (w *ruin) pass(d time.Duration) {
	w.t.Helper()
	w.srv.kill()
	w.srv.env = []string{fmt.Sprint("DBFS_CLOCK=", d)}
	w.srv.again()
}

// collecting asks the server to collect, and returns who asked.
func (w *ruin) collecting() remoteSession {
	w.t.Helper()
	se := w.srv.session()
	if _, err := se.StartCollection(within(w.t, patience), false); err != nil {
		w.t.Fatal(err)
	}
	return se
}

// await returns when the collection is over.
func (w *ruin) await(se remoteSession) remote.Collection {
	w.t.Helper()
	for ctx := within(w.t, patience); ; time.Sleep(5 * time.Millisecond) {
		c, err := se.Collection(ctx)
		if err != nil {
			w.t.Fatal(err)
		}
		if !c.Running && !c.Finished.IsZero() {
			if c.Error != "" || c.Rescued > 0 {
				w.t.Fatalf("collection: %+v", c)
			}
			return c
		}
	}
}

// collect lets the server collect, in which it dies, be it before it has answered.
func (w *ruin) collect() {
	w.t.Helper()
	w.srv.process.await(serving)
	se := w.srv.session()
	_, err := se.StartCollection(within(w.t, patience), false)
	select {
	case <-w.srv.ended:
	case <-time.After(10 * time.Second):
		w.must(err)
	}
}

// collected lets the server begin again, to the end, now and when all that is condemned may go. Then
// everything is there that is in a file, and nothing else.
func (w *ruin) collected() {
	w.t.Helper()
	w.await(w.collecting())
	w.pass(60 * 24 * time.Hour)
	w.await(w.collecting())
	allAgree(w.t, w.srv, w.one, w.two)
	se := w.srv.session()
	me, err := se.Me(within(w.t, patience))
	w.must(err)
	for i := range 6 {
		for _, seed := range []int{i, 100 + i, 110 + i} {
			b := noise(uint64(seed), 70_000)
			ref := dbfs.ChunkRef{ID: dbfs.HashChunk(b), Len: len(b)}
			if _, err := se.chunks.Get(within(w.t, patience), me.Root, ref); err == nil {
				w.t.Errorf("what was written over or removed 60 days ago is still there: %d", seed)
			}
		}
	}
}
