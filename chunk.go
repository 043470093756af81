package dbfs

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
)

const (
	// ChunkSize is the length of every chunk of a file but the last: 4 MiB. Chunk i of
	// a file holds its bytes from i*ChunkSize on.
	ChunkSize = 4 << 20

	// MaxChunks bounds how many chunks of a file may be other than zeros: 64 GiB of them.
	// An edit's commit carries the names and receipts of all that are new: some 3 MiB.
	MaxChunks = 16384

	// MaxFileSize is the largest file in bytes: 16 TiB, less the block by which ext4, which may hold its
	// body, falls short of it. Larger than MaxChunks chunks it has to be sparse.
	MaxFileSize = 16<<40 - 4096

	// MaxFileChunks is how many chunks the largest file has, with those of zeros.
	MaxFileChunks = (MaxFileSize + ChunkSize - 1) / ChunkSize
)

// A ChunkID names a chunk by the SHA-256 of its bytes. The zero ChunkID stands for a
// chunk of nothing but zeros, whatever its length; such chunks are never stored or sent.
type ChunkID [sha256.Size]byte

// ZeroChunk names every chunk that is all zeros.
var ZeroChunk ChunkID

// A ChunkRef names a chunk and says how long it is, in bytes.
type ChunkRef struct {
	ID  ChunkID `json:"h"`
	Len int     `json:"n"`
}

// Content is what a file holds: its size in bytes and its chunks in order (the
// blocklist).
type Content struct {
	Size   int64     `json:"size"`
	Chunks Blocklist `json:"chunks,omitzero"`
}

// HashChunk names the bytes of a chunk. A chunk of zeros gets the zero id.
func HashChunk(b []byte) ChunkID {
	if allZero(b) {
		return ZeroChunk
	}
	return sha256.Sum256(b)
}

// Verify reports whether b is the chunk that ref names; if not it returns ErrCorrupt.
func (ref ChunkRef) Verify(b []byte) error {
	if len(b) != ref.Len {
		return fmt.Errorf("%w: chunk %s has %d bytes, want %d", ErrCorrupt, ref.ID, len(b), ref.Len)
	}
	if got := HashChunk(b); got != ref.ID {
		return fmt.Errorf("%w: chunk %s hashes to %s", ErrCorrupt, ref.ID, got)
	}
	return nil
}

// NumChunks returns how many chunks a file of that size has.
func NumChunks(size int64) int { return int((size + ChunkSize - 1) / ChunkSize) }

// ChunkLen returns the length of chunk i of a file of that size; zero beyond its end.
func ChunkLen(size int64, i int) int {
	return int(max(0, min(size-int64(i)*ChunkSize, ChunkSize)))
}

// Ref returns chunk i of the content.
func (c Content) Ref(i int) ChunkRef { return ChunkRef{c.Chunks.At(i), ChunkLen(c.Size, i)} }

// Refs returns the chunks of the content that are stored somewhere: all but those of zeros.
func (c Content) Refs() []ChunkRef {
	refs := make([]ChunkRef, 0, len(c.Chunks.IDs()))
	for i, id := range c.Chunks.All() {
		refs = append(refs, ChunkRef{id, ChunkLen(c.Size, i)})
	}
	return refs
}

// Data returns how many bytes the chunks have that are stored somewhere: those of a sparse file without its holes.
func (c Content) Data() int64 {
	n := int64(len(c.Chunks.IDs())) * ChunkSize
	if last := c.Chunks.Len() - 1; c.Chunks.At(last) != ZeroChunk {
		n -= ChunkSize - int64(ChunkLen(c.Size, last))
	}
	return n
}

// Equal reports whether two contents are the same bytes.
func (c Content) Equal(d Content) bool { return c.Size == d.Size && c.Chunks.Equal(d.Chunks) }

// IsZero reports whether the file is empty; it also keeps empty contents out of JSON.
func (c Content) IsZero() bool { return c.Size == 0 && c.Chunks.IsZero() }

// Check returns ErrInvalid unless the list is as long as the size wants.
func (c Content) Check() error {
	if c.Size < 0 || c.Size > MaxFileSize || c.Chunks.Len() != NumChunks(c.Size) || len(c.Chunks.IDs()) > MaxChunks {
		return fmt.Errorf("%w: content of %d bytes with %d chunks, %d of them not of zeros", ErrInvalid, c.Size, c.Chunks.Len(), len(c.Chunks.IDs()))
	}
	return nil
}

// ContentID names the whole content: the SHA-256 of the SHA-256s of its chunks, which is
// what Dropbox publishes as its content hash.
func (c Content) ContentID() ChunkID {
	h := sha256.New()
	next := 0
	zeros := func(end int) { // up to chunk end
		for ; next < end; next++ {
			id := zeroHash(ChunkLen(c.Size, next))
			h.Write(id[:])
		}
	}
	for i, id := range c.Chunks.All() {
		zeros(i)
		h.Write(id[:])
		next = i + 1
	}
	zeros(c.Chunks.Len())
	return ChunkID(h.Sum(nil))
}

func (id ChunkID) String() string               { return hex.EncodeToString(id[:]) }
func (id ChunkID) MarshalText() ([]byte, error) { return []byte(id.String()), nil }
func (id *ChunkID) UnmarshalText(b []byte) error {
	return parseHex("chunk id", b, id[:])
}

var fullZeroHash = ChunkID(sha256.Sum256(make([]byte, ChunkSize)))

func zeroHash(n int) ChunkID {
	if n == ChunkSize {
		return fullZeroHash
	}
	return sha256.Sum256(make([]byte, n))
}

func allZero(b []byte) bool {
	// A chunk that is not zeros nearly always shows it in its first bytes.
	const stride = 4096
	for len(b) > 0 {
		n := min(stride, len(b))
		if string(b[:n]) != zeros[:n] {
			return false
		}
		b = b[n:]
	}
	return true
}

var zeros = string(make([]byte, 4096))
