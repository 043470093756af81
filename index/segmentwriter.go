package index

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"os"

	"github.com/RoaringBitmap/roaring/v2"
)

// A source is what a segment is written from: a frozen memory segment, or a segment that
// is merged. Dropped documents are left out.
type source interface {
	part
	// terms calls each with every key upwards, and with a function that hands out the
	// documents of its list; both are good until each returns.
	terms(each func(key []byte, docs docFeed) error) error
}

// A docFeed calls add with the documents of one list.
type docFeed func(add func(doc uint32, positions []uint32)) error

// A mergeInput is a source with the documents to leave out of it.
type mergeInput struct {
	source
	drop *dead
}

// writeSegment writes what the inputs hold, in order of their bounds, to a new file and
// syncs it. The documents keep their numbers. When ctx ends it gives up.
func writeSegment(ctx context.Context, name string, inputs []mergeInput) (err error) {
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return fmt.Errorf("write segment: %w", err)
	}
	w := newSegmentWriter(f, inputs)
	if err = w.run(ctx); err == nil {
		err = f.Sync()
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		os.Remove(name)
		return fmt.Errorf("write segment %s: %w", name, err)
	}
	return nil
}

type segmentWriter struct {
	out    *pageWriter
	inputs []mergeInput
	foot   footer
	drops  []*roaring.Bitmap // document numbers to leave out, by input; nil: none

	lists  listWriter
	dict   []byte // of the block
	inDict int    // keys in it
	key    []byte // the last one
	first  []byte // the block's first
	listAt int64  // where the block's lists begin

	index     []byte // the blocks' index
	indexKey  []byte // the last key in it
	fences    []byte
	recordsAt uint32
}

func newSegmentWriter(f *os.File, inputs []mergeInput) *segmentWriter {
	w := &segmentWriter{out: newPageWriter(f), inputs: inputs}
	w.lists.out = w.out
	lo, _ := inputs[0].bounds()
	_, hi := inputs[len(inputs)-1].bounds()
	w.foot.lo, w.foot.hi = uint64(lo), uint64(hi)
	return w
}

func (w *segmentWriter) run(ctx context.Context) error {
	w.out.write([]byte(segmentMagic))
	w.listAt = w.out.pos()
	if err := w.findDrops(); err != nil {
		return err
	}
	if err := w.merge(ctx); err != nil {
		return err
	}
	w.endBlock()
	w.foot.rows = uint64(w.out.pos())
	if err := w.rows(); err != nil {
		return err
	}
	w.foot.records = uint64(w.out.pos())
	if err := w.records(); err != nil {
		return err
	}
	w.foot.fences = uint64(w.out.pos())
	w.out.write(w.fences)
	w.foot.blockIdx = uint64(w.out.pos())
	w.out.write(w.index)
	w.foot.sums = uint64(w.out.pos())
	w.out.flush()
	var tail []byte
	for _, sum := range w.out.sums {
		tail = binary.LittleEndian.AppendUint32(tail, sum)
	}
	w.out.write(appendFooter(tail, w.foot))
	w.out.flush()
	return w.out.err
}

// findDrops turns the ordinals to leave out into document numbers.
func (w *segmentWriter) findDrops() error {
	for _, in := range w.inputs {
		var drop *roaring.Bitmap
		var err error
		if in.drop.len() > 0 {
			drop = roaring.New()
			in.drop.each(func(i int) {
				if err == nil && i < in.size() {
					var r row
					r, err = in.rowAt(i)
					drop.Add(r.doc)
				}
			})
		}
		if err != nil {
			return err
		}
		w.drops = append(w.drops, drop)
	}
	return nil
}

// merge walks the keys of all inputs together and writes one list for each.
func (w *segmentWriter) merge(ctx context.Context) error {
	heads := make([]*termHead, len(w.inputs))
	for i, in := range w.inputs {
		heads[i] = pull(in.source)
		defer heads[i].stop()
		heads[i].next()
	}
	var key []byte
	for n := 0; ; n++ {
		if n%1024 == 0 && ctx.Err() != nil {
			return ctx.Err()
		}
		least := -1
		for i, h := range heads {
			if h.err != nil {
				return h.err
			}
			if !h.done && (least < 0 || bytes.Compare(h.key, heads[least].key) < 0) {
				least = i
			}
		}
		if least < 0 {
			return w.out.err
		}
		key = append(key[:0], heads[least].key...)
		if err := w.list(key, heads); err != nil {
			return err
		}
	}
}

