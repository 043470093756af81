package journal

import (
	"fmt"

	"github.com/dbfs/dbfs"
)

// A device that lost its database may log in as itself again, and must not give numbers to
// edits and batches that it has given before: the server would take them for the old ones.
// So the counts of a new journal begin at the time in milliseconds, which is far ahead of any
// count that began earlier and grew by one an edit. A clock that was turned back in between
// makes the server say so (ErrStaleSeq), and loses nothing.
func firstNumbers(st *logState, millis int64) {
	st.ops, st.seq = uint64(max(millis, 1)), uint64(max(millis, 1))
}

// countOn makes the counts go on at the time, too, each time that a journal is read. The database
// may be an older copy of itself: then the numbers that follow in it have been used since, and
// the log may show them for other edits.
func (j *Journal) countOn() {
	millis := uint64(max(j.cfg.Clock().UnixMilli(), 1))
	j.nextN, j.st.seq = max(j.st.ops, millis), max(j.st.seq, millis)
}

// stampEdits makes pending edits this device's that were made as another one, before the user
// logged in anew. A batch that was in flight is forgotten: if the server has it, reconciling
// finds its edits done.
func (j *Journal) stampEdits() error {
	var old []*edit
	for _, e := range j.pending.list {
		if e.op.ID.Device != j.cfg.Device {
			old = append(old, e)
		}
	}
	const some = 500 // what a transaction holds
	for len(old) > 0 {
		n := min(some, len(old))
		err := j.cfg.KV.Update(func(txn dbfs.Txn) error {
			if n == len(old) { // until then it says which have been tried
				if err := j.log.setInflight(txn, nil); err != nil {
					return err
				}
			}
			for _, e := range old[:n] {
				stamped := *e
				stamped.tried, stamped.since = e.fixed(), e.oldest()
				stamped.op.ID = dbfs.OpID{Device: j.cfg.Device, N: j.nextN}
				j.nextN++
				if err := j.log.put(txn, &stamped); err != nil {
					return err
				}
			}
			st := j.st
			st.ops = j.nextN
			return j.log.setState(txn, st)
		})
		if err != nil {
			return fmt.Errorf("edits of an earlier login: %w", err)
		}
		old = old[n:]
		if len(old) == 0 {
			return j.load()
		}
	}
	return nil
}
