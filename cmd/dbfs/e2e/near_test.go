package e2e

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"slices"
	"time"

	"github.com/dbfs/dbfs"
	"github.com/dbfs/dbfs/cache"
	"github.com/dbfs/dbfs/journal"
	"github.com/dbfs/dbfs/remote"
	"github.com/dbfs/dbfs/remote/syncer"
)

// A near is a device without a mount: what is under the file system, in this process, put to
// work by hand. Stories that need no mount are told on it in a moment.
type near struct {
	v      *device
	late   time.Duration // how far its clock is ahead
	me     remote.Me
	kv     *cache.KV
	cache  *cache.Cache
	j      *journal.Journal
	client *remote.Client
	stop   func()
}

func (n *near) now() time.Time { return time.Now().Add(n.late) }

// start opens what is on the disk, and syncs.
func (n *near) start() (err error) {
	set := &n.v.set
	n.client = remote.NewClient(set.Server, set.Token, nil)
	chunks := remote.NewChunks(n.client, nil)
	if n.me.Root == 0 {
		if n.me, err = n.client.Me(n.v.t.Context()); err != nil {
			return err
		}
	}
	if n.kv, err = cache.OpenKV(filepath.Join(set.State, "meta"), cache.KVOptions{Log: set.Log}); err != nil {
		return err
	}
	inodes, err := cache.OpenInodes(n.kv)
	if err != nil {
		return err
	}
	n.cache, err = cache.Open(cache.Options{
		State: set.State, Cache: set.Cache, KV: n.kv, Size: set.CacheSize, Unsent: set.UnsentSize, MinFree: set.MinFree,
		Chunks: chunks, FetchTimeout: set.FetchTimeout, Log: set.Log,
	})
	if err != nil {
		return err
	}
	n.j, err = journal.Open(journal.Config{
		NS: n.me.Root, KV: n.kv, Tree: cache.NewTree(n.me.Root, dbfs.NamesExact), Device: n.me.Device, Name: set.Device,
		Inodes: inodes.Reserve, Clock: n.now, Log: set.Log,
		Unpin: func(refs []dbfs.ChunkRef) { n.cache.Unpin(refs) },
	})
	if err != nil {
		return err
	}
	if err := n.cache.Recover(n.j.Needs); err != nil {
		return err
	}
	s := syncer.New(syncer.Config{
		Meta: n.client, Notifier: n.client, Chunks: chunks, Device: n.me.Device, Log: set.Log,
		Namespaces: func([]dbfs.Namespace) {}, MaxBackoff: 100 * time.Millisecond,
		Read: func(ctx context.Context, ns dbfs.NamespaceID, node dbfs.NodeID, i int, ref dbfs.ChunkRef) ([]byte, func(), error) {
			b, err := n.cache.Chunk(ctx, cache.File{NS: ns, Node: node}, i, ref)
			return b, func() {}, err
		},
	})
	s.Add(n.j, dbfs.RoleWrite)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		s.Run(ctx)
	}()
	n.stop = func() {
		cancel()
		<-done
	}
	return n.await("the first listing", func() string {
		if n.j.Cursor() == (dbfs.Cursor{}) {
			return "it has not been listed"
		}
		return ""
	})
}

func (n *near) end() error {
	n.stop()
	n.j.Close()
	return errors.Join(n.cache.Close(), n.kv.Close())
}

// await waits until there is no reason why not.
func (n *near) await(what string, why func() string) error {
	for end := time.Now().Add(patience); ; time.Sleep(time.Millisecond) {
		reason := why()
		if reason == "" {
			return nil
		}
		if time.Now().After(end) {
			return fmt.Errorf("waited in vain for %s: %s", what, reason)
		}
	}
}

func (n *near) sent() error {
	return n.await("the server to have everything", func() string {
		if edits := n.j.Backlog().Edits; edits > 0 {
			return fmt.Sprintf("%d edits are left", edits)
		}
		return ""
	})
}

// parent returns the directory of a path, and the last name in it.
func (n *near) parent(path string) (dbfs.NodeID, string, error) {
	dir, err := n.j.Lookup(filepath.Dir("/" + path))
	return dir.ID, filepath.Base(path), err
}

// change lets a draft of a file be changed, and records what comes of it.
func (n *near) change(node dbfs.Node, change func(d *cache.Draft) error) error {
	ctx := n.v.t.Context()
	n.j.Hold(node.ID)
	defer n.j.Release(node.ID)
	d, err := n.cache.Draft(cache.File{NS: n.me.Root, Node: node.ID}, node.Content)
	if err != nil {
		return err
	}
	err = change(d)
	var content dbfs.Content
	if err == nil {
		content, err = d.Seal(ctx)
	}
	if err == nil {
		_, err = n.j.Write(node.ID, node.Content, content, n.now().UnixNano())
	}
	return errors.Join(err, d.Close())
}

