package main

import (
	"encoding/json"
	"fmt"
	"io"
	"time"

	"github.com/dustin/go-humanize"
	"github.com/schollz/progressbar/v3"

	"github.com/dbfs/dbfs/cmd/dbfs/control"
)

// progressReport shows how far something has got, on stderr.
type progressReport interface {
	update(control.Progress)
	finish()
}

// progressFor returns the report that --progress asks for.
func (t *tool) progressFor() progressReport {
	switch {
	case t.progress == "json":
		return &jsonProgress{t.errs}
	case t.progress == "plain":
		return &plainProgress{t: t}
	case t.progress == "auto" && t.errTerm && !t.json:
		return &barProgress{w: t.errs}
	}
	return noProgress{}
}

type noProgress struct{}

func (noProgress) update(control.Progress) {}
func (noProgress) finish()                 {}

// jsonProgress writes every step as a JSON line.
type jsonProgress struct{ w io.Writer }

func (p *jsonProgress) update(step control.Progress) { json.NewEncoder(p.w).Encode(step) }
func (p *jsonProgress) finish()                      {}

// plainProgress writes a line a second at most, for logs.
type plainProgress struct {
	t    *tool
	last time.Time
}

func (p *plainProgress) update(step control.Progress) {
	if now := p.t.now(); now.Sub(p.last) >= time.Second {
		p.last = now
		fmt.Fprintln(p.t.errs, p.t.stepLine(step))
	}
}

func (p *plainProgress) finish() {}

// stepLine says a step in words: "uploading  1.0 MiB of 3.0 MiB, 2 files left, a/b".
func (t *tool) stepLine(step control.Progress) string {
	line := step.Phase
	if step.Total == 0 && step.Files == 0 {
		return line
	}
	if line != "" {
		line += "  "
	}
	line += fmt.Sprintf("%s of %s, %s left", t.size(step.Done), t.size(step.Total), count(step.Files, "file"))
	if step.Item != "" {
		line += ", " + visible(step.Item)
	}
	return line
}

// barProgress draws a bar with bytes, rate, time left and the current item. It draws at
// most ten times a second and goes away when it is finished.
type barProgress struct {
	w   io.Writer
	bar *progressbar.ProgressBar // nil before the first step
}

func (p *barProgress) update(step control.Progress) {
	if p.bar == nil {
		p.bar = progressbar.NewOptions64(max(step.Total, 1),
			progressbar.OptionSetWriter(p.w),
			progressbar.OptionThrottle(100*time.Millisecond),
			progressbar.OptionShowBytes(true),
			progressbar.OptionUseIECUnits(true),
			progressbar.OptionSetPredictTime(true),
			progressbar.OptionFullWidth(),
			progressbar.OptionClearOnFinish())
	}
	p.bar.Describe(barTitle(step))
	if total := max(step.Total, 1); total != p.bar.GetMax64() {
		p.bar.ChangeMax64(total)
	}
	// A full bar would be finished for good; more may still come.
	p.bar.Set64(min(step.Done, max(step.Total, 1)-1))
}

func (p *barProgress) finish() {
	if p.bar != nil {
		p.bar.Finish()
	}
}

// barTitle leaves room for the bar: the phase, what is left, and the end of the item's path.
func barTitle(step control.Progress) string {
	const room = 30
	item := []rune(visible(step.Item))
	if len(item) > room {
		item = append([]rune("…"), item[len(item)-room+1:]...)
	}
	title := step.Phase
	if step.Files > 0 {
		title += " " + count(step.Files, "file")
	}
	if len(item) > 0 {
		title += " " + string(item)
	}
	return title
}

// listingReport says how many names a new device has got, which takes a while where there are a million. With 0 it
// clears the line.
func (t *tool) listingReport() func(names int64) {
	bar := t.progress == "auto" && t.errTerm && !t.json
	last, drawn := time.Time{}, false
	return func(names int64) {
		now := t.now()
		switch {
		case names == 0 && drawn:
			fmt.Fprint(t.errs, "\r\x1b[K")
			drawn = false
		case names == 0:
		case bar:
			fmt.Fprintf(t.errs, "\rgetting the names of all files: %s so far\x1b[K", humanize.Comma(names))
			drawn = true
		case t.progress == "plain" && now.Sub(last) >= time.Second:
			fmt.Fprintf(t.errs, "getting the names of all files: %s so far\n", humanize.Comma(names))
			last = now
		case t.progress == "json":
			json.NewEncoder(t.errs).Encode(readyLine{Listed: names})
		}
	}
}
