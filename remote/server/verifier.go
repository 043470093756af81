package server

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/dbfs/dbfs"
)

// What is uploaded is read back once, soon, by the server: what it finds good is marked so, and only
// then do others than its uploader get it by naming it. What is not the chunk that it was said to be
// is marked as bad: no receipt is given for it any more, so that whoever has the chunk puts
// it again, which mends it. Nothing is deleted for being bad: a store that answers with nonsense for
// an hour must not cost anybody a file.
//
// The list of what is unread is kept in memory. What is not on it, from before a start or because it
// was too long, is found by walking through the rows.
type verifier struct {
	wake chan struct{} // of size one

	mu     sync.Mutex // guards what follows
	serves bool       // somebody takes from unread
	unread []unread   // oldest first, at most maxUnread
	walk   bool       // there may be more than those
}

// unread is a chunk that was uploaded.
type unread struct {
	ns     dbfs.NamespaceID
	id     dbfs.ChunkID
	device dbfs.DeviceID // that uploaded it; 0: not known any more
}

const (
	maxUnread = 10_000

	// badTries is how often in a row a chunk must turn out bad to be taken for it.
	badTries = 2
)

// uploaded notes that a chunk can be read back.
func (v *verifier) uploaded(u unread) {
	v.mu.Lock()
	defer v.mu.Unlock()
	switch {
	case !v.serves:
		return
	case len(v.unread) < maxUnread:
		v.unread = append(v.unread, u)
	default:
		v.walk = true
	}
	select {
	case v.wake <- struct{}{}:
	default:
	}
}

// take returns some of what is unread; and whether, when that is done, there is more that is not listed.
func (v *verifier) take(most int) (some []unread, walk bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	n := min(most, len(v.unread))
	some = slices.Clone(v.unread[:n])
	v.unread = v.unread[n:]
	if len(v.unread) == 0 {
		v.unread = nil
	}
	if n == 0 {
		walk, v.walk = v.walk, false
	}
	return some, walk
}

// walkAgain notes that something that was taken was not read.
func (v *verifier) walkAgain() {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.walk = true
}

// RunVerifier reads back what is uploaded, until ctx ends; first what was not read before this
// start. It takes one processor at most.
func (s *Server) RunVerifier(ctx context.Context) {
	v := s.verifier
	v.mu.Lock()
	v.serves, v.walk = true, true
	v.mu.Unlock()
	for failures := 0; ctx.Err() == nil; {
		err := s.VerifyUploads(ctx)
		wait := time.Duration(1<<62 - 1)
		if err != nil {
			s.opts.Log.Debug("reading back what was uploaded", "err", err)
			wait = time.Duration(rand.Int64N(int64(time.Second<<min(failures, 6)))) + time.Second
			failures++
			v.walkAgain()
		} else {
			failures = 0
		}
		pause := time.NewTimer(wait)
		select {
		case <-ctx.Done():
		case <-pause.C:
		case <-v.wake:
		}
		pause.Stop()
	}
}

// VerifyUploads reads back what is unread as far as that is known, and what a walk finds if one is
// due. After an error, which is the object store's or the database's, some is left.
func (s *Server) VerifyUploads(ctx context.Context) error {
	for {
		some, walk := s.verifier.take(64)
		for _, u := range some {
			if err := s.verifyChunk(ctx, u); err != nil {
				return err
			}
		}
		if len(some) > 0 {
			continue
		}
		if !walk {
			return nil
		}
		if err := s.verifyAll(ctx); err != nil {
			return err
		}
	}
}

// verifyAll walks through all rows.
func (s *Server) verifyAll(ctx context.Context) error {
	return s.eachRow(ctx, TableChunk, nil, func(r Row) error {
		if err := ctx.Err(); err != nil {
			return err
		}
		var row chunkRow
		ns, err := namespaceOf(r.Key)
		if err == nil {
			err = unmarshalRow("chunk", r.Value, &row)
		}
		if err != nil {
			s.opts.Log.Error("a chunk's row is left alone", "err", err)
			return nil
		}
		if !row.toRead() {
			return nil
		}
		return s.verifyChunk(ctx, unread{ns: ns, id: dbfs.ChunkID(r.Key[:len(dbfs.ChunkID{})])})
	})
}

// toRead reports whether a row is of what nobody has read back.
func (row *chunkRow) toRead() bool { return row.State == chunkLive && !row.Verified && !row.Bad }

// verifyChunk reads a chunk back and notes what it is.
func (s *Server) verifyChunk(ctx context.Context, u unread) error {
	row, err := s.chunk(ctx, u.ns, u.id)
	if errors.Is(err, dbfs.ErrNotExist) || err == nil && !row.toRead() {
		return nil
	}
	ref := dbfs.ChunkRef{ID: u.id, Len: row.Raw}
	for try := 0; err == nil && try < badTries; try++ {
		if _, err = s.read(ctx, ref, row); err == nil {
			_, err = s.judged(ctx, u.ns, u.id, row, true)
			return err
		}
		if errors.Is(err, dbfs.ErrCorrupt) && try < badTries-1 {
			err = nil
		}
	}
	if !errors.Is(err, dbfs.ErrCorrupt) {
		return err
	}
	s.opts.Log.Error("an upload is not the chunk that it was said to be; nobody gets it, and whoever has the chunk mends it by uploading it",
		"chunk", u.id, "namespace", u.ns, "object", row.Object, "by", row.By, "device", u.device, "err", err)
	_, err = s.judged(ctx, u.ns, u.id, row, false)
	return err
}

// judged notes what was found out about the object of a row; not about another one that has come
// into its place, of which nothing is known: false.
func (s *Server) judged(ctx context.Context, ns dbfs.NamespaceID, id dbfs.ChunkID, row chunkRow, good bool) (bool, error) {
	_, err := changeRow(ctx, s, TableChunk, "chunk", chunkKey(id, ns), func(now *chunkRow) error {
		if now.State != row.State || now.Object != row.Object || now.Off != row.Off {
			return errStays
		}
		now.Verified, now.Bad = good, !good
		return nil
	})
	if errors.Is(err, errStays) {
		return false, nil
	}
	return err == nil, err
}
