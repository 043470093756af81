package remote

import (
	"bytes"
	"fmt"
	"sync"

	"github.com/klauspost/compress/zstd"

	"github.com/dbfs/dbfs"
)

const (
	// sampleLen is how many bytes of a long chunk are tried first: where they do not
	// compress, the rest is not tried.
	sampleLen = 64 << 10

	// coders is how many goroutines compress or decompress at once; others wait.
	coders = 2

	// window is how far back in a chunk a repetition is found, in bytes. A whole chunk's
	// would cost each coder 3 MiB more for no better result: the tables forget as fast.
	window = 1 << 20
)

// The coders are made at the first use and live as long as the process. They are safe for
// concurrent use. A frame can never unpack to more than a chunk, nor ask for a larger window.
var (
	encoder = sync.OnceValue(func() *zstd.Encoder {
		return must(zstd.NewWriter(nil, zstd.WithEncoderConcurrency(coders), zstd.WithWindowSize(window),
			zstd.WithLowerEncoderMem(true), zstd.WithEncoderCRC(false)))
	})
	decoder = sync.OnceValue(func() *zstd.Decoder {
		return must(zstd.NewReader(nil, zstd.WithDecoderConcurrency(coders), zstd.WithDecoderLowmem(true),
			zstd.WithDecoderMaxMemory(dbfs.ChunkSize), zstd.WithDecodeAllCapLimit(true)))
	})
)

func must[T any](v T, err error) T {
	if err != nil {
		panic(err) // options that are constants are good or bad once and for all
	}
	return v
}

// compress appends raw to dst, compressed, or returns nil if that saves less than 3 % or
// does not decode to what it was made of.
func compress(dst, raw []byte) []byte {
	start := len(dst)
	if len(raw) > 2*sampleLen {
		sample := encoder().EncodeAll(raw[:sampleLen], dst)
		if !saves(len(sample)-start, sampleLen) {
			return nil
		}
	}
	packed := encoder().EncodeAll(raw, dst)
	if !saves(len(packed)-start, len(raw)) {
		return nil
	}
	buf := getBuffer(len(raw))
	defer putBuffer(buf)
	if again, err := decompress(buf[:0:len(raw)], packed[start:]); err != nil || !bytes.Equal(again, raw) {
		return nil
	}
	return packed
}

func saves(packed, raw int) bool { return packed*100 < raw*97 }

// decompress fills dst, which is empty, up to its capacity, and fails with ErrCorrupt if
// there is more or less.
func decompress(dst, packed []byte) ([]byte, error) { return fill(decoder(), dst, packed) }

func fill(dec *zstd.Decoder, dst, packed []byte) ([]byte, error) {
	raw, err := dec.DecodeAll(packed, dst)
	if err != nil {
		return nil, fmt.Errorf("%w: frame: %v", dbfs.ErrCorrupt, err)
	}
	if len(raw) != cap(dst) {
		return nil, fmt.Errorf("%w: frame unpacks to %d bytes, want %d", dbfs.ErrCorrupt, len(raw), cap(dst))
	}
	return raw, nil
}