func (n *near) write(path string, b []byte) error {
	node, err := n.j.Lookup(path)
	if errors.Is(err, dbfs.ErrNotExist) {
		dir, name, dirErr := n.parent(path)
		if dirErr != nil {
			return dirErr
		}
		attr := dbfs.Attr{Mode: 0o644, MTime: n.now().UnixNano()}
		node, err = n.j.Create(dir, name, journal.NewNode{Kind: dbfs.KindFile, Attr: attr, Held: true})
		if err == nil {
			defer n.j.Release(node.ID)
		}
	}
	if err != nil {
		return err
	}
	return n.change(node, func(d *cache.Draft) error {
		ctx := n.v.t.Context()
		if err := d.Truncate(ctx, 0); err != nil {
			return err
		}
		_, err := d.WriteAt(ctx, b, 0)
		return err
	})
}

func (n *near) patch(path string, off int64, b []byte) error {
	node, err := n.j.Lookup(path)
	if err != nil {
		return err
	}
	return n.change(node, func(d *cache.Draft) error {
		_, err := d.WriteAt(n.v.t.Context(), b, off)
		return err
	})
}

func (n *near) save(path, text string) error {
	if err := n.write(path+".tmp", []byte(text)); err != nil {
		return err
	}
	return errors.Join(n.cache.Sync(), n.j.Sync(), n.rename(path+".tmp", path))
}

func (n *near) mkdir(path string) error {
	dir, name, err := n.parent(path)
	if err != nil {
		return err
	}
	_, err = n.j.Create(dir, name, journal.NewNode{Kind: dbfs.KindDir, Attr: dbfs.Attr{Mode: 0o755}})
	return err
}

func (n *near) remove(path string) error {
	node, err := n.j.Lookup(path)
	if err != nil {
		return err
	}
	if node.Kind == dbfs.KindDir {
		return n.j.RemoveDir(node.ID)
	}
	return n.j.Delete(node.ID)
}

func (n *near) rename(from, to string) error {
	node, err := n.j.Lookup(from)
	if err != nil {
		return err
	}
	dir, name, err := n.parent(to)
	if err != nil {
		return err
	}
	_, err = n.j.Move(node.ID, dir, name, false)
	return err
}

func (n *near) exchange(a, b string) error {
	one, err := n.j.Lookup(a)
	if err != nil {
		return err
	}
	other, err := n.j.Lookup(b)
	if err != nil {
		return err
	}
	return n.j.Exchange(one.ID, other.ID)
}

func (n *near) symlink(target, path string) error {
	dir, name, err := n.parent(path)
	if err != nil {
		return err
	}
	_, err = n.j.Create(dir, name, journal.NewNode{Kind: dbfs.KindSymlink, Target: target, Attr: dbfs.Attr{Mode: 0o777}})
	return err
}

func (n *near) setAttr(path string, mask dbfs.AttrMask, attr dbfs.Attr) error {
	node, err := n.j.Lookup(path)
	if err != nil {
		return err
	}
	_, err = n.j.SetAttr(node.ID, mask, attr)
	return err
}

func (n *near) chmod(path string, mode fs.FileMode) error {
	return n.setAttr(path, dbfs.AttrMode, dbfs.Attr{Mode: uint32(mode.Perm())})
}

func (n *near) touch(path string, mtime time.Time) error {
	return n.setAttr(path, dbfs.AttrMTime, dbfs.Attr{MTime: mtime.UnixNano()})
}

func (n *near) read(path string) ([]byte, error) {
	node, err := n.j.Lookup(path)
	if errors.Is(err, dbfs.ErrNotExist) {
		return nil, fs.ErrNotExist
	}
	if err != nil {
		return nil, err
	}
	body, err := n.cache.Open(cache.File{NS: n.me.Root, Node: node.ID}, node.Content)
	if err != nil {
		return nil, err
	}
	defer body.Close()
	b := make([]byte, node.Content.Size)
	if _, err := body.ReadAt(n.v.t.Context(), b, 0); err != nil && err != io.EOF {
		return nil, err
	}
	return b, nil
}

func (n *near) list(dir string) ([]string, error) {
	node, err := n.j.Lookup("/" + dir)
	if err != nil {
		return nil, err
	}
	nodes, err := n.j.Children(node.ID)
	var names []string
	for _, c := range nodes {
		names = append(names, c.Name)
	}
	slices.Sort(names)
	return names, err
}

func (n *near) look(path string) (string, error) {
	node, err := n.j.Lookup(path)
	switch {
	case errors.Is(err, dbfs.ErrNotExist):
		return "", fs.ErrNotExist
	case err != nil:
		return "", err
	case node.Kind == dbfs.KindDir:
		return fmt.Sprintf("dir %o", node.Attr.Mode), nil
	case node.Kind == dbfs.KindSymlink:
		return "link to " + node.Target, nil
	}
	b, err := n.read(path)
	return fileLine(node.Attr.Mode, b, node.Attr.MTime), err
}
