package report

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/dustin/go-humanize"
)

// Markdown writes everything as a text with tables.
func (r *Results) Markdown(w io.Writer) error {
	var b strings.Builder
	r.heading(&b)
	if len(r.plain()) > 0 {
		r.ratios(&b)
		r.seconds(&b)
		r.memory(&b)
	}
	r.growth(&b)
	r.large(&b)
	r.systems(&b)
	r.failures(&b)
	_, err := io.WriteString(w, b.String())
	return err
}

func (r *Results) heading(b *strings.Builder) {
	m := r.Machine
	fmt.Fprintf(b, "# Benchmark\n\nMade by `%s` on %s: %d cores (%s), %s of memory, Linux %s, %s, %s; load as it began %.1f.\n",
		r.Command, r.Made.Format("2006-01-02 15:04 MST"), m.Cores, m.CPU, humanize.IBytes(uint64(m.Bytes)), m.Kernel, m.Disk, m.Go, m.Load)
	if r.Plain {
		b.WriteString("It was not made by root: of what the kernel keeps in memory, only a file's own pages could be dropped.\n")
	}
	switch {
	case r.Cut:
		b.WriteString("It was interrupted: what follows is not all of it.\n")
	case len(r.Measures) > 0 && r.Runs < 3:
		fmt.Fprintf(b, "With %s only, the figures are a first impression.\n", runs(r.Runs))
	case len(r.Measures) > 0:
		fmt.Fprintf(b, "Medians of %s.\n", runs(r.Runs))
	}
}

func runs(n int) string {
	if n == 1 {
		return "1 run"
	}
	return fmt.Sprintf("%d runs", n)
}

// plain lists the workloads that were done, other than as points of curves.
func (r *Results) plain() []Work {
	var list []Work
	for _, w := range r.Works {
		if slices.ContainsFunc(r.Measures, func(m Measure) bool { return m.Work == w.Name && m.Grown == 0 }) {
			list = append(list, w)
		}
	}
	return list
}

// compared are the workloads that have a ratio: the bare disk can do them, or something alike.
func (r *Results) compared() []Work {
	return slices.DeleteFunc(r.plain(), func(w Work) bool {
		return r.Cell(Bare, w, 0).Seconds == 0 && w.Base == ""
	})
}

func (r *Results) ratios(b *strings.Builder) {
	works := r.compared()
	if len(works) == 0 {
		return
	}
	b.WriteString("\n## Speed, relative to the bare disk\n\n1.00 is the same work on the bare disk. ▼ marks where dbfs is below its goal.\n\n")
	systems := r.Measured()
	header(b, "workload", systems, "goal for dbfs")
	for _, w := range works {
		row(b, label(w))
		for _, s := range systems {
			row(b, r.ratio(w, s.Name))
		}
		row(b, goal(w.Goal))
		b.WriteString("|\n")
	}
}

func (r *Results) ratio(w Work, system string) string {
	c := r.Cell(system, w, 0)
	text := ""
	switch {
	case c.Tried == 0:
		return "–"
	case c.Runs == 0:
		text = "failed"
	case c.Ratio == 0:
		text = "?"
	case c.Ratio < 0.01:
		text = fmt.Sprintf("%.3f", c.Ratio)
	default:
		text = fmt.Sprintf("%.2f", round(c.Ratio))
	}
	if w.Below(system, c) {
		return "**" + text + "** ▼"
	}
	return text
}

func goal(g float64) string {
	if g == 0 {
		return ""
	}
	return fmt.Sprintf("%.2f", g)
}

// label is a workload with how much of it there was.
func label(w Work) string {
	switch {
	case w.Unit == "MB":
		return w.Title + ", " + humanize.IBytes(uint64(w.Amount*1e6+0.5))
	case w.Amount <= 1:
		return w.Title
	}
	return fmt.Sprintf("%s, %s %s", w.Title, humanize.Comma(int64(w.Amount)), w.Unit)
}

func (r *Results) seconds(b *strings.Builder) {
	b.WriteString("\n## Time\n\n")
	systems := r.Measured()
	header(b, "workload", systems)
	for _, w := range r.plain() {
		row(b, label(w))
		for _, s := range systems {
			row(b, r.time(w, s.Name))
		}
		b.WriteString("|\n")
	}
}

func (r *Results) time(w Work, system string) string {
	c := r.Cell(system, w, 0)
	switch {
	case c.Tried == 0:
		return "–"
	case c.Runs == 0:
		return "failed"
	}
	text := duration(c.Seconds)
	if w.Amount > 1 {
		text += ", " + rate(w, c.Seconds)
	}
	if c.Longest > 0 {
		text += ", at most " + duration(c.Longest)
	}
	if c.Runs < c.Tried {
		text += fmt.Sprintf(" (%d of %d runs)", c.Runs, c.Tried)
	}
	return text
}

func duration(seconds float64) string {
	switch {
	case seconds < 1e-3:
		return fmt.Sprintf("%.0f µs", seconds*1e6)
	case seconds < 1:
		return fmt.Sprintf("%.3g ms", seconds*1e3)
	}
	return fmt.Sprintf("%.3g s", seconds)
}

func rate(w Work, seconds float64) string {
	return fmt.Sprintf("%s %s/s", humanize.Comma(int64(w.Amount/seconds+0.5)), w.Unit)
}

func (r *Results) memory(b *strings.Builder) {
	if !slices.ContainsFunc(r.Measures, func(m Measure) bool { return m.Peak > 0 }) {
		return
	}
	b.WriteString("\n## Memory of the mount's processes\n\nRssAnon and RssShmem together, at most, over all workloads.\n\n| system | peak |\n|---|---|\n")
	for _, s := range r.Measured() {
		if peak := r.Peak(s.Name); peak > 0 {
			fmt.Fprintf(b, "| %s | %s |\n", s.Name, humanize.IBytes(uint64(peak)))
		}
	}
}

