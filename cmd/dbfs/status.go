package main

import (
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/dbfs/dbfs"
	"github.com/dbfs/dbfs/cmd/dbfs/control"
)

func statusCommand(t *tool) *cobra.Command {
	var check, watch bool
	cmd := &cobra.Command{
		Use:   "status",
		Short: "One screen: mount, transfers, cache, search, what needs you",
		Long: "Status shows what the daemon of this profile is doing.\n\n" +
			"With --check it says only what is wrong, and the exit code tells: 0 everything is at the server,\n" +
			"8 not yet, 9 something needs a person, 5 no daemon runs.",
		Example: "  dbfs status\n  dbfs status --json\n  dbfs status --check || echo 'not yet'\n  dbfs status --watch",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			switch {
			case check:
				return t.checkStatus(cmd.Context())
			case watch:
				return t.watchStatus(cmd.Context())
			}
			return t.showStatus(cmd.Context())
		},
		Annotations: map[string]string{byPath: "yes"},
	}
	cmd.Flags().BoolVar(&check, "check", false, "only set the exit code, and say why")
	cmd.Flags().BoolVar(&watch, "watch", false, "show it again every second; with --json a line each time something changed")
	cmd.MarkFlagsMutuallyExclusive("check", "watch")
	return cmd
}

func (t *tool) showStatus(ctx context.Context) error {
	st, err := t.daemon().Status(ctx)
	if err != nil {
		return err
	}
	if t.json {
		return t.printJSON(st)
	}
	t.writeStatus(t.out, st)
	return nil
}

func (t *tool) checkStatus(ctx context.Context) error {
	st, err := t.daemon().Status(ctx)
	switch {
	case err != nil:
		return err
	case len(st.Attention) > 0:
		first := st.Attention[0]
		return control.WithHint(fmt.Errorf("%w: %s", control.ErrAttention, first.Message), first.Command)
	case !st.Synced():
		return fmt.Errorf("%w: %s", control.ErrNotSynced, t.left(st.Sync))
	}
	return nil
}

