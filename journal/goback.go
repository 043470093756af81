package journal

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/dbfs/dbfs"
)

// Loss of power. Edits are written down when they are recorded, and the disk may have them before
// the bytes that they name, which are sure to be there only after the next Sync. So an edit whose
// content is amended after a Sync keeps what it had then, its stand, and can go back to it.

// A stand is a content that an edit had and that a Sync has made durable, or is about to.
type stand struct {
	set     uint64 // when the edit got it; not stored
	mtime   int64
	content dbfs.Content
}

func (l *log) standKey(gen uint32, key uint64) []byte {
	k := binary.BigEndian.AppendUint32(l.key('b'), gen)
	return binary.BigEndian.AppendUint64(k, key)
}

// encodeStands writes the stands of the edit with number n.
func encodeStands(n uint64, stands []stand) []byte {
	b := binary.BigEndian.AppendUint64(nil, n)
	for _, s := range stands {
		b = binary.BigEndian.AppendUint64(b, uint64(s.mtime))
		b = binary.BigEndian.AppendUint64(b, uint64(s.content.Size))
		b = s.content.Chunks.Append(b)
	}
	return sealRecord(b)
}

func decodeStands(b []byte) (n uint64, stands []stand, err error) {
	b, err = openRecord("stands of an edit", b)
	if err != nil {
		return 0, nil, err
	}
	u := binary.BigEndian.Uint64
	bad := len(b) < 8
	if !bad {
		n, b = u(b), b[8:]
	}
	for !bad && len(b) > 0 {
		var s stand
		if s, b, bad = cutStand(b); !bad {
			stands = append(stands, s)
		}
	}
	if bad || len(stands) > maxStands {
		return 0, nil, fmt.Errorf("%w: stands of an edit that are none", dbfs.ErrCorrupt)
	}
	return n, stands, nil
}

// cutStand reads one stand and returns what is after it.
func cutStand(b []byte) (s stand, rest []byte, bad bool) {
	if len(b) < 16 {
		return s, nil, true
	}
	s.mtime, s.content.Size = int64(binary.BigEndian.Uint64(b)), int64(binary.BigEndian.Uint64(b[8:]))
	var err error
	s.content.Chunks, rest, err = dbfs.CutBlocklist(b[16:], dbfs.NumChunks(s.content.Size))
	return s, rest, err != nil || s.content.Check() != nil
}

// maxStands is how many an edit keeps: what is durable for sure, and what a Sync that is under way
// makes so.
const maxStands = 2

// amended notes what an edit was that has got another content.
func (j *Journal) amended(e *edit, was *dbfs.Op) {
	old := e.stands
	if now := (stand{set: e.set, mtime: was.Attr.MTime}); was.Content != nil && now.set <= j.syncing {
		now.content = *was.Content
		e.stands = append([]stand{now}, e.stands...)
	}
	for i, s := range e.stands {
		if s.set <= j.synced { // what is older is not needed
			e.stands = e.stands[:i+1]
			break
		}
	}
	e.stands = e.stands[:min(len(e.stands), maxStands)]
	for i := range e.stands {
		j.need(&e.stands[i].content)
	}
	for i := range old {
		j.release(&old[i].content)
	}
	j.sets++
	e.set = j.sets
}

// needEdit counts the chunks that an edit names, now or if it must go back.
func (j *Journal) needEdit(e *edit) {
	j.need(e.op.Content)
	for i := range e.stands {
		j.need(&e.stands[i].content)
	}
}

// releaseEdit is needEdit taken back.
func (j *Journal) releaseEdit(e *edit) {
	j.release(e.op.Content)
	for i := range e.stands {
		j.release(&e.stands[i].content)
	}
}

