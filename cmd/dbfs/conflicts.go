package main

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/dbfs/dbfs/cmd/dbfs/control"
)

func conflictsCommand(t *tool) *cobra.Command {
	list := func(cmd *cobra.Command, _ []string) error { return t.conflicts(cmd.Context()) }
	cmd := &cobra.Command{
		Use:   "conflicts",
		Short: "List the copies that conflicts made",
		Long: "When two devices change the same thing, the first to reach the server keeps the name and the other\n" +
			"becomes a conflicted copy beside it. Both are ordinary files: look, keep what you want, remove the rest.",
		Example:     "  dbfs conflicts\n  dbfs conflicts --json",
		Args:        knownCommand,
		Annotations: map[string]string{byPath: "yes"},
		RunE:        list,
	}
	cmd.AddCommand(&cobra.Command{
		Use: "ls", Short: "List them, oldest first", Example: "  dbfs conflicts ls",
		Args: cobra.NoArgs, Annotations: cmd.Annotations, RunE: list,
	})
	return cmd
}

// conflictsReply is what conflicts --json prints.
type conflictsReply struct {
	Conflicts []control.Conflict `json:"conflicts"`
}

func (t *tool) conflicts(ctx context.Context) error {
	list, err := t.daemon().Conflicts(ctx)
	if err != nil {
		return err
	}
	if t.json {
		return t.printJSON(conflictsReply{list})
	}
	everything := place{"/", t.mountDir()}
	var tab table
	for _, c := range list {
		tab.add(t.clock(c.Time), t.size(c.Size), c.Device, t.name(everything.show(c.Path)))
	}
	tab.write(t.out)
	if len(list) == 0 {
		t.note("no conflicts")
	}
	return nil
}
