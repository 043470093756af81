package index

import (
	"bytes"
	"context"
	"errors"
	"slices"

	"github.com/dbfs/dbfs"
)

var errClosed = errors.New("index is closed")

// A File is what the feeder tells of a node: a file, directory or symlink.
type File struct {
	Node    dbfs.NodeID
	Name    string       // the last part of its path
	Size    int64        // bytes
	MTime   int64        // nanoseconds since 1970
	Content dbfs.ChunkID // Content.ContentID of a file; zero for everything else

	// Text is the file's bytes, at least the first MaxText of them if it is longer; they
	// are not kept. Nil: they are not at hand, and only the name is known. Bytes that are
	// not text may be given and are remembered as such.
	Text []byte
}

// Update tells the index of a node that is new or has changed. Text is looked at only
// when HasContent does not know the content. The change is found at once; it is on disk
// after the next flush.
func (x *Index) Update(f File) error {
	x.feed.Lock()
	defer x.feed.Unlock()
	if err := x.room(); err != nil {
		return err
	}
	var a *analysis
	var flags uint8
	fresh := false
	if f.Text != nil && f.Content != (dbfs.ChunkID{}) {
		known, err := x.HasContent(f.Content)
		if err != nil {
			return err
		}
		if fresh = !known; fresh {
			a, flags = x.analyse(f)
		}
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.guard(func(s *snapshot) error { return x.update(s, f, fresh, a, flags) })
}

// analyse cuts a text into its keys; nil when it is none.
func (x *Index) analyse(f File) (*analysis, uint8) {
	var flags uint8
	raw := f.Text
	if int64(len(raw)) < f.Size || len(raw) > MaxText {
		flags = isLong
		raw = raw[:min(len(raw), MaxText)]
	}
	text, ok := Decode(raw)
	if !ok {
		return nil, isBinary
	}
	if x.an == nil {
		x.an = newAnalysis()
	}
	x.an.text(text)
	return x.an, flags
}

// guard runs a change on the index as it is, with x.mu held. A segment that turns out to
// be damaged is dropped, and the change tried again without it.
func (x *Index) guard(change func(s *snapshot) error) error {
	for {
		if x.closed {
			return errClosed
		}
		s := x.current()
		err := change(s)
		if !errors.Is(err, dbfs.ErrCorrupt) {
			return err
		}
		if !x.forgetDamaged(err) {
			return err
		}
	}
}

// current is the index for the feeder's own eyes: good while x.mu is held.
func (x *Index) current() *snapshot {
	s := &snapshot{}
	for _, seg := range x.segments {
		s.parts = append(s.parts, livePart{seg.segment, seg.now})
	}
	if x.frozen != nil {
		s.parts = append(s.parts, livePart{x.frozen.mem.view(), x.frozen.now})
	}
	s.parts = append(s.parts, livePart{x.mem.view(), x.memDead})
	return s
}

// update reads all it needs before it changes anything, so that it can be repeated.
func (x *Index) update(s *snapshot, f File, fresh bool, a *analysis, flags uint8) error {
	old, had, err := s.node(f.Node)
	if err != nil {
		return err
	}
	rec := nameRecord{f.Node, contentKey(f.Content), max(0, f.Size), f.MTime, f.Name}
	var content uint32
	var names []foundName
	if rec.content != (key128{}) {
		if content, names, err = s.holders(rec.content); err != nil {
			return err
		}
	}
	var orphan uint32
	if had && old.content != rec.content {
		if orphan, err = s.orphan(old); err != nil {
			return err
		}
	}
	if content == 0 && fresh {
		content = x.mem.addContent(rec.content, flags, a)
	}
	if !had || old.nameRecord != rec || old.link != content {
		x.addName(&rec, content)
		if had {
			x.kill(s, old.doc)
		}
	}
	for _, n := range names {
		if n.node != f.Node && n.link != content {
			x.addName(&n.nameRecord, content)
			x.kill(s, n.doc)
		}
	}
	if orphan != 0 {
		x.kill(s, orphan)
	}
	return nil
}

func (x *Index) addName(n *nameRecord, link uint32) {
	keys := nameKeys(n)
	if link == 0 && n.content != (key128{}) {
		keys = append(keys, unknownKey)
	}
	doc := x.mem.addName(n, link, keys)
	x.links.add(row{doc: doc, link: link})
}

// nameKeys returns the keys of a name document, each once.
func nameKeys(n *nameRecord) [][]byte {
	keys := [][]byte{nodeKey(n.node)}
	if n.content != (key128{}) {
		keys = append(keys, contentTerm(n.content))
	}
	if ext := fileExt(n.name); ext != "" && len(ext) <= maxTerm {
		keys = append(keys, append([]byte{'e'}, ext...))
	}
	t := tokenizer{parts: true, emit: func(t token) { keys = append(keys, append([]byte{'n'}, t.term...)) }}
	t.run([]byte(n.name))
	slices.SortFunc(keys, bytes.Compare)
	return slices.CompactFunc(keys, bytes.Equal)
}

// holders finds a content's document and reads the names that have it.
func (s *snapshot) holders(key key128) (uint32, []foundName, error) {
	doc, rows, err := s.content(key)
	if err != nil {
		return 0, nil, err
	}
	var names []foundName
	for _, r := range rows {
		p, _ := s.partOf(r.doc)
		rec, err := p.name(r)
		if err != nil {
			return 0, nil, err
		}
		names = append(names, foundName{r, rec})
	}
	return doc, names, nil
}

// orphan returns the document of the content that only this name has; 0 when another has it too.
func (s *snapshot) orphan(n foundName) (uint32, error) {
	if n.content == (key128{}) {
		return 0, nil
	}
	doc, names, err := s.content(n.content)
	if err != nil || len(names) > 1 {
		return 0, err
	}
	return doc, nil
}

// kill marks a document dead. s is the index before the change.
func (x *Index) kill(s *snapshot, doc uint32) {
	p, ok := s.partOf(doc)
	if !ok {
		return
	}
	if _, i, ok, err := p.row(doc); ok && err == nil { // read a moment ago, so it can be
		x.dirty = true
		x.bury(p.part, i)
	}
}

// bury adds an ordinal to the set of a part's dead.
func (x *Index) bury(p part, i int) {
	switch p := p.(type) {
	case *segment:
		for _, seg := range x.segments {
			if seg.segment == p {
				seg.now = seg.now.with(i)
			}
		}
	case *memoryView:
		if p.m == x.mem {
			x.memDead = x.memDead.with(i)
		} else {
			x.frozen.now = x.frozen.now.with(i)
		}
	}
}

// Remove tells the index that a node is gone. One that it does not know is no error.
func (x *Index) Remove(node dbfs.NodeID) error {
	x.feed.Lock()
	defer x.feed.Unlock()
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.guard(func(s *snapshot) error {
		old, had, err := s.node(node)
		if err != nil || !had {
			return err
		}
		orphan, err := s.orphan(old)
		if err != nil {
			return err
		}
		x.kill(s, old.doc)
		if orphan != 0 {
			x.kill(s, orphan)
		}
		return nil
	})
}

// Has reports whether the index knows exactly this of the node, its text aside.
func (x *Index) Has(f File) (bool, error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	has := false
	err := x.guard(func(s *snapshot) error {
		old, had, err := s.node(f.Node)
		has = had && old.nameRecord == nameRecord{f.Node, contentKey(f.Content), max(0, f.Size), f.MTime, f.Name}
		return err
	})
	return has, err
}

// HasContent reports whether a content has been looked into, so that Update needs no Text.
func (x *Index) HasContent(id dbfs.ChunkID) (bool, error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	has := false
	err := x.guard(func(s *snapshot) error {
		doc, _, err := s.content(contentKey(id))
		has = doc != 0
		return err
	})
	return has, err
}

// Advance says that everything up to mark has been fed. It becomes the Mark once all of
// that is on disk. The bytes are copied and mean nothing to the index.
func (x *Index) Advance(mark []byte) {
	x.feed.Lock()
	defer x.feed.Unlock()
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.losses == x.healed {
		x.mark, x.dirty = append([]byte{}, mark...), true
	}
}

// Mark returns the last mark up to which everything is on disk; nil: none. After Open the
// feeder continues from there: nothing before it is missing, and what comes after it may
// or may not be there.
func (x *Index) Mark() []byte {
	x.mu.Lock()
	defer x.mu.Unlock()
	return slices.Clone(x.saved)
}

// eachName calls fn with every live name document.
func (s *snapshot) eachName(ctx context.Context, fn func(p livePart, r row) error) error {
	for _, p := range s.parts {
		for i := range p.size() {
			if i&0xfff == 0 && ctx.Err() != nil {
				return ctx.Err()
			}
			if p.dead.has(i) {
				continue
			}
			r, err := p.rowAt(i)
			if err != nil {
				return err
			}
			if !r.is(isName) {
				continue
			}
			if err := fn(p, r); err != nil {
				return err
			}
		}
	}
	return nil
}
