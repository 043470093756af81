package journal

import "github.com/dbfs/dbfs"

// A Name is one name in a directory and the node that it leads to.
type Name struct {
	Name string
	Node dbfs.NodeID
}

// Names returns the names in a directory in order of their bytes. It costs less memory than
// Children, for directories of which only a part is looked at, or slowly. ErrOffline as for Child.
func (j *Journal) Names(dir dbfs.NodeID) ([]Name, error) {
	var all []Name
	err := j.read(func(s *snapshot) error {
		if err := j.listed(); err != nil {
			return err
		}
		s.children(dir, func(name string, id dbfs.NodeID) bool {
			all = append(all, Name{name, id})
			return true
		})
		return nil
	})
	return all, err
}

// Named returns the nodes that names of a directory lead to, all as of one moment: each at
// the place of its name, and the zero Node where the name does not lead there any more.
func (j *Journal) Named(dir dbfs.NodeID, names []Name) ([]dbfs.Node, error) {
	nodes := make([]dbfs.Node, len(names))
	err := j.read(func(s *snapshot) error {
		for i, name := range names {
			if n, ok := s.node(name.Node); ok && !n.Deleted && n.Parent == dir && n.Name == name.Name {
				nodes[i] = s.show(n)
			}
		}
		return nil
	})
	return nodes, err
}

// Observed returns when Observe has heard of everything that the caller has read so far and
// that other devices did. Whoever calls it must not hold up Observe.
func (j *Journal) Observed() {
	j.observing.RLock()
	defer j.observing.RUnlock()
}
