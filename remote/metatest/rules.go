package metatest

import (
	"reflect"
	"strings"
	"testing"

	"github.com/dbfs/dbfs"
)

// The tree that every rule is tried on. Each line is a batch, so the revisions are:
//
//	1 d/            2 d/f (2 chunks)     3 e/            4 e/sub/
//	5 g             6 link -> g          7 dead, 8 deleted
//	9 deaddir/,    10 deleted           11 g written    12 d renamed from d0
//
// and d was made as d0.
func plant(p *pen) {
	p.t.Helper()
	p.must(mkdir("d", "", "d0"))
	p.must(create("f", "d", "f", content(1, 2)))
	p.must(mkdir("e", "", "e"))
	p.must(mkdir("sub", "e", "sub"))
	p.must(create("g", "", "g", content(2, 1)))
	p.must(symlink("link", "", "link", "g"))
	p.must(create("dead", "", "dead", content(3, 1)))
	p.must(remove("dead", dbfs.Revs{Content: 7, Place: 7}))
	p.must(mkdir("deaddir", "", "deaddir"))
	p.must(remove("deaddir", dbfs.Revs{Place: 9}))
	p.must(write("g", 5, content(4, 1)))
	p.must(move("d", 1, "", "d"))
}

const self = dbfs.SelfRev

// A rule is what becomes of some edits.
type rule struct {
	name    string
	ops     []dbfs.Op
	entries int          // taken, as so many entries …
	code    dbfs.Refusal // … or its last edit refused …
	node    string       // … showing this node
	err     error        // … or an error
}

