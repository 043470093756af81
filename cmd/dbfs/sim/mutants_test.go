//go:build faults

package sim

import (
	"fmt"
	"os/exec"
	"strings"
	"testing"

	"github.com/dbfs/dbfs/fault"
)

// mutants are the bugs that histories must notice, and how many it may take at most.
var mutants = []struct {
	bug  fault.Mutant
	most int
}{
	{fault.DeleteBeatsEdit, 1000},
	{fault.BlindWrite, 1000},
	{fault.BlindDelete, 3000},
	{fault.LinksOrphaned, 3000},
	{fault.RefusalsForgotten, 3000},
	{fault.NewSeqOnRetry, 1000},
	{fault.AdoptOwn, 6000},
	{fault.NotFollowed, 3000},
	{fault.SaveReplaces, 1000},
	{fault.SelfUnresolved, 1000},
	{fault.NoCycleCheck, 1000},
	{fault.HintBeforeCommit, 3000},
	{fault.PollBlind, 1000},
	{fault.SpellingsApart, 1000},
	{fault.EvictPinned, 1000},
	{fault.BatchNotSynced, 6000},
	{fault.CopyNotAwaited, 1000},
	{fault.HoldsIgnored, 3000},
}

// Every bug that is put in is noticed, in a number of histories that the log tells. None of them
// violates anything without it.
func TestMutants(t *testing.T) {
	for _, m := range mutants {
		t.Run(string(m.bug), func(t *testing.T) {
			fault.Switch(m.bug)
			defer fault.Switch("")
			got, err := Many(t.Context(), Budget{First: 1, Count: m.most, Enough: 1})
			if err != nil {
				t.Fatal(err)
			}
			if len(got.Violations) == 0 {
				t.Fatalf("not noticed in %d histories", m.most)
			}
			v := got.Violations[0]
			text, _, _ := strings.Cut(v.Violation, "\n")
			t.Logf("noticed by seed %d (%s): %s: %s", v.Seed, v.Plan, v.Property, text)
			fault.Switch("")
			plan, _ := PlanOf("", v.Seed)
			run(t, v.Seed, plan)
		})
	}
}

// Bugs of what histories do not reach are noticed by other suites.
func TestMutantsElsewhere(t *testing.T) {
	for _, m := range []struct {
		bug     fault.Mutant
		suite   string
		pattern string
	}{
		{fault.UnverifiedShared, "remote/server", "^TestWhatAnotherUploadedIsVerified$"},
		{fault.ProofUnchecked, "remote/server", "^TestProofs$"},
		{fault.DeltaFast, "remote", "^TestDeltaSizes$"},
	} {
		t.Run(string(m.bug), func(t *testing.T) {
			for _, on := range []bool{false, true} {
				cmd := exec.CommandContext(t.Context(), "go", "test", "-count=1", "-tags", "faults", "-run", m.pattern, "github.com/dbfs/dbfs/"+m.suite)
				cmd.Env = append(cmd.Environ(), "DBFS_BUG=")
				if on {
					cmd.Env = append(cmd.Env, fmt.Sprintf("DBFS_BUG=%s", m.bug))
				}
				out, err := cmd.CombinedOutput()
				switch failed := strings.Contains(string(out), "--- FAIL"); {
				case !on && err != nil:
					t.Fatalf("%s fails without the bug: %v\n%s", m.suite, err, out)
				case on && !failed:
					t.Errorf("%s does not notice: %v\n%s", m.suite, err, out)
				case on:
					t.Logf("noticed by %s", m.suite)
				}
			}
		})
	}
}
