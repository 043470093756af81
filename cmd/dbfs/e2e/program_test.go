package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dbfs/dbfs/cmd/dbfs/control"
	"github.com/dbfs/dbfs/remote"
)

// A machine is a home directory in which the real program runs.
type machine struct {
	t    *testing.T
	home string
	dbfs string // the program
}

func newMachine(t *testing.T) *machine {
	t.Helper()
	return &machine{t, tempDir(t), plain.build(t)}
}

// newFaultyMachine has the program that DBFS_FAILPOINT and DBFS_BUG work on.
func newFaultyMachine(t *testing.T) *machine {
	t.Helper()
	return &machine{t, tempDir(t), faulty.build(t)}
}

func (m *machine) path(name string) string { return filepath.Join(m.home, name) }

func (m *machine) command(args ...string) *exec.Cmd {
	cmd := exec.Command(m.dbfs, args...)
	cmd.Dir = m.home
	cmd.Env = []string{"HOME=" + m.home, "PATH=" + os.Getenv("PATH"), "XDG_RUNTIME_DIR=" + m.path("run"), "DBFS_SCRATCH=" + os.Getenv("DBFS_SCRATCH")}
	return cmd
}

// run runs a command line that has to succeed, and returns what it printed.
func (m *machine) run(args ...string) string {
	m.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 2*patience)
	defer cancel()
	cmd := m.command(args...)
	cmd.Cancel = nil
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Start(); err != nil {
		m.t.Fatal(err)
	}
	stop := context.AfterFunc(ctx, func() { cmd.Process.Kill() })
	defer stop()
	if err := cmd.Wait(); err != nil {
		m.t.Fatalf("dbfs %s: %v\n%s%s", strings.Join(args, " "), err, &out, &errs)
	}
	return out.String()
}

// A process is the program running in the foreground.
type process struct {
	t     *testing.T
	name  string
	cmd   *exec.Cmd
	says  *output
	ended chan struct{} // closed when it has

	killed bool // as the test wants it
}

// start runs a command line until it says the word, which may be a regular expression; what
// that matched is returned.
func (m *machine) start(word string, args ...string) (*process, []string) {
	m.t.Helper()
	p := m.launch(nil, args...)
	return p, p.await(regexp.MustCompile(word))
}

// launch runs a command line, with more in its environment. It is killed at the end of the test
// if it still runs.
func (m *machine) launch(env []string, args ...string) *process {
	m.t.Helper()
	p := &process{t: m.t, name: "dbfs " + args[0], cmd: m.command(args...), says: &output{more: make(chan struct{}, 1)}, ended: make(chan struct{})}
	p.cmd.Env = append(p.cmd.Env, env...)
	p.cmd.Stdout, p.cmd.Stderr = p.says, p.says
	if err := p.cmd.Start(); err != nil {
		m.t.Fatal(err)
	}
	go func() {
		defer close(p.ended)
		p.cmd.Wait()
	}()
	m.t.Cleanup(func() {
		killed := p.killed
		p.kill()
		if m.t.Failed() && !killed {
			m.t.Logf("%s said last:\n%s", p.name, p.says.tail(4000))
		}
	})
	return p
}

func (p *process) await(word *regexp.Regexp) []string {
	p.t.Helper()
	found := p.awaitOrEnd(word)
	if found == nil {
		p.t.Fatalf("%s ended before it was ready:\n%s", p.name, p.says.tail(4000))
	}
	return found
}

// awaitOrEnd is await for a process that may end before; nil: it has.
func (p *process) awaitOrEnd(word *regexp.Regexp) []string {
	p.t.Helper()
	deadline := time.After(patience)
	for {
		if found := word.FindStringSubmatch(p.says.tail(1 << 20)); found != nil {
			return found
		}
		select {
		case <-p.says.more:
		case <-p.ended:
			return nil
		case <-deadline:
			p.t.Fatalf("%s is not ready:\n%s", p.name, p.says.tail(4000))
		}
	}
}

// kill ends the process with SIGKILL, and returns when it is gone.
func (p *process) kill() {
	p.killed = true
	p.cmd.Process.Kill()
	<-p.ended
}

func (p *process) running() bool {
	select {
	case <-p.ended:
		return false
	default:
		return true
	}
}

func (p *process) pid() int { return p.cmd.Process.Pid }

// An output collects what a process prints.
type output struct {
	more chan struct{} // cap 1

	mu   sync.Mutex // guards what follows
	text []byte
}

func (o *output) Write(b []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.text = append(o.text, b...)
	select {
	case o.more <- struct{}{}:
	default:
	}
	return len(b), nil
}

func (o *output) tail(n int) string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return string(o.text[max(0, len(o.text)-n):])
}

// A served is "dbfs serve" on a machine, at an address that stays.
type served struct {
	*process
	m     *machine
	url   string
	token string   // of the administrator
	env   []string // of every start after the first
}

