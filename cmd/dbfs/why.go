package main

import (
	"context"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/dbfs/dbfs/cmd/dbfs/control"
)

func whyCommand(t *tool) *cobra.Command {
	limit := defaultWhyLimit
	cmd := &cobra.Command{
		Use: "why [PATH]", Short: "Which programs had what downloaded",
		Long: "Why says which programs had bytes downloaded since the drive was mounted, and which were refused: those that read\n" +
			"every file that they find, to make little pictures or an index, get names, sizes and what is on this machine (see\n" +
			"dbfs mount --shield). With PATH it says who wanted that file, or the files below that directory.",
		Example:     "  dbfs why\n  dbfs why ~/Dbfs/photos\n  dbfs mount --shield auto,-tumblerd,photoprism",
		Args:        cobra.MaximumNArgs(1),
		Annotations: map[string]string{byPath: "yes"},
		RunE:        func(cmd *cobra.Command, args []string) error { return t.why(cmd.Context(), firstOf(args), limit) },
	}
	cmd.Flags().IntVar(&limit, "limit", limit, "how many files to show; 0 is all that is remembered")
	return cmd
}

const defaultWhyLimit = 50

func (t *tool) why(ctx context.Context, arg string, limit int) error {
	if limit < 0 {
		return control.Errorf(control.ErrUsage, "--limit %d: it is a number of files, or 0 for all", limit)
	}
	drive, err := t.drivePath(arg)
	if err != nil {
		return err
	}
	reply, err := t.daemon().Why(ctx, control.WhyRequest{Path: drive, Limit: limit})
	if err != nil {
		return err
	}
	if t.json {
		return t.printJSON(reply)
	}
	t.writeWhy(reply, arg != "")
	return nil
}

func (t *tool) writeWhy(reply *control.WhyReply, path bool) {
	var tab table
	refused := false
	for _, p := range reply.Programs {
		no := "-"
		if p.Refused > 0 {
			no, refused = t.paint(yellow, "refused "+count(p.Refused, "file")), true
		}
		tab.add(t.size(p.Bytes), count(p.Files, "file"), no, t.ago(p.Last), t.program(p.Program, p.PID), shortened(visible(p.Command)))
	}
	everything := place{"/", t.mountDir()}
	for _, f := range reply.Files {
		had := t.size(f.Bytes)
		if f.Refused {
			refused = true
			if f.Bytes == 0 {
				had = t.paint(yellow, "refused")
			}
		}
		tab.add(had, t.ago(f.Last), t.program(f.Program, f.PID), t.name(everything.show(f.Path)))
	}
	tab.write(t.out)
	since := "since the drive was mounted, " + t.ago(reply.Since)
	switch {
	case len(reply.Files) == 0 && path:
		t.note("nothing of it was downloaded %s", since)
	case len(reply.Programs) == 0 && !path:
		t.note("nothing was downloaded %s", since)
	case reply.More:
		t.note("… and more (--limit 0 shows all)")
	}
	if refused {
		t.note("who is refused gets what is on this machine; to let a program have everything: dbfs mount --shield auto,-NAME")
	}
}

// shortened cuts a command where a line of a terminal would end.
func shortened(s string) string {
	const most = 40
	if r := []rune(s); len(r) > most {
		return string(r[:most-1]) + "…"
	}
	return s
}

func (t *tool) program(name string, pid int) string {
	if pid == 0 {
		return visible(name)
	}
	return visible(name) + " (" + strconv.Itoa(pid) + ")"
}
