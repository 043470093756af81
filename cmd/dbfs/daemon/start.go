package daemon

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/dbfs/dbfs"
	"github.com/dbfs/dbfs/remote"
)

// A database that is an older copy of itself, or a copy that another machine goes on with, must
// not go on as the same device: the two would be taken for one. The server knows it from the
// starts: each has a name that is written down here first and then told to the server, which
// remembers the last. A copy remembers another one, and is made a new device, with all that it
// has not sent.
//
// Until the server has answered, nothing is read from it or sent; edits go on being recorded.
type starter struct {
	kv    dbfs.KV
	tell  func(ctx context.Context, last, now string) (remote.Login, error)
	renew func(remote.Login) error // keeps the login of a new device for the next start

	mu     sync.Mutex // guards what follows, and is held while the server is asked
	told   bool
	copied *remote.Login // who to go on as; nil: as before
}

// starts is the row @start: the last start that the server has heard of, and one that it may
// not have.
type starts struct {
	Version int    `json:"version"` // 1
	Last    string `json:"last,omitempty"`
	Now     string `json:"now,omitempty"`
}

var startKey = []byte("@start")

// errCopied says that this daemon cannot go on; the next start is another device's.
var errCopied = fmt.Errorf("%w: what is here is an older state of this device, or a copy of it; unmounted and mounted again it goes on as a new device, with everything that is not sent yet", dbfs.ErrAuth)

// newStarter writes down that there is a start.
func newStarter(kv dbfs.KV, tell func(ctx context.Context, last, now string) (remote.Login, error), renew func(remote.Login) error) (*starter, error) {
	s := &starter{kv: kv, tell: tell, renew: renew}
	row, err := s.read()
	if err != nil {
		return nil, err
	}
	if row.Now == "" { // else the one before was never answered, and is as good
		row.Now = rand.Text()
		err = s.write(row)
	}
	return s, err
}

func (s *starter) read() (starts, error) {
	row := starts{Version: 1}
	b, err := getValue(s.kv, startKey)
	if errors.Is(err, dbfs.ErrNotExist) {
		return row, nil
	}
	if err == nil {
		if bad := json.Unmarshal(b, &row); bad != nil {
			err = fmt.Errorf("%w: the last start: %v", dbfs.ErrCorrupt, bad)
		} else if row.Version != 1 {
			err = fmt.Errorf("%w %d of the last start", dbfs.ErrVersion, row.Version)
		}
	}
	return row, err
}

func (s *starter) write(row starts) error {
	b, err := json.Marshal(row)
	if err != nil {
		return err
	}
	return setValue(s.kv, startKey, b)
}

// ensure returns nil once the server knows of this start.
func (s *starter) ensure(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.copied != nil:
		return errCopied
	case s.told:
		return nil
	}
	row, err := s.read()
	if err != nil {
		return err
	}
	l, err := s.tell(ctx, row.Last, row.Now)
	switch {
	case errors.Is(err, dbfs.ErrUnsupported): // a server of before there was such a thing
		s.told = true
		return nil
	case err != nil:
		return fmt.Errorf("tell the server of this start: %w", err)
	case l.Device != 0:
		// The starts first: what is cut short between the two is a copy once more.
		if err := errors.Join(s.write(starts{Version: 1}), s.renew(l)); err != nil {
			return fmt.Errorf("keep the login of a new device: %w", err)
		}
		s.copied = &l
		return errCopied
	}
	if err := s.write(starts{Version: 1, Last: row.Now}); err != nil {
		return err
	}
	s.told = true
	return nil
}

// patience is how long a mount waits to hear whether it may go on as the device that it was.
const patience = 3 * time.Second

// begin tells the server of the start and reports whether this is to go on as another device,
// which it then has the login of. That the server cannot be reached is no error: it is asked later.
func (s *starter) begin() (*remote.Login, error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	err := s.ensure(ctx)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.copied == nil && (errors.Is(err, dbfs.ErrCorrupt) || errors.Is(err, dbfs.ErrVersion) || errors.Is(err, dbfs.ErrNoSpace)) {
		return nil, err
	}
	return s.copied, nil
}

// started is a server that hears of the start before anything else.
type started struct {
	meta     dbfs.Meta
	notifier dbfs.Notifier
	ensure   func(context.Context) error
}

func (m started) Namespaces(ctx context.Context) ([]dbfs.Namespace, error) {
	if err := m.ensure(ctx); err != nil {
		return nil, err
	}
	return m.meta.Namespaces(ctx)
}

func (m started) Commit(ctx context.Context, ns dbfs.NamespaceID, batch dbfs.Batch) ([]dbfs.Entry, error) {
	if err := m.ensure(ctx); err != nil {
		return nil, err
	}
	return m.meta.Commit(ctx, ns, batch)
}

func (m started) Log(ctx context.Context, ns dbfs.NamespaceID, after dbfs.Cursor, limit int) (dbfs.LogPage, error) {
	if err := m.ensure(ctx); err != nil {
		return dbfs.LogPage{}, err
	}
	return m.meta.Log(ctx, ns, after, limit)
}

func (m started) Tree(ctx context.Context, ns dbfs.NamespaceID, after dbfs.NodeID, limit int) (dbfs.TreePage, error) {
	if err := m.ensure(ctx); err != nil {
		return dbfs.TreePage{}, err
	}
	return m.meta.Tree(ctx, ns, after, limit)
}

func (m started) Wait(ctx context.Context, at map[dbfs.NamespaceID]dbfs.Cursor, timeout time.Duration) (dbfs.Hint, error) {
	if err := m.ensure(ctx); err != nil {
		return dbfs.Hint{}, err
	}
	return m.notifier.Wait(ctx, at, timeout)
}
