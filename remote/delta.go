package remote

import (
	"bytes"
	"fmt"

	"github.com/klauspost/compress/zstd"

	"github.com/dbfs/dbfs"
	"github.com/dbfs/dbfs/fault"
)

// A delta is a chunk as what differs from others: a frame whose payload is compressed with a
// dictionary that both ends have, because it is made of chunks that the server stores. These
// are of the version that the file had before:
//
//	base 0  the chunk at the same place of the file
//	base 1  the one before it, of which the dictionary has the last 256 KiB
//	base 2  the one after it, of which it has the first 256 KiB
//
// The dictionary is the three in the order of the file. The neighbours are for what was inserted
// or taken away, which shifts bytes across the borders of chunks. A base that is not there, or
// is zeros only, is named by the zero id and contributes nothing.
//
// What the other end unpacks, it verifies by the chunk's hash before it believes any of it.

const (
	maxBases = 3

	// overlap is how much of a neighbour is in the dictionary, in bytes.
	overlap = 256 << 10

	// deltaWindow is how far back a match may be, in bytes: from any place in the chunk to
	// the same place in the dictionary and beyond.
	deltaWindow = 8 << 20

	// dictID is the only one used: a frame's header says what its dictionary is.
	dictID = 1

	// MaxDelta is the longest delta in bytes. What saves less is sent as an object, which takes as
	// long as it needs to; a delta is part of a request.
	MaxDelta = 1 << 20
)

// A Base is a chunk of which a dictionary is made. The zero Base is one that is not there.
type Base struct {
	ID  dbfs.ChunkID
	Raw []byte // verified
}

// Bases are what a dictionary is made of: the chunk at the same place of the file's last version,
// the one before it and the one after it.
type Bases [maxBases]Base

// ids returns the names of the bases up to the last that is there.
func (bs *Bases) ids() []dbfs.ChunkID {
	n := maxBases
	for n > 0 && bs[n-1].ID == dbfs.ZeroChunk {
		n--
	}
	ids := make([]dbfs.ChunkID, n)
	for i := range ids {
		ids[i] = bs[i].ID
	}
	return ids
}

// dictionary puts the bases together.
func (bs *Bases) dictionary() []byte {
	same, before, after := bs[0].Raw, bs[1].Raw, bs[2].Raw
	before = before[max(0, len(before)-overlap):]
	after = after[:min(len(after), overlap)]
	if len(before)+len(after) == 0 {
		return same
	}
	return bytes.Join([][]byte{before, same, after}, nil)
}

// appendDelta appends the frame of the chunk raw, which ref must name, as a delta to dst. It
// returns nil if that takes more than most bytes or does not unpack to what it was made of.
func appendDelta(dst []byte, ref dbfs.ChunkRef, raw []byte, bases *Bases, most int) []byte {
	ids, dict := bases.ids(), bases.dictionary()
	if len(ids) == 0 || len(dict) == 0 {
		return nil
	}
	start, header := len(dst), frameHeader+32*len(ids)
	dst = append(dst, make([]byte, header)...)
	packed := compressLike(dst, raw, dict)
	if n := len(packed) - start + frameTrailer; packed == nil || n > most || n > MaxDelta {
		return nil
	}
	buf := getBuffer(len(raw))
	defer putBuffer(buf)
	if again, err := decompressLike(buf[:0:len(raw)], packed[start+header:], dict); err != nil || !bytes.Equal(again, raw) {
		return nil
	}
	return sealFrame(packed, start, codecDict, ref, ids)
}

// A Delta is the frame of one, taken apart and not yet believed.
type Delta struct{ f frame }

// ParseDelta checks everything that can be checked without the bases. It fails with ErrCorrupt
// for what is not a delta of a chunk, and with ErrVersion for one that a newer dbfs made.
func ParseDelta(b []byte) (Delta, error) {
	if len(b) > MaxDelta {
		return Delta{}, fmt.Errorf("%w: a delta of %d bytes", dbfs.ErrCorrupt, len(b))
	}
	f, err := parseFrame(b)
	if err != nil {
		return Delta{}, err
	}
	if f.codec != codecDict {
		return Delta{}, fmt.Errorf("%w: a frame with codec %d is not a delta", dbfs.ErrCorrupt, f.codec)
	}
	return Delta{f}, CheckChunk(f.ref)
}

// Ref names the chunk that the delta is said to be of.
func (d Delta) Ref() dbfs.ChunkRef { return d.f.ref }

// Bases names the chunks that it is made of, at most three. A zero id stands for none.
func (d Delta) Bases() []dbfs.ChunkID { return d.f.bases }

// Decode returns the chunk, verified. bases are those that Bases names.
func (d Delta) Decode(bases *Bases) ([]byte, error) {
	raw, err := decompressLike(make([]byte, 0, d.f.ref.Len), d.f.payload, bases.dictionary())
	if err != nil {
		return nil, err
	}
	return raw, d.f.ref.Verify(raw)
}

// oneDelta holds the right to pack: an encoder with a dictionary takes some 20 MiB.
var oneDelta = make(chan struct{}, 1)

// compressLike appends raw to dst, compressed with a dictionary. Only the better and the best level
// know more of a dictionary of this size than its end.
func compressLike(dst, raw, dict []byte) []byte {
	oneDelta <- struct{}{}
	defer func() { <-oneDelta }()
	enc, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(deltaLevel()), zstd.WithEncoderDictRaw(dictID, dict),
		zstd.WithWindowSize(deltaWindow), zstd.WithEncoderConcurrency(1), zstd.WithLowerEncoderMem(true), zstd.WithEncoderCRC(false))
	if err != nil {
		return nil
	}
	defer enc.Close()
	return enc.EncodeAll(raw, dst)
}

// decompressLike is decompress for what compressLike made.
func decompressLike(dst, packed, dict []byte) ([]byte, error) {
	dec, err := zstd.NewReader(nil, zstd.WithDecoderDictRaw(dictID, dict), zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true),
		zstd.WithDecoderMaxMemory(dbfs.ChunkSize), zstd.WithDecodeAllCapLimit(true))
	if err != nil {
		return nil, fmt.Errorf("%w: delta: %v", dbfs.ErrInvalid, err)
	}
	defer dec.Close()
	return fill(dec, dst, packed)
}

func deltaLevel() zstd.EncoderLevel {
	if fault.Bug(fault.DeltaFast) {
		return zstd.SpeedDefault
	}
	return zstd.SpeedBetterCompression
}
