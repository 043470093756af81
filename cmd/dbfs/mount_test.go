package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// A desk is a machine's user: processes of the real program in a home of its own.
type desk struct {
	t    *testing.T
	home string
}

func newDesk(t *testing.T) *desk {
	if os.Geteuid() != 0 {
		t.Skip("needs root, to mount without a helper")
	}
	if _, err := os.Stat("/dev/fuse"); err != nil {
		t.Skip("needs /dev/fuse:", err)
	}
	d := &desk{t, tempDir(t)}
	t.Cleanup(func() {
		mounts, err := listMounts()
		if err != nil {
			t.Error(err)
		}
		for _, m := range mounts {
			if _, ours := within(d.home, m.dir); ours {
				t.Errorf("%s was left mounted", m.dir)
				detach(m)
			}
		}
	})
	return d
}

func (d *desk) path(name string) string { return filepath.Join(d.home, name) }

func (d *desk) command(args ...string) *exec.Cmd {
	exe, err := os.Executable()
	if err != nil {
		d.t.Fatal(err)
	}
	cmd := exec.Command(exe, args...)
	cmd.Dir = d.home
	cmd.Env = []string{asTool + "=1", "GORACE=atexit_sleep_ms=0", "HOME=" + d.home, "PATH=" + os.Getenv("PATH"), "XDG_RUNTIME_DIR=" + d.path("run")}
	return cmd
}

// do runs a command line and returns stdout, stderr and the exit code.
func (d *desk) do(args ...string) (stdout, stderr string, code int) {
	d.t.Helper()
	cmd := d.command(args...)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	if err != nil && cmd.ProcessState == nil {
		d.t.Fatal(err)
	}
	return out.String(), errs.String(), cmd.ProcessState.ExitCode()
}

// must runs a command line that has to succeed.
func (d *desk) must(args ...string) string {
	d.t.Helper()
	out, errs, code := d.do(args...)
	if code != 0 {
		d.t.Fatalf("dbfs %s: exit %d\n%s%s", strings.Join(args, " "), code, out, errs)
	}
	return out
}

// mounted runs mount -d and returns the daemon's pid.
func (d *desk) mounted(args ...string) int {
	d.t.Helper()
	var reply mountReply
	out := d.must(append([]string{"mount", "-d", "--json"}, args...)...)
	if err := json.Unmarshal([]byte(out), &reply); err != nil || reply.PID == 0 {
		d.t.Fatalf("mount -d --json: %q, %v", out, err)
	}
	return reply.PID
}

// gone waits until a process has ended. It is not our child, so it has a pidfd.
func (d *desk) gone(pidfd int) {
	d.t.Helper()
	if err := awaitExit(d.t.Context(), pidfd, 0); err != nil {
		d.t.Fatal(err)
	}
	unix.Close(pidfd)
}

func pidfdOf(t *testing.T, pid int) int {
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		t.Fatalf("process %d: %v", pid, err)
	}
	return fd
}

func isMounted(t *testing.T, dir string) bool {
	t.Helper()
	mounts, err := listMounts()
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range mounts {
		if m.dir == dir {
			return true
		}
	}
	return false
}

func TestMountInTheBackground(t *testing.T) {
	d := newDesk(t)
	out := d.must("mount", "drive", "-d")
	if want := "mounted at " + d.path("drive") + "\n"; out != want {
		t.Errorf("got %q, want %q", out, want)
	}
	if b, err := os.ReadFile(d.path("drive/file")); string(b) != "hello\n" {
		t.Errorf("read through the mount: %q, %v", b, err)
	}

	// Every command finds the profile by the path; "default" is not needed.
	if out := d.must("status", "--json"); !strings.Contains(out, d.path("drive")) {
		t.Errorf("status: %s", out)
	}

	_, errs, code := d.do("mount", "other", "-d")
	if code != 11 || !strings.Contains(errs, "has profile default mounted at "+d.path("drive")) || !strings.Contains(errs, "process ") {
		t.Errorf("second daemon: exit %d, %s", code, errs)
	}
	_, errs, code = d.do("mount", "other", "--state-dir", "other-state")
	if code != 11 {
		t.Errorf("second daemon with another state directory: exit %d, %s", code, errs)
	}
	_, errs, code = d.do("mount", "drive", "-d", "--profile", "work")
	if code != 6 || !strings.Contains(errs, "profile default is mounted at") {
		t.Errorf("two profiles at one place: exit %d, %s", code, errs)
	}

	d.must("umount", "drive")
	if isMounted(t, d.path("drive")) {
		t.Error("still mounted after umount")
	}
	if _, _, code := d.do("status"); code != 5 {
		t.Errorf("status after umount: exit %d, want 5", code)
	}
	// The process has ended when umount returns, so the profile is free again.
	d.mounted("drive")
	d.must("umount")
}

