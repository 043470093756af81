//go:build faults

package server_test

import (
	"testing"

	"github.com/dbfs/dbfs/fault"
)

// Every bug that garbage collection is known to be prone to is noticed.
func TestCollectMutants(t *testing.T) {
	const most = 3000 // histories
	for _, bug := range []fault.Mutant{
		fault.CollectAtOnce, fault.CollectEarly, fault.NoTouchBeforeRevive, fault.CopyUntouched, fault.HoldsIgnored, fault.ObjectNamesReused, fault.NoGrace,
	} {
		t.Run(string(bug), func(t *testing.T) {
			fault.Switch(bug)
			defer fault.Switch("")
			for seed := range uint64(most) {
				if _, err := runYard(t.Context(), seed, yardSteps); err != nil {
					t.Logf("noticed after %d histories: %v", seed+1, err)
					return
				}
			}
			t.Errorf("not noticed in %d histories", most)
		})
	}
}
