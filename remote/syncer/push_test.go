package syncer

import (
	"fmt"
	"slices"
	"testing"

	"github.com/dbfs/dbfs"
	"github.com/dbfs/dbfs/journal"
)

// takeAllBut answers batches: those with a create of that name by an error, others by the
// entries they become.
func (s *server) takeAllBut(name string, no error) {
	jid := dbfs.JID(1)
	s.commit = func(b dbfs.Batch) (entries []dbfs.Entry, err error) {
		if slices.ContainsFunc(b.Ops, func(op dbfs.Op) bool { return op.Name == name }) {
			return nil, fmt.Errorf("%w: %q", no, name)
		}
		for i, op := range b.Ops {
			jid++
			entries = append(entries, dbfs.Entry{JID: jid, Op: op.ID, Type: op.Type, End: i == len(b.Ops)-1, Node: dbfs.Node{
				ID: op.Node, Parent: op.Parent, Name: op.Name, Kind: op.Kind, Attr: op.Attr,
				Revs: dbfs.Revs{Content: jid, Place: jid, Attr: jid},
			}})
		}
		return entries, nil
	}
}

// An edit that the server never takes is found and set aside; it is not lost, the others
// get through, and it is sent again once it has changed.
func TestBadEditIsSetAside(t *testing.T) {
	for _, no := range []error{dbfs.ErrInvalid, dbfs.ErrTooLarge, dbfs.ErrNameTooLong} {
		t.Run(no.Error(), func(t *testing.T) {
			srv := &server{}
			srv.takeAllBut("bad", no)
			j := newDisk(t).journal(t)
			s, _ := run(t, srv, j)
			s.Pause()
			var bad dbfs.Node
			for i := range 20 {
				if i == 13 {
					bad = touch(t, j, "bad")
				}
				touch(t, j, fmt.Sprintf("good %d", i))
			}
			s.Resume()
			await(t, "all edits but that", func() bool { return len(j.Pending()) == 1 })
			await(t, "one to be set aside", func() bool { return len(j.Asides()) == 1 })
			if a := j.Asides()[0]; a.Op.Node != bad.ID || a.Name != "bad" || a.Why == nil {
				t.Errorf("set aside: %+v", a)
			}
			await(t, "rest", func() bool { return s.Status().Spaces[0].State == Idle })
			if err := s.Status().Spaces[0].Err; err != nil {
				t.Errorf("the others wait for it: %v", err)
			}
			if _, batches, _ := srv.told(); batches > 20 {
				t.Errorf("%d batches to find one of 21 edits", batches)
			}
			if _, err := j.Move(bad.ID, dbfs.RootNode, "better", true); err != nil {
				t.Fatal(err)
			}
			await(t, "the edit after its change", func() bool { return len(j.Pending()) == 0 && len(j.Asides()) == 0 })
		})
	}
}

// touch makes an empty file.
func touch(t *testing.T, j *journal.Journal, name string) dbfs.Node {
	t.Helper()
	n, err := j.Create(dbfs.RootNode, name, journal.NewNode{Kind: dbfs.KindFile})
	if err != nil {
		t.Fatal(err)
	}
	return n
}
