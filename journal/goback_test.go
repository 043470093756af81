package journal

import (
	"testing"

	"github.com/dbfs/dbfs"
)

// Versions of a file that a power cut can take one by one.
func cuttable(n int) dbfs.Content {
	return dbfs.Content{Size: int64(n), Chunks: dbfs.Blocks([]dbfs.ChunkID{{0: byte(n), 1: 1}}...)}
}

func lose(versions ...int) map[dbfs.ChunkID]bool {
	lost := make(map[dbfs.ChunkID]bool)
	for _, n := range versions {
		lost[cuttable(n).Chunks.At(0)] = true
	}
	return lost
}

func (d *device) rewrite(p string, n int) {
	d.t.Helper()
	f := d.at(p)
	_, err := d.j.Write(f.ID, f.Content, cuttable(n), int64(n))
	check(d.t, err)
}

// What was synced is shown again when what came after it has been lost.
func TestGoBack(t *testing.T) {
	steps := func(f ...func(*device)) []func(*device) { return f }
	write := func(n int) func(*device) { return func(d *device) { d.rewrite("f", n) } }
	sync := func(d *device) { check(d.t, d.j.Sync()) }
	send := func(d *device) {
		_, err := d.j.Batch(func(*dbfs.Op) bool { return true })
		check(d.t, err)
	}
	for name, c := range map[string]struct {
		steps []func(*device)
		lost  []int
		want  int64
		kept  []int // versions whose chunks must stay until then
	}{
		"nothing lost":              {steps(write(2), sync, write(3)), nil, 3, []int{2, 3}},
		"never synced":              {steps(write(2)), []int{2}, 1, nil},
		"amended, never synced":     {steps(write(2), write(3)), []int{3}, 1, nil},
		"synced, then amended":      {steps(write(2), sync, write(3)), []int{3}, 2, []int{2}},
		"amended twice":             {steps(write(2), sync, write(3), write(4)), []int{4}, 2, []int{2}},
		"synced twice":              {steps(write(2), sync, write(3), sync, write(4)), []int{4}, 3, []int{3}},
		"reopened":                  {steps(write(2), sync, write(3), (*device).open), []int{3}, 2, []int{2}},
		"reopened, synced, amended": {steps(write(2), (*device).open, sync, write(3)), []int{3}, 2, []int{2}},
		"sent, and written again":   {steps(write(2), send, write(3)), []int{3}, 2, []int{2}},
		"in a batch never sent":     {steps(write(2), sync, write(3), send), []int{3}, 2, []int{2}},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHost(t)
			d := newDevice(t, h, 0, h.namespace(t), 1)
			d.settle()
			d.put("f", 1)
			d.settle()
			for _, step := range c.steps {
				step(d)
			}
			for _, n := range c.kept {
				if !d.j.Needs(cuttable(n).Chunks.At(0)) {
					t.Errorf("version %d may be thrown away", n)
				}
			}
			d.open()
			for range 2 { // it may be repeated
				check(t, d.j.GoBack(lose(c.lost...)))
				if n := d.at("f"); n.Content.Size != c.want || n.Attr.MTime != c.want && c.want != 1 {
					t.Errorf("version %d of time %d is shown, want %d", n.Content.Size, n.Attr.MTime, c.want)
				}
				d.open()
			}
		})
	}
}

// While a Sync is under way it is not known whether what it began with is durable, so that an edit
// can go back to that or to what was durable before.
func TestGoBackWithinSync(t *testing.T) {
	h := newHost(t)
	d := newDevice(t, h, 0, h.namespace(t), 1)
	d.settle()
	d.make("f", file)
	d.rewrite("f", 2)
	check(t, d.j.Sync())
	d.rewrite("f", 3)
	d.j.mu.Lock()
	d.j.syncing = d.j.sets // as a Sync does that has begun
	d.j.mu.Unlock()
	d.rewrite("f", 4)
	for _, c := range []struct {
		lost []int
		want int64
	}{{[]int{4, 3}, 2}, {[]int{4}, 3}} {
		e := d.j.pending.last()
		back, err := d.j.standing(nil, e, nil, lose(c.lost...))
		if err != nil || back.content.Size != c.want {
			t.Errorf("when %v are lost it goes back to %d, %v, want %d", c.lost, back.content.Size, err, c.want)
		}
	}
}

// A file that was made after the last Sync may be empty; one that was made before, too.
func TestGoBackOfNewFile(t *testing.T) {
	h := newHost(t)
	d := newDevice(t, h, 0, h.namespace(t), 1)
	d.settle()
	d.make("f", file)
	d.rewrite("f", 2)
	d.open()
	check(t, d.j.GoBack(lose(2)))
	if n := d.at("f"); n.Content.Size != 0 {
		t.Errorf("%d bytes, want none", n.Content.Size)
	}
	d.settle()
}
