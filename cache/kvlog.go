package cache

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"
	"slices"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/dbfs/dbfs"
)

// A logFile holds the changes of a layer (kvlayer.go), one record an Update: writing one is a single
// write(2) into the page cache, which survives the process, and making all of them durable a single
// fdatasync(2). The files lie below log/ in the KV's directory, and are used again and again (integers
// big-endian):
//
//	header   u8 version (1), u64 number, u32 CRC-32C of these
//	record   u32 CRC-32C of all that follows, u32 length of the changes, u64 number, u64 seq, changes
//	change   u8 kind (0: deleted, 1: set), uvarint length of key, uvarint length of value, key, value
//
// Number counts the uses of all files. What has to be read after a crash are the files whose numbers
// go without a gap up to the highest, in that order, and of each the records that have its number, and
// a seq that follows. What is left of an earlier use has another number. A record that does not
// match its checksum was not finished, or a loss of power took it, and all after it.
//
// The order of steps makes this right. A header is durable before the first record behind it is
// written. A file is durable before its layer goes into Badger, and Badger has it durably before the file is
// used again; so what is read twice, from its file and from Badger, is read up to the same end. A
// number is left out when everything before is in Badger: at a start, and at an orderly end.
type logFile struct {
	f *os.File

	writing sync.Mutex // guards what follows
	number  uint64
	end     int64 // where the next record goes
	ready   int64 // up to here the file has blocks of its own, so that a sync is one write and no more

	syncing   sync.Mutex      // held by a sync: of two that run at once only one would hear of an error; before writing. It guards what follows
	unsure    bool            // a sync has failed, so nobody knows what is on the disk
	fdatasync func(int) error // fdatasync(2); another in tests
}

const (
	logVersion    = 1
	logHeaderLen  = 1 + 8 + 4
	recordHeadLen = 4 + 4 + 8 + 8
	logStep       = 256 << 10 // bytes of blocks that are made at a time
	maxLogFile    = 1 << 30   // no file is read beyond that

	changeDeleted = 0
	changeSet     = 1
)

var zeros [logStep]byte

// createLog makes a file that has not been used, with a name that survives loss of power. os.ErrExist: there is one.
func createLog(name string) (*logFile, error) {
	f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil, diskError(err)
	}
	if err := syncFile(filepath.Dir(name)); err != nil {
		f.Close()
		return nil, diskError(err)
	}
	return newLogFile(f), nil
}

func newLogFile(f *os.File) *logFile { return &logFile{f: f, fdatasync: unix.Fdatasync} }

// begin begins a use of the file, and returns when that survives loss of power.
func (l *logFile) begin(number uint64) error {
	if err := l.writeHead(number); err != nil {
		return err
	}
	return l.sync()
}

func (l *logFile) writeHead(number uint64) error {
	l.writing.Lock()
	defer l.writing.Unlock()
	l.number, l.end = number, logHeaderLen
	b := binary.BigEndian.AppendUint64([]byte{logVersion}, number)
	return l.write(binary.BigEndian.AppendUint32(b, crc32.Checksum(b, castagnoli)), 0)
}

// errSpoiled says of a log that nothing can be written behind its last record any more.
var errSpoiled = errors.New("the log cannot be written to")

// append writes a record, whose head is filled in here. If it fails the record is not there.
func (l *logFile) append(rec []byte, seq uint64) error {
	l.writing.Lock()
	defer l.writing.Unlock()
	binary.BigEndian.PutUint32(rec[4:], uint32(len(rec)-recordHeadLen))
	binary.BigEndian.PutUint64(rec[8:], l.number)
	binary.BigEndian.PutUint64(rec[16:], seq)
	binary.BigEndian.PutUint32(rec, crc32.Checksum(rec[4:], castagnoli))
	if err := l.extend(l.end + int64(len(rec))); err != nil {
		return err
	}
	if err := l.write(rec, l.end); err != nil {
		if wipe := l.write(zeros[:recordHeadLen], l.end); wipe != nil {
			return errors.Join(errSpoiled, err, wipe)
		}
		return err
	}
	l.end += int64(len(rec))
	return nil
}

func (l *logFile) write(b []byte, at int64) error {
	if err := l.extend(at + int64(len(b))); err != nil {
		return err
	}
	_, err := l.f.WriteAt(b, at)
	return diskError(err)
}

func (l *logFile) extend(to int64) error {
	for to > l.ready {
		if _, err := l.f.WriteAt(zeros[:], l.ready); err != nil {
			return diskError(err)
		}
		l.ready += logStep
	}
	return nil
}

// sync returns when all that was written before is durable. After one that failed the kernel takes
// the pages for clean that it could not write, and the next fdatasync(2) succeeds without them; so
// they are written once more before that.
func (l *logFile) sync() error {
	l.syncing.Lock()
	defer l.syncing.Unlock()
	if l.unsure {
		if err := l.writeAgain(); err != nil {
			return err
		}
	}
	err := l.fdatasync(int(l.f.Fd()))
	l.unsure = err != nil
	return diskError(err)
}

// writeAgain writes what the file has, if that is still what was written.
func (l *logFile) writeAgain() error {
	l.writing.Lock()
	defer l.writing.Unlock()
	b := make([]byte, l.end)
	if _, err := l.f.ReadAt(b, 0); err != nil {
		return err
	}
	end := int64(logHeaderLen)
	_, err := readRecords(b[end:], l.number, 0, func(changes []byte) error {
		end += int64(recordHeadLen + len(changes))
		return nil
	})
	if err != nil {
		return err
	}
	if number, ok, err := decodeHead(b); err != nil || !ok || number != l.number || end != l.end {
		return fmt.Errorf("%s: what a sync that failed was to write is not there any more", l.f.Name())
	}
	return l.write(b, 0)
}

