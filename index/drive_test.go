package index

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"io"
	"slices"
	"sync"
	"testing"

	"github.com/dbfs/dbfs"
)

// A drive is a namespace for tests: a flat map of paths, whose bytes may be offline. It
// is the Tree and the Source of an index.
type drive struct {
	mu    sync.RWMutex
	files map[dbfs.NodeID]*driveFile
}

type driveFile struct {
	path    string
	text    []byte
	mtime   int64
	offline bool
}

func newDrive() *drive { return &drive{files: map[dbfs.NodeID]*driveFile{}} }

func nodeNumber(n int) (id dbfs.NodeID) {
	binary.BigEndian.PutUint64(id[8:], uint64(n)+1)
	return id
}

func contentOf(text []byte) dbfs.ChunkID { return sha256.Sum256(text) }

func (d *drive) Path(node dbfs.NodeID) (string, bool) {
	d.mu.RLock()
	defer d.mu.RUnlock()
	if f := d.files[node]; f != nil {
		return f.path, true
	}
	return "", false
}

func (d *drive) Open(_ context.Context, node dbfs.NodeID) (io.ReadCloser, error) {
	d.mu.RLock()
	defer d.mu.RUnlock()
	switch f := d.files[node]; {
	case f == nil:
		return nil, fmt.Errorf("open %s: %w", node, dbfs.ErrNotExist)
	case f.offline:
		return nil, fmt.Errorf("open %s: %w", f.path, dbfs.ErrOffline)
	default:
		return io.NopCloser(bytes.NewReader(f.text)), nil
	}
}

// put makes or changes a file and returns what the feeder says of it.
func (d *drive) put(n int, path, text string) File {
	d.mu.Lock()
	defer d.mu.Unlock()
	f := &driveFile{path: path, text: []byte(text), mtime: int64(n)}
	d.files[nodeNumber(n)] = f
	return f.file(nodeNumber(n))
}

func (f *driveFile) file(node dbfs.NodeID) File {
	name := f.path
	if i := bytes.LastIndexByte([]byte(name), '/'); i >= 0 {
		name = name[i+1:]
	}
	return File{
		Node: node, Name: name, Size: int64(len(f.text)), MTime: f.mtime,
		Content: contentOf(f.text), Text: f.text[:min(len(f.text), MaxText)],
	}
}

func (d *drive) remove(n int) dbfs.NodeID {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.files, nodeNumber(n))
	return nodeNumber(n)
}

func (d *drive) options() Options { return Options{Tree: d, Source: d} }

func openIndex(t testing.TB, dir string, opt Options) *Index {
	t.Helper()
	x, err := Open(dir, opt)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { x.Close() })
	return x
}

func feed(t testing.TB, x *Index, f File) {
	t.Helper()
	if err := x.Update(f); err != nil {
		t.Fatalf("update %s: %v", f.Name, err)
	}
}

func flush(t testing.TB, x *Index) {
	t.Helper()
	if err := x.Flush(context.Background()); err != nil {
		t.Fatal(err)
	}
}

// paths returns the paths of all files that a query finds, sorted.
func paths(t testing.TB, x *Index, query string) []string {
	t.Helper()
	res, err := x.Search(context.Background(), query, SearchOptions{Limit: 1 << 20})
	if err != nil {
		t.Fatalf("search %q: %v", query, err)
	}
	if res.Total != len(res.Hits) {
		t.Errorf("search %q: total %d of %d hits", query, res.Total, len(res.Hits))
	}
	found := []string{}
	for _, h := range res.Hits {
		found = append(found, h.Path)
	}
	slices.Sort(found)
	return found
}
