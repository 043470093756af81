package journal

import (
	"testing"

	"github.com/dbfs/dbfs"
)

// Nodes that one entry changed, as a tree that went at once, are taken together, also where
// they are more than one transaction holds.
func TestJumpOverATree(t *testing.T) {
	defer func(n int) { maxTxn = n }(maxTxn)
	usual := maxTxn
	for i := range 16 {
		maxTxn = []int{usual, 700}[i%2]
		h := newHost(t)
		d := newDevice(t, h, 0, h.namespace(t), 1)
		d.settle()
		var nodes []dbfs.Node
		for i := range byte(5) {
			nodes = append(nodes, dbfs.Node{
				ID: dbfs.NodeID{1 + i}, Name: string('a' + rune(i)), Kind: dbfs.KindDir, Revs: dbfs.Revs{Content: 7, Place: 7, Attr: 7}, Last: 7,
			})
		}
		d.kv.left = i / 2 // it fails somewhere, and is told again what comes after its cursor
		d.j.Jump(nodes, dbfs.Cursor{Epoch: 1, JID: 7}, 7)
		d.open()
		if d.j.Cursor().JID < 7 {
			check(t, d.j.Jump(nodes, dbfs.Cursor{Epoch: 1, JID: 7}, 7))
		}
		all, err := d.j.Children(dbfs.RootNode)
		if check(t, err); len(all) != len(nodes) {
			t.Errorf("%d nodes are there, want %d", len(all), len(nodes))
		}
	}
}
