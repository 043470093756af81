package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dbfs/dbfs/scripts/benchmark/drive"
	"github.com/dbfs/dbfs/scripts/benchmark/report"
	"github.com/dbfs/dbfs/scripts/benchmark/work"
)

// A bench is one invocation.
type bench struct {
	*options
	site    *drive.Site
	program string // this one, where other users may run it
	source  work.Tree
	results *report.Results
	screen  *screen

	over map[string]bool // "system work": it was too slow once, and is not tried again
}

func newBench(ctx context.Context, o *options) (*bench, error) {
	if o.scratch == "" {
		return nil, errors.New("no --scratch: start it by scripts/bench")
	}
	runner, err := o.runner()
	if err != nil {
		return nil, err
	}
	b := &bench{options: o, screen: newScreen(os.Stderr), over: map[string]bool{}}
	b.site = &drive.Site{
		Scratch: o.scratch, Tools: o.tools, Runner: runner, Objects: o.objects,
		Endpoint: os.Getenv("DBFS_TEST_S3"), Bucket: os.Getenv("DBFS_TEST_S3_BUCKET"), Region: os.Getenv("AWS_REGION"),
		Key: os.Getenv("AWS_ACCESS_KEY_ID"), Secret: os.Getenv("AWS_SECRET_ACCESS_KEY"),
	}
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	// The repository may be where other users cannot go.
	programs := filepath.Join(o.scratch, "bin")
	if err := os.MkdirAll(programs, 0o755); err != nil {
		return nil, err
	}
	for from, to := range map[string]*string{self: &b.program, o.dbfs: &b.site.Dbfs, o.loopback: &b.site.Loopback} {
		if from == "" {
			continue
		}
		*to = filepath.Join(programs, filepath.Base(from))
		if err := copyProgram(from, *to); err != nil {
			return nil, err
		}
	}
	b.results = report.New()
	b.results.Command = strings.Join(append([]string{"scripts/bench"}, visibleArgs(os.Args[1:])...), " ")
	b.results.Runs = o.runs
	b.results.Plain = os.Geteuid() != 0
	b.results.Machine = thisMachine(o.scratch)
	return b, nil
}

func copyProgram(from, to string) error {
	b, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	return os.WriteFile(to, b, 0o755)
}

// visibleArgs leaves out what scripts/bench adds, which is about this machine's directories.
func visibleArgs(args []string) []string {
	var kept []string
	for _, a := range args {
		name, _, _ := strings.Cut(a, "=")
		switch name {
		case "--scratch", "--tools", "--dbfs-program", "--loopback-program", "--objects":
		default:
			kept = append(kept, a)
		}
	}
	return kept
}

// all measures every system with every workload, system after system, as often as was asked for. So what
// changes on the machine meanwhile changes for all of them.
func (b *bench) all(ctx context.Context) error {
	if err := b.pack(ctx); err != nil {
		return err
	}
	var present []drive.System
	for _, s := range b.systems() {
		kept := report.System{Name: s.Name, About: s.About, Missing: s.Missing(b.site)}
		if kept.Missing == "" {
			kept.Version = s.Version(b.site)
			present = append(present, s)
		} else {
			b.screen.say("%s is not measured: %s", s.Name, kept.Missing)
		}
		b.results.Systems = append(b.results.Systems, kept)
	}
	b.describe()
	for run := 1; run <= b.runs; run++ {
		for _, s := range present {
			if err := b.one(ctx, run, s); err != nil {
				return err
			}
		}
		if !b.scale {
			continue
		}
		for _, s := range present {
			if err := b.grow(ctx, run, s); err != nil {
				return err
			}
		}
	}
	return nil
}

// pack makes the archive of the source tree, if any workload wants it.
func (b *bench) pack(ctx context.Context) (err error) {
	for _, w := range b.workloads() {
		if w.Group != "tree" {
			continue
		}
		if b.tree == "" {
			return errors.New("no source tree: there is no Go on the PATH, and no --tree")
		}
		b.source, err = work.Pack(ctx, b.tree, filepath.Join(b.scratch, "tree.tar"))
		return err
	}
	return nil
}

// task is what the workloads are run with.
func (b *bench) task(dir string) work.Task {
	return work.Task{Dir: dir, Size: int64(b.size), Ops: b.ops, Files: b.files, Commits: b.commits,
		Changes: b.changes, Patience: min(20*time.Second, b.limit/2), Tree: b.source}
}

// describe enters the workloads in the results.
func (b *bench) describe() {
	t := b.task("")
	for _, w := range work.All() {
		b.results.Works = append(b.results.Works, report.Work{Name: w.Name, Title: w.Title, Amount: w.Amount(t), Unit: w.Unit,
			Base: w.Base, Goal: w.Goal, Per: growth(w)})
	}
}

// one starts a system, does all workloads, and stops it. Its failures are results; an
// error is one of the benchmark, or an interrupt.
func (b *bench) one(ctx context.Context, run int, s drive.System) error {
	dir := filepath.Join(b.scratch, fmt.Sprintf("run%d", run), s.Name)
	return b.with(ctx, s, dir, func(d drive.Drive) error {
		skip := map[string]string{} // by group: why
		for _, w := range b.workloads() {
			b.screen.step("run %d of %d  %s  %s", run, b.runs, s.Name, w.Name)
			m := report.Measure{Run: run, System: s.Name, Work: w.Name}
			err := b.measure(ctx, d, w, b.task(filepath.Join(d.Path(), "work")), b.limit, skip, &m)
			if err != nil {
				return err
			}
		}
		return nil
	}, func(err error) {
		b.screen.say("%s cannot be started: %v", s.Name, err)
		for _, w := range b.workloads() {
			b.results.Measures = append(b.results.Measures,
				report.Measure{Run: run, System: s.Name, Work: w.Name, Failed: "start: " + err.Error()})
		}
	})
}

