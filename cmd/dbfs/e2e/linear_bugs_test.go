package e2e

import (
	"testing"
	"time"

	"github.com/anishathalye/porcupine"

	"github.com/dbfs/dbfs/fault"
)

// A server with a bug is found out. A history that takes the checker long is given up for
// another: one is found to be illegal within a second, or not within a minute.
func TestLogWithBugsIsNot(t *testing.T) {
	for _, bug := range []fault.Mutant{fault.BlindWrite, fault.BlindDelete, fault.RefusalsForgotten} {
		t.Run(string(bug), func(t *testing.T) {
			for run := range 12 {
				l := runLinear(t, bug)
				if porcupine.CheckOperationsTimeout(linearModel(l), l.history, 5*time.Second) == porcupine.Illegal {
					t.Logf("noticed in run %d, of %d requests", run+1, len(l.history))
					return
				}
			}
			t.Error("not noticed in 12 runs")
		})
	}
}
