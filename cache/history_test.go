package cache

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"testing"

	"pgregory.net/rapid"

	"github.com/dbfs/dbfs"
)

// history is a random life of a cache beside a model of it: byte slices.
type history struct {
	*world
	rt      *rapid.T
	drafts  map[int]*Draft
	drafted map[int][]byte        // what the draft holds
	shown   map[int][]byte        // the newest version of each file
	pending map[int][]pendingEdit // sealed and in the journal, oldest first
	open    []openBody
}

type pendingEdit struct {
	content dbfs.Content
	data    []byte
}

type openBody struct {
	b    *Body
	data []byte
}

// lengths meet every border: none, short, about SmallSize, about whole chunks.
var lengths = []int{0, 1, 700, SmallSize - 1, SmallSize, SmallSize + 1, 100_000, dbfs.ChunkSize - 1, dbfs.ChunkSize, dbfs.ChunkSize + 1, 2 * dbfs.ChunkSize, 2*dbfs.ChunkSize + 70_000}

func (h *history) pick(what string, n int) int { return rapid.IntRange(0, n-1).Draw(h.rt, what) }

func (h *history) length(what string) int {
	return rapid.SampledFrom(lengths).Draw(h.rt, what)
}

// bytes are random but few: so that chunks are often the same.
func (h *history) bytes(n int) []byte {
	b := make([]byte, n)
	seed := byte(h.pick("fill", 4))
	for i := range b {
		b[i] = seed * byte(1+i%251)
	}
	return b
}

func (h *history) file() int { return h.pick("file", 3) }

func (h *history) step() {
	steps := []struct {
		name string
		do   func()
	}{
		{"draft", h.begin}, {"write", h.writeSome}, {"write", h.writeSome}, {"truncate", h.truncateSome}, {"zero", h.zeroSome}, {"holes", h.holes},
		{"read", h.readDraft}, {"seal", h.sealSome}, {"seal", h.sealSome}, {"close", h.closeDraft},
		{"send", h.send}, {"send", h.send}, {"open", h.openSome}, {"check", h.checkOpen}, {"close body", h.closeBody},
		{"remote", h.remote}, {"forget", h.forgetSome}, {"evict", h.evictSome}, {"sync", h.syncAll}, {"restart", h.restart},
	}
	s := steps[h.pick("step", len(steps))]
	h.rt.Logf("%s", s.name)
	s.do()
}

func (h *history) must(err error) {
	if err != nil {
		h.rt.Fatalf("%+v", err)
	}
}

func (h *history) begin() {
	i := h.file()
	if h.drafts[i] != nil {
		return
	}
	d, err := h.c.Draft(file(i), contentOf(h.shown[i]))
	h.must(err)
	h.drafts[i], h.drafted[i] = d, bytes.Clone(h.shown[i])
}

func (h *history) writeSome() {
	i := h.file()
	d := h.drafts[i]
	if d == nil {
		return
	}
	off, p := h.length("off")%(len(h.drafted[i])+SmallSize), h.bytes(h.length("n"))
	n, err := d.WriteAt(ctx, p, int64(off))
	h.must(err)
	if n != len(p) {
		h.rt.Fatalf("wrote %d of %d", n, len(p))
	}
	if grow := off + n - len(h.drafted[i]); grow > 0 && n > 0 {
		h.drafted[i] = append(h.drafted[i], make([]byte, grow)...)
	}
	copy(h.drafted[i][min(off, len(h.drafted[i])):], p)
}

func (h *history) truncateSome() {
	i := h.file()
	d := h.drafts[i]
	if d == nil {
		return
	}
	n := h.length("size")
	h.must(d.Truncate(ctx, int64(n)))
	h.drafted[i] = append(h.drafted[i][:min(n, len(h.drafted[i])):min(n, len(h.drafted[i]))], make([]byte, max(0, n-len(h.drafted[i])))...)
}

