package e2e

import (
	"bytes"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// TestFreshness measures how long after a close on one mount the bytes are read on another.
func TestFreshness(t *testing.T) {
	m := newMachine(t)
	srv := m.serve()
	one, two := m.login("one", srv.url, srv.token), m.login("two", srv.url, srv.token)
	one.start()
	two.start()
	var took []time.Duration
	for i := range 50 {
		name, want := fmt.Sprintf("file%d", i%5), noise(uint64(i), 2000)
		if err := os.WriteFile(one.at(name), want, 0o644); err != nil {
			t.Fatal(err)
		}
		start := time.Now()
		for {
			if got, err := os.ReadFile(two.at(name)); err == nil && bytes.Equal(got, want) {
				break
			}
			if time.Since(start) > patience {
				t.Fatalf("change %d is not seen on the other mount", i)
			}
			time.Sleep(time.Millisecond)
		}
		took = append(took, time.Since(start))
	}
	slices.Sort(took)
	p50, p95 := took[len(took)/2], took[len(took)*95/100]
	t.Logf("a change is readable on the other mount after %v (p50), %v (p95), %v (the longest of %d)", p50, p95, took[len(took)-1], len(took))
	if p95 > time.Second {
		t.Errorf("p95 is %v, want 1 s at most", p95)
	}
	two.end()
	one.end()
}

const (
	manyFiles   = 10_000
	mostMemory  = 120 << 20 // bytes, of the daemon
	restTime    = 10 * time.Second
	restCPU     = 300 * time.Millisecond // in restTime, of daemon and of server
	restRequest = 3                      // in restTime: one poll, that has just ended, and what comes of it
)

// TestManyFiles copies many small files in, and looks what they cost in memory, and what
// resting costs when all of them are synced.
func TestManyFiles(t *testing.T) {
	m := newMachine(t)
	srv := m.serve()
	meter := newMeter(t, srv.url)
	one := m.login("one", meter.url, srv.token)
	one.start()
	start := time.Now()
	for i := range manyFiles {
		if i%100 == 0 {
			if err := os.Mkdir(one.at(fmt.Sprintf("d%d", i/100)), 0o755); err != nil {
				t.Fatal(err)
			}
		}
		name := one.at(fmt.Sprintf("d%d/file%d.txt", i/100, i))
		if err := os.WriteFile(name, fmt.Appendf(nil, "file %d says %x\n", i, noise(uint64(i), 1000)), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	written := time.Since(start)
	one.run("wait", "--profile", "one", "--timeout", "120s")
	t.Logf("%d files of 2 KB were written in %v and sent after %v, in %d requests", manyFiles, written, time.Since(start), meter.count.Load())
	one.settle()
	memory := anonymous(t, one.pid())
	t.Logf("then the daemon holds %d MiB, the server %d MiB", memory>>20, anonymous(t, srv.pid())>>20)
	if memory > mostMemory {
		t.Errorf("the daemon holds %d MiB, want %d at most", memory>>20, mostMemory>>20)
	}
	requests, daemon, server := meter.count.Load(), cpu(t, one.pid()), cpu(t, srv.pid())
	time.Sleep(restTime)
	requests, daemon, server = meter.count.Load()-requests, cpu(t, one.pid())-daemon, cpu(t, srv.pid())-server
	t.Logf("%v of rest cost %d requests, %v of the daemon and %v of the server", restTime, requests, daemon, server)
	if requests > restRequest || daemon > restCPU || server > restCPU {
		t.Errorf("rest costs more than %d requests and %v", restRequest, restCPU)
	}
	one.end()
}

// run runs a command line on the drive's machine.
func (d *drive) run(args ...string) { d.m.t.Helper(); d.m.run(args...) }

// settle waits until nothing is queued: edits, index, bytes that were unsent.
func (d *drive) settle() {
	d.m.t.Helper()
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(100 * time.Millisecond) {
		if st := d.status(); st.Synced() && st.Search.Word == "current" && st.Cache.Unsent == 0 {
			return
		}
	}
	d.m.t.Fatalf("%s does not come to rest: %+v", d.profile, d.status())
}

// A meter counts the requests that pass it on their way to a server.
type meter struct {
	url   string
	count atomic.Int64
}

func newMeter(t *testing.T, to string) *meter {
	t.Helper()
	target, err := url.Parse(to)
	if err != nil {
		t.Fatal(err)
	}
	m := &meter{}
	proxy := httputil.NewSingleHostReverseProxy(target)
	proxy.ErrorLog = log.New(io.Discard, "", 0) // a poll that is given up is no error
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		m.count.Add(1)
		proxy.ServeHTTP(w, r)
	}))
	t.Cleanup(func() {
		srv.CloseClientConnections()
		srv.Close()
	})
	m.url = srv.URL
	return m
}

// anonymous returns how many bytes of memory a process has for itself.
func anonymous(t *testing.T, pid int) int64 {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	sum := int64(0)
	for line := range strings.Lines(string(b)) {
		var kb int64
		if n, _ := fmt.Sscanf(line, "RssAnon: %d kB", &kb); n == 1 {
			sum += kb << 10
		}
		if n, _ := fmt.Sscanf(line, "RssShmem: %d kB", &kb); n == 1 {
			sum += kb << 10
		}
	}
	if sum == 0 {
		t.Fatalf("/proc/%d/status does not say:\n%s", pid, b)
	}
	return sum
}

// cpu returns how much time a process has computed.
func cpu(t *testing.T, pid int) time.Duration {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		t.Fatal(err)
	}
	fields := strings.Fields(string(b[bytes.LastIndexByte(b, ')')+1:]))
	const perSecond = 100 // USER_HZ, on every Linux
	ticks := 0
	for _, f := range fields[11:13] { // utime, stime
		n, err := strconv.Atoi(f)
		if err != nil {
			t.Fatal(err)
		}
		ticks += n
	}
	return time.Duration(ticks) * time.Second / perSecond
}
