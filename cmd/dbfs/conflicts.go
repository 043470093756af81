package main

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/dbfs/dbfs"
	"github.com/dbfs/dbfs/cmd/dbfs/control"
)

func conflictsCommand(t *tool) *cobra.Command {
	list := func(cmd *cobra.Command, _ []string) error { return t.conflicts(cmd.Context()) }
	cmd := &cobra.Command{
		Use:   "conflicts",
		Short: "List the copies that conflicts made, compare and resolve them",
		Long: "When two devices change the same thing, the first to reach the server keeps the name and the other\n" +
			"becomes a conflicted copy beside it. Both are ordinary files: look, keep what you want, remove the rest.\n" +
			"\"Ours\" is the copy, \"theirs\" is what has the name, \"base\" is what both were made from. Copies that other\n" +
			"devices made are found by their names, as soon as the names are indexed.",
		Example: "  dbfs conflicts\n  dbfs conflicts diff 'plan (conflicted copy, laptop 2026-05-01).txt'\n" +
			"  dbfs conflicts resolve plan.txt --merge",
		Args:        knownCommand,
		Annotations: map[string]string{byPath: "yes"},
		RunE:        list,
	}
	cmd.AddCommand(&cobra.Command{
		Use: "ls", Short: "List them, oldest first", Example: "  dbfs conflicts ls",
		Args: cobra.NoArgs, Annotations: cmd.Annotations, RunE: list,
	})
	for _, sub := range []*cobra.Command{showConflictCommand(t), diffConflictCommand(t), resolveCommand(t)} {
		sub.Args, sub.Annotations, sub.ValidArgsFunction = cobra.ExactArgs(1), cmd.Annotations, t.completeConflicts
		cmd.AddCommand(sub)
	}
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
		path := t.name(everything.show(c.Path))
		if c.ByName {
			path += "  (found by its name)"
		}
		tab.add(t.clock(c.Time), t.size(c.Size), c.Device, path)
	}
	tab.write(t.out)
	if len(list) == 0 {
		t.note("no conflicts")
	}
	return nil
}

func showConflictCommand(t *tool) *cobra.Command {
	return &cobra.Command{
		Use: "show PATH", Short: "The versions of one: whose, when, how large",
		Long:    "Show tells about the versions of a conflict. PATH is the copy or, if it has only one, the original.",
		Example: "  dbfs conflicts show plan.txt",
		RunE:    func(cmd *cobra.Command, args []string) error { return t.showConflict(cmd.Context(), args[0]) },
	}
}

// conflict asks about the one that a path means.
func (t *tool) conflict(ctx context.Context, arg string) (*control.ConflictDetail, error) {
	p, err := t.place(arg)
	if err != nil {
		return nil, err
	}
	return t.daemon().Conflict(ctx, p.drive)
}

func (t *tool) showConflict(ctx context.Context, arg string) error {
	c, err := t.conflict(ctx, arg)
	if err != nil {
		return err
	}
	if t.json {
		return t.printJSON(c)
	}
	var tab table
	t.addVersion(&tab, "ours", &c.Ours)
	t.addVersion(&tab, "theirs", c.Theirs)
	t.addVersion(&tab, "base", c.Base)
	tab.write(t.out)
	if c.Theirs == nil {
		t.printf("theirs  nothing has the name any more\n")
	}
	if c.NoBase != "" {
		t.printf("base    %s\n", c.NoBase)
	}
	return nil
}

func (t *tool) addVersion(tab *table, word string, v *control.ConflictVersion) {
	if v == nil {
		return
	}
	size, when, hash := t.size(v.Size), t.clock(v.ModTime), ""
	if v.Kind == dbfs.KindFile {
		hash = v.Hash.String()[:12]
	} else {
		size = v.Kind.String()
	}
	who := v.Device
	if v.Unsent {
		who += " (not sent yet)"
	}
	path := ""
	if v.Path != "" {
		path = t.name(place{"/", t.mountDir()}.show(v.Path))
	}
	tab.add(word, when, size, hash, visible(who), path)
}

func diffConflictCommand(t *tool) *cobra.Command {
	return &cobra.Command{
		Use: "diff PATH", Short: "What differs between the two versions",
		Long: "Diff shows how to get from theirs, what has the name, to ours, the copy: line by line for texts, for others\n" +
			"only whether they differ. As with diff(1), the exit code is 0 where they are the same, 1 where they\n" +
			"differ, and 2 where that cannot be told.",
		Example: "  dbfs conflicts diff plan.txt",
		RunE: func(cmd *cobra.Command, args []string) error {
			same, err := t.diffConflict(cmd.Context(), args[0])
			switch {
			case err != nil:
				return &exitError{2, err}
			case !same:
				return &exitError{1, nil}
			}
			return nil
		},
	}
}

// completeConflicts offers the paths of copies.
func (t *tool) completeConflicts(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 || t.configure(cmd, args) != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	list, _ := t.daemon().Conflicts(ctx)
	here := t.herePlace()
	var paths []string
	for _, c := range list {
		paths = append(paths, fmt.Sprintf("%s\tof %s", here.show(c.Path), c.Device))
	}
	return paths, cobra.ShellCompDirectiveDefault
}