// list joins the lists of key, which the bounds of the inputs put in order.
func (w *segmentWriter) list(key []byte, heads []*termHead) error {
	w.lists.begin(uint32(w.foot.lo), isWordKey(key))
	for i, h := range heads {
		if h.done || !bytes.Equal(h.key, key) {
			continue
		}
		drop := w.drops[i]
		err := h.docs(func(doc uint32, positions []uint32) {
			if drop == nil || !drop.Contains(doc) {
				w.lists.add(doc, positions)
			}
		})
		if err != nil {
			return err
		}
		h.next()
	}
	if w.lists.count > 0 {
		inline, size := w.lists.end()
		w.entry(key, w.lists.count, inline, size)
	}
	return nil
}

func (w *segmentWriter) entry(key []byte, count uint32, inline []byte, size int64) {
	if w.inDict == 0 {
		w.first, w.key = append(w.first[:0], key...), w.key[:0]
	}
	w.dict = appendKey(w.dict, w.key, key)
	w.dict = binary.AppendUvarint(w.dict, uint64(count))
	if inline != nil {
		w.dict = append(binary.AppendUvarint(w.dict, uint64(size)<<1|1), inline...)
	} else {
		w.dict = binary.AppendUvarint(w.dict, uint64(size)<<1)
	}
	w.key = append(w.key[:0], key...)
	if w.inDict++; w.inDict == blockKeys {
		w.endBlock()
	}
}

func appendKey(b, before, key []byte) []byte {
	shared := 0
	for shared < min(len(before), len(key)) && before[shared] == key[shared] {
		shared++
	}
	b = binary.AppendUvarint(b, uint64(shared))
	b = binary.AppendUvarint(b, uint64(len(key)-shared))
	return append(b, key[shared:]...)
}

func (w *segmentWriter) endBlock() {
	if w.inDict == 0 {
		return
	}
	w.index = appendKey(w.index, w.indexKey, w.first)
	w.indexKey = append(w.indexKey[:0], w.first...)
	w.index = binary.AppendUvarint(w.index, uint64(w.out.pos()-w.listAt))
	w.index = binary.AppendUvarint(w.index, uint64(len(w.dict)))
	w.out.write(w.dict)
	w.dict, w.inDict = w.dict[:0], 0
	w.listAt = w.out.pos()
	w.foot.blocks++
}

// eachRow calls fn with the rows that stay and with their records.
func (w *segmentWriter) eachRow(fn func(r row, record []byte) error) error {
	for _, in := range w.inputs {
		for i := range in.size() {
			if in.drop.has(i) {
				continue
			}
			r, err := in.rowAt(i)
			if err != nil {
				return err
			}
			record, err := recordOf(in, r)
			if err != nil {
				return err
			}
			if err := fn(r, record); err != nil {
				return err
			}
		}
	}
	return nil
}

// recordOf returns the bytes of a document's record.
func recordOf(p part, r row) ([]byte, error) {
	if r.is(isContent) {
		return p.record(r.record, len(key128{}))
	}
	b, err := p.record(r.record, maxNameRecord)
	if err != nil {
		return nil, err
	}
	_, n, err := decodeNameRecord(b)
	return b[:n], err
}

func (w *segmentWriter) rows() error {
	var b []byte
	return w.eachRow(func(r row, record []byte) error {
		if w.foot.docs%rowsPerFence == 0 {
			w.fences = binary.LittleEndian.AppendUint32(w.fences, r.doc)
		}
		r.record = w.recordsAt
		w.recordsAt += uint32(len(record))
		w.foot.docs++
		if r.is(isContent) {
			w.foot.contents++
			w.foot.tokens += uint64(r.link)
		}
		b = appendRow(b[:0], r)
		w.out.write(b)
		return w.out.err
	})
}

func (w *segmentWriter) records() error {
	return w.eachRow(func(_ row, record []byte) error {
		w.out.write(record)
		return w.out.err
	})
}
