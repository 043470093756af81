package e2e

import (
	"slices"
	"strings"
	"testing"

	"github.com/dbfs/dbfs/cmd/dbfs/daemon"
)

// The accounts of every site.
const (
	family = "family"
	guest  = "guest"
)

// A person has one device, which is called like the person.
type person struct{ name, account string }

// Alice and Bob share an account, and so a tree; Carol has one of her own.
var (
	alice = person{"alice", family}
	bob   = person{"bob", family}
	carol = person{"carol", guest}
)

// A step is what somebody does on a device. It fails the test that it is part of.
type step func(v *device)

// An act is a part of a story.
type act struct {
	who   person // whose device it needs; the zero person: nobody's
	do    func(w *world)
	joins bool                   // who's device is set up now, not at the beginning
	given func(*daemon.Settings) // who's device is set up with this; do is nil
}

// A world is what a story happens in.
type world struct {
	t       *testing.T
	site    *site
	devices map[person]*device
	mounted bool   // the devices have mounts
	restore func() // takes the server back to when it was remembered
}

// story plays acts, one after the other, in a world of its own, and then checks that
// everybody agrees about everything. It is told twice: in one process, with all parts but the file
// system, and on mounts.
func story(t *testing.T, acts ...act) {
	t.Helper()
	t.Run("in one process", func(t *testing.T) { tell(t, "", false, acts) })
	t.Run("on mounts", func(t *testing.T) { tell(t, "", true, acts) })
}

// inOneProcess is story for what cannot be done to a whole machine.
func inOneProcess(t *testing.T, acts ...act) {
	t.Helper()
	tell(t, "", false, acts)
}

// onMounts is story for what needs a mount.
func onMounts(t *testing.T, acts ...act) {
	t.Helper()
	tell(t, "", true, acts)
}

func tell(t *testing.T, blocks string, mounted bool, acts []act) {
	t.Helper()
	w := &world{t: t, mounted: mounted, site: newSite(t, blocks), devices: make(map[person]*device)}
	for _, a := range acts {
		if first := slices.IndexFunc(acts, func(b act) bool { return b.who == a.who && b.given == nil }); a.who.name != "" && first >= 0 && !acts[first].joins {
			w.device(a.who, acts)
		}
	}
	for _, a := range acts {
		if a.joins {
			w.device(a.who, acts)
		}
		if a.do != nil {
			a.do(w)
		}
	}
	w.agree()
}

// device returns a person's device, set up with what is given for it.
func (w *world) device(p person, acts []act) *device {
	w.t.Helper()
	if v, ok := w.devices[p]; ok {
		return v
	}
	v := makeDevice(w.t, w.site, p.account, p.name, w.mounted, func(s *daemon.Settings) {
		for _, a := range acts {
			if a.who == p && a.given != nil {
				a.given(s)
			}
		}
	})
	w.devices[p] = v
	return v
}

// all returns the devices in order of name.
func (w *world) all() []*device {
	var all []*device
	for _, v := range w.devices {
		all = append(all, v)
	}
	slices.SortFunc(all, func(a, b *device) int { return strings.Compare(a.name, b.name) })
	return all
}

// as lets somebody do something.
func as(p person, steps ...step) act {
	return act{who: p, do: func(w *world) {
		for _, s := range steps {
			s(w.devices[p])
		}
	}}
}

// given sets a person's device up in a particular way, from the beginning.
func given(p person, change func(*daemon.Settings)) act { return act{who: p, given: change} }

// joins sets a person's device up only now.
func joins(p person) act { return act{who: p, joins: true} }

// synced lets everybody who can reach the server get to where it is.
func synced() act { return act{do: func(w *world) { w.t.Helper(); w.sync() }} }

// down takes the server away, and up brings it back.
func down() act { return act{do: func(w *world) { w.site.stop() }} }
func up() act   { return act{do: func(w *world) { w.site.start() }} }

// backedUp copies the server's database, and restored takes the server back to that copy.
func backedUp() act { return act{do: func(w *world) { w.restore = w.site.backup() }} }
func restored() act { return act{do: func(w *world) { w.restore() }} }

// then does something that the language has no word for.
func then(do func(w *world)) act { return act{do: do} }
