package e2e

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/dbfs/dbfs"
)

// A forest is a tree as paths and what is there, in a line that describe makes.
type forest map[string]string

// agree brings everybody together and checks that they have the same.
func (w *world) agree() {
	w.t.Helper()
	if w.site.srv == nil {
		w.site.start()
	}
	for _, v := range w.all() {
		v.line.mend()
		if !v.on {
			v.start()
		}
	}
	w.sync()
	want := make(map[string]forest)
	for _, v := range w.all() {
		account := v.account()
		if want[account] == nil {
			var err error
			if want[account], err = w.site.forest(within(w.t, patience), account); err != nil {
				w.t.Fatalf("read the tree of %s at the server: %v", account, err)
			}
		}
		v.mustLook(want[account])
		v.mustRest()
	}
}

// sync lets everybody who can reach the server send what they have, and get to where it is.
func (w *world) sync() {
	w.t.Helper()
	if w.site.srv == nil {
		return
	}
	for range 2 { // what one sends makes another reconcile, and send
		for _, v := range w.all() {
			if v.on && v.line.works() {
				v.sent()
				v.caughtUp()
			}
		}
	}
}

func (v *device) account() string {
	for _, p := range []person{alice, bob, carol} {
		if p.name == v.name {
			return p.account
		}
	}
	return family
}

func (l *line) works() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return !l.down && !l.hung
}

// caughtUp waits until the device is where the server is, in every namespace.
func (v *device) caughtUp() {
	v.t.Helper()
	session := v.site.session(v.site.tokens[v.account()])
	var behind string
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		list, err := session.Namespaces(v.t.Context())
		if err != nil {
			v.t.Fatal(err)
		}
		if behind = v.behind(list); behind == "" {
			return
		}
	}
	v.t.Fatalf("%s does not catch up: %s", v.name, behind)
}

func (v *device) behind(list []dbfs.Namespace) string {
	if v.near != nil {
		if at := v.near.j.Cursor(); at != list[0].Cursor {
			return fmt.Sprintf("it is at %v, the server at %v", at, list[0].Cursor)
		}
		return ""
	}
	at := make(map[dbfs.NamespaceID]dbfs.Cursor)
	for _, ns := range v.status().Namespaces {
		at[ns.ID] = ns.Cursor
	}
	if len(at) != len(list) {
		return fmt.Sprintf("it has %d namespaces, there are %d", len(at), len(list))
	}
	for _, ns := range list {
		if at[ns.ID] != ns.Cursor {
			return fmt.Sprintf("%s is at %v, the server at %v", ns.Name, at[ns.ID], ns.Cursor)
		}
	}
	return ""
}

// mustLook compares what the mount shows with the tree at the server. The kernel is told of
// changes a moment after they are applied.
func (v *device) mustLook(want forest) {
	v.t.Helper()
	var diff string
	for end := time.Now().Add(5 * time.Second); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		got, err := v.forest()
		if err != nil {
			diff = err.Error()
			continue
		}
		if diff = compare(got, want); diff == "" {
			return
		}
	}
	v.t.Fatalf("%s does not show what the server has:\n%s", v.name, diff)
}

// mustRest checks that nothing is left to send, and no bytes for it.
func (v *device) mustRest() {
	v.t.Helper()
	if n := v.near; n != nil {
		err := n.await("nothing to be unsent", func() string {
			n.j.Sync() // chunks are let go when what they were for is on the disk
			if unsent := n.cache.Stats().Unsent; unsent > 0 {
				return fmt.Sprintf("%d bytes are", unsent)
			}
			return ""
		})
		if err != nil {
			v.t.Errorf("%s: %v", v.name, err)
		}
		return
	}
	st := v.status()
	for end := time.Now().Add(5 * time.Second); st.Cache.Unsent > 0 && time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		st = v.status()
	}
	if st.Sync.Ops != 0 || st.Cache.Unsent != 0 {
		v.t.Errorf("%s is left with %d edits and %d unsent bytes", v.name, st.Sync.Ops, st.Cache.Unsent)
	}
	for _, a := range st.Attention {
		if a.Kind != "conflict" && a.Kind != "recovered" {
			v.t.Errorf("%s wants attention: %s", v.name, a.Message)
		}
	}
}

func compare(got, want forest) string {
	paths := maps.Clone(got)
	maps.Copy(paths, want)
	var diff strings.Builder
	for _, p := range slices.Sorted(maps.Keys(paths)) {
		if got[p] != want[p] {
			fmt.Fprintf(&diff, "%s\n\tshown  %s\n\tserver %s\n", p, got[p], want[p])
		}
	}
	return diff.String()
}

