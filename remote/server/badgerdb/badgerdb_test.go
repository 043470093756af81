package badgerdb

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"log/slog"
	"sync"
	"testing"

	"github.com/dbfs/dbfs"
	"github.com/dbfs/dbfs/remote/server"
	"github.com/dbfs/dbfs/remote/server/storetest"
)

func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }

func open(t *testing.T, dir string) *Store {
	t.Helper()
	s, err := Open(dir, quiet())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func TestStore(t *testing.T) {
	storetest.Run(t, func(t *testing.T) server.Store { return open(t, t.TempDir()) })
}

func TestSecondProcessIsRefused(t *testing.T) {
	dir := t.TempDir()
	open(t, dir)
	if _, err := Open(dir, quiet()); !errors.Is(err, dbfs.ErrLocked) {
		t.Errorf("second open: %v, want ErrLocked", err)
	}
}

// What was answered is there after a restart, also what many wrote in one group.
func TestReopened(t *testing.T) {
	dir := t.TempDir()
	ctx := context.Background()
	s := open(t, dir)
	const spaces = 40
	var wg sync.WaitGroup
	for ns := dbfs.NamespaceID(1); ns <= spaces; ns++ {
		wg.Go(func() {
			err := s.Update(ctx, ns, func(tx server.Tx) error { return tx.SetHead(server.Head{Epoch: 1, JID: dbfs.JID(ns)}) })
			if _, casErr := s.CAS(ctx, server.TableGrant, fmt.Append(nil, ns), nil, []byte("x")); err != nil || casErr != nil {
				t.Error(err, casErr)
			}
		})
	}
	wg.Wait()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = open(t, dir)
	for ns := dbfs.NamespaceID(1); ns <= spaces; ns++ {
		s.View(ctx, ns, func(tx server.ReadTx) error {
			if h, err := tx.Head(); err != nil || h.JID != dbfs.JID(ns) {
				t.Errorf("namespace %d: %+v, %v", ns, h, err)
			}
			return nil
		})
		if _, err := s.Get(ctx, server.TableGrant, fmt.Append(nil, ns)); err != nil {
			t.Errorf("row %d: %v", ns, err)
		}
	}
}

func TestTooLargeWritesNothing(t *testing.T) {
	s := open(t, t.TempDir())
	ctx := context.Background()
	err := s.Update(ctx, 1, func(tx server.Tx) error {
		for i := range 100 {
			n := dbfs.Node{ID: dbfs.NodeID{byte(i + 1)}, Kind: dbfs.KindDir, Attr: dbfs.Attr{Xattrs: map[string][]byte{"user.x": make([]byte, 64<<10)}}}
			if err := tx.PutNode(&n); err != nil {
				return err
			}
		}
		return nil
	})
	if !errors.Is(err, dbfs.ErrTooLarge) {
		t.Fatalf("6.4 MiB in one transaction: %v, want ErrTooLarge", err)
	}
	s.View(ctx, 1, func(tx server.ReadTx) error {
		if nodes, err := tx.Nodes(dbfs.RootNode, 1); err != nil || len(nodes) != 0 {
			t.Errorf("%d nodes, %v, want none", len(nodes), err)
		}
		return nil
	})
}

// BenchmarkCommit shows what sharing syncs brings: writers/op at different namespaces.
func BenchmarkCommit(b *testing.B) {
	for _, writers := range []int{1, 64} {
		b.Run(fmt.Sprint(writers), func(b *testing.B) {
			s, err := Open(b.TempDir(), quiet())
			if err != nil {
				b.Fatal(err)
			}
			defer s.Close()
			b.SetParallelism(writers)
			var next sync.Mutex
			ns := dbfs.NamespaceID(0)
			b.RunParallel(func(pb *testing.PB) {
				next.Lock()
				ns++
				mine := ns
				next.Unlock()
				for pb.Next() {
					err := s.Update(context.Background(), mine, func(tx server.Tx) error { return tx.SetHead(server.Head{JID: 1}) })
					if err != nil {
						b.Error(err)
					}
				}
			})
		})
	}
}

// TestUpgrade opens a database as it was before nodes could be found by their last change.
func TestUpgrade(t *testing.T) {
	dir, ctx := t.TempDir(), context.Background()
	const nodes = 2500 // more than a step
	s := open(t, dir)
	for ns := dbfs.NamespaceID(1); ns <= 2; ns++ {
		for at := 0; at < nodes; at += 500 {
			err := s.Update(ctx, ns, func(tx server.Tx) error {
				root := dbfs.Node{Kind: dbfs.KindDir}
				errs := []error{tx.PutNode(&root)}
				for i := at; i < at+500; i++ {
					n := dbfs.Node{ID: dbfs.NodeID{1, byte(i >> 8), byte(i)}, Name: "x", Kind: dbfs.KindDir, Last: dbfs.JID(nodes - i)}
					errs = append(errs, tx.PutNode(&n))
				}
				return errors.Join(errs...)
			})
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := s.db.DropPrefix([]byte{'l'}, []byte{'V'}); err != nil {
		t.Fatal(err)
	}
	for _, when := range []string{"upgraded", "opened again"} {
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		s = open(t, dir)
		for ns := dbfs.NamespaceID(1); ns <= 2; ns++ {
			err := s.View(ctx, ns, func(tx server.ReadTx) error {
				list, err := tx.Changed(0, dbfs.NodeID{0xff}, 2*nodes)
				if len(list) != nodes || list[0].Last != 1 || list[nodes-1].Last != nodes {
					t.Errorf("%s: %d nodes in order, want %d", when, len(list), nodes)
				}
				return err
			})
			if err != nil {
				t.Error(err)
			}
		}
	}
	row := []byte{1, 0, 0, 0, 9}
	row = binary.LittleEndian.AppendUint32(row, crc32.Checksum(row, crc32.MakeTable(crc32.Castagnoli)))
	newer := server.NewWriteSet(nil)
	newer.Set([]byte{'V'}, row)
	if err := s.group.commit(newer); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(dir, quiet()); !errors.Is(err, dbfs.ErrVersion) {
		t.Errorf("a newer database: %v, want ErrVersion", err)
	}
}
