package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/dbfs/dbfs"
	"github.com/dbfs/dbfs/cmd/dbfs/control"
)

func filestatusCommand(t *tool) *cobra.Command {
	var long bool
	cmd := &cobra.Command{
		Use:     "filestatus PATH...",
		Aliases: []string{"stat"},
		Short:   "Whether files are synced, and whether they are on this device",
		Long: "Filestatus tells of each path how far it is from the server (up-to-date, pending, uploading,\n" +
			"downloading, conflicted, ignored, error) and how much of it is here (online-only, partial, local, pinned).",
		Example:     "  dbfs filestatus plan.docx\n  dbfs filestatus -l ~/Dbfs/*\n  dbfs stat --json team:/plan.docx",
		Args:        cobra.MinimumNArgs(1),
		Annotations: map[string]string{byPath: "yes"},
		RunE: func(cmd *cobra.Command, args []string) error {
			return t.fileStatus(cmd.Context(), args, long)
		},
	}
	cmd.Flags().BoolVarP(&long, "long", "l", false, "size and revision, too")
	return cmd
}

// fileStatusReply is what filestatus --json prints.
type fileStatusReply struct {
	Files  []*control.FileStatus `json:"files"`
	Errors []*control.Error      `json:"errors"`
}

func (t *tool) fileStatus(ctx context.Context, args []string, long bool) error {
	client := t.daemon()
	reply := fileStatusReply{Files: []*control.FileStatus{}, Errors: []*control.Error{}}
	var tab table
	var failure error
	for _, arg := range args {
		f, shown, err := t.oneStatus(ctx, client, arg)
		if errors.Is(err, control.ErrNoDaemon) || errors.Is(err, context.Canceled) || err != nil && len(args) == 1 {
			return err
		}
		if err != nil {
			failure = err
			e := control.ErrorOf(control.WithPath(err, arg))
			reply.Errors = append(reply.Errors, e)
			t.noteItem(e)
			continue
		}
		reply.Files = append(reply.Files, f)
		if long {
			tab.add(t.fileCells(f, shown)...)
		} else {
			tab.add(fmt.Sprintf("%s: %s, %s", t.name(shown), f.Sync, residency(f)))
		}
	}
	switch {
	case t.json:
		if err := t.printJSON(reply); err != nil {
			return err
		}
	default:
		tab.write(t.out)
	}
	if failure == nil {
		return nil
	}
	return t.partial(len(reply.Files), failure)
}

// noteItem names an item that failed while others go on.
func (t *tool) noteItem(e *control.Error) {
	if !t.json {
		t.note("%s", e.Message)
	}
}

// partial ends a command some of whose items have failed and been named already.
func (t *tool) partial(good int, failure error) error {
	if good > 0 {
		failure = errPartial
	}
	return &exitError{code: exitCode(failure)}
}

func (t *tool) oneStatus(ctx context.Context, client *control.Client, arg string) (*control.FileStatus, string, error) {
	p, err := t.place(arg)
	if err != nil {
		return nil, "", err
	}
	f, err := client.FileStatus(ctx, p.drive)
	if err != nil {
		return nil, "", err
	}
	return f, p.show(f.Path), nil
}

func lsCommand(t *tool) *cobra.Command {
	var long, recursive bool
	cmd := &cobra.Command{
		Use:   "ls [PATH]",
		Short: "List a directory with the state of every file",
		Long: "Ls lists what is in a directory of the drive, mounted or not in this place: PATH may be a local\n" +
			"path, a path from the top of the drive, or NAMESPACE:/PATH.",
		Example:     "  dbfs ls\n  dbfs ls -R ~/Dbfs/photos\n  dbfs ls --json team:/ | jq .path",
		Args:        cobra.MaximumNArgs(1),
		Annotations: map[string]string{byPath: "yes"},
		RunE: func(cmd *cobra.Command, args []string) error {
			return t.list(cmd.Context(), firstOf(args), long, recursive)
		},
	}
	cmd.Flags().BoolVarP(&long, "long", "l", false, "mode, time and revision, too")
	cmd.Flags().BoolVarP(&recursive, "recursive", "R", false, "directories within directories, too")
	return cmd
}

func (t *tool) list(ctx context.Context, arg string, long, recursive bool) error {
	p, err := t.place(arg)
	if err != nil {
		return err
	}
	// Rows are lined up a screenful at a time, so that a long list begins at once.
	const screenful = 200
	var tab table
	err = t.daemon().List(ctx, control.ListRequest{Path: p.drive, Recursive: recursive}, func(f *control.FileStatus) error {
		if t.json {
			return t.lineJSON(f)
		}
		name := f.Name
		if recursive {
			name = p.show(f.Path)
		}
		cells := t.fileCells(f, name)
		if long {
			cells = append([]string{f.ModTime.Format("2006-01-02 15:04"), mode(f)}, cells...)
		}
		tab.add(cells...)
		if len(tab.rows) == screenful {
			tab.write(t.out)
			tab.rows = tab.rows[:0]
		}
		return nil
	})
	tab.write(t.out)
	return err
}

// fileCells are a file's columns: how synced, how much here, size, revision, name.
func (t *tool) fileCells(f *control.FileStatus, name string) []string {
	rev := fmt.Sprintf("rev %s", f.Rev)
	if f.Rev == 0 {
		rev = "new"
	}
	size, here := t.size(f.Size), residency(f)
	name = t.name(name)
	switch f.Kind {
	case dbfs.KindFile:
	case dbfs.KindFifo, dbfs.KindSocket, dbfs.KindCharDev, dbfs.KindBlockDev:
		size, here = "-", "-"
	case dbfs.KindSymlink:
		name += " -> " + t.name(f.Target)
		size, here = "-", "-"
	default:
		name += "/"
		size, here = "-", "-"
	}
	return []string{t.paintSync(f.Sync), here, size, rev, name}
}

func (t *tool) paintSync(w control.SyncWord) string {
	switch w {
	case control.UpToDate:
		return t.paint(green, string(w))
	case control.Conflicted, control.Failed:
		return t.paint(red, string(w))
	}
	return t.paint(yellow, string(w))
}

func residency(f *control.FileStatus) string {
	if f.Residency == control.Partial && f.Size > 0 {
		return fmt.Sprintf("partial(%d%%)", f.LocalBytes*100/f.Size)
	}
	return string(f.Residency)
}

// mode writes "-rw-r--r--" and the like, as ls does.
func mode(f *control.FileStatus) string {
	n := dbfs.Node{Kind: f.Kind, Attr: dbfs.Attr{Mode: f.Mode}}
	return strings.Replace(n.FileMode().String(), "L", "l", 1)
}

func firstOf(args []string) string {
	if len(args) == 0 {
		return ""
	}
	return args[0]
}
