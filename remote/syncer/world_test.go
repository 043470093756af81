package syncer

import (
	"context"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/dbfs/dbfs"
	"github.com/dbfs/dbfs/cache"
	"github.com/dbfs/dbfs/journal"
)

const (
	testNS     dbfs.NamespaceID = 5
	testDevice dbfs.DeviceID    = 1
)

// server is all three services. Its tree is empty and its log has no news; what a test wants
// answered otherwise it sets.
type server struct {
	mu       sync.Mutex // guards what follows, and is not held while commit or log runs
	commit   func(dbfs.Batch) ([]dbfs.Entry, error)
	log      func() error
	batches  []dbfs.Batch
	readings int
	puts     int
}

func (*server) Namespaces(context.Context) ([]dbfs.Namespace, error) { return nil, nil }

func (*server) Tree(context.Context, dbfs.NamespaceID, dbfs.NodeID, int) (dbfs.TreePage, error) {
	return dbfs.TreePage{Cursor: dbfs.Cursor{Epoch: 1, JID: 1}}, nil
}

func (s *server) Log(_ context.Context, _ dbfs.NamespaceID, at dbfs.Cursor, _ int) (dbfs.LogPage, error) {
	s.mu.Lock()
	s.readings++
	log := s.log
	s.mu.Unlock()
	if log != nil {
		return dbfs.LogPage{}, log()
	}
	return dbfs.LogPage{Next: at, Head: at.JID}, nil
}

func (s *server) Commit(_ context.Context, _ dbfs.NamespaceID, b dbfs.Batch) ([]dbfs.Entry, error) {
	s.mu.Lock()
	s.batches = append(s.batches, b)
	commit := s.commit
	s.mu.Unlock()
	return commit(b)
}

func (*server) Wait(ctx context.Context, _ map[dbfs.NamespaceID]dbfs.Cursor, _ time.Duration) (dbfs.Hint, error) {
	<-ctx.Done()
	return dbfs.Hint{}, ctx.Err()
}

func (*server) Check(_ context.Context, _ dbfs.NamespaceID, refs []dbfs.ChunkRef) ([]dbfs.Receipt, error) {
	return make([]dbfs.Receipt, len(refs)), nil
}

func (s *server) Put(context.Context, dbfs.NamespaceID, dbfs.ChunkRef, []byte) (dbfs.Receipt, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.puts++
	return "receipt", nil
}

func (*server) Get(context.Context, dbfs.NamespaceID, dbfs.ChunkRef) ([]byte, error) {
	return nil, dbfs.ErrOffline
}

// told returns how often the log was read, how many batches came, and how many chunks.
func (s *server) told() (readings, batches, puts int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.readings, len(s.batches), s.puts
}

// disk is what survives a restart of the client.
type disk struct {
	kv     dbfs.KV
	inodes *cache.Inodes
}

func newDisk(t *testing.T) *disk {
	t.Helper()
	kv := cache.NewMemKV()
	inodes, err := cache.OpenInodes(kv)
	if err != nil {
		t.Fatal(err)
	}
	return &disk{kv: kv, inodes: inodes}
}

func (d *disk) journal(t *testing.T) *journal.Journal {
	t.Helper()
	j, err := journal.Open(journal.Config{
		NS: testNS, KV: d.kv, Tree: cache.NewTree(testNS, dbfs.NamesExact), Device: testDevice, Name: "here",
		Inodes: d.inodes.Reserve, Clock: time.Now,
	})
	if err != nil {
		t.Fatal(err)
	}
	return j
}

// run syncs a journal until stop, which the test's end calls too.
func run(t *testing.T, srv *server, j *journal.Journal) (s *Syncer, stop func()) {
	t.Helper()
	s = New(Config{
		Meta: srv, Notifier: srv, Chunks: srv, Device: testDevice, MaxBackoff: 20 * time.Millisecond, Log: slog.New(slog.DiscardHandler),
		Read: func(context.Context, dbfs.NamespaceID, dbfs.NodeID, int, dbfs.ChunkRef) ([]byte, func(), error) {
			return []byte("abc"), func() {}, nil
		},
	})
	s.Add(j, dbfs.RoleWrite)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		s.Run(ctx)
	}()
	stop = func() {
		cancel()
		<-ended
	}
	t.Cleanup(stop)
	await(t, "the first listing", func() bool { return j.Cursor() != dbfs.Cursor{} })
	return s, stop
}

// await waits until something is so.
func await(t *testing.T, what string, so func() bool) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); !so(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain for %s", what)
		}
	}
}

// create makes a file that holds "abc".
func create(t *testing.T, j *journal.Journal, name string) dbfs.Node {
	t.Helper()
	n, err := j.Create(dbfs.RootNode, name, journal.NewNode{Kind: dbfs.KindFile, Held: true})
	if err != nil {
		t.Fatal(err)
	}
	defer j.Release(n.ID)
	content := dbfs.Content{Size: 3, Chunks: dbfs.Blocks(dbfs.HashChunk([]byte("abc")))}
	if n, err = j.Write(n.ID, n.Content, content, 1); err != nil {
		t.Fatal(err)
	}
	return n
}
