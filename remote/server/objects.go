package server

import (
	"context"
	"io"
	"net/http"
	"time"
)

// Objects is all that an object store under the server must do. Names are chosen by the
// server, look like "c/7f/…", hold only letters, digits, '-', '.' and '/', and are never
// used twice; objects are written once and never changed. remote/s3 keeps them in any S3,
// remote/dir in a directory.
//
// A missing object is dbfs.ErrNotExist, a store that does not answer dbfs.ErrOffline.
// Methods may be called from several goroutines; buffers handed in are not kept.
//
// A store that serves its signed addresses through this server, because nobody else would,
// is an http.Handler too: it gets what comes in under /v1/objects/, unauthenticated, with
// that prefix still on.
type Objects interface {
	// SignPut returns an address to which a client may PUT exactly the bytes of that size
	// and SHA-256 until expires from now has passed, and the headers that it must send. An address
	// that begins with "/" is at this server. The store refuses to replace an object with
	// 412, and bytes that are others with a 4xx.
	SignPut(ctx context.Context, name string, size int64, sum [32]byte, expires time.Duration) (url string, header http.Header, err error)

	// SignGet returns an address from which a client may GET the object.
	SignGet(ctx context.Context, name string, expires time.Duration) (url string, header http.Header, err error)

	// Stat returns an object's size in bytes and its SHA-256, nil where the store does not keep it.
	Stat(ctx context.Context, name string) (size int64, sum []byte, err error)

	// Get reads n bytes of an object from off on; the caller closes the reader.
	Get(ctx context.Context, name string, off, n int64) (io.ReadCloser, error)

	// Put stores an object; when it returns nil the object survives a loss of power.
	// dbfs.ErrExist: there is one of that name.
	Put(ctx context.Context, name string, b []byte) error

	// Delete removes an object; one that is not there is no error.
	Delete(ctx context.Context, name string) error
}
