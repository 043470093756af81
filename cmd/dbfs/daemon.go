package main

import (
	"context"
	"fmt"

	"github.com/dbfs/dbfs"
)

// daemon is a client built from its settings.
type daemon struct{}

func newDaemon(s mountSettings) (*daemon, error) {
	return nil, fmt.Errorf("mount %s: %w: this build holds no client", s.Mount, dbfs.ErrUnsupported)
}

func (*daemon) Run(context.Context, func()) error { return dbfs.ErrUnsupported }

func (*daemon) Abort() error { return dbfs.ErrUnsupported }
