package main

import (
	"context"
	"fmt"
	"runtime/debug"
	"strings"
	"sync"
	"time"

	"github.com/schollz/progressbar/v3"
	"github.com/spf13/cobra"

	"github.com/dbfs/dbfs"
	"github.com/dbfs/dbfs/cmd/dbfs/control"
	"github.com/dbfs/dbfs/cmd/dbfs/sim"
)

// debugCommand is for those who work on dbfs; help does not list it.
func debugCommand(t *tool) *cobra.Command {
	cmd := chooses(&cobra.Command{
		Use: "debug", Short: "For those who work on dbfs",
		Example: "  dbfs debug sim --histories 10000",
	}, simCommand(t), profileCommand(t))
	cmd.Hidden = true
	return cmd
}

// simFlags are those of debug sim.
type simFlags struct {
	budget sim.Budget
	trace  bool
	tables bool
}

func simCommand(t *tool) *cobra.Command {
	var flags simFlags
	cmd := &cobra.Command{
		Use:   "sim",
		Short: "Run simulated histories of several devices, and check that nothing is lost",
		Long: "Sim runs histories of several devices and servers in this process, on the real journal, syncer and\n" +
			"server, with messages, disks, clocks and power that fail. A seed decides everything that happens, so\n" +
			"that what it found can be seen again. It ends with 10 when a property of the protocol was violated.\n\n" +
			"Plans: " + strings.Join(planNames(), ", ") + ".",
		Example: "  dbfs debug sim --histories 10000           # many, as fast as this machine can\n" +
			"  dbfs debug sim --seed 149 --trace          # one, and what happens in it\n" +
			"  dbfs debug sim --plan crowd --histories 500 --json",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return t.simulate(cmd.Context(), &flags) },
	}
	f := cmd.Flags()
	f.Uint64Var(&flags.budget.First, "seed", 1, "of the first history; the others follow it")
	f.IntVar(&flags.budget.Count, "histories", 1, "how many")
	f.StringVar(&flags.budget.Plan, "plan", "", "only this sort of history (default: all in turn)")
	f.IntVar(&flags.budget.Options.Clients, "clients", 4, "devices in each, 2 to 8")
	f.IntVar(&flags.budget.Options.Steps, "steps", 120, "things that happen in each before peace")
	f.IntVar(&flags.budget.Workers, "workers", 0, "histories at a time (default: one for each processor)")
	f.IntVar(&flags.budget.Twice, "twice", 10, "run every Nth history twice, which must be the same; 0: none")
	f.BoolVar(&flags.trace, "trace", false, "write down what happens")
	f.BoolVar(&flags.tables, "tables", false, "count which cases of reconciling were met")
	return cmd
}

func planNames() []string {
	var names []string
	for _, p := range sim.Plans {
		names = append(names, fmt.Sprintf("%q", p.Name))
	}
	return names
}

// simReply is what debug sim --json prints.
type simReply struct {
	Histories  int          `json:"histories"`
	Seconds    float64      `json:"seconds"`
	Rate       float64      `json:"rate"`
	Violations []sim.Result `json:"violations"`
	Tables     []sim.Count  `json:"tables,omitempty"`
	Events     sim.Events   `json:"events,omitempty"`
	Trace      []string     `json:"trace,omitempty"`
}

func (t *tool) simulate(ctx context.Context, flags *simFlags) error {
	b := flags.budget
	if _, ok := sim.PlanOf(b.Plan, b.First); !ok {
		return control.WithHint(control.Errorf(control.ErrUsage, "there is no plan %q", b.Plan), "one of "+strings.Join(planNames(), ", "))
	}
	if b.Count < 1 || b.Options.Steps < 1 || b.Workers < 0 || b.Twice < 0 {
		return control.Errorf(control.ErrUsage, "--histories and --steps must be at least 1, --workers and --twice not negative")
	}
	b.Options.Trace = flags.trace && b.Count == 1
	debug.SetGCPercent(400) // worlds are many, small and soon gone
	bar := t.historiesBar(b.Count)
	b.Done = bar.done
	got, err := sim.Many(ctx, b)
	bar.finish()
	if err != nil {
		return err
	}
	for i := range got.Violations {
		if small, err := sim.Shrink(got.Violations[i], b.Options); err == nil && small.Violation != "" {
			got.Violations[i].Trace = small.Trace
		}
	}
	if err := t.printHistories(flags, &got); err != nil {
		return err
	}
	if n := len(got.Violations); n > 0 {
		return fmt.Errorf("%s in %d histories: %w", count(int64(n), "violation"), got.Histories, dbfs.ErrCorrupt)
	}
	return nil
}

func (t *tool) printHistories(flags *simFlags, got *sim.Report) error {
	if t.json {
		r := simReply{got.Histories, got.Took.Seconds(), got.Rate(), got.Violations, nil, nil, got.Trace}
		if flags.tables {
			r.Tables, r.Events = got.Coverage.Counts(), got.Events
		}
		if r.Violations == nil {
			r.Violations = []sim.Result{}
		}
		return t.printJSON(r)
	}
	for _, line := range got.Trace {
		t.printf("%s\n", line)
	}
	for _, v := range got.Violations {
		t.printf("seed %d, plan %q: %s: %s\n%s\n\n", v.Seed, v.Plan, v.Property, v.Violation, strings.Join(v.Trace, "\n"))
	}
	if flags.tables {
		if err := got.Coverage.Print(t.out); err != nil {
			return err
		}
		if err := got.Events.Print(t.out); err != nil {
			return err
		}
		for _, what := range append(got.Coverage.Missing(), got.Events.Missing()...) {
			t.printf("never met: %s\n", what)
		}
	}
	t.printf("%d histories, %d of them twice, in %s: %.0f/s, %d violations\n",
		got.Histories, got.Twice, got.Took.Round(time.Millisecond), got.Rate(), len(got.Violations))
	return nil
}

// historiesBar shows how many histories are done, with their rate.
type historiesBar struct {
	t   *tool
	bar *progressbar.ProgressBar // nil: none is drawn

	mu   sync.Mutex // guards what follows
	last time.Time  // when a line was written
	all  int
}

func (t *tool) historiesBar(all int) *historiesBar {
	b := &historiesBar{t: t, all: all, last: t.now()}
	if t.progress == "auto" && t.errTerm && !t.json {
		b.bar = progressbar.NewOptions(all,
			progressbar.OptionSetWriter(t.errs), progressbar.OptionThrottle(100*time.Millisecond),
			progressbar.OptionShowCount(), progressbar.OptionShowIts(), progressbar.OptionSetItsString("histories"),
			progressbar.OptionSetPredictTime(true), progressbar.OptionFullWidth(), progressbar.OptionClearOnFinish())
	}
	return b
}

func (b *historiesBar) done(n int) {
	if b.bar != nil {
		b.bar.Set(n)
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	now := b.t.now()
	if now.Sub(b.last) < time.Second {
		return
	}
	b.last = now
	switch b.t.progress {
	case "json":
		fmt.Fprintf(b.t.errs, `{"phase":"histories","done":%d,"total":%d}`+"\n", n, b.all)
	case "plain":
		fmt.Fprintf(b.t.errs, "%d of %d histories\n", n, b.all)
	}
}

func (b *historiesBar) finish() {
	if b.bar != nil {
		b.bar.Finish()
	}
}
