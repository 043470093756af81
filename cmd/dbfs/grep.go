package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"regexp"

	"github.com/spf13/cobra"

	"github.com/dbfs/dbfs"
	"github.com/dbfs/dbfs/cmd/dbfs/control"
)

// grepFlags are the flags of grep that are not part of the request. Those that ripgrep
// has mean what they mean there.
type grepFlags struct {
	patterns            []string // -e
	files, count        bool
	context             int // -C; Before and After win
	number, noNumber    bool
	heading, noHeading  bool
	quiet               bool
	color               string
	beforeSet, afterSet bool // whether -B and -A were given
}

func grepCommand(t *tool) *cobra.Command {
	var req control.GrepRequest
	var g grepFlags
	cmd := &cobra.Command{
		Use:   "grep REGEX [PATH] | grep -e REGEX... [PATH]",
		Short: "Find lines by regular expression, helped by the index",
		Long: "Grep prints the lines that match, as ripgrep does and with ripgrep's flags, but reads only files\n" +
			"that the index cannot rule out. Files whose text is not on this device are not downloaded; how\n" +
			"many were left out is said at the end.\n\n" +
			"The exit code is 0 when a line matched, 1 when none did, 2 after an error.",
		Example: "  dbfs grep -n 'invoice-20(24|25)' ~/Dbfs/work\n  dbfs grep -il todo -g '*.go'\n  dbfs grep -F -C2 'a.b[c]' notes.txt\n  dbfs grep --json TODO",
		Args: func(cmd *cobra.Command, args []string) error {
			if len(g.patterns) == 0 {
				return cobra.RangeArgs(1, 2)(cmd, args)
			}
			return cobra.MaximumNArgs(1)(cmd, args)
		},
		Annotations: map[string]string{byPath: "yes"},
		RunE: func(cmd *cobra.Command, args []string) error {
			g.beforeSet, g.afterSet = cmd.Flags().Changed("before-context"), cmd.Flags().Changed("after-context")
			matched, err := t.grep(cmd.Context(), req, g, args)
			if err != nil {
				return &exitError{2, err}
			}
			if !matched {
				return &exitError{code: 1}
			}
			return nil
		},
	}
	f := cmd.Flags()
	f.StringArrayVarP(&g.patterns, "regexp", "e", nil, "a pattern; may be repeated")
	f.BoolVarP(&req.IgnoreCase, "ignore-case", "i", false, "upper and lower case are the same")
	f.BoolVarP(&req.Word, "word-regexp", "w", false, "whole words only")
	f.BoolVarP(&req.Fixed, "fixed-strings", "F", false, "the pattern is plain text")
	f.BoolVarP(&g.files, "files-with-matches", "l", false, "only the paths of files that match")
	f.BoolVarP(&g.count, "count", "c", false, "only how many lines match, by file")
	f.BoolVarP(&g.number, "line-number", "n", false, "line numbers (default on a terminal)")
	f.BoolVarP(&g.noNumber, "no-line-number", "N", false, "no line numbers")
	f.IntVarP(&g.context, "context", "C", 0, "so many lines before and after")
	f.IntVarP(&req.After, "after-context", "A", 0, "so many lines after")
	f.IntVarP(&req.Before, "before-context", "B", 0, "so many lines before")
	f.StringArrayVarP(&req.Globs, "glob", "g", nil, "only files that match; with ! in front: not those; may be repeated")
	f.BoolVar(&g.heading, "heading", false, "the path once, above its lines (default on a terminal)")
	f.BoolVar(&g.noHeading, "no-heading", false, "the path on every line (default elsewhere)")
	f.BoolVarP(&g.quiet, "quiet", "q", false, "print nothing, stop at the first match")
	f.StringVar(&g.color, "color", "auto", "auto, always or never")
	cmd.MarkFlagsMutuallyExclusive("files-with-matches", "count")
	return cmd
}

// request completes a request with what its flags and arguments say.
func (g *grepFlags) request(req control.GrepRequest, args []string) (control.GrepRequest, string, error) {
	req.Patterns = g.patterns
	if len(g.patterns) == 0 {
		req.Patterns, args = args[:1], args[1:]
	}
	if !g.beforeSet {
		req.Before = g.context
	}
	if !g.afterSet {
		req.After = g.context
	}
	switch {
	case req.Before < 0 || req.After < 0:
		return req, "", control.Errorf(control.ErrUsage, "a negative number of context lines")
	case g.color != "auto" && g.color != "always" && g.color != "never":
		return req, "", control.Errorf(control.ErrUsage, "color %q: it is auto, always or never", g.color)
	case g.files || g.quiet:
		req.Mode = control.GrepFiles
	case g.count:
		req.Mode = control.GrepCount
	}
	if !req.Fixed {
		for _, p := range req.Patterns {
			if _, err := regexp.Compile(p); err != nil {
				return req, "", control.Errorf(dbfs.ErrInvalid, "%v", err)
			}
		}
	}
	return req, firstOf(args), nil
}

