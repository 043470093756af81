package server

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"

	"github.com/dbfs/dbfs"
	"github.com/dbfs/dbfs/remote"
)

// blockRoutes adds the block service, and the object store's own addresses where it has any.
func (s *Server) blockRoutes(mux *http.ServeMux) {
	const limit = remote.MaxCheck * 256 // bytes; no chunk takes more in a request
	handle(s, mux, "POST /v1/blobs/check", limit, serveCheck)
	handle(s, mux, "POST /v1/blobs/prove", smallBody, serveProve)
	handle(s, mux, "POST /v1/blobs/delta", remote.MaxDelta*4/3+smallBody, serveDelta)
	handle(s, mux, "POST /v1/blobs/signature", smallBody, func(se *Session, r *http.Request, req remote.SignatureRequest) (any, error) {
		sig, err := se.signature(r.Context(), req.NS, req.Chunk)
		return remote.SignatureReply{Signature: sig}, err
	})
	handle(s, mux, "POST /v1/blobs/grant", limit, serveGrant)
	handle(s, mux, "POST /v1/blobs/register", limit, serveRegister)
	handle(s, mux, "POST /v1/blobs/locate", limit, serveLocate)
	if h, ok := s.objects.(http.Handler); ok {
		mux.Handle("/v1/objects/", h)
	}
}

func serveCheck(se *Session, r *http.Request, req remote.CheckRequest) (any, error) {
	if err := atMost(len(req.Chunks), remote.MaxCheck); err != nil {
		return nil, err
	}
	receipts, prove, err := se.checkAll(r.Context(), req.NS, req.Chunks)
	if err != nil {
		return nil, err
	}
	reply := remote.CheckReply{Receipts: receipts}
	if i := slices.Index(prove, true); i >= 0 {
		reply.Prove, reply.Nonce = prove, se.newNonce(req.NS)
	}
	return reply, nil
}

func serveProve(se *Session, r *http.Request, req remote.ProveRequest) (any, error) {
	receipt, err := se.Prove(r.Context(), req.NS, req.Chunk, req.Nonce, req.Proof)
	return remote.ReceiptReply{Receipt: receipt}, err
}

func serveDelta(se *Session, r *http.Request, req remote.DeltaRequest) (any, error) {
	receipt, err := se.PutDelta(r.Context(), req.NS, req.Delta)
	return remote.ReceiptReply{Receipt: receipt}, err
}

func serveGrant(se *Session, r *http.Request, req remote.GrantRequest) (any, error) {
	if err := atMost(len(req.Objects), remote.MaxBlobs); err != nil {
		return nil, err
	}
	tickets, err := se.grant(r.Context(), req.NS, req.Objects)
	if err != nil {
		return nil, fmt.Errorf("grant uploads: %w", err)
	}
	uploads, err := se.sign(r.Context(), tickets)
	return remote.GrantReply{Uploads: uploads}, err
}

func serveRegister(se *Session, r *http.Request, req remote.RegisterRequest) (any, error) {
	if err := atMost(len(req.Tickets), remote.MaxBlobs); err != nil {
		return nil, err
	}
	if err := se.blocks(r.Context(), req.NS, dbfs.RoleWrite); err != nil {
		return nil, fmt.Errorf("register uploads: %w", err)
	}
	done := make([]remote.Registered, len(req.Tickets))
	err := se.s.each(r.Context(), len(done), func(ctx context.Context, i int) (err error) {
		done[i], err = se.registerTicket(ctx, req.NS, req.Tickets[i])
		return err
	})
	return remote.RegisterReply{Chunks: done}, err
}

// registerTicket registers one upload of several. What is wrong with it is part of its
// answer, also an object store that does not: a 503 would tell the client to leave the whole
// server alone. An error is what keeps the request from being answered.
func (se *Session) registerTicket(ctx context.Context, ns dbfs.NamespaceID, text string) (remote.Registered, error) {
	t, err := se.s.receipts.openTicket(ns, se.account, text, se.s.now())
	var receipt dbfs.Receipt
	if err == nil {
		receipt, err = se.register(ctx, t)
	}
	switch {
	case err == nil && receipt == "":
		err = fmt.Errorf("%w: the chunk is being deleted", dbfs.ErrBusy)
	case err == nil:
		return remote.Registered{Receipt: receipt}, nil
	}
	for _, own := range []error{dbfs.ErrInvalid, dbfs.ErrVersion, dbfs.ErrNotExist, dbfs.ErrCorrupt, dbfs.ErrBusy, dbfs.ErrOffline} {
		if errors.Is(err, own) {
			_, reply := remote.EncodeError(err)
			return remote.Registered{Error: &reply}, nil
		}
	}
	return remote.Registered{}, fmt.Errorf("register upload: %w", err)
}

func serveLocate(se *Session, r *http.Request, req remote.LocateRequest) (any, error) {
	if err := atMost(len(req.Chunks), remote.MaxBlobs); err != nil {
		return nil, err
	}
	places, err := se.locate(r.Context(), req.NS, req.Chunks)
	return remote.LocateReply{Chunks: places}, err
}

func atMost(n, most int) error {
	if n > most {
		return fmt.Errorf("%w: %d chunks asked for at once; the limit is %d", dbfs.ErrInvalid, n, most)
	}
	return nil
}
