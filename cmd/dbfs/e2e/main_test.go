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
	if dir := filepath.Dir(program.path); program.path != "" {
		os.RemoveAll(dir)
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

// program is the real dbfs, built when the first test wants it and without the race
// detector, as it is what times are taken of.
var program struct {
	once sync.Once
	path string
	err  error
}

func buildProgram(t *testing.T) string {
	t.Helper()
	program.once.Do(func() {
		dir, err := os.MkdirTemp("", "dbfs-e2e-bin")
		if err != nil {
			program.err = err
			return
		}
		program.path = filepath.Join(dir, "dbfs")
		out, err := exec.Command("go", "build", "-o", program.path, "github.com/dbfs/dbfs/cmd/dbfs").CombinedOutput()
		if err != nil {
			program.err = fmt.Errorf("%w\n%s", err, out)
		}
	})
	if program.err != nil {
		t.Fatal("build dbfs:", program.err)
	}
	return program.path
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
