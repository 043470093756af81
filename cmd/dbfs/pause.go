package main

import (
	"time"

	"github.com/spf13/cobra"

	"github.com/dbfs/dbfs/cmd/dbfs/control"
)

func pauseCommand(t *tool) *cobra.Command {
	return &cobra.Command{
		Use:         "pause [DURATION]",
		Short:       "Stop transfers; the files stay usable",
		Long:        "Pause stops sending and receiving, for a while or until \"dbfs resume\". Files that are here go on\nworking, and what is changed meanwhile is sent afterwards.",
		Example:     "  dbfs pause 1h\n  dbfs pause",
		Args:        cobra.MaximumNArgs(1),
		Annotations: map[string]string{byPath: "yes"},
		RunE: func(cmd *cobra.Command, args []string) error {
			var d time.Duration
			if len(args) > 0 {
				var err error
				if d, err = parseSpan(args[0]); err != nil || d == 0 {
					return control.Errorf(control.ErrUsage, "pause for %q: write 90s, 1h30m or 2d", args[0])
				}
			}
			return t.daemon().Pause(cmd.Context(), d)
		},
	}
}

func resumeCommand(t *tool) *cobra.Command {
	return &cobra.Command{
		Use:         "resume",
		Short:       "Go on with transfers",
		Example:     "  dbfs resume",
		Args:        cobra.NoArgs,
		Annotations: map[string]string{byPath: "yes"},
		RunE:        func(cmd *cobra.Command, _ []string) error { return t.daemon().Resume(cmd.Context()) },
	}
}
