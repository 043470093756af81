package journal

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/dbfs/dbfs"
	"github.com/dbfs/dbfs/cache"
)

// Several programs edit and read while one goroutine syncs with a busy server.
func TestManyAtOnce(t *testing.T) {
	h := newHost(t)
	d := newDevice(t, h, 0, h.namespace(t), 1)
	inodes, err := cache.OpenInodes(d.kv)
	check(t, err)
	d.j, err = Open(Config{
		NS: d.ns, KV: d.kv, Tree: cache.NewTree(d.ns, dbfs.NamesExact), Device: d.meta.Device(), Name: "alice", Inodes: inodes.Reserve, Clock: time.Now,
	})
	check(t, err)
	other := newDevice(t, h, 1, d.ns, 1)
	d.settle()
	other.settle()
	const programs, rounds = 4, 60
	var users, reader sync.WaitGroup
	for i := range programs {
		mine := d.make(fmt.Sprint("p", i), dir)
		users.Go(func() { program(t, d.j, mine.ID, rounds) })
	}
	stop := make(chan struct{})
	reader.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
				readAll(t, d.j, dbfs.RootNode)
			}
		}
	})
	edited := make(chan struct{})
	go func() { users.Wait(); close(edited) }()
	for i, done := 0, false; !done; i++ {
		other.put(fmt.Sprint("o", i%5), 1000+i)
		other.settle()
		_, err := d.push(always, accident(i%3))
		check(t, err)
		check(t, d.pull(2))
		select {
		case <-edited:
			done = true
		case <-d.j.Moved():
		}
	}
	close(stop)
	reader.Wait()
	d.settle()
	other.settle()
	if got, want := other.show(false), d.show(false); got != want {
		t.Errorf("the other sees\n%swant\n%s", got, want)
	}
	for i := range programs {
		if n := d.at(fmt.Sprintf("p%d/saved", i)); n.Content.Size != rounds {
			t.Errorf("program %d saved %d, want %d", i, n.Content.Size, rounds)
		}
	}
}

// program saves a file again and again, as editors do, and comes and goes otherwise.
func program(t *testing.T, j *Journal, in dbfs.NodeID, rounds int) {
	for i := 1; i <= rounds; i++ {
		n, err := j.Create(in, "tmp", file)
		if err == nil {
			j.Hold(n.ID)
			_, err = j.Write(n.ID, n.Content, bytesOf(i), int64(i))
			j.Release(n.ID)
		}
		if err == nil {
			n.ID, err = j.Move(n.ID, in, "saved", false)
		}
		if err == nil {
			_, err = j.SetAttr(n.ID, dbfs.AttrMode, dbfs.Attr{Mode: uint32(i)})
		}
		if err == nil && i%7 == 0 {
			err = j.Sync()
		}
		if err != nil {
			t.Errorf("round %d: %v", i, err)
			return
		}
	}
}

func readAll(t *testing.T, j *Journal, in dbfs.NodeID) {
	nodes, err := j.Children(in)
	if err != nil {
		t.Error(err)
	}
	for _, n := range nodes {
		j.Path(n.ID)
		j.StateOf(n.ID)
		if n.Kind.IsDir() {
			readAll(t, j, n.ID)
		}
	}
	j.Backlog()
	j.Pending()
}
