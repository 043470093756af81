package daemon

import (
	"context"

	"github.com/dbfs/dbfs/cache"
	"github.com/dbfs/dbfs/cmd/dbfs/control"
)

var _ control.Why = (*Daemon)(nil)

// Why is control.Why's.
func (d *Daemon) Why(ctx context.Context, req control.WhyRequest) (*control.WhyReply, error) {
	reply := &control.WhyReply{Since: d.start, Programs: []control.WhyProgram{}, Files: []control.WhyFile{}}
	if req.Path == "" {
		for _, t := range d.shield.Totals() {
			reply.Programs = append(reply.Programs, control.WhyProgram{
				Program: t.Program.Name, Command: t.Program.Command, PID: t.Program.PID,
				Files: t.Files, Bytes: t.Bytes, Refused: t.Refused, Last: t.Last,
			})
		}
		return reply, nil
	}
	if _, _, err := d.find(req.Path); err != nil {
		return nil, err
	}
	below := d.canonical(req.Path)
	for _, c := range d.shield.Causes() {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		path, ok := d.fileBelow(c.File, below)
		if !ok {
			continue
		}
		if req.Limit > 0 && len(reply.Files) == req.Limit {
			reply.More = true
			break
		}
		reply.Files = append(reply.Files, control.WhyFile{
			Path: path, Program: c.Program.Name, Command: c.Program.Command, PID: c.Program.PID,
			Bytes: c.Bytes, Refused: c.Refused > 0, First: c.First, Last: c.Last,
		})
	}
	return reply, nil
}

// fileBelow returns where a file is now, if that is below a path.
func (d *Daemon) fileBelow(f cache.File, below string) (string, bool) {
	sp := d.space(f.NS)
	if sp == nil {
		return "", false
	}
	path, ok := d.drivePath(sp, f.Node)
	return path, ok && isBelow(path, below)
}

// behalfOf returns a context that reads a file on behalf of a part of dbfs, or of a command.
func (d *Daemon) behalfOf(ctx context.Context, who string, f cache.File) context.Context {
	return cache.WithAsker(ctx, d.shield.Part(who, f))
}
