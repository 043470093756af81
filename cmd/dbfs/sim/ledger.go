package sim

import (
	"encoding/binary"
	"regexp"

	"github.com/dbfs/dbfs"
)

// A content is known by its number, which its size tells: n bytes that are all zeros, or n
// bytes that only this content has, perhaps after a chunk of zeros.

// contentOf returns content n and the bytes of its chunk, nil if there are none to be kept.
func (w *world) contentOf(n int) (dbfs.Content, []byte) {
	if n == 0 {
		return dbfs.Content{}, nil
	}
	if !w.plan.chunks || n%3 == 0 {
		return dbfs.Content{Size: int64(n), Chunks: dbfs.Blocks(dbfs.ZeroChunk)}, nil
	}
	raw := make([]byte, n)
	copy(raw, binary.LittleEndian.AppendUint64(nil, uint64(n)))
	raw[n-1] = 1 // so that it is never all zeros
	id := dbfs.HashChunk(raw)
	if n%5 == 0 {
		return dbfs.Content{Size: dbfs.ChunkSize + int64(n), Chunks: dbfs.Blocks(dbfs.ZeroChunk, id)}, raw
	}
	return dbfs.Content{Size: int64(n), Chunks: dbfs.Blocks(id)}, raw
}

func numberOf(c dbfs.Content) int { return int(c.Size % dbfs.ChunkSize) }

// A ledger knows what became of every content.
type ledger struct {
	last    int             // the last number given away
	written map[int]string  // by whom
	excused map[int]bool    // somebody had it in view and then overwrote or deleted it, or could not expect it to last
	names   map[string]bool // that somebody gave
}

func newLedger() ledger {
	return ledger{written: make(map[int]string), excused: make(map[int]bool), names: make(map[string]bool)}
}

// suffixes matches what reconciling adds to a name.
var suffixes = regexp.MustCompile(` \((?:conflicted copy|name conflict), (?:[a-z]+) 2026-\d\d-\d\d(?: \d+)?\)(\.[a-zA-Z]+)?$`)

// madeUp matches the names of files of which only the bytes are left.
var madeUp = regexp.MustCompile(`^file [0-9a-f]{8}$`)

// checkNode checks P3 of one node.
func (w *world) checkNode(n *dbfs.Node) {
	stem := suffixes.ReplaceAllString(n.Name, "$1")
	if !w.ledger.names[stem] && !madeUp.MatchString(stem) {
		w.fail("P3", "nobody called anything %q", n.Name)
	}
	if c := numberOf(n.Content); n.Kind == dbfs.KindFile && c != 0 && w.ledger.written[c] == "" {
		w.fail("P3", "nobody wrote content %d, which %s %q has", c, short(n.ID), n.Name)
	}
}

// nothingLost checks P2.
func (w *world) nothingLost() {
	live := make(map[int]bool)
	for _, n := range w.mirror.nodes {
		if n.Kind == dbfs.KindFile && !n.Deleted {
			live[numberOf(n.Content)] = true
		}
	}
	for c := range w.inSecond() {
		live[c] = true
	}
	for c := 1; c <= w.ledger.last; c++ {
		if who := w.ledger.written[c]; who != "" && !live[c] && !w.ledger.excused[c] {
			w.fail("P2", "content %d of %s is lost", c, who)
		}
	}
}
