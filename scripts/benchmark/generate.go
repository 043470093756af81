package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/dbfs/dbfs"
	"github.com/dbfs/dbfs/remote"
)

// The tree that is generated has a hundred files in each directory, and a hundred directories in each of those
// above. The files are 4 KiB, of a few different contents.
const (
	fan       = 100
	contents  = 64
	generated = 4 << 10
)

// generate makes files at a server, as a device of its own, and returns the number of the log's last
// entry. It sends records and a few chunks: the files never were anywhere.
func generate(ctx context.Context, url, token string, files int, progress func(done int)) (uint64, error) {
	login, err := remote.NewClient(url, "", nil).Login(ctx, token, "generator", 0)
	if err != nil {
		return 0, err
	}
	g := &generator{ctx: ctx, client: remote.NewClient(url, login.Token, nil), now: time.Now()}
	list, err := g.client.Namespaces(ctx)
	if err != nil {
		return 0, err
	}
	if len(list) == 0 {
		return 0, errors.New("the account has no namespace")
	}
	g.ns = list[0].ID
	g.batch = dbfs.Batch{Epoch: list[0].Cursor.Epoch, Device: login.Device, Seq: 1}
	if err := g.upload(); err != nil {
		return 0, err
	}
	for done := 0; done < files; done += fan {
		if err := g.directory(done, min(fan, files-done)); err != nil {
			return 0, err
		}
		progress(done)
	}
	return g.edits, g.send()
}

type generator struct {
	ctx    context.Context
	client *remote.Client
	ns     dbfs.NamespaceID
	now    time.Time

	chunks []dbfs.Content
	above  dbfs.NodeID // the directory that directories are made in
	batch  dbfs.Batch
	edits  uint64
}

// upload brings the chunks to the store. Their receipts go with every batch.
func (g *generator) upload() error {
	store := remote.NewChunks(g.client, nil)
	for i := range contents {
		raw := make([]byte, generated)
		binary.LittleEndian.PutUint64(raw, uint64(i)+1)
		ref := dbfs.ChunkRef{ID: dbfs.HashChunk(raw), Len: len(raw)}
		receipt, err := store.Put(g.ctx, g.ns, ref, raw)
		if err != nil {
			return err
		}
		g.batch.Receipts = append(g.batch.Receipts, receipt)
		g.chunks = append(g.chunks, dbfs.Content{Size: generated, Chunks: dbfs.Blocks(ref.ID)})
	}
	return nil
}

// directory makes a directory with files in it, the first of which is the tree's file number first.
func (g *generator) directory(first, files int) error {
	if first%(fan*fan) == 0 {
		above, err := g.create(dbfs.RootNode, fmt.Sprintf("d%05d", first/(fan*fan)), nil)
		if err != nil {
			return err
		}
		g.above = above
	}
	dir, err := g.create(g.above, fmt.Sprintf("d%07d", first/fan), nil)
	if err != nil {
		return err
	}
	for i := first; i < first+files; i++ {
		if _, err := g.create(dir, fmt.Sprintf("file%08d.txt", i), &g.chunks[i%contents]); err != nil {
			return err
		}
	}
	return nil
}

// create adds a node to the batch: a file if it has a content, or else a directory.
func (g *generator) create(parent dbfs.NodeID, name string, content *dbfs.Content) (dbfs.NodeID, error) {
	op := dbfs.Op{
		ID: dbfs.OpID{Device: g.batch.Device, N: g.edits + 1}, Type: dbfs.OpCreate, Node: dbfs.NewNodeID(g.now),
		Parent: parent, Name: name, Kind: dbfs.KindDir, Content: content,
		Attr: dbfs.Attr{Mode: 0o755, MTime: g.now.UnixNano()}, Time: g.now.UnixNano(),
	}
	if content != nil {
		op.Kind, op.Attr.Mode = dbfs.KindFile, 0o644
	}
	g.edits++
	g.batch.Ops = append(g.batch.Ops, op)
	if len(g.batch.Ops) < dbfs.MaxBatchOps {
		return op.Node, nil
	}
	return op.Node, g.send()
}

// send commits what has been gathered.
func (g *generator) send() error {
	if len(g.batch.Ops) == 0 {
		return nil
	}
	if _, err := g.client.Commit(g.ctx, g.ns, g.batch); err != nil {
		return err
	}
	g.batch.Seq++
	g.batch.Ops = g.batch.Ops[:0]
	return nil
}
