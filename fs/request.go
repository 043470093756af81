package fs

import (
	"context"

	"github.com/hanwen/go-fuse/v2/fuse"

	"github.com/dbfs/dbfs/cache"
)

// request is the context of a FUSE request about a file's bytes: it ends when the kernel says INTERRUPT, and it knows
// who asks. That is found out only where bytes are missing.
type request struct {
	context.Context
	cancel <-chan struct{}
	file   *file
	tid    int
	writes bool
}

// reading is the context of a request to read a file.
func reading(cancel <-chan struct{}, in *fuse.InHeader, f *file) context.Context {
	return request{context.Background(), cancel, f, int(in.Pid), false}
}

// writing is the context of a request to change a file.
func writing(cancel <-chan struct{}, in *fuse.InHeader, f *file) context.Context {
	return request{context.Background(), cancel, f, int(in.Pid), true}
}

func (r request) Done() <-chan struct{} { return r.cancel }

func (r request) Err() error {
	select {
	case <-r.cancel:
		return context.Canceled
	default:
		return nil
	}
}

func (r request) Value(key any) any {
	asker := r.file.fs.cfg.Asker
	if _, ok := key.(cache.AskerKey); !ok || asker == nil {
		return nil
	}
	r.file.mu.RLock()
	defer r.file.mu.RUnlock()
	return asker(r.tid, r.file.nodeFile(), r.writes)
}
