package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/dbfs/dbfs/cmd/dbfs/control"
)

func warmupCommand(t *tool) *cobra.Command {
	var check bool
	cmd := &cobra.Command{
		Use:   "warmup PATH...",
		Short: "Bring files to this device once",
		Long: "Warmup downloads what is at and below a path, without pinning it: it leaves again when the cache needs\n" +
			"the room. --check downloads nothing and says how much of it is here.",
		Example:     "  dbfs warmup ~/Dbfs/photos/2026\n  dbfs warmup --check ~/Dbfs",
		Args:        cobra.MinimumNArgs(1),
		Annotations: map[string]string{byPath: "yes"},
		RunE: func(cmd *cobra.Command, args []string) error {
			return t.warmup(cmd.Context(), args, check)
		},
	}
	cmd.Flags().BoolVar(&check, "check", false, "only say what is here")
	return cmd
}

func (t *tool) warmup(ctx context.Context, args []string, check bool) error {
	return t.each(ctx, args, func(p place) error {
		report := t.progressFor()
		res, err := t.daemon().Warm(ctx, control.WarmRequest{Path: p.drive, Check: check}, func(step control.Progress) error {
			report.update(step)
			return nil
		})
		report.finish()
		switch {
		case err != nil:
			return err
		case t.json:
			return t.lineJSON(res)
		case check:
			t.printf("%s: %s of %s in %d of %s here\n", t.name(p.show(p.drive)), t.size(res.LocalBytes), t.size(res.Bytes), res.LocalFiles, count(res.Files, "file"))
		default:
			t.printf("%s: %s in %s here, %s of them new\n", t.name(p.show(p.drive)), t.size(res.Bytes), count(res.Files, "file"), t.size(res.Fetched))
		}
		return nil
	})
}

func freeCommand(t *tool) *cobra.Command {
	return &cobra.Command{
		Use:     "free PATH...",
		Aliases: []string{"evict"},
		Short:   "Remove files from this device; they stay in the drive",
		Long: "Free makes room on this disk: files at and below a path are online-only afterwards, and come again\n" +
			"when somebody reads them. What is pinned, being written, or not at the server yet stays.",
		Example:     "  dbfs free ~/Dbfs/photos/2019\n  dbfs wait ~/Dbfs/video.mp4 && dbfs free ~/Dbfs/video.mp4",
		Args:        cobra.MinimumNArgs(1),
		Annotations: map[string]string{byPath: "yes"},
		RunE: func(cmd *cobra.Command, args []string) error {
			return t.free(cmd.Context(), args)
		},
	}
}

func (t *tool) free(ctx context.Context, args []string) error {
	return t.each(ctx, args, func(p place) error {
		report := t.progressFor()
		res, err := t.daemon().Free(ctx, control.FreeRequest{Path: p.drive}, func(step control.Progress) error {
			report.update(step)
			return nil
		})
		report.finish()
		switch {
		case err != nil:
			return err
		case t.json:
			return t.lineJSON(res)
		}
		t.printf("%s: %s free\n", t.name(p.show(p.drive)), t.size(res.Bytes))
		for _, stays := range []struct {
			n   int64
			why string
		}{{res.Pinned, "pinned"}, {res.Unsent, "not at the server yet"}, {res.Open, "open in a program"}} {
			if stays.n > 0 {
				t.note("%s left alone: %s", count(stays.n, "file"), stays.why)
			}
		}
		return nil
	})
}

func cacheCommand(t *tool) *cobra.Command {
	info := &cobra.Command{
		Use:         "info",
		Short:       "How the local disk is used",
		Example:     "  dbfs cache info --json",
		Args:        cobra.NoArgs,
		Annotations: map[string]string{byPath: "yes"},
		RunE:        func(cmd *cobra.Command, _ []string) error { return t.cacheInfo(cmd.Context()) },
	}
	clear := &cobra.Command{
		Use:         "clear",
		Short:       "Evict everything that can be fetched again, but for what is pinned or open",
		Long:        "Clear frees the room that clean data takes. It never touches what is pinned, open, or not at the server.",
		Example:     "  dbfs cache clear",
		Args:        cobra.NoArgs,
		Annotations: map[string]string{byPath: "yes"},
		RunE:        func(cmd *cobra.Command, _ []string) error { return t.cacheClear(cmd.Context()) },
	}
	check := &cobra.Command{
		Use:   "check",
		Short: "Read all cached data and compare it with its hashes",
		Long: "Check finds what a failing disk has damaged. Damaged data is dropped and fetched again when somebody\n" +
			"reads it; the exit code is 0 then, too, since nothing is lost.",
		Example:     "  dbfs cache check",
		Args:        cobra.NoArgs,
		Annotations: map[string]string{byPath: "yes"},
		RunE:        func(cmd *cobra.Command, _ []string) error { return t.cacheCheck(cmd.Context()) },
	}
	return chooses(&cobra.Command{
		Use: "cache", Short: "Inspect and maintain the cache of this device", Example: "  dbfs cache info\n  dbfs cache clear",
	}, info, clear, check)
}

func (t *tool) cacheInfo(ctx context.Context) error {
	st, err := t.daemon().Status(ctx)
	if err != nil {
		return err
	}
	c := st.Cache
	if t.json {
		return t.printJSON(c)
	}
	var tab table
	tab.add("clean", t.share(c.Used, c.Budget), "can be fetched again, and is evicted when the room is needed")
	tab.add("pinned", t.size(c.Pinned), "of all files that are to stay here")
	tab.add("unsent", t.share(c.Unsent, c.UnsentBudget), "not at the server yet, never evicted")
	tab.add("fetched", t.size(c.Fetched), fmt.Sprintf("since the start; %d reads of chunks that were here, %d of others", c.Hits, c.Misses))
	tab.add("evicted", t.size(c.Evicted), "since the start")
	tab.write(t.out)
	return nil
}

func (t *tool) cacheClear(ctx context.Context) error {
	res, err := t.daemon().ClearCache(ctx)
	switch {
	case err != nil:
		return err
	case t.json:
		return t.printJSON(res)
	}
	t.printf("%s free\n", t.size(res.Bytes))
	return nil
}

func (t *tool) cacheCheck(ctx context.Context) error {
	report := t.progressFor()
	res, err := t.daemon().CheckCache(ctx, func(step control.Progress) error {
		report.update(step)
		return nil
	})
	report.finish()
	switch {
	case err != nil:
		return err
	case t.json:
		return t.printJSON(res)
	case res.Damaged > 0:
		t.printf("%s read, %s damaged: dropped, to be fetched again; look after the disk\n", t.size(res.Bytes), t.size(res.Damaged))
	default:
		t.printf("%s read, all as it should be\n", t.size(res.Bytes))
	}
	return nil
}
