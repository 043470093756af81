package index

import "iter"

// terms of a segment read it once from front to back, past the cache.
func (s *segment) terms(each func(key []byte, docs docFeed) error) error {
	var docs docCursor
	var words wordCursor
	return s.from(nil, true, func(key []byte, l list) error {
		if isWordKey(key) {
			words.open(l, true)
			return each(key, words.feed)
		}
		docs.open(l, true)
		return each(key, docs.feed)
	})
}

func (c *docCursor) feed(add func(doc uint32, positions []uint32)) error {
	for doc, ok := c.next(); ok; doc, ok = c.next() {
		add(doc, nil)
	}
	return c.err()
}

func (c *wordCursor) feed(add func(doc uint32, positions []uint32)) error {
	for c.next() {
		if positions := c.positions(); positions != nil {
			add(c.doc(), positions)
		}
	}
	return c.err()
}

// A memorySource is a memory segment that takes no more documents, as a source.
type memorySource struct{ *memoryView }

func (v memorySource) terms(each func(key []byte, docs docFeed) error) error {
	var tmp []byte
	for _, t := range v.m.sorted() {
		err := each(t.key, func(add func(doc uint32, positions []uint32)) error {
			tmp = v.m.each(*t.list, isWordKey(t.key), tmp, add)
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// A termHead is a source's walk through its keys, one step at a time.
type termHead struct {
	key  []byte
	docs docFeed
	done bool
	err  error

	step func() (termStep, error, bool)
	stop func()
}

type termStep struct {
	key  []byte
	docs docFeed
}

func pull(s source) *termHead {
	h := &termHead{}
	h.step, h.stop = iter.Pull2(func(yield func(termStep, error) bool) {
		err := s.terms(func(key []byte, docs docFeed) error {
			if !yield(termStep{key, docs}, nil) {
				return errFound
			}
			return nil
		})
		if err != nil && err != errFound {
			yield(termStep{}, err)
		}
	})
	return h
}

func (h *termHead) next() {
	t, err, ok := h.step()
	h.key, h.docs, h.err, h.done = t.key, t.docs, err, !ok
}
