package main

import (
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/dbfs/dbfs/cmd/dbfs/control"
)

func profileCommand(t *tool) *cobra.Command {
	kind, out, length := "cpu", "", span(10*time.Second)
	cmd := &cobra.Command{
		Use:   "profile",
		Short: "Write down what the daemon does, or holds in memory",
		Long:  "Profile writes a file that \"go tool pprof\" reads. Kinds: cpu, heap, allocs, goroutine, threadcreate.",
		Example: "  dbfs debug profile --for 10s -o cpu.pprof && go tool pprof -top bin/dbfs cpu.pprof\n" +
			"  dbfs debug profile --kind heap -o heap.pprof",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if out == "" {
				return control.Errorf(control.ErrUsage, "--output FILE says where the profile goes")
			}
			f, err := os.Create(out)
			if err != nil {
				return err
			}
			defer f.Close()
			if err := t.daemon().Profile(cmd.Context(), kind, time.Duration(length), f); err != nil {
				return err
			}
			return f.Close()
		},
	}
	f := cmd.Flags()
	f.StringVar(&kind, "kind", kind, "what to look at")
	f.Var(&length, "for", "how long a profile of kind cpu takes")
	f.StringVarP(&out, "output", "o", "", "write it to this file")
	return cmd
}
