package index

// A join turns contents that were found into the files that have them.
type join struct {
	s     *snapshot
	walk  *rowWalk
	links []uint64 // not below the content at hand
	out   files

	doc uint32
	at  int // its ordinal
	err error
}

func newJoin(s *snapshot) *join { return &join{s: s, links: s.links} }

// enter says that the next contents are of part p.
func (j *join) enter(p livePart) {
	if j.walk == nil || j.walk.p.part != p.part {
		j.walk = p.walk()
	}
}

// content finds a live content, to which add then refers. Contents come upwards.
func (j *join) content(doc uint32) (row, bool, error) {
	r, i, ok, err := j.walk.find(doc)
	j.doc, j.at = doc, i
	return r, ok && r.is(isContent), err
}

// add adds the files of the content at hand. An error waits for done.
func (j *join) add(score float32) {
	next, live, err := j.walk.at(j.at + 1)
	if live && next.is(isName) && next.link == j.doc && next.doc == j.doc+1 {
		j.out.add(fileKey(j.doc, next.doc), score)
	}
	if j.err == nil {
		j.err = err
	}
	for j.links = j.links[gallop(j.links, fileKey(j.doc, 0)):]; len(j.links) > 0 && uint32(j.links[0]>>32) == j.doc; j.links = j.links[1:] {
		_, _, live, err := j.s.live(uint32(j.links[0]))
		if live {
			j.out.add(j.links[0], score)
		}
		if j.err == nil {
			j.err = err
		}
	}
}

func (j *join) done() (files, error) { return j.out, j.err }
