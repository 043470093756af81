package remote

import (
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

// CheckReply has a receipt for each chunk asked for, empty where it has to be uploaded.
type CheckReply struct {
	Receipts []dbfs.Receipt `json:"receipts"`
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
