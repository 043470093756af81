package main

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/dbfs/dbfs/cmd/dbfs/control"
)

func heldCommand(t *tool) *cobra.Command {
	list := func(cmd *cobra.Command, _ []string) error { return t.held(cmd.Context()) }
	cmd := &cobra.Command{
		Use:   "held",
		Short: "Mass deletes and overwrites that wait for your decision",
		Long: "When very much is deleted or overwritten at once, here or by another device, dbfs holds it until you\n" +
			"have looked at it. What this device did is then not sent, and what others did is not applied here.\n" +
			"Approve lets it go on; reject undoes it. \"dbfs mount --help\" says how much is too much (--guard-…).",
		Example:     "  dbfs held\n  dbfs held show 7\n  dbfs held reject 7",
		Args:        knownCommand,
		Annotations: map[string]string{byPath: "yes"},
		RunE:        list,
	}
	ls := &cobra.Command{Use: "ls", Short: "List them, oldest first", Example: "  dbfs held ls --json", Args: cobra.NoArgs, RunE: list}
	show := &cobra.Command{
		Use: "show ID", Short: "What one of them deletes and overwrites", Example: "  dbfs held show 7 | less",
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error { return t.showHeld(cmd.Context(), args[0]) },
	}
	approve := &cobra.Command{
		Use: "approve ID", Short: "Let it go on: it was meant", Example: "  dbfs held approve 7",
		Long: "Approve sends what this device did, or applies here what other devices did.",
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return t.decideHeld(cmd.Context(), args[0], control.HoldDecision{Approve: true})
		},
	}
	var discard, yes bool
	reject := &cobra.Command{
		Use: "reject ID", Short: "Undo it: it was a mistake",
		Long: "Reject brings back what this device deleted, and what it overwrote gets its old content back; what was\n" +
			"written instead is kept beside it as a conflicted copy, or with --discard thrown away. What other\n" +
			"devices did is undone for everybody: the old state is sent to the server; theirs stays in its history.",
		Example: "  dbfs held reject 7\n  dbfs held reject 7 --discard --yes   # after ransomware",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if discard {
				if err := t.sure(yes, "throw away what was written in place of the old files"); err != nil {
					return err
				}
			}
			return t.decideHeld(cmd.Context(), args[0], control.HoldDecision{Discard: discard})
		},
	}
	reject.Flags().BoolVar(&discard, "discard", false, "throw away what was written in place of the old files")
	reject.Flags().BoolVar(&yes, "yes", false, "do not ask")
	for _, sub := range []*cobra.Command{ls, show, approve, reject} {
		sub.Annotations = cmd.Annotations
		if sub != ls {
			sub.ValidArgsFunction = t.completeHolds
		}
		cmd.AddCommand(sub)
	}
	return cmd
}

// heldReply is what held --json prints.
type heldReply struct {
	Held []control.Hold `json:"held"`
}

func (t *tool) held(ctx context.Context) error {
	list, err := t.daemon().Holds(ctx)
	if err != nil {
		return err
	}
	if t.json {
		return t.printJSON(heldReply{list})
	}
	var tab table
	for _, h := range list {
		tab.add(fmt.Sprint(h.ID), t.clock(h.Since), h.State, t.name(h.Namespace), t.holdLine(&h))
	}
	tab.write(t.out)
	if len(list) == 0 {
		t.note("nothing is held")
	}
	return nil
}

// holdLine says what a hold is about: "412 deletes and 3 overwrites (1.2 GiB) of 900, here".
func (t *tool) holdLine(h *control.Hold) string {
	line := h.Summary() + " (" + t.size(h.Bytes) + ")"
	if h.Of > 0 {
		line += fmt.Sprintf(" of %d", h.Of)
	}
	if h.Incoming {
		return line + ", by other devices"
	}
	return line + ", by this device"
}

// heldDetail is what held show --json prints.
type heldDetail struct {
	control.Hold
	Items []control.HeldItem `json:"items"`
}

func (t *tool) showHeld(ctx context.Context, arg string) error {
	h, err := t.findHold(ctx, arg)
	if err != nil {
		return err
	}
	detail := heldDetail{Hold: h, Items: []control.HeldItem{}}
	everything := place{"/", t.mountDir()}
	if !t.json {
		t.printf("%s in %s since %s: %s\n", h.State, t.name(h.Namespace), t.clock(h.Since), t.holdLine(&h))
	}
	err = t.daemon().HeldItems(ctx, h.ID, func(item *control.HeldItem) error {
		if t.json {
			detail.Items = append(detail.Items, *item)
		} else {
			t.printf("%-9s  %9s  %s\n", item.What, t.size(item.Size), t.name(everything.show(item.Path)))
		}
		return nil
	})
	switch {
	case err != nil:
		return err
	case t.json:
		return t.printJSON(detail)
	case h.Incoming && h.Deletes+h.Overwrites > control.MaxHeldItems:
		t.printf("… and %d more\n", h.Deletes+h.Overwrites-control.MaxHeldItems)
	}
	if h.State == control.HoldUndecided {
		t.printf("next: dbfs held approve %d, if it was meant; dbfs held reject %d, if it was not\n", h.ID, h.ID)
	}
	return nil
}

func (t *tool) findHold(ctx context.Context, arg string) (control.Hold, error) {
	id, err := strconv.ParseUint(arg, 10, 64)
	if err != nil {
		return control.Hold{}, control.Errorf(control.ErrUsage, "%q is not the number of something held: dbfs held ls", arg)
	}
	list, err := t.daemon().Holds(ctx)
	for _, h := range list {
		if h.ID == id {
			return h, err
		}
	}
	if err != nil {
		return control.Hold{}, err
	}
	return control.Hold{}, control.NoHold(id)
}

func (t *tool) decideHeld(ctx context.Context, arg string, d control.HoldDecision) error {
	h, err := t.findHold(ctx, arg)
	if err != nil {
		return err
	}
	d.ID = h.ID
	if err := t.daemon().DecideHold(ctx, d); err != nil {
		return err
	}
	if t.json {
		return t.printJSON(d)
	}
	word := "rejected"
	if d.Approve {
		word = "approved"
	}
	t.note("%s: %s in %s", word, h.Summary(), h.Namespace)
	return nil
}

// completeHolds offers the numbers of what is held.
func (t *tool) completeHolds(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 || t.configure(cmd, args) != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	list, _ := t.daemon().Holds(ctx)
	var ids []string
	for _, h := range list {
		ids = append(ids, fmt.Sprintf("%d\t%s", h.ID, h.Summary()))
	}
	return ids, cobra.ShellCompDirectiveNoFileComp
}
