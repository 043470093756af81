package work

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
)

// The small files are 4 KiB each, a hundred in a directory. A file is noise that begins
// with its number, so that no two are the same.
const (
	smallSize = 4 << 10
	perDir    = 100
)

func small() []Workload {
	files := func(t Task) float64 { return float64(t.Files) }
	return []Workload{
		{Name: "create", Makes: true, Title: "create files of 4 KiB", Group: "small", Goal: 0.35, Unit: "files",
			Amount: files, Setup: removeSmall, Run: createSmall, Check: checkSmall},
		{Name: "stat-dropped", Title: "stat them all, caches dropped", Group: "small", State: Dropped, Goal: 0.60, Unit: "files",
			Amount: files, Setup: ensureSmall, Run: statSmall},
		{Name: "stat-warm", Title: "stat them all, warm", Group: "small", State: Warm, Goal: 0.60, Unit: "files",
			Amount: files, Setup: after(ensureSmall, statSmall), Run: statSmall},
		{Name: "list", Title: "list their directories", Group: "small", State: Warm, Unit: "files",
			Amount: files, Setup: after(ensureSmall, listSmall), Run: listSmall},
		{Name: "read-small", Title: "read them all, warm", Group: "small", State: Warm, Goal: 0.50, Unit: "files",
			Amount: files, Setup: after(ensureSmall, readSmall), Run: readSmall},
		{Name: "remove", Title: "remove them", Group: "small", Goal: 0.45, Unit: "files",
			Amount: files, Setup: ensureSmall, Run: unlinkSmall, Check: checkGone},
	}
}

// after makes a preparation of one, and a first run.
func after(setup func(Task) error, run func(Task, *Meter) error) func(Task) error {
	return func(t Task) error {
		if err := setup(t); err != nil {
			return err
		}
		return run(t, nil)
	}
}

func smallDir(t Task, d int) string { return t.at("small", fmt.Sprintf("d%05d", d)) }

func smallName(t Task, i int) string {
	return filepath.Join(smallDir(t, i/perDir), fmt.Sprintf("f%07d", i))
}

func smallDirs(t Task) int { return (t.Files + perDir - 1) / perDir }

func removeSmall(t Task) error { return os.RemoveAll(t.at("small")) }

func createSmall(t Task, _ *Meter) error {
	if err := os.MkdirAll(t.at("small"), 0o755); err != nil {
		return err
	}
	b := bytes.Clone(noise()[:smallSize])
	for i := range t.Files {
		if i%perDir == 0 {
			if err := os.Mkdir(smallDir(t, i/perDir), 0o755); err != nil {
				return err
			}
		}
		binary.LittleEndian.PutUint64(b, uint64(i))
		if err := os.WriteFile(smallName(t, i), b, 0o644); err != nil {
			return err
		}
	}
	return nil
}

// ensureSmall makes the files where the work before has not left all of them.
func ensureSmall(t Task) error {
	if exists(smallName(t, t.Files-1)) && exists(smallName(t, 0)) {
		return nil
	}
	if err := removeSmall(t); err != nil {
		return err
	}
	return createSmall(t, nil)
}

// checkSmall looks for every name, and for the bytes of every hundredth file.
func checkSmall(t Task) error {
	if err := listSmall(t, nil); err != nil {
		return err
	}
	for i := 0; i < t.Files; i += perDir {
		if err := checkFile(t, i, make([]byte, smallSize)); err != nil {
			return err
		}
	}
	return nil
}

// checkFile reads a file, which takes a buffer of its size, and compares it.
func checkFile(t Task, i int, b []byte) error {
	f, err := os.Open(smallName(t, i))
	if err != nil {
		return err
	}
	defer f.Close()
	if _, err := io.ReadFull(f, b); err != nil {
		return fmt.Errorf("%s: %w", f.Name(), err)
	}
	if got := binary.LittleEndian.Uint64(b); got != uint64(i) {
		return fmt.Errorf("%s says that it is file %d", f.Name(), got)
	}
	if !bytes.Equal(b[8:], noise()[8:smallSize]) {
		return fmt.Errorf("%s holds other bytes than were written", f.Name())
	}
	return nil
}

func statSmall(t Task, _ *Meter) error {
	for i := range t.Files {
		info, err := os.Lstat(smallName(t, i))
		if err != nil {
			return err
		}
		if info.Size() != smallSize || !info.Mode().IsRegular() {
			return fmt.Errorf("%s is shown with %d bytes and mode %v", smallName(t, i), info.Size(), info.Mode())
		}
	}
	return nil
}

func listSmall(t Task, _ *Meter) error {
	i := 0
	for d := range smallDirs(t) {
		entries, err := os.ReadDir(smallDir(t, d))
		if err != nil {
			return err
		}
		if want := min(perDir, t.Files-i); len(entries) != want {
			return fmt.Errorf("%s lists %d files, want %d", smallDir(t, d), len(entries), want)
		}
		for _, e := range entries { // sorted
			if want := filepath.Base(smallName(t, i)); e.Name() != want {
				return fmt.Errorf("%s lists %s, want %s", smallDir(t, d), e.Name(), want)
			}
			i++
		}
	}
	return nil
}

func readSmall(t Task, _ *Meter) error {
	b := make([]byte, smallSize)
	for i := range t.Files {
		if err := checkFile(t, i, b); err != nil {
			return err
		}
	}
	return nil
}

func unlinkSmall(t Task, _ *Meter) error {
	for i := range t.Files {
		if err := os.Remove(smallName(t, i)); err != nil {
			return err
		}
	}
	for d := range smallDirs(t) {
		if err := os.Remove(smallDir(t, d)); err != nil {
			return err
		}
	}
	return os.Remove(t.at("small"))
}

func checkGone(t Task) error {
	_, err := os.Lstat(t.at("small"))
	if !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("the directory that was removed is still shown (%v)", err)
	}
	_, err = os.Lstat(smallName(t, 0))
	if !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("a file that was removed is still shown (%v)", err)
	}
	return nil
}
