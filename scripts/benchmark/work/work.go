// Package work holds the workloads of the benchmark: things that programs do to a directory.
//
// A workload is prepared, run and checked. Only the run is timed. What it read or wrote is
// verified, part of it during the run where that costs nothing to speak of, the rest
// afterwards; a wrong result is an error and never a time.
package work

import (
	"fmt"
	"os"
	"path/filepath"
	"time"
)

// A State says what may be in memory, or on this machine, when a run begins.
type State string

const (
	AsIs    State = ""        // what the work before has left
	Warm    State = "warm"    // what is read has just been read
	Dropped State = "dropped" // the kernel has forgotten pages, names and attributes
	Cold    State = "cold"    // and so has the drive all that it could get from its store again
)

// A Task is what a workload is run with. Where it is made, every field is set.
type Task struct {
	Dir   string `json:"dir"`             // on the drive; the workloads share it
	Other string `json:"other,omitempty"` // the same directory on another mount of the drive

	Size    int64 `json:"size"`    // of the large file
	Ops     int   `json:"ops"`     // random reads, and writes
	Files   int   `json:"files"`   // small ones
	Commits int   `json:"commits"` // of a database
	Changes int   `json:"changes"` // that another mount has to see

	Patience time.Duration `json:"patience"` // for each change

	Tree Tree `json:"tree"`
}

// at names something in the task's directory.
func (t Task) at(parts ...string) string { return filepath.Join(append([]string{t.Dir}, parts...)...) }

// A Workload is one thing to do, and to measure.
type Workload struct {
	Name  string  // as on the command line
	Title string  // as in the table
	Group string  // workloads of a group build on each other's files, in their order
	State State   // when the run begins
	Base  string  // the workload whose time on the bare disk is 1.00; empty: this one
	Goal  float64 // the speed, relative to the bare disk, that dbfs should reach at least; 0: none set
	Unit  string  // of what Amount counts, a second
	Makes bool    // the files that the rest of its group is done with
	Pages bool    // only pages of files matter: it can be dropped without being root
	Pair  bool    // needs a second mount

	Amount func(Task) float64 // of work in a run
	Setup  func(Task) error   // before a run; it finds what the workload before has left, or makes it
	Run    func(Task, *Meter) error
	Check  func(Task) error // after a run; nil: the run checks
}

// A Meter takes the times of a run that is made of several.
type Meter struct{ Samples []time.Duration }

func (m *Meter) add(d time.Duration) { m.Samples = append(m.Samples, d) }

// All lists the workloads in the order in which they are done.
func All() []Workload {
	var all []Workload
	for _, group := range [][]Workload{large(), small(), trees(), databases(), changes()} {
		all = append(all, group...)
	}
	return all
}

// Find returns the workload of that name.
func Find(name string) (Workload, error) {
	for _, w := range All() {
		if w.Name == name {
			return w, nil
		}
	}
	return Workload{}, fmt.Errorf("no workload is called %q", name)
}

// exists reports whether a path leads to something.
func exists(name string) bool {
	_, err := os.Lstat(name)
	return err == nil
}
