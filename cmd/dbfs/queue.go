package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/dbfs/dbfs/cmd/dbfs/control"
)

func queueCommand(t *tool) *cobra.Command {
	cmd := &cobra.Command{
		Use: "queue", Short: "What has not been sent, and what is to go first",
		Long: "Changes are sent in the order in which they were made; a file whose content is not at the server yet keeps\n" +
			"nothing back that does not build on it. Queue lists them, lets some go first, or tries again at once.",
		Example:     "  dbfs queue ls\n  dbfs queue bump ~/Dbfs/talk.pdf\n  dbfs queue retry",
		Args:        knownCommand,
		Annotations: map[string]string{byPath: "yes"},
		RunE:        func(cmd *cobra.Command, _ []string) error { return t.queue(cmd.Context(), "", defaultQueueLimit) },
	}
	limit := defaultQueueLimit
	ls := &cobra.Command{
		Use: "ls [PATH]", Short: "List the changes that wait, in the order in which they go",
		Example: "  dbfs queue ls\n  dbfs queue ls ~/Dbfs/photos --limit 0 --json", Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error { return t.queue(cmd.Context(), firstOf(args), limit) },
	}
	ls.Flags().IntVar(&limit, "limit", limit, "how many to show; 0 is all")
	bump := &cobra.Command{
		Use: "bump PATH...", Short: "Let the changes of these paths go first",
		Long: "Bump sends the changes of these files and directories before all others of their namespace, and with them\n" +
			"what they build on, such as the making of their directory. What is on its way is not stopped.",
		Example: "  dbfs queue bump ~/Dbfs/talk.pdf", Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error { return t.bump(cmd.Context(), args) },
	}
	retry := &cobra.Command{
		Use: "retry [PATH...]", Short: "Try at once what waits after a failure",
		Args:    cobra.ArbitraryArgs,
		Example: "  dbfs queue retry\n  dbfs queue retry ~/Dbfs/photos",
		RunE:    func(cmd *cobra.Command, args []string) error { return t.retry(cmd.Context(), args) },
	}
	for _, sub := range []*cobra.Command{ls, bump, retry} {
		sub.Annotations = cmd.Annotations
		cmd.AddCommand(sub)
	}
	return cmd
}

const defaultQueueLimit = 50

// queueReply is what queue ls --json prints.
type queueReply struct {
	Items []control.QueueItem `json:"items"`
	control.QueueSummary
}

func (t *tool) queue(ctx context.Context, arg string, limit int) error {
	if limit < 0 {
		return control.Errorf(control.ErrUsage, "--limit %d: it is a number of changes, or 0 for all", limit)
	}
	drive, err := t.drivePath(arg)
	if err != nil {
		return err
	}
	reply := queueReply{Items: []control.QueueItem{}}
	sum, err := t.daemon().Queue(ctx, control.QueueRequest{Path: drive, Limit: limit}, func(item *control.QueueItem) error {
		reply.Items = append(reply.Items, *item)
		return nil
	})
	if err != nil {
		return err
	}
	if reply.QueueSummary = *sum; t.json {
		return t.printJSON(reply)
	}
	t.writeQueue(&reply, arg != "")
	return nil
}

func (t *tool) writeQueue(reply *queueReply, below bool) {
	everything := place{"/", t.mountDir()}
	var tab table
	last := ""
	for i := range reply.Items {
		item := &reply.Items[i]
		if item.Reason != "" && item.Reason != last {
			last = item.Reason
		} else {
			item.Reason = ""
		}
		path := t.name(everything.show(item.Path))
		if item.From != "" && item.From != item.Path {
			path += " from " + t.name(everything.show(item.From))
		}
		age := "-"
		if !item.Time.IsZero() {
			age = roughly(t.now().Sub(item.Time))
		}
		tab.add(t.queueState(item), item.What, t.queueSize(item), age, path+t.queueWhy(item))
	}
	tab.write(t.out)
	switch {
	case len(reply.Items) == 0 && below && reply.Edits > 0:
		t.note("nothing waits there; elsewhere %s", count(int64(reply.Edits), "change"))
	case len(reply.Items) == 0:
		t.note("nothing waits: every change is at the server")
	case reply.More && below:
		t.note("… and more (--limit 0 shows all)")
	case reply.More:
		t.note("… and %s more (--limit 0 shows all)", count(int64(reply.Edits-len(reply.Items)), "change"))
	}
}

func (t *tool) queueState(item *control.QueueItem) string {
	word := string(item.State)
	if item.Bumped {
		word += ", first"
	}
	switch item.State {
	case control.QueueSending:
		return t.paint(green, word)
	case control.QueueFailing, control.QueueHeld:
		return t.paint(red, word)
	}
	return word
}

func (t *tool) queueSize(item *control.QueueItem) string {
	switch {
	case item.ToSend > 0:
		return t.size(item.Up) + " / " + t.size(item.ToSend)
	case item.Size > 0:
		return t.size(item.Size)
	}
	return "-"
}

func (t *tool) queueWhy(item *control.QueueItem) string {
	var why []string
	if item.Reason != "" {
		why = append(why, visible(item.Reason))
	}
	if wait := item.Retry.Sub(t.now()); wait > 0 {
		why = append(why, "next try in "+roughly(wait))
	}
	if item.Command != "" {
		why = append(why, t.ours(item.Command))
	}
	if len(why) == 0 {
		return ""
	}
	return "  (" + strings.Join(why, "; ") + ")"
}

func (t *tool) drivePaths(args []string) ([]string, error) {
	var paths []string
	for _, arg := range args {
		p, err := t.place(arg)
		if err != nil {
			return nil, err
		}
		paths = append(paths, p.drive)
	}
	return paths, nil
}

func (t *tool) bump(ctx context.Context, args []string) error {
	paths, err := t.drivePaths(args)
	if err != nil {
		return err
	}
	res, err := t.daemon().Bump(ctx, paths)
	switch {
	case err != nil:
		return err
	case t.json:
		return t.printJSON(res)
	case res.Edits == 0:
		t.note("nothing of it waits: it is at the server")
	default:
		t.note("%s first now", agree(res.Edits))
	}
	return nil
}

func agree(n int) string {
	if n == 1 {
		return "1 change goes"
	}
	return fmt.Sprintf("%s go", count(int64(n), "change"))
}

func (t *tool) retry(ctx context.Context, args []string) error {
	paths, err := t.drivePaths(args)
	if err != nil {
		return err
	}
	res, err := t.daemon().Retry(ctx, paths)
	switch {
	case err != nil:
		return err
	case t.json:
		return t.printJSON(res)
	case res.Before == 0:
		t.note("nothing waits: every change is at the server")
	case res.Paused:
		t.note("transfers are paused: %s", t.ours("dbfs resume"))
	case res.Error != "":
		return fmt.Errorf("%w: %s left: %s", control.ErrNotSynced, count(int64(res.Left), "change"), res.Error)
	default:
		t.note("tried: %s sent, %s left", count(int64(max(0, res.Before-res.Left)), "change"), count(int64(res.Left), "change"))
	}
	return nil
}
