package control

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// A daemon that is stopped, or stuck, holds its socket open: the kernel still accepts.
func TestSilentDaemonIsGivenUp(t *testing.T) {
	dir, err := os.MkdirTemp("", "dbfs")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	ln, err := Listen(filepath.Join(dir, "s"))
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	client := NewClient(filepath.Join(dir, "s"))
	client.patience = 50 * time.Millisecond

	_, unary := client.Status(t.Context())
	streamed := client.List(t.Context(), ListRequest{Path: "/"}, func(*FileStatus) error { return nil })
	for _, err := range []error{unary, streamed} {
		if !errors.Is(err, ErrNoDaemon) || errors.Is(err, context.Canceled) {
			t.Errorf("got %v, want ErrNoDaemon", err)
		}
	}
}
