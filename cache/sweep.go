package cache

import (
	"encoding/hex"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/dbfs/dbfs"
)

const (
	sweepDelay = time.Minute     // after Open
	sweepAge   = 2 * time.Minute // files that changed since may be about to get their record
)

// sweep removes files that no record knows of: a crash between a file and its record leaves
// them.
func (c *Cache) sweep(now time.Time) error {
	old := now.Add(-sweepAge)
	var err error
	for _, h := range []*home{c.cache, c.state} {
		err = errors.Join(err, c.sweepDir(filepath.Join(h.dir, "bodies"), old, c.bodyKnown),
			c.sweepDir(filepath.Join(h.dir, "chunks"), old, c.chunkKnown))
	}
	return err
}

func (c *Cache) sweepDir(dir string, old time.Time, known func(name string) (bool, error)) error {
	return filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		switch {
		case errors.Is(err, os.ErrNotExist) || err == nil && d.IsDir():
			return c.ctx.Err()
		case err != nil:
			return err
		}
		if !strings.HasPrefix(d.Name(), tmpPrefix) {
			if yes, err := known(d.Name()); yes || err != nil {
				return err
			}
		}
		info, err := d.Info()
		if err != nil || changed(info).After(old) {
			return nil
		}
		c.opts.Log.Info("removing a file that no record knows of", "file", path)
		return removeFile(path)
	})
}

// changed returns when a file was last written to or renamed.
func changed(info fs.FileInfo) time.Time {
	if st, ok := info.Sys().(*syscall.Stat_t); ok {
		return time.Unix(st.Ctim.Unix())
	}
	return info.ModTime()
}

// bodyKnown reports whether a body of that name is in either book: it may be on its way.
func (c *Cache) bodyKnown(name string) (bool, error) {
	ns, node, _ := strings.Cut(name, "-")
	var f File
	if f.NS.UnmarshalText([]byte(ns)) != nil || f.Node.UnmarshalText([]byte(node)) != nil {
		return false, nil
	}
	return c.inEither(partsKey(f))
}

func (c *Cache) chunkKnown(name string) (bool, error) {
	var id dbfs.ChunkID
	if b, err := hex.DecodeString(name); err != nil || copy(id[:], b) != len(id) {
		return false, nil
	}
	u, err := c.state.get(unsentKey(id))
	if u != nil || err != nil {
		return true, err
	}
	l, err := c.cache.get(looseKey(id))
	return l != nil, err
}

func (c *Cache) inEither(key []byte) (bool, error) {
	for _, h := range []*home{c.state, c.cache} {
		if v, err := h.get(key); v != nil || err != nil {
			return true, err
		}
	}
	return false, nil
}
