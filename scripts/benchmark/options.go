package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/dustin/go-humanize"
	"github.com/spf13/pflag"

	"github.com/dbfs/dbfs/scripts/benchmark/drive"
	"github.com/dbfs/dbfs/scripts/benchmark/work"
)

// options are the flags.
type options struct {
	only, work   []string
	runs         int
	size         size
	files        int
	ops          int
	commits      int
	changes      int
	tree         string
	limit        time.Duration
	quick        bool
	scale        bool
	maxFiles     int
	maxSize      size
	scaleLimit   time.Duration
	memory       bool
	memoryFiles  int
	unprivileged bool
	user         string
	out          string
	from         string
	json         bool
	list         bool

	// what scripts/bench tells
	scratch, tools, dbfs, loopback, objects string
}

const usage = `Measures dbfs, the bare disk, go-fuse's loopback and the peers that are on this machine, in turn, on one
S3 server, and writes tables (bench.md, bench.json) and plots (*.svg) to bench/.

  scripts/bench                                   everything, three times
  scripts/bench --quick                           a first impression, in a few minutes
  scripts/bench --peers                           install rclone and s3fs first, and measure them, too
  scripts/bench --only dbfs,disk --work create,stat-warm --runs 5
  scripts/bench --scale --max-files 100000        and how the cost grows with the work
  scripts/bench --memory                          what a tree of 1,000,000 files costs dbfs
  scripts/bench --from bench/bench.json           draw tables and plots of earlier results again

It works in a temporary directory below DBFS_BENCH_DIR (default: /var/tmp), which is on the disk that is
measured. Whatever happens, everything that it started is ended, unmounted and removed.

`

func parse(args []string) (*options, error) {
	o := &options{size: 1 << 30, maxSize: 4 << 30}
	f := pflag.NewFlagSet("scripts/bench", pflag.ContinueOnError)
	f.SortFlags = false
	f.Usage = func() { fmt.Fprint(os.Stderr, usage+"Flags:\n"+f.FlagUsages()) }
	f.StringSliceVar(&o.only, "only", nil, "measure these systems; --list names them")
	f.StringSliceVar(&o.work, "work", nil, "do these workloads, or those that begin with a name; --list names them")
	f.IntVar(&o.runs, "runs", 3, "how often each is done; the median counts")
	f.Var(&o.size, "size", "of the large file")
	f.IntVar(&o.files, "files", 10_000, "how many small files")
	f.IntVar(&o.ops, "ops", 20_000, "how many random reads, and writes")
	f.IntVar(&o.commits, "commits", 1_000, "how many sqlite commits")
	f.IntVar(&o.changes, "changes", 20, "how many changes another mount has to see")
	f.StringVar(&o.tree, "tree", "", "source tree to unpack (default: GOROOT/src)")
	f.DurationVar(&o.limit, "limit", 2*time.Minute, "how long one run of a workload may take")
	f.BoolVar(&o.quick, "quick", false, "one run of reduced sizes, where no flag says otherwise")
	f.BoolVar(&o.scale, "scale", false, "also how the cost grows: 1,000 files to --max-files, 1 MiB to --max-size")
	f.IntVar(&o.maxFiles, "max-files", 1_000_000, "with --scale: the most files")
	f.Var(&o.maxSize, "max-size", "with --scale: the largest file")
	f.DurationVar(&o.scaleLimit, "scale-limit", 10*time.Minute, "with --scale: how long one run may take; a larger one is then not tried")
	f.BoolVar(&o.memory, "memory", false, "instead: start-up and memory of dbfs with a tree of --memory-files")
	f.IntVar(&o.memoryFiles, "memory-files", 1_000_000, "with --memory: how many files")
	f.BoolVar(&o.unprivileged, "unprivileged", false, "also dbfs as another user mounts it, through fusermount3")
	f.StringVar(&o.user, "user", "nobody", "with --unprivileged: that user")
	f.Bool("peers", false, "install the peers that can be: rclone from its Go module, s3fs from Debian")
	f.StringVar(&o.out, "out", "bench", "write the results to this directory, seen from the top of the repository")
	f.StringVar(&o.from, "from", "", "measure nothing; draw the results of this file")
	f.BoolVar(&o.json, "json", false, "print the results as JSON, too")
	f.BoolVar(&o.list, "list", false, "name systems and workloads, and end")
	for name, v := range map[string]*string{"scratch": &o.scratch, "tools": &o.tools, "dbfs-program": &o.dbfs,
		"loopback-program": &o.loopback, "objects": &o.objects} {
		f.StringVar(v, name, "", "")
		f.MarkHidden(name)
	}
	if err := f.Parse(args); err != nil {
		return nil, err
	}
	if f.NArg() > 0 {
		return nil, fmt.Errorf("%q: there are only flags; see --help", f.Arg(0))
	}
	if o.quick {
		o.reduce(f.Changed)
	}
	if o.tree == "" {
		o.tree = goSource()
	}
	return o, o.check()
}

