package fs

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dbfs/dbfs"
	"github.com/dbfs/dbfs/cache"
	"github.com/dbfs/dbfs/journal"
	"github.com/dbfs/dbfs/remote/chunktest"
)

const (
	rootNS  dbfs.NamespaceID = 7
	otherNS dbfs.NamespaceID = 8
)

// A drive is a tree mounted for a test, with real parts under it and no server.
type drive struct {
	t        testing.TB
	dir      string // where it is mounted
	fs       *FS
	kv       *cache.KV
	inodes   *cache.Inodes
	cache    *cache.Cache
	chunks   chunktest.Mem // what other devices have written
	root     *journal.Journal
	journals []*journal.Journal
	requests *requests
}

// A driveOption changes what a drive is made of before it is mounted.
type driveOption func(*Config, *cache.Options)

// counted makes the drive count its requests, which costs time.
func counted(cfg *Config, _ *cache.Options) { cfg.Debug = true }

// limit is how long a test may use its mount. One that takes longer hangs, and a hung mount
// would keep everything that touches it waiting for ever.
const limit = 2 * time.Minute

// newDrive mounts an empty tree, until the test ends.
func newDrive(t testing.TB, opts ...driveOption) *drive {
	t.Helper()
	needFUSE(t)
	state := t.TempDir()
	d := &drive{t: t, dir: t.TempDir(), requests: newRequests()}
	d.must(os.Chmod(filepath.Dir(d.dir), 0o755)) // other users are to reach it
	log := slog.New(d.requests)
	cacheOpts := cache.Options{State: state + "/state", Cache: state + "/cache", MinFree: -1, Chunks: &d.chunks, Log: log}
	cfg := Config{
		Root: rootNS, Clock: time.Now, Log: log, AllowOther: os.Geteuid() == 0, Preserve: os.Geteuid() == 0,
		UID: uint32(os.Getuid()), GID: uint32(os.Getgid()), Source: "test", Disk: state,
		Closed: func(dbfs.NamespaceID, dbfs.NodeID) {},
	}
	for _, o := range opts {
		o(&cfg, &cacheOpts)
	}
	var err error
	d.kv, err = cache.OpenKV(state+"/meta", cache.KVOptions{Log: log})
	d.must(err)
	t.Cleanup(func() { d.must(d.kv.Close()) })
	d.inodes, err = cache.OpenInodes(d.kv)
	d.must(err)
	cacheOpts.KV = d.kv
	d.cache, err = cache.Open(cacheOpts)
	d.must(err)
	t.Cleanup(func() { d.must(d.cache.Close()) })
	cfg.Cache, cfg.KV, cfg.Inodes = d.cache, d.kv, d.inodes
	d.fs = New(cfg)
	d.root = d.add(rootNS, cache.RootInode, dbfs.RoleAdmin)
	d.must(d.cache.Recover(d.needs))
	d.must(d.fs.Mount(d.dir))
	watchdog := time.AfterFunc(limit, d.abort)
	t.Cleanup(func() {
		d.unmount()
		watchdog.Stop()
	})
	return d
}

// needFUSE skips the test where nothing can be mounted, and says why.
func needFUSE(t testing.TB) {
	if _, err := os.Stat("/dev/fuse"); err != nil {
		t.Skipf("nothing can be mounted here: %v", err)
	}
}

// add shows a namespace that has been listed and is empty.
func (d *drive) add(ns dbfs.NamespaceID, rootIno uint64, role dbfs.Role) *journal.Journal {
	d.t.Helper()
	return d.addNamed(ns, rootIno, role, dbfs.NamesExact)
}

func (d *drive) addNamed(ns dbfs.NamespaceID, rootIno uint64, role dbfs.Role, rule dbfs.NameRule) *journal.Journal {
	d.t.Helper()
	j, err := journal.Open(journal.Config{
		NS: ns, KV: d.kv, Tree: cache.NewTree(ns, rule), Names: rule, Device: 1, Name: "here", Inodes: d.inodes.Reserve, RootIno: rootIno,
		Clock: time.Now, Observe: func(cs []journal.Change) { d.fs.Changed(ns, cs) },
		Unpin: func(refs []dbfs.ChunkRef) { d.cache.Unpin(refs) },
		Log:   slog.New(d.requests),
	})
	d.must(err)
	list, err := j.List()
	d.must(err)
	d.must(list.Finish(dbfs.Cursor{Epoch: 1, JID: 1}))
	d.journals = append(d.journals, j)
	d.fs.Add(j, role)
	return j
}

