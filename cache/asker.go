package cache

import (
	"context"

	"github.com/dbfs/dbfs"
)

// An Asker is who wants bytes of a file that are not on this machine: a program, say. It is asked only when
// bytes are missing, so that what is here costs nothing. For concurrent use.
type Asker interface {
	// May returns why nothing is to be fetched for it; nil: it may be.
	May() error
	// Fetched hears of so many bytes that came because of it. What several wanted at once came because of the first.
	Fetched(n int)
}

// AskerKey is the key of a context's value that is the Asker on whose behalf it is read. Without one nobody is
// refused, and nobody hears of it.
type AskerKey struct{}

// WithAsker returns a context that reads on somebody's behalf.
func WithAsker(ctx context.Context, a Asker) context.Context {
	return context.WithValue(ctx, AskerKey{}, a)
}

func askerOf(ctx context.Context) Asker {
	if a, ok := ctx.Value(AskerKey{}).(Asker); ok {
		return a
	}
	return anyone{}
}

type anyone struct{}

func (anyone) May() error  { return nil }
func (anyone) Fetched(int) {}

// refused is what a reader gets who is to have nothing fetched: what is elsewhere on this machine, or why.
func (f *fetcher) refused(ref dbfs.ChunkRef, why error) ([]byte, error) {
	data, _, err := f.c.local(ref)
	if data == nil && err == nil {
		err = why
	}
	return data, err
}
