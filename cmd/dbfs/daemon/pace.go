package daemon

import (
	"sync"
	"time"

	"github.com/dbfs/dbfs/journal"
)

// A pace tells whether changes come in a crowd: an archive is unpacked, a tree is removed, a database commits again
// and again, which waits for each fsync. Syncer and index then leave most of the machine to who makes them.
type pace struct {
	mu     sync.Mutex // guards what follows
	window int64      // the number of the one that is counted now
	count  int        // changes in it
	before int        // in the one before
}

const (
	paceWindow = 100 * time.Millisecond
	crowd      = 20 // changes in one window and the next make one
)

// changed counts what was changed here.
func (p *pace) changed(changes []journal.Change, now time.Time) {
	n := 0
	for _, c := range changes {
		if !c.Remote {
			n++
		}
	}
	p.add(n, now)
}

// synced counts an fsync, as a change.
func (p *pace) synced() { p.add(1, time.Now()) }

func (p *pace) add(n int, now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.turn(now)
	p.count += n
}

func (p *pace) busy(now time.Time) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.turn(now)
	return p.count+p.before >= crowd
}

// turn goes on to the window that now is in. Called with mu held.
func (p *pace) turn(now time.Time) {
	w := now.UnixNano() / int64(paceWindow)
	switch w - p.window {
	case 0:
		return
	case 1:
		p.before = p.count
	default:
		p.before = 0
	}
	p.window, p.count = w, 0
}

// busy reports whether changes come in a crowd.
func (d *Daemon) busy() bool { return d.pace.busy(time.Now()) }