func (d *drive) needs(id dbfs.ChunkID) bool {
	for _, j := range d.journals {
		if j.Needs(id) {
			return true
		}
	}
	return false
}

// unmount takes the mount away, with force if somebody still has a file open.
func (d *drive) unmount() {
	err := d.fs.Unmount()
	if err != nil {
		d.t.Errorf("unmount: %v", err)
		unix.Unmount(d.dir, unix.MNT_FORCE|unix.MNT_DETACH)
	}
	<-d.fs.Done()
	d.fs.Close()
}

// abort ends a test that hangs: the connection first, so that nobody is left waiting.
func (d *drive) abort() {
	stacks := make([]byte, 1<<20)
	stacks = stacks[:runtime.Stack(stacks, true)]
	unix.Unmount(d.dir, unix.MNT_FORCE|unix.MNT_DETACH)
	panic(fmt.Sprintf("%s used its mount for more than %v\n\n%s", d.t.Name(), limit, stacks))
}

func (d *drive) must(err error) {
	d.t.Helper()
	if err != nil {
		d.t.Fatal(err)
	}
}

// path returns where a path within the tree is.
func (d *drive) path(p string) string { return d.dir + "/" + p }

func (d *drive) write(name, content string) {
	d.t.Helper()
	d.must(os.WriteFile(d.path(name), []byte(content), 0o644))
}

func (d *drive) read(name string) string {
	d.t.Helper()
	b, err := os.ReadFile(d.path(name))
	d.must(err)
	return string(b)
}

func (d *drive) wantRead(name, want string) {
	d.t.Helper()
	if got := d.read(name); got != want {
		d.t.Fatalf("%s holds %s, want %s", name, brief(got), brief(want))
	}
}

func brief(s string) string {
	if len(s) > 80 {
		return fmt.Sprintf("%q… (%d bytes)", s[:80], len(s))
	}
	return fmt.Sprintf("%q", s)
}

func (d *drive) stat(name string) unix.Stat_t {
	d.t.Helper()
	var st unix.Stat_t
	d.must(unix.Lstat(d.path(name), &st))
	return st
}

// names returns what a directory lists, in its order.
func (d *drive) names(dir string) []string {
	d.t.Helper()
	f, err := os.Open(d.path(dir))
	d.must(err)
	defer f.Close()
	names, err := f.Readdirnames(-1)
	d.must(err)
	return names
}

// eventually waits until a remote change has reached the kernel.
func (d *drive) eventually(what string, ok func() bool) {
	d.t.Helper()
	for deadline := time.Now().Add(10 * time.Second); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			d.t.Fatalf("after 10 s still not: %s", what)
		}
	}
}

// requests counts what the kernel asks. It is the log of a drive: go-fuse writes a line for
// each request there.
type requests struct {
	mu     sync.Mutex // guards what follows
	counts map[string]int
}

func newRequests() *requests { return &requests{counts: make(map[string]int)} }

// Enabled implements slog.Handler.
func (r *requests) Enabled(context.Context, slog.Level) bool { return true }

// WithAttrs implements slog.Handler.
func (r *requests) WithAttrs([]slog.Attr) slog.Handler { return r }

// WithGroup implements slog.Handler.
func (r *requests) WithGroup(string) slog.Handler { return r }

// Handle implements slog.Handler. A request is logged as "rx UNIQUE: NAME …".
func (r *requests) Handle(_ context.Context, rec slog.Record) error {
	f := strings.Fields(rec.Message)
	if len(f) > 2 && f[0] == "rx" {
		r.mu.Lock()
		r.counts[f[2]]++
		r.mu.Unlock()
	} else if rec.Level >= slog.LevelWarn {
		fmt.Fprint(io.Discard, rec.Message)
	}
	return nil
}

// of returns which requests fn causes, once those that nobody waits for have come in.
func (r *requests) of(fn func()) map[string]int {
	r.take()
	fn()
	time.Sleep(50 * time.Millisecond)
	return r.take()
}

func (r *requests) take() map[string]int {
	r.mu.Lock()
	defer r.mu.Unlock()
	counts := r.counts
	r.counts = make(map[string]int)
	return counts
}
