package fs

import (
	"maps"
	"os"
	"slices"
	"testing"

	"github.com/hanwen/go-fuse/v2/posixtest"
)

// notPosix are the tests of posixtest that a drive does not pass, and why.
var notPosix = map[string]string{
	// Our own tests of locks use two processes.
	"FcntlFlockLocksFile": "it wants a process's POSIX locks to keep the process itself out, which they never do",
}

func TestPosix(t *testing.T) {
	d := newDrive(t)
	for _, name := range slices.Sorted(maps.Keys(posixtest.All)) {
		t.Run(name, func(t *testing.T) {
			if why := notPosix[name]; why != "" {
				t.Skip(why)
			}
			d.must(os.Mkdir(d.path(name), 0o755))
			posixtest.All[name](t, d.path(name))
		})
	}
}
