package remote

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/dbfs/dbfs"
	"github.com/dbfs/dbfs/fault"
	"github.com/dbfs/dbfs/recent"
)

// idleTransfer is how long a transfer may stand still, its answer included.
const idleTransfer = 30 * time.Second

// Chunks is the dbfs.ChunkStore of a server: the server says where, the bytes go straight to
// and from its object store. Questions that are asked at the same time share a round trip. Chunks
// retries only what is a matter of course, an address that has expired and a frame that
// arrived damaged, and that once.
//
// An object store that cannot be reached is dbfs.ErrOffline, as a server that cannot be.
type Chunks struct {
	client    *Client
	transfers transfers
	grants    gather[NewObject, Upload]
	registers gather[string, Registered]
	locates   gather[dbfs.ChunkRef, Located]

	speed  pace
	nonces *recent.Map[nonceKey, string] // with which chunks can be proved that were asked for lately

	deltas, saved atomic.Int64 // chunks that went as deltas, and the bytes of theirs that did not go
}

// A nonceKey is a chunk that the server lets this device prove.
type nonceKey struct {
	ns dbfs.NamespaceID
	id dbfs.ChunkID
}

// Deltas returns how many chunks were sent as what differs from others, and how many bytes less
// than they have.
func (c *Chunks) Deltas() (chunks, saved int64) { return c.deltas.Load(), c.saved.Load() }

var _ dbfs.ChunkStore = (*Chunks)(nil)

// NewChunks returns the chunk store of a client's server. far carries requests to object
// stores that are not the server itself; nil stands for the network.
func NewChunks(client *Client, far http.RoundTripper) *Chunks {
	if far == nil {
		t := newTransport()
		t.MaxIdleConnsPerHost = 64
		t.DisableCompression = true
		far = t
	}
	c := &Chunks{client: client, nonces: recent.New[nonceKey, string](MaxCheck)}
	c.transfers = transfers{base: client.base, near: client.http.Transport, far: far, idle: idleTransfer, rest: rest{what: "the object store"}}
	c.grants = gather[NewObject, Upload]{most: MaxBlobs, lanes: 2, call: c.grant}
	c.registers = gather[string, Registered]{most: MaxBlobs, lanes: 2, call: c.register}
	c.locates = gather[dbfs.ChunkRef, Located]{most: MaxBlobs, lanes: 2, call: c.locate}
	return c
}

// SetPace lets transfers wait. It comes before the first of them.
func (c *Chunks) SetPace(p Pace) { c.transfers.pace = p }

// Check asks for receipts, MaxCheck chunks at a time.
func (c *Chunks) Check(ctx context.Context, ns dbfs.NamespaceID, refs []dbfs.ChunkRef) ([]dbfs.Receipt, error) {
	for _, ref := range refs {
		if err := CheckChunk(ref); err != nil {
			return nil, err
		}
	}
	receipts := make([]dbfs.Receipt, 0, len(refs))
	for len(refs) > 0 {
		n := min(len(refs), MaxCheck)
		var reply CheckReply
		err := c.client.call(ctx, http.MethodPost, "/v1/blobs/check", CheckRequest{ns, refs[:n]}, &reply)
		if err == nil {
			err = answers("check", len(reply.Receipts), n)
		}
		if err == nil && len(reply.Prove) > 0 {
			err = answers("check", len(reply.Prove), n)
		}
		if err != nil {
			return nil, err
		}
		for i, prove := range reply.Prove {
			if prove {
				c.nonces.Keep(nonceKey{ns, refs[i].ID}, reply.Nonce)
			}
		}
		receipts = append(receipts, reply.Receipts...)
		refs = refs[n:]
	}
	return receipts, nil
}

// Put encodes a chunk, uploads it and has it registered. One that the server has where this device does
// not see it, and said so when it was asked, is not sent: it will do to prove that it is here.
func (c *Chunks) Put(ctx context.Context, ns dbfs.NamespaceID, ref dbfs.ChunkRef, raw []byte) (dbfs.Receipt, error) {
	if err := checkPut(ctx, ref, raw); err != nil {
		return "", err
	}
	if receipt, err := c.proved(ctx, ns, ref, raw); receipt != "" || err != nil {
		return receipt, err
	}
	buf := getBuffer(frameHeader + len(raw) + frameTrailer)
	defer putBuffer(buf)
	return c.putFrame(ctx, ns, ref, AppendFrame(buf[:0], ref, raw))
}

