package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/dbfs/dbfs/cmd/dbfs/control"
)

func waitCommand(t *tool) *cobra.Command {
	var timeout span
	cmd := &cobra.Command{
		Use:   "wait [PATH]",
		Short: "Return when everything written so far is safe at the server",
		Long: "Wait returns 0 once every change that was made before is at the server for good, below PATH\n" +
			"or, without one, everywhere. With --timeout it gives up after that time with exit code 8.",
		Example:     "  dbfs wait && echo safe\n  dbfs wait ~/Dbfs/thesis --timeout 5m",
		Args:        cobra.MaximumNArgs(1),
		Annotations: map[string]string{byPath: "yes"},
		RunE: func(cmd *cobra.Command, args []string) error {
			return t.wait(cmd.Context(), firstOf(args), time.Duration(timeout))
		},
	}
	cmd.Flags().Var(&timeout, "timeout", "how long to wait; 0 is for ever")
	return cmd
}

func (t *tool) wait(ctx context.Context, arg string, timeout time.Duration) error {
	p := place{drive: "/"}
	if arg != "" {
		var err error
		if p, err = t.place(arg); err != nil {
			return err
		}
	}
	if timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, timeout)
		defer cancel()
	}
	var last control.Progress
	report := t.progressFor()
	res, err := t.daemon().Wait(ctx, control.WaitRequest{Path: p.drive}, func(step control.Progress) error {
		last = step
		report.update(step)
		return nil
	})
	report.finish()
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		return fmt.Errorf("%w after %v: %s", control.ErrNotSynced, timeout, t.stepLine(last))
	case err != nil:
		return err
	case t.json:
		return t.printJSON(res)
	}
	var tab table
	tab.add(t.paint(green, string(control.UpToDate)), "confirmed", confirmed(res.Namespaces))
	tab.write(t.out)
	return nil
}
