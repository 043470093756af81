package fs

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// Who lists a directory, or looks a name up, while a file there is closed must not be told the size that
// the file had before: the kernel would believe it, and cut off what it has of the bytes written.
func TestSizeIsNeverOfBefore(t *testing.T) {
	d := newDrive(t)
	until := time.Now().Add(2 * time.Second)
	var stop atomic.Bool
	var others, writers sync.WaitGroup
	others.Go(func() { // every new name makes the kernel ask for the listing again
		for i := 0; !stop.Load(); i++ {
			from, to := d.path(fmt.Sprint("name", i)), d.path(fmt.Sprint("name", i+1))
			if i == 0 {
				os.WriteFile(from, nil, 0o644)
			}
			if err := os.Rename(from, to); err != nil {
				t.Error(err)
				return
			}
			os.ReadDir(d.path(""))
		}
	})
	for w := range 3 {
		writers.Go(func() {
			rng := rand.New(rand.NewPCG(1, uint64(w)))
			name := d.path(fmt.Sprint("file", w))
			for i := 0; time.Now().Before(until) && !t.Failed(); i++ {
				want := bytes.Repeat([]byte{byte(1 + i%250)}, 100+rng.IntN(100_000))
				if err := overwrite(name, want); err != nil {
					t.Error(err)
					return
				}
				if got, err := os.ReadFile(name); err != nil || !bytes.Equal(got, want) {
					t.Errorf("version %d of %s: written were %s, read is %s, %v", i, name, brief(string(want)), brief(string(got)), err)
				}
			}
		})
	}
	writers.Wait()
	stop.Store(true)
	others.Wait()
}

// overwrite writes over a file from its beginning, and cuts off what is left of it.
func overwrite(name string, b []byte) error {
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE, 0o644)
	if err != nil {
		return err
	}
	defer f.Close()
	if _, err := f.Write(b); err != nil {
		return err
	}
	return f.Truncate(int64(len(b)))
}
