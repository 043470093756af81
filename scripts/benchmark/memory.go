package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"github.com/dbfs/dbfs/scripts/benchmark/drive"
	"github.com/dbfs/dbfs/scripts/benchmark/report"
)

const (
	listing = 30 * time.Minute // for a device to get the whole tree
	resting = 10 * time.Second // before memory at rest is read
)

// largeTree makes a tree of many files at a server, and measures what it costs a device that has it.
func (b *bench) largeTree(ctx context.Context) (err error) {
	for _, s := range drive.All() {
		if s.Name == "dbfs" {
			if why := s.Missing(b.site); why != "" {
				return errors.New("dbfs: " + why)
			}
			b.results.Systems = []report.System{{Name: s.Name, About: s.About, Version: s.Version(b.site)}}
		}
	}
	dir := filepath.Join(b.scratch, "memory")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	srv, err := drive.Serve(ctx, b.site, dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, srv.Stop()) }()

	m := report.Memory{Files: int64(b.memoryFiles)}
	start := time.Now()
	entries, err := generate(ctx, srv.URL, srv.Token, b.memoryFiles, func(done int) {
		b.screen.step("making files at the server: %d of %d", done, b.memoryFiles)
	})
	if err != nil {
		return fmt.Errorf("make files: %w", err)
	}
	m.Made = time.Since(start).Seconds()
	b.screen.say("%d files made at the server in %.1f s", b.memoryFiles, m.Made)

	d, err := drive.Device(ctx, srv, filepath.Join(dir, "one"), nil)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, d.Stop()) }()
	if err := b.firstMount(ctx, d, entries, &m); err != nil {
		return fmt.Errorf("first mount: %w; the daemon said: %s", err, d.LastWords())
	}
	if err := b.laterMount(ctx, d, &m); err != nil {
		return fmt.Errorf("later mount: %w; the daemon said: %s", err, d.LastWords())
	}
	b.results.Memory = &m
	return nil
}

// firstMount mounts a device that knows nothing, and waits until it has all names.
func (b *bench) firstMount(ctx context.Context, d *drive.Mount, entries uint64, m *report.Memory) error {
	watch := drive.Look(d.PIDs)
	defer watch.Peak()
	start := time.Now()
	if err := d.Show(ctx); err != nil {
		return err
	}
	m.First = time.Since(start).Seconds()
	for {
		st, err := d.Status(ctx)
		if err != nil && !d.Runs() {
			return errors.New("the daemon has ended")
		}
		// It mounts before it can be asked.
		if err == nil && len(st.Namespaces) > 0 && !st.Namespaces[0].Loading && st.Namespaces[0].Cursor.JID >= entries {
			break
		}
		if time.Since(start) > listing {
			return fmt.Errorf("the device has not got the whole tree within %v", listing)
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(100 * time.Millisecond):
		}
	}
	m.Listed = time.Since(start).Seconds()
	m.Loading = watch.Peak()
	b.screen.say("first mount: answers after %.3f s, has all names after %.1f s", m.First, m.Listed)
	return d.Hide()
}

// laterMount mounts it again, as after a restart of the machine, and has find go over it.
func (b *bench) laterMount(ctx context.Context, d *drive.Mount, m *report.Memory) error {
	if os.Geteuid() == 0 {
		if err := dropCaches(); err != nil {
			return err
		}
	}
	start := time.Now()
	if err := showTop(ctx, d); err != nil {
		return err
	}
	m.Again = time.Since(start).Seconds()
	b.screen.say("second mount: answers after %.3f s", m.Again)
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-time.After(resting):
	}
	m.Rest = drive.Memory(d.PIDs())
	watch := drive.Look(d.PIDs)
	defer watch.Peak()
	start = time.Now()
	found, err := find(ctx, d.Path())
	if err != nil {
		return err
	}
	m.Find, m.Finding = time.Since(start).Seconds(), watch.Peak()
	if found != m.Files {
		return fmt.Errorf("find sees %d files, want %d", found, m.Files)
	}
	return d.Hide()
}

// showTop mounts, and has the top directory listed.
func showTop(ctx context.Context, d *drive.Mount) error {
	if err := d.Show(ctx); err != nil {
		return err
	}
	_, err := os.ReadDir(d.Path())
	return err
}

// find counts files as find does. It asks for the size of each, so that none goes unlooked at.
func find(ctx context.Context, dir string) (int64, error) {
	cmd := exec.CommandContext(ctx, "find", dir, "-type", "f", "-size", "+0", "-printf", ".")
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	var dots counter
	cmd.Stdout, cmd.Stderr = &dots, os.Stderr
	err := cmd.Run()
	return int64(dots), err
}

// A counter counts the bytes that are written to it.
type counter int64

func (c *counter) Write(b []byte) (int, error) {
	*c += counter(len(b))
	return len(b), nil
}
