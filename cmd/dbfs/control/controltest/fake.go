// Package controltest has a Daemon that answers what a test tells it to.
package controltest

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/dbfs/dbfs"
	"github.com/dbfs/dbfs/cmd/dbfs/control"
)

// Fake is a Daemon without a drive. Set its fields before it is used; what was asked of
// it can be read with Asked.
type Fake struct {
	Err     error // if set, the answer to everything
	Stat    control.Status
	Files   []control.FileStatus // in the order they are listed
	Steps   []control.Progress   // of Wait and Umount
	Hits    []control.Hit
	Events  []control.GrepEvent
	Summary control.GrepSummary
	Copies  []control.Conflict
	Details []control.ConflictDetail
	Base    []byte // of every conflict

	Held      []control.Hold
	HeldNames []control.HeldItem // of every hold

	// Hang makes Wait, Grep and Umount, after their steps, last until their context ends.
	Hang bool
	// Unmounted, if not nil, is called when Umount has succeeded.
	Unmounted func()

	mu    sync.Mutex // guards what follows
	asked []any      // the requests in order: of each, its type in package control, or a word
}

var _ control.Daemon = (*Fake)(nil)

// Asked returns the requests so far: values of control's request types, and words for
// the questions that have no parameters.
func (f *Fake) Asked() []any {
	f.mu.Lock()
	defer f.mu.Unlock()
	return append([]any(nil), f.asked...)
}

func (f *Fake) ask(req any) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.asked = append(f.asked, req)
	return f.Err
}

func (f *Fake) Version(context.Context) (control.Version, error) {
	return f.Stat.Version, f.ask("version")
}

func (f *Fake) Status(context.Context) (*control.Status, error) {
	st := f.Stat
	return &st, f.ask("status")
}

func (f *Fake) FileStatus(_ context.Context, path string) (*control.FileStatus, error) {
	if err := f.ask(path); err != nil {
		return nil, err
	}
	for _, file := range f.Files {
		if file.Path == path {
			return &file, nil
		}
	}
	return nil, control.WithPath(fmt.Errorf("%w: %s", dbfs.ErrNotExist, path), path)
}

func (f *Fake) List(_ context.Context, req control.ListRequest, emit func(*control.FileStatus) error) error {
	if err := f.ask(req); err != nil {
		return err
	}
	for _, file := range f.Files {
		if !strings.HasPrefix(file.Path, req.Path) {
			continue
		}
		if err := emit(&file); err != nil {
			return err
		}
	}
	return nil
}

func (f *Fake) Wait(ctx context.Context, req control.WaitRequest, progress func(control.Progress) error) (*control.WaitResult, error) {
	if err := f.ask(req); err != nil {
		return nil, err
	}
	return &control.WaitResult{Namespaces: f.Stat.Namespaces}, f.steps(ctx, progress)
}

func (f *Fake) Search(_ context.Context, req control.SearchRequest) (*control.SearchResult, error) {
	return &control.SearchResult{Hits: f.Hits, Total: len(f.Hits)}, f.ask(req)
}

func (f *Fake) Grep(ctx context.Context, req control.GrepRequest, emit func(*control.GrepEvent) error) (*control.GrepSummary, error) {
	if err := f.ask(req); err != nil {
		return nil, err
	}
	for _, e := range f.Events {
		if err := emit(&e); err != nil {
			return nil, err
		}
	}
	return &f.Summary, f.hang(ctx)
}

func (f *Fake) Conflicts(context.Context) ([]control.Conflict, error) {
	return f.Copies, f.ask("conflicts")
}

func (f *Fake) Conflict(_ context.Context, path string) (*control.ConflictDetail, error) {
	if err := f.ask(path); err != nil {
		return nil, err
	}
	for _, c := range f.Details {
		if c.Path == path || c.Original == path {
			return &c, nil
		}
	}
	return nil, control.Errorf(dbfs.ErrNotExist, "%s is no conflict", path)
}

func (f *Fake) ConflictBase(_ context.Context, path string) ([]byte, error) {
	return f.Base, f.ask(path)
}

func (f *Fake) ResolveConflict(_ context.Context, req control.ResolveRequest) error {
	return f.ask(req)
}

func (f *Fake) Holds(context.Context) ([]control.Hold, error) { return f.Held, f.ask("holds") }

func (f *Fake) HeldItems(_ context.Context, id uint64, emit func(*control.HeldItem) error) error {
	if err := f.ask(id); err != nil {
		return err
	}
	for _, item := range f.HeldNames {
		if err := emit(&item); err != nil {
			return err
		}
	}
	return nil
}

func (f *Fake) DecideHold(_ context.Context, d control.HoldDecision) error { return f.ask(d) }

func (f *Fake) Throttle(_ context.Context, req control.ThrottleRequest) (*control.Throttle, error) {
	return &control.Throttle{Limit: req.Limit}, f.ask(req)
}

func (f *Fake) Pause(_ context.Context, d time.Duration) error {
	return f.ask(control.PauseRequest{For: d})
}

func (f *Fake) Resume(context.Context) error { return f.ask("resume") }

func (f *Fake) Umount(ctx context.Context, req control.UmountRequest, progress func(control.Progress) error) error {
	if err := f.ask(req); err != nil {
		return err
	}
	if err := f.steps(ctx, progress); err != nil {
		return err
	}
	if f.Unmounted != nil {
		f.Unmounted()
	}
	return nil
}

func (f *Fake) steps(ctx context.Context, progress func(control.Progress) error) error {
	for _, p := range f.Steps {
		if err := progress(p); err != nil {
			return err
		}
	}
	return f.hang(ctx)
}

func (f *Fake) hang(ctx context.Context) error {
	if f.Hang {
		<-ctx.Done()
	}
	return ctx.Err()
}
