package main

import (
	"context"
	"strings"

	"github.com/spf13/cobra"

	"github.com/dbfs/dbfs/cmd/dbfs/control"
)

func searchCommand(t *tool) *cobra.Command {
	var limit int
	var in string
	var names bool
	cmd := &cobra.Command{
		Use:   "search QUERY...",
		Short: "Find files by their words, best first",
		Long: "Search finds the files that hold all words of the query.\n\n" +
			"  one two        both words          one OR two     either\n" +
			"  -three         not this word       \"one two\"      next to each other\n" +
			"  inv*           words that begin so (one OR two) three\n" +
			"  name:plan      in the file's name  ext:pdf,docx   by extension   in:work/2025  below a directory",
		Example:     "  dbfs search invoice 2025\n  dbfs search '\"quarterly report\" ext:docx -draft'\n  dbfs search --json plan | jq -r '.hits[].path'",
		Args:        cobra.MinimumNArgs(1),
		Annotations: map[string]string{byPath: "yes"},
		RunE: func(cmd *cobra.Command, args []string) error {
			req := control.SearchRequest{Query: strings.Join(args, " "), Limit: limit}
			if in != "" {
				p, err := t.place(in)
				if err != nil {
					return err
				}
				req.Path = p.drive
			}
			return t.search(cmd.Context(), req, names)
		},
	}
	cmd.Flags().IntVar(&limit, "limit", 20, "how many files at most")
	cmd.Flags().StringVar(&in, "in", "", "only below this path")
	cmd.Flags().BoolVarP(&names, "files", "l", false, "only the paths")
	return cmd
}

func (t *tool) search(ctx context.Context, req control.SearchRequest, names bool) error {
	res, err := t.daemon().Search(ctx, req)
	if err != nil {
		return err
	}
	for i := range res.Hits {
		res.Hits[i].Local, _ = t.local(res.Hits[i].Path)
	}
	if t.json {
		return t.printJSON(res)
	}
	everything := place{"/", t.mountDir()}
	for i := range res.Hits {
		hit := &res.Hits[i]
		name := t.name(everything.show(hit.Path))
		if names {
			t.printf("%s\n", name)
			continue
		}
		t.printf("%s  %s, %s, %s\n", t.paint(magenta, name), t.size(hit.Size), t.ago(hit.ModTime), hit.Residency)
		if hit.Snippet != "" {
			t.printf("    %s\n", t.snippet(hit))
		}
	}
	t.searchFooter(res)
	return nil
}

// snippet writes a hit's text on one line. Newlines are single bytes, as the spaces are
// that take their place, so the spans still fit.
func (t *tool) snippet(hit *control.Hit) string {
	line := strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return ' '
		}
		return r
	}, hit.Snippet)
	return t.paintSpans(red, line, hit.Spans)
}

// searchFooter says on stderr how complete the answer is, where it is not.
func (t *tool) searchFooter(res *control.SearchResult) {
	switch {
	case len(res.Hits) == 0:
		t.note("no files found")
	case res.Total > len(res.Hits):
		t.note("%d of %s shown; --limit shows more", len(res.Hits), count(int64(res.Total), "file"))
	}
	if res.Waiting > 0 {
		t.note("%s not indexed yet, the oldest changed %s ago", count(res.Waiting, "file"), roughly(res.Behind))
	}
}
