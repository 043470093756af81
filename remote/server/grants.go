package server

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/dbfs/dbfs"
)

// A grantRow lists objects that may be there though no row of TableChunk names them:
// granted and perhaps uploaded, or replaced. Its key in TableGrant is
//
//	u64 when it was made, seconds since 1970, big-endian
//	u64 random
//
// so that the oldest come first.
type grantRow struct {
	Objects []string `json:"objects"`
}

// grantLife is how long after a grant its objects are left alone. It is twice ticketLife:
// by then no upload can be registered any more, whatever the clocks of two servers say.
const grantLife = 2 * ticketLife

// remember makes a grant of objects.
func (s *Server) remember(ctx context.Context, objects []string) error {
	key := binary.BigEndian.AppendUint64(nil, uint64(s.now().Unix()))
	key = binary.BigEndian.AppendUint64(key, s.opts.Name())
	_, err := addRow(ctx, s, TableGrant, "grant", key, grantRow{objects})
	return err
}

// SweepUploads deletes the objects of old grants that nothing came of, and returns how many.
// Call it now and then; it does no harm to stop it at any point, or to run it twice at once.
func (s *Server) SweepUploads(ctx context.Context) (deleted int, err error) {
	if s.objects == nil {
		return 0, nil
	}
	errYoung := errors.New("the rest is younger")
	err = s.eachRow(ctx, TableGrant, nil, func(r Row) error {
		if len(r.Key) != 16 {
			return fmt.Errorf("%w: grant key of %d bytes", dbfs.ErrCorrupt, len(r.Key))
		}
		made := time.Unix(int64(binary.BigEndian.Uint64(r.Key)), 0)
		if s.now().Sub(made) < grantLife {
			return errYoung
		}
		n, err := s.sweepGrant(ctx, r)
		deleted += n
		return err
	})
	if err != nil && !errors.Is(err, errYoung) {
		return deleted, fmt.Errorf("sweep uploads: %w", err)
	}
	return deleted, nil
}

// sweepGrant deletes what is left of one grant, and then the grant.
func (s *Server) sweepGrant(ctx context.Context, r Row) (deleted int, err error) {
	var g grantRow
	if err := unmarshalRow("grant", r.Value, &g); err != nil {
		return 0, err
	}
	for _, object := range g.Objects {
		used, err := s.used(ctx, object)
		if err != nil {
			return deleted, err
		}
		if used {
			continue
		}
		if err := s.objects.Delete(ctx, object); err != nil {
			return deleted, err
		}
		deleted++
	}
	_, err = s.store.CAS(ctx, TableGrant, r.Key, r.Value, nil)
	return deleted, err
}

// used reports whether any row of its chunk names an object. A pack that has a row is the
// business of collecting.
func (s *Server) used(ctx context.Context, object string) (bool, error) {
	if isPack(object) {
		_, err := s.pack(ctx, object)
		if errors.Is(err, dbfs.ErrNotExist) {
			return false, nil
		}
		return err == nil, err
	}
	id, err := chunkOf(object)
	if err != nil {
		return false, err
	}
	found := false
	err = s.eachRowOf(ctx, id, func(_ dbfs.NamespaceID, row chunkRow) bool {
		found = row.Object == object
		return !found
	})
	return found, err
}