// with starts a system for fn and stops it afterwards, also after an interrupt.
func (b *bench) with(ctx context.Context, s drive.System, dir string, fn func(drive.Drive) error, failed func(error)) error {
	if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil {
		return err
	}
	b.screen.step("%s  starts", s.Name)
	d, err := s.Start(ctx, b.site, dir)
	if ctx.Err() != nil {
		err = errors.Join(context.Cause(ctx), err)
		if d != nil {
			err = errors.Join(err, d.Stop())
		}
		return err
	}
	if err != nil {
		failed(err)
		return nil
	}
	err = fn(d)
	if stopped := d.Stop(); stopped != nil {
		b.screen.say("%s: %v", s.Name, stopped)
	}
	return err
}

// measure does one workload and records what came of it. skip says of a group why the rest of it is not tried:
// its files could not be made, or the drive hangs.
func (b *bench) measure(ctx context.Context, d drive.Drive, w work.Workload, t work.Task, limit time.Duration, skip map[string]string, m *report.Measure) error {
	key := m.System + " " + w.Name
	if b.over[key] && m.Grown == 0 {
		return nil
	}
	if why := skip[w.Group]; why != "" {
		m.Failed = "not tried: " + why + " failed"
		b.results.Measures = append(b.results.Measures, *m)
		return nil
	}
	watch := drive.Look(d.PIDs)
	a, err := b.try(ctx, d, w, t, limit)
	m.Peak = watch.Peak()
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case errors.Is(err, drive.ErrNone):
		return nil // it has no meaning there
	case err != nil:
		m.Failed = err.Error()
		b.over[key] = b.over[key] || errors.Is(err, errLate)
		if w.Makes {
			skip[w.Group] = w.Name
		}
	default:
		m.Seconds, m.Samples = a.Seconds, a.Samples
	}
	b.record(*m)
	if errors.Is(err, errStuck) {
		for _, other := range work.All() {
			skip[other.Group] = w.Name
		}
	}
	return nil
}

func (b *bench) record(m report.Measure) {
	b.results.Measures = append(b.results.Measures, m)
	at := ""
	if m.Grown > 0 {
		at = fmt.Sprintf(" at %d", m.Grown)
	}
	if m.Failed != "" {
		b.screen.say("%-16s %-20s%s  %s", m.System, m.Work, at, report.Line(m.Failed))
		return
	}
	b.screen.say("%-16s %-20s%s  %8.3f s", m.System, m.Work, at, m.Seconds)
}

// try prepares, runs and checks a workload.
func (b *bench) try(ctx context.Context, d drive.Drive, w work.Workload, t work.Task, limit time.Duration) (a answer, err error) {
	if w.State == work.Dropped && !w.Pages && os.Geteuid() != 0 {
		return a, errors.New("only root can have names and attributes forgotten")
	}
	if w.State == work.Cold && !d.Stored() {
		return a, drive.ErrNone
	}
	if w.Pair {
		other, err := d.Again(ctx)
		if err != nil {
			return a, err
		}
		defer func() {
			if stopped := other.Stop(); stopped != nil {
				b.screen.say("the second mount: %v", stopped)
			}
		}()
		t.Other = filepath.Join(other.Path(), "work")
	}
	p, err := startWorker(b.program, d.User(), order{Work: w.Name, Task: t})
	if err != nil {
		return a, err
	}
	defer func() {
		if ended := p.end(); ended != nil {
			err = errors.Join(err, ended)
		}
	}()
	if _, err = p.hear(ctx, 2*limit, "prepare"); err != nil {
		return a, err
	}
	if err = b.bring(ctx, d, w.State); err != nil {
		return a, err
	}
	if err = p.in.Encode("go"); err != nil {
		return a, err
	}
	if a, err = p.hear(ctx, limit, "run"); err != nil {
		return a, err
	}
	_, err = p.hear(ctx, 2*limit, "check")
	return a, err
}

// bring brings drive and kernel into the state in which a run begins: with nothing on its way, and nothing unwritten.
func (b *bench) bring(ctx context.Context, d drive.Drive, state work.State) error {
	if err := d.Settle(ctx); err != nil {
		return fmt.Errorf("settle: %w", err)
	}
	if state == work.Cold {
		if err := d.Forget(ctx); err != nil {
			return fmt.Errorf("forget: %w", err)
		}
	}
	unix.Sync()
	if (state == work.Cold || state == work.Dropped) && os.Geteuid() == 0 {
		return dropCaches()
	}
	return nil
}

// dropCaches has the kernel forget pages, names and attributes of everything.
func dropCaches() error {
	if err := os.WriteFile("/proc/sys/vm/drop_caches", []byte("3\n"), 0o200); err != nil {
		return fmt.Errorf("drop caches: %w", err)
	}
	return nil
}