// Grown lists the points of a workload's curve, ascending.
func (r *Results) grown(work string) []int64 {
	var list []int64
	for _, m := range r.Measures {
		if m.Work == work && m.Grown > 0 {
			list = append(list, m.Grown)
		}
	}
	slices.Sort(list)
	return slices.Compact(list)
}

// curves lists the workloads that have one.
func (r *Results) curves() []Work {
	return slices.DeleteFunc(slices.Clone(r.Works), func(w Work) bool { return len(r.grown(w.Name)) == 0 })
}

func (r *Results) growth(b *strings.Builder) {
	curves := r.curves()
	if len(curves) == 0 {
		return
	}
	b.WriteString("\n## As the work grows\n\nTime for each file, or for each MiB. A line that stays level means that the cost grows with the work and no faster.\n")
	systems := r.Measured()
	for _, w := range curves {
		fmt.Fprintf(b, "\n%s:\n\n", w.Title)
		header(b, w.Per, systems)
		for _, x := range r.grown(w.Name) {
			row(b, amount(w, x))
			for _, s := range systems {
				row(b, r.point(w, s.Name, x))
			}
			b.WriteString("|\n")
		}
	}
}

func (r *Results) point(w Work, system string, x int64) string {
	c := r.Cell(system, w, x)
	switch {
	case c.Tried == 0:
		return "–"
	case c.Runs == 0:
		return "failed"
	}
	return duration(c.Seconds / units(w, x))
}

// units is a point of a curve, in files or MiB.
func units(w Work, x int64) float64 {
	if w.Per == "bytes" {
		return float64(x) / (1 << 20)
	}
	return float64(x)
}

func amount(w Work, x int64) string {
	if w.Per == "bytes" {
		return humanize.IBytes(uint64(x))
	}
	return humanize.Comma(x)
}

// large is the table of a tree that is large.
func (r *Results) large(b *strings.Builder) {
	m := r.Memory
	if m == nil {
		return
	}
	fmt.Fprintf(b, "\n## A tree of %s files\n\n| what | dbfs | goal |\n|---|---|---|\n", humanize.Comma(m.Files))
	line := func(what, got, goal string, missed bool) {
		if missed {
			got = "**" + got + "** ▼"
		}
		fmt.Fprintf(b, "| %s | %s | %s |\n", what, got, goal)
	}
	bytes := func(n int64) string { return humanize.Bytes(uint64(n)) }
	goals := m.Files >= 1e6 // they are set for a million
	line("until a device that has never been mounted answers", duration(m.First), "", false)
	line("until it has all names", duration(m.Listed), "", false)
	line("memory meanwhile, at most", bytes(m.Loading), "", false)
	line("until a mount answers that knows the tree", duration(m.Again), duration(goalAgain), goals && m.Again >= goalAgain)
	line("memory at rest", bytes(m.Rest), bytes(goalMemory), goals && m.Rest >= goalMemory)
	line("`find` over all of it", duration(m.Find), "", false)
	line("memory meanwhile, at most", bytes(m.Finding), bytes(goalMemory), goals && m.Finding >= goalMemory)
}

func (r *Results) systems(b *strings.Builder) {
	if len(r.Systems) == 0 {
		return
	}
	b.WriteString("\n## What was measured\n\n| system | what it is | version |\n|---|---|---|\n")
	for _, s := range r.Measured() {
		fmt.Fprintf(b, "| %s | %s | %s |\n", s.Name, cellText(s.About), cellText(s.Version))
	}
	var absent []string
	for _, s := range r.Systems {
		if s.Missing != "" {
			absent = append(absent, fmt.Sprintf("- %s: %s\n", s.Name, s.Missing))
		}
	}
	if len(absent) > 0 {
		b.WriteString("\nNot measured:\n\n" + strings.Join(absent, ""))
	}
}

// failures tells each reason once for a system, with the first workload that met it.
func (r *Results) failures(b *strings.Builder) {
	told := map[string]bool{}
	for _, m := range r.Measures {
		key := m.System + " " + m.Failed
		if m.Failed == "" || told[key] {
			continue
		}
		if len(told) == 0 {
			b.WriteString("\n## What failed\n\n")
		}
		told[key] = true
		where := ""
		if m.Grown > 0 {
			where = " at " + humanize.Comma(m.Grown)
		}
		fmt.Fprintf(b, "- %s, %s%s: %s\n", m.System, m.Work, where, Line(m.Failed))
	}
}

// Line puts a reason on one line of a bounded length.
func Line(reason string) string {
	var parts []string
	for line := range strings.Lines(reason) {
		if text := strings.Join(strings.Fields(line), " "); text != "" {
			parts = append(parts, text)
		}
	}
	s := []rune(strings.Join(parts, "; "))
	const most = 300
	if len(s) > most {
		return string(s[:most]) + "…"
	}
	return string(s)
}

func header(b *strings.Builder, first string, systems []System, more ...string) {
	row(b, first)
	for _, s := range systems {
		row(b, s.Name)
	}
	for _, text := range more {
		row(b, text)
	}
	b.WriteString("|\n|" + strings.Repeat("---|", 1+len(systems)+len(more)) + "\n")
}

func row(b *strings.Builder, cell string) { b.WriteString("| " + cellText(cell) + " ") }

// cellText keeps a text from ending its cell, or its row.
func cellText(s string) string {
	return strings.ReplaceAll(strings.Join(strings.Fields(s), " "), "|", "\\|")
}
