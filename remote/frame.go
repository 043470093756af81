package remote

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/crc32"

	"github.com/dbfs/dbfs"
)

// A frame is what is stored for a chunk: the bytes, perhaps compressed, under a header that
// says what they are, so that a store full of frames needs nothing else to be understood.
// Integers are little-endian.
//
//	off size
//	 0   4   "DCF1": frame, version 1
//	 4   1   codec: 0 raw, 1 zstd, 2 zstd with a dictionary
//	 5   1   nbase: 0, with a dictionary 1..3
//	 6   2   reserved (0)
//	 8   4   raw_len: length of the chunk in bytes
//	12   4   enc_len: length of the payload in bytes, at most raw_len
//	16  32   sha256(chunk)
//	48  32*nbase   hashes of the chunks that the dictionary is made of (delta.go)
//	..  enc_len    payload
//	..   4   crc32c of everything above
//
// Only codecs 0 and 1 are stored. One with a dictionary, a delta, travels from a client to the
// server, which stores the chunk whole.
const (
	frameMagic   = "DCF1"
	frameHeader  = 48
	frameTrailer = 4

	// MaxFrame is the longest frame in bytes: a chunk of full size that does not compress.
	MaxFrame = frameHeader + dbfs.ChunkSize + frameTrailer
)

const (
	codecRaw  = 0
	codecZstd = 1
	codecDict = 2
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// AppendFrame appends the frame of the chunk raw, which ref must name, to dst. It compresses
// where that saves at least 3 %, and has then decoded and compared what it made.
func AppendFrame(dst []byte, ref dbfs.ChunkRef, raw []byte) []byte {
	start := len(dst)
	dst = append(dst, make([]byte, frameHeader)...)
	codec := byte(codecRaw)
	if packed := compress(dst, raw); packed != nil {
		codec, dst = codecZstd, packed
	} else {
		dst = append(dst, raw...)
	}
	return sealFrame(dst, start, codec, ref, nil)
}

// sealFrame fills in the header of the frame that begins in dst at start and has got its payload,
// and appends the checksum.
func sealFrame(dst []byte, start int, codec byte, ref dbfs.ChunkRef, bases []dbfs.ChunkID) []byte {
	h := dst[start:]
	copy(h, frameMagic)
	h[4], h[5] = codec, byte(len(bases))
	binary.LittleEndian.PutUint32(h[8:], uint32(ref.Len))
	binary.LittleEndian.PutUint32(h[12:], uint32(len(h)-frameHeader-32*len(bases)))
	copy(h[16:], ref.ID[:])
	for i, id := range bases {
		copy(h[frameHeader+32*i:], id[:])
	}
	return binary.LittleEndian.AppendUint32(dst, crc32.Checksum(h, castagnoli))
}

// DecodeFrame returns the chunk in a frame, verified against ref, in a buffer of its own.
// It fails with ErrCorrupt for anything that is not a frame of that chunk, and with
// ErrVersion for a frame that a newer dbfs wrote.
func DecodeFrame(ref dbfs.ChunkRef, b []byte) ([]byte, error) {
	f, err := parseFrame(b)
	if err != nil {
		return nil, err
	}
	if f.codec == codecDict {
		return nil, fmt.Errorf("%w: the frame of a delta is none of a chunk", dbfs.ErrCorrupt)
	}
	if f.ref != ref {
		return nil, fmt.Errorf("%w: frame of chunk %s (%d bytes), want %s (%d bytes)", dbfs.ErrCorrupt, f.ref.ID, f.ref.Len, ref.ID, ref.Len)
	}
	raw, err := f.decode()
	if err != nil {
		return nil, err
	}
	if err := ref.Verify(raw); err != nil {
		return nil, err
	}
	return raw, nil
}

// frame is a frame taken apart; payload is part of the buffer it was read from.
type frame struct {
	codec   byte
	ref     dbfs.ChunkRef
	bases   []dbfs.ChunkID // of a delta
	payload []byte
}

// parseFrame checks everything that can be checked without decoding.
func parseFrame(b []byte) (frame, error) {
	if len(b) < frameHeader+frameTrailer || len(b) > MaxFrame {
		return frame{}, fmt.Errorf("%w: a frame of %d bytes", dbfs.ErrCorrupt, len(b))
	}
	if !bytes.HasPrefix(b, []byte(frameMagic[:3])) {
		return frame{}, fmt.Errorf("%w: not a frame", dbfs.ErrCorrupt)
	}
	if b[3] != frameMagic[3] {
		return frame{}, fmt.Errorf("%w: frame %q", dbfs.ErrVersion, b[:4])
	}
	body := b[:len(b)-frameTrailer]
	if crc32.Checksum(body, castagnoli) != binary.LittleEndian.Uint32(b[len(body):]) {
		return frame{}, fmt.Errorf("%w: frame fails its checksum", dbfs.ErrCorrupt)
	}
	codec, nbase := b[4], int(b[5])
	if codec > codecDict || nbase > maxBases || (codec == codecDict) != (nbase > 0) || b[6] != 0 || b[7] != 0 {
		return frame{}, fmt.Errorf("%w: frame with codec %d and %d bases", dbfs.ErrVersion, codec, nbase)
	}
	if len(body) < frameHeader+32*nbase {
		return frame{}, fmt.Errorf("%w: a frame of %d bytes with %d bases", dbfs.ErrCorrupt, len(b), nbase)
	}
	f := frame{codec: codec, payload: body[frameHeader+32*nbase:]}
	for i := range nbase {
		f.bases = append(f.bases, dbfs.ChunkID(body[frameHeader+32*i:]))
	}
	f.ref.ID = dbfs.ChunkID(b[16:48])
	rawLen := binary.LittleEndian.Uint32(b[8:])
	encLen := binary.LittleEndian.Uint32(b[12:])
	if rawLen == 0 || rawLen > dbfs.ChunkSize || encLen > rawLen || int(encLen) != len(f.payload) {
		return frame{}, fmt.Errorf("%w: frame of %d bytes encoded in %d", dbfs.ErrCorrupt, rawLen, encLen)
	}
	f.ref.Len = int(rawLen)
	return f, nil
}

// decode returns the payload as it was before encoding, exactly as long as the header says.
func (f frame) decode() ([]byte, error) {
	if f.codec == codecRaw {
		return bytes.Clone(f.payload), nil
	}
	return decompress(make([]byte, 0, f.ref.Len), f.payload)
}
