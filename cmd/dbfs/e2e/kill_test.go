package e2e

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

const (
	kills       = 200
	serverKills = 20
)

// TestKill kills the daemon again and again while files are written, and now and then the
// server. Whatever an fsync or a close had returned for before is there afterwards, byte for
// byte; no file is a mixture of two versions; nothing has become a conflict; and another
// device sees the same in the end. DBFS_TEST_SEED plays a run again, as far as timing allows.
func TestKill(t *testing.T) {
	rng := rand.New(rand.NewPCG(seed(t), 0))
	m := newMachine(t)
	srv := m.serve()
	one := m.login("one", srv.url, srv.token)
	l := newLedger(one.mount())
	one.start()
	for n := range kills {
		l.verify(t)
		stop := l.write(rng.Uint64())
		pause(rng, 300)
		if n%(kills/serverKills) == 0 {
			srv.kill()
			pause(rng, 100)
		}
		one.kill()
		stop()
		select {
		case <-srv.ended:
			srv.again()
		default:
		}
		one.start()
		if t.Failed() {
			t.Fatalf("after %d kills", n+1)
		}
	}
	l.verify(t)
	one.sent()
	l.verify(t)
	two := m.login("two", srv.url, srv.token)
	two.start()
	sameTrees(t, one, two)
	t.Logf("%d versions were written, %d of them promised", l.tried.Load(), l.promised.Load())
	two.end()
	one.end()
}

