package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"unicode/utf8"

	"github.com/aymanbagabas/go-udiff"
	"github.com/spf13/cobra"

	"github.com/dbfs/dbfs"
	"github.com/dbfs/dbfs/cmd/dbfs/control"
)

// resolveFlags are the flags of conflicts resolve.
type resolveFlags struct {
	ours, theirs, both, merge bool
	tool, rename              string
	yes                       bool
}

func resolveCommand(t *tool) *cobra.Command {
	var f resolveFlags
	cmd := &cobra.Command{
		Use: "resolve PATH", Short: "Decide which version stays",
		Long: "Resolve ends a conflict in one of these ways:\n\n" +
			"  --ours      the copy's content gets the name\n" +
			"  --theirs    what has the name stays, and the copy goes\n" +
			"  --both      both stay; nobody asks any more, on no device (--rename NAME gives the copy a name of its own)\n" +
			"  --merge     the changes of both are put together, line by line; needs the common base\n" +
			"  --tool CMD  CMD decides: it finds the versions in the files $BASE, $OURS and $THEIRS and writes $OUT\n\n" +
			"Where --merge finds the same lines changed on both sides, the file gets both between markers, the copy\n" +
			"stays, and the exit code is 9. What is replaced or removed is in the server's history; what has not got\n" +
			"there yet is lost only with --yes. PATH is the copy or, if it has only one, the original.",
		Example: "  dbfs conflicts resolve plan.txt --theirs\n  dbfs conflicts resolve plan.txt --tool 'meld \"$OURS\" \"$BASE\" \"$THEIRS\" -o \"$OUT\"'",
		RunE:    func(cmd *cobra.Command, args []string) error { return t.resolve(cmd.Context(), args[0], &f) },
	}
	fl := cmd.Flags()
	fl.BoolVar(&f.ours, "ours", false, "the copy's content gets the name")
	fl.BoolVar(&f.theirs, "theirs", false, "the copy goes")
	fl.BoolVar(&f.both, "both", false, "both stay")
	fl.BoolVar(&f.merge, "merge", false, "put the changes together")
	fl.StringVar(&f.tool, "tool", "", "a shell command that writes $OUT from $BASE, $OURS and $THEIRS")
	fl.StringVar(&f.rename, "rename", "", "with --both: what the copy is called from now on")
	fl.BoolVar(&f.yes, "yes", false, "even if what goes has not reached the server, and is lost")
	cmd.MarkFlagsMutuallyExclusive("ours", "theirs", "both", "merge", "tool")
	cmd.MarkFlagsOneRequired("ours", "theirs", "both", "merge", "tool")
	return cmd
}

func (t *tool) resolve(ctx context.Context, arg string, f *resolveFlags) error {
	if f.rename != "" && !f.both {
		return control.Errorf(control.ErrUsage, "--rename goes with --both")
	}
	c, err := t.conflict(ctx, arg)
	if err != nil {
		return err
	}
	req := control.ResolveRequest{Path: c.Path, Rename: f.rename, Lose: f.yes, Ours: c.Ours.Hash}
	if c.Theirs != nil {
		req.Theirs = c.Theirs.Hash
	}
	switch {
	case f.ours:
		req.How = control.TakeOurs
	case f.theirs:
		req.How = control.TakeTheirs
	case f.both:
		req.How = control.KeepBoth
	default:
		return t.mergeConflict(ctx, c, req, f)
	}
	return t.resolved(ctx, req)
}

func (t *tool) resolved(ctx context.Context, req control.ResolveRequest) error {
	if err := t.daemon().ResolveConflict(ctx, req); err != nil {
		return err
	}
	if t.json {
		return t.printJSON(req)
	}
	t.note("resolved: %s", req.Path)
	return nil
}

// mergeConflict makes one file of the versions and, if that is done, removes the copy.
func (t *tool) mergeConflict(ctx context.Context, c *control.ConflictDetail, req control.ResolveRequest, f *resolveFlags) error {
	v, err := t.versions(ctx, c)
	if err != nil {
		return err
	}
	var merged []byte
	conflicts := 0
	if f.tool != "" {
		merged, err = t.runTool(ctx, f.tool, v)
	} else {
		merged, conflicts, err = mergeTexts(c, v)
	}
	if err != nil {
		return err
	}
	if c.Theirs.Unsent && !f.yes {
		return control.WithHint(control.Errorf(dbfs.ErrBusy, "%s has not reached the server, so that nothing keeps what it was", v.theirsFile), "dbfs wait, or --yes")
	}
	// What the two were is looked at again before the file is written, as far as that can be.
	if now, err := t.daemon().Conflict(ctx, c.Path); err != nil || now.Theirs == nil || now.Theirs.Hash != c.Theirs.Hash || now.Ours.Hash != c.Ours.Hash {
		return control.WithHint(control.Errorf(dbfs.ErrBusy, "%s has been changed meanwhile", c.Path), "do it again")
	}
	if err := overwrite(v.theirsFile, merged); err != nil {
		return err
	}
	if conflicts > 0 {
		err := control.Errorf(control.ErrAttention, "%s: %s changed on both sides are between markers in it", v.theirsFile, count(int64(conflicts), "place"))
		return control.WithHint(err, "edit it, then: dbfs conflicts resolve --theirs")
	}
	req.How, req.Theirs, req.Lose = control.TakeTheirs, dbfs.ChunkID{}, true // what the copy held is in the merged file
	return t.resolved(ctx, req)
}

// versions are the contents of a conflict.
type versions struct {
	base, ours, theirs   []byte
	hasBase              bool
	oursFile, theirsFile string // in the mount
}

// maxVersion is the largest file, in bytes, that is read as a whole.
const maxVersion = 64 << 20

