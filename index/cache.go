package index

import (
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"sync"
	"sync/atomic"

	"github.com/dbfs/dbfs"
)

// pageSize is the unit in which segment files are read, checked and cached, in bytes.
const pageSize = 16 << 10

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// A Cache holds pages of segment files, up to a number of bytes. Several indexes may share one.
type Cache struct {
	mu    sync.Mutex // guards what follows
	slots []slot     // a clock: hand sweeps over it to find a page to forget
	where map[pageKey]int
	hand  int
}

type pageKey struct {
	file uint64
	page uint32
}

type slot struct {
	key  pageKey
	data []byte // immutable; readers may hold it after it has left the cache
	used bool
}

// NewCache returns a cache of about that many bytes.
func NewCache(bytes int) *Cache {
	return &Cache{slots: make([]slot, max(8, bytes/pageSize)), where: make(map[pageKey]int)}
}

func (c *Cache) get(k pageKey) []byte {
	c.mu.Lock()
	defer c.mu.Unlock()
	if i, ok := c.where[k]; ok {
		c.slots[i].used = true
		return c.slots[i].data
	}
	return nil
}

func (c *Cache) put(k pageKey, data []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, ok := c.where[k]; ok {
		return
	}
	for c.slots[c.hand].used {
		c.slots[c.hand].used = false
		c.hand = (c.hand + 1) % len(c.slots)
	}
	s := &c.slots[c.hand]
	if s.data != nil {
		delete(c.where, s.key)
	}
	*s = slot{key: k, data: data}
	c.where[k] = c.hand
	c.hand = (c.hand + 1) % len(c.slots)
}

// forget drops every page of a file.
func (c *Cache) forget(file uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for i := range c.slots {
		if s := &c.slots[i]; s.data != nil && s.key.file == file {
			delete(c.where, s.key)
			*s = slot{}
		}
	}
}

// pages reads a file that has a checksum for each of its pages: no byte is handed out
// that was not checked when it came from the disk.
type pages struct {
	f     *os.File
	id    uint64 // unique in this process: the file's name in the cache
	size  int64  // of the part that has checksums
	sums  []uint32
	cache *Cache

	passed atomic.Pointer[onePage] // what was read last in passing
}

type onePage struct {
	i    uint32
	data []byte // immutable
}

var lastPagesID atomic.Uint64

func newPages(f *os.File, size int64, sums []uint32, cache *Cache) *pages {
	return &pages{f: f, id: lastPagesID.Add(1), size: size, sums: sums, cache: cache}
}

// page returns a page, which must not be changed. Pages read in passing (a merge) do not
// enter the cache, but the last of them is kept: the lists of documents that lie in it come one after the other. Without
// that a merge read and checked 16 KiB for each, which was two fifths of all that a drive allocated while an archive was unpacked.
func (p *pages) page(i uint32, passing bool) ([]byte, error) {
	key := pageKey{p.id, i}
	if data := p.cache.get(key); data != nil {
		return data, nil
	}
	if passing {
		if last := p.passed.Load(); last != nil && last.i == i {
			return last.data, nil
		}
	}
	off := int64(i) * pageSize
	data := make([]byte, min(pageSize, p.size-off))
	if _, err := p.f.ReadAt(data, off); err != nil {
		if err == io.EOF {
			return nil, &damage{p, i}
		}
		return nil, fmt.Errorf("read %s page %d: %w", p.f.Name(), i, err)
	}
	if crc32.Checksum(data, castagnoli) != p.sums[i] {
		return nil, &damage{p, i}
	}
	if passing {
		p.passed.Store(&onePage{i, data})
	} else {
		p.cache.put(key, data)
	}
	return data, nil
}

// A damage says that a page is not what was written.
type damage struct {
	pages *pages
	page  uint32
}

func (d *damage) Error() string {
	return fmt.Sprintf("%v: %s page %d does not match its checksum", dbfs.ErrCorrupt, d.pages.f.Name(), d.page)
}

func (d *damage) Unwrap() error { return dbfs.ErrCorrupt }

// A pageReader reads ranges of a paged file. It remembers the page it was in, so that
// reading forwards costs one look-up a page. One goroutine uses it.
type pageReader struct {
	p       *pages
	passing bool
	at      uint32
	data    []byte // nil before the first read
	joined  []byte // a range that crosses pages is put together here
}

// read returns n bytes from off, good until the next read.
func (r *pageReader) read(off int64, n int) ([]byte, error) {
	if off < 0 || n < 0 || off+int64(n) > r.p.size {
		return nil, fmt.Errorf("%w: %s has no bytes %d+%d", dbfs.ErrCorrupt, r.p.f.Name(), off, n)
	}
	if n == 0 {
		return nil, nil
	}
	data, err := r.load(uint32(off / pageSize))
	if err != nil {
		return nil, err
	}
	start := int(off % pageSize)
	if start+n <= len(data) {
		return data[start : start+n], nil
	}
	r.joined = append(r.joined[:0], data[start:]...)
	for i := uint32(off/pageSize) + 1; len(r.joined) < n; i++ {
		if data, err = r.load(i); err != nil {
			return nil, err
		}
		r.joined = append(r.joined, data[:min(len(data), n-len(r.joined))]...)
	}
	return r.joined, nil
}

func (r *pageReader) load(i uint32) ([]byte, error) {
	if r.data != nil && r.at == i {
		return r.data, nil
	}
	data, err := r.p.page(i, r.passing)
	if err == nil {
		r.at, r.data = i, data
	}
	return data, err
}

// A pageWriter writes a file front to back and keeps the checksum of each page.
type pageWriter struct {
	f    *os.File
	buf  []byte // less than bufPages pages
	off  int64  // where buf goes
	sums []uint32
	err  error // the first one; later writes do nothing
}

const bufPages = 8

func newPageWriter(f *os.File) *pageWriter {
	return &pageWriter{f: f, buf: make([]byte, 0, bufPages*pageSize)}
}

func (w *pageWriter) pos() int64 { return w.off + int64(len(w.buf)) }

func (w *pageWriter) write(b []byte) {
	for len(b) > 0 {
		n := min(len(b), cap(w.buf)-len(w.buf))
		w.buf = append(w.buf, b[:n]...)
		b = b[n:]
		if len(w.buf) == cap(w.buf) {
			w.flush()
		}
	}
}

func (w *pageWriter) flush() {
	for i := 0; i < len(w.buf); i += pageSize {
		w.sums = append(w.sums, crc32.Checksum(w.buf[i:min(i+pageSize, len(w.buf))], castagnoli))
	}
	if w.err == nil {
		_, w.err = w.f.Write(w.buf)
	}
	w.off += int64(len(w.buf))
	w.buf = w.buf[:0]
}
