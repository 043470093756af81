package main

import (
	"context"
	"fmt"
	"path/filepath"

	"github.com/dbfs/dbfs/scripts/benchmark/drive"
	"github.com/dbfs/dbfs/scripts/benchmark/report"
	"github.com/dbfs/dbfs/scripts/benchmark/work"
)

// growth says what grows in a workload's curve; empty: it has none.
func growth(w work.Workload) string {
	switch {
	case w.Group == "small":
		return "files"
	case w.Group == "large" && w.Unit == "MB":
		return "bytes"
	}
	return ""
}

// steps are the points of a curve, each so many times the one before, up to the most.
func steps(first, times, most int64) []int64 {
	var list []int64
	for n := first; n <= most; n *= times {
		list = append(list, n)
	}
	return list
}

// grow measures a system's curves on one drive, from small to large. What was too slow once is
// not tried any larger.
func (b *bench) grow(ctx context.Context, run int, s drive.System) error {
	dir := filepath.Join(b.scratch, fmt.Sprintf("scale%d", run), s.Name)
	return b.with(ctx, s, dir, func(d drive.Drive) error {
		for _, c := range []struct {
			per    string
			points []int64
			set    func(t *work.Task, n int64)
		}{
			{"files", steps(1000, 10, int64(b.maxFiles)), func(t *work.Task, n int64) { t.Files = int(n) }},
			{"bytes", steps(1<<20, 4, int64(b.maxSize)), func(t *work.Task, n int64) { t.Size = n }},
		} {
			skip := map[string]string{}
			for _, n := range c.points {
				t := b.task(filepath.Join(d.Path(), "work"))
				c.set(&t, n)
				if err := b.point(ctx, run, s, d, c.per, n, t, skip); err != nil {
					return err
				}
			}
		}
		return nil
	}, func(err error) {
		b.screen.say("%s: start: %v", s.Name, err)
	})
}

// point does the workloads of one kind at one size. One that fails ends the curves of its group.
func (b *bench) point(ctx context.Context, run int, s drive.System, d drive.Drive, per string, n int64, t work.Task, skip map[string]string) error {
	for _, w := range b.workloads() {
		if growth(w) != per || skip[w.Group] != "" {
			continue
		}
		b.screen.step("growth, run %d of %d  %s  %s at %d", run, b.runs, s.Name, w.Name, n)
		m := report.Measure{Run: run, System: s.Name, Work: w.Name, Grown: n}
		if err := b.measure(ctx, d, w, t, b.scaleLimit, skip, &m); err != nil {
			return err
		}
		if m.Failed != "" {
			skip[w.Group] = w.Name
		}
	}
	return nil
}