// forest reads the whole mount, every byte of it.
func (v *device) forest() (forest, error) {
	if v.near == nil {
		return walk(v.set.Mount)
	}
	f := make(forest)
	return f, all(v.hands, "", f)
}

func walk(top string) (forest, error) {
	f := make(forest)
	err := filepath.WalkDir(top, func(path string, _ fs.DirEntry, err error) error {
		if err != nil || path == top {
			return err
		}
		rel, _ := filepath.Rel(top, path)
		f[rel], err = describe(path)
		return err
	})
	return f, err
}

// listing is the mount for people to read.
func (v *device) listing() string {
	f, err := v.forest()
	var b strings.Builder
	for _, p := range slices.Sorted(maps.Keys(f)) {
		fmt.Fprintf(&b, "\t%s  %s\n", p, f[p])
	}
	if err != nil {
		fmt.Fprintf(&b, "\t%v\n", err)
	}
	return b.String()
}

// describe says in a line what is at a path: kind, permissions, and of a file size, the
// beginning of its SHA-256 and modification time.
func describe(path string) (string, error) {
	info, err := os.Lstat(path)
	if err != nil {
		return "", err
	}
	mode := info.Sys().(*syscall.Stat_t).Mode & 0o7777
	switch info.Mode().Type() {
	case fs.ModeDir:
		return fmt.Sprintf("dir %o", mode), nil
	case fs.ModeSymlink:
		target, err := os.Readlink(path)
		return "link to " + target, err
	}
	b, err := os.ReadFile(path)
	if err == nil && int64(len(b)) != info.Size() {
		err = fmt.Errorf("%s has %d bytes, stat says %d", path, len(b), info.Size())
	}
	return fileLine(mode, b, info.ModTime().UnixNano()), err
}

func fileLine(mode uint32, b []byte, mtime int64) string {
	return fmt.Sprintf("file %o, %d bytes %.8x, %d", mode, len(b), sha256.Sum256(b), mtime)
}

// forest reads an account's tree at the server, and every chunk in it.
func (s *site) forest(ctx context.Context, account string) (forest, error) {
	return s.session(s.tokens[account]).forest(ctx)
}

func (se remoteSession) forest(ctx context.Context) (forest, error) {
	list, err := se.Namespaces(ctx)
	if err != nil {
		return nil, err
	}
	f := make(forest)
	for _, ns := range list {
		if ns.Root {
			return f, se.plant(ctx, f, ns.ID, "")
		}
	}
	return nil, errors.New("the account has no root namespace")
}

// plant adds a namespace's nodes to the forest, below a path, and those of the namespaces
// that are mounted in it.
func (se remoteSession) plant(ctx context.Context, f forest, ns dbfs.NamespaceID, top string) error {
	children := make(map[dbfs.NodeID][]dbfs.Node)
	page := dbfs.TreePage{More: true}
	for page.More {
		var err error
		if page, err = se.Tree(ctx, ns, page.Next, 0); err != nil {
			return err
		}
		for _, n := range page.Nodes {
			if !n.IsRoot() {
				children[n.Parent] = append(children[n.Parent], n)
			}
		}
	}
	return se.grow(ctx, f, ns, children, dbfs.RootNode, top)
}

func (se remoteSession) grow(ctx context.Context, f forest, ns dbfs.NamespaceID, children map[dbfs.NodeID][]dbfs.Node, dir dbfs.NodeID, at string) error {
	for _, n := range children[dir] {
		path := filepath.Join(at, n.Name)
		var err error
		switch n.Kind {
		case dbfs.KindDir:
			f[path] = fmt.Sprintf("dir %o", n.Attr.Mode)
			err = se.grow(ctx, f, ns, children, n.ID, path)
		case dbfs.KindMount:
			f[path] = fmt.Sprintf("dir %o", 0o755)
			err = se.plant(ctx, f, n.Mount, path)
		case dbfs.KindSymlink:
			f[path] = "link to " + n.Target
		case dbfs.KindFile:
			var b []byte
			b, err = se.content(ctx, ns, n.Content)
			f[path] = fileLine(n.Attr.Mode, b, n.Attr.MTime)
		}
		if err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
	}
	return nil
}

// content fetches the bytes of a file. Get verifies each chunk.
func (se remoteSession) content(ctx context.Context, ns dbfs.NamespaceID, c dbfs.Content) ([]byte, error) {
	b := make([]byte, c.Size)
	for i, id := range c.Chunks.All() {
		if id == dbfs.ZeroChunk {
			continue
		}
		raw, err := se.chunks.Get(ctx, ns, c.Ref(i))
		if err != nil {
			return nil, err
		}
		copy(b[int64(i)*dbfs.ChunkSize:], raw)
	}
	return b, nil
}
