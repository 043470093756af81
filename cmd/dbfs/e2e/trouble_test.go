package e2e

import (
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestTrouble makes trouble in the middle of operations of every kind: the disk is full, the budget of unsent data is, the
// server cannot be reached. Operations may fail then, with an error that says so. What did not fail is there afterwards, also when the
// daemon has been killed, and another device has the same in the end.
func TestTrouble(t *testing.T) {
	for _, c := range []struct {
		name  string
		flags []string
		begin func(*trouble) (end func())
		says  []error // what operations may fail with
		fails string  // one kind that does
	}{
		{"full disk", nil, (*trouble).fillDisk, []error{unix.ENOSPC}, "save"},
		{"full budget", []string{"--unsent-size", "96MiB"}, (*trouble).fillBudget, []error{unix.ENOSPC}, ""},
		{"no server", nil, (*trouble).noServer, []error{unix.EIO}, "read"},
	} {
		t.Run(c.name, func(t *testing.T) {
			disk := newDisk(t)
			far := newMachine(t)
			srv := far.serve()
			m := &machine{t, disk.dir, far.dbfs}
			one, two := m.login("one", srv.url, srv.token), far.login("two", srv.url, srv.token)
			one.flags = c.flags
			two.start()
			w := &trouble{t: t, disk: disk, srv: srv, one: one}
			w.putAway(two)
			one.start()
			w.begin()
			w.work(500*time.Millisecond, c.begin, 2*time.Second, c.says)
			w.look("after it")
			one.kill()
			one.start()
			w.look("after a kill")
			one.sent()
			two.sent()
			sameTrees(t, one, two)
			w.look("at the end")
			for _, k := range w.kinds {
				t.Logf("%-16s %4d made, %3d failed in trouble %v", k.name, len(k.made), k.failed, slices.Sorted(maps.Keys(k.errs)))
				if len(k.made) <= goodAtLast {
					t.Errorf("%s: none was made before the trouble", k.name)
				}
				if k.name == c.fails && k.failed == 0 {
					t.Errorf("%s: there was no trouble", k.name)
				}
			}
			two.end()
			one.end()
		})
	}
}

type trouble struct {
	t     *testing.T
	disk  *disk
	srv   *served
	one   *drive
	kinds []*working
}

// working is a kind at work.
type working struct {
	kind
	past
	broken bool // the last step failed, and may have been half done
	failed int
	errs   map[string]bool
}

// far is what only the server has: files that device one reads.
const far, farSize = 200, 100_000

func (w *trouble) putAway(two *drive) {
	must0(w.t, os.Mkdir(two.at("far"), 0o755))
	for i := range far {
		must0(w.t, os.WriteFile(two.at(fmt.Sprint("far/", i)), noise(uint64(i), farSize), 0o644))
	}
	two.sent()
}

// farStep reads a file that is not here. What it gets is right.
func farStep(dir string, v uint64) error {
	i := v % far
	b, err := os.ReadFile(filepath.Join(filepath.Dir(dir), "far", fmt.Sprint(i)))
	if err == nil && string(b) != string(noise(i, farSize)) {
		err = wrong("file %d holds %s", i, brief(b))
	}
	return err
}

func (w *trouble) begin() {
	all := append(slices.Clone(kinds), kind{name: "read", step: farStep, look: func(string, past) error { return nil }})
	for _, k := range all {
		must0(w.t, os.Mkdir(w.one.at(k.name), 0o755))
		if k.make != nil {
			must0(w.t, k.make(w.one.at(k.name)))
		}
		w.kinds = append(w.kinds, &working{kind: k, past: past{made: make(map[uint64]bool)}, errs: make(map[string]bool)})
	}
}

// work lets everybody work, begins the trouble in the middle of it, ends it after a while, and lets everybody succeed once more.
func (w *trouble) work(before time.Duration, begin func(*trouble) (end func()), long time.Duration, says []error) {
	over := make(chan struct{}) // closed when everything is as it should be again
	var all sync.WaitGroup
	for _, k := range w.kinds {
		all.Go(func() { w.steps(k, over, says) })
	}
	time.Sleep(before)
	end := begin(w)
	time.Sleep(long)
	end()
	close(over)
	all.Wait()
}

// goodAtLast is how many steps of each kind have to succeed one after the other when the trouble is over.
const goodAtLast = 5

func (w *trouble) steps(k *working, over <-chan struct{}, says []error) {
	good := 0
	for deadline := (time.Time{}); good < goodAtLast; time.Sleep(3 * time.Millisecond) {
		isOver := false
		select {
		case <-over:
			isOver = true
			if deadline.IsZero() {
				deadline = time.Now().Add(patience)
			}
		default:
		}
		k.last++
		err := k.step(w.one.at(k.name), k.last)
		k.broken = err != nil && k.torn
		switch {
		case err == nil:
			k.safe = k.last
			k.made[k.last] = true
			if isOver {
				good++
			}
			continue
		case !slices.ContainsFunc(says, func(e error) bool { return errors.Is(err, e) }):
			w.t.Errorf("%s: version %d: %v", k.name, k.last, err)
			return
		case isOver && time.Now().After(deadline):
			w.t.Errorf("%s: the trouble is over, and yet: %v", k.name, err)
			return
		}
		good = 0
		k.failed++
		text := err.Error()
		k.errs[text[strings.LastIndex(text, ": ")+1:]] = true
	}
}

func (w *trouble) look(when string) {
	w.t.Helper()
	for _, k := range w.kinds {
		if k.broken {
			continue
		}
		if err := k.look(w.one.at(k.name), k.past); err != nil {
			w.t.Errorf("%s: %s: %v", when, k.name, err)
		}
	}
	if w.t.Failed() {
		w.t.FailNow()
	}
}

// fillDisk leaves nothing on device one's disk, and goes on taking what becomes free.
func (w *trouble) fillDisk() (end func()) {
	f, err := os.Create(filepath.Join(w.disk.dir, "ballast"))
	must0(w.t, err)
	size := int64(0)
	fill := func() {
		for n := int64(1 << 30); n >= 4096; {
			if err := unix.Fallocate(int(f.Fd()), 0, size, n); err != nil {
				n /= 2
			} else {
				size += n
			}
		}
	}
	fill()
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		for {
			select {
			case <-stop:
				return
			case <-time.After(10 * time.Millisecond):
				fill()
			}
		}
	}()
	return func() {
		close(stop)
		<-stopped
		must0(w.t, errors.Join(f.Close(), os.Remove(f.Name())))
	}
}

