package dbfs

import (
	"crypto/rand"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Identifiers are made by whoever creates the thing they name and never change.
// They travel and print as hexadecimal text of fixed length.
type (
	// A NamespaceID is 63 random bits, never reused.
	NamespaceID uint64
	// A DeviceID is random, made by the server when a device logs in. A device that lost
	// its database logs in again and gets another one.
	DeviceID uint64
	// An AccountID names a person at the server.
	AccountID uint64
	// A NodeID is unique within a namespace and made by the creating client, in the
	// layout of UUIDv7: 48 bits of milliseconds, then random bits.
	NodeID [16]byte
	// An OpID names an edit: the device that made it and that device's count of edits in the namespace.
	OpID struct {
		Device DeviceID
		N      uint64
	}
)

// RootNode is the root directory of every namespace.
var RootNode NodeID

// NewNodeID returns a node id made at the given time.
func NewNodeID(now time.Time) NodeID {
	var id NodeID
	rand.Read(id[:])
	ms := uint64(now.UnixMilli())
	id[0], id[1], id[2] = byte(ms>>40), byte(ms>>32), byte(ms>>24)
	id[3], id[4], id[5] = byte(ms>>16), byte(ms>>8), byte(ms)
	id[6] = id[6]&0x0f | 0x70
	id[8] = id[8]&0x3f | 0x80
	return id
}

// RandomID returns 63 random bits, never zero: a namespace, device or account id.
func RandomID() uint64 {
	var b [8]byte
	for {
		rand.Read(b[:])
		if id := binary.BigEndian.Uint64(b[:]) >> 1; id != 0 {
			return id
		}
	}
}

func (id NamespaceID) String() string { return fmt.Sprintf("%016x", uint64(id)) }
func (id DeviceID) String() string    { return fmt.Sprintf("%016x", uint64(id)) }
func (id AccountID) String() string   { return fmt.Sprintf("%016x", uint64(id)) }
func (id NodeID) String() string      { return hex.EncodeToString(id[:]) }
func (id OpID) String() string        { return id.Device.String() + "-" + strconv.FormatUint(id.N, 10) }

func (id NamespaceID) MarshalText() ([]byte, error) { return []byte(id.String()), nil }
func (id DeviceID) MarshalText() ([]byte, error)    { return []byte(id.String()), nil }
func (id AccountID) MarshalText() ([]byte, error)   { return []byte(id.String()), nil }
func (id NodeID) MarshalText() ([]byte, error)      { return []byte(id.String()), nil }
func (id OpID) MarshalText() ([]byte, error)        { return []byte(id.String()), nil }

func (id *NamespaceID) UnmarshalText(b []byte) error {
	return parseID("namespace id", b, (*uint64)(id))
}
func (id *DeviceID) UnmarshalText(b []byte) error  { return parseID("device id", b, (*uint64)(id)) }
func (id *AccountID) UnmarshalText(b []byte) error { return parseID("account id", b, (*uint64)(id)) }
func (id *NodeID) UnmarshalText(b []byte) error    { return parseHex("node id", b, id[:]) }

func (id *OpID) UnmarshalText(b []byte) error {
	dev, n, ok := strings.Cut(string(b), "-")
	if !ok {
		return fmt.Errorf("%w: op id %q", ErrInvalid, b)
	}
	if err := parseID("op id", []byte(dev), (*uint64)(&id.Device)); err != nil {
		return err
	}
	var err error
	if id.N, err = strconv.ParseUint(n, 10, 64); err != nil {
		return fmt.Errorf("%w: op id %q", ErrInvalid, b)
	}
	return nil
}

func parseID(what string, b []byte, id *uint64) error {
	v, err := strconv.ParseUint(string(b), 16, 64)
	if err != nil || len(b) != 16 {
		return fmt.Errorf("%w: %s %q is not 16 hexadecimal digits", ErrInvalid, what, b)
	}
	*id = v
	return nil
}

func parseHex(what string, b []byte, dst []byte) error {
	if len(b) != 2*len(dst) {
		return fmt.Errorf("%w: %s of %d digits, want %d", ErrInvalid, what, len(b), 2*len(dst))
	}
	if _, err := hex.Decode(dst, b); err != nil {
		return fmt.Errorf("%w: %s: %v", ErrInvalid, what, err)
	}
	return nil
}