// errEnough ends a grep that has found what it was asked for.
var errEnough = errors.New("enough")

func (t *tool) grep(ctx context.Context, req control.GrepRequest, g grepFlags, args []string) (matched bool, err error) {
	req, where, err := g.request(req, args)
	if err != nil {
		return false, err
	}
	p, err := t.place(where)
	if err != nil {
		return false, err
	}
	req.Path = p.drive
	if t.json {
		req.Mode = control.GrepLines // as ripgrep: --json always has the lines
	}
	out := bufio.NewWriterSize(t.out, 64<<10)
	defer out.Flush()
	print := t.grepPrinter(out, g, p)
	sum, err := t.daemon().Grep(ctx, req, func(e *control.GrepEvent) error {
		matched = matched || !e.Context
		if g.quiet {
			return errEnough
		}
		if err := print.event(e); err != nil || !t.outTerm {
			return err
		}
		return out.Flush()
	})
	switch {
	case errors.Is(err, errEnough):
		return true, nil
	case err != nil:
		return false, err
	}
	if err := print.end(sum); err != nil {
		return false, err
	}
	if err := out.Flush(); err != nil {
		return false, fmt.Errorf("write output: %w", err)
	}
	if sum.NotSearched > 0 && !g.quiet && !t.json {
		t.note("%s not searched: no text on this device", count(sum.NotSearched, "file"))
	}
	return matched, nil
}

// A grepPrinter writes what a grep finds.
type grepPrinter interface {
	event(*control.GrepEvent) error
	end(*control.GrepSummary) error
}

func (t *tool) grepPrinter(w io.Writer, g grepFlags, p place) grepPrinter {
	if t.json {
		return &grepJSON{w: w, place: p}
	}
	colors := *t
	colors.noColor = t.noColor || g.color == "never"
	if g.color == "always" {
		colors.outTerm, colors.noColor, colors.lookup = true, false, func(string) (string, bool) { return "", false }
	}
	return &grepText{
		t: &colors, w: w, place: p, files: g.files,
		number:  g.number || t.outTerm && !g.noNumber,
		heading: g.heading || t.outTerm && !g.noHeading,
		context: g.context > 0 || g.beforeSet || g.afterSet,
	}
}

// grepText writes lines as ripgrep does: "path:12:text", context lines with "-" for ":",
// "--" where lines were left out.
type grepText struct {
	t       *tool
	w       io.Writer
	place   place
	files   bool // only paths
	number  bool
	heading bool
	context bool

	path string // of the last event
	line int64  // of the last event
	any  bool   // whether there was one
}

func (g *grepText) event(e *control.GrepEvent) error {
	name := g.t.paint(magenta, g.t.name(g.place.show(e.Path)))
	alone := e.Path == g.place.drive // the path asked for is this file
	var out string
	switch {
	case g.files:
		out = name + "\n"
	case e.Line == 0 && alone:
		out = fmt.Sprintf("%d\n", e.Count)
	case e.Line == 0:
		out = fmt.Sprintf("%s:%d\n", name, e.Count)
	default:
		out = g.gap(e, name, alone) + g.text(e, name, alone)
	}
	g.path, g.line, g.any = e.Path, e.Line, true
	if _, err := io.WriteString(g.w, out); err != nil {
		return fmt.Errorf("write output: %w", err)
	}
	return nil
}

// gap is what stands between the last line and this one.
func (g *grepText) gap(e *control.GrepEvent, name string, alone bool) string {
	switch {
	case e.Path != g.path && g.heading && !alone && g.any:
		return "\n" + name + "\n"
	case e.Path != g.path && g.heading && !alone:
		return name + "\n"
	case g.context && g.any && (e.Path != g.path || e.Line != g.line+1):
		return "--\n"
	}
	return ""
}

func (g *grepText) text(e *control.GrepEvent, name string, alone bool) string {
	mark := ":"
	if e.Context {
		mark = "-"
	}
	out := ""
	if !g.heading && !alone {
		out = name + mark
	}
	if g.number {
		out += g.t.paint(green, fmt.Sprint(e.Line)) + mark
	}
	out += g.t.paintSpans(red, string(e.Text), e.Spans)
	if n := len(e.Text); n == 0 || e.Text[n-1] != '\n' {
		out += "\n"
	}
	return out
}

func (g *grepText) end(*control.GrepSummary) error { return nil }
