package sim

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/dbfs/dbfs"
)

// blobs is the server.Objects under all servers. Others may act while it works; it fails now
// and then, and sometimes after the object is there.
type blobs struct {
	objects map[string][]byte
	w       *world // nil while the world is being made
}

var errBlobs = fmt.Errorf("%w: the object store does not answer", dbfs.ErrOffline)

func (b *blobs) Put(_ context.Context, name string, data []byte) error {
	b.w.meanwhile()
	if b.w.fault(blobFails) {
		return errBlobs
	}
	if _, there := b.objects[name]; there {
		return fmt.Errorf("object %s %w", name, dbfs.ErrExist)
	}
	b.objects[name] = bytes.Clone(data)
	if b.w != nil {
		b.w.events[Upload]++
	}
	b.w.meanwhile()
	if b.w.fault(blobAnswerLost) {
		return errBlobs
	}
	return nil
}

func (b *blobs) find(name string) ([]byte, error) {
	data, there := b.objects[name]
	if !there {
		return nil, fmt.Errorf("object %s: %w", name, dbfs.ErrNotExist)
	}
	return data, nil
}

func (b *blobs) Stat(_ context.Context, name string) (int64, []byte, error) {
	if b.w.fault(blobFails) {
		return 0, nil, errBlobs
	}
	data, err := b.find(name)
	return int64(len(data)), nil, err
}

func (b *blobs) Get(_ context.Context, name string, off, n int64) (io.ReadCloser, error) {
	if b.w.fault(blobFails) {
		return nil, errBlobs
	}
	data, err := b.find(name)
	if err != nil {
		return nil, err
	}
	data = data[min(off, int64(len(data))):]
	data = data[:min(n, int64(len(data)))]
	if b.w.fault(blobCut) {
		return io.NopCloser(io.MultiReader(bytes.NewReader(data[:len(data)/2]), cut{})), nil
	}
	return io.NopCloser(bytes.NewReader(data)), nil
}

// cut is how a download ends whose connection breaks.
type cut struct{}

func (cut) Read([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }

func (b *blobs) Delete(_ context.Context, name string) error {
	b.w.meanwhile()
	if b.w.fault(blobFails) {
		return errBlobs
	}
	delete(b.objects, name)
	if b.w != nil {
		b.w.deleted(name)
	}
	if b.w.fault(blobAnswerLost) {
		return errBlobs
	}
	return nil
}

// Clients of a simulation put and get chunks by way of the server itself.

func (b *blobs) SignPut(context.Context, string, int64, [32]byte, time.Duration) (string, http.Header, error) {
	return "", nil, dbfs.ErrUnsupported
}

func (b *blobs) SignGet(context.Context, string, time.Duration) (string, http.Header, error) {
	return "", nil, dbfs.ErrUnsupported
}