func TestProfilesByPath(t *testing.T) {
	d := newDesk(t)
	d.mounted("a", "--profile", "a")
	d.mounted("b", "--profile", "b", "--state-dir", "sb", "--cache-dir", "cb")
	for _, name := range []string{"a", "b"} {
		// The fake knows no files, so its answer says which daemon was asked.
		if _, errs, _ := d.do("filestatus", name+"/file"); !strings.Contains(errs, "/file") || strings.Contains(errs, "daemon") {
			t.Errorf("filestatus of a path in %s: %s", name, errs)
		}
		if out := d.must("wait", name+"/file", "--json"); !strings.Contains(out, "namespaces") {
			t.Errorf("wait for a path in %s: %s", name, out)
		}
	}
	d.must("umount", "b")
	if !isMounted(t, d.path("a")) || isMounted(t, d.path("b")) {
		t.Error("umount took the wrong one")
	}
	d.must("umount", "a")
	if _, err := os.Stat(d.path("sb/lock")); err != nil {
		t.Error("--state-dir was not used:", err)
	}
}

func TestMountFailures(t *testing.T) {
	d := newDesk(t)
	if err := os.WriteFile(d.path("plain"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(d.path("full/dir"), 0o755); err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		args []string
		code int
		says string
	}{
		{[]string{"m", "--profile", "broken"}, 10, "open state: damaged data: bad block\n  next: restore it"},
		{[]string{"m", "--profile", "panics"}, 5, "it ended before it was ready: panic: out of luck"},
		{[]string{"plain"}, 1, "not a directory"},
		{[]string{"full"}, 1, "--nonempty"},
		{[]string{".local/state/dbfs/default/m"}, 2, "one inside the other"},
		{[]string{"m", "--server", "https://h", "--profile", "new"}, 7, "dbfs login --server https://h --token TOKEN --profile new"},
		{[]string{"m", "--log-level", "loud"}, 2, "log-level"},
	}
	for _, test := range tests {
		_, errs, code := d.do(append([]string{"mount", "-d"}, test.args...)...)
		if code != test.code || !strings.Contains(errs, test.says) {
			t.Errorf("mount -d %v: exit %d, want %d and %q\n%s", test.args, code, test.code, test.says, errs)
		}
	}
	d.mounted("full", "--nonempty")
	d.must("umount", "full")
}

func TestDeadDaemonsMountIsRemoved(t *testing.T) {
	for _, how := range []string{"by umount", "by mount"} {
		t.Run(how, func(t *testing.T) {
			d := newDesk(t)
			pid := d.mounted("drive")
			fd := pidfdOf(t, pid)
			syscall.Kill(pid, syscall.SIGKILL)
			d.gone(fd)
			if !isMounted(t, d.path("drive")) {
				t.Fatal("the mount went with its daemon: nothing is tested")
			}
			if how == "by mount" {
				d.mounted("drive")
				if _, err := os.ReadFile(d.path("drive/file")); err != nil {
					t.Error(err)
				}
			}
			d.must("umount", "drive")
		})
	}
}

func TestHangingDaemonNeedsForce(t *testing.T) {
	d := newDesk(t)
	pid := d.mounted("drive")
	fd := pidfdOf(t, pid)
	// The socket goes away, the process and its lock do not: for the tool it is silent.
	if err := os.Remove(d.path("run/dbfs/default.sock")); err != nil {
		t.Fatal(err)
	}
	if _, errs, code := d.do("umount", "drive"); code != 6 || !strings.Contains(errs, "--force") {
		t.Errorf("umount: exit %d, %s", code, errs)
	}
	d.must("umount", "--force", "drive")
	syscall.Kill(pid, syscall.SIGKILL)
	d.gone(fd)
}

func TestSignalsUnmount(t *testing.T) {
	d := newDesk(t)
	cmd := d.command("mount", "drive")
	var errs bytes.Buffer
	cmd.Stderr = &errs
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	waitFor(t, func() bool { _, err := os.Stat(d.path("drive/file")); return err == nil })
	cmd.Process.Signal(syscall.SIGTERM)
	if err := cmd.Wait(); err != nil {
		t.Errorf("after SIGTERM: %v\n%s", err, errs.String())
	}
	if isMounted(t, d.path("drive")) {
		t.Error("still mounted")
	}
}

func waitFor(t *testing.T, cond func() bool) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); !cond(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("waited for nothing")
		}
	}
}

