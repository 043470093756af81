package cache

import (
	"encoding/binary"
	"math"

	"github.com/dbfs/dbfs"
)

// Every key of the book, in the database of one home or of both. <file> is ns 8 bytes and
// node 16; <chunk> 32; numbers are big-endian. The values are drawn in book.go.
//
//	home   key                      value
//	both   cb<file>                 size and chunk ids of a body
//	both   cp<file>                 which of its chunks are present, unsent, touched …
//	both   cv<chunk>                the bytes of a loose chunk of at most SmallSize bytes
//	cache  cm<chunk>                length and clock of a loose chunk
//	cache  cl<clock u32><m|p><id>   bytes that evicting this loose chunk or body would free
//	cache  cx<chunk><file><i u16>   nothing; a hint that the body may have the chunk at i; u32 from 65536 on
//	cache  cs                       clean bytes in all, as of some time ago
//	cache  ck<file>                 size and chunk ids of a version that is not to be evicted
//	cache  cn<chunk><file>          nothing; the version of that file that is kept has the chunk
//	state  cu<chunk>                an unsent chunk: its length, and who holds it
//	state  cw                       the last seal that a Sync has made durable
//	state  cd<file>                 what an fsync has promised of a draft: promise.go
//
// And the files, hh being two hexadecimal digits of the name:
//
//	bodies/hh/<ns>-<node>           a body of more than SmallSize bytes
//	chunks/hh/<chunk>               a loose chunk of more than SmallSize bytes
//	lent/<ns>-<node>-N              what was a body, while it is lent and written to: loan.go
//
// The law: a chunk with a cu record is in the place that the record names, for as long as
// the record is there. Everything else can be fetched again, so it may be lost, but what
// is read is what its name says: bytes are verified the first time in a process that
// somebody reads them. The steps, and what a crash after each leaves:
//
//	fetch: 1 write the bytes      absent chunk with bytes: garbage until fetched again
//	       2 cp, cl, cx           –
//	evict: 1 cp, cl, cx           as above
//	       2 punch or unlink      –
//	write: 1 body to state        clean bytes in state: Recover moves them back
//	       2 set aside, cu        the chunk twice
//	       3 touched in cp        the chunk is not there: fetched again when wanted
//	       4 write the bytes      as above: what is touched and not sealed is discarded, unless
//	                              it is promised
//	seal:  1 cu, cb, cp at once   unsent but in no edit: Recover makes it clean
//	aside: 1 write, rename        garbage file: the sweep finds it
//	       2 cu names the copy    –
//	       3 destroy the original –
//	unpin: 1 cm, cl in cache      twice: cu wins
//	       2 rename or copy       cu says state, the file is in cache: looked for in both
//	       3 delete cu            –
//	lent:  1 set aside, cu        the chunk twice
//	       2 delete cb, cp        a file that no record knows of: the sweep finds it
//	       3 rename to lent       the next Open removes it
//	back:  1 rename to bodies     a file that no record knows of, as above
//	       2 cb, cp, cx           –
//	move:  1 cb, cp in the new    twice: state wins
//	       2 rename or copy       the record in state, the file in cache: looked for in both
//	       3 delete in the old    –
//
// A loss of power can also undo steps that were not synced, or order them anew; what was
// synced stays in its place because asides of synced chunks are synced before step 3. What was
// sealed after the seal of cw is looked at after a crash (power.go).

const (
	kindBody  = 'p'
	kindLoose = 'm'
)

func key(kind byte, parts ...[]byte) []byte {
	k := append(make([]byte, 0, 64), 'c', kind)
	for _, p := range parts {
		k = append(k, p...)
	}
	return k
}

// A File is what a body belongs to: a node of a namespace.
type File struct {
	NS   dbfs.NamespaceID
	Node dbfs.NodeID
}

const fileLen = 8 + 16

func (f File) bytes() []byte {
	return append(binary.BigEndian.AppendUint64(make([]byte, 0, fileLen), uint64(f.NS)), f.Node[:]...)
}

func fileFrom(b []byte) File {
	return File{dbfs.NamespaceID(binary.BigEndian.Uint64(b)), dbfs.NodeID(b[8:fileLen])}
}

func (f File) String() string { return f.NS.String() + "-" + f.Node.String() }

func contentKey(f File) []byte          { return key('b', f.bytes()) }
func partsKey(f File) []byte            { return key('p', f.bytes()) }
func valueKey(id dbfs.ChunkID) []byte   { return key('v', id[:]) }
func looseKey(id dbfs.ChunkID) []byte   { return key('m', id[:]) }
func unsentKey(id dbfs.ChunkID) []byte  { return key('u', id[:]) }
func hintPrefix(id dbfs.ChunkID) []byte { return key('x', id[:]) }
func keepKey(f File) []byte             { return key('k', f.bytes()) }

func keptChunkPrefix(id dbfs.ChunkID) []byte      { return key('n', id[:]) }
func keptChunkKey(id dbfs.ChunkID, f File) []byte { return key('n', id[:], f.bytes()) }

func hintKey(id dbfs.ChunkID, at spot) []byte {
	return at.append(key('x', id[:]))
}

func hintFrom(k []byte) (spot, bool) {
	const id = 2 + 32
	if len(k) < id {
		return spot{}, false
	}
	return spotFrom(k[id:])
}

// append writes the file, then which chunk of it: u16; u32 where that is not enough.
func (s spot) append(b []byte) []byte {
	b = append(b, s.file.bytes()...)
	if s.i > math.MaxUint16 {
		return binary.BigEndian.AppendUint32(b, uint32(s.i))
	}
	return binary.BigEndian.AppendUint16(b, uint16(s.i))
}

// spotFrom reads what append wrote, and nothing more.
func spotFrom(b []byte) (spot, bool) {
	i := 0
	switch len(b) {
	case fileLen + 2:
		i = int(binary.BigEndian.Uint16(b[fileLen:]))
	case fileLen + 4:
		i = int(binary.BigEndian.Uint32(b[fileLen:]))
	default:
		return spot{}, false
	}
	return spot{fileFrom(b), i}, i < dbfs.MaxFileChunks
}

var (
	lruPrefix = key('l')
	totalKey  = key('s')
	markKey   = key('w')

	keepPrefix = key('k')
)

func lruKey(clock uint32, kind byte, id []byte) []byte {
	return append(append(binary.BigEndian.AppendUint32(key('l'), clock), kind), id...)
}

// A spot is a place in a body: chunk i.
type spot struct {
	file File
	i    int
}
