package server

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/dbfs/dbfs"
	"github.com/dbfs/dbfs/fault"
	"github.com/dbfs/dbfs/remote"
)

const (
	// addressLife is how long a signed address is good.
	addressLife = 15 * time.Minute

	// blockLanes is how many rows and objects one request works on at a time, unless Options
	// say else. The engine syncs writes that come together once.
	blockLanes = 32
)

var _ dbfs.ChunkStore = (*Session)(nil)

// Check returns receipts for the chunks that are within the namespace's reach, and brings
// those into it that the account has in another namespace of the same owner. A chunk that
// another member uploaded gets one when the server has found it good.
func (se *Session) Check(ctx context.Context, ns dbfs.NamespaceID, refs []dbfs.ChunkRef) ([]dbfs.Receipt, error) {
	receipts, _, err := se.checkAll(ctx, ns, refs)
	return receipts, err
}

// checkAll also says for which chunks a proof will do.
func (se *Session) checkAll(ctx context.Context, ns dbfs.NamespaceID, refs []dbfs.ChunkRef) ([]dbfs.Receipt, []bool, error) {
	for _, ref := range refs {
		if err := remote.CheckChunk(ref); err != nil {
			return nil, nil, err
		}
	}
	if err := se.blocks(ctx, ns, dbfs.RoleWrite); err != nil {
		return nil, nil, fmt.Errorf("check chunks: %w", err)
	}
	near := &neighbours{se: se, ns: ns}
	receipts, prove := make([]dbfs.Receipt, len(refs)), make([]bool, len(refs))
	err := se.s.each(ctx, len(refs), func(ctx context.Context, i int) (err error) {
		receipts[i], err = se.check(ctx, ns, refs[i], near)
		if err == nil && receipts[i] == "" {
			prove[i], err = se.provable(ctx, ns, refs[i])
		}
		return err
	})
	if err != nil {
		return nil, nil, fmt.Errorf("check chunks: %w", err)
	}
	return receipts, prove, nil
}