func TestFstabMount(t *testing.T) {
	d := newDesk(t)
	helper := d.path("mount.fuse.dbfs")
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(exe, helper); err != nil {
		t.Fatal(err)
	}
	args, err := fstabArgs([]string{helper, "work", d.path("m"), "-o", "rw,_netdev,nonempty"})
	if err != nil {
		t.Fatal(err)
	}
	d.must(args...)
	if out := d.must("status", "--json", "--profile", "work"); !strings.Contains(out, fmt.Sprintf("%q", d.path("m"))) {
		t.Errorf("status: %s", out)
	}
	d.must("umount", "m")
}

// Two users of a machine both have a profile "default".
func TestOthersMountsAreNotOurs(t *testing.T) {
	ana, bob := newDesk(t), newDesk(t)
	ana.mounted("drive")
	bob.mounted("drive")
	theirs := ana.path("drive")
	if _, errs, code := bob.do("filestatus", theirs+"/file"); code != 4 || !strings.Contains(errs, theirs+"/file") {
		t.Errorf("bob asks for a path in ana's mount: exit %d, %s", code, errs)
	}
	if _, errs, code := bob.do("umount", theirs); code != 4 || !strings.Contains(errs, "is not a dbfs mount") {
		t.Errorf("bob unmounts ana's: exit %d, %s", code, errs)
	}
	bob.must("umount", "drive")
	if _, errs, code := bob.do("mount", "-d", theirs); code != 6 || !strings.Contains(errs, "is mounted at") {
		t.Errorf("bob mounts over ana's: exit %d, %s", code, errs)
	}
	if b, err := os.ReadFile(theirs + "/file"); string(b) != "hello\n" {
		t.Errorf("ana's mount afterwards: %q, %v", b, err)
	}
	ana.must("umount")
}

func TestMountThroughALink(t *testing.T) {
	d := newDesk(t)
	if err := os.MkdirAll(d.path("real/drive"), 0o755); err != nil {
		t.Fatal(err)
	}
	for name, target := range map[string]string{"dir": "real", "drive": "real/drive"} {
		if err := os.Symlink(target, d.path(name)); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"dir/drive", "drive"} {
		d.mounted(name)
		if !isMounted(t, d.path("real/drive")) {
			t.Errorf("%s: not mounted where it leads to", name)
		}
		if _, errs, _ := d.do("filestatus", name+"/file"); !strings.HasSuffix(errs, ": /file\n") {
			t.Errorf("filestatus through %s: %s", name, errs)
		}
		d.must("umount", name)
	}
}

func TestUnsentSize(t *testing.T) {
	for free, want := range map[int64]int64{0: 8 << 30, 10 << 30: 8 << 30, 100 << 30: 50 << 30} {
		if got := unsentSize(free); got != want {
			t.Errorf("with %d bytes free: %d, want %d", free, got, want)
		}
	}
	dir := t.TempDir()
	if here, below := freeAt(dir), freeAt(filepath.Join(dir, "not", "made", "yet")); here <= 0 || below < here/2 || below > here*2 {
		t.Errorf("%d bytes are free in a directory, %d in one below it that is not there yet", here, below)
	}
}
