package main

import (
	"bufio"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/dbfs/dbfs"
	"github.com/dbfs/dbfs/cmd/dbfs/control"
)

// mountType and mountSource are what the kernel's table of mounts says of a drive, and
// how every command finds which profile a path belongs to.
const mountType = "fuse.dbfs"

func mountSource(profile string) string { return "dbfs:" + profile }

// mountPoint is a drive, or a part of one, in the local tree.
type mountPoint struct {
	dir     string // absolute
	root    string // the drive path that is shown there: "/" but for bind mounts
	profile string
	device  string // "major:minor"
}

// listMounts reads the kernel's table. It touches no file system, so a drive that hangs
// does no harm.
func listMounts() ([]mountPoint, error) {
	f, err := os.Open("/proc/self/mountinfo")
	if err != nil {
		return nil, fmt.Errorf("mounts: %w", err)
	}
	defer f.Close()
	var list []mountPoint
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		if m, ok := parseMount(lines.Text()); ok {
			list = append(list, m)
		}
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("mounts: %w", err)
	}
	return list, nil
}

// own keeps the mounts that daemons of these places serve, or served until they died: other
// users, and other homes, have profiles of the same names. A profile's lock file says
// where its mount is; bind mounts are known by its device.
func (p places) own(mounts []mountPoint) []mountPoint {
	devices := map[string]bool{}
	for _, m := range mounts {
		h, err := readHolder(p.runLock(m.profile))
		if err == nil && h.Mount == m.dir {
			devices[m.device] = true
		}
	}
	return slices.DeleteFunc(slices.Clone(mounts), func(m mountPoint) bool { return !devices[m.device] })
}

// realMountPoint returns the path under which the kernel knows a mount point: without
// symlinks. It does not touch what is mounted there, which may hang.
func realMountPoint(dir string, mounts []mountPoint) string {
	parent, err := filepath.EvalSymlinks(filepath.Dir(dir))
	if err != nil {
		return dir
	}
	dir = filepath.Join(parent, filepath.Base(dir))
	for _, m := range mounts {
		if m.dir == dir {
			return dir
		}
	}
	if real, err := filepath.EvalSymlinks(dir); err == nil {
		return real
	}
	return dir
}

// parseMount reads a line of mountinfo, as proc(5) draws it:
//
//	36 35 0:98 /root /mount/point options optional… - type source options
func parseMount(line string) (mountPoint, bool) {
	head, tail, ok := strings.Cut(line, " - ")
	place, kind := strings.Fields(head), strings.Fields(tail)
	if !ok || len(place) < 5 || len(kind) < 2 || kind[0] != mountType {
		return mountPoint{}, false
	}
	profile, ok := strings.CutPrefix(unescape(kind[1]), mountSource(""))
	return mountPoint{dir: unescape(place[4]), root: unescape(place[3]), profile: profile, device: place[2]}, ok
}

var octal = regexp.MustCompile(`\\[0-7]{3}`)

// unescape undoes the kernel's \040 for a space and the like.
func unescape(s string) string {
	return octal.ReplaceAllStringFunc(s, func(esc string) string {
		return string([]byte{(esc[1]-'0')<<6 | (esc[2]-'0')<<3 | (esc[3] - '0')})
	})
}

// within returns what of file is below dir: "/" for dir itself.
func within(dir, file string) (string, bool) {
	if dir == "/" {
		return file, true
	}
	rest, ok := strings.CutPrefix(file, dir)
	if !ok || rest != "" && rest[0] != '/' {
		return "", false
	}
	return path.Clean("/" + rest), true
}

// mountOf returns the innermost mount that holds an absolute path, and the path's place
// in the drive.
func mountOf(mounts []mountPoint, file string) (m mountPoint, drivePath string, ok bool) {
	for _, candidate := range mounts {
		if rest, in := within(candidate.dir, file); in && len(candidate.dir) >= len(m.dir) {
			m, drivePath, ok = candidate, path.Join(candidate.root, rest), true
		}
	}
	return m, drivePath, ok
}

