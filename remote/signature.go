package remote

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"math/rand/v2"

	"github.com/dbfs/dbfs"
)

// A signature tells of a chunk, without its bytes, what a client wants to know to make a delta with it
// for a base: for each whole block of 4 KiB
//
//	u32  a hash that can be rolled along, little-endian
//	[8]  the beginning of its SHA-256
//
// Whatever block is found anywhere in the new chunk is known byte for byte. The client fills the rest of the
// dictionary with noise, which nothing matches; where it does by chance, the delta does not unpack with
// other noise, and is not sent.
const (
	signatureBlock = 4096
	signatureEntry = 12
)

// A weakHash is Σ b[i] and Σ (n-i)·b[i] of a block, each modulo 2^16, as rsync has it.
type weakHash struct{ a, b uint32 }

func newWeakHash(p []byte) (h weakHash) {
	for _, c := range p {
		h.a += uint32(c)
		h.b += h.a
	}
	return h
}

// roll goes on by one byte.
func (h *weakHash) roll(out, in byte) {
	h.a += uint32(in) - uint32(out)
	h.b += h.a - signatureBlock*uint32(out)
}

func (h weakHash) sum() uint32 { return h.a&0xffff | h.b<<16 }

// Signature returns the signature of a chunk.
func Signature(raw []byte) []byte {
	sig := make([]byte, 0, len(raw)/signatureBlock*signatureEntry)
	for ; len(raw) >= signatureBlock; raw = raw[signatureBlock:] {
		block := raw[:signatureBlock]
		sig = binary.LittleEndian.AppendUint32(sig, newWeakHash(block).sum())
		strong := sha256.Sum256(block)
		sig = append(sig, strong[:signatureEntry-4]...)
	}
	return sig
}

// A likeness is what can be told of a base by its signature and a chunk that resembles it.
type likeness struct {
	size   int            // of the base, bytes
	blocks map[int][]byte // block number -> its bytes, part of the chunk
}

// compare looks for the blocks of a base in raw.
func compare(sig []byte, size int, raw []byte) (likeness, error) {
	if size < 0 || size > dbfs.ChunkSize || len(sig) != size/signatureBlock*signatureEntry {
		return likeness{}, fmt.Errorf("%w: a signature of %d bytes for a chunk of %d", dbfs.ErrCorrupt, len(sig), size)
	}
	l := likeness{size: size, blocks: make(map[int][]byte)}
	byWeak := make(map[uint32][]int, len(sig)/signatureEntry)
	var seen [1 << 16 / 64]uint64 // the low halves of the weak hashes: most places are not in it
	for i := range len(sig) / signatureEntry {
		weak := binary.LittleEndian.Uint32(sig[i*signatureEntry:])
		byWeak[weak] = append(byWeak[weak], i)
		low := weak >> 16 // the better mixed half
		seen[low/64] |= 1 << (low % 64)
	}
	for at := 0; at+signatureBlock <= len(raw); {
		h := newWeakHash(raw[at : at+signatureBlock])
		for {
			weak := h.sum()
			if low := weak >> 16; seen[low/64]&(1<<(low%64)) != 0 && l.found(sig, byWeak[weak], raw[at:at+signatureBlock]) {
				at += signatureBlock
				break
			}
			if at+signatureBlock == len(raw) {
				return l, nil
			}
			h.roll(raw[at], raw[at+signatureBlock])
			at++
		}
	}
	return l, nil
}

// found notes which of some blocks of the base are the given bytes.
func (l *likeness) found(sig []byte, candidates []int, block []byte) (any bool) {
	if len(candidates) == 0 {
		return false
	}
	strong := sha256.Sum256(block)
	for _, i := range candidates {
		if string(sig[i*signatureEntry+4:(i+1)*signatureEntry]) == string(strong[:signatureEntry-4]) {
			l.blocks[i] = block
			any = true
		}
	}
	return any
}

// known returns how many bytes of the base are.
func (l *likeness) known() int { return len(l.blocks) * signatureBlock }

// base returns the base as far as it is known, and noise elsewhere.
func (l *likeness) base(noise uint64) []byte {
	b := make([]byte, l.size)
	r := rand.NewPCG(noise, noise)
	for at := 0; at < len(b); at += signatureBlock {
		part := b[at:min(at+signatureBlock, len(b))]
		if known, ok := l.blocks[at/signatureBlock]; ok {
			copy(part, known)
			continue
		}
		for ; len(part) >= 8; part = part[8:] {
			binary.LittleEndian.PutUint64(part, r.Uint64())
		}
		for i := range part {
			part[i] = byte(r.Uint64())
		}
	}
	return b
}
