package index

import "encoding/binary"

// An arena holds many byte sequences that grow at their ends, as chains of chunks that
// double in size: the lists of the memory segment, most of which stay tiny.
type arena struct {
	blocks [][]byte // of arenaBlock bytes
	free   uint32   // first unused place of the last block, counted through all blocks
}

const (
	arenaBlock = 64 << 10
	firstChunk = 16
	largeChunk = 4 << 10
	linkSize   = 4 // the end of each chunk: where the next one begins
)

// A chain is one sequence in an arena. The zero chain is empty.
type chain struct {
	head, tail uint32 // first chunk; where the next byte goes
	left       uint16 // room in the last chunk
	chunk      uint16 // size of the last chunk, zero when there is none
}

// size is how much memory the arena takes in bytes.
func (a *arena) size() int { return len(a.blocks) * arenaBlock }

func (a *arena) bytes(at uint32, n int) []byte {
	b := a.blocks[at/arenaBlock]
	return b[at%arenaBlock : int(at%arenaBlock)+n]
}

// alloc returns the place of a new chunk; chunks do not cross blocks.
func (a *arena) alloc(n int) uint32 {
	if room := arenaBlock - int(a.free%arenaBlock); len(a.blocks) == 0 || a.free%arenaBlock == 0 || room < n {
		a.free = uint32(len(a.blocks) * arenaBlock)
		a.blocks = append(a.blocks, make([]byte, arenaBlock))
	}
	at := a.free
	a.free += uint32(n)
	return at
}

// append adds b to the end of c.
func (a *arena) append(c *chain, b []byte) {
	for len(b) > 0 {
		if c.left == 0 {
			a.extend(c)
		}
		n := min(len(b), int(c.left))
		copy(a.bytes(c.tail, n), b[:n])
		c.tail += uint32(n)
		c.left -= uint16(n)
		b = b[n:]
	}
}

func (a *arena) extend(c *chain) {
	size := min(largeChunk, max(firstChunk, 2*int(c.chunk)))
	at := a.alloc(size)
	if c.chunk == 0 {
		c.head = at
	} else {
		binary.LittleEndian.PutUint32(a.bytes(c.tail, linkSize), at)
	}
	c.tail, c.left, c.chunk = at, uint16(size-linkSize), uint16(size)
}

// read appends the whole of c to b.
func (a *arena) read(b []byte, c chain) []byte {
	if c.chunk == 0 {
		return b
	}
	at, size := c.head, firstChunk
	for {
		if at+uint32(size-linkSize) == c.tail+uint32(c.left) { // the last chunk
			return append(b, a.bytes(at, int(c.tail-at))...)
		}
		b = append(b, a.bytes(at, size-linkSize)...)
		at = binary.LittleEndian.Uint32(a.bytes(at+uint32(size-linkSize), linkSize))
		size = min(largeChunk, 2*size)
	}
}