// watchStatus ends when it is interrupted, which is not an error, or the daemon ends.
func (t *tool) watchStatus(ctx context.Context) error {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	last := ""
	for {
		st, err := t.daemon().Status(ctx)
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return err
		}
		var screen strings.Builder
		t.writeStatus(&screen, st)
		if screen.String() != last {
			if err := t.redraw(st, screen.String()); err != nil {
				return err
			}
		}
		last = screen.String()
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

func (t *tool) redraw(st *control.Status, screen string) error {
	if t.json {
		return t.lineJSON(st)
	}
	if t.outTerm {
		const clear = "\x1b[H\x1b[2J"
		screen = clear + screen
	} else {
		screen += "\n"
	}
	_, err := io.WriteString(t.out, screen)
	return err
}

func (t *tool) writeStatus(w io.Writer, st *control.Status) {
	var tab table
	tab.add("mounted", t.orNone(st.Mount), t.owner(st))
	tab.add("sync", t.syncWord(st.Sync), t.syncLine(st))
	tab.add("confirmed", t.confirmedWhen(st), confirmed(st.Namespaces))
	tab.add("cache", t.share(st.Cache.Used, st.Cache.Budget), t.cacheLine(st.Cache))
	tab.add("search", st.Search.Word, t.searchLine(st.Search))
	for i, a := range st.Attention {
		word := ""
		if i == 0 {
			word = t.paint(red, "attention")
		}
		text := visible(a.Message)
		if a.Command != "" {
			text += ": " + t.ours(a.Command)
		}
		tab.add(word, text)
	}
	tab.write(w)
}

func (t *tool) cacheLine(c control.CacheStatus) string {
	line := fmt.Sprintf("pinned %s   unsent %s", t.size(c.Pinned), t.share(c.Unsent, c.UnsentBudget))
	if c.Refused > 0 {
		line += fmt.Sprintf("   %s refused to crawlers: %s", count(c.Refused, "file"), t.ours("dbfs why"))
	}
	return line
}

func (t *tool) orNone(dir string) string {
	if dir == "" {
		return "nowhere"
	}
	if rest, ok := within(t.places.home, dir); ok && t.places.home != "/" {
		dir = strings.TrimRight("~"+rest, "/")
	}
	return visible(dir)
}

func (t *tool) owner(st *control.Status) string {
	readOnly := 0
	for _, ns := range st.Namespaces {
		if ns.Role == dbfs.RoleRead {
			readOnly++
		}
	}
	line := fmt.Sprintf("profile %s at %s   %s", st.Profile, st.Server, count(int64(len(st.Namespaces)), "namespace"))
	if st.Account != "" {
		line = st.Account + ", " + line
	}
	if readOnly > 0 {
		line += fmt.Sprintf(", %d read-only", readOnly)
	}
	if st.Reads != "" {
		line += "   " + st.Reads
	}
	if st.ReadsWhy != "" {
		line += ": " + st.ReadsWhy
	}
	return visible(line)
}

func (t *tool) syncWord(s control.Sync) string {
	word := string(s.Word)
	if s.Link != control.Online {
		word += " (" + string(s.Link) + ")"
	}
	if s.Word == control.UpToDate && s.Link == control.Online {
		return t.paint(green, word)
	}
	return t.paint(yellow, word)
}

func (t *tool) syncLine(st *control.Status) string {
	s := st.Sync
	line := []string{}
	if s.Ops > 0 {
		line = append(line, t.left(s))
	}
	if s.Rate > 0 {
		line = append(line, fmt.Sprintf("%s/s, about %s", t.size(s.Rate), roughly(time.Duration(s.Bytes/s.Rate)*time.Second)))
	}
	if s.Down > 0 {
		line = append(line, fmt.Sprintf("%s/s down", t.size(s.Down)))
	}
	if s.Limit != nil {
		line = append(line, "limited to "+t.limits(s.Limit))
	}
	if !s.Oldest.IsZero() {
		line = append(line, "oldest unsent change "+roughly(t.now().Sub(s.Oldest)))
	}
	if s.LastError != "" {
		line = append(line, visible(s.LastError))
	}
	if wait := s.Retry.Sub(t.now()); wait > 0 {
		line = append(line, "next try in "+roughly(wait))
	}
	if s.Link == control.Paused && !s.PausedUntil.IsZero() {
		line = append(line, "until "+t.clock(s.PausedUntil))
	}
	return strings.Join(line, "; ")
}

// left says what has not reached the server.
func (t *tool) left(s control.Sync) string {
	if s.Files == 0 {
		return count(int64(s.Ops), "change") + " left"
	}
	return fmt.Sprintf("%s, %s left", count(int64(s.Files), "file"), t.size(s.Bytes))
}

// confirmedWhen is the oldest of the namespaces' last words from the server.
func (t *tool) confirmedWhen(st *control.Status) string {
	var oldest time.Time
	for i, ns := range st.Namespaces {
		if ns.Confirmed.IsZero() {
			return "never"
		}
		if i == 0 || ns.Confirmed.Before(oldest) {
			oldest = ns.Confirmed
		}
	}
	if oldest.IsZero() {
		return "never"
	}
	return t.clock(oldest)
}

// confirmed writes cursors as "personal@88123 team@40217".
func confirmed(namespaces []control.NamespaceStatus) string {
	var list []string
	for _, ns := range namespaces {
		word := fmt.Sprintf("%s@%d", visible(ns.Name), uint64(ns.Cursor.JID))
		if ns.Loading {
			word += " (loading)"
		}
		list = append(list, word)
	}
	return strings.Join(list, " ")
}

func (t *tool) share(used, budget int64) string {
	if budget == 0 {
		return t.size(used)
	}
	return t.size(used) + " / " + t.size(budget)
}

func (t *tool) searchLine(s control.SearchStatus) string {
	line := count(s.Documents, "file")
	if s.Waiting > 0 {
		line += fmt.Sprintf(", %s to read, %s behind", count(s.Waiting, "file"), roughly(s.Behind))
	}
	return line
}
