package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/dbfs/dbfs"
	"github.com/dbfs/dbfs/cmd/dbfs/control"
)

// exitTimeout is how long a daemon that has unmounted may take to end.
const exitTimeout = 30 * time.Second

func umountCommand(t *tool) *cobra.Command {
	var req control.UmountRequest
	cmd := &cobra.Command{
		Use:     "umount [PATH]",
		Aliases: []string{"unmount"},
		Short:   "Take the mount away and end the daemon",
		Long: "Umount stores what is unsent, takes the mount away and returns when the daemon has ended. What is\n" +
			"unsent is sent when the drive is mounted again, or, with --wait, before. A mount whose daemon\n" +
			"died is taken away, too.",
		Example:     "  dbfs umount ~/Dbfs\n  dbfs umount --wait --profile work\n  dbfs umount --force ~/Dbfs   # although programs use it, or it hangs",
		Args:        cobra.MaximumNArgs(1),
		Annotations: map[string]string{byPath: "yes"},
		RunE: func(cmd *cobra.Command, args []string) error {
			return t.umount(cmd.Context(), firstOf(args), req)
		},
	}
	cmd.Flags().BoolVar(&req.Wait, "wait", false, "first send everything")
	cmd.Flags().BoolVar(&req.Force, "force", false, "even from programs that use it")
	return cmd
}

func (t *tool) umount(ctx context.Context, arg string, req control.UmountRequest) error {
	mount, mounted, err := t.mountAt(arg)
	if err != nil {
		return err
	}
	client := t.daemon()
	st, err := client.Status(ctx)
	switch {
	case errors.Is(err, control.ErrNoDaemon) && mounted:
		return t.umountDead(mount, req.Force)
	case err != nil:
		return err
	case arg != "" && !mounted && !sameDir(st.Mount, arg, t):
		return notMounted(arg)
	}
	exited, err := unix.PidfdOpen(st.Version.PID, 0)
	if err != nil {
		return fmt.Errorf("daemon %d: %w", st.Version.PID, err)
	}
	defer unix.Close(exited)
	report := t.progressFor()
	err = client.Umount(ctx, req, func(step control.Progress) error {
		report.update(step)
		return nil
	})
	report.finish()
	if errors.Is(err, dbfs.ErrBusy) && !req.Force {
		return control.WithHint(err, "close the programs that use it, or dbfs umount --force")
	}
	if err != nil {
		return err
	}
	return awaitExit(ctx, exited, st.Version.PID)
}

func notMounted(arg string) error {
	return control.WithPath(fmt.Errorf("%w: %s is not a dbfs mount", dbfs.ErrNotExist, arg), arg)
}

func sameDir(mount, arg string, t *tool) bool {
	dir, err := t.abs(arg)
	return err == nil && dir == mount
}

// mountAt finds the mount that arg names, or without one the profile's own. That there
// is none in this process's view of the machine is no error.
func (t *tool) mountAt(arg string) (m mountPoint, ok bool, err error) {
	mounts, err := t.mounts()
	if err != nil {
		return m, false, err
	}
	dir := ""
	if arg != "" {
		if dir, err = t.abs(arg); err != nil {
			return m, false, err
		}
		dir = realMountPoint(dir, mounts)
	}
	for _, m := range mounts {
		if m.dir == dir || dir == "" && m.profile == t.profile {
			if m.profile != t.profile {
				return m, false, control.Errorf(dbfs.ErrInvalid, "%s belongs to profile %s, not to %s", arg, m.profile, t.profile)
			}
			return m, true, nil
		}
	}
	return m, false, nil
}

// umountDead takes away a mount whose daemon does not answer. One that is dead has let go
// of its lock; one that only hangs is aborted when asked to by force.
func (t *tool) umountDead(m mountPoint, force bool) error {
	lock, err := takeLock(t.places.runLock(t.profile), holder{})
	switch {
	case err == nil:
		lock.Close()
	case !force:
		return control.WithHint(fmt.Errorf("%w: its daemon hangs", dbfs.ErrBusy), fmt.Sprintf("dbfs umount --force %q", m.dir))
	default:
		if err := abortConnection(m); err != nil {
			t.note("%v", err)
		}
	}
	if err := detach(m); err != nil {
		return err
	}
	t.note("the daemon of %s was gone; what it had not sent is sent after the next mount", m.dir)
	return nil
}

// abortConnection makes the kernel fail everything that waits for a FUSE server. Its
// control file system names connections by the minor number of the mount's device.
func abortConnection(m mountPoint) error {
	_, minor, _ := strings.Cut(m.device, ":")
	if err := os.WriteFile(filepath.Join("/sys/fs/fuse/connections", minor, "abort"), []byte("1"), 0); err != nil {
		return fmt.Errorf("abort %s: %w", m.dir, err)
	}
	return nil
}

// dead reports whether nobody serves a mount any more. One that hangs is not dead. It asks for
// the one thing that the kernel never answers by itself: a stat would succeed from its cache.
func dead(m mountPoint) bool {
	gone := make(chan bool, 1)
	go func() {
		var st unix.Statfs_t
		gone <- errors.Is(unix.Statfs(m.dir, &st), unix.ENOTCONN)
	}()
	select {
	case is := <-gone:
		return is
	case <-time.After(statTimeout):
		return false
	}
}

// detach takes a mount out of the tree, now; it ends when nobody uses it any more.
func detach(m mountPoint) error {
	err := unix.Unmount(m.dir, unix.MNT_DETACH)
	if !errors.Is(err, unix.EPERM) {
		if err != nil {
			return fmt.Errorf("unmount %s: %w", m.dir, err)
		}
		return nil
	}
	// Not root: the helper that mounted it for us does it.
	if out, err := exec.Command("fusermount3", "-u", "-z", m.dir).CombinedOutput(); err != nil {
		return fmt.Errorf("unmount %s: %w: %s", m.dir, err, strings.TrimSpace(string(out)))
	}
	return nil
}

// awaitExit waits for a process by its pidfd.
func awaitExit(ctx context.Context, pidfd, pid int) error {
	const slice = 100 * time.Millisecond // how often ctx is looked at
	for deadline := time.Now().Add(exitTimeout); time.Now().Before(deadline) && ctx.Err() == nil; {
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(pidfd), Events: unix.POLLIN}}, int(slice.Milliseconds()))
		if n > 0 {
			return nil
		}
		if err != nil && !errors.Is(err, unix.EINTR) {
			return fmt.Errorf("wait for daemon %d: %w", pid, err)
		}
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	return control.WithHint(fmt.Errorf("%w: the daemon %d has unmounted but not ended", dbfs.ErrBusy, pid),
		fmt.Sprintf("wait a little; if it never ends, \"kill -9 %d\" loses nothing that was closed", pid))
}
