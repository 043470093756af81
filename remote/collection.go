package remote

import (
	"context"
	"time"
)

// Collecting is the collection of garbage as an administrator of the server sees it. Client
// and server.Session are the two implementations. Errors: dbfs.ErrForbidden.
type Collecting interface {
	// StartCollection begins a collection, and returns before it has done much. A dry run
	// changes nothing. dbfs.ErrBusy: there is one under way; dbfs.ErrUnsupported: this server
	// runs none.
	StartCollection(ctx context.Context, dryRun bool) (Collection, error)

	// Collection returns how far the collection has got that is under way, or what came of the
	// last one; the zero Collection when there was none.
	Collection(ctx context.Context) (Collection, error)
}

// CollectionRequest is POST /v1/admin/collection.
type CollectionRequest struct {
	DryRun bool `json:"dry_run,omitempty"`
}

// A Collection is what a collection of garbage at the server has done, or, in a dry run,
// would do.
type Collection struct {
	DryRun  bool   `json:"dry_run,omitempty"`
	Running bool   `json:"running,omitempty"`
	Phase   string `json:"phase,omitempty"`
	Done    int64  `json:"done"` // of the sweep, up to CollectionTotal

	Started  time.Time `json:"started,omitzero"`
	Finished time.Time `json:"finished,omitzero"`
	Error    string    `json:"error,omitempty"` // why it ended early

	// Forgotten, because it is older than is wanted.
	Namespaces int64 `json:"namespaces"` // walked
	Versions   int64 `json:"versions"`   // of files
	Entries    int64 `json:"entries"`    // of the logs
	Nodes      int64 `json:"nodes"`      // deleted ones
	Lists      int64 `json:"lists"`      // chunk lists that were kept apart

	// Chunks, each counted in every namespace where it is.
	Named          int64 `json:"named"`  // times that something names one
	Chunks         int64 `json:"chunks"` // looked at
	Condemned      int64 `json:"condemned"`
	CondemnedBytes int64 `json:"condemned_bytes"`
	Waiting        int64 `json:"waiting"` // condemned earlier; their time is not up
	WaitingBytes   int64 `json:"waiting_bytes"`
	Deleted        int64 `json:"deleted"`
	DeletedBytes   int64 `json:"deleted_bytes"`     // freed at the object store
	Rescued        int64 `json:"rescued,omitempty"` // condemned by a mistake of the server's
}

// CollectionTotal is what a Collection's Done comes to.
const CollectionTotal = 1 << 32
