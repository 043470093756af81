package fs

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dbfs/dbfs"
	"github.com/dbfs/dbfs/cache"
)

func TestReadAheadOfTheKernel(t *testing.T) {
	d := newDrive(t)
	if os.Geteuid() != 0 {
		t.Skip("only root may tell the kernel how far to read ahead")
	}
	name, err := readAheadFile(d.dir)
	d.must(err)
	b, err := os.ReadFile(name)
	if err != nil {
		t.Skipf("the kernel cannot be told how far to read ahead: %v", err)
	}
	if got := strings.TrimSpace(string(b)); got != strconv.Itoa(readAheadKB) {
		t.Errorf("it reads %s KiB ahead, want %d", got, readAheadKB)
	}
}

// A gate keeps fetches waiting until it is opened.
type gate struct {
	dbfs.ChunkStore
	open    chan struct{}
	waiting atomic.Int32
}

func (g *gate) Get(ctx context.Context, ns dbfs.NamespaceID, ref dbfs.ChunkRef) ([]byte, error) {
	g.waiting.Add(1)
	defer g.waiting.Add(-1)
	select {
	case <-g.open:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	return g.ChunkStore.Get(ctx, ns, ref)
}

func gated(g *gate) driveOption {
	g.open = make(chan struct{})
	return func(_ *Config, o *cache.Options) { g.ChunkStore, o.Chunks = o.Chunks, g }
}

// Who waits for bytes that are not here can be interrupted, and what he waits for still comes for others.
func TestReadIsInterrupted(t *testing.T) {
	var g gate
	d := newDrive(t, gated(&g))
	there := newElsewhere(d, d.root)
	want := noise(1, dbfs.ChunkSize+5)
	there.put(remoteFile("a", there.content(string(want))))
	there.advance()
	d.eventually("it is there", func() bool { return onlyErr(os.Stat(d.path("a"))) == nil })
	for _, sig := range []os.Signal{unix.SIGINT, unix.SIGKILL} {
		reader := exec.Command("cat", d.path("a"))
		d.must(reader.Start())
		d.eventually("it waits", func() bool { return g.waiting.Load() > 0 })
		time.Sleep(20 * time.Millisecond)
		d.must(reader.Process.Signal(sig))
		ended := make(chan error, 1)
		go func() { ended <- reader.Wait() }()
		select {
		case err := <-ended:
			if err == nil {
				t.Error("it read what is not here")
			}
		case <-time.After(5 * time.Second):
			t.Fatalf("a reader goes on waiting after %v", sig)
		}
	}
	go func() {
		time.Sleep(50 * time.Millisecond)
		close(g.open)
	}()
	if got := d.read("a"); !bytes.Equal([]byte(got), want) {
		t.Error("other bytes came")
	}
}

// pastCache opens for reading past the page cache. Reads that go through it the kernel does not interrupt but to end a program.
var pastCache = fmt.Sprint(unix.O_RDONLY | unix.O_DIRECT)

// Of other signals that a program handles a read knows nothing, as on a disk: a timer, a window that changes its size.
func TestReadIsNotDisturbed(t *testing.T) {
	if _, err := exec.LookPath("perl"); err != nil {
		t.Skip(err)
	}
	var g gate
	d := newDrive(t, gated(&g))
	there := newElsewhere(d, d.root)
	there.put(remoteFile("a", there.content(string(noise(1, 5*4096)))))
	there.advance()
	d.eventually("it is there", func() bool { return onlyErr(os.Stat(d.path("a"))) == nil })
	var said bytes.Buffer
	reader := exec.Command("perl", "-e", `
		$SIG{$_} = sub { $seen++ } for qw(WINCH ALRM CHLD URG USR1 IO PROF);
		sysopen(my $f, $ARGV[0], $ARGV[1]) or die $!;
		my $n = sysread $f, my $b, 20480;
		defined $n or die "sysread: $!";
		print "$n bytes, ", $seen ? "after signals" : "no signal";`, d.path("a"), pastCache)
	reader.Stdout, reader.Stderr = &said, &said
	d.must(reader.Start())
	d.eventually("it waits", func() bool { return g.waiting.Load() > 0 })
	for _, sig := range []os.Signal{unix.SIGWINCH, unix.SIGALRM, unix.SIGCHLD, unix.SIGURG, unix.SIGUSR1, unix.SIGIO, unix.SIGPROF} {
		time.Sleep(10 * time.Millisecond)
		d.must(reader.Process.Signal(sig))
	}
	time.Sleep(3 * lookForSignals)
	close(g.open)
	if err := reader.Wait(); err != nil || said.String() != "20480 bytes, after signals" {
		t.Errorf("%v, %q", err, &said)
	}
}

// A handled ^C ends a wait, also if another signal came before.
func TestReadIsInterruptedByHandledSignals(t *testing.T) {
	if _, err := exec.LookPath("perl"); err != nil {
		t.Skip(err)
	}
	var g gate
	d := newDrive(t, gated(&g))
	defer close(g.open)
	there := newElsewhere(d, d.root)
	there.put(remoteFile("a", there.content(string(noise(1, 5*4096)))))
	there.advance()
	d.eventually("it is there", func() bool { return onlyErr(os.Stat(d.path("a"))) == nil })
	reader := exec.Command("perl", "-e", `
		$SIG{$_} = sub { } for qw(WINCH INT);
		sysopen(my $f, $ARGV[0], $ARGV[1]) or die $!;
		exit(defined sysread($f, my $b, 4096) ? 1 : $!{EINTR} ? 42 : 2)`, d.path("a"), pastCache)
	d.must(reader.Start())
	d.eventually("it waits", func() bool { return g.waiting.Load() > 0 })
	for _, sig := range []os.Signal{unix.SIGWINCH, unix.SIGINT} {
		time.Sleep(2 * lookForSignals)
		d.must(reader.Process.Signal(sig))
	}
	reader.Wait()
	if code := reader.ProcessState.ExitCode(); code != 42 {
		t.Errorf("it ended with %d, want 42 for EINTR", code)
	}
}

// A read of what cannot be fetched in time is an error, and not for ever.
func TestReadHasADeadline(t *testing.T) {
	var g gate
	d := newDrive(t, gated(&g), func(_ *Config, o *cache.Options) { o.FetchTimeout = 100 * time.Millisecond })
	there := newElsewhere(d, d.root)
	there.put(remoteFile("a", there.content(string(noise(1, large)))))
	there.advance()
	d.eventually("it is there", func() bool { return onlyErr(os.Stat(d.path("a"))) == nil })
	_, err := os.ReadFile(d.path("a"))
	wantErrno(t, "read what cannot be had", err, unix.EIO)
	close(g.open)
	if got := d.read("a"); len(got) != large {
		t.Errorf("read %d bytes later", len(got))
	}
}

// Programs that read the same chunk at the same time share one download; one that jumps about brings only
// what it reads.
func TestOneDownload(t *testing.T) {
	var fetched atomic.Int32
	d := newDrive(t, func(_ *Config, o *cache.Options) { o.Chunks = &counting{o.Chunks, &fetched} })
	there := newElsewhere(d, d.root)
	const chunks = 12
	want := noise(1, chunks*dbfs.ChunkSize)
	there.put(remoteFile("a", there.content(string(want))))
	there.advance()
	d.eventually("it is there", func() bool { return onlyErr(os.Stat(d.path("a"))) == nil })
	f, err := os.Open(d.path("a"))
	d.must(err)
	defer f.Close()
	p := make([]byte, 4096)
	for _, i := range []int64{9, 2, 6} {
		_, err := f.ReadAt(p, i*dbfs.ChunkSize+dbfs.ChunkSize/2)
		d.must(err)
	}
	if got := fetched.Load(); got != 3 {
		t.Errorf("three reads here and there made %d downloads", got)
	}
	var readers [4]*exec.Cmd
	for i := range readers {
		readers[i] = exec.Command("cmp", d.path("a"), "-")
		readers[i].Stdin = bytes.NewReader(want)
		d.must(readers[i].Start())
	}
	for _, r := range readers {
		d.must(r.Wait())
	}
	if got := fetched.Load(); got != chunks {
		t.Errorf("%d chunks made %d downloads", chunks, got)
	}
}

type counting struct {
	dbfs.ChunkStore
	gets *atomic.Int32
}

func (c *counting) Get(ctx context.Context, ns dbfs.NamespaceID, ref dbfs.ChunkRef) ([]byte, error) {
	c.gets.Add(1)
	return c.ChunkStore.Get(ctx, ns, ref)
}