// appendChange adds a change to a record; nil: the key is deleted.
func appendChange(rec, key, value []byte) []byte {
	kind := byte(changeSet)
	if value == nil {
		kind = changeDeleted
	}
	rec = binary.AppendUvarint(append(rec, kind), uint64(len(key)))
	rec = binary.AppendUvarint(rec, uint64(len(value)))
	return append(append(rec, key...), value...)
}

// decodeChanges calls fn with the changes of a record; a nil value: the key is deleted.
func decodeChanges(b []byte, fn func(key, value []byte) error) error {
	for len(b) > 0 {
		kind := b[0]
		k, n := binary.Uvarint(b[1:])
		if n <= 0 || kind > changeSet {
			return fmt.Errorf("%w: change of kind %d", dbfs.ErrCorrupt, kind)
		}
		b = b[1+n:]
		v, n := binary.Uvarint(b)
		if n <= 0 || k == 0 || k > maxKey || uint64(len(b)-n) < k || uint64(len(b)-n)-k < v {
			return fmt.Errorf("%w: change of a key of %d bytes", dbfs.ErrCorrupt, k)
		}
		b = b[n:]
		key, value := b[:k:k], b[k:k+v:k+v]
		if kind == changeDeleted {
			value = nil
		}
		if err := fn(key, value); err != nil {
			return err
		}
		b = b[k+v:]
	}
	return nil
}

// readRecords calls fn with the records of a file of that number, whose header is behind the reader.
// The first has seq want, or any if that is 0. It returns the seq of the one that would come next; want again: there was none.
func readRecords(b []byte, number, want uint64, fn func(changes []byte) error) (next uint64, err error) {
	for len(b) >= recordHeadLen {
		n, seq := binary.BigEndian.Uint32(b[4:]), binary.BigEndian.Uint64(b[16:])
		switch {
		case binary.BigEndian.Uint64(b[8:]) != number, seq == 0, want != 0 && seq != want:
			return want, nil
		case uint64(n) > uint64(len(b)-recordHeadLen):
			return want, nil
		}
		rec := b[:recordHeadLen+int(n)]
		if binary.BigEndian.Uint32(rec) != crc32.Checksum(rec[4:], castagnoli) {
			return want, nil
		}
		if err := fn(rec[recordHeadLen:]); err != nil {
			return want, err
		}
		want, b = seq+1, b[len(rec):]
	}
	return want, nil
}

// logHead is what a header says.
type logHead struct {
	name   string
	number uint64
}

// listLogs returns the files that have a header, in the order of their numbers.
func listLogs(dir string) ([]logHead, error) {
	names, err := filepath.Glob(filepath.Join(dir, "*.log"))
	if err != nil {
		return nil, err
	}
	var all []logHead
	for _, name := range names {
		h, ok, err := readHead(name)
		if err != nil {
			return nil, err
		}
		if ok {
			all = append(all, h)
		}
	}
	slices.SortFunc(all, func(a, b logHead) int { return cmp.Compare(a.number, b.number) })
	return all, nil
}

// readHead returns false of a file whose header was not finished.
func readHead(name string) (h logHead, ok bool, err error) {
	f, err := os.Open(name)
	if err != nil {
		return h, false, err
	}
	defer f.Close()
	b := make([]byte, logHeaderLen)
	if _, err := io.ReadFull(f, b); err != nil {
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			err = nil
		}
		return h, false, err
	}
	number, ok, err := decodeHead(b)
	if err != nil {
		err = fmt.Errorf("%s: %w", name, err)
	}
	return logHead{name, number}, ok, err
}

func decodeHead(b []byte) (number uint64, ok bool, err error) {
	sum := binary.BigEndian.Uint32(b[logHeaderLen-4:])
	if crc32.Checksum(b[:logHeaderLen-4], castagnoli) != sum {
		return 0, false, nil
	}
	if b[0] != logVersion {
		return 0, false, fmt.Errorf("%w: a log of version %d", dbfs.ErrVersion, b[0])
	}
	return binary.BigEndian.Uint64(b[1:]), true, nil
}

// readLogs calls fn with the records that a crash has left, in their order, and returns the
// highest number that was ever used.
func readLogs(dir string, fn func(changes []byte) error) (last uint64, err error) {
	heads, err := listLogs(dir)
	if err != nil || len(heads) == 0 {
		return 0, err
	}
	first := len(heads) - 1
	for first > 0 && heads[first-1].number == heads[first].number-1 {
		first--
	}
	last = heads[len(heads)-1].number
	want := uint64(0)
	for _, h := range heads[first:] {
		b, err := readLog(h.name)
		if err != nil {
			return 0, err
		}
		next, err := readRecords(b, h.number, want, fn)
		if err != nil {
			return 0, fmt.Errorf("read %s: %w", h.name, err)
		}
		if next == want { // what is behind a file that ends early was not synced
			break
		}
		want = next
	}
	return last, nil
}

// readLog returns what is behind the header.
func readLog(name string) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.NewSectionReader(f, logHeaderLen, maxLogFile))
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	return b, nil
}
