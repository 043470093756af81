package server

import (
	"context"
	"crypto/hmac"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/dbfs/dbfs"
	"github.com/dbfs/dbfs/fault"
	"github.com/dbfs/dbfs/remote"
)

// A Domain says where a chunk may be stored already, to be had without sending its bytes.
type Domain string

const (
	// DedupNamespace: in the same namespace only.
	DedupNamespace Domain = "namespace"

	// DedupAccount: also in other namespaces of the same owner, as far as who asks may read them.
	DedupAccount Domain = "account"

	// DedupServer: anywhere on the server. Who asks has to prove that it has the bytes. What that
	// tells everybody is that somebody has them.
	DedupServer Domain = "server"
)

// ParseDomain returns the domain of that name; "" stands for DedupAccount.
func ParseDomain(name string) (Domain, error) {
	switch d := Domain(name); d {
	case "":
		return DedupAccount, nil
	case DedupNamespace, DedupAccount, DedupServer:
		return d, nil
	}
	return "", fmt.Errorf("%w: dedup domain %q; there are namespace, account and server", dbfs.ErrInvalid, name)
}

// A nonce is the key of proofs that are made for one request:
//
//	u8   version (1)
//	u64  namespace
//	u64  account
//	u64  device
//	i64  expiry, seconds since 1970
//	u64  random
//	..   key id and MAC, as of a receipt
const (
	nonceVersion = 1
	nonceBody    = 1 + 8 + 8 + 8 + 8 + 8
	nonceLife    = 5 * time.Minute

	// Who fails so often with a chunk within so long has to upload it.
	proofTries = 3
	proofPause = time.Hour

	// proofsKept is how many proofs and failures are remembered.
	proofsKept = 20_000
)

func (se *Session) newNonce(ns dbfs.NamespaceID) string {
	return se.s.receipts.sign("nonce", se.nonceFor(ns, se.s.now().Add(nonceLife).Unix(), se.s.opts.Name()))
}

func (se *Session) nonceFor(ns dbfs.NamespaceID, expiry int64, random uint64) []byte {
	b := append(make([]byte, 0, nonceBody+4+macSize), nonceVersion)
	for _, v := range []uint64{uint64(ns), uint64(se.account), uint64(se.device), uint64(expiry), random} {
		b = binary.BigEndian.AppendUint64(b, v)
	}
	return b
}

// checkNonce returns ErrInvalid unless a nonce was given to this device for this namespace, and lately.
func (se *Session) checkNonce(ns dbfs.NamespaceID, nonce string) error {
	b, err := se.s.receipts.verify("nonce", nonce, nonceVersion, nonceBody)
	if err != nil {
		return err
	}
	expiry := int64(binary.BigEndian.Uint64(b[25:]))
	if string(b[:33]) != string(se.nonceFor(ns, expiry, 0)[:33]) {
		return fmt.Errorf("%w: nonce of another device or namespace", dbfs.ErrInvalid)
	}
	if se.s.now().Unix() >= expiry {
		return fmt.Errorf("%w: nonce expired", dbfs.ErrInvalid)
	}
	return nil
}

// A proofKey is a proof that was used, or a chunk with which an account has failed.
type proofKey struct {
	nonce   string // "": a failure
	account dbfs.AccountID
	chunk   dbfs.ChunkID
}

// A proofMark is what is remembered of one.
type proofMark struct {
	times int
	since time.Time
}

// provable reports whether a chunk can be had by proving that one has it.
func (se *Session) provable(ctx context.Context, ns dbfs.NamespaceID, ref dbfs.ChunkRef) (bool, error) {
	if se.s.opts.Dedup != DedupServer || ref.Len < remote.MinProof || se.failing(ref.ID) {
		return false, nil
	}
	found, err := se.s.provableRows(ctx, ns, ref)
	return len(found) > 0, err
}

// A placedRow is a chunk's row and the namespace that it is in.
type placedRow struct {
	ns  dbfs.NamespaceID
	row chunkRow
}

