package cache

import (
	"context"

	"github.com/dbfs/dbfs"
)

// smallDraft is a draft of at most SmallSize bytes, in memory. Draft.mu is held.
type smallDraft struct {
	d      *Draft
	base   dbfs.Content
	loaded bool   // data holds the bytes; else they are those of base
	data   []byte // at most SmallSize
	dirty  bool
}

// draftMemory bounds what all short drafts together keep in memory. Beyond it they give
// back what is sealed; beyond twice as much they spill.
const draftMemory = 8 << 20

func newSmallDraft(d *Draft, base dbfs.Content) *smallDraft {
	return &smallDraft{d: d, base: base, loaded: base.Size == 0}
}

func (s *smallDraft) size() int64 {
	if s.loaded {
		return int64(len(s.data))
	}
	return s.base.Size
}

func (s *smallDraft) fits(size int64) bool {
	grow := size - int64(cap(s.data))
	return size <= SmallSize && (grow <= 0 || s.d.c.inDrafts.Load() < 2*draftMemory)
}

func (s *smallDraft) load(ctx context.Context) error {
	if s.loaded {
		return nil
	}
	ref := s.base.Ref(0)
	data := make([]byte, ref.Len)
	if ref.ID != dbfs.ZeroChunk {
		h := &Body{c: s.d.c, file: s.d.file, content: s.base}
		if _, err := h.ReadAt(ctx, data, 0); err != nil {
			return err
		}
	}
	s.keep(data)
	s.loaded = true
	return nil
}

// keep makes b the bytes.
func (s *smallDraft) keep(b []byte) {
	s.d.c.inDrafts.Add(int64(cap(b) - cap(s.data)))
	s.data = b
}

func (s *smallDraft) read(p []byte, off int64) int {
	if off >= int64(len(s.data)) {
		return 0
	}
	return copy(p, s.data[off:])
}

func (s *smallDraft) write(p []byte, off int64) {
	if end := int(off) + len(p); end > len(s.data) && len(p) > 0 {
		s.resize(end)
	}
	if copy(s.data[min(int(off), len(s.data)):], p) > 0 {
		s.dirty = true
	}
}

func (s *smallDraft) truncate(size int64) {
	s.resize(int(size))
	s.dirty = true
}

func (s *smallDraft) resize(n int) {
	if n <= cap(s.data) {
		was := len(s.data)
		s.data = s.data[:n]
		if n > was {
			clear(s.data[was:])
		}
		return
	}
	b := make([]byte, n, min(max(n, 2*cap(s.data), 512), SmallSize))
	copy(b, s.data)
	s.keep(b)
}

func (s *smallDraft) end() { s.keep(nil) }

func (s *smallDraft) seal(ctx context.Context) (dbfs.Content, []dbfs.ChunkRef, error) {
	content := dbfs.Content{Size: int64(len(s.data))}
	var held []dbfs.ChunkRef
	if len(s.data) > 0 {
		ref := dbfs.ChunkRef{ID: dbfs.HashChunk(s.data), Len: len(s.data)}
		content.Chunks = dbfs.Blocks(ref.ID)
		if ref.ID != dbfs.ZeroChunk {
			if err := s.enter(ctx, ref); err != nil {
				return content, nil, err
			}
			held = []dbfs.ChunkRef{ref}
		}
	}
	s.base, s.dirty = content, false
	if s.d.c.inDrafts.Load() > draftMemory {
		s.keep(nil)
		s.loaded = content.Size == 0
	}
	return content, held, nil
}

func (s *smallDraft) enter(ctx context.Context, ref dbfs.ChunkRef) error {
	room := &s.d.c.room
	if err := room.take(ctx, int64(ref.Len), s.d.c.opts.Patience); err != nil {
		return err
	}
	defer room.add(-int64(ref.Len)) // enter counts what is new
	return s.d.c.pins.enter([]sealed{{ref: ref, loose: true}}, func(chunks []sealed) ([]change, error) {
		if !chunks[0].fresh {
			return nil, nil
		}
		return []change{set(valueKey(ref.ID), s.data)}, nil
	})
}
