package work

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
)

// A Tree is source code: packed once, unpacked on every drive.
type Tree struct {
	Source  string `json:"source"`  // the directory it was packed from
	Archive string `json:"archive"` // a tar file of it
	Files   int    `json:"files"`   // regular ones
	Bytes   int64  `json:"bytes"`   // of them
	Matches int    `json:"matches"` // lines that grep finds in it
}

// wanted is what grep looks for. Many lines of Go's source have it.
const wanted = "goroutine"

// Pack makes a tree of what is in a directory, and its archive.
func Pack(ctx context.Context, source, archive string) (Tree, error) {
	t := Tree{Source: source, Archive: archive}
	out, err := exec.CommandContext(ctx, "tar", "-C", source, "--owner=0", "--group=0", "-cf", archive, ".").CombinedOutput()
	if err != nil {
		return t, fmt.Errorf("pack %s: %w: %s", source, err, out)
	}
	if t.Files, t.Bytes, err = count(source); err != nil {
		return t, err
	}
	t.Matches, err = grep(source)
	return t, err
}

func trees() []Workload {
	files := func(t Task) float64 { return float64(t.Tree.Files) }
	return []Workload{
		{Name: "untar", Makes: true, Title: "untar the Go source tree", Group: "tree", Goal: 0.30, Unit: "files",
			Amount: files, Setup: removeTree, Run: unpack, Check: checkTree},
		{Name: "grep", Title: "grep -r over it, warm", Group: "tree", State: Warm, Goal: 0.50, Unit: "files",
			Amount: files, Setup: after(ensureTree, grepTree), Run: grepTree},
		{Name: "git", Title: "git init, add, status", Group: "tree", Goal: 0.45, Unit: "files",
			Amount: files, Setup: removeGit, Run: runGit, Check: checkGit},
	}
}

func treeDir(t Task) string { return t.at("tree") }

func removeTree(t Task) error { return os.RemoveAll(treeDir(t)) }

func unpack(t Task, _ *Meter) error {
	if err := os.MkdirAll(treeDir(t), 0o755); err != nil {
		return err
	}
	out, err := exec.Command("tar", "-C", treeDir(t), "--no-same-owner", "-xf", t.Tree.Archive).CombinedOutput()
	if err != nil {
		return fmt.Errorf("tar: %w: %s", err, last(out))
	}
	return nil
}

func ensureTree(t Task) error {
	files, size, err := count(treeDir(t))
	if err == nil && files == t.Tree.Files && size == t.Tree.Bytes {
		return nil
	}
	if err := removeTree(t); err != nil {
		return err
	}
	return unpack(t, nil)
}

// checkTree compares all sizes, and the bytes of every fiftieth file.
func checkTree(t Task) error {
	i := 0
	return walkFiles(t.Tree.Source, func(path string, want fs.FileInfo) error {
		rel, err := filepath.Rel(t.Tree.Source, path)
		if err != nil {
			return err
		}
		copied := filepath.Join(treeDir(t), rel)
		got, err := os.Lstat(copied)
		if err != nil {
			return err
		}
		if got.Size() != want.Size() {
			return fmt.Errorf("%s has %d bytes, want %d", copied, got.Size(), want.Size())
		}
		if i++; i%50 != 0 {
			return nil
		}
		return same(path, copied)
	})
}

func same(one, two string) error {
	a, err := os.ReadFile(one)
	if err != nil {
		return err
	}
	b, err := os.ReadFile(two)
	if err != nil {
		return err
	}
	if !bytes.Equal(a, b) {
		return fmt.Errorf("%s holds other bytes than %s", two, one)
	}
	return nil
}

func grepTree(t Task, _ *Meter) error {
	got, err := grep(treeDir(t))
	if err == nil && got != t.Tree.Matches {
		err = fmt.Errorf("grep found %d lines, want %d", got, t.Tree.Matches)
	}
	return err
}

// grep counts the lines with what is wanted.
func grep(dir string) (int, error) {
	cmd := exec.Command("grep", "-r", "-h", "--exclude-dir=.git", wanted, ".")
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "LC_ALL=C")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) && exit.ExitCode() == 1 {
		err = nil // none found
	}
	if err != nil {
		return 0, fmt.Errorf("grep: %w: %s", err, last(stderr.Bytes()))
	}
	return bytes.Count(out, []byte("\n")), nil
}

func removeGit(t Task) error {
	if err := ensureTree(t); err != nil {
		return err
	}
	return os.RemoveAll(filepath.Join(treeDir(t), ".git"))
}

func runGit(t Task, _ *Meter) error {
	for _, args := range [][]string{{"init", "-q"}, {"add", "-A", "-f"}, {"status", "--porcelain"}} {
		if _, err := git(t, args...); err != nil {
			return err
		}
	}
	return nil
}

// checkGit lets git say that it has every file, as it is in the tree.
func checkGit(t Task) error {
	out, err := git(t, "status", "--porcelain")
	if err != nil {
		return err
	}
	added := 0
	for line := range strings.Lines(string(out)) {
		if !strings.HasPrefix(line, "A  ") {
			return fmt.Errorf("git status says %q of a file that was only added", strings.TrimSpace(line))
		}
		added++
	}
	if added != t.Tree.Files {
		return fmt.Errorf("git status knows %d added files, want %d", added, t.Tree.Files)
	}
	return nil
}

// git runs git without anybody's settings.
func git(t Task, args ...string) ([]byte, error) {
	cmd := exec.Command("git", args...)
	cmd.Dir = treeDir(t)
	cmd.Env = append(os.Environ(), "GIT_CONFIG_NOSYSTEM=1", "GIT_CONFIG_GLOBAL=/dev/null", "LC_ALL=C",
		"GIT_CONFIG_COUNT=2",
		"GIT_CONFIG_KEY_0=safe.directory", "GIT_CONFIG_VALUE_0=*",
		"GIT_CONFIG_KEY_1=init.defaultBranch", "GIT_CONFIG_VALUE_1=main")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("git %s: %w: %s", args[0], err, last(stderr.Bytes()))
	}
	return out, nil
}

// count counts regular files and their bytes, but for git's own.
func count(dir string) (files int, size int64, err error) {
	err = walkFiles(dir, func(_ string, info fs.FileInfo) error {
		files++
		size += info.Size()
		return nil
	})
	return files, size, err
}

func walkFiles(dir string, fn func(path string, info fs.FileInfo) error) error {
	return filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && d.Name() == ".git" {
			return fs.SkipDir
		}
		if !d.Type().IsRegular() {
			return nil
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		return fn(path, info)
	})
}

// last returns the end of what a program said, on one line.
func last(out []byte) string {
	s := strings.TrimSpace(string(out))
	if len(s) > 300 {
		s = "…" + s[len(s)-300:]
	}
	return strconv.Quote(s)
}
