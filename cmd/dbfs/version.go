package main

import (
	"context"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"

	"github.com/dbfs/dbfs/cmd/dbfs/control"
)

// release is set by the linker for released builds.
var release = "development"

// thisVersion says what this program is.
func thisVersion() control.Version {
	v := control.Version{Version: release, Go: runtime.Version(), API: control.APIVersion}
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, s := range info.Settings {
			if s.Key == "vcs.revision" {
				v.Commit = s.Value
			}
		}
	}
	return v
}

func versionCommand(t *tool) *cobra.Command {
	return &cobra.Command{
		Use:     "version",
		Short:   "The version of this program, and of the daemon if one runs",
		Example: "  dbfs version\n  dbfs version --json",
		Args:    cobra.NoArgs,
		RunE:    func(cmd *cobra.Command, _ []string) error { return t.version(cmd.Context()) },
	}
}

// versionReply is what version --json prints.
type versionReply struct {
	control.Version
	Daemon *control.Version `json:"daemon,omitempty"`
}

func (t *tool) version(ctx context.Context) error {
	reply := versionReply{Version: thisVersion()}
	if v, err := t.daemon().Version(ctx); err == nil {
		reply.Daemon = &v
	}
	if t.json {
		return t.printJSON(reply)
	}
	t.printf("dbfs %s %s\n", versionLine(reply.Version), reply.Go)
	if d := reply.Daemon; d != nil {
		t.printf("daemon %s %s, pid %d\n", versionLine(*d), d.Go, d.PID)
	}
	return nil
}

func versionLine(v control.Version) string {
	const short = 12
	if len(v.Commit) > short {
		return v.Version + " (" + v.Commit[:short] + ")"
	}
	return v.Version
}
