package daemon

import (
	"fmt"
	"path"
	"strings"

	"github.com/dbfs/dbfs"
)

// begin cuts a drive path into the namespace it starts in and the names that follow.
func (d *Daemon) begin(p string) (*space, []string, error) {
	sp := d.space(d.me.Root)
	if name, rest, ok := strings.Cut(p, ":/"); ok && !strings.HasPrefix(p, "/") {
		if sp = d.spaceNamed(name); sp == nil {
			return nil, nil, fmt.Errorf("there is no namespace %q: %w", name, dbfs.ErrNotExist)
		}
		p = "/" + rest
	}
	p = strings.Trim(path.Clean("/"+p), "/")
	if p == "" {
		return sp, nil, nil
	}
	return sp, strings.Split(p, "/"), nil
}

func (d *Daemon) spaceNamed(name string) *space {
	for _, sp := range d.all() {
		if d.named(sp) == name || sp.journal.NS().String() == name {
			return sp
		}
	}
	return nil
}

// top returns the drive path that a namespace's own paths hang below: "/", or where it is
// mounted, or "name:/" where it is not.
func (d *Daemon) top(sp *space) string {
	if sp.journal.NS() == d.me.Root {
		return "/"
	}
	root := d.space(d.me.Root)
	if id, ok := root.feed.mounted(sp.journal.NS()); ok {
		if p, ok := root.journal.Path(id); ok {
			return "/" + p + "/"
		}
	}
	return d.named(sp) + ":/"
}

// drivePath returns the drive path of a node.
func (d *Daemon) drivePath(sp *space, id dbfs.NodeID) (string, bool) {
	p, ok := sp.journal.Path(id)
	return d.top(sp) + p, ok
}

// canonical writes a drive path as drivePath does, but without a slash at its end: "team:/a" is "/team/a" where that namespace is
// mounted there. "" is the whole drive.
func (d *Daemon) canonical(p string) string {
	sp, names, err := d.begin(p)
	if err != nil {
		return strings.TrimSuffix(p, "/")
	}
	return strings.TrimSuffix(d.top(sp)+strings.Join(names, "/"), "/")
}

// isBelow reports whether a path of the drive is that of a directory, "" being all of the drive, or below it.
func isBelow(path, dir string) bool {
	return dir == "" || strings.TrimSuffix(path, "/") == dir || strings.HasPrefix(path, dir+"/")
}
