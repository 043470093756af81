package cache

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"

	"github.com/dbfs/dbfs"
)

// Recover comes after Open, before anything else. Chunks that were unsent when the last
// process ended, and that needed does not claim, become clean; drafts that were neither
// sealed nor promised are discarded: what Promises returns is next. It looks at what is unsent only, and may be cut short and
// repeated. The function is kept and asked again by Unpin and when drafts close: it says
// whether a pending edit names a chunk, from several goroutines.
func (c *Cache) Recover(needed func(dbfs.ChunkID) bool) error {
	c.pins.mu.Lock()
	c.pins.needed = needed
	c.pins.mu.Unlock()

	promised, err := c.promisedVersions()
	if err != nil {
		return fmt.Errorf("recover: %w", err)
	}
	var gone []dbfs.ChunkRef
	total := int64(0)
	err = c.pins.each(func(id dbfs.ChunkID, u unsent) {
		total += int64(u.n)
		c.mustSyncUnsent(id, u) // whoever wrote it may not have lived to
		if !needed(id) && !promised[id] {
			gone = append(gone, dbfs.ChunkRef{ID: id, Len: u.n})
		}
	})
	if err != nil {
		return fmt.Errorf("recover: %w", err)
	}
	c.room.add(total - c.room.bytes())
	if err := c.Unpin(gone); err != nil { // a full disk, say: they stay unsent until the next start
		c.opts.Log.Warn("chunks that nobody needs stay in the state directory", "err", err)
	}
	if err := c.settleBodies(); err != nil {
		return fmt.Errorf("recover: %w", err)
	}
	return nil
}

// promisedVersions returns the chunks of versions that were sealed and promised, and are not recorded yet.
func (c *Cache) promisedVersions() (map[dbfs.ChunkID]bool, error) {
	promises, err := c.Promises()
	chunks := make(map[dbfs.ChunkID]bool)
	for _, p := range promises {
		if p.Sealed == nil {
			continue
		}
		for _, id := range p.Sealed.Chunks.IDs() {
			chunks[id] = true
		}
	}
	return chunks, err
}

// mustSyncUnsent says that the file in which an unsent chunk lies is for the next Sync.
func (c *Cache) mustSyncUnsent(id dbfs.ChunkID, u unsent) {
	switch {
	case !u.loose:
		name := c.state.bodyFile(u.at.file)
		c.mustSync(name, filepath.Dir(name))
	case u.n > SmallSize:
		name := c.state.chunkFile(id)
		c.mustSync(name, filepath.Dir(name))
	}
}

// settleBodies sends the bodies in state home of which nothing is unsent any more.
func (c *Cache) settleBodies() error {
	var files []File
	err := c.state.kv.View(func(txn dbfs.Txn) error {
		return txn.Scan(key(kindBody), nil, func(k, _ []byte) bool {
			if len(k) == 2+fileLen {
				files = append(files, fileFrom(k[2:]))
			}
			return true
		})
	})
	for _, f := range files {
		err = errors.Join(err, c.settleBody(f))
	}
	return err
}

func (c *Cache) settleBody(f File) error {
	b, err := c.acquire(f)
	if errors.Is(err, dbfs.ErrCorrupt) { // told to whoever opens it
		c.opts.Log.Error("damaged body", "error", err)
		return nil
	}
	if err != nil {
		return err
	}
	defer c.release(b)
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.settle()
}

// Forget drops what is clean of a file whose node is gone. What is unsent stays until it
// is unpinned, and versions that are open stay readable.
func (c *Cache) Forget(f File) error {
	b, err := c.acquire(f)
	if err != nil {
		return fmt.Errorf("forget: %w", err)
	}
	defer c.release(b)
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.home == nil {
		return nil
	}
	b.forgotten = true
	if err := b.save(); err != nil {
		return fmt.Errorf("forget: %w", err)
	}
	return b.settle()
}

// Chunk returns a chunk for sending, verified, from wherever it is on this machine; the
// buffer is the caller's. f and i are where the caller knows it from. ErrOffline: it is
// not here, so it is not unsent.
func (c *Cache) Chunk(ctx context.Context, f File, i int, ref dbfs.ChunkRef) ([]byte, error) {
	if ref.ID == dbfs.ZeroChunk {
		return make([]byte, ref.Len), nil
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	data, _, err := c.local(ref)
	if err == nil && data == nil {
		if data, err = c.bodyBytes(spot{f, i}, ref); err == nil && data == nil {
			err = dbfs.ErrOffline
		}
	}
	if err != nil {
		return nil, fmt.Errorf("chunk %d of %s: %w", i, f, err)
	}
	return data, nil
}
