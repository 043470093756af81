package main

import (
	"context"
	"os"
	"runtime/debug"
	"runtime/metrics"
	"time"

	"github.com/dbfs/dbfs/cmd/dbfs/daemon"
)

// What the daemon's memory is kept below, in bytes, by collecting garbage as often as that takes: about
// twice what it holds while it syncs without rest.
const (
	memoryLimit         = 96 << 20
	embeddedMemoryLimit = 160 << 20 // with a server inside
)

// garbageRoom is how much garbage there may be, in bytes, however much is held: with what 30,000 unsent files and
// their index take, the limit left so little of it that half of the processor's time went into collecting.
const garbageRoom = 48 << 20

// limitMemory keeps the limit, until ctx ends, where it is or above what is held, by that room.
func limitMemory(ctx context.Context, s daemon.Settings) {
	limit := int64(memoryLimit)
	switch {
	case os.Getenv("GOMEMLIMIT") != "": // somebody knows better
		return
	case s.Server == daemon.Embedded:
		limit = embeddedMemoryLimit
	}
	debug.SetMemoryLimit(limit)
	go func() {
		const step = 8 << 20 // each change stops the program for a moment
		for set := limit; ; {
			select {
			case <-ctx.Done():
				return
			case <-time.After(time.Second):
			}
			if want := max(limit, (heldMemory()+garbageRoom)/step*step); want != set {
				debug.SetMemoryLimit(want)
				set = want
			}
		}
	}()
}

// heldMemory returns the bytes that the last collection left, and what the runtime needs beside the heap. That is what
// its limit is compared with, but for the garbage since.
func heldMemory() int64 {
	const live, all, freed = "/gc/heap/live:bytes", "/memory/classes/total:bytes", "/memory/classes/heap/released:bytes"
	const objects, unused, free = "/memory/classes/heap/objects:bytes", "/memory/classes/heap/unused:bytes", "/memory/classes/heap/free:bytes"
	samples := []metrics.Sample{{Name: live}, {Name: all}, {Name: freed}, {Name: objects}, {Name: unused}, {Name: free}}
	metrics.Read(samples)
	held := samples[0].Value.Uint64() + samples[1].Value.Uint64()
	for _, heap := range samples[2:] {
		held -= heap.Value.Uint64()
	}
	return int64(held)
}