func (se *Session) check(ctx context.Context, ns dbfs.NamespaceID, ref dbfs.ChunkRef, near *neighbours) (dbfs.Receipt, error) {
	row, err := se.s.chunk(ctx, ns, ref.ID)
	if errors.Is(err, dbfs.ErrNotExist) {
		row, err = near.adopt(ctx, ref.ID)
	}
	if errors.Is(err, dbfs.ErrNotExist) || err == nil && row.Raw != ref.Len {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	if good, err := se.trusts(ctx, ns, ref, row); !good || err != nil {
		return "", err
	}
	return se.s.receipt(ctx, ns, ref, row)
}

// trusts reports whether an account may take a chunk for stored, and give up its own bytes:
// what it uploaded itself, and what the server has read. What somebody else uploaded is read
// now, once; if it is damaged, putting the chunk mends it.
func (se *Session) trusts(ctx context.Context, ns dbfs.NamespaceID, ref dbfs.ChunkRef, row chunkRow) (bool, error) {
	if row.State == chunkLive && row.Bad {
		return false, nil
	}
	if row.Verified || row.By == se.account || row.State != chunkLive || fault.Bug(fault.UnverifiedShared) {
		return true, nil
	}
	_, err := se.s.read(ctx, ref, row)
	if errors.Is(err, dbfs.ErrCorrupt) {
		se.s.opts.Log.Warn("chunk is damaged and has to be uploaded again", "chunk", ref.ID, "object", row.Object, "by", row.By, "err", err)
		return false, nil
	}
	if err != nil {
		return false, err
	}
	return se.s.judged(ctx, ns, ref.ID, row, true)
}

// receipt touches a chunk and gives a receipt for it; none if it is not live any more.
func (s *Server) receipt(ctx context.Context, ns dbfs.NamespaceID, ref dbfs.ChunkRef, row chunkRow) (dbfs.Receipt, error) {
	live, err := s.touch(ctx, ns, ref.ID, row)
	if err != nil || !live {
		return "", err
	}
	return s.receipts.seal(ns, ref, s.now()), nil
}

// Put stores a chunk by way of the server itself, for callers in its process.
func (se *Session) Put(ctx context.Context, ns dbfs.NamespaceID, ref dbfs.ChunkRef, raw []byte) (dbfs.Receipt, error) {
	if err := remote.CheckChunk(ref); err != nil {
		return "", err
	}
	if err := ref.Verify(raw); err != nil {
		return "", err
	}
	return se.putRead(ctx, ns, ref, raw)
}

// putRead stores a chunk whose bytes are its own.
func (se *Session) putRead(ctx context.Context, ns dbfs.NamespaceID, ref dbfs.ChunkRef, raw []byte) (dbfs.Receipt, error) {
	frame := remote.AppendFrame(nil, ref, raw)
	object := remote.NewObject{Chunk: ref, Size: int64(len(frame)), SHA256: sha256.Sum256(frame)}
	tickets, err := se.grant(ctx, ns, []remote.NewObject{object})
	if err != nil {
		return "", fmt.Errorf("put chunk %s: %w", ref.ID, err)
	}
	if err := se.s.objects.Put(ctx, tickets[0].name(), frame); err != nil {
		return "", fmt.Errorf("put chunk %s: %w", ref.ID, err)
	}
	r, err := se.register(ctx, tickets[0])
	if err != nil {
		return "", fmt.Errorf("put chunk %s: %w", ref.ID, err)
	}
	return r, nil
}

// Get reads a chunk by way of the server itself, and verifies it.
func (se *Session) Get(ctx context.Context, ns dbfs.NamespaceID, ref dbfs.ChunkRef) ([]byte, error) {
	if err := remote.CheckChunk(ref); err != nil {
		return nil, err
	}
	if err := se.blocks(ctx, ns, dbfs.RoleRead); err != nil {
		return nil, fmt.Errorf("get chunk %s: %w", ref.ID, err)
	}
	row, err := se.s.readable(ctx, ns, ref)
	if err != nil {
		return nil, fmt.Errorf("get chunk %s: %w", ref.ID, err)
	}
	raw, err := se.s.read(ctx, ref, row)
	if err != nil {
		return nil, fmt.Errorf("get chunk %s: %w", ref.ID, err)
	}
	return raw, nil
}

// readable returns the row of a chunk that may be read; dbfs.ErrNotExist.
func (s *Server) readable(ctx context.Context, ns dbfs.NamespaceID, ref dbfs.ChunkRef) (chunkRow, error) {
	row, err := s.chunk(ctx, ns, ref.ID)
	if err != nil {
		return row, err
	}
	if row.Raw != ref.Len || row.State == chunkDeleting {
		return row, fmt.Errorf("%w: chunk of %d bytes", dbfs.ErrNotExist, ref.Len)
	}
	return row, nil
}

// read fetches a chunk from the object store. A row whose object is missing, or holds
// anything else, is dbfs.ErrCorrupt.
func (s *Server) read(ctx context.Context, ref dbfs.ChunkRef, row chunkRow) ([]byte, error) {
	r, err := s.objects.Get(ctx, row.Object, row.Off, row.Size)
	if errors.Is(err, dbfs.ErrNotExist) {
		return nil, fmt.Errorf("%w: %v", dbfs.ErrCorrupt, err)
	}
	if err != nil {
		return nil, err
	}
	defer r.Close()
	frame, err := io.ReadAll(io.LimitReader(r, row.Size))
	if err != nil {
		return nil, fmt.Errorf("%w: read object %s: %w", dbfs.ErrOffline, row.Object, err)
	}
	raw, err := remote.DecodeFrame(ref, frame)
	if errors.Is(err, dbfs.ErrVersion) {
		return nil, fmt.Errorf("%w: %v", dbfs.ErrCorrupt, err) // what this server cannot read it cannot vouch for
	}
	return raw, err
}

// locate returns where chunks can be read from; the zero Located for one out of reach.
func (se *Session) locate(ctx context.Context, ns dbfs.NamespaceID, refs []dbfs.ChunkRef) ([]remote.Located, error) {
	if err := se.blocks(ctx, ns, dbfs.RoleRead); err != nil {
		return nil, fmt.Errorf("locate chunks: %w", err)
	}
	places := make([]remote.Located, len(refs))
	err := se.s.each(ctx, len(refs), func(ctx context.Context, i int) error {
		row, err := se.s.readable(ctx, ns, refs[i])
		if errors.Is(err, dbfs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		url, header, err := se.s.objects.SignGet(ctx, row.Object, addressLife)
		places[i] = remote.Located{URL: url, Header: header, Size: row.Size}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("locate chunks: %w", err)
	}
	return places, nil
}

// grant names an object for each frame that is announced. Until it is registered, all that
// the server knows of an object is its grant.
func (se *Session) grant(ctx context.Context, ns dbfs.NamespaceID, objects []remote.NewObject) ([]ticket, error) {
	for _, o := range objects {
		if err := o.Check(); err != nil {
			return nil, err
		}
	}
	if err := se.blocks(ctx, ns, dbfs.RoleWrite); err != nil {
		return nil, err
	}
	expiry := se.s.now().Add(ticketLife).Unix()
	tickets := make([]ticket, len(objects))
	names := make([]string, len(objects))
	for i, o := range objects {
		tickets[i] = ticket{ns: ns, account: se.account, expiry: expiry, object: o, random: se.s.opts.Name()}
		names[i] = tickets[i].name()
	}
	return tickets, se.s.remember(ctx, names)
}

// sign returns addresses to upload to, one for each ticket.
func (se *Session) sign(ctx context.Context, tickets []ticket) ([]remote.Upload, error) {
	uploads := make([]remote.Upload, len(tickets))
	for i, t := range tickets {
		url, header, err := se.s.objects.SignPut(ctx, t.name(), t.object.Size, t.object.SHA256, addressLife)
		if err != nil {
			return nil, err
		}
		uploads[i] = remote.Upload{Ticket: se.s.receipts.sealTicket(t), URL: url, Header: header}
	}
	return uploads, nil
}

// register looks at an uploaded object, brings its chunk within the namespace's reach, and
// gives a receipt. It may be called again with the same ticket. dbfs.ErrNotExist: there is
// no such object; dbfs.ErrCorrupt: it is not what was announced.
//
// Where the chunk is there already, the older object stays if it is good, and this one is
// left to the sweep; if it is not, this one takes its place. So putting a chunk again mends it.
func (se *Session) register(ctx context.Context, t ticket) (dbfs.Receipt, error) {
	s, ref := se.s, t.object.Chunk
	if err := s.arrived(ctx, t); err != nil {
		return "", err
	}
	fresh := chunkRow{
		State: chunkLive, Touched: s.now().Unix(), By: se.account,
		Object: t.name(), Size: t.object.Size, Raw: ref.Len,
	}
	row, err := changeRow(ctx, s, TableChunk, "chunk", chunkKey(ref.ID, t.ns), func(row *chunkRow) error {
		keep, err := s.keeps(ctx, ref, row, fresh.Object)
		if err != nil {
			return err
		}
		if keep {
			row.Touched = max(row.Touched, fresh.Touched)
			return nil
		}
		if row.Object != "" {
			err = s.remember(ctx, []string{row.Object}) // before nothing else names it
		}
		*row = fresh
		return err
	})
	if err != nil {
		return "", err
	}
	fault.Here(fault.ChunkRegistered)
	if row.toRead() {
		s.verifier.uploaded(unread{ns: t.ns, id: ref.ID, device: se.device})
	}
	return s.receipt(ctx, t.ns, ref, row)
}

// arrived checks that the object of a ticket is there and has the size and, where the
// object store tells, the SHA-256 that were announced.
func (s *Server) arrived(ctx context.Context, t ticket) error {
	size, sum, err := s.objects.Stat(ctx, t.name())
	if err != nil {
		return err
	}
	if size != t.object.Size || sum != nil && dbfs.ChunkID(sum) != t.object.SHA256 {
		return fmt.Errorf("%w: object of %d bytes with SHA-256 %x, announced were %d and %s",
			dbfs.ErrCorrupt, size, sum, t.object.Size, t.object.SHA256)
	}
	return nil
}

// keeps decides whether a chunk's row stays as it is when the chunk is uploaded as another
// object. To know, it reads the chunk, which happens only when two devices upload the same
// one at once, or when somebody has found it damaged.
func (s *Server) keeps(ctx context.Context, ref dbfs.ChunkRef, row *chunkRow, object string) (bool, error) {
	if row.State != chunkLive {
		return false, nil
	}
	if row.Object == object {
		return true, nil
	}
	if row.Raw != ref.Len {
		return false, nil
	}
	_, err := s.read(ctx, ref, *row)
	if errors.Is(err, dbfs.ErrCorrupt) {
		s.opts.Log.Warn("chunk is damaged and was uploaded again", "chunk", ref.ID, "object", row.Object, "by", row.By, "err", err)
		return false, nil
	}
	if err == nil {
		row.Verified, row.Bad = true, false
	}
	return err == nil, err
}

// blocks returns an error unless the account has at least a role in a namespace and
// there is an object store.
func (se *Session) blocks(ctx context.Context, ns dbfs.NamespaceID, role dbfs.Role) error {
	if err := ctx.Err(); err != nil {
		return context.Cause(ctx)
	}
	if se.s.objects == nil {
		return fmt.Errorf("%w: this server has no object store", dbfs.ErrUnsupported)
	}
	return se.allowed(ctx, ns, role)
}

// each calls fn for 0 … n-1, some at a time, until one fails.
func (s *Server) each(ctx context.Context, n int, fn func(ctx context.Context, i int) error) error {
	if s.opts.Lanes == 1 {
		for i := range n {
			if err := fn(ctx, i); err != nil {
				return err
			}
		}
		return ctx.Err()
	}
	g, running := errgroup.WithContext(ctx)
	g.SetLimit(s.opts.Lanes)
	for i := range n {
		if running.Err() != nil {
			break
		}
		g.Go(func() error { return fn(running, i) })
	}
	if err := g.Wait(); err != nil {
		return err
	}
	return ctx.Err()
}

func random64() uint64 {
	var b [8]byte
	rand.Read(b[:])
	return binary.BigEndian.Uint64(b[:])
}
