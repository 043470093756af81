package journal

import (
	"slices"

	"github.com/dbfs/dbfs"
	"github.com/dbfs/dbfs/names"
)

// Where names are portable, one name has several spellings, and a node has one of them. What
// is kept here goes by spellings all the same: tree and view hold what they are told, even two
// spellings of one name, as they may where edits of two devices have not been reconciled yet,
// or where this program's tables of Unicode are not the server's. Only who looks for a name
// finds it by another spelling, if there is none of that one.
//
// Which names are one is for the server to decide. If it says that a name is taken by a node
// whose name would be another one here, that is remembered until the next start.

// maxClashes is how many such names are remembered: there are none unless tables differ.
const maxClashes = 1000

// otherwise returns the node that has a name in another spelling; if there are several, the first.
func (s *snapshot) otherwise(parent dbfs.NodeID, name string) (dbfs.Node, bool) {
	best, found := "", false
	try := func(other string) {
		if _, ok := s.exactly(parent, other); ok && (!found || other < best) {
			best, found = other, true
		}
	}
	for _, other := range s.view.alike[s.keyed(place{parent, name})] {
		try(other)
	}
	if s.err != nil {
		return dbfs.Node{}, false
	}
	s.err = s.tree.Alike(s.txn, parent, name, func(other string, _ dbfs.NodeID) bool {
		try(other)
		return !found
	})
	if other, ok := s.clashes[place{parent, name}]; ok && !found {
		try(other)
	}
	if !found {
		return dbfs.Node{}, false
	}
	return s.exactly(parent, best)
}

// keyed returns a place with the key of its name: two places are one if these are equal.
func (s *snapshot) keyed(at place) place { return keyed(s.rule, at) }

func keyed(rule dbfs.NameRule, at place) place {
	return place{at.parent, names.Key(rule, at.name)}
}

// likeName and unlikeName keep the view's names findable by their keys.
func (s *snapshot) likeName(at place) {
	if s.rule == dbfs.NamesExact {
		return
	}
	key := s.keyed(at)
	if list := s.view.alike[key]; !slices.Contains(list, at.name) {
		list = append(list, at.name)
		slices.Sort(list)
		s.view.alike[key] = list
	}
}

func (s *snapshot) unlikeName(at place) {
	if s.rule == dbfs.NamesExact {
		return
	}
	key := s.keyed(at)
	list := slices.DeleteFunc(s.view.alike[key], func(name string) bool { return name == at.name })
	if s.view.alike[key] = list; len(list) == 0 {
		delete(s.view.alike, key)
	}
}

// deviceFor returns a device's name as it may stand in names of a namespace.
func deviceFor(rule dbfs.NameRule, device string) string {
	if names.Check(rule, "("+cleanDevice(device)+")") != nil {
		return anotherDevice
	}
	return device
}

// opines reports whether the view has an opinion on a name, in whatever spelling.
func (v *view) opines(rule dbfs.NameRule, at place) bool {
	if rule != dbfs.NamesExact {
		return len(v.alike[keyed(rule, at)]) > 0
	}
	_, ok := v.names[at.parent][at.name]
	return ok
}

// clash notes what a refusal of the batch in flight says of names. A refusal shows what has the
// name as it is without the batch. Where it has the name by an edit of that batch the next one
// ends before the refused edit, and the answer to the one after that is to the point. It is called with mu held.
func (j *Journal) clash(no *dbfs.RefusedError) {
	if no.Code != dbfs.RefusedNameTaken || no.At >= len(j.inflight.Ops) {
		return
	}
	op := &j.inflight.Ops[no.At]
	if no.Node == nil || moves(j.inflight.Ops[:no.At], no.Node.ID) {
		if len(j.apart) == maxClashes {
			clear(j.apart)
		}
		j.apart[op.ID] = true
		return
	}
	for _, at := range places(op) {
		taken := place{no.Node.Parent, no.Node.Name}
		if at.parent != taken.parent || keyed(j.cfg.Names, at) == keyed(j.cfg.Names, taken) {
			continue
		}
		if len(j.clashes) == maxClashes {
			clear(j.clashes)
		}
		j.clashes[at] = taken.name
		j.cfg.Log.Warn("the server takes two names for one that are two here: its version of Unicode is another one", "name", at.name, "taken by", taken.name)
	}
}

// moves reports whether some edits give a node a place.
func moves(ops []dbfs.Op, id dbfs.NodeID) bool {
	return slices.ContainsFunc(ops, func(op dbfs.Op) bool { return len(places(&op)) > 0 && slices.Contains(about(&op), id) })
}
