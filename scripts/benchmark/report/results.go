// Package report keeps what the benchmark has measured, and draws tables and plots of it.
package report

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"slices"
	"time"
)

// version is the version of the results file. Fields may be added within it, never changed.
const version = 1

// maxFile bounds a results file that is read.
const maxFile = 64 << 20

// Results are all that was measured in one go. They are kept as JSON, an object with these fields.
type Results struct {
	Version int       `json:"version"`
	Made    time.Time `json:"made"`
	Command string    `json:"command"`         // that made them
	Cut     bool      `json:"cut,omitempty"`   // by an interrupt
	Plain   bool      `json:"plain,omitempty"` // made by a user without privileges
	Machine Machine   `json:"machine"`
	Runs    int       `json:"runs"` // that were asked for

	Systems  []System  `json:"systems"`
	Works    []Work    `json:"works"`
	Measures []Measure `json:"measures"`
	Memory   *Memory   `json:"memory,omitempty"`
}

// Machine is what everything was measured on.
type Machine struct {
	CPU    string  `json:"cpu"`
	Cores  int     `json:"cores"`
	Bytes  int64   `json:"memory"`
	Kernel string  `json:"kernel"`
	Disk   string  `json:"disk"` // kind of the file system
	Go     string  `json:"go"`
	Load   float64 `json:"load"` // as the first run began: of others
}

// A System is one of those compared.
type System struct {
	Name    string `json:"name"`
	About   string `json:"about"`
	Version string `json:"version,omitempty"`
	Missing string `json:"missing,omitempty"` // why it was not measured
}

// A Work is a workload as it was done.
type Work struct {
	Name   string  `json:"name"`
	Title  string  `json:"title"`
	Amount float64 `json:"amount"`
	Unit   string  `json:"unit"`
	Base   string  `json:"base,omitempty"` // whose time on the bare disk is 1.00; empty: its own
	Goal   float64 `json:"goal,omitempty"` // for dbfs, relative to the bare disk
	Per    string  `json:"per,omitempty"`  // what grows in its curve: "files" or "bytes"
}

// A Measure is one run of one workload on one system.
type Measure struct {
	Run     int       `json:"run"` // from 1
	System  string    `json:"system"`
	Work    string    `json:"work"`
	Grown   int64     `json:"grown,omitempty"` // files or bytes, as a point of a curve; 0: not one
	Seconds float64   `json:"seconds,omitempty"`
	Samples []float64 `json:"samples,omitempty"` // seconds, of which Seconds is the median
	Peak    int64     `json:"peak,omitempty"`    // bytes of memory, while it ran
	Failed  string    `json:"failed,omitempty"`  // why there is no time
}

// Memory is what a large tree costs.
type Memory struct {
	Files   int64   `json:"files"`
	Made    float64 `json:"made"`    // seconds to make them at the server
	First   float64 `json:"first"`   // seconds until the first mount answered
	Listed  float64 `json:"listed"`  // and had the whole tree
	Loading int64   `json:"loading"` // bytes, at most, meanwhile
	Again   float64 `json:"again"`   // seconds until the second mount answered
	Rest    int64   `json:"rest"`    // bytes at rest
	Find    float64 `json:"find"`    // seconds that find took
	Finding int64   `json:"finding"` // bytes, at most, meanwhile
}

// The goals for a tree of a million files.
const (
	goalAgain  = 1.0   // seconds until a mount answers
	goalMemory = 100e6 // bytes, at rest and while find runs
)

// Encode writes the results as JSON.
func (r *Results) Encode(w io.Writer) error {
	enc := json.NewEncoder(w)
	enc.SetIndent("", "\t")
	return enc.Encode(r)
}

// Write keeps the results in a file, which appears whole.
func (r *Results) Write(file string) error {
	var b bytes.Buffer
	if err := r.Encode(&b); err != nil {
		return err
	}
	if err := os.WriteFile(file+".new", b.Bytes(), 0o644); err != nil {
		return err
	}
	return os.Rename(file+".new", file)
}

// Read reads what Write wrote.
func Read(file string) (*Results, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return nil, err
	}
	if len(b) > maxFile {
		return nil, fmt.Errorf("%s: larger than any results file", file)
	}
	r := &Results{}
	if err := json.Unmarshal(b, r); err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	if r.Version != version {
		return nil, fmt.Errorf("%s: a results file of version %d, and this program reads version %d", file, r.Version, version)
	}
	return r, nil
}

// New returns results without a measure.
func New() *Results { return &Results{Version: version, Made: time.Now().UTC().Truncate(time.Second)} }

// Measured lists the systems that have measures, in their order.
func (r *Results) Measured() []System {
	var list []System
	for _, s := range r.Systems {
		if s.Missing == "" {
			list = append(list, s)
		}
	}
	return list
}

// Bare is the system that others are compared with.
const Bare = "disk"

// A Cell is what the runs of a workload on a system come to.
type Cell struct {
	Seconds float64 // the median; 0: no run has a time
	Ratio   float64 // speed relative to the bare disk; 0: not known
	Runs    int     // that have a time
	Tried   int
	Longest float64 // of the samples, if any
	Peak    int64   // bytes
	Failed  string  // of the first run without a time
}

// Cell sums up. grown chooses a point of a curve, or with 0 the plain workload.
func (r *Results) Cell(system string, w Work, grown int64) Cell {
	c := r.times(system, w.Name, grown)
	base := w.Name
	if w.Base != "" {
		base = w.Base
	}
	if disk := r.times(Bare, base, grown); disk.Seconds > 0 && c.Seconds > 0 {
		c.Ratio = disk.Seconds / c.Seconds
	}
	return c
}

func (r *Results) times(system, work string, grown int64) Cell {
	var c Cell
	var times []float64
	for _, m := range r.Measures {
		if m.System != system || m.Work != work || m.Grown != grown {
			continue
		}
		c.Tried++
		c.Peak = max(c.Peak, m.Peak)
		c.Longest = max(c.Longest, slices.Max(append([]float64{0}, m.Samples...)))
		switch {
		case m.Failed == "":
			times = append(times, m.Seconds)
		case c.Failed == "":
			c.Failed = m.Failed
		}
	}
	c.Runs = len(times)
	c.Seconds = Median(times)
	return c
}

// Median returns the middle one, or the mean of the middle two; 0 of none.
func Median(v []float64) float64 {
	if len(v) == 0 {
		return 0
	}
	v = slices.Sorted(slices.Values(v))
	n := len(v)
	return (v[(n-1)/2] + v[n/2]) / 2
}

// Below reports whether a system that goals are set for misses the workload's.
func (w Work) Below(system string, c Cell) bool {
	if w.Goal == 0 || !Ours(system) || c.Tried == 0 {
		return false
	}
	return c.Runs == 0 || c.Ratio > 0 && round(c.Ratio) < w.Goal
}

// Ours reports whether the goals are set for a system.
func Ours(system string) bool { return system == "dbfs" || system == "dbfs-user" }

// round is how ratios are shown, and compared.
func round(ratio float64) float64 { return float64(int64(ratio*100+0.5)) / 100 }

// Peak is the most memory that a system had in any run.
func (r *Results) Peak(system string) int64 {
	var peak int64
	for _, m := range r.Measures {
		if m.System == system {
			peak = max(peak, m.Peak)
		}
	}
	return peak
}