func (h *history) zeroSome() {
	i := h.file()
	d := h.drafts[i]
	if d == nil {
		return
	}
	off, n := h.length("off"), h.length("n")
	h.must(d.Zero(ctx, int64(off), int64(n)))
	size := len(h.drafted[i])
	clear(h.drafted[i][min(off, size):min(off+n, size)])
}

// holes goes from hole to hole in a draft: they hold zeros.
func (h *history) holes() {
	i := h.file()
	d := h.drafts[i]
	if d == nil {
		return
	}
	size := int64(len(h.drafted[i]))
	for at := int64(0); at < size; {
		data, ok := d.NextData(at)
		if !ok {
			data = size
		}
		for ; at < data; at++ {
			if h.drafted[i][at] != 0 {
				h.rt.Fatalf("byte %d is in a hole that ends at %d", at, data)
			}
		}
		if at == size {
			break
		}
		hole, ok := d.NextHole(data)
		if !ok || hole <= data || hole > size {
			h.rt.Fatalf("data from %d to %d of %d, %v", data, hole, size, ok)
		}
		at = hole
	}
	if at, ok := d.NextHole(size); ok {
		h.rt.Fatalf("a hole at %d, beyond the end", at)
	}
}

func (h *history) readDraft() {
	if d := h.drafts[h.file()]; d != nil {
		for i, e := range h.drafts {
			if e == d {
				h.same("draft", h.drafted[i], func(p []byte) (int, error) { return d.ReadAt(ctx, p, 0) })
				if d.Size() != int64(len(h.drafted[i])) {
					h.rt.Fatalf("size %d, want %d", d.Size(), len(h.drafted[i]))
				}
			}
		}
	}
}

func (h *history) same(what string, want []byte, read func(p []byte) (int, error)) {
	p := make([]byte, len(want)+1)
	n, err := read(p)
	if err != io.EOF {
		h.rt.Fatalf("%s: %v", what, err)
	}
	if !bytes.Equal(p[:n], want) {
		at := 0
		for at < min(n, len(want)) && p[at] == want[at] {
			at++
		}
		h.rt.Fatalf("%s: read %d bytes, want %d; others from %d on", what, n, len(want), at)
	}
}

func (h *history) sealSome() {
	i := h.file()
	d := h.drafts[i]
	if d == nil {
		return
	}
	c, err := d.Seal(ctx)
	h.must(err)
	if !c.Equal(contentOf(h.drafted[i])) {
		h.rt.Fatalf("seal of %d bytes is not of the %d written", c.Size, len(h.drafted[i]))
	}
	if bytes.Equal(h.drafted[i], h.shown[i]) {
		return // the fs records nothing then
	}
	h.shown[i] = bytes.Clone(h.drafted[i])
	h.need(c)
	h.pending[i] = append(h.pending[i], pendingEdit{c, h.shown[i]})
}

func (h *history) closeDraft() {
	i := h.file()
	if d := h.drafts[i]; d != nil {
		h.must(d.Close())
		delete(h.drafts, i)
	}
}

// send uploads the oldest edit of a file, whatever the file is now.
func (h *history) send() {
	i := h.file()
	if len(h.pending[i]) == 0 {
		return
	}
	e := h.pending[i][0]
	for n, id := range e.content.Chunks.All() {
		if id == dbfs.ZeroChunk {
			continue
		}
		b, err := h.c.Chunk(ctx, file(i), n, e.content.Ref(n))
		h.must(err)
		if !bytes.Equal(b, chunkOf(e.data, n)) {
			h.rt.Fatalf("chunk %d to send is another", n)
		}
		h.store.Put(ctx, 1, e.content.Ref(n), b)
	}
	h.pending[i] = h.pending[i][1:]
	h.settled()
	h.must(h.c.Unpin(e.content.Refs()))
}

