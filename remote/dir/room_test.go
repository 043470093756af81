package dir

import (
	"errors"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/dbfs/dbfs"
)

// A store never takes the last of a disk, and says so before anything is written.
func TestRoomIsLeftForOthers(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can mount the small disk that this wants")
	}
	small := t.TempDir()
	if err := unix.Mount("dbfs-test", small, "tmpfs", 0, "size=200m"); err != nil {
		t.Skipf("a tmpfs cannot be mounted here: %v", err)
	}
	defer unix.Unmount(small, unix.MNT_DETACH)
	s, err := Open(small)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if err := s.Put(t.Context(), "c/00/first", make([]byte, 10<<20)); err != nil {
		t.Fatalf("with 200 MiB free: %v", err)
	}
	if err := s.Put(t.Context(), "c/00/second", make([]byte, 1)); !errors.Is(err, dbfs.ErrOffline) || !strings.Contains(err.Error(), "no space") {
		t.Fatalf("with 190 MiB free: %v, want no space and ErrOffline: clients try again", err)
	}
	if err := s.Delete(t.Context(), "c/00/first"); err != nil {
		t.Fatal(err)
	}
	if err := s.Put(t.Context(), "c/00/second", make([]byte, 1)); err != nil {
		t.Fatalf("with room again: %v", err)
	}
}
