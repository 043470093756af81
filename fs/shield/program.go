package shield

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// A Program is what asked for bytes: a process, as it was then.
type Program struct {
	PID     int    // 0: it cannot be seen from here, as from another container
	Name    string // of the file that it runs, or what it calls itself
	Command string // its arguments, joined by blanks; at most maxCommand bytes
	Idle    bool   // it has said that it can wait: by nice 19, SCHED_IDLE or the idle class of I/O
	Screen  bool   // it has a terminal: somebody may look at what it says
}

const maxCommand = 200

// unseen is a program of which nothing is known.
var unseen = Program{Name: "unknown"}

// ProgramOf returns the program that a thread belongs to.
func ProgramOf(tid int) Program {
	if tid <= 0 {
		return unseen
	}
	proc := fmt.Sprintf("/proc/%d/", tid)
	status, err := os.ReadFile(proc + "status")
	if err != nil {
		return unseen
	}
	p := Program{PID: tid}
	for line := range strings.Lines(string(status)) {
		switch key, value, _ := strings.Cut(strings.TrimSpace(line), ":\t"); key {
		case "Name":
			p.Name = value
		case "Tgid":
			p.PID, _ = strconv.Atoi(value)
		}
	}
	if exe, err := os.Readlink(proc + "exe"); err == nil {
		if base := filepath.Base(strings.TrimSuffix(exe, " (deleted)")); !isInterpreter(base) {
			p.Name = base
		} else if comm, err := os.ReadFile(fmt.Sprintf("/proc/%d/comm", p.PID)); err == nil { // the name of the script
			p.Name = strings.TrimSpace(string(comm))
		}
	}
	args, _ := os.ReadFile(proc + "cmdline")
	p.Command = string(bytes.ReplaceAll(bytes.TrimRight(args, "\x00"), []byte{0}, []byte{' '}))
	p.Command = strings.ToValidUTF8(p.Command[:min(len(p.Command), maxCommand)], "")
	if args := strings.Fields(p.Command); len(args) > 1 && strings.HasPrefix(p.Name, "kio") && strings.HasSuffix(args[1], ".so") {
		p.Name = filepath.Base(args[1]) // KDE's workers are one program, which copies files for people, too
	}
	stat, _ := os.ReadFile(proc + "stat")
	p.scheduling(string(stat))
	p.Idle = p.Idle || idleIO(tid)
	return p
}

// isInterpreter reports whether a program is known by the name that it was started by.
func isInterpreter(name string) bool {
	for _, i := range []string{"python", "perl", "ruby", "node", "bash", "dash", "sh", "zsh", "busybox", "coreutils", "java"} {
		if strings.TrimRight(name, "0123456789.") == i {
			return true
		}
	}
	return false
}

// scheduling reads what /proc/PID/stat says of terminal, nice value and policy, which are its fields 7, 19 and 41. The second,
// the name in parentheses, may have blanks.
func (p *Program) scheduling(stat string) {
	f := strings.Fields(stat[strings.LastIndexByte(stat, ')')+1:])
	if len(f) < 39 {
		return
	}
	p.Screen = f[7-3] != "0"
	p.Idle = f[19-3] == "19" || f[41-3] == strconv.Itoa(unix.SCHED_IDLE)
}

// idleIO reports whether a thread is in the idle class of ioprio_set(2).
func idleIO(tid int) bool {
	const whoProcess, classShift, classIdle = 1, 13, 3
	prio, _, errno := unix.Syscall(unix.SYS_IOPRIO_GET, whoProcess, uintptr(tid), 0)
	return errno == 0 && prio>>classShift == classIdle
}