func checkPut(ctx context.Context, ref dbfs.ChunkRef, raw []byte) error {
	if err := CheckChunk(ref); err != nil {
		return err
	}
	if err := ref.Verify(raw); err != nil {
		return err
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return nil
}

// proved gets the receipt of a chunk that can be proved; "": it has to be uploaded.
func (c *Chunks) proved(ctx context.Context, ns dbfs.NamespaceID, ref dbfs.ChunkRef, raw []byte) (dbfs.Receipt, error) {
	key := nonceKey{ns, ref.ID}
	nonce, _ := c.nonces.Get(key)
	if nonce == "" {
		return "", nil
	}
	c.nonces.Keep(key, "") // it is good once
	var reply ReceiptReply
	err := c.client.call(ctx, http.MethodPost, "/v1/blobs/prove", ProveRequest{ns, ref, nonce, Proof(nonce, raw)}, &reply)
	if goesWhole(err) || errors.Is(err, dbfs.ErrForbidden) {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("prove chunk %s: %w", ref.ID, err)
	}
	return reply.Receipt, nil
}

// putFrame uploads the frame of a chunk and has it registered.
func (c *Chunks) putFrame(ctx context.Context, ns dbfs.NamespaceID, ref dbfs.ChunkRef, frame []byte) (dbfs.Receipt, error) {
	ticket, err := c.upload(ctx, ns, ref, frame)
	if err != nil {
		return "", fmt.Errorf("put chunk %s: %w", ref.ID, err)
	}
	fault.Here(fault.PutUnregistered)
	done, err := c.registers.ask(ctx, ns, ticket)
	fault.Here(fault.ReceiptLost)
	if err == nil && done.Receipt == "" {
		err = registerError(done)
	}
	if err != nil {
		return "", fmt.Errorf("put chunk %s: %w", ref.ID, err)
	}
	return done.Receipt, nil
}

// upload sends a frame to the object store and returns the ticket for it.
func (c *Chunks) upload(ctx context.Context, ns dbfs.NamespaceID, ref dbfs.ChunkRef, frame []byte) (string, error) {
	object := NewObject{Chunk: ref, Size: int64(len(frame)), SHA256: sha256.Sum256(frame)}
	for retried := false; ; retried = true {
		up, err := c.grants.ask(ctx, ns, object)
		if err != nil {
			return "", err
		}
		begun := time.Now()
		err = c.transfers.put(ctx, up.URL, up.Header, frame)
		if err == nil {
			c.speed.note(len(frame), time.Since(begun))
		}
		switch {
		case err == nil:
			return up.Ticket, nil
		case !errors.Is(err, errExpired) && !errors.Is(err, errGone):
			return "", err
		case retried:
			return "", fmt.Errorf("%w: %v", dbfs.ErrOffline, err)
		}
	}
}

// Get fetches a chunk and verifies it.
func (c *Chunks) Get(ctx context.Context, ns dbfs.NamespaceID, ref dbfs.ChunkRef) ([]byte, error) {
	if err := CheckChunk(ref); err != nil {
		return nil, err
	}
	if err := ctx.Err(); err != nil {
		return nil, context.Cause(ctx)
	}
	raw, err := c.fetch(ctx, ns, ref)
	if errors.Is(err, errExpired) || errors.Is(err, errGone) || errors.Is(err, dbfs.ErrCorrupt) {
		raw, err = c.fetch(ctx, ns, ref)
	}
	switch {
	case err == nil:
		return raw, nil
	case errors.Is(err, errExpired):
		err = fmt.Errorf("%w: %v", dbfs.ErrOffline, err)
	case errors.Is(err, errGone):
		err = fmt.Errorf("%w: %v", dbfs.ErrCorrupt, err)
	}
	return nil, fmt.Errorf("get chunk %s: %w", ref.ID, err)
}

func (c *Chunks) fetch(ctx context.Context, ns dbfs.NamespaceID, ref dbfs.ChunkRef) ([]byte, error) {
	at, err := c.locates.ask(ctx, ns, ref)
	if err != nil {
		return nil, err
	}
	if at.URL == "" {
		return nil, fmt.Errorf("%w at the server", dbfs.ErrNotExist)
	}
	if at.Size < 0 || at.Size > MaxFrame {
		return nil, fmt.Errorf("%w: a frame of %d bytes", dbfs.ErrCorrupt, at.Size)
	}
	buf := getBuffer(int(at.Size))
	defer putBuffer(buf)
	if err := c.transfers.get(ctx, at.URL, at.Header, buf); err != nil {
		return nil, err
	}
	return DecodeFrame(ref, buf)
}

func (c *Chunks) grant(ctx context.Context, ns dbfs.NamespaceID, objects []NewObject) ([]Upload, error) {
	var reply GrantReply
	if err := c.client.call(ctx, http.MethodPost, "/v1/blobs/grant", GrantRequest{ns, objects}, &reply); err != nil {
		return nil, err
	}
	return reply.Uploads, answers("grant", len(reply.Uploads), len(objects))
}

func (c *Chunks) register(ctx context.Context, ns dbfs.NamespaceID, tickets []string) ([]Registered, error) {
	var reply RegisterReply
	if err := c.client.call(ctx, http.MethodPost, "/v1/blobs/register", RegisterRequest{ns, tickets}, &reply); err != nil {
		return nil, err
	}
	return reply.Chunks, answers("register", len(reply.Chunks), len(tickets))
}

func (c *Chunks) locate(ctx context.Context, ns dbfs.NamespaceID, refs []dbfs.ChunkRef) ([]Located, error) {
	var reply LocateReply
	if err := c.client.call(ctx, http.MethodPost, "/v1/blobs/locate", LocateRequest{ns, refs}, &reply); err != nil {
		return nil, err
	}
	return reply.Chunks, answers("locate", len(reply.Chunks), len(refs))
}

// answers returns ErrCorrupt unless the server answered as much as it was asked.
func answers(what string, got, want int) error {
	if got != want {
		return fmt.Errorf("%w: %s of %d answered with %d", dbfs.ErrCorrupt, what, want, got)
	}
	return nil
}

// registerError is why an uploaded object was not taken. One that did not arrive as it was
// announced can be sent again, so it is a matter of the connection.
func registerError(r Registered) error {
	if r.Error == nil {
		return fmt.Errorf("%w: register answered with nothing", dbfs.ErrCorrupt)
	}
	err := decodeError(http.StatusBadRequest, *r.Error, 0)
	if errors.Is(err, dbfs.ErrNotExist) || errors.Is(err, dbfs.ErrCorrupt) {
		return fmt.Errorf("%w: the upload did not arrive: %v", dbfs.ErrOffline, err)
	}
	return err
}
