package cache

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/dbfs/dbfs"
)

// On a full disk Badger, which begins files at once and writes them through memory maps, would end the process by a signal.
func TestKVIsNotOpenedOnAFullDisk(t *testing.T) {
	disk := t.TempDir()
	if err := unix.Mount("tmpfs", disk, "tmpfs", 0, "size=160m"); err != nil {
		t.Skip("there is no small disk here:", err)
	}
	defer unix.Unmount(disk, unix.MNT_DETACH)
	dir, fill := filepath.Join(disk, "kv"), filepath.Join(disk, "fill")
	k := openKV(t, dir)
	if err := k.Update(func(txn dbfs.Txn) error { return txn.Set([]byte("k"), []byte("v")) }); err != nil {
		t.Fatal(err)
	}
	if err := k.Close(); err != nil {
		t.Fatal(err)
	}
	f, err := os.Create(fill)
	if err != nil {
		t.Fatal(err)
	}
	for err == nil {
		_, err = f.Write(zeros[:4096])
	}
	f.Close()
	if !errors.Is(err, unix.ENOSPC) {
		t.Fatal(err)
	}
	if k, err := OpenKV(dir, KVOptions{}); !errors.Is(err, dbfs.ErrNoSpace) {
		if err == nil {
			k.Close()
		}
		t.Errorf("open on a full disk: %v, want ErrNoSpace", err)
	}
	if err := os.Remove(fill); err != nil {
		t.Fatal(err)
	}
	k = openKV(t, dir)
	defer k.Close()
	err = k.View(func(txn dbfs.Txn) error {
		_, err := txn.Get([]byte("k"))
		return err
	})
	if err != nil {
		t.Error(err)
	}
}
