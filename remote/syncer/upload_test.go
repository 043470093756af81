package syncer

import (
	"testing"
	"time"

	"github.com/dbfs/dbfs"
)

// A program that opens a file whose edit is in flight must not keep the batch from the chunks
// it needs: after a restart there are no receipts.
func TestUploadWhatIsInFlight(t *testing.T) {
	disk, srv := newDisk(t), &server{}
	srv.commit = func(dbfs.Batch) ([]dbfs.Entry, error) { return nil, dbfs.ErrOffline }
	j := disk.journal(t)
	_, stop := run(t, srv, j)
	n := create(t, j, "disk.img")
	await(t, "a batch with the file", func() bool { return j.StateOf(n.ID).Sent })
	stop()

	again := &server{}
	again.commit = func(b dbfs.Batch) ([]dbfs.Entry, error) {
		if len(b.Receipts) == 0 {
			return nil, &dbfs.NeedChunksError{Chunks: b.Ops[len(b.Ops)-1].Content.Chunks.IDs()}
		}
		return nil, dbfs.ErrOffline
	}
	j = disk.journal(t)
	j.Hold(n.ID)
	run(t, again, j)
	await(t, "the chunk of the batch in flight", func() bool { _, _, puts := again.told(); return puts > 0 })
}

// A commit that lacked a receipt says nothing of one that arrived while it was under way.
func TestReceiptsArriveDuringCommit(t *testing.T) {
	ids := []dbfs.ChunkID{dbfs.HashChunk([]byte("sent")), dbfs.HashChunk([]byte("arrived")), dbfs.HashChunk([]byte("renewed"))}
	r := newReceipts(time.Now)
	r.put(ids[0], "sent")
	r.put(ids[2], "old")
	sent := r.of([]dbfs.Op{{Content: &dbfs.Content{Chunks: dbfs.Blocks(ids...)}}})
	r.put(ids[1], "arrived")
	r.put(ids[2], "new")
	r.drop(ids, sent)
	for i, want := range []bool{false, true, true} {
		if got := r.has(ids[i]); got != want {
			t.Errorf("chunk %d: has a receipt: %v, want %v", i, got, want)
		}
	}
}
