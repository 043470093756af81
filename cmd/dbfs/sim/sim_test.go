package sim

import (
	"errors"
	"flag"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/dbfs/dbfs"
)

var (
	firstSeed = flag.Uint64("seed", 1, "of the first history")
	histories = flag.Int("histories", 240, "how many")
	planName  = flag.String("plan", "", "only this sort")
	twiceFor  = flag.Duration("twice-for", 0, "run none twice any more after so long; 0: each to the end")
	complete  = flag.Bool("complete", false, "fail if a cell of the tables was never met")
)

// regressions are histories that once showed a bug.
var regressions = []struct {
	plan string
	seed uint64
	what string
}{
	{"offline", 149, "a batch was sent that a loss of power took back, and what was written then passed for it"},
	{"lone resets", 13173, "a move that the server had taken counted as others', and the next one was dropped"},
	{"full", 373, "likewise"},
	{"offline", 917, "likewise"},
}

func TestRegressions(t *testing.T) {
	for _, r := range regressions {
		plan, ok := PlanOf(r.plan, r.seed)
		if !ok {
			t.Fatalf("there is no plan %q", r.plan)
		}
		run(t, r.seed, plan)
	}
}

// run runs a history, which must end well.
func run(t *testing.T, seed uint64, plan Plan) Result {
	t.Helper()
	r, err := Run(seed, plan, Options{})
	if err != nil {
		t.Fatal(err)
	}
	if r.Violation != "" {
		report(t, r)
	}
	return r
}

// report fails a test with a history, as small as it can be made.
func report(t *testing.T, r Result) {
	t.Helper()
	t.Errorf("seed %d, plan %q: %s: %s", r.Seed, r.Plan, r.Property, r.Violation)
	small, err := Shrink(r, Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("it went like this:\n%s\n%s: %s\nTo see it again: dbfs debug sim --seed %d --plan %q --trace", strings.Join(small.Trace, "\n"), small.Property, small.Violation, r.Seed, r.Plan)
}

// TestHistories runs the standard budget, or as much of it as the flags say:
//
//	go test ./cmd/dbfs/sim -run Histories -histories 100000 -complete -v -timeout 1h
func TestHistories(t *testing.T) {
	last := time.Now()
	got, err := Many(t.Context(), Budget{
		First: *firstSeed, Count: *histories, Plan: *planName, Twice: 1, TwiceFor: *twiceFor,
		Done: func(n int) {
			if testing.Verbose() && time.Since(last) > 10*time.Second {
				last = time.Now()
				t.Logf("%d of %d", n, *histories)
			}
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	for i, r := range got.Violations {
		if i < 3 {
			report(t, r)
		} else {
			t.Errorf("seed %d, plan %q: %s: %s", r.Seed, r.Plan, r.Property, r.Violation)
		}
	}
	var b strings.Builder
	if err := got.Coverage.Print(&b); err != nil {
		t.Fatal(err)
	}
	if err := got.Events.Print(&b); err != nil {
		t.Fatal(err)
	}
	t.Logf("%d histories of 4 clients and %d steps, %d of them twice, in %v: %.0f/s, %d violations\n%s",
		got.Histories, defaultSteps, got.Twice, got.Took.Round(time.Millisecond), got.Rate(), len(got.Violations), &b)
	missing := append(got.Coverage.Missing(), got.Events.Missing()...)
	if len(missing) > 0 {
		t.Logf("never met: %s", strings.Join(missing, "; "))
	}
	if *complete && len(missing) > 0 {
		t.Errorf("%d cells of the tables were never met", len(missing))
	}
}

// Equal seeds make equal histories, line by line.
func TestRunTwice(t *testing.T) {
	for _, plan := range Plans {
		one, err := Run(7, plan, Options{Trace: true})
		if err != nil {
			t.Fatal(err)
		}
		two, err := Run(7, plan, Options{Trace: true})
		if err != nil {
			t.Fatal(err)
		}
		if one.Hash != two.Hash {
			t.Errorf("plan %q: run twice, it went two ways", plan.Name)
		}
		for i := range min(len(one.Trace), len(two.Trace)) {
			if one.Trace[i] != two.Trace[i] {
				t.Errorf("plan %q, line %d: first\n%s\nthen\n%s", plan.Name, i, one.Trace[i], two.Trace[i])
				break
			}
		}
		if !slices.ContainsFunc(one.Trace, func(s string) bool { return strings.Contains(s, "creates") || strings.Contains(s, "makes") }) {
			t.Errorf("plan %q: nobody did anything", plan.Name)
		}
	}
}

func TestClients(t *testing.T) {
	for _, n := range []int{2, 3, 8} {
		r, err := Run(1, Plans[0], Options{Clients: n, Steps: 60})
		if err != nil || r.Violation != "" {
			t.Errorf("%d clients: %v %s", n, err, r.Violation)
		}
	}
	for _, n := range []int{-1, 1, 9} {
		if _, err := Run(1, Plans[0], Options{Clients: n}); !errors.Is(err, dbfs.ErrInvalid) {
			t.Errorf("%d clients: %v", n, err)
		}
	}
}
