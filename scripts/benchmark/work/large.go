package work

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"sync"

	"golang.org/x/sys/unix"
)

// The large file is a sequence of pages. A page is noise, that no compression makes smaller, and
// begins with its number and with how often it was rewritten:
//
//	u64 number, little-endian
//	u64 version: 0 as the file was written, 1 after a random write
//	4,080 bytes of noise, by its number within a block
const (
	page  = 4 << 10
	block = 1 << 20
)

func large() []Workload {
	bytesOf := func(t Task) float64 { return float64(t.Size) / 1e6 }
	opsOf := func(t Task) float64 { return float64(t.Ops) }
	return []Workload{
		{Name: "write", Makes: true, Title: "write a file, 1 MiB blocks, fsync", Group: "large", Goal: 0.85, Unit: "MB",
			Amount: bytesOf, Setup: removeLarge, Run: writeLarge, Check: checkLarge},
		{Name: "read-warm", Title: "read it, warm", Group: "large", State: Warm, Goal: 0.95, Unit: "MB",
			Amount: bytesOf, Setup: warmLarge, Run: readLarge},
		{Name: "read-dropped", Title: "read it, page cache dropped", Group: "large", State: Dropped, Pages: true, Goal: 0.85, Unit: "MB",
			Amount: bytesOf, Setup: dropLarge, Run: readLarge},
		{Name: "read-cold", Title: "read it from the store", Group: "large", State: Cold, Base: "read-dropped", Unit: "MB",
			Amount: bytesOf, Setup: ensureLarge, Run: readLarge},
		{Name: "random-read-warm", Title: "random read 4 KiB, warm", Group: "large", State: Warm, Goal: 0.80, Unit: "reads",
			Amount: opsOf, Setup: warmLarge, Run: readRandom},
		{Name: "random-read-dropped", Title: "random read 4 KiB, page cache dropped", Group: "large", State: Dropped, Pages: true, Goal: 0.90, Unit: "reads",
			Amount: opsOf, Setup: dropLarge, Run: readRandom},
		{Name: "random-write", Title: "random write 4 KiB, then fsync", Group: "large", Goal: 0.90, Unit: "writes",
			Amount: opsOf, Setup: ensureLarge, Run: writeRandom, Check: checkRandom},
	}
}

// noise is one block of it. Every block of a file is this one, with other heads of pages.
var noise = sync.OnceValue(func() []byte {
	b := make([]byte, block)
	rand.NewChaCha8([32]byte{'d', 'b', 'f', 's'}).Read(b)
	return b
})

func head(p []byte, number int64, version uint64) {
	binary.LittleEndian.PutUint64(p, uint64(number))
	binary.LittleEndian.PutUint64(p[8:], version)
}

// checkHead reports whether p begins as page number should.
func checkHead(p []byte, number int64) error {
	if got := binary.LittleEndian.Uint64(p); got != uint64(number) {
		return fmt.Errorf("page %d of the file says that it is page %d", number, got)
	}
	if v := binary.LittleEndian.Uint64(p[8:]); v > 1 {
		return fmt.Errorf("page %d of the file was written %d times", number, v)
	}
	return nil
}

// checkPage compares all of a page.
func checkPage(p []byte, number int64) error {
	if err := checkHead(p, number); err != nil {
		return err
	}
	within := number * page % block
	if !bytes.Equal(p[16:], noise()[within+16:within+page]) {
		return fmt.Errorf("page %d of the file holds other bytes than were written", number)
	}
	return nil
}

// checkBlock checks the heads of a block's pages, and of every 64th block all.
func checkBlock(b []byte, off int64) error {
	check := checkHead
	if off/block%64 == 0 {
		check = checkPage
	}
	for i := 0; i+page <= len(b); i += page {
		if err := check(b[i:i+page], (off+int64(i))/page); err != nil {
			return err
		}
	}
	return nil
}

func largeName(t Task) string { return t.at("large") }

func removeLarge(t Task) error {
	err := os.Remove(largeName(t))
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	return err
}

func writeLarge(t Task, _ *Meter) error {
	f, err := os.Create(largeName(t))
	if err != nil {
		return err
	}
	defer f.Close()
	b := bytes.Clone(noise())
	for off := int64(0); off < t.Size; off += block {
		n := min(block, t.Size-off)
		for i := int64(0); i < n; i += page {
			head(b[i:], (off+i)/page, 0)
		}
		if _, err := f.Write(b[:n]); err != nil {
			return err
		}
	}
	if err := f.Sync(); err != nil {
		return err
	}
	return f.Close()
}

func checkLarge(t Task) error { return readLarge(t, nil) }

// readLarge reads the file from its beginning to its end, which must be where it should.
func readLarge(t Task, _ *Meter) error {
	f, err := os.Open(largeName(t))
	if err != nil {
		return err
	}
	defer f.Close()
	b := make([]byte, block)
	for off := int64(0); ; {
		n, err := io.ReadFull(f, b)
		if err := checkBlock(b[:n], off); err != nil {
			return err
		}
		off += int64(n)
		if err == io.EOF || err == io.ErrUnexpectedEOF {
			if off != t.Size {
				return fmt.Errorf("the file ends after %d bytes of %d", off, t.Size)
			}
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// ensureLarge makes the file where the work before has not left it.
func ensureLarge(t Task) error {
	info, err := os.Stat(largeName(t))
	if err == nil && info.Size() == t.Size {
		return nil
	}
	return writeLarge(t, nil)
}

func warmLarge(t Task) error {
	if err := ensureLarge(t); err != nil {
		return err
	}
	return readLarge(t, nil)
}

// dropLarge asks for the file's pages to be forgotten, which needs no privilege.
func dropLarge(t Task) error {
	if err := ensureLarge(t); err != nil {
		return err
	}
	f, err := os.Open(largeName(t))
	if err != nil {
		return err
	}
	defer f.Close()
	if err := f.Sync(); err != nil {
		return err
	}
	return unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED)
}

// somePages calls fn with pages of the file, in an order that is the same for all.
func somePages(t Task, fn func(number int64) error) error {
	r := rand.New(rand.NewPCG(1, uint64(t.Ops)))
	for range t.Ops {
		if err := fn(r.Int64N(t.Size / page)); err != nil {
			return err
		}
	}
	return nil
}

func readRandom(t Task, _ *Meter) error {
	f, err := os.Open(largeName(t))
	if err != nil {
		return err
	}
	defer f.Close()
	p := make([]byte, page)
	return somePages(t, func(number int64) error {
		if _, err := f.ReadAt(p, number*page); err != nil {
			return err
		}
		return checkHead(p, number)
	})
}

func writeRandom(t Task, _ *Meter) error {
	f, err := os.OpenFile(largeName(t), os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	p := make([]byte, page)
	err = somePages(t, func(number int64) error {
		within := number * page % block
		copy(p, noise()[within:within+page])
		head(p, number, 1)
		_, err := f.WriteAt(p, number*page)
		return err
	})
	if err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return err
	}
	return f.Close()
}

// checkRandom reads back all that was written, and then the file as a whole.
func checkRandom(t Task) error {
	f, err := os.Open(largeName(t))
	if err != nil {
		return err
	}
	defer f.Close()
	p := make([]byte, page)
	err = somePages(t, func(number int64) error {
		if _, err := f.ReadAt(p, number*page); err != nil {
			return err
		}
		if v := binary.LittleEndian.Uint64(p[8:]); v != 1 {
			return fmt.Errorf("page %d of the file is as it was before the write", number)
		}
		return checkPage(p, number)
	})
	if err != nil {
		return err
	}
	return readLarge(t, nil)
}