// fillBudget keeps what device one writes from being sent, and leaves little room for more: writers have to wait.
func (w *trouble) fillBudget() (end func()) {
	must0(w.t, w.one.control.Pause(within(w.t, patience), time.Hour))
	ballast := w.one.at("ballast")
	must0(w.t, os.Mkdir(ballast, 0o755))
	full, stop, stopped := make(chan struct{}), make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		isFull := false
		b := noise(99, 4<<20)
		for i := uint64(0); ; time.Sleep(5 * time.Millisecond) {
			select {
			case <-stop:
				return
			default:
			}
			st, err := w.one.control.Status(within(w.t, patience))
			if err != nil {
				w.t.Error(err)
				return
			}
			if st.Cache.UnsentBudget-st.Cache.Unsent < 6<<20 {
				if !isFull {
					isFull = true
					close(full)
				}
				continue
			}
			i++
			binary.BigEndian.PutUint64(b, i)
			if err := os.WriteFile(number(ballast, i), b, 0o644); err != nil {
				w.t.Error(err)
			}
		}
	}()
	select {
	case <-full:
	case <-time.After(patience):
		w.t.Error("the budget does not get full")
	}
	return func() {
		close(stop)
		must0(w.t, w.one.control.Resume(within(w.t, patience)))
		<-stopped
	}
}

// noServer takes the server away.
func (w *trouble) noServer() (end func()) {
	w.srv.kill()
	return w.srv.again
}
