package remote

import (
	"crypto/hmac"
	"crypto/sha256"
	"fmt"
	"net/http"

	"github.com/dbfs/dbfs"
)

// The block service. A chunk goes seal → check → upload → register → commit: check asks which
// chunks the server has, grant returns signed addresses for those it has not, the client
// PUTs a frame to each, register makes the server look and answer with receipts, and a
// commit believes receipts. To read, locate returns signed addresses. Bytes go between
// the client and the object store; none pass through these requests.
//
// An address that begins with "/" is at the server itself.

// Limits on how much one request may ask.
const (
	MaxCheck  = 1000 // chunks in a check
	MaxBlobs  = 100  // chunks in a grant, register or locate
	MaxTicket = 512  // bytes of an upload ticket
)

// CheckRequest is POST /v1/blobs/check.
type CheckRequest struct {
	NS     dbfs.NamespaceID `json:"ns"`
	Chunks []dbfs.ChunkRef  `json:"chunks"`
}

// CheckReply has a receipt for each chunk asked for, empty where it has to be uploaded. Where Prove
// says so, it will do to prove by the nonce, within minutes, that one has it.
type CheckReply struct {
	Receipts []dbfs.Receipt `json:"receipts"`
	Prove    []bool         `json:"prove,omitempty"` // none: for none of them
	Nonce    string         `json:"nonce,omitempty"`
}

// MinProof is the length in bytes from which on it is worth proving that one has a chunk.
const MinProof = 64 << 10

// Proof shows that somebody who was given a nonce has a chunk, and not only its hash: the
// HMAC-SHA256 of the chunk's bytes, with the nonce for a key.
func Proof(nonce string, raw []byte) []byte {
	h := hmac.New(sha256.New, []byte(nonce))
	h.Write(raw)
	return h.Sum(nil)
}

// ProveRequest is POST /v1/blobs/prove, which is answered with a ReceiptReply.
type ProveRequest struct {
	NS    dbfs.NamespaceID `json:"ns"`
	Chunk dbfs.ChunkRef    `json:"chunk"`
	Nonce string           `json:"nonce"`
	Proof []byte           `json:"proof"`
}

// DeltaRequest is POST /v1/blobs/delta, which is answered with a ReceiptReply: a chunk that is sent
// by way of the server itself, because it is only what differs from others.
type DeltaRequest struct {
	NS    dbfs.NamespaceID `json:"ns"`
	Delta []byte           `json:"delta"` // a frame
}

// SignatureRequest is POST /v1/blobs/signature: what are the blocks of a chunk?
type SignatureRequest struct {
	NS    dbfs.NamespaceID `json:"ns"`
	Chunk dbfs.ChunkRef    `json:"chunk"`
}

// SignatureReply has the hashes of a chunk's blocks; see Signature.
type SignatureReply struct {
	Signature []byte `json:"signature"`
}

// ReceiptReply has the receipt for one chunk.
type ReceiptReply struct {
	Receipt dbfs.Receipt `json:"receipt"`
}

// GrantRequest is POST /v1/blobs/grant.
type GrantRequest struct {
	NS      dbfs.NamespaceID `json:"ns"`
	Objects []NewObject      `json:"objects"`
}

// NewObject announces the frame of a chunk.
type NewObject struct {
	Chunk  dbfs.ChunkRef `json:"chunk"`
	Size   int64         `json:"size"`   // of the frame in bytes
	SHA256 dbfs.ChunkID  `json:"sha256"` // of the frame
}

// GrantReply has an upload for each object announced.
type GrantReply struct {
	Uploads []Upload `json:"uploads"`
}

// Upload says where to PUT a frame, for the next minutes. The ticket, shown to register,
// says what it was for; it is opaque to clients.
type Upload struct {
	Ticket string      `json:"ticket"`
	URL    string      `json:"url"`
	Header http.Header `json:"header,omitempty"` // to be sent
}

// RegisterRequest is POST /v1/blobs/register.
type RegisterRequest struct {
	NS      dbfs.NamespaceID `json:"ns"`
	Tickets []string         `json:"tickets"`
}

// RegisterReply has a receipt, or what is wrong, for each ticket.
type RegisterReply struct {
	Chunks []Registered `json:"chunks"`
}

// Registered is a receipt or, where that is empty, an error.
type Registered struct {
	Receipt dbfs.Receipt `json:"receipt,omitempty"`
	Error   *ErrorReply  `json:"error,omitempty"`
}

// LocateRequest is POST /v1/blobs/locate.
type LocateRequest struct {
	NS     dbfs.NamespaceID `json:"ns"`
	Chunks []dbfs.ChunkRef  `json:"chunks"`
}

// LocateReply has a place for each chunk asked for.
type LocateReply struct {
	Chunks []Located `json:"chunks"`
}

// Located says where to GET the frame of a chunk, for the next minutes. Without a URL there
// is no such chunk within the namespace's reach.
type Located struct {
	URL    string      `json:"url,omitempty"`
	Header http.Header `json:"header,omitempty"` // to be sent
	Size   int64       `json:"size,omitempty"`   // of the frame in bytes
}

// CheckChunk returns ErrInvalid unless ref names a chunk that can be stored: one with
// bytes, at most a chunk's worth, and not all zeros.
func CheckChunk(ref dbfs.ChunkRef) error {
	if ref.ID == dbfs.ZeroChunk || ref.Len < 1 || ref.Len > dbfs.ChunkSize {
		return fmt.Errorf("%w: no chunk to store: %s of %d bytes", dbfs.ErrInvalid, ref.ID, ref.Len)
	}
	return nil
}

// Check returns ErrInvalid unless o can be the frame of a chunk.
func (o NewObject) Check() error {
	if err := CheckChunk(o.Chunk); err != nil {
		return err
	}
	if least := int64(frameHeader + frameTrailer); o.Size < least || o.Size > least+int64(o.Chunk.Len) {
		return fmt.Errorf("%w: a frame of %d bytes for a chunk of %d", dbfs.ErrInvalid, o.Size, o.Chunk.Len)
	}
	return nil
}