// locate finds a local path in a mount, through symlinks in the directories above it.
func (t *tool) locate(arg string) (mountPoint, string, bool) {
	mounts, err := t.mounts()
	if err != nil || len(mounts) == 0 {
		return mountPoint{}, "", false
	}
	file, err := t.abs(arg)
	if err != nil {
		return mountPoint{}, "", false
	}
	if m, p, ok := mountOf(mounts, file); ok {
		return m, p, true
	}
	dir, err := filepath.EvalSymlinks(filepath.Dir(file))
	if err != nil {
		return mountPoint{}, "", false
	}
	file = filepath.Join(dir, filepath.Base(file))
	if m, p, ok := mountOf(mounts, file); ok {
		return m, p, true
	}
	if file, err = filepath.EvalSymlinks(file); err != nil {
		return mountPoint{}, "", false
	}
	return mountOf(mounts, file)
}

func (t *tool) abs(arg string) (string, error) {
	if filepath.IsAbs(arg) {
		return filepath.Clean(arg), nil
	}
	cwd, err := t.cwd()
	if err != nil {
		return "", fmt.Errorf("working directory: %w", err)
	}
	return filepath.Join(cwd, arg), nil
}

// mountOfAny returns the mount of the first argument that is in one, else that of the working directory.
func (t *tool) mountOfAny(args []string) (mountPoint, bool) {
	for _, arg := range append(args[:len(args):len(args)], ".") {
		if m, _, ok := t.locate(arg); ok && arg != "" {
			return m, true
		}
	}
	return mountPoint{}, false
}

// A place is a path as somebody typed it, or did not, and what it means in the drive.
type place struct {
	drive string // drive path
	shown string // what stands for drive in output; "" where paths are shown relative to the working directory
}

var namespacePath = regexp.MustCompile(`^[^/]+:/`)

// place finds out what an argument means: NAMESPACE:/PATH; else a local path in a mount of
// the profile; else, if it begins with a slash, a path from the top of the drive. No
// argument means the working directory if it is in the drive, otherwise all of the drive.
func (t *tool) place(arg string) (place, error) {
	if arg == "" {
		return t.herePlace(), nil
	}
	if namespacePath.MatchString(arg) {
		ns, rest, _ := strings.Cut(arg, ":")
		clean := ns + ":" + path.Clean(rest)
		return place{clean, clean}, nil
	}
	m, drivePath, ok := t.locate(arg)
	switch {
	case ok && m.profile == t.profile:
		return place{drivePath, arg}, nil
	case ok:
		return place{}, control.Errorf(dbfs.ErrInvalid, "%s belongs to profile %s, not to %s", arg, m.profile, t.profile)
	case strings.HasPrefix(arg, "/"):
		clean := path.Clean(arg)
		return place{clean, clean}, nil
	}
	return place{}, fmt.Errorf("%w: %s is not inside a mount of profile %s", dbfs.ErrNotExist, arg, t.profile)
}

func (t *tool) herePlace() place {
	if m, drivePath, ok := t.locate("."); ok && m.profile == t.profile {
		return place{drivePath, ""}
	}
	return place{"/", t.mountDir()}
}

// mountDir returns where the drive is mounted, or "/" where the kernel does not know it:
// paths are then shown as drive paths.
func (t *tool) mountDir() string {
	mounts, _ := t.mounts()
	for _, m := range mounts {
		if m.profile == t.profile && m.root == "/" {
			return m.dir
		}
	}
	return "/"
}

// drivePath returns the drive path that an argument means; "" for none.
func (t *tool) drivePath(arg string) (string, error) {
	if arg == "" {
		return "", nil
	}
	p, err := t.place(arg)
	return p.drive, err
}

// show returns how to write a drive path that is at p or below it, in the terms in
// which p was typed.
func (p place) show(drivePath string) string {
	rest, ok := within(p.drive, drivePath)
	if ns, dir, found := strings.Cut(p.drive, ":/"); found {
		below, same := strings.CutPrefix(drivePath, ns+":")
		rest, ok = within(path.Clean("/"+dir), below)
		ok = ok && same
	}
	switch {
	case !ok:
		return drivePath
	case rest == "/" && p.shown == "":
		return "."
	case rest == "/":
		return p.shown
	case p.shown == "":
		return rest[1:]
	}
	return strings.TrimRight(p.shown, "/") + rest
}

// local returns the local path of a drive path, and whether there is one.
func (t *tool) local(drivePath string) (string, bool) {
	dir := t.mountDir()
	if dir == "/" || !strings.HasPrefix(drivePath, "/") {
		return "", false
	}
	return filepath.Join(dir, drivePath), true
}
