package main

import (
	"context"
	"fmt"
	"os"
	"time"

	gofs "github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"

	"github.com/dbfs/dbfs"
	"github.com/dbfs/dbfs/cmd/dbfs/control"
	"github.com/dbfs/dbfs/cmd/dbfs/control/controltest"
	"github.com/dbfs/dbfs/cmd/dbfs/daemon"
)

// testDrive is a drive with a real mount that holds one file, and a real control socket.
type testDrive struct {
	s    daemon.Settings
	fuse *fuse.Server
}

// newTestDrive fails when the profile is called so: that is how a test asks for a failure.
func newTestDrive(s daemon.Settings) (drive, error) {
	switch s.Profile {
	case "broken":
		return nil, control.WithHint(fmt.Errorf("open state: %w: bad block", dbfs.ErrCorrupt), "restore it")
	case "panics":
		panic("out of luck")
	}
	return &testDrive{s: s}, nil
}

func (d *testDrive) Run(ctx context.Context, ready func()) error {
	root := &gofs.Inode{}
	var err error
	d.fuse, err = gofs.Mount(d.s.Mount, root, &gofs.Options{
		MountOptions: fuse.MountOptions{DirectMount: true, FsName: d.s.Source, Name: "dbfs"},
		OnAdd: func(ctx context.Context) {
			file := root.NewPersistentInode(ctx, &gofs.MemRegularFile{Data: []byte("hello\n")}, gofs.StableAttr{})
			root.AddChild("file", file, false)
		},
	})
	if err != nil {
		return fmt.Errorf("mount: %w", err)
	}
	ln, err := control.Listen(d.s.Socket)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var unmounted bool
	srv := control.NewServer(&controltest.Fake{
		Stat: control.Status{Version: control.Version{PID: os.Getpid()}, Profile: d.s.Profile, Mount: d.s.Mount, State: d.s.State, Server: d.s.Server},
		Unmounted: func() {
			unmounted = d.fuse.Unmount() == nil
			cancel()
		},
	}, d.s.Log)
	go srv.Serve(ln)
	ready()
	<-ctx.Done()
	if !unmounted {
		if err := d.fuse.Unmount(); err != nil {
			return fmt.Errorf("unmount: %w", err)
		}
	}
	late, stop := context.WithTimeout(context.Background(), 5*time.Second)
	defer stop()
	return srv.Shutdown(late)
}

func (d *testDrive) Abort() error { return detach(mountPoint{dir: d.s.Mount}) }
