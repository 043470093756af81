package main

import (
	"math"
	"runtime"
	"runtime/debug"
	"testing"
	"time"

	"github.com/dbfs/dbfs/cmd/dbfs/daemon"
)

func TestMemoryLimitLeavesRoom(t *testing.T) {
	t.Setenv("GOMEMLIMIT", "")
	before := debug.SetMemoryLimit(-1)
	t.Cleanup(func() { debug.SetMemoryLimit(before) })
	limitMemory(t.Context(), daemon.Settings{})
	eventually := func(what string, least, most int64) {
		t.Helper()
		limit := int64(0)
		for range 50 {
			runtime.GC()
			if limit = debug.SetMemoryLimit(-1); limit >= least && limit <= most {
				return
			}
			time.Sleep(100 * time.Millisecond)
		}
		t.Fatalf("%s: the limit is %d MiB, want %d to %d", what, limit>>20, least>>20, most>>20)
	}
	eventually("at first", memoryLimit, memoryLimit)
	held := make([]byte, 2*memoryLimit)
	eventually("with much held", int64(len(held))+garbageRoom, math.MaxInt64-1)
	runtime.KeepAlive(held)
	eventually("when it has been let go", memoryLimit, memoryLimit)
}
