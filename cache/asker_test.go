package cache

import (
	"bytes"
	"errors"
	"io"
	"sync/atomic"
	"testing"
	"time"

	"github.com/dbfs/dbfs"
)

type someone struct {
	refused bool
	asked   atomic.Int64
	came    atomic.Int64
}

func (s *someone) May() error {
	s.asked.Add(1)
	if s.refused {
		return dbfs.ErrForbidden
	}
	return nil
}

func (s *someone) Fetched(n int) { s.came.Add(int64(n)) }

// Who is refused gets nothing fetched, ahead neither, and everything that is here; it keeps nobody else from anything.
func TestRefusedAskerGetsWhatIsHere(t *testing.T) {
	for _, n := range []int{1000, 3*dbfs.ChunkSize + 1000} {
		w := newWorld(t, nil)
		data := random(n)
		content := w.store.upload(data)
		read := func(f File, a *someone) ([]byte, error) {
			body, err := w.c.Open(f, content)
			w.check(err)
			defer body.Close()
			buf := make([]byte, n)
			done := 0
			for err == nil && done < n {
				var k int
				k, err = body.ReadAt(WithAsker(ctx, a), buf[done:min(done+128<<10, n)], int64(done))
				done += k
			}
			if errors.Is(err, io.EOF) {
				err = nil
			}
			return buf[:done], err
		}
		crawler, person := &someone{refused: true}, &someone{}
		if got, err := read(file(1), crawler); len(got) > 0 || !errors.Is(err, dbfs.ErrForbidden) {
			t.Errorf("%d bytes: a crawler got %d of them, %v", n, len(got), err)
		}
		w.resident(file(1), data, 0)
		if got, err := read(file(1), person); !bytes.Equal(got, data) || err != nil {
			t.Errorf("%d bytes: a person got %d of them, %v", n, len(got), err)
		}
		for end := time.Now().Add(5 * time.Second); person.came.Load() < int64(n) && time.Now().Before(end); time.Sleep(time.Millisecond) {
		}
		if came := person.came.Load(); came != int64(n) {
			t.Errorf("%d bytes: %d came because of a person", n, came)
		}
		asked := person.asked.Load()
		for _, f := range []File{file(1), file(2)} { // where it is, and where it has to be copied to
			if got, err := read(f, crawler); !bytes.Equal(got, data) || err != nil {
				t.Errorf("%d bytes, which are here: a crawler got %d of them, %v", n, len(got), err)
			}
		}
		if _, err := read(file(1), person); err != nil || person.asked.Load() != asked {
			t.Errorf("%d bytes, which are here: it was asked for who wants them, %v", n, err)
		}
		if crawler.came.Load() != 0 {
			t.Errorf("%d bytes came because of a crawler", crawler.came.Load())
		}
	}
}
