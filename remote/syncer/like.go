package syncer

import (
	"context"

	"github.com/dbfs/dbfs"
)

// fewChunks is how many chunks of a file may have changed for the server to be asked what the old ones
// were like, where they are no longer here. It reads a whole chunk to answer.
const fewChunks = 8

// send puts a chunk: what differs from the version that the server has, where that is less.
func (sp *space) send(ctx context.Context, p piece, raw []byte) (dbfs.Receipt, error) {
	ns := sp.journal.NS()
	store, ok := sp.s.cfg.Chunks.(dbfs.DeltaStore)
	if !ok || p.ref.Len < dbfs.MinDelta {
		return sp.s.cfg.Chunks.Put(ctx, ns, p.ref, raw)
	}
	was := sp.journal.SentContent(p.node)
	if was.IsZero() {
		return store.Put(ctx, ns, p.ref, raw)
	}
	var done []func()
	defer func() {
		for _, done := range done {
			done()
		}
	}()
	like := likeOf(was, *p.content, p.i)
	like.Local = func(ref dbfs.ChunkRef) []byte {
		b, end, err := sp.s.cfg.Read(ctx, ns, p.node, was.Chunks.Index(ref.ID), ref)
		if err != nil {
			return nil // it need not be here
		}
		done = append(done, end)
		return b
	}
	return store.PutLike(ctx, ns, p.ref, raw, like)
}

// likeOf says what chunk i of a file may resemble, by what the file was and is.
func likeOf(was, now dbfs.Content, i int) dbfs.Like {
	at := func(i int) dbfs.ChunkRef {
		if was.Chunks.At(i) == dbfs.ZeroChunk {
			return dbfs.ChunkRef{}
		}
		return was.Ref(i)
	}
	changed := 0
	for i, id := range now.Chunks.All() {
		if was.Chunks.At(i) != id {
			changed++
		}
	}
	return dbfs.Like{Same: at(i), Before: at(i - 1), After: at(i + 1), Few: changed <= fewChunks}
}
