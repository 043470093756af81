package fs

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// What has to be done by another process, as another user or with memory maps, is done by
// this test binary, started anew with the name of one of the children: a page fault of the
// process that serves the mount could wait for itself.

const (
	childVar = "DBFS_TEST_CHILD"
	userVar  = "DBFS_TEST_USER" // who the child is to be: user and group; not set: nobody else
)

var children = map[string]func(args []string) error{
	"append": func(args []string) error { // file, times, text
		f, err := os.OpenFile(args[0], os.O_WRONLY|os.O_APPEND, 0)
		if err != nil {
			return err
		}
		times, _ := strconv.Atoi(args[1])
		for range times {
			if _, err := f.WriteString(args[2]); err != nil {
				return err
			}
		}
		return f.Close()
	},
	"read": func(args []string) error { // path
		_, err := os.ReadFile(args[0])
		return err
	},
	"mknod": func(args []string) error { // path
		return unix.Mknod(args[0], unix.S_IFCHR|0o666, int(unix.Mkdev(1, 3)))
	},
	"lock": func(args []string) error { // file
		f, err := os.OpenFile(args[0], os.O_RDWR, 0)
		if err != nil {
			return err
		}
		return unix.FcntlFlock(f.Fd(), unix.F_SETLK, &unix.Flock_t{Type: unix.F_WRLCK})
	},
	"flock": func(args []string) error { // file
		f, err := os.OpenFile(args[0], os.O_RDWR, 0)
		if err != nil {
			return err
		}
		return unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	},
	"map": func(args []string) error { // file, offset, text, how
		flags := map[string]int{"shared": unix.MAP_SHARED, "private": unix.MAP_PRIVATE, "closed": unix.MAP_SHARED}[args[3]]
		f, err := os.OpenFile(args[0], os.O_RDWR, 0)
		if err != nil {
			return err
		}
		st, err := f.Stat()
		if err != nil {
			return err
		}
		m, err := unix.Mmap(int(f.Fd()), 0, int(st.Size()), unix.PROT_READ|unix.PROT_WRITE, flags)
		if err != nil {
			return err
		}
		if args[3] == "closed" {
			if err := f.Close(); err != nil {
				return err
			}
		}
		off, _ := strconv.Atoi(args[1])
		copy(m[off:], args[2])
		if !bytes.HasPrefix(m[off:], []byte(args[2])) {
			return errors.New("the map does not show what was written to it")
		}
		if args[3] == "shared" {
			if err := unix.Msync(m, unix.MS_SYNC); err != nil {
				return err
			}
		}
		return unix.Munmap(m)
	},
	"hold": holdMap, // file, how
	"write": func(args []string) error { // file, text
		f, err := os.OpenFile(args[0], os.O_WRONLY, 0)
		if err != nil {
			return err
		}
		if _, err := f.WriteString(args[1]); err != nil {
			return err
		}
		return f.Close()
	},
	"truncate": func(args []string) error { return os.Truncate(args[0], 1) },
	"create": func(args []string) error { // file
		f, err := os.OpenFile(args[0], os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o664)
		if err != nil {
			return err
		}
		return f.Close()
	},
	"mkdir": func(args []string) error { return os.Mkdir(args[0], 0o775) },
	"chgrp": func(args []string) error { // file, group
		gid, _ := strconv.Atoi(args[1])
		return os.Chown(args[0], -1, gid)
	},
}

func TestMain(m *testing.M) {
	name := os.Getenv(childVar)
	if name == "" {
		os.Exit(m.Run())
	}
	err := becomeUser(os.Getenv(userVar))
	if err == nil {
		err = children[name](os.Args[1:])
	}
	if err != nil {
		fmt.Println(err)
		var errno syscall.Errno
		if errors.As(err, &errno) {
			os.Exit(int(errno))
		}
		os.Exit(255)
	}
}

func becomeUser(id string) error {
	if id == "" {
		return nil
	}
	n, err := strconv.Atoi(id)
	return cmp.Or(err, syscall.Setgroups([]int{n}), syscall.Setgid(n), syscall.Setuid(n))
}

// child runs one of the children and returns the errno that it ended with, or nil.
func child(t testing.TB, name string, args ...string) error {
	t.Helper()
	return childAs(t, os.Geteuid(), name, args...)
}

// childAs is child as another user, in a group of the same number and no other.
func childAs(t testing.TB, user int, name string, args ...string) error {
	t.Helper()
	if children[name] == nil {
		t.Fatalf("there is no child %q", name)
	}
	cmd := exec.Command("/proc/self/exe", args...)
	cmd.Env = append(os.Environ(), childVar+"="+name)
	if user != os.Geteuid() {
		cmd.Env = append(cmd.Env, userVar+"="+strconv.Itoa(user))
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &exit) && exit.ExitCode() > 0 && exit.ExitCode() < 255:
		return syscall.Errno(exit.ExitCode())
	}
	t.Fatalf("child %s %v: %v\n%s", name, args, err, out)
	return nil
}
