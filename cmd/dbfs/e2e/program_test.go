package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
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
)

// A machine is a home directory in which the real program runs.
type machine struct {
	t    *testing.T
	home string
}

func newMachine(t *testing.T) *machine {
	t.Helper()
	buildProgram(t)
	return &machine{t, tempDir(t)}
}

func (m *machine) path(name string) string { return filepath.Join(m.home, name) }

func (m *machine) command(args ...string) *exec.Cmd {
	cmd := exec.Command(program.path, args...)
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
// that matched is returned. It is killed at the end of the test if it still runs.
func (m *machine) start(word string, args ...string) (*process, []string) {
	m.t.Helper()
	p := &process{t: m.t, name: "dbfs " + args[0], cmd: m.command(args...), says: &output{more: make(chan struct{}, 1)}, ended: make(chan struct{})}
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
	return p, p.await(regexp.MustCompile(word))
}

func (p *process) await(word *regexp.Regexp) []string {
	p.t.Helper()
	deadline := time.After(patience)
	for {
		if found := word.FindStringSubmatch(p.says.tail(1 << 20)); found != nil {
			return found
		}
		select {
		case <-p.says.more:
		case <-p.ended:
			p.t.Fatalf("%s ended before it was ready:\n%s", p.name, p.says.tail(4000))
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
	token string // of the administrator
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
	s.process, _ = s.m.start(`serving at`, "serve", "--data", s.m.path("data"), "--listen", strings.TrimPrefix(s.url, "http://"))
}

// A drive is "dbfs mount" on a machine, as a profile that is logged in.
type drive struct {
	*process
	m       *machine
	profile string
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
	d.process, _ = d.m.start(`interrupt to unmount`, "mount", d.mount(), "--profile", d.profile, "--min-free", "1MiB")
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
	t.Fatalf("%s shows another tree than %s (\"server\"):\n%s", b.profile, a.profile, diff)
}
