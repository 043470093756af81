// Package server keeps the namespaces, puts the commits of all devices into one order,
// and wakes those who wait for them. It is the other end of package remote.
//
// A Server owns a Store (metadata) and Objects (bytes). A Session is what one device,
// known by its token, may do with it; it is a dbfs.Meta and a dbfs.Notifier. The HTTP
// interface is a thin skin over Session, so that near and far behave alike.
//
// A role says what an account may do in a namespace. Owner is the account that made it; its
// role cannot be taken away. An account's root namespace belongs to it alone; other
// namespaces are shared, and appear in a member's tree where a mount node shows them.
//
// Every decision about a batch of edits is in commit.go, a pure function over a
// transaction. It and the access checks are the only places that refuse.
package server

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"time"

	"golang.org/x/sync/semaphore"

	"github.com/dbfs/dbfs"
	"github.com/dbfs/dbfs/fault"
	"github.com/dbfs/dbfs/recent"
)

// Options tune a Server; the zero value is right for a small one.
type Options struct {
	Now  func() time.Time // nil: time.Now
	Rand func() float64   // in [0,1), spreads polls; nil: math/rand
	Name func() uint64    // makes names of objects and keys of grants unique; nil: crypto/rand
	Log  *slog.Logger     // nil: slog.Default

	// TokenLife is how long a device's token is good after login; zero: until revoked.
	TokenLife time.Duration

	// Keep says for how long the past is kept.
	Keep Retention

	// AcceptBudget is how many connections a second this server can take up again after all
	// of them broke; zero: 2000. It becomes the herd hint of polls.
	AcceptBudget int

	// Dedup is where a chunk may be stored already, to be had by naming it; "": DedupAccount.
	Dedup Domain

	Lanes int // rows and objects that one request works on at a time; 0: 32. With 1 no goroutine is started
}

// A Server is the metadata, block and notification service over one Store. All methods
// may be called from several goroutines.
type Server struct {
	store    Store
	objects  Objects // nil: no block service
	receipts *receiptKey
	hub      *Hub
	opts     Options

	collector *collector
	verifier  *verifier
	reading   *semaphore.Weighted // chunks in memory, beside those that requests carry
	proofs    *recent.Map[proofKey, proofMark]
}

// readLanes is how many chunks the server has in memory at once for work of its own.
const readLanes = 4

// New returns a server over a store and an object store, which stay the caller's to
// close. With nil objects it serves metadata only.
func New(store Store, objects Objects, opts Options) (*Server, error) {
	if opts.Now == nil {
		opts.Now = fault.Now
	}
	if opts.Rand == nil {
		opts.Rand = rand.Float64
	}
	if opts.Name == nil {
		opts.Name = random64
	}
	if opts.Log == nil {
		opts.Log = slog.Default()
	}
	if opts.AcceptBudget == 0 {
		opts.AcceptBudget = 2000
	}
	opts.Keep = opts.Keep.orUsual()
	if _, err := ParseDomain(string(opts.Dedup)); err != nil {
		return nil, err
	}
	if opts.Lanes == 0 {
		opts.Lanes = blockLanes
	}
	receipts, err := loadReceiptKey(context.Background(), store)
	if err != nil {
		return nil, err
	}
	return &Server{
		store: store, objects: objects, receipts: receipts, hub: newHub(), opts: opts,
		collector: &collector{wanted: make(chan bool, 1)},
		verifier:  &verifier{wake: make(chan struct{}, 1)},
		reading:   semaphore.NewWeighted(readLanes),
		proofs:    recent.New[proofKey, proofMark](proofsKept),
	}, nil
}

// Drain answers every parked poll, now and from now on, and asks the clients to come back
// spread over some seconds. Call it before shutting the listener down.
func (s *Server) Drain() { s.hub.drain() }

func (s *Server) now() time.Time { return s.opts.Now() }

// A Session is the server as one device sees it. It holds no state that changes; its
// rights are looked up with each call.
type Session struct {
	s       *Server
	account dbfs.AccountID
	device  dbfs.DeviceID
}

// Account returns whose device it is.
func (se *Session) Account() dbfs.AccountID { return se.account }

// Device returns the device's id, which its batches and edits carry.
func (se *Session) Device() dbfs.DeviceID { return se.device }
