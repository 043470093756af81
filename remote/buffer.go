package remote

import "sync"

// Buffers that hold a large frame are used again and again: making one of 4 MiB for every
// transfer would keep the garbage collector busy with nothing else. Small ones are not
// worth keeping.
const smallBuffer = 256 << 10

var largeBuffers = sync.Pool{New: func() any { return new([MaxFrame]byte) }}

// getBuffer returns a buffer of n bytes, at most MaxFrame, with anything in it.
func getBuffer(n int) []byte {
	if n <= smallBuffer {
		return make([]byte, n)
	}
	return largeBuffers.Get().(*[MaxFrame]byte)[:n]
}

// putBuffer takes back what getBuffer returned; nobody may use it any more.
func putBuffer(b []byte) {
	if cap(b) >= MaxFrame {
		largeBuffers.Put((*[MaxFrame]byte)(b[:MaxFrame]))
	}
}
