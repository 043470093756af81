package e2e

import (
	"testing"
	"time"

	"github.com/anishathalye/porcupine"

	"github.com/dbfs/dbfs/fault"
)

// A server with a bug is found out.
func TestLogWithBugsIsNot(t *testing.T) {
	for _, bug := range []fault.Mutant{fault.BlindWrite, fault.BlindDelete, fault.RefusalsForgotten} {
		t.Run(string(bug), func(t *testing.T) {
			for run := range 5 {
				l := runLinear(t, bug)
				if porcupine.CheckOperationsTimeout(linearModel(l), l.history, time.Minute) == porcupine.Illegal {
					t.Logf("noticed in run %d, of %d requests", run+1, len(l.history))
					return
				}
			}
			t.Error("not noticed in 5 runs")
		})
	}
}
