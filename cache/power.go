package cache

import (
	"errors"
	"fmt"
	"os"

	"github.com/dbfs/dbfs"
)

// Loss of power. What is sealed survives it after the next Sync. Until then the disk is free to
// have the records and not the bytes, so whoever opens the cache after a crash asks which chunks
// are lost, lets the journal go back to what it had at the last Sync, and then gives them up.

// Lost returns the chunks that were sealed after the last Sync of an earlier process and are not
// what they should be: a loss of power took them. It comes after Open, and reads no more than
// was sealed since that Sync. What is not lost will be durable after the next Sync.
func (c *Cache) Lost() (map[dbfs.ChunkID]bool, error) {
	upTo, err := c.pins.mark()
	if err != nil {
		return nil, fmt.Errorf("look for lost chunks: %w", err)
	}
	suspects := make(map[dbfs.ChunkID]unsent)
	err = c.pins.each(func(id dbfs.ChunkID, u unsent) {
		if u.session != upTo.session || u.seal > upTo.seal {
			suspects[id] = u
		}
	})
	if err != nil {
		return nil, fmt.Errorf("look for lost chunks: %w", err)
	}
	lost := make(map[dbfs.ChunkID]bool)
	for id, u := range suspects {
		here, err := c.stillHere(id, u)
		if err != nil {
			return nil, fmt.Errorf("look for lost chunks: %w", err)
		}
		if !here {
			lost[id] = true
		}
	}
	return lost, nil
}

// stillHere reports whether a chunk is what it should be, and sees to it that it stays so.
func (c *Cache) stillHere(id dbfs.ChunkID, u unsent) (bool, error) {
	if !u.loose {
		gone, err := c.bodyGone(u.at.file)
		if gone || err != nil {
			return false, err
		}
	}
	data, err := c.sole(u, dbfs.ChunkRef{ID: id, Len: u.n})
	if data == nil || errors.Is(err, dbfs.ErrCorrupt) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	c.mustSyncUnsent(id, u)
	return true, nil
}

// bodyGone reports whether a body has a record and no file in either home.
func (c *Cache) bodyGone(f File) (bool, error) {
	for _, h := range []*home{c.state, c.cache} {
		_, err := os.Stat(h.bodyFile(f))
		if err == nil {
			return false, nil
		}
		if !errors.Is(err, os.ErrNotExist) {
			return false, err
		}
	}
	return true, nil
}

// GiveUp forgets lost chunks, which no edit may name any more.
func (c *Cache) GiveUp(lost map[dbfs.ChunkID]bool) error {
	if len(lost) == 0 {
		return nil
	}
	loose := []change{}
	inBodies := make(map[File][]sealed)
	err := c.pins.each(func(id dbfs.ChunkID, u unsent) {
		switch {
		case !lost[id]:
		case u.loose:
			loose = append(loose, del(unsentKey(id)), del(valueKey(id)))
		default:
			inBodies[u.at.file] = append(inBodies[u.at.file], sealed{ref: dbfs.ChunkRef{ID: id, Len: u.n}, at: u.at})
		}
	})
	if err == nil {
		err = c.state.update(loose...)
	}
	for f, chunks := range inBodies {
		err = errors.Join(err, c.giveUp(f, chunks))
	}
	if err != nil {
		return fmt.Errorf("give up lost chunks: %w", err)
	}
	return nil
}

// giveUp forgets chunks of one body.
func (c *Cache) giveUp(f File, chunks []sealed) error {
	var changes []change
	for _, s := range chunks {
		changes = append(changes, del(unsentKey(s.ref.ID)))
	}
	gone, err := c.bodyGone(f)
	if err != nil {
		return err
	}
	if gone {
		return c.state.update(append(changes, del(partsKey(f)), del(contentKey(f)))...)
	}
	b, err := c.acquire(f)
	if err != nil {
		return err
	}
	defer c.release(b)
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, s := range chunks {
		b.present.clear(s.at.i)
		b.unsent.clear(s.at.i)
		b.checked.clear(s.at.i)
	}
	if b.home != c.state {
		return c.state.update(changes...)
	}
	return b.save(changes...)
}
