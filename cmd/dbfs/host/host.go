// Package host opens a server in this process: its database, its object store and its
// housekeeping. "dbfs serve" shows one to the world; a drive with no server configured keeps
// one to itself.
package host

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"path/filepath"
	"sync"
	"time"

	"github.com/dbfs/dbfs"
	"github.com/dbfs/dbfs/cmd/dbfs/control"
	"github.com/dbfs/dbfs/remote/dir"
	"github.com/dbfs/dbfs/remote/s3"
	"github.com/dbfs/dbfs/remote/server"
	"github.com/dbfs/dbfs/remote/server/badgerdb"
)

// sweepPause is how long uploads that nothing came of may lie about between two sweeps.
const sweepPause = 10 * time.Minute

// A Server is a server with its database and its object store, below one directory:
//
//	DATA/meta         the database
//	DATA/blocks       the objects, unless they are elsewhere
//	DATA/admin.token  logs the first administrator in; 0600
type Server struct {
	*server.Server
	Token string // of the first administrator, until somebody has logged in with it; then ""

	Restoration *server.Restoration // what was done because of Options.Restored; nil without it

	store   server.Store
	objects closer
	stop    context.CancelFunc // ends the sweeps and collections
	swept   chan struct{}      // closed when they have ended
}

type closer interface{ Close() error }

// Restoration is what was done after a database was brought back from a copy.
type Restoration = server.Restoration

// Options say how a server is kept; the zero value is right for a small one.
type Options struct {
	// Blocks is the address of the objects, file:///DIR or s3://BUCKET[/PREFIX][?endpoint=URL…];
	// "" stands for DATA/blocks.
	Blocks string

	Keep     time.Duration // of the contents that files had; 0: 30 days, less: none
	Versions int           // of them for each file; 0: 100, less: none
	Restored bool          // the database was brought back from a copy: see server.Server.Restored
	Dedup    string        // namespace, account or server; "": account. See server.Domain
	ReadBack bool          // what is uploaded is read back: there are others than who uploads it
	Collect  time.Duration // how often garbage is collected; 0: daily, less: only when asked to
}

// Open opens the server whose data are in a directory, which is made if it is not there.
func Open(ctx context.Context, data string, opts Options, log *slog.Logger) (*Server, error) {
	if err := control.PrivateDir(data); err != nil {
		return nil, err
	}
	objects, err := openObjects(ctx, opts.Blocks, filepath.Join(data, "blocks"))
	if err != nil {
		return nil, err
	}
	store, err := badgerdb.Open(filepath.Join(data, "meta"), log)
	if err != nil {
		return nil, errors.Join(err, closeObjects(objects))
	}
	ls := &Server{store: store, swept: make(chan struct{})}
	ls.objects, _ = objects.(closer)
	if ls.Server, err = server.New(store, objects, server.Options{Log: log, Dedup: server.Domain(opts.Dedup), Keep: server.Retention{Contents: opts.Keep, Versions: opts.Versions}}); err == nil {
		ls.Token, _, err = ls.Bootstrap(ctx)
	}
	if err == nil && opts.Restored {
		ls.Restoration = new(Restoration)
		*ls.Restoration, err = ls.Restored(ctx)
	}
	if err != nil {
		return nil, errors.Join(err, store.Close(), closeObjects(objects))
	}
	sweeps, stop := context.WithCancel(context.Background())
	ls.stop = stop
	go func() {
		defer close(ls.swept)
		var chores sync.WaitGroup
		chores.Go(func() { ls.sweep(sweeps, log) })
		if opts.ReadBack {
			chores.Go(func() { ls.RunVerifier(sweeps) })
		}
		chores.Go(func() { ls.RunCollections(sweeps, collectEvery(opts.Collect)) })
		chores.Wait()
	}()
	return ls, nil
}

// Close ends the server. Nothing may use it any more.
func (ls *Server) Close() error {
	ls.stop()
	<-ls.swept
	err := ls.store.Close()
	if ls.objects != nil {
		err = errors.Join(err, ls.objects.Close())
	}
	return err
}

// collectEvery says what an option means.
func collectEvery(d time.Duration) time.Duration {
	if d == 0 {
		return 24 * time.Hour
	}
	return max(d, 0)
}

func (ls *Server) sweep(ctx context.Context, log *slog.Logger) {
	tick := time.NewTicker(sweepPause)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		n, err := ls.SweepUploads(ctx)
		switch {
		case ctx.Err() != nil:
			return
		case err != nil:
			log.Warn("sweep uploads", "err", err)
		case n > 0:
			log.Info("swept uploads that nothing came of", "objects", n)
		}
	}
}

// openObjects opens the object store at an address, and looks whether it works.
func openObjects(ctx context.Context, address, otherwise string) (server.Objects, error) {
	if address == "" {
		return dir.Open(otherwise)
	}
	u, err := url.Parse(address)
	if err != nil {
		return nil, control.Errorf(dbfs.ErrInvalid, "blocks %q: %v", address, err)
	}
	switch {
	case u.Scheme == "file" && (u.Host == "" || u.Host == "localhost") && u.Path != "" && u.RawQuery == "":
		return dir.Open(filepath.Clean(u.Path))
	case u.Scheme == "s3":
		return openBucket(ctx, address)
	}
	return nil, control.Errorf(dbfs.ErrInvalid, "blocks %q: write file:///DIR or s3://BUCKET[/PREFIX][?endpoint=URL&region=NAME&path_style=true]", address)
}

func openBucket(ctx context.Context, address string) (server.Objects, error) {
	opts, err := s3.ParseURL(address)
	if err != nil {
		return nil, err
	}
	store, err := s3.New(ctx, opts)
	if err != nil {
		return nil, err
	}
	if err := store.Check(ctx); err != nil {
		return nil, fmt.Errorf("blocks: %w", err)
	}
	return store, nil
}

func closeObjects(objects server.Objects) error {
	if c, ok := objects.(closer); ok {
		return c.Close()
	}
	return nil
}
