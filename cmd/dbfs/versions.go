package main

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/dbfs/dbfs"
	"github.com/dbfs/dbfs/cmd/dbfs/control"
)

func versionsCommand(t *tool) *cobra.Command {
	return &cobra.Command{
		Use: "versions PATH", Short: "List what a file was",
		Long: "Versions lists the contents that the server has kept of a file, oldest first, with the number that\n" +
			"restore takes, when it came, how large it is and which device made it. They are kept for as long as\n" +
			"the server was told, 30 days and 100 for each file by default.",
		Example:     "  dbfs versions ~/Dbfs/plan.txt\n  dbfs versions plan.txt --json",
		Args:        cobra.ExactArgs(1),
		Annotations: map[string]string{byPath: "yes"},
		RunE:        func(cmd *cobra.Command, args []string) error { return t.fileVersions(cmd.Context(), args[0]) },
	}
}

func (t *tool) fileVersions(ctx context.Context, arg string) error {
	p, err := t.place(arg)
	if err != nil {
		return err
	}
	list, err := t.daemon().Versions(ctx, p.drive)
	if err != nil {
		return err
	}
	if t.json {
		return t.printJSON(list)
	}
	var tab table
	for _, v := range list.Versions {
		tab.add(fmt.Sprint(uint64(v.Version)), t.versionTime(v), t.size(v.Size), orDash(v.Device), presentWord(v))
	}
	tab.write(t.out)
	return nil
}

// versionTime is when a version came, or as what time the file showed it.
func (t *tool) versionTime(v control.FileVersion) string {
	if v.Time.IsZero() {
		return t.clock(v.ModTime)
	}
	return t.clock(v.Time)
}

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return visible(s)
}

func presentWord(v control.FileVersion) string {
	if v.Present {
		return "present"
	}
	return ""
}

func restoreCommand(t *tool) *cobra.Command {
	var version uint64
	var at, to string
	cmd := &cobra.Command{
		Use: "restore PATH [--version N | --at TIME]", Short: "Bring back what a file was, or what was deleted",
		Long: "Restore gives a file a content that it had before, which is an edit like any other: what it has now\n" +
			"becomes a version, too. With --to it makes a new file of the old content and leaves the other alone.\n" +
			"Of a path where nothing is any more it brings back what was deleted there last (see dbfs trash).\n" +
			"TIME is a date, a date with a time, or how long ago: 2026-05-01, '2026-05-01 17:30', 3h, 2d.",
		Example: "  dbfs restore deleted.txt\n  dbfs restore plan.txt --version 1234\n  dbfs restore plan.txt --at 2h\n" +
			"  dbfs restore plan.txt --at '2026-05-01 17:30' --to plan.old.txt",
		Args:        cobra.ExactArgs(1),
		Annotations: map[string]string{byPath: "yes"},
		RunE: func(cmd *cobra.Command, args []string) error {
			if version == 0 && at == "" {
				return t.restoreDeleted(cmd.Context(), args[0], to)
			}
			return t.restore(cmd.Context(), args[0], version, at, to)
		},
	}
	cmd.Flags().Uint64Var(&version, "version", 0, "its number, as dbfs versions has it")
	cmd.Flags().StringVar(&at, "at", "", "what the file was at that time")
	cmd.Flags().StringVar(&to, "to", "", "a new file, in the same namespace")
	cmd.MarkFlagsMutuallyExclusive("version", "at")
	return cmd
}

func (t *tool) restore(ctx context.Context, arg string, version uint64, at, to string) error {
	p, err := t.place(arg)
	if err != nil {
		return err
	}
	req := control.RestoreRequest{Path: p.drive, Version: dbfs.JID(version)}
	if at != "" {
		if req.At, err = parseMoment(at, t.now()); err != nil {
			return control.Errorf(control.ErrUsage, "%v", err)
		}
	}
	if req.To, err = t.drivePath(to); err != nil {
		return err
	}
	res, err := t.daemon().RestoreVersion(ctx, req)
	if err != nil {
		return err
	}
	if t.json {
		return t.printJSON(res)
	}
	t.printf("%s is what it was at %s, %s\n", t.name(res.Path), t.versionTime(res.Version), t.size(res.Version.Size))
	return nil
}

// parseMoment reads a point in time: a date, one with a time of day, RFC 3339, or how long ago.
func parseMoment(v string, now time.Time) (time.Time, error) {
	for _, layout := range []string{time.RFC3339, "2006-01-02 15:04:05", "2006-01-02 15:04", time.DateOnly} {
		if at, err := time.ParseInLocation(layout, v, now.Location()); err == nil {
			return at, nil
		}
	}
	if ago, err := parseSpan(v); err == nil {
		return now.Add(-ago), nil
	}
	return time.Time{}, fmt.Errorf("%q is not a time: write 2026-05-01, '2026-05-01 17:30', or 2h for two hours ago", v)
}
