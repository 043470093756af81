package main

import (
	"strings"

	"github.com/spf13/cobra"

	"github.com/dbfs/dbfs/cmd/dbfs/control"
	"github.com/dbfs/dbfs/remote/throttle"
)

func throttleCommand(t *tool) *cobra.Command {
	return &cobra.Command{
		Use:   "throttle [LIMIT]",
		Short: "Limit how fast is sent and fetched",
		Long: "Throttle limits the bytes of files that travel in a second, from now on and after a restart. LIMIT is written as\n" +
			"for rclone's --bwlimit: one for each way (1M), UP:DOWN (512k:off), off, or a timetable of TIME,LIMIT, for every\n" +
			"day (08:00,512k) or one (Mon-08:00,512k:2M). Numbers are KiB unless they end in B, K, M, G, T or P.\n" +
			"Without LIMIT it says what holds.",
		Example:     "  dbfs throttle 1M:5M\n  dbfs throttle 08:00,512k 18:00,off\n  dbfs throttle off",
		Args:        cobra.MaximumNArgs(7 * 24), // a timetable's entries
		Annotations: map[string]string{byPath: "yes"},
		RunE: func(cmd *cobra.Command, args []string) error {
			req := control.ThrottleRequest{Limit: strings.Join(args, " ")}
			if len(args) > 0 {
				if _, err := throttle.Parse(req.Limit); err != nil {
					return control.Errorf(control.ErrUsage, "%v", err)
				}
			}
			now, err := t.daemon().Throttle(cmd.Context(), req)
			if err != nil {
				return err
			}
			if t.json {
				return t.printJSON(now)
			}
			t.printf("%s\n", t.limits(now))
			return nil
		},
	}
}

// limits says what transfers are limited to.
func (t *tool) limits(l *control.Throttle) string {
	one := func(n int64) string {
		if n == 0 {
			return "no limit"
		}
		return t.size(n) + "/s"
	}
	text := one(l.Up) + " up, " + one(l.Down) + " down"
	if strings.Contains(l.Limit, ",") {
		text += " by the timetable " + l.Limit
	}
	return text
}
