package drive

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

// disk is a directory and nothing else: what all others are compared with.
var disk = System{
	Name:    "disk",
	About:   "a directory of the disk that all the others keep their data on",
	Missing: func(*Site) string { return "" },
	Version: func(s *Site) string { return FileSystem(s.Scratch) },
	Start: func(_ context.Context, _ *Site, dir string) (Drive, error) {
		return bare{dir}, os.MkdirAll(dir, 0o755)
	},
}

type bare struct{ dir string }

func (b bare) Path() string                         { return b.dir }
func (b bare) User() *syscall.Credential            { return nil }
func (b bare) PIDs() []int                          { return nil }
func (b bare) Stored() bool                         { return false }
func (b bare) Settle(context.Context) error         { return nil }
func (b bare) Forget(context.Context) error         { return ErrNone }
func (b bare) Again(context.Context) (Drive, error) { return nil, ErrNone }
func (b bare) Stop() error                          { return os.RemoveAll(b.dir) }

// FileSystem names the kind of the file system that a directory is on.
func FileSystem(dir string) string {
	list, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		return "unknown"
	}
	kind, longest := "unknown", -1
	for line := range strings.Lines(string(list)) {
		f := strings.Fields(line)
		if len(f) < 3 {
			continue
		}
		rel, err := filepath.Rel(f[1], dir)
		if err == nil && rel != ".." && !strings.HasPrefix(rel, "../") && len(f[1]) >= longest {
			kind, longest = f[2], len(f[1])
		}
	}
	return kind
}

// loopback is what FUSE costs when there is nothing to do but pass requests on.
var loopback = System{
	Name:    "loopback",
	About:   "go-fuse's loopback, names and attributes kept by the kernel, reads and writes passed through to the disk",
	Missing: noLoopback,
	Version: func(s *Site) string { return moduleVersion(s.Loopback, "github.com/hanwen/go-fuse/v2") },
	Start: func(ctx context.Context, s *Site, dir string) (Drive, error) {
		return startLoopback(ctx, s, dir)
	},
}

var loopbackCached = System{
	Name:    "loopback-cached",
	About:   "the same without passing through: the kernel keeps pages, and the process reads and writes",
	Missing: noLoopback,
	Version: loopback.Version,
	Start: func(ctx context.Context, s *Site, dir string) (Drive, error) {
		return startLoopback(ctx, s, dir, "-passthrough=false")
	},
}

func noLoopback(s *Site) string {
	if s.Loopback == "" {
		return "scripts/bench builds it"
	}
	return ""
}

func startLoopback(ctx context.Context, s *Site, dir string, flags ...string) (Drive, error) {
	below := filepath.Join(dir, "below")
	if err := makeDirs(nil, below); err != nil {
		return nil, err
	}
	m := &Mount{site: s, at: filepath.Join(dir, "mnt"), keeps: dir}
	m.argv = append(append([]string{s.Loopback}, flags...), m.at, below)
	if err := m.Show(ctx); err != nil {
		return nil, fmt.Errorf("loopback: %w", err)
	}
	return m, nil
}