// Every rule of a commit: what is taken, what is refused and why, and what is nonsense.
var rules = []rule{
	{"create file", []dbfs.Op{create("n", "d", "n", content(9, 3))}, 1, "", "", nil},
	{"create empty file", []dbfs.Op{create("n", "", "n", nil)}, 1, "", "", nil},
	{"create dir", []dbfs.Op{mkdir("n", "e", "n")}, 1, "", "", nil},
	{"create symlink", []dbfs.Op{symlink("n", "e", "n", "../x")}, 1, "", "", nil},
	{"create at the name of a deleted file", []dbfs.Op{create("n", "", "dead", nil)}, 1, "", "", nil},
	{"create at a name that was moved away from", []dbfs.Op{create("n", "", "d0", nil)}, 1, "", "", nil},
	{"create: names differ by case", []dbfs.Op{create("n", "", "G", nil)}, 1, "", "", nil},
	{"create with an id that is there", []dbfs.Op{create("g", "", "n", nil)}, 0, dbfs.RefusedIDExists, "g", nil},
	{"create with an id that was there", []dbfs.Op{create("dead", "", "n", nil)}, 0, dbfs.RefusedIDExists, "dead", nil},
	{"create with an id of the batch", []dbfs.Op{create("n", "", "n", nil), create("n", "", "m", nil)}, 0, dbfs.RefusedIDExists, "", nil},
	{"create at a name taken", []dbfs.Op{create("n", "d", "f", nil)}, 0, dbfs.RefusedNameTaken, "f", nil},
	{"create at a name taken in the batch", []dbfs.Op{mkdir("n", "", "n"), mkdir("m", "", "n")}, 0, dbfs.RefusedNameTaken, "", nil},
	{"create in nothing", []dbfs.Op{create("n", "none", "n", nil)}, 0, dbfs.RefusedParentGone, "", nil},
	{"create in a deleted dir", []dbfs.Op{create("n", "deaddir", "n", nil)}, 0, dbfs.RefusedParentGone, "deaddir", nil},
	{"create in a dir deleted in the batch", []dbfs.Op{remove("sub", dbfs.Revs{Place: 4}), create("n", "sub", "n", nil)}, 0, dbfs.RefusedParentGone, "sub", nil},
	{"create in a file", []dbfs.Op{create("n", "g", "n", nil)}, 0, dbfs.RefusedParentGone, "g", nil},
	{"create in itself", []dbfs.Op{mkdir("n", "n", "n")}, 0, dbfs.RefusedParentGone, "", nil},
	{"create the root", []dbfs.Op{mkdir("", "", "n")}, 0, "", "", dbfs.ErrInvalid},
	{"create mount", []dbfs.Op{{Type: dbfs.OpCreate, Node: id("n"), Name: "n", Kind: dbfs.KindMount, Mount: 5}}, 0, "", "", dbfs.ErrInvalid},
	{"create fifo", []dbfs.Op{{Type: dbfs.OpCreate, Node: id("n"), Name: "n", Kind: dbfs.KindFifo}}, 1, "", "", nil},
	{"create socket", []dbfs.Op{{Type: dbfs.OpCreate, Node: id("n"), Name: "n", Kind: dbfs.KindSocket}}, 1, "", "", nil},
	{"create device", []dbfs.Op{{Type: dbfs.OpCreate, Node: id("n"), Name: "n", Kind: dbfs.KindCharDev, Device: 0x103}}, 1, "", "", nil},
	{"create fifo with a device number", []dbfs.Op{{Type: dbfs.OpCreate, Node: id("n"), Name: "n", Kind: dbfs.KindFifo, Device: 1}}, 0, "", "", dbfs.ErrInvalid},
	{"create fifo with content", []dbfs.Op{{Type: dbfs.OpCreate, Node: id("n"), Name: "n", Kind: dbfs.KindFifo, Content: content(1, 1)}}, 0, "", "", dbfs.ErrInvalid},
	{"create of no kind", []dbfs.Op{{Type: dbfs.OpCreate, Node: id("n"), Name: "n", Kind: 99}}, 0, "", "", dbfs.ErrInvalid},
	{"create dir with content", []dbfs.Op{{Type: dbfs.OpCreate, Node: id("n"), Name: "n", Kind: dbfs.KindDir, Content: content(1, 1)}}, 0, "", "", dbfs.ErrInvalid},
	{"create symlink to nothing", []dbfs.Op{symlink("n", "", "n", "")}, 0, "", "", dbfs.ErrInvalid},
	{"create symlink with a long target", []dbfs.Op{symlink("n", "", "n", strings.Repeat("x", 4096))}, 0, "", "", dbfs.ErrNameTooLong},
	{"create: content with a chunk too few", []dbfs.Op{create("n", "", "n", &dbfs.Content{Size: dbfs.ChunkSize + 1, Chunks: dbfs.Blocks(make([]dbfs.ChunkID, 1)...)})}, 0, "", "", dbfs.ErrInvalid},
	{"create: content of negative size", []dbfs.Op{create("n", "", "n", &dbfs.Content{Size: -1})}, 0, "", "", dbfs.ErrInvalid},
	{"create: mode with type bits", []dbfs.Op{chmodded(mkdir("n", "", "n"), 0o40755)}, 0, "", "", dbfs.ErrInvalid},
	{"create: too many extended attributes", []dbfs.Op{attributed(mkdir("n", "", "n"), "user.a", dbfs.MaxXattrs)}, 0, "", "", dbfs.ErrTooLarge},
	{"create: most extended attributes", []dbfs.Op{attributed(mkdir("n", "", "n"), "user.a", dbfs.MaxXattrs-6)}, 1, "", "", nil},
	{"create: attribute name not UTF-8", []dbfs.Op{attributed(mkdir("n", "", "n"), "user.\xff", 1)}, 0, "", "", dbfs.ErrInvalid},
	{"name: dot", []dbfs.Op{mkdir("n", "", ".")}, 0, "", "", dbfs.ErrInvalid},
	{"name: dotdot", []dbfs.Op{move("g", 5, "", "..")}, 0, "", "", dbfs.ErrInvalid},
	{"name: slash", []dbfs.Op{mkdir("n", "", "a/b")}, 0, "", "", dbfs.ErrInvalid},
	{"name: NUL", []dbfs.Op{revive("dead", "", "a\x00", nil)}, 0, "", "", dbfs.ErrInvalid},
	{"name: not UTF-8", []dbfs.Op{mkdir("n", "", "\xff")}, 0, "", "", dbfs.ErrInvalid},
	{"name: empty", []dbfs.Op{mkdir("n", "", "")}, 0, "", "", dbfs.ErrInvalid},
	{"name: too long", []dbfs.Op{mkdir("n", "", strings.Repeat("x", 256))}, 0, "", "", dbfs.ErrNameTooLong},
	{"name: longest", []dbfs.Op{mkdir("n", "", strings.Repeat("x", 255))}, 1, "", "", nil},

	{"write", []dbfs.Op{write("g", 11, content(9, 1))}, 1, "", "", nil},
	{"write after a rename above", []dbfs.Op{write("f", 2, content(9, 1))}, 1, "", "", nil},
	{"write based on an older content", []dbfs.Op{write("g", 5, content(9, 1))}, 0, dbfs.RefusedContent, "g", nil},
	{"write based on nothing", []dbfs.Op{write("g", 0, content(9, 1))}, 0, dbfs.RefusedContent, "g", nil},
	{"copy", []dbfs.Op{copied(create("n", "d", "n", content(9, 1)), 1, "g", 5)}, 1, "", "", nil},
	{"copy to a name taken", []dbfs.Op{copied(create("n", "", "g", content(9, 1)), 1, "g", 5)}, 0, dbfs.RefusedNameTaken, "g", nil},
	{"copy under an id that is known", []dbfs.Op{copied(create("f", "", "n", content(9, 1)), 1, "g", 5)}, 0, dbfs.RefusedIDExists, "f", nil},
	{"copy into a deleted dir", []dbfs.Op{copied(create("n", "deaddir", "n", content(9, 1)), 1, "g", 5)}, 0, dbfs.RefusedParentGone, "deaddir", nil},
	{"copy and write to it", []dbfs.Op{copied(create("n", "", "n", content(9, 1)), 1, "g", 5), write("n", self, content(8, 1))}, 2, "", "", nil},
	{"copy of nothing", []dbfs.Op{{Type: dbfs.OpCopy, Node: id("n"), Name: "n", Kind: dbfs.KindFile, Content: content(9, 1)}}, 0, "", "", dbfs.ErrInvalid},
	{"copy without content", []dbfs.Op{copied(create("n", "", "n", nil), 1, "g", 5)}, 0, "", "", dbfs.ErrInvalid},
	{"copy of a version that cannot be", []dbfs.Op{copied(create("n", "", "n", content(9, 1)), 1, "g", self)}, 0, "", "", dbfs.ErrInvalid},
	{"copy of a dir", []dbfs.Op{copied(mkdir("n", "", "n"), 1, "d", 12)}, 0, "", "", dbfs.ErrInvalid},
	{"move with a source", []dbfs.Op{sourced(move("g", 5, "", "n"), "f")}, 0, "", "", dbfs.ErrInvalid},

	{"write twice in a batch", []dbfs.Op{write("g", 11, content(8, 1)), write("g", self, content(9, 1))}, 2, "", "", nil},
	{"write twice, the second not based on the first", []dbfs.Op{write("g", 11, content(8, 1)), write("g", 11, content(9, 1))}, 0, dbfs.RefusedContent, "g", nil},
	{"write based on itself without an earlier edit", []dbfs.Op{write("g", self, content(9, 1))}, 0, dbfs.RefusedContent, "g", nil},
	{"write what the batch made", []dbfs.Op{create("n", "", "n", nil), write("n", self, content(9, 1))}, 2, "", "", nil},
	{"write based on itself after only a move", []dbfs.Op{move("g", 5, "e", "g"), write("g", self, content(9, 1))}, 0, dbfs.RefusedContent, "g", nil},
	{"write to a deleted file", []dbfs.Op{write("dead", 7, content(9, 1))}, 0, dbfs.RefusedGone, "dead", nil},
	{"write to nothing", []dbfs.Op{write("none", 1, content(9, 1))}, 0, dbfs.RefusedGone, "", nil},
	{"write to a dir", []dbfs.Op{write("d", 1, content(9, 1))}, 0, "", "", dbfs.ErrInvalid},
	{"write to a symlink", []dbfs.Op{write("link", 6, content(9, 1))}, 0, "", "", dbfs.ErrInvalid},
	{"write to the root", []dbfs.Op{write("", 0, content(9, 1))}, 0, "", "", dbfs.ErrInvalid},
	{"write nothing", []dbfs.Op{write("g", 11, nil)}, 0, "", "", dbfs.ErrInvalid},
	{"write empty", []dbfs.Op{write("g", 11, &dbfs.Content{})}, 1, "", "", nil},

	{"move", []dbfs.Op{move("f", 2, "e", "f2")}, 1, "", "", nil},
	{"move to where it is", []dbfs.Op{move("f", 2, "d", "f")}, 1, "", "", nil},
	{"move after a write", []dbfs.Op{move("g", 5, "e", "g")}, 1, "", "", nil},
	{"move a dir", []dbfs.Op{move("d", 12, "sub", "d")}, 1, "", "", nil},
	{"move a symlink", []dbfs.Op{move("link", 6, "e", "l")}, 1, "", "", nil},
	{"move based on an older place", []dbfs.Op{move("d", 1, "", "x")}, 0, dbfs.RefusedPlace, "d", nil},
	{"move to a name taken", []dbfs.Op{move("f", 2, "", "g")}, 0, dbfs.RefusedNameTaken, "g", nil},
	{"move a deleted file", []dbfs.Op{move("dead", 8, "", "x")}, 0, dbfs.RefusedGone, "dead", nil},
	{"move nothing", []dbfs.Op{move("none", 1, "", "x")}, 0, dbfs.RefusedGone, "", nil},
	{"move into a deleted dir", []dbfs.Op{move("g", 5, "deaddir", "x")}, 0, dbfs.RefusedParentGone, "deaddir", nil},
	{"move into nothing", []dbfs.Op{move("g", 5, "none", "x")}, 0, dbfs.RefusedParentGone, "", nil},
	{"move into a symlink", []dbfs.Op{move("g", 5, "link", "x")}, 0, dbfs.RefusedParentGone, "link", nil},
	{"move a dir below itself", []dbfs.Op{move("e", 3, "sub", "x")}, 0, dbfs.RefusedCycle, "e", nil},
	{"move a dir below itself through the batch", []dbfs.Op{move("d", 12, "sub", "x"), move("e", 3, "d", "x")}, 0, dbfs.RefusedCycle, "e", nil},
	{"move a dir into itself", []dbfs.Op{move("e", 3, "e", "x")}, 0, "", "", dbfs.ErrInvalid},
	{"move the root", []dbfs.Op{move("", 0, "e", "x")}, 0, "", "", dbfs.ErrInvalid},
	{"swap two names through a third", []dbfs.Op{move("g", 5, "", "t"), move("link", 6, "", "g"), move("g", self, "", "link")}, 3, "", "", nil},
	{"move into what the batch made", []dbfs.Op{mkdir("n", "", "n"), move("g", 5, "n", "g")}, 2, "", "", nil},

	{"replace", []dbfs.Op{replace("f", 2, "", "g", "g", dbfs.Revs{Content: 11, Place: 5})}, 2, "", "", nil},
	{"replace a symlink", []dbfs.Op{replace("g", 5, "", "link", "link", dbfs.Revs{Content: 6, Place: 6})}, 2, "", "", nil},
	{"replace what was rewritten", []dbfs.Op{replace("f", 2, "", "g", "g", dbfs.Revs{Content: 5, Place: 5})}, 0, dbfs.RefusedContent, "g", nil},
	{"replace what was moved there since", []dbfs.Op{replace("f", 2, "", "g", "g", dbfs.Revs{Content: 11, Place: 4})}, 0, dbfs.RefusedPlace, "g", nil},
	{"replace one, but another is there", []dbfs.Op{replace("f", 2, "", "link", "g", dbfs.Revs{Content: 11, Place: 5})}, 0, dbfs.RefusedNameTaken, "link", nil},
	{"replace what is deleted", []dbfs.Op{replace("f", 2, "", "dead", "dead", dbfs.Revs{Content: 7, Place: 8})}, 0, dbfs.RefusedGone, "dead", nil},
	{"replace where nothing is", []dbfs.Op{replace("f", 2, "", "x", "g", dbfs.Revs{Content: 11, Place: 5})}, 0, dbfs.RefusedGone, "g", nil},
	{"replace, mover moved since", []dbfs.Op{replace("d", 1, "", "g", "g", dbfs.Revs{Content: 11, Place: 5})}, 0, dbfs.RefusedPlace, "d", nil},
	{"replace a dir", []dbfs.Op{replace("g", 5, "", "e", "e", dbfs.Revs{Content: 3, Place: 3})}, 0, "", "", dbfs.ErrInvalid},
	{"replace itself", []dbfs.Op{replace("g", 5, "", "g", "g", dbfs.Revs{Content: 11, Place: 5})}, 0, "", "", dbfs.ErrInvalid},
	{"replace what the batch wrote", []dbfs.Op{write("g", 11, content(9, 1)), replace("f", 2, "", "g", "g", dbfs.Revs{Content: self, Place: 5})}, 3, "", "", nil},

	{"setattr", []dbfs.Op{chmod("g", 5, 0o4755)}, 1, "", "", nil},
	{"setattr of a dir", []dbfs.Op{chmod("d", 1, 0o700)}, 1, "", "", nil},
	{"setattr of the root", []dbfs.Op{chmod("", 0, 0o700)}, 1, "", "", nil},
	{"setattr twice", []dbfs.Op{chmod("g", 5, 0o600), chmod("g", self, 0o640)}, 2, "", "", nil},
	{"setattr based on another", []dbfs.Op{chmod("g", 11, 0o600)}, 0, dbfs.RefusedAttr, "g", nil},
	{"setattr of a deleted file", []dbfs.Op{chmod("dead", 7, 0o600)}, 0, dbfs.RefusedGone, "dead", nil},
	{"setattr of nothing", []dbfs.Op{chmod("none", 7, 0o600)}, 0, dbfs.RefusedGone, "", nil},
	{"setattr without mask", []dbfs.Op{{Type: dbfs.OpSetAttr, Node: id("g"), Base: dbfs.Revs{Attr: 5}}}, 0, "", "", dbfs.ErrInvalid},
	{"setattr with an unknown mask", []dbfs.Op{{Type: dbfs.OpSetAttr, Node: id("g"), Base: dbfs.Revs{Attr: 5}, Mask: 0x81}}, 0, "", "", dbfs.ErrInvalid},

	{"delete file", []dbfs.Op{remove("g", dbfs.Revs{Content: 11, Place: 5})}, 1, "", "", nil},
	{"delete symlink", []dbfs.Op{remove("link", dbfs.Revs{Content: 6, Place: 6})}, 1, "", "", nil},
	{"delete file after a rename above", []dbfs.Op{remove("f", dbfs.Revs{Content: 2, Place: 2})}, 1, "", "", nil},
	{"delete what was rewritten", []dbfs.Op{remove("g", dbfs.Revs{Content: 5, Place: 5})}, 0, dbfs.RefusedContent, "g", nil},
	{"delete what was moved", []dbfs.Op{remove("g", dbfs.Revs{Content: 11, Place: 4})}, 0, dbfs.RefusedPlace, "g", nil},
	{"delete what is deleted", []dbfs.Op{remove("dead", dbfs.Revs{Content: 7, Place: 8})}, 0, dbfs.RefusedGone, "dead", nil},
	{"delete empty dir", []dbfs.Op{remove("sub", dbfs.Revs{Place: 4})}, 1, "", "", nil},
	{"delete dir that holds something", []dbfs.Op{remove("e", dbfs.Revs{Place: 3})}, 0, dbfs.RefusedNotEmpty, "e", nil},
	{"delete dir that was moved", []dbfs.Op{remove("d", dbfs.Revs{Place: 1})}, 0, dbfs.RefusedPlace, "d", nil},
	{"delete dir with all it held", []dbfs.Op{remove("sub", dbfs.Revs{Place: 4}), remove("e", dbfs.Revs{Place: 3})}, 2, "", "", nil},
	{"delete dir that was emptied by a move", []dbfs.Op{move("sub", 4, "", "sub"), remove("e", dbfs.Revs{Place: 3})}, 2, "", "", nil},
	{"delete dir that the batch filled", []dbfs.Op{mkdir("n", "sub", "n"), remove("sub", dbfs.Revs{Place: 4})}, 0, dbfs.RefusedNotEmpty, "sub", nil},
	{"delete what the batch made", []dbfs.Op{create("n", "", "n", nil), remove("n", dbfs.Revs{Content: self, Place: self})}, 2, "", "", nil},
	{"delete the root", []dbfs.Op{remove("", dbfs.Revs{})}, 0, "", "", dbfs.ErrInvalid},

	{"delete tree", []dbfs.Op{removeTree("e", 3, 12)}, 1, "", "", nil},
	{"delete tree with a file, seen just", []dbfs.Op{removeTree("d", 12, 2)}, 1, "", "", nil},
	{"delete tree of an empty dir", []dbfs.Op{removeTree("sub", 4, 0)}, 1, "", "", nil},
	{"delete tree below which something is new", []dbfs.Op{removeTree("d", 12, 1)}, 0, dbfs.RefusedNotEmpty, "f", nil},
	{"delete tree below which the batch has written", []dbfs.Op{write("f", 2, content(9, 1)), removeTree("d", 12, 12)}, 0, dbfs.RefusedNotEmpty, "f", nil},
	{"delete tree that the batch has filled", []dbfs.Op{mkdir("n", "sub", "n"), removeTree("e", 3, 12)}, 0, dbfs.RefusedNotEmpty, "", nil},
	{"delete tree that the batch has emptied", []dbfs.Op{move("sub", 4, "", "sub"), removeTree("e", 3, 3)}, 2, "", "", nil},
	{"delete tree that was moved", []dbfs.Op{removeTree("d", 1, 12)}, 0, dbfs.RefusedPlace, "d", nil},
	{"delete tree that is deleted", []dbfs.Op{removeTree("deaddir", 10, 12)}, 0, dbfs.RefusedGone, "deaddir", nil},
	{"delete tree of a file", []dbfs.Op{removeTree("g", 5, 12)}, 0, "", "", dbfs.ErrInvalid},
	{"delete tree of the root", []dbfs.Op{removeTree("", 0, 12)}, 0, "", "", dbfs.ErrInvalid},
	{"delete tree and take its name", []dbfs.Op{removeTree("d", 12, 12), mkdir("n", "", "d")}, 2, "", "", nil},
	{"delete tree and write below", []dbfs.Op{removeTree("d", 12, 12), write("f", 2, content(9, 1))}, 0, dbfs.RefusedGone, "f", nil},
	{"delete tree and create below", []dbfs.Op{removeTree("e", 3, 12), mkdir("n", "sub", "n")}, 0, dbfs.RefusedParentGone, "sub", nil},
	{"delete tree and delete below", []dbfs.Op{removeTree("e", 3, 12), remove("sub", dbfs.Revs{Place: self})}, 0, dbfs.RefusedGone, "sub", nil},
	{"delete tree and revive what was below", []dbfs.Op{removeTree("d", 12, 12), revive("f", "", "f", nil)}, 2, "", "", nil},
	{"delete tree and revive it, empty", []dbfs.Op{removeTree("d", 12, 12), revive("d", "", "d", nil), create("n", "d", "f", nil)}, 3, "", "", nil},

	{"revive file", []dbfs.Op{revive("dead", "e", "back", nil)}, 1, "", "", nil},
	{"revive file with content", []dbfs.Op{revive("dead", "", "dead", content(9, 1))}, 1, "", "", nil},
	{"revive dir and fill it", []dbfs.Op{revive("deaddir", "", "deaddir", nil), mkdir("n", "deaddir", "n")}, 2, "", "", nil},
	{"revive what the batch deleted", []dbfs.Op{remove("sub", dbfs.Revs{Place: 4}), revive("sub", "d", "sub", nil)}, 2, "", "", nil},
	{"revive what lives", []dbfs.Op{revive("g", "", "x", nil)}, 0, dbfs.RefusedPlace, "g", nil},
	{"revive nothing", []dbfs.Op{revive("none", "", "x", nil)}, 0, dbfs.RefusedGone, "", nil},
	{"revive at a name taken", []dbfs.Op{revive("dead", "", "g", nil)}, 0, dbfs.RefusedNameTaken, "g", nil},
	{"revive in a deleted dir", []dbfs.Op{revive("dead", "deaddir", "x", nil)}, 0, dbfs.RefusedParentGone, "deaddir", nil},
	{"revive in itself", []dbfs.Op{revive("deaddir", "deaddir", "x", nil)}, 0, dbfs.RefusedParentGone, "deaddir", nil},
	{"revive dir with content", []dbfs.Op{revive("deaddir", "", "x", content(9, 1))}, 0, "", "", dbfs.ErrInvalid},

	{"exchange", []dbfs.Op{exchange("f", 2, "g", 5)}, 2, "", "", nil},
	{"exchange two names of a dir", []dbfs.Op{exchange("g", 5, "link", 6)}, 2, "", "", nil},
	{"exchange a file with a dir", []dbfs.Op{exchange("g", 5, "sub", 4)}, 2, "", "", nil},
	{"exchange after a write", []dbfs.Op{write("g", 11, content(9, 1)), exchange("f", 2, "g", 5)}, 3, "", "", nil},
	{"exchange twice", []dbfs.Op{exchange("f", 2, "g", 5), exchange("f", self, "g", self)}, 4, "", "", nil},
	{"exchange with what the batch made", []dbfs.Op{create("n", "e", "n", nil), exchange("n", self, "g", 5)}, 3, "", "", nil},
	{"exchange a dir with a name in another", []dbfs.Op{exchange("d", 12, "sub", 4)}, 2, "", "", nil},
	{"exchange, the first moved since", []dbfs.Op{exchange("d", 1, "g", 5)}, 0, dbfs.RefusedPlace, "d", nil},
	{"exchange, the second moved since", []dbfs.Op{exchange("g", 5, "d", 1)}, 0, dbfs.RefusedPlace, "d", nil},
	{"exchange with what is deleted", []dbfs.Op{exchange("g", 5, "dead", 8)}, 0, dbfs.RefusedGone, "dead", nil},
	{"exchange of what is deleted", []dbfs.Op{exchange("dead", 8, "g", 5)}, 0, dbfs.RefusedGone, "dead", nil},
	{"exchange with nothing", []dbfs.Op{exchange("g", 5, "none", 5)}, 0, dbfs.RefusedGone, "", nil},
	{"exchange a dir with what is in it", []dbfs.Op{exchange("e", 3, "sub", 4)}, 0, dbfs.RefusedCycle, "e", nil},
	{"exchange with a dir that it is in", []dbfs.Op{exchange("f", 2, "d", 12)}, 0, dbfs.RefusedCycle, "d", nil},
	{"exchange with itself", []dbfs.Op{exchange("g", 5, "g", 5)}, 0, "", "", dbfs.ErrInvalid},
	{"exchange with the root", []dbfs.Op{exchange("g", 5, "", 0)}, 0, "", "", dbfs.ErrInvalid},
	{"exchange with nobody", []dbfs.Op{{Type: dbfs.OpExchange, Node: id("g"), Base: dbfs.Revs{Place: 5}, Name: "g"}}, 0, "", "", dbfs.ErrInvalid},
	{"exchange to no name", []dbfs.Op{named(exchange("f", 2, "g", 5), "\xff")}, 0, "", "", dbfs.ErrInvalid},

	{"link", []dbfs.Op{link("n", "e", "n", "g")}, 2, "", "", nil},
	{"link to a symlink", []dbfs.Op{link("n", "e", "n", "link")}, 2, "", "", nil},
	{"link to what the batch made", []dbfs.Op{create("m", "", "m", nil), link("n", "e", "n", "m")}, 3, "", "", nil},
	{"link to a dir", []dbfs.Op{link("n", "e", "n", "d")}, 0, "", "", dbfs.ErrInvalid},
	{"link to the root", []dbfs.Op{link("n", "e", "n", "")}, 0, "", "", dbfs.ErrInvalid},
	{"link to itself", []dbfs.Op{link("n", "e", "n", "n")}, 0, "", "", dbfs.ErrInvalid},
	{"link to a link", []dbfs.Op{link("n", "e", "n", "g"), link("m", "e", "m", "n")}, 0, "", "", dbfs.ErrInvalid},
	{"link to nothing", []dbfs.Op{link("n", "e", "n", "none")}, 0, dbfs.RefusedGone, "", nil},
	{"link to what is deleted", []dbfs.Op{link("n", "e", "n", "dead")}, 0, dbfs.RefusedGone, "dead", nil},
	{"link at a name taken", []dbfs.Op{link("n", "", "link", "g")}, 0, dbfs.RefusedNameTaken, "link", nil},
	{"a file that says it is a link", []dbfs.Op{linking(create("n", "", "n", nil), "g")}, 0, "", "", dbfs.ErrInvalid},
	{"link with content", []dbfs.Op{{Type: dbfs.OpCreate, Node: id("n"), Name: "n", Kind: dbfs.KindLink, Link: id("g"), Content: content(1, 1)}}, 0, "", "", dbfs.ErrInvalid},
	{"write to a link", []dbfs.Op{link("n", "e", "n", "g"), write("n", self, content(9, 1))}, 0, "", "", dbfs.ErrInvalid},
	{"write to what has a link", []dbfs.Op{link("n", "e", "n", "g"), write("g", 11, content(9, 1))}, 3, "", "", nil},
	{"setattr of what got a link since", []dbfs.Op{link("n", "e", "n", "g"), chmod("g", 5, 0o600)}, 0, dbfs.RefusedAttr, "g", nil},
	{"setattr of what the batch linked", []dbfs.Op{link("n", "e", "n", "g"), chmod("g", self, 0o600)}, 3, "", "", nil},
	{"move a link", []dbfs.Op{link("n", "e", "n", "g"), move("n", self, "", "n")}, 3, "", "", nil},
	{"delete a link", []dbfs.Op{link("n", "e", "n", "g"), remove("n", dbfs.Revs{Content: self, Place: self})}, 3, "", "", nil},
	{"delete what has a link", []dbfs.Op{link("n", "e", "n", "g"), remove("g", dbfs.Revs{Content: 11, Place: 5})}, 0, dbfs.RefusedNotEmpty, "g", nil},
	{"delete what had a link", []dbfs.Op{link("n", "e", "n", "g"), remove("n", dbfs.Revs{Content: self, Place: self}), remove("g", dbfs.Revs{Content: 11, Place: 5})}, 4, "", "", nil},
	{"move what has a link to its place", []dbfs.Op{link("n", "e", "n", "g"), replace("g", 5, "e", "n", "n", dbfs.Revs{Content: self, Place: self})}, 4, "", "", nil},
	{"replace a link", []dbfs.Op{link("n", "e", "n", "g"), replace("f", 2, "e", "n", "n", dbfs.Revs{Content: self, Place: self})}, 4, "", "", nil},
	{"replace what has a link", []dbfs.Op{link("n", "e", "n", "g"), replace("f", 2, "", "g", "g", dbfs.Revs{Content: 11, Place: 5})}, 0, dbfs.RefusedNotEmpty, "g", nil},
	{"delete tree with a link in it", []dbfs.Op{link("n", "e", "n", "g"), removeTree("e", 3, 14)}, 3, "", "", nil},
	{"delete tree with what has a link elsewhere", []dbfs.Op{link("n", "e", "n", "f"), removeTree("d", 12, 14)}, 0, dbfs.RefusedNotEmpty, "f", nil},
	{"delete tree with a file and its link", []dbfs.Op{link("n", "d", "n", "f"), removeTree("d", 12, 14)}, 3, "", "", nil},
	{"revive a link", []dbfs.Op{link("n", "e", "n", "g"), remove("n", dbfs.Revs{Content: self, Place: self}), revive("n", "", "n", nil)}, 5, "", "", nil},
	{"revive a link to what is deleted", []dbfs.Op{link("n", "e", "n", "g"), remove("n", dbfs.Revs{Content: self, Place: self}), remove("g", dbfs.Revs{Content: 11, Place: 5}), revive("n", "", "n", nil)}, 0, dbfs.RefusedGone, "g", nil},

	{"no edit", nil, 0, "", "", dbfs.ErrInvalid},
	{"an edit of no type", []dbfs.Op{{Type: 77, Node: id("g")}}, 0, "", "", dbfs.ErrInvalid},
	{"too many edits", make([]dbfs.Op, dbfs.MaxBatchOps+1), 0, "", "", dbfs.ErrInvalid},
}