// settled works out anew what the journal needs.
func (h *history) settled() {
	needed := map[dbfs.ChunkID]bool{}
	for _, edits := range h.pending {
		for _, e := range edits {
			for _, id := range e.content.Chunks.All() {
				needed[id] = true
			}
		}
	}
	h.mu.Lock()
	h.needed = needed
	h.mu.Unlock()
}

func (h *history) openSome() {
	i := h.file()
	if len(h.open) > 4 {
		return
	}
	b, err := h.c.Open(file(i), contentOf(h.shown[i]))
	h.must(err)
	h.open = append(h.open, openBody{b, h.shown[i]})
}

func (h *history) checkOpen() {
	for _, o := range h.open {
		h.same("body", o.data, func(p []byte) (int, error) { return o.b.ReadAt(ctx, p, 0) })
	}
}

func (h *history) closeBody() {
	if len(h.open) > 0 {
		i := h.pick("body", len(h.open))
		h.must(h.open[i].b.Close())
		h.open = append(h.open[:i], h.open[i+1:]...)
	}
}

// remote is a change by another device of a file of which nothing is pending here.
func (h *history) remote() {
	i := h.file()
	if len(h.pending[i]) > 0 || h.drafts[i] != nil {
		return
	}
	h.shown[i] = h.bytes(h.length("remote"))
	h.store.upload(h.shown[i])
}

func (h *history) forgetSome() { h.must(h.c.Forget(file(h.file()))) }

func (h *history) evictSome() {
	h.c.evictor.size.Store(int64(h.length("budget")))
	if err := h.c.evictor.makeRoom(0); err != nil && !errors.Is(err, dbfs.ErrNoSpace) {
		h.must(err)
	}
	h.c.evictor.size.Store(1 << 30)
}

func (h *history) syncAll() { h.must(h.c.Sync()) }

// restart loses what was not sealed.
func (h *history) restart() {
	h.closeAll()
	h.must(h.c.Close())
	c, err := Open(h.opts)
	h.must(err)
	h.must(c.Recover(h.isNeeded))
	h.c, h.world.c = c, c
}

func (h *history) closeAll() {
	for i, d := range h.drafts {
		h.must(d.Close())
		delete(h.drafts, i)
	}
	for _, o := range h.open {
		h.must(o.b.Close())
	}
	h.open = nil
}

// end checks that everything can still be read and that the counts come out even.
func (h *history) end() {
	h.closeAll()
	for i, data := range h.shown {
		b, err := h.c.Open(file(i), contentOf(data))
		h.must(err)
		h.same(fmt.Sprint("file ", i), data, func(p []byte) (int, error) { return b.ReadAt(ctx, p, 0) })
		h.must(b.Close())
		for len(h.pending[i]) > 0 {
			e := h.pending[i][0]
			for n, id := range e.content.Chunks.All() {
				if id != dbfs.ZeroChunk {
					_, err := h.c.Chunk(ctx, file(i), n, e.content.Ref(n))
					h.must(err)
				}
			}
			h.pending[i] = h.pending[i][1:]
			h.settled()
			h.must(h.c.Unpin(e.content.Refs()))
		}
	}
	if s := h.c.Stats(); s.Unsent != 0 {
		h.rt.Fatalf("%d bytes are unsent with nothing pending", s.Unsent)
	}
	before := h.c.Stats().Clean
	h.c.evictor.recount()
	if after := h.c.Stats().Clean; after != before {
		h.rt.Fatalf("%d clean bytes counted along, %d in the order", before, after)
	}
}

func TestHistory(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		change := func(o *Options) { o.KV = NewMemKV() } // which outlives a restart, as its owner would
		h := &history{world: newWorld(t, change), rt: rt, drafts: map[int]*Draft{}, drafted: map[int][]byte{}, shown: map[int][]byte{}, pending: map[int][]pendingEdit{}}
		defer func() {
			h.closeAll()
			h.close()
		}()
		for range rapid.IntRange(1, 40).Draw(rt, "steps") {
			h.step()
		}
		h.end()
	})
}
