package server

import (
	"encoding/binary"
	"fmt"
	"time"

	"github.com/dbfs/dbfs"
	"github.com/dbfs/dbfs/remote"
)

// A ticket is what a grant hands out with an address, to be shown when the upload is
// registered. It makes the server forget nothing, though it remembers nothing:
//
//	u8   version (1)
//	u64  namespace
//	u64  account that uploads
//	u64  expiry, seconds since 1970
//	[32] chunk id
//	u32  length of the chunk in bytes
//	u32  size of the frame in bytes
//	[32] SHA-256 of the frame
//	u64  random part of the object's name
//
// Integers are big-endian; key id and MAC follow, as in a receipt.
type ticket struct {
	ns      dbfs.NamespaceID
	account dbfs.AccountID
	expiry  int64
	object  remote.NewObject
	random  uint64
}

const (
	ticketVersion = 1
	ticketBody    = 1 + 8 + 8 + 8 + 32 + 4 + 4 + 32 + 8

	// ticketLife is how long after its grant an upload may be registered.
	ticketLife = 24 * time.Hour
)

func (t ticket) name() string { return objectName(t.object.Chunk.ID, t.random) }

func (k *receiptKey) sealTicket(t ticket) string {
	b := make([]byte, 0, ticketBody+4+macSize)
	b = append(b, ticketVersion)
	b = binary.BigEndian.AppendUint64(b, uint64(t.ns))
	b = binary.BigEndian.AppendUint64(b, uint64(t.account))
	b = binary.BigEndian.AppendUint64(b, uint64(t.expiry))
	b = append(b, t.object.Chunk.ID[:]...)
	b = binary.BigEndian.AppendUint32(b, uint32(t.object.Chunk.Len))
	b = binary.BigEndian.AppendUint32(b, uint32(t.object.Size))
	b = append(b, t.object.SHA256[:]...)
	b = binary.BigEndian.AppendUint64(b, t.random)
	return k.sign("ticket", b)
}

// openTicket returns what a ticket was given for. It fails with ErrVersion or, for one that has
// expired or was given to another account, for another namespace or not by this server, ErrInvalid.
func (k *receiptKey) openTicket(ns dbfs.NamespaceID, account dbfs.AccountID, text string, now time.Time) (ticket, error) {
	b, err := k.verify("ticket", text, ticketVersion, ticketBody)
	if err != nil {
		return ticket{}, err
	}
	t := ticket{
		ns:      dbfs.NamespaceID(binary.BigEndian.Uint64(b[1:])),
		account: dbfs.AccountID(binary.BigEndian.Uint64(b[9:])),
		expiry:  int64(binary.BigEndian.Uint64(b[17:])),
		object: remote.NewObject{
			Chunk:  dbfs.ChunkRef{ID: dbfs.ChunkID(b[25:57]), Len: int(binary.BigEndian.Uint32(b[57:]))},
			Size:   int64(binary.BigEndian.Uint32(b[61:])),
			SHA256: dbfs.ChunkID(b[65:97]),
		},
		random: binary.BigEndian.Uint64(b[97:]),
	}
	switch {
	case t.ns != ns || t.account != account:
		return ticket{}, fmt.Errorf("%w: ticket of another namespace or account", dbfs.ErrInvalid)
	case now.Unix() >= t.expiry:
		return ticket{}, fmt.Errorf("%w: ticket expired", dbfs.ErrInvalid)
	}
	return t, nil
}
