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

	// MaxChunks bounds the chunk list that a node carries, and with it a file: 16 GiB.
	MaxChunks = 4096

	// MaxFileSize is the largest file in bytes.
	MaxFileSize = MaxChunks * ChunkSize
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
// blocklist). The list is shared by copies and never changed in place.
type Content struct {
	Size   int64     `json:"size"`
	Chunks []ChunkID `json:"chunks,omitempty"`
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
func (c Content) Ref(i int) ChunkRef { return ChunkRef{c.Chunks[i], ChunkLen(c.Size, i)} }

// Refs returns the chunks of the content that are stored somewhere: all but those of zeros.
func (c Content) Refs() []ChunkRef {
	refs := make([]ChunkRef, 0, len(c.Chunks))
	for i, id := range c.Chunks {
		if id != ZeroChunk {
			refs = append(refs, c.Ref(i))
		}
	}
	return refs
}

// Equal reports whether two contents are the same bytes.
func (c Content) Equal(d Content) bool {
	if c.Size != d.Size || len(c.Chunks) != len(d.Chunks) {
		return false
	}
	for i := range c.Chunks {
		if c.Chunks[i] != d.Chunks[i] {
			return false
		}
	}
	return true
}

// IsZero reports whether the file is empty; it also keeps empty contents out of JSON.
func (c Content) IsZero() bool { return c.Size == 0 && len(c.Chunks) == 0 }

// Check returns ErrInvalid unless the list is as long as the size wants.
func (c Content) Check() error {
	if c.Size < 0 || c.Size > MaxFileSize || len(c.Chunks) != NumChunks(c.Size) {
		return fmt.Errorf("%w: content of %d bytes with %d chunks", ErrInvalid, c.Size, len(c.Chunks))
	}
	return nil
}

// ContentID names the whole content: the SHA-256 of the SHA-256s of its chunks, which is
// what Dropbox publishes as its content hash.
func (c Content) ContentID() ChunkID {
	h := sha256.New()
	for i, id := range c.Chunks {
		if id == ZeroChunk {
			id = zeroHash(ChunkLen(c.Size, i))
		}
		h.Write(id[:])
	}
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