func chmodded(op dbfs.Op, mode uint32) dbfs.Op {
	op.Attr.Mode = mode
	return op
}

func sourced(op dbfs.Op, from string) dbfs.Op {
	op.Content, op.Src = content(9, 1), &dbfs.Source{NS: 1, Node: id(from), Rev: 1}
	return op
}

func named(op dbfs.Op, name string) dbfs.Op {
	op.Name = name
	return op
}

func linking(op dbfs.Op, to string) dbfs.Op {
	op.Link = id(to)
	return op
}

func attributed(op dbfs.Op, name string, size int) dbfs.Op {
	op.Attr.Xattrs = map[string][]byte{name: make([]byte, size)}
	return op
}

func testRules(t *testing.T, open func(testing.TB) World) {
	w := open(t)
	d := w.Device(t, "admin")
	tryRules(t, w, d, dbfs.NamesExact, rules)
	t.Run("portable", func(t *testing.T) { tryRules(t, w, d, dbfs.NamesPortable, portableRules) })
}

func tryRules(t *testing.T, w World, d Device, how dbfs.NameRule, rules []rule) {
	for _, rule := range rules {
		t.Run(rule.name, func(t *testing.T) {
			ns, err := d.CreateNamespace(t.Context(), fresh("rules"), how)
			check(t, err)
			p := newPen(t, w, d, ns.ID)
			plant(p)
			before := wholeTree(t, p, p.ns, 0)
			ops := append([]dbfs.Op(nil), rule.ops...)
			entries, err := p.send(p.batch(ops...))
			if rule.code == "" && rule.err == nil {
				check(t, err)
				if len(entries) != rule.entries {
					t.Errorf("%d entries, want %d", len(entries), rule.entries)
				}
				checkTaken(t, p, before, entries)
				return
			}
			if rule.err != nil {
				wantError(t, err, rule.err)
			} else {
				r := wantRefusal(t, err, len(ops)-1, rule.code)
				checkShown(t, r, rule.node, before)
			}
			if after := wholeTree(t, p, p.ns, 0); !reflect.DeepEqual(after, before) || p.head().JID != 12 {
				t.Errorf("something of a refused batch was done: head %d\n%+v\nbefore\n%+v", p.head().JID, after, before)
			}
		})
	}
}