// provableRows returns rows of a chunk elsewhere that the server has read.
func (s *Server) provableRows(ctx context.Context, ns dbfs.NamespaceID, ref dbfs.ChunkRef) (found []placedRow, err error) {
	err = s.eachRowOf(ctx, ref.ID, func(at dbfs.NamespaceID, row chunkRow) bool {
		if at != ns && row.State == chunkLive && row.Verified && row.Raw == ref.Len {
			found = append(found, placedRow{at, row})
		}
		return len(found) < 8
	})
	return found, err
}

func (se *Session) failing(id dbfs.ChunkID) bool {
	m, ok := se.s.proofs.Get(proofKey{account: se.account, chunk: id})
	return ok && m.times >= proofTries && se.s.now().Sub(m.since) < proofPause
}

// failed counts a proof that proves nothing.
func (se *Session) failed(id dbfs.ChunkID) {
	key := proofKey{account: se.account, chunk: id}
	m, ok := se.s.proofs.Get(key)
	if !ok || se.s.now().Sub(m.since) >= proofPause {
		m = proofMark{since: se.s.now()}
	}
	m.times++
	se.s.proofs.Keep(key, m)
}

// Prove brings a chunk within a namespace's reach for a device that shows, by a MAC over its bytes
// under a nonce of Check's, that it has them. dbfs.ErrForbidden: it does not show it, and has to
// upload the chunk. A proof is good once.
func (se *Session) Prove(ctx context.Context, ns dbfs.NamespaceID, ref dbfs.ChunkRef, nonce string, proof []byte) (dbfs.Receipt, error) {
	if err := remote.CheckChunk(ref); err != nil {
		return "", err
	}
	if err := se.blocks(ctx, ns, dbfs.RoleWrite); err != nil {
		return "", fmt.Errorf("prove chunk %s: %w", ref.ID, err)
	}
	if err := se.checkNonce(ns, nonce); err != nil {
		return "", err
	}
	used := proofKey{nonce, se.account, ref.ID}
	if _, ok := se.s.proofs.Get(used); ok || se.failing(ref.ID) {
		return "", fmt.Errorf("%w: the nonce was used for chunk %s, or proofs of it have failed", dbfs.ErrForbidden, ref.ID)
	}
	se.s.proofs.Keep(used, proofMark{})
	if ok, err := se.provable(ctx, ns, ref); err != nil || !ok {
		return "", errors.Join(err, notProved(ref))
	}
	row, err := se.prove(ctx, ns, ref, nonce, proof)
	if err != nil {
		return "", err
	}
	return se.s.receipt(ctx, ns, ref, row)
}

func notProved(ref dbfs.ChunkRef) error {
	return fmt.Errorf("%w: chunk %s has to be uploaded", dbfs.ErrForbidden, ref.ID)
}

// prove reads the chunk from the first place that has it and compares.
func (se *Session) prove(ctx context.Context, ns dbfs.NamespaceID, ref dbfs.ChunkRef, nonce string, proof []byte) (chunkRow, error) {
	found, err := se.s.provableRows(ctx, ns, ref)
	if err != nil {
		return chunkRow{}, err
	}
	near := &neighbours{se: se, ns: ns}
	for _, at := range found {
		raw, err := se.s.readWithin(ctx, ref, at.row)
		if errors.Is(err, dbfs.ErrCorrupt) {
			continue // it was good once; who has it may mend it
		}
		if err != nil {
			return chunkRow{}, err
		}
		if !hmac.Equal(proof, remote.Proof(nonce, raw)) && !fault.Bug(fault.ProofUnchecked) {
			se.failed(ref.ID)
			return chunkRow{}, notProved(ref)
		}
		row, err := near.take(ctx, ref.ID, at.ns, at.row)
		if errors.Is(err, dbfs.ErrNotExist) {
			continue // it died meanwhile
		}
		return row, err
	}
	return chunkRow{}, notProved(ref)
}

// readWithin is read for what the server does beside handing out addresses; a few at a time, since each
// has a chunk in memory.
func (s *Server) readWithin(ctx context.Context, ref dbfs.ChunkRef, row chunkRow) ([]byte, error) {
	if err := s.reading.Acquire(ctx, 1); err != nil {
		return nil, context.Cause(ctx)
	}
	defer s.reading.Release(1)
	return s.read(ctx, ref, row)
}