// goSource is the source of the Go that is on the PATH.
func goSource() string {
	out, err := exec.Command("go", "env", "GOROOT").Output()
	if err != nil {
		return "" // told where a workload wants it
	}
	return filepath.Join(strings.TrimSpace(string(out)), "src")
}

// reduce makes sizes small that no flag has set.
func (o *options) reduce(set func(string) bool) {
	for name, apply := range map[string]func(){
		"runs":    func() { o.runs = 1 },
		"size":    func() { o.size = 64 << 20 },
		"files":   func() { o.files = 1_000 },
		"ops":     func() { o.ops = 2_000 },
		"commits": func() { o.commits = 100 },
		"changes": func() { o.changes = 5 },
		"tree": func() {
			if src := goSource(); src != "" {
				o.tree = filepath.Join(src, "net")
			}
		},
		"limit":        func() { o.limit = 10 * time.Second },
		"max-files":    func() { o.maxFiles = 10_000 },
		"max-size":     func() { o.maxSize = 64 << 20 },
		"scale-limit":  func() { o.scaleLimit = 20 * time.Second },
		"memory-files": func() { o.memoryFiles = 100_000 },
	} {
		if !set(name) {
			apply()
		}
	}
}

func (o *options) check() error {
	for _, n := range []struct {
		flag        string
		value, most int64
	}{
		{"runs", int64(o.runs), 1000}, {"files", int64(o.files), 10_000_000}, {"ops", int64(o.ops), 100_000_000},
		{"commits", int64(o.commits), 10_000_000}, {"changes", int64(o.changes), 100_000},
		{"max-files", int64(o.maxFiles), 10_000_000}, {"memory-files", int64(o.memoryFiles), 100_000_000},
	} {
		if n.value < 1 || n.value > n.most {
			return fmt.Errorf("--%s %d: it is from 1 to %d", n.flag, n.value, n.most)
		}
	}
	for _, s := range []size{o.size, o.maxSize} {
		if s < 1<<20 || s > 16<<30 || s%(1<<20) != 0 {
			return fmt.Errorf("size %s: it is whole MiB, from 1 MiB to 16 GiB", &s)
		}
	}
	if o.limit <= 0 || o.scaleLimit <= 0 {
		return errors.New("a limit is longer than nothing")
	}
	for _, name := range o.only {
		if !slices.ContainsFunc(drive.All(), func(s drive.System) bool { return s.Name == name }) {
			return fmt.Errorf("--only %s: no system is called so; see --list", name)
		}
	}
	for _, name := range o.work {
		if !slices.ContainsFunc(work.All(), func(w work.Workload) bool { return strings.HasPrefix(w.Name, name) }) {
			return fmt.Errorf("--work %s: no workload begins so; see --list", name)
		}
	}
	if o.user == "" {
		return errors.New("--user: nobody is called so")
	}
	return nil
}

// systems are those asked for, in the order in which they are measured.
func (o *options) systems() []drive.System {
	return slices.DeleteFunc(drive.All(), func(s drive.System) bool {
		return len(o.only) > 0 && !slices.Contains(o.only, s.Name)
	})
}

// workloads are those asked for. A name stands for all that begin with it: "stat" for both of them.
func (o *options) workloads() []work.Workload {
	return slices.DeleteFunc(work.All(), func(w work.Workload) bool {
		if len(o.work) == 0 {
			return false
		}
		return !slices.ContainsFunc(o.work, func(name string) bool { return strings.HasPrefix(w.Name, name) })
	})
}

// runner is who mounts without privileges; nil: nobody is asked to.
func (o *options) runner() (*syscall.Credential, error) {
	if !o.unprivileged || os.Geteuid() != 0 {
		return nil, nil
	}
	u, err := user.Lookup(o.user)
	if err != nil {
		return nil, err
	}
	uid, err := strconv.ParseUint(u.Uid, 10, 32)
	if err != nil {
		return nil, err
	}
	gid, err := strconv.ParseUint(u.Gid, 10, 32)
	if err != nil {
		return nil, err
	}
	return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}, nil
}

// A size is a number of bytes that is written as people write it.
type size int64

func (s *size) String() string { return strings.ReplaceAll(humanize.IBytes(uint64(*s)), " ", "") }
func (s *size) Type() string   { return "size" }
func (s *size) Set(text string) error {
	n, err := humanize.ParseBytes(text)
	if err != nil || n > 1<<62 {
		return fmt.Errorf("%q is no size; write 64MiB or 1GiB", text)
	}
	*s = size(n)
	return nil
}
