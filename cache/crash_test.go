package cache

import (
	"os"
	"os/exec"
	"syscall"
	"testing"
)

// child runs fn in another process, which then dies by SIGKILL, and returns when it is
// dead. The other process runs the same test up to here, with the same testDir.
func child(t *testing.T, dir string, fn func()) {
	t.Helper()
	if os.Getenv("CACHE_TEST_CHILD") == t.Name() {
		fn()
		syscall.Kill(os.Getpid(), syscall.SIGKILL)
		select {}
	}
	cmd := exec.Command(os.Args[0], "-test.run=^"+t.Name()+"$", "-test.timeout=60s")
	cmd.Env = append(os.Environ(), "CACHE_TEST_CHILD="+t.Name(), "CACHE_TEST_DIR="+dir)
	out, err := cmd.CombinedOutput()
	state, ok := cmd.ProcessState.Sys().(syscall.WaitStatus)
	if !ok || !state.Signaled() || state.Signal() != syscall.SIGKILL {
		t.Fatalf("child: %v\n%s", err, out)
	}
}

// testDir is a directory of the test that a child shares with its parent.
func testDir(t *testing.T) string {
	if dir := os.Getenv("CACHE_TEST_DIR"); dir != "" {
		return dir
	}
	return t.TempDir()
}