func (t *tool) versions(ctx context.Context, c *control.ConflictDetail) (*versions, error) {
	v := &versions{}
	if c.Theirs == nil {
		return nil, control.WithHint(control.Errorf(dbfs.ErrNotExist, "nothing has the name of %s any more", c.Path), "--ours gives it back")
	}
	for _, one := range []struct {
		from *control.ConflictVersion
		file *string
		to   *[]byte
	}{{&c.Ours, &v.oursFile, &v.ours}, {c.Theirs, &v.theirsFile, &v.theirs}} {
		var ok bool
		if *one.file, ok = t.local(one.from.Path); !ok {
			return nil, control.Errorf(dbfs.ErrUnsupported, "%s is not in the mount, so that it cannot be read here", one.from.Path)
		}
		if one.from.Kind != dbfs.KindFile || one.from.Size > maxVersion {
			return nil, control.Errorf(dbfs.ErrUnsupported, "%s is no file, or one of more than %s", one.from.Path, t.size(maxVersion))
		}
		b, err := os.ReadFile(*one.file)
		if err != nil {
			return nil, fmt.Errorf("read a version: %w", err)
		}
		*one.to = b
	}
	if c.Base == nil {
		return v, nil
	}
	base, err := t.daemon().ConflictBase(ctx, c.Path)
	switch {
	case err == nil:
		v.base, v.hasBase = base, true
	case !errors.Is(err, dbfs.ErrNotExist) && !errors.Is(err, dbfs.ErrTooLarge):
		return nil, err
	default:
		c.NoBase = err.Error()
	}
	return v, nil
}

func mergeTexts(c *control.ConflictDetail, v *versions) ([]byte, int, error) {
	if !v.hasBase {
		return nil, 0, control.WithHint(control.Errorf(dbfs.ErrUnsupported, "cannot merge without the common base: %s", c.NoBase), "--tool CMD, or --both")
	}
	if !isText(v.base) || !isText(v.ours) || !isText(v.theirs) {
		return nil, 0, control.WithHint(control.Errorf(dbfs.ErrUnsupported, "%s is no text", c.Path), "--ours, --theirs, --both, or --tool CMD")
	}
	merged, conflicts := merge3(string(v.base), string(v.ours), string(v.theirs))
	return []byte(merged), conflicts, nil
}

func isText(b []byte) bool { return utf8.Valid(b) && !strings.Contains(string(b), "\x00") }

// runTool lets a command decide, and returns what it wrote.
func (t *tool) runTool(ctx context.Context, command string, v *versions) ([]byte, error) {
	dir, err := os.MkdirTemp("", "dbfs-resolve-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	cmd := exec.CommandContext(ctx, "/bin/sh", "-c", command)
	cmd.Env = os.Environ()
	name := filepath.Base(v.theirsFile)
	out := filepath.Join(dir, "OUT."+name)
	for _, one := range []struct {
		variable string
		content  []byte
	}{{"BASE", v.base}, {"OURS", v.ours}, {"THEIRS", v.theirs}} {
		file := filepath.Join(dir, one.variable+"."+name)
		if err := os.WriteFile(file, one.content, 0o600); err != nil {
			return nil, err
		}
		cmd.Env = append(cmd.Env, one.variable+"="+file)
	}
	cmd.Env = append(cmd.Env, "OUT="+out)
	if !v.hasBase {
		t.note("the common base is not known: $BASE is empty")
	}
	cmd.Stdin, cmd.Stdout, cmd.Stderr = t.in, t.errs, t.errs
	if err := cmd.Run(); err != nil {
		return nil, fmt.Errorf("nothing was changed: the tool failed: %w", err)
	}
	b, err := os.ReadFile(out)
	if errors.Is(err, os.ErrNotExist) {
		return nil, errors.New("nothing was changed: the tool did not write $OUT")
	}
	return b, err
}

// overwrite gives a file new content; when it returns, that is safe on this disk.
func overwrite(file string, b []byte) error {
	f, err := os.OpenFile(file, os.O_WRONLY|os.O_TRUNC, 0)
	if err != nil {
		return fmt.Errorf("write the result: %w", err)
	}
	_, err = f.Write(b)
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return fmt.Errorf("write the result: %w", err)
	}
	return nil
}

// diffConflict prints how the versions differ.
func (t *tool) diffConflict(ctx context.Context, arg string) (same bool, err error) {
	c, err := t.conflict(ctx, arg)
	if err != nil {
		return false, err
	}
	if c.Theirs == nil {
		return false, control.Errorf(dbfs.ErrNotExist, "nothing has the name of %s any more", c.Path)
	}
	if c.Ours.Kind == c.Theirs.Kind && c.Ours.Kind == dbfs.KindFile && c.Ours.Hash == c.Theirs.Hash {
		return true, nil
	}
	everything := place{"/", t.mountDir()}
	theirs, ours := everything.show(c.Theirs.Path), everything.show(c.Ours.Path)
	v, err := t.versions(ctx, c)
	if err == nil && isText(v.ours) && isText(v.theirs) {
		t.printf("%s", udiff.Unified(t.name(theirs), t.name(ours), string(v.theirs), string(v.ours)))
		return false, nil
	}
	if err != nil && !errors.Is(err, dbfs.ErrUnsupported) {
		return false, err
	}
	for _, one := range []struct {
		sign, path string
		v          *control.ConflictVersion
	}{{"---", theirs, c.Theirs}, {"+++", ours, &c.Ours}} {
		if one.v.Kind == dbfs.KindFile {
			t.printf("%s %s\t%s\t%s\n", one.sign, t.name(one.path), t.size(one.v.Size), one.v.Hash)
		} else {
			t.printf("%s %s\t%s\n", one.sign, t.name(one.path), one.v.Kind)
		}
	}
	return false, nil
}
