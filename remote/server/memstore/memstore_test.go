package memstore

import (
	"math/rand/v2"
	"testing"

	"github.com/dbfs/dbfs/remote/server"
	"github.com/dbfs/dbfs/remote/server/storetest"
)

func TestStore(t *testing.T) {
	storetest.Run(t, func(*testing.T) server.Store { return New() })
}

// With conflicts every Update's fn runs several times; nothing else may differ.
func TestStoreWithConflicts(t *testing.T) {
	storetest.Run(t, func(*testing.T) server.Store {
		s := New()
		r := rand.New(rand.NewPCG(1, 2))
		s.Conflict = func() bool { return r.IntN(3) > 0 }
		return s
	})
}
