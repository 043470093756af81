package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/dbfs/dbfs/cmd/dbfs/control"
)

func pinCommand(t *tool) *cobra.Command {
	var req control.PinRequest
	var from string
	var wait bool
	cmd := &cobra.Command{
		Use:   "pin PATH...",
		Short: "Keep files on this device, now and later",
		Long: "Pin brings files to this device and keeps them there, whatever else the cache has to hold. A pinned\n" +
			"directory holds for everything below it, also for what comes later, and goes with it when it is\n" +
			"moved; it takes the place of what was said of things below it. --glob keeps only files whose names match.\n" +
			"The nearest pin above a file decides. A pin belongs to the file itself: one that is deleted and made\n" +
			"anew under its name is another, so rather pin the directory.",
		Example:     "  dbfs pin ~/Dbfs/thesis --wait\n  dbfs pin ~/Dbfs --glob '*.pdf' --glob '*.md'\n  dbfs pin --from list.txt\n  dbfs pin ls",
		Annotations: map[string]string{byPath: "yes"},
		RunE: func(cmd *cobra.Command, args []string) error {
			if from != "" {
				more, err := t.lines(from)
				if err != nil {
					return err
				}
				args = append(args, more...)
			}
			if len(args) == 0 {
				return usageError(cmd, errors.New("pin what?"))
			}
			return t.pin(cmd.Context(), args, req, wait)
		},
	}
	cmd.Flags().StringArrayVar(&req.Globs, "glob", nil, "only files whose names match `PATTERN`; may be given several times")
	cmd.Flags().StringVar(&from, "from", "", "read paths from `FILE`, one a line; - is standard input")
	cmd.Flags().BoolVar(&wait, "wait", false, "return when everything is here")
	cmd.AddCommand(&cobra.Command{
		Use:         "ls",
		Short:       "List what is pinned",
		Example:     "  dbfs pin ls --json",
		Args:        cobra.NoArgs,
		Annotations: map[string]string{byPath: "yes"},
		RunE:        func(cmd *cobra.Command, _ []string) error { return t.pins(cmd.Context()) },
	})
	return cmd
}

func unpinCommand(t *tool) *cobra.Command {
	return &cobra.Command{
		Use:   "unpin PATH...",
		Short: "Let files leave this device again when the cache needs the room",
		Long: "Unpin takes \"dbfs pin\" back for what is at and below a path. Below a directory that stays pinned it\n" +
			"makes an exception. What is here stays until the room is needed; \"dbfs free\" removes it at once.",
		Example:     "  dbfs unpin ~/Dbfs/thesis\n  dbfs unpin ~/Dbfs/thesis/videos",
		Args:        cobra.MinimumNArgs(1),
		Annotations: map[string]string{byPath: "yes"},
		RunE: func(cmd *cobra.Command, args []string) error {
			return t.pin(cmd.Context(), args, control.PinRequest{Off: true}, false)
		},
	}
}

// lines reads the lines of a file that are not empty.
func (t *tool) lines(name string) ([]string, error) {
	var in io.Reader = t.in
	if name != "-" {
		f, err := os.Open(name)
		if err != nil {
			return nil, err
		}
		defer f.Close()
		in = f
	}
	var all []string
	lines := bufio.NewScanner(in)
	for lines.Scan() {
		if line := strings.TrimRight(lines.Text(), "\r"); line != "" {
			all = append(all, line)
		}
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	return all, nil
}

func (t *tool) pin(ctx context.Context, args []string, req control.PinRequest, wait bool) error {
	err := t.each(ctx, args, func(p place) error {
		req.Path = p.drive
		return t.daemon().Pin(ctx, req)
	})
	if err != nil || !wait {
		return err
	}
	return t.each(ctx, args, func(p place) error {
		report := t.progressFor()
		defer report.finish()
		_, err := t.daemon().Warm(ctx, control.WarmRequest{Path: p.drive, Pinned: true}, func(step control.Progress) error {
			report.update(step)
			return nil
		})
		return err
	})
}

// each does something with every path. One that fails is named, and the others go on.
func (t *tool) each(ctx context.Context, args []string, do func(place) error) error {
	var failure error
	good := 0
	for _, arg := range args {
		p, err := t.place(arg)
		if err == nil {
			err = do(p)
		}
		switch {
		case err == nil:
			good++
		case len(args) == 1 || errors.Is(err, control.ErrNoDaemon) || ctx.Err() != nil:
			return err
		default:
			failure = err
			t.noteItem(control.ErrorOf(control.WithPath(err, arg)))
		}
	}
	if failure != nil {
		return t.partial(good, failure)
	}
	return nil
}

func (t *tool) pins(ctx context.Context) error {
	list, err := t.daemon().Pins(ctx)
	if err != nil {
		return err
	}
	if t.json {
		return t.printJSON(struct {
			Pins []control.Pin `json:"pins"`
		}{list})
	}
	var tab table
	for _, pin := range list {
		what := "pinned"
		switch {
		case pin.Off:
			what = "not pinned"
		case len(pin.Globs) > 0:
			what = "pinned: " + strings.Join(pin.Globs, " ")
		}
		tab.add(t.name(pin.Path), what)
	}
	tab.write(t.out)
	return nil
}
