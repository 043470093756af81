package main

import (
	"context"
	"errors"
	"time"

	"github.com/dustin/go-humanize"
	"github.com/spf13/cobra"

	"github.com/dbfs/dbfs"
	"github.com/dbfs/dbfs/cmd/dbfs/control"
)

func trashCommand(t *tool) *cobra.Command {
	cmd := &cobra.Command{
		Use: "trash", Short: "What was deleted, and bringing it back",
		Long: "What is deleted stays at the server for a while, with the path that it had: 30 days, if nobody has set another time\n" +
			"(dbfs serve --keep). Trash lists it and brings it back.",
		Example:     "  dbfs trash ls\n  dbfs trash ls ~/Dbfs/photos --since 2d\n  dbfs trash restore ~/Dbfs/photos/2019",
		Args:        knownCommand,
		Annotations: map[string]string{byPath: "yes"},
		RunE: func(cmd *cobra.Command, _ []string) error {
			return t.trash(cmd.Context(), "", "", defaultTrashLimit)
		},
	}
	limit, since := defaultTrashLimit, ""
	ls := &cobra.Command{
		Use: "ls [PATH]", Short: "List what was deleted, what went last first",
		Long: "Ls lists what was deleted at PATH or below it. A directory stands for what went with it; to see that, name it.\n" +
			"TIME is a date, a date with a time, or how long ago: 2026-05-01, '2026-05-01 17:30', 3h, 2d.",
		Example: "  dbfs trash ls\n  dbfs trash ls ~/Dbfs/photos --since 2d\n  dbfs trash ls --json --limit 0", Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return t.trash(cmd.Context(), firstOf(args), since, limit)
		},
	}
	ls.Flags().IntVar(&limit, "limit", limit, "how many to show; 0 is all")
	ls.Flags().StringVar(&since, "since", "", "only what was deleted since that time")
	var id, to string
	restore := &cobra.Command{
		Use: "restore PATH", Short: "Bring back what was deleted at a path",
		Long: "Restore makes anew what was deleted last at PATH, and of a directory what went with it: what was deleted in it within ten\n" +
			"minutes of the next. Directories that it was in, and that are gone, too, are made again; one that is there again is\n" +
			"filled, and what has a name there keeps it. What is brought back has no versions of before; those stay with what was deleted.",
		Example: "  dbfs trash restore ~/Dbfs/photos/2019\n  dbfs trash restore ~/Dbfs/plan.txt --to ~/Dbfs/plan.old.txt\n" +
			"  dbfs trash restore ~/Dbfs/plan.txt --id 0190b2c3d4e5f60718293a4b5c6d7e8f",
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error { return t.untrash(cmd.Context(), args[0], id, to) },
	}
	restore.Flags().StringVar(&id, "id", "", "which, if several were deleted there, as dbfs trash ls --json has it")
	restore.Flags().StringVar(&to, "to", "", "another place, in the same namespace")
	for _, sub := range []*cobra.Command{ls, restore} {
		sub.Annotations = cmd.Annotations
		cmd.AddCommand(sub)
	}
	return cmd
}

const defaultTrashLimit = 50

// trashReply is what trash ls --json prints.
type trashReply struct {
	Deleted []control.TrashItem `json:"deleted"`
	control.TrashSummary
}

func (t *tool) trash(ctx context.Context, arg, since string, limit int) (err error) {
	req := control.TrashRequest{Limit: limit}
	if limit < 0 {
		return control.Errorf(control.ErrUsage, "--limit %d: it is a number, or 0 for all", limit)
	}
	if since != "" {
		if req.Since, err = parseMoment(since, t.now()); err != nil {
			return control.Errorf(control.ErrUsage, "%v", err)
		}
	}
	if req.Path, err = t.drivePath(arg); err != nil {
		return err
	}
	reply := trashReply{Deleted: []control.TrashItem{}}
	sum, err := t.daemon().Trash(ctx, req, func(item *control.TrashItem) error {
		reply.Deleted = append(reply.Deleted, *item)
		return nil
	})
	if err != nil {
		return err
	}
	if reply.TrashSummary = *sum; t.json {
		return t.printJSON(reply)
	}
	t.writeTrash(&reply)
	return nil
}

func (t *tool) writeTrash(reply *trashReply) {
	everything := place{"/", t.mountDir()}
	var tab table
	for i := range reply.Deleted {
		item := &reply.Deleted[i]
		what, name := t.size(item.Size), everything.show(item.Path)
		if item.Kind == dbfs.KindDir {
			what += " in " + count(int64(item.Files), "file")
			name += "/"
		}
		kept := "-"
		switch {
		case !item.Kept:
			kept = t.paint(yellow, "content no longer kept")
		case !item.Expires.IsZero():
			kept = "for " + roughly(item.Expires.Sub(t.now()).Round(time.Hour))
		}
		line := t.name(name)
		if item.Taken {
			line += "  (something else is there now)"
		}
		tab.add(t.ago(item.Deleted), what, kept, line)
	}
	tab.write(t.out)
	switch {
	case len(reply.Deleted) == 0:
		t.note("nothing was deleted there that the server knows of")
	case reply.More:
		t.note("… and %s more (--limit 0 shows all)", count(int64(reply.Items-len(reply.Deleted)), "item"))
	}
	if reply.Pending > 0 {
		t.note("%s not at the server yet, so what they delete is not listed: %s", count(int64(reply.Pending), "change"), t.ours("dbfs wait"))
	}
}

// restoreDeleted is restore without a version, which means what was deleted.
func (t *tool) restoreDeleted(ctx context.Context, arg, to string) error {
	p, err := t.place(arg)
	if err != nil {
		return err
	}
	if st, err := t.daemon().FileStatus(ctx, p.drive); err == nil && !st.Kind.IsDir() {
		return control.Errorf(control.ErrUsage, "%s is there: say by --version or --at what it is to be", p.show(p.drive))
	} else if err != nil && !errors.Is(err, dbfs.ErrNotExist) {
		return err
	}
	return t.untrash(ctx, arg, "", to)
}

func (t *tool) untrash(ctx context.Context, arg, id, to string) error {
	p, err := t.place(arg)
	if err != nil {
		return err
	}
	req := control.UntrashRequest{Path: p.drive}
	if req.To, err = t.drivePath(to); err != nil {
		return err
	}
	if id != "" {
		if err := req.ID.UnmarshalText([]byte(id)); err != nil {
			return control.Errorf(control.ErrUsage, "--id: %v", err)
		}
	}
	res, err := t.daemon().Untrash(ctx, req)
	if err != nil {
		return err
	}
	if t.json {
		return t.printJSON(res)
	}
	line := t.size(res.Bytes) + " in " + count(int64(res.Files), "file")
	switch {
	case res.Dirs == 1:
		line += " and 1 directory"
	case res.Dirs > 1:
		line += " and " + humanize.Comma(int64(res.Dirs)) + " directories"
	}
	t.printf("%s is back: %s\n", t.name(place{"/", t.mountDir()}.show(res.Path)), line)
	if res.Lost > 0 {
		t.note("%s not back: their content is not kept any more", count(int64(res.Lost), "file"))
	}
	if res.Taken > 0 {
		t.note("%s not back: something else is there now", count(int64(res.Taken), "item"))
	}
	if res.Left > 0 {
		t.note("%s deleted there long before, and not brought back: %s", count(int64(res.Left), "item"), t.ours("dbfs trash ls "+arg))
	}
	return nil
}
