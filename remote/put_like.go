package remote

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/dbfs/dbfs"
)

const (
	// anyDelta is the length from which on a delta is made whatever the link: what
	// it saves is more than the time it takes.
	anyDelta = 1 << 20

	// fastLink is how many bytes a second are so many that short chunks go whole: 100 Mbit/s.
	fastLink = 100e6 / 8

	// wellDone is how long a delta may be, in bytes, without trying whether a larger dictionary
	// makes it shorter.
	wellDone = 16 << 10
)

var _ dbfs.DeltaStore = (*Chunks)(nil)

// PutLike is Put by a delta where one can be made and saves at least half of what Put sends.
func (c *Chunks) PutLike(ctx context.Context, ns dbfs.NamespaceID, ref dbfs.ChunkRef, raw []byte, like dbfs.Like) (dbfs.Receipt, error) {
	if err := checkPut(ctx, ref, raw); err != nil {
		return "", err
	}
	if receipt, err := c.proved(ctx, ns, ref, raw); receipt != "" || err != nil {
		return receipt, err
	}
	buf := getBuffer(frameHeader + len(raw) + frameTrailer)
	defer putBuffer(buf)
	frame := AppendFrame(buf[:0], ref, raw)
	if ref.Len >= anyDelta || ref.Len >= dbfs.MinDelta && c.speed.slow() {
		receipt, err := c.putDelta(ctx, ns, ref, raw, like, len(frame)/2)
		if err == nil && receipt != "" {
			return receipt, nil
		}
		if err != nil && !goesWhole(err) {
			return "", fmt.Errorf("put chunk %s: %w", ref.ID, err)
		}
	}
	return c.putFrame(ctx, ns, ref, frame)
}

// goesWhole reports whether a chunk that cannot be sent as a delta can be sent all the same.
func goesWhole(err error) bool {
	for _, no := range []error{dbfs.ErrNotExist, dbfs.ErrCorrupt, dbfs.ErrUnsupported, dbfs.ErrVersion, dbfs.ErrInvalid, dbfs.ErrTooLarge} {
		if errors.Is(err, no) {
			return true
		}
	}
	return false
}

// putDelta sends a chunk as a delta of at most so many bytes; "": there is none.
func (c *Chunks) putDelta(ctx context.Context, ns dbfs.NamespaceID, ref dbfs.ChunkRef, raw []byte, like dbfs.Like, most int) (dbfs.Receipt, error) {
	delta, err := c.delta(ctx, ns, ref, raw, like, most)
	if delta == nil || err != nil {
		return "", err
	}
	if err := c.transfers.waitUp(ctx, len(delta)); err != nil {
		return "", err
	}
	var reply ReceiptReply
	if err := c.client.call(ctx, http.MethodPost, "/v1/blobs/delta", DeltaRequest{ns, delta}, &reply); err != nil {
		return "", err
	}
	c.deltas.Add(1)
	c.saved.Add(int64(ref.Len - len(delta)))
	return reply.Receipt, nil
}

// delta makes one of what is on this machine, or else of what the server tells of the base; nil: it is not
// worth it. The chunks beside the base are read only where something was moved, or bytes are dear: who
// replaces a large file by another one does not pay for three chunks with each.
func (c *Chunks) delta(ctx context.Context, ns dbfs.NamespaceID, ref dbfs.ChunkRef, raw []byte, like dbfs.Like, most int) (best []byte, err error) {
	local := func(ref dbfs.ChunkRef) (b Base) {
		if CheckChunk(ref) != nil {
			return b
		}
		if raw := like.Local(ref); raw != nil {
			b = Base{ref.ID, raw}
		}
		return b
	}
	dear := like.Few || c.speed.slow()
	bases := Bases{local(like.Same)}
	near := bases[0].Raw != nil && resembles(raw, &bases)
	if near {
		if best = appendDelta(nil, ref, raw, &bases, most); best != nil && len(best) <= wellDone {
			return best, nil
		}
	}
	if bases[0].Raw == nil && dear && CheckChunk(like.Same) == nil { // as where it was changed in place
		if d, err := c.deltaBySignature(ctx, ns, ref, raw, like.Same, most); d != nil || err != nil {
			return d, err
		}
	}
	if !near && !dear {
		return nil, nil
	}
	bases[1], bases[2] = local(like.Before), local(like.After)
	if bases[1].Raw == nil && bases[2].Raw == nil || !near && !resembles(raw, &bases) {
		return best, nil
	}
	if with := appendDelta(nil, ref, raw, &bases, most); with != nil && (best == nil || len(with) < len(best)) {
		best = with
	}
	return best, nil
}

// resembles reports whether a dictionary is worth trying, which takes a tenth of the time that making
// a delta takes: whether a quarter of the chunk is in it in blocks.
func resembles(raw []byte, bases *Bases) bool {
	dict := bases.dictionary()
	for known := 0; len(dict) > 0; {
		part := dict[:min(len(dict), dbfs.ChunkSize)]
		dict = dict[len(part):]
		l, err := compare(Signature(part), len(part), raw)
		if known += l.known(); err != nil || known*4 >= len(raw) {
			return err == nil
		}
	}
	return false
}

// deltaBySignature makes a delta without the base's bytes.
func (c *Chunks) deltaBySignature(ctx context.Context, ns dbfs.NamespaceID, ref dbfs.ChunkRef, raw []byte, same dbfs.ChunkRef, most int) ([]byte, error) {
	var reply SignatureReply
	if err := c.client.call(ctx, http.MethodPost, "/v1/blobs/signature", SignatureRequest{ns, same}, &reply); err != nil {
		return nil, err
	}
	l, err := compare(reply.Signature, same.Len, raw)
	if err != nil || l.known()*4 < len(raw) {
		return nil, err
	}
	delta := appendDelta(nil, ref, raw, &Bases{{same.ID, l.base(1)}}, most)
	if delta == nil {
		return nil, nil
	}
	d, err := ParseDelta(delta)
	if err != nil {
		return nil, err
	}
	if again, err := d.Decode(&Bases{{same.ID, l.base(2)}}); err != nil || !bytes.Equal(again, raw) {
		return nil, nil // it makes use of the noise
	}
	return delta, nil
}

// A pace is how fast uploads were lately.
type pace struct {
	rate atomic.Int64 // bytes a second; 0: not known
}

// note takes an upload into account.
func (p *pace) note(n int, took time.Duration) {
	if n < dbfs.MinDelta || took <= 0 {
		return
	}
	now := int64(float64(n) / took.Seconds())
	if was := p.rate.Load(); was > 0 {
		now = (3*was + now) / 4
	}
	p.rate.Store(now)
}

// slow reports whether a link is known to be slow.
func (p *pace) slow() bool {
	rate := p.rate.Load()
	return rate > 0 && rate < fastLink
}
