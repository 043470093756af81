package cache

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"testing"

	"github.com/dbfs/dbfs"
)

// A loss of power takes what was sealed since the last Sync, or some of it. The cache says which,
// and then goes on without it.
func TestLost(t *testing.T) {
	damage := map[string]func(name string) error{
		"emptied": func(name string) error { return os.Truncate(name, 0) },
		"zeros":   func(name string) error { return overwrite(name, 0, make([]byte, dbfs.ChunkSize)) },
		"removed": os.Remove,
	}
	top := testDir(t)
	for what, damage := range damage {
		t.Run(what, func(t *testing.T) {
			dir := fmt.Sprintf("%s/%s", top, what)
			small, synced, mine := version(0, 0), version(3, 0), version(4, 0) // 100 bytes, two chunks, three
			child(t, top, func() {
				c := (&crashing{t: t, dir: dir}).openUnrecovered()
				sealAll(t, c, file(3), synced)
				if err := c.Sync(); err != nil {
					t.Fatal(err)
				}
				sealAll(t, c, file(0), small)
				sealAll(t, c, file(4), mine)
			})
			c := (&crashing{t: t, dir: dir}).openUnrecovered()
			if err := damage(c.state.bodyFile(file(4))); err != nil {
				t.Fatal(err)
			}
			lost, err := c.Lost()
			if err != nil {
				t.Fatal(err)
			}
			content := contentOf(mine)
			if len(lost) == 0 || !lost[content.Chunks.At(0)] || lost[contentOf(small).Chunks.At(0)] || lost[contentOf(synced).Chunks.At(0)] {
				t.Errorf("%d chunks are lost: %v", len(lost), lost)
			}
			if err := errors.Join(c.GiveUp(lost), c.Recover(func(id dbfs.ChunkID) bool { return !lost[id] })); err != nil {
				t.Fatal(err)
			}
			for f, data := range map[File][]byte{file(0): small, file(3): synced} {
				content := contentOf(data)
				for i := range content.Chunks.All() {
					if b, err := c.Chunk(ctx, f, i, content.Ref(i)); err != nil || !bytes.Equal(b, chunkOf(data, i)) {
						t.Errorf("chunk %d of %s: %v", i, f, err)
					}
				}
			}
			if _, err := c.Chunk(ctx, file(4), 0, content.Ref(0)); !errors.Is(err, dbfs.ErrOffline) {
				t.Errorf("a chunk that was given up: %v, want that it is not here", err)
			}
			sealAll(t, c, file(4), mine) // the file goes on
			if again, err := c.Lost(); err != nil || len(again) > 0 {
				t.Errorf("after that %d chunks are lost, %v", len(again), err)
			}
			if err := c.Close(); err != nil {
				t.Error(err)
			}
		})
	}
}

func sealAll(t *testing.T, c *Cache, f File, data []byte) {
	t.Helper()
	d, err := c.Draft(f, dbfs.Content{})
	if err == nil {
		_, err = d.WriteAt(ctx, data, 0)
	}
	if err == nil {
		_, err = d.Seal(ctx)
	}
	if err != nil {
		t.Fatal(err)
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
}
