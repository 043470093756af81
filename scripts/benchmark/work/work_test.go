package work

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// tiny is a task on a directory of the test, in which the second mount is the first.
func tiny(t *testing.T) Task {
	t.Helper()
	for _, program := range []string{"tar", "grep", "git"} {
		if _, err := exec.LookPath(program); err != nil {
			t.Skip(err)
		}
	}
	source := t.TempDir()
	for name, text := range map[string]string{
		"main.go": "package main // starts a goroutine\n", "sub/a.go": "package sub\n", "sub/b.txt": "goroutine\ngoroutine\n",
	} {
		write(t, filepath.Join(source, name), text)
	}
	tree, err := Pack(t.Context(), source, filepath.Join(t.TempDir(), "tree.tar"))
	if err != nil {
		t.Fatal(err)
	}
	if tree.Files != 3 || tree.Matches != 3 || tree.Bytes == 0 {
		t.Fatalf("packed %+v", tree)
	}
	dir := t.TempDir()
	return Task{Dir: dir, Other: dir, Size: 3 << 20, Ops: 40, Files: 150, Commits: 5, Changes: 6, Patience: 10 * time.Second, Tree: tree}
}

func write(t *testing.T, name, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// do runs a workload as the benchmark does.
func do(w Workload, task Task, m *Meter) error {
	if err := w.Setup(task); err != nil {
		return err
	}
	if err := w.Run(task, m); err != nil {
		return err
	}
	if w.Check != nil {
		return w.Check(task)
	}
	return nil
}

// TestAllOnOneDirectory does them as on a drive: each finds what the ones before have left.
func TestAllOnOneDirectory(t *testing.T) {
	task := tiny(t)
	for _, w := range All() {
		var m Meter
		if err := do(w, task, &m); err != nil {
			t.Errorf("%s: %v", w.Name, err)
		}
		if w.Amount(task) <= 0 {
			t.Errorf("%s is no work", w.Name)
		}
		if w.Pair && len(m.Samples) != task.Changes {
			t.Errorf("%s took %d times, want %d", w.Name, len(m.Samples), task.Changes)
		}
	}
}

// TestEachAlone does each of them in a directory that holds nothing.
func TestEachAlone(t *testing.T) {
	task := tiny(t)
	for _, w := range All() {
		task.Dir = t.TempDir()
		task.Other = task.Dir
		if err := do(w, task, &Meter{}); err != nil {
			t.Errorf("%s: %v", w.Name, err)
		}
	}
}

// TestDamageIsSeen spoils what a workload reads, or has written, and wants it to fail.
func TestDamageIsSeen(t *testing.T) {
	task := tiny(t)
	for _, tt := range []struct {
		work string
		harm func(t *testing.T)
		want string // in the error
	}{
		{"write", func(t *testing.T) { flip(t, task.at("large"), 2<<20) }, "says that it is page"},
		{"write", func(t *testing.T) { flip(t, task.at("large"), 100) }, "other bytes"},
		{"write", func(t *testing.T) { truncate(t, task.at("large"), 3<<20-4096) }, "ends after"},
		{"read-warm", func(t *testing.T) { flip(t, task.at("large"), 4096) }, "says that it is page"},
		{"read-dropped", func(t *testing.T) { truncate(t, task.at("large"), 1<<20) }, "ends after"},
		{"random-read-warm", func(t *testing.T) { zero(t, task.at("large")) }, "says that it is page"},
		{"random-write", func(t *testing.T) { rewriteLarge(t, task) }, "before the write"},
		{"create", func(t *testing.T) { write(t, smallName(task, 100), strings.Repeat("x", smallSize)) }, "says that it is file"},
		{"create", func(t *testing.T) { remove(t, smallName(task, 7)) }, "lists 99 files"},
		{"stat-warm", func(t *testing.T) { truncate(t, smallName(task, 42), 1) }, "with 1 bytes"},
		{"stat-dropped", func(t *testing.T) { remove(t, smallName(task, 42)) }, "no such file"},
		{"list", func(t *testing.T) { rename(t, smallName(task, 3), smallName(task, 3)+"x") }, "lists f0000003x"},
		{"read-small", func(t *testing.T) { flip(t, smallName(task, 149), 4000) }, "other bytes"},
		{"remove", func(t *testing.T) { write(t, smallName(task, 0), "back") }, "still shown"},
		{"untar", func(t *testing.T) { remove(t, task.at("tree", "sub", "a.go")) }, "no such file"},
		{"untar", func(t *testing.T) { truncate(t, task.at("tree", "main.go"), 3) }, "has 3 bytes"},
		{"grep", func(t *testing.T) { write(t, task.at("tree", "sub", "b.txt"), "goroutine\ngorouting\n") }, "found 2 lines"},
		{"git", func(t *testing.T) { remove(t, task.at("tree", "main.go")) }, "only added"},
		{"git", func(t *testing.T) { forget(t, task.at("tree"), "main.go") }, "of a file that was only added"},
		{"sqlite", func(t *testing.T) { deleteRow(t, task) }, "row 2 is 3"},
		{"sqlite", func(t *testing.T) { truncate(t, task.at("sqlite", "data.db"), 4096) }, ""},
	} {
		task.Dir = t.TempDir()
		w, err := Find(tt.work)
		if err != nil {
			t.Fatal(err)
		}
		// What writes is harmed before its check, what reads before its run.
		steps := []func() error{func() error { return w.Setup(task) }, func() error { return w.Run(task, &Meter{}) }}
		at := 1
		if w.Check != nil {
			steps = append(steps, func() error { return w.Check(task) })
			at = 2
		}
		for i, step := range steps {
			if i == at {
				tt.harm(t)
			}
			err = step()
			if i < at && err != nil {
				t.Fatalf("%s: %v", tt.work, err)
			}
		}
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s, damaged, is told as %v, want %q", tt.work, err, tt.want)
		}
	}
}

