package e2e

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

// must turns what can fail into a step.
func must(what string, do func(v *device) error) step {
	return func(v *device) {
		v.t.Helper()
		if err := do(v); err != nil {
			v.t.Fatalf("%s: %s: %v", v.name, what, err)
		}
	}
}

func write(path, text string) step { return writeBytes(path, []byte(text)) }

func writeBytes(path string, b []byte) step {
	return must("write "+path, func(v *device) error { return v.hands.write(path, b) })
}

// saves writes as editors do: beside the file, to the disk, and over it.
func saves(path, text string) step {
	return must("save "+path, func(v *device) error { return v.hands.save(path, text) })
}

// patch writes over a part of a file.
func patch(path string, off int64, b []byte) step {
	return must("patch "+path, func(v *device) error { return v.hands.patch(path, off, b) })
}

func mkdir(path string) step {
	return must("mkdir "+path, func(v *device) error { return v.hands.mkdir(path) })
}

// remove removes a file, symlink or empty directory.
func remove(path string) step {
	return must("remove "+path, func(v *device) error { return v.hands.remove(path) })
}

func rename(from, to string) step {
	return must("rename "+from, func(v *device) error { return v.hands.rename(from, to) })
}

// exchange lets two names change places.
func exchange(a, b string) step {
	return must("exchange "+a+" with "+b, func(v *device) error { return v.hands.exchange(a, b) })
}

// clearAway does what rm -r does.
func clearAway(path string) step {
	return must("clear away "+path, func(v *device) error { return v.clearAway(path) })
}

func (v *device) clearAway(path string) error {
	names, err := v.hands.list(path)
	if err != nil {
		return v.hands.remove(path) // a file
	}
	for _, name := range names {
		if err := v.clearAway(path + "/" + name); err != nil {
			return err
		}
	}
	return v.hands.remove(path)
}

func symlink(target, path string) step {
	return must("symlink "+path, func(v *device) error { return v.hands.symlink(target, path) })
}

func chmod(path string, mode fs.FileMode) step {
	return must("chmod "+path, func(v *device) error { return v.hands.chmod(path, mode) })
}

// touch gives a file another modification time.
func touch(path string, mtime time.Time) step {
	return must("touch "+path, func(v *device) error { return v.hands.touch(path, mtime) })
}

// eventually tries until it works or patience ends: what comes from elsewhere takes a moment.
func eventually(what string, try func(v *device) error) step {
	return func(v *device) {
		v.t.Helper()
		var err error
		for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
			if err = try(v); err == nil {
				return
			}
		}
		v.t.Fatalf("%s: %s: %v\n%s", v.name, what, err, v.listing())
	}
}

// sees waits for a file with a text. A name with * or ? in it stands for the one that fits.
func sees(path, text string) step { return seesBytes(path, []byte(text)) }

func seesBytes(path string, want []byte) step {
	return eventually("sees "+path, func(v *device) error {
		name, err := v.find(path)
		if err != nil {
			return err
		}
		got, err := v.hands.read(name)
		if err == nil && !bytes.Equal(got, want) {
			err = fmt.Errorf("it holds %s, want %s", brief(got), brief(want))
		}
		return err
	})
}

// lacks waits until nothing has that name.
func lacks(path string) step {
	return eventually("lacks "+path, func(v *device) error {
		name, err := v.find(path)
		if err == nil {
			err = fmt.Errorf("%s is there", name)
		} else if missing(err) {
			err = nil
		}
		return err
	})
}

// holds waits for a directory with exactly these names in it.
func holds(path string, names ...string) step {
	return eventually("looks into "+path, func(v *device) error {
		got, err := v.hands.list(path)
		if err != nil {
			return err
		}
		slices.Sort(names)
		for i := range max(len(got), len(names)) {
			if i >= len(got) || i >= len(names) {
				return fmt.Errorf("it holds %q, want %q", got, names)
			}
			if ok, _ := filepath.Match(names[i], got[i]); !ok {
				return fmt.Errorf("it holds %q, want %q", got, names)
			}
		}
		return nil
	})
}

// looks waits for a node to look like a line of describe.
func looks(path, want string) step {
	return eventually("looks at "+path, func(v *device) error {
		got, err := v.hands.look(path)
		if err == nil && !strings.HasPrefix(got, want) {
			err = fmt.Errorf("it is %q, want %q", got, want)
		}
		return err
	})
}

// find returns the one path that fits, as the last part may be a pattern.
func (v *device) find(path string) (string, error) {
	dir, pattern := filepath.Split(path)
	if !strings.ContainsAny(pattern, "*?") {
		_, err := v.hands.look(path)
		return path, err
	}
	names, err := v.hands.list(filepath.Clean(dir))
	if err != nil {
		return "", err
	}
	found := ""
	for _, name := range names {
		if ok, _ := filepath.Match(pattern, name); ok {
			if found != "" {
				return "", fmt.Errorf("%q and %q both fit", found, name)
			}
			found = name
		}
	}
	if found == "" {
		return "", fmt.Errorf("%s: %w", path, fs.ErrNotExist)
	}
	return dir + found, nil
}

// copyOf is what the copy is called that a conflict makes of a person's edit, on any day.
func copyOf(name string, p person) string { return suffixed(name, "conflicted copy", p) }

// asideOf is what a person's file is called whose name was taken.
func asideOf(name string, p person) string { return suffixed(name, "name conflict", p) }

func suffixed(name, what string, p person) string {
	ext := filepath.Ext(name)
	return fmt.Sprintf("%s (%s, %s ????-??-??)%s", strings.TrimSuffix(name, ext), what, p.name, ext)
}

// refused expects an edit to fail with an error number.
func refused(want syscall.Errno, what string, try func(v *device) error) step {
	return func(v *device) {
		v.t.Helper()
		if err := try(v); !errors.Is(err, want) {
			v.t.Fatalf("%s: %s: got %v, want %v", v.name, what, err, want)
		}
	}
}

func offline() step { return func(v *device) { v.line.cut() } }

// hung lets requests out and no answer in.
func hung() step { return func(v *device) { v.line.hang() } }

// online mends the line. The daemon is not told: it finds out by itself.
func online() step { return func(v *device) { v.line.mend() } }

// stopped ends the daemon, and started starts it again.
func stopped() step { return func(v *device) { v.t.Helper(); v.end() } }
func started() step { return func(v *device) { v.t.Helper(); v.start() } }

// sent waits until the server has everything.
func sent() step { return func(v *device) { v.t.Helper(); v.sent() } }

// noise returns bytes that do not compress and that nobody else has.
func noise(seed uint64, n int) []byte {
	b := make([]byte, n)
	src := rand.NewChaCha8(sha256.Sum256(fmt.Append(nil, seed)))
	src.Read(b)
	return b
}

func brief(b []byte) string {
	if len(b) <= 40 {
		return fmt.Sprintf("%q", b)
	}
	return fmt.Sprintf("%d bytes with SHA-256 %.8x", len(b), sha256.Sum256(b))
}