// checkTaken compares a batch's entries with the log and their nodes with the tree.
func checkTaken(t *testing.T, p *pen, tree map[dbfs.NodeID]dbfs.Node, entries []dbfs.Entry) {
	t.Helper()
	log := wholeLog(t, p, p.ns, p.epoch, 3)
	if got := log[12:]; !reflect.DeepEqual(got, entries) {
		t.Errorf("log has\n%+v\nthe answer was\n%+v", got, entries)
	}
	for i, e := range entries {
		if e.JID != dbfs.JID(13+i) || e.End != (i == len(entries)-1) || e.Node.Last != e.JID || e.Time == 0 || e.Actor == 0 {
			t.Errorf("entry %d: %+v", i, e)
		}
		if tree[e.Node.ID] = e.Node; e.Node.Deleted {
			delete(tree, e.Node.ID)
		}
		for _, id := range e.Below {
			delete(tree, id)
		}
	}
	if after := wholeTree(t, p, p.ns, 3); !reflect.DeepEqual(after, tree) {
		t.Errorf("tree is\n%+v\nwant\n%+v", after, tree)
	}
}

// checkShown wants the refusal to show the node as the namespace has it.
func checkShown(t *testing.T, r *dbfs.RefusedError, name string, tree map[dbfs.NodeID]dbfs.Node) {
	t.Helper()
	if r.Head != 12 {
		t.Errorf("head %d, want 12", r.Head)
	}
	if name == "" {
		if r.Node != nil {
			t.Errorf("shows %+v, want nothing", r.Node)
		}
		return
	}
	if r.Node == nil || r.Node.ID != id(name) {
		t.Fatalf("shows %+v, want %s", r.Node, name)
	}
	if want, live := tree[r.Node.ID]; live && !reflect.DeepEqual(*r.Node, want) || !live && !r.Node.Deleted {
		t.Errorf("shows %+v, the tree has %+v", *r.Node, want)
	}
}
