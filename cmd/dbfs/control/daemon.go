package control

import (
	"context"
	"net/http"
	"time"
)

// Daemon is what can be asked of a running daemon. The daemon itself is one, and Client
// is one at the far end of a socket. All methods may be called from several goroutines
// and end when their context does. Functions handed in are called from one goroutine at
// a time; when one returns an error the method ends with it.
//
// Errors are the root package's: ErrNotExist for a path that is not there, ErrInvalid
// for a request that makes no sense, ErrBusy for an unmount while the drive is in use.
// An *Error may carry a hint and a path besides.
type Daemon interface {
	Version(ctx context.Context) (Version, error)
	Status(ctx context.Context) (*Status, error)

	// FileStatus tells about one path.
	FileStatus(ctx context.Context, path string) (*FileStatus, error)
	// List tells about what is in a directory, and about a file by itself.
	List(ctx context.Context, req ListRequest, emit func(*FileStatus) error) error

	// Wait returns when every change made below a path before the call is at the server
	// for good. It calls progress a few times a second at most.
	Wait(ctx context.Context, req WaitRequest, progress func(Progress) error) (*WaitResult, error)

	Search(ctx context.Context, req SearchRequest) (*SearchResult, error)
	// Grep hands over matches as they are found, file by file in order of path.
	Grep(ctx context.Context, req GrepRequest, emit func(*GrepEvent) error) (*GrepSummary, error)

	// Conflicts lists the conflicted copies in the drive, oldest first.
	Conflicts(ctx context.Context) ([]Conflict, error)

	// Conflict tells about one, by the path of the copy or, where there is only one copy of it, of
	// the original. ConflictBase returns the content of its base.
	Conflict(ctx context.Context, path string) (*ConflictDetail, error)
	ConflictBase(ctx context.Context, path string) ([]byte, error)
	ResolveConflict(ctx context.Context, req ResolveRequest) error

	// Holds lists the mass changes that the guard holds, and those that have been decided and are
	// not through yet, oldest first. HeldItems tells what one of them destroys; of an incoming
	// one MaxHeldItems at most.
	Holds(ctx context.Context) ([]Hold, error)
	HeldItems(ctx context.Context, id uint64, emit func(*HeldItem) error) error
	DecideHold(ctx context.Context, d HoldDecision) error

	// Throttle limits transfers, or only says what the limit is.
	Throttle(ctx context.Context, req ThrottleRequest) (*Throttle, error)

	// Pause stops transfers for a while, or with zero until Resume.
	Pause(ctx context.Context, d time.Duration) error
	Resume(ctx context.Context) error

	// Umount takes the mount away, after it has stored, and if asked sent, what is unsent. A
	// daemon whose Umount has returned nil ends by itself; the running reply is finished first.
	Umount(ctx context.Context, req UmountRequest, progress func(Progress) error) error
}

// Host is a Daemon that has its server inside, or that lends out its connection to it.
// The socket passes requests below /v1/server/ on to ServerHandler, with that prefix
// removed; whoever may use the socket acts there as the daemon's device.
type Host interface {
	ServerHandler() http.Handler
}
