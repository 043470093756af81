package journal

import (
	"errors"
	"fmt"

	"github.com/dbfs/dbfs"
)

// ErrUnfit says that reconciling came to an outcome that makes no sense, and that nothing of it
// was kept. The edits are as before, and cannot be sent: whoever hears of it saves what they hold
// (Salvage) and drops them (Abandon).
var ErrUnfit = errors.New("edits cannot be reconciled")

// sound checks, with the outcome of an edit laid over the state, that each edit in it is one, and
// that what it places stands in a directory, under its own name, below the root.
func (r *rebase) sound(out *outcome) error {
	for i := range out.edits {
		op := &out.edits[i].op
		if err := checkSound(op, r.snapshot); err != nil {
			return fmt.Errorf("%w: %s of %s: %v", ErrUnfit, op.Type, op.Node, err)
		}
	}
	return nil
}

// checkSound is soundOp. Tests make it fail.
var checkSound = soundOp

func soundOp(op *dbfs.Op, s state) error {
	if err := checkOp(op); err != nil {
		return err
	}
	if _, ok := s.node(op.Node); !ok {
		return errors.New("there is no such node")
	}
	for i, at := range places(op) {
		id := op.Node
		if i > 0 { // an exchange
			id = op.Replace.Node
		}
		if err := soundPlace(id, at, s); err != nil {
			return err
		}
	}
	return nil
}

func soundPlace(id dbfs.NodeID, at place, s state) error {
	n, ok := s.node(id)
	if !ok || !holds(n, at) {
		return nil // a later edit of the outcome has moved it on
	}
	dir, ok := s.node(at.parent)
	switch {
	case !ok || dir.Kind != dbfs.KindDir:
		return errors.New("what it is placed in is no directory")
	case !reachable(s, id):
		return errors.New("it cannot be reached from the root")
	}
	if m, ok := s.child(at.parent, at.name); !ok || m.ID != id {
		return errors.New("its name leads elsewhere")
	}
	return nil
}