func TestChangeNotSeen(t *testing.T) {
	task := tiny(t)
	task.Other = t.TempDir()
	task.Patience = 50 * time.Millisecond
	w, err := Find("change")
	if err != nil {
		t.Fatal(err)
	}
	if err := do(w, task, &Meter{}); err == nil || !strings.Contains(err.Error(), "not seen") {
		t.Errorf("a change that never arrives is told as %v", err)
	}
}

func TestGoals(t *testing.T) {
	for _, w := range All() {
		if w.Base == "" {
			continue
		}
		if _, err := Find(w.Base); err != nil {
			t.Errorf("%s is compared with %s: %v", w.Name, w.Base, err)
		}
	}
	if _, err := Find("no such"); err == nil {
		t.Error("a workload was found that does not exist")
	}
}

func flip(t *testing.T, name string, at int) {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	b[at] ^= 1
	write(t, name, string(b))
}

func zero(t *testing.T, name string) {
	t.Helper()
	info, err := os.Stat(name)
	if err != nil {
		t.Fatal(err)
	}
	write(t, name, string(bytes.Repeat([]byte{0}, int(info.Size()))))
}

func rewriteLarge(t *testing.T, task Task) {
	t.Helper()
	if err := writeLarge(task, nil); err != nil {
		t.Fatal(err)
	}
}

func truncate(t *testing.T, name string, size int64) {
	t.Helper()
	if err := os.Truncate(name, size); err != nil {
		t.Fatal(err)
	}
}

func remove(t *testing.T, name string) {
	t.Helper()
	if err := os.Remove(name); err != nil {
		t.Fatal(err)
	}
}

func rename(t *testing.T, from, to string) {
	t.Helper()
	if err := os.Rename(from, to); err != nil {
		t.Fatal(err)
	}
}

// forget takes a file out of git's index.
func forget(t *testing.T, dir, name string) {
	t.Helper()
	cmd := exec.Command("git", "rm", "-q", "--cached", name)
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
}

func deleteRow(t *testing.T, task Task) {
	t.Helper()
	db, err := openDatabase(task)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if _, err := db.Exec(`DELETE FROM notes WHERE id = 2`); err != nil {
		t.Fatal(err)
	}
}