func (m *machine) serve() *served {
	m.t.Helper()
	s := &served{m: m}
	var said []string
	s.process, said = m.start(`serving at (\S+)\nadmin token (\S+)`, "serve", "--data", m.path("data"), "--listen", "127.0.0.1:0")
	s.url, s.token = said[1], said[2]
	return s
}

// again starts a server that was killed.
func (s *served) again() {
	s.t.Helper()
	s.doomed()
	s.await(serving)
}

var serving = regexp.MustCompile(`serving at`)

// doomed starts a server that was killed, and does not wait for it. It is told by its environment
// what to fail in.
func (s *served) doomed(env ...string) {
	s.t.Helper()
	s.process = s.m.launch(append(env, s.env...), "serve", "--data", s.m.path("data"), "--listen", strings.TrimPrefix(s.url, "http://"))
}

// session returns the server as a fresh device sees it.
func (s *served) session() remoteSession {
	s.t.Helper()
	login, err := remote.NewClient(s.url, "", nil).Login(within(s.t, patience), s.token, "inspector", 0)
	if err != nil {
		s.t.Fatal(err)
	}
	client := remote.NewClient(s.url, login.Token, nil)
	return remoteSession{client, remote.NewChunks(client, nil)}
}

// A drive is "dbfs mount" on a machine, as a profile that is logged in.
type drive struct {
	*process
	m       *machine
	profile string
	flags   []string // of the mount, beside those that all have
	control *control.Client
}

// login makes a profile a device of the administrator, at an address of the server.
func (m *machine) login(profile, url, token string) *drive {
	m.t.Helper()
	m.run("login", "--server", url, "--token", token, "--profile", profile, "--device", profile)
	d := &drive{m: m, profile: profile, control: control.NewClient(m.path("run/dbfs/" + profile + ".sock"))}
	m.t.Cleanup(func() {
		d.control.Close()
		unix.Unmount(d.mount(), unix.MNT_DETACH) // whatever is left
	})
	return d
}

func (d *drive) mount() string         { return d.m.path("mount." + d.profile) }
func (d *drive) at(name string) string { return filepath.Join(d.mount(), name) }

// start mounts, also over what a killed daemon left.
func (d *drive) start() {
	d.m.t.Helper()
	d.doomed()
	d.await(mounted)
}

var mounted = regexp.MustCompile(`interrupt to unmount`)

// doomed is start for one that is told by its environment what to fail in, perhaps before it
// has mounted: it does not wait.
func (d *drive) doomed(env ...string) {
	d.m.t.Helper()
	args := []string{"mount", d.mount(), "--profile", d.profile, "--min-free", "1MiB", "--passthrough", "auto"}
	d.process = d.m.launch(env, append(args, d.flags...)...)
}

func (d *drive) status() *control.Status {
	d.m.t.Helper()
	st, err := d.control.Status(within(d.m.t, patience))
	if err != nil {
		d.m.t.Fatal(err)
	}
	return st
}

// sent waits until the server has everything.
func (d *drive) sent() {
	d.m.t.Helper()
	d.m.run("wait", "--profile", d.profile, "--timeout", patience.String())
	var st control.Status
	if err := json.Unmarshal([]byte(d.m.run("status", "--profile", d.profile, "--json")), &st); err != nil || !st.Synced() {
		d.m.t.Fatalf("after a wait the status is %+v, %v", st.Sync, err)
	}
}

// end unmounts in order.
func (d *drive) end() {
	d.m.t.Helper()
	d.m.run("umount", d.mount())
	select {
	case <-d.ended:
	case <-time.After(patience):
		d.m.t.Fatal("the daemon does not end after umount")
	}
}

// sameTrees compares two mounts, every byte, as soon as they are the same.
func sameTrees(t *testing.T, a, b *drive) {
	t.Helper()
	var diff string
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		got, err := walk(b.mount())
		want, err2 := walk(a.mount())
		if err = errors.Join(err, err2); err != nil {
			diff = err.Error()
		} else if diff = compare(got, want); diff == "" {
			return
		}
	}
	t.Fatalf("%s shows another tree than %s (\"server\"):\n%s%s", b.profile, a.profile, diff, mixtures(a, b))
}

// mixtures tells of the files at the top of mounts, as a ledger writes them, that are mixtures.
func mixtures(drives ...*drive) string {
	var all strings.Builder
	for _, d := range drives {
		names, _ := filepath.Glob(d.at("file?"))
		for _, name := range names {
			b, err := os.ReadFile(name)
			if err == nil && len(b) > 0 {
				_, err = parse(filepath.Base(name), b)
			}
			if err != nil {
				fmt.Fprintf(&all, "%s: %v\n", name, err)
			}
		}
	}
	return all.String()
}