// stands reads what edits had at the last Sync; gone are the keys of those that have no edit
// any more.
func (l *log) stands(txn dbfs.Txn, p *pending) (gone [][]byte, err error) {
	current := l.standKey(l.gen, 0)
	current = current[:len(current)-8]
	scanErr := txn.Scan(l.key('b'), nil, func(k, v []byte) bool {
		n, stands, bad := decodeStands(v)
		if bad != nil {
			err = errors.Join(err, bad)
			return true
		}
		if len(k) == len(current)+8 && string(k[:len(current)]) == string(current) {
			if e, ok := p.find(binary.BigEndian.Uint64(k[len(current):])); ok && e.op.ID.N == n {
				e.stands = stands
				return true
			}
		}
		gone = append(gone, append([]byte(nil), k...))
		return true
	})
	return gone, errors.Join(err, scanErr)
}

// GoBack lets edits whose content names lost chunks have the content again that they had at the
// last Sync: or else, as they are younger, the one that their file had without them. It comes
// after Open, before anything else, and may be cut short and repeated.
func (j *Journal) GoBack(lost map[dbfs.ChunkID]bool) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.broken != nil {
		return j.broken
	}
	ws, err := j.goingBack(lost)
	if err == nil && len(ws) > 0 {
		err = ws.run(j.cfg.KV, j.txnBytes())
	}
	if err != nil {
		return fmt.Errorf("go back to what is on the disk: %w", err)
	}
	if len(ws) == 0 {
		return nil
	}
	return j.load()
}

// goingBack returns what GoBack has to write.
func (j *Journal) goingBack(lost map[dbfs.ChunkID]bool) (ws writes, err error) {
	err = j.cfg.KV.View(func(txn dbfs.Txn) error {
		gone, err := j.log.stands(txn, j.pending)
		if err != nil {
			return err
		}
		for _, k := range gone {
			ws.add(50, func(txn dbfs.Txn) error { return txn.Delete(k) })
		}
		had := make(map[dbfs.NodeID]stand)
		for e := range j.pending.all() {
			if e.op.Content == nil {
				continue
			}
			now := stand{mtime: e.op.Attr.MTime, content: *e.op.Content}
			if namesAny(now.content, lost) {
				if now, err = j.standing(txn, e, had, lost); err != nil {
					return err
				}
				ws = append(ws, j.goBack(e, now)...)
			}
			had[e.op.Node] = now
		}
		return nil
	})
	return ws, err
}

// standing returns what an edit goes back to.
func (j *Journal) standing(txn dbfs.Txn, e *edit, had map[dbfs.NodeID]stand, lost map[dbfs.ChunkID]bool) (stand, error) {
	for _, s := range e.stands {
		if !namesAny(s.content, lost) {
			return s, nil
		}
	}
	if s, ok := had[e.op.Node]; ok {
		return s, nil
	}
	if e.op.Type.Makes() {
		return stand{mtime: e.op.Attr.MTime}, nil
	}
	n, err := j.cfg.Tree.Node(txn, e.op.Node)
	if errors.Is(err, dbfs.ErrNotExist) {
		return stand{mtime: e.op.Attr.MTime}, nil
	}
	return stand{mtime: n.Attr.MTime, content: n.Content}, err
}

// goBack gives an edit another content. A batch that has it was never sent: it would have been
// on the disk before.
func (j *Journal) goBack(e *edit, to stand) (ws writes) {
	j.cfg.Log.Warn("the last version of a file was lost with the power: it had not been synced; an older one is shown",
		"namespace", j.cfg.NS, "node", e.op.Node, "name", j.view.nodes[e.op.Node].Name, "bytes lost", e.op.Content.Size, "bytes shown", to.content.Size)
	back := *e
	back.stands = nil
	back.op.SetContent(&to.content)
	back.op.Attr.MTime, back.op.From = to.mtime, dbfs.Origin{} // so what it was before it was moved here stays
	sent := e.sent
	ws.add(200+opBytes(&back.op), func(txn dbfs.Txn) error {
		if sent {
			if err := j.log.setInflight(txn, nil); err != nil {
				return err
			}
		}
		return j.log.put(txn, &back)
	})
	return ws
}

func namesAny(c dbfs.Content, lost map[dbfs.ChunkID]bool) bool {
	for _, id := range c.Chunks.IDs() {
		if lost[id] {
			return true
		}
	}
	return false
}
