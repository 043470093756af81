package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
)

func TestMain(m *testing.M) {
	if why := cannotMount(); why != "" {
		fmt.Println("e2e: every test is skipped:", why)
		return
	}
	code := m.Run()
	for _, p := range []*program{&plain, &faulty} {
		if p.path != "" {
			os.RemoveAll(filepath.Dir(p.path))
		}
	}
	os.Exit(code)
}

// cannotMount says why there can be no mounts here; "" if there can.
func cannotMount() string {
	if os.Geteuid() != 0 {
		return "needs root, to mount without a helper"
	}
	if _, err := os.Stat("/dev/fuse"); err != nil {
		return "needs /dev/fuse: " + err.Error()
	}
	return ""
}

// A program is the real dbfs, built when the first test wants it and without the race
// detector, as it is what times are taken of.
type program struct {
	tags string

	once sync.Once
	path string
	err  error
}

// The program as users have it, and the one that dies where a test wants it to.
var (
	plain  program
	faulty = program{tags: "faults"}
)

func (p *program) build(t *testing.T) string {
	t.Helper()
	p.once.Do(func() {
		dir, err := os.MkdirTemp("", "dbfs-e2e-bin")
		if err != nil {
			p.err = err
			return
		}
		p.path = filepath.Join(dir, "dbfs")
		out, err := exec.Command("go", "build", "-tags", p.tags, "-o", p.path, "github.com/dbfs/dbfs/cmd/dbfs").CombinedOutput()
		if err != nil {
			p.err = fmt.Errorf("%w\n%s", err, out)
		}
	})
	if p.err != nil {
		t.Fatal("build dbfs:", p.err)
	}
	return p.path
}

// tempDir makes a directory whose path is short enough for a socket's.
func tempDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "dbfs-e2e")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	return dir
}