// seed is what a random test begins with; the log says it.
func seed(t *testing.T) uint64 {
	t.Helper()
	seed := uint64(time.Now().UnixNano())
	if s := os.Getenv("DBFS_TEST_SEED"); s != "" {
		var err error
		if seed, err = strconv.ParseUint(s, 10, 64); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("DBFS_TEST_SEED=%d", seed)
	return seed
}

func pause(rng *rand.Rand, ms int) { time.Sleep(time.Duration(rng.IntN(ms*1000)) * time.Microsecond) }

// A ledger writes files below a mount and keeps account, outside of it, of what was promised.
type ledger struct {
	dir       string
	conflicts bool // others write too
	power     bool // only what was synced is promised
	tried     atomic.Int64
	promised  atomic.Int64

	mu       sync.Mutex // guards what follows
	versions map[string]*span
}

func newLedger(dir string) *ledger { return &ledger{dir: dir, versions: make(map[string]*span)} }

// A span says which versions of a file may be found: those from the last one that was promised
// to the last one that was tried.
type span struct{ safe, tried uint64 }

// next begins the next version of a file.
func (l *ledger) next(name string) uint64 {
	l.tried.Add(1)
	l.mu.Lock()
	defer l.mu.Unlock()
	s := l.versions[name]
	if s == nil {
		s = &span{}
		l.versions[name] = s
	}
	s.tried++
	return s.tried
}

// closed notes that a version was closed, or renamed: a kill does not undo that.
func (l *ledger) closed(name string, version uint64) {
	if !l.power {
		l.safe(name, version)
	}
}

// safe notes that a version was promised.
func (l *ledger) safe(name string, version uint64) {
	l.promised.Add(1)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.versions[name].safe = version
}

// write lets writers of all kinds loose, until stop, which returns when they have ended.
func (l *ledger) write(seed uint64) (stop func()) {
	var running sync.WaitGroup
	var stopped atomic.Bool
	for i, w := range []func(string, *rand.Rand) error{l.overwrite, l.overwrite, l.save, l.save, l.syncAgain, l.large, l.rename} {
		running.Go(func() {
			rng := rand.New(rand.NewPCG(seed, uint64(i)))
			for name := fmt.Sprintf("file%d", i); !stopped.Load(); {
				if w(name, rng) != nil {
					return // the daemon is dead
				}
			}
		})
	}
	return func() {
		stopped.Store(true)
		running.Wait()
	}
}

// overwrite writes a new version over the old one, and closes.
func (l *ledger) overwrite(name string, rng *rand.Rand) error {
	v := l.next(name)
	b := version(name, v, 100+rng.IntN(100_000))
	f, err := os.OpenFile(filepath.Join(l.dir, name), os.O_WRONLY|os.O_CREATE, 0o644)
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	if err == nil {
		err = f.Truncate(int64(len(b)))
	}
	if err = errors.Join(err, f.Close()); err == nil {
		l.closed(name, v)
	}
	return err
}

// save writes beside the file, syncs, and renames.
func (l *ledger) save(name string, rng *rand.Rand) error {
	v := l.next(name)
	path := filepath.Join(l.dir, name)
	f, err := os.OpenFile(path+".tmp", os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o644)
	if err != nil {
		return err
	}
	_, err = f.Write(version(name, v, 100+rng.IntN(30_000)))
	if err = errors.Join(err, f.Sync(), f.Close()); err == nil {
		err = os.Rename(path+".tmp", path)
	}
	if err == nil {
		l.closed(name, v)
	}
	return err
}

// syncAgain writes and syncs several versions through one handle.
func (l *ledger) syncAgain(name string, rng *rand.Rand) error {
	f, err := os.OpenFile(filepath.Join(l.dir, name), os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return err
	}
	for range 5 {
		v := l.next(name)
		_, err = f.WriteAt(version(name, v, 50_000), 0)
		if err = errors.Join(err, f.Sync()); err != nil {
			break
		}
		l.safe(name, v)
		pause(rng, 5)
	}
	return errors.Join(err, f.Close())
}

// large writes versions of more than a chunk.
func (l *ledger) large(name string, rng *rand.Rand) error {
	v := l.next(name)
	f, err := os.OpenFile(filepath.Join(l.dir, name), os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return err
	}
	_, err = f.WriteAt(version(name, v, 5<<20), 0)
	if rng.IntN(2) == 0 {
		if err = errors.Join(err, f.Sync()); err == nil {
			l.safe(name, v)
		}
	}
	if err = errors.Join(err, f.Close()); err == nil {
		l.closed(name, v)
	}
	return err
}

// rename moves one small file on and on: version v is called NAME.v.
func (l *ledger) rename(name string, rng *rand.Rand) error {
	l.mu.Lock()
	s := l.versions[name]
	l.mu.Unlock()
	if s == nil {
		if err := os.WriteFile(filepath.Join(l.dir, name+".1"), version(name, 1, 100), 0o644); err != nil {
			return err
		}
		l.closed(name, l.next(name))
		return nil
	}
	from, err := l.renamed(name)
	if err != nil {
		return err
	}
	v := l.next(name)
	if err = os.Rename(from, filepath.Join(l.dir, fmt.Sprintf("%s.%d", name, v))); err == nil {
		l.closed(name, v)
	}
	pause(rng, 3)
	return err
}

func (l *ledger) renamed(name string) (string, error) {
	found, err := filepath.Glob(filepath.Join(l.dir, name+".[0-9]*"))
	if err == nil && len(found) != 1 {
		err = fmt.Errorf("%s is found as %q, want one", name, found)
	}
	return strings.Join(found, " "), err
}

// verify compares what the mount shows with what was promised.
func (l *ledger) verify(t *testing.T) {
	t.Helper()
	entries, err := os.ReadDir(l.dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if strings.Contains(e.Name(), "(") && !l.conflicts {
			t.Errorf("a conflict with nobody: %q", e.Name())
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for name, s := range l.versions {
		if err := l.check(name, s); err != nil {
			t.Errorf("%s: %v; promised was version %d, tried %d", name, err, s.safe, s.tried)
		}
		// What was tried and is not there will never be: numbers are used once.
	}
}

func (l *ledger) check(name string, s *span) error {
	path := filepath.Join(l.dir, name)
	if strings.HasSuffix(name, "6") {
		return l.checkRenamed(name, s)
	}
	b, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) && s.safe == 0 {
		return nil
	}
	if err != nil {
		return err
	}
	if len(b) == 0 && s.safe == 0 {
		return nil // created, and not yet written
	}
	v, err := parse(name, b)
	if err == nil && (v < s.safe || v > s.tried) {
		err = fmt.Errorf("it has version %d", v)
	}
	return err
}

func (l *ledger) checkRenamed(name string, s *span) error {
	path, err := l.renamed(name)
	if path == "" && s.safe == 0 {
		return nil
	}
	if err != nil {
		return err
	}
	v, err := strconv.ParseUint(path[strings.LastIndex(path, ".")+1:], 10, 64)
	if err == nil && (v < s.safe || v > s.tried) {
		err = fmt.Errorf("it is called %s", path)
	}
	if err != nil {
		return err
	}
	b, err := os.ReadFile(path)
	if err == nil && !bytes.Equal(b, version(name, 1, 100)) {
		err = fmt.Errorf("it holds %s", brief(b))
	}
	return err
}

// version returns bytes that say which version of which file they are, and whether they are
// all of it:
//
//	u64 version  u64 length of the whole  32 bytes SHA-256 of all after it, with the name  noise
func version(name string, v uint64, size int) []byte {
	b := binary.BigEndian.AppendUint64(nil, v)
	b = binary.BigEndian.AppendUint64(b, uint64(size))
	rest := noise(v<<8|uint64(name[len(name)-1]), size-versionHeader)
	sum := sha256.Sum256(append([]byte(name), rest...))
	return append(append(b, sum[:]...), rest...)
}

const versionHeader = 8 + 8 + sha256.Size

func parse(name string, b []byte) (uint64, error) {
	if len(b) < versionHeader {
		return 0, fmt.Errorf("it holds %d bytes, no version of it", len(b))
	}
	v, size := binary.BigEndian.Uint64(b), binary.BigEndian.Uint64(b[8:])
	if int(size) != len(b) || !bytes.Equal(b, version(name, v, len(b))) {
		return v, fmt.Errorf("a mixture: %d bytes that begin as version %d of %d bytes: %s", len(b), v, size, mixture(name, b, v))
	}
	return v, nil
}

// mixture says of which versions the bytes are, as far as they are of one near v.
func mixture(name string, b []byte, v uint64) string {
	const step = 512
	near := make(map[uint64][]byte)
	for other := v + 8; other > 0 && other+16 > v; other-- {
		near[other] = version(name, other, len(b))
	}
	whose := func(from, to int) string {
		if len(bytes.Trim(b[from:to], "\x00")) == 0 {
			return "zeros"
		}
		for other, whole := range near {
			if bytes.Equal(b[from:to], whole[from:to]) {
				return fmt.Sprintf("version %d", other)
			}
		}
		return "neither"
	}
	var runs []string
	was, from := "", 0
	for off := versionHeader; off < len(b); off += step {
		now := whose(off, min(off+step, len(b)))
		if now != was && was != "" {
			runs = append(runs, fmt.Sprintf("%s from %d", was, from))
		}
		if now != was {
			was, from = now, off
		}
	}
	return strings.Join(append(runs, fmt.Sprintf("%s from %d", was, from)), ", ")
}
