package main

import (
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// A screen tells how far the benchmark is: in lines, and on a terminal with what
// it does now in a last line that is written over.
type screen struct {
	out      *os.File
	terminal bool
	start    time.Time
}

func newScreen(out *os.File) *screen {
	_, err := unix.IoctlGetTermios(int(out.Fd()), unix.TCGETS)
	return &screen{out: out, terminal: err == nil, start: time.Now()}
}

// say writes a line that stays.
func (s *screen) say(format string, args ...any) {
	s.wipe()
	fmt.Fprintf(s.out, format+"\n", args...)
}

// step shows what is done now.
func (s *screen) step(format string, args ...any) {
	if !s.terminal {
		return
	}
	s.wipe()
	fmt.Fprintf(s.out, "[%v] "+format+" …", append([]any{time.Since(s.start).Round(time.Second)}, args...)...)
}

func (s *screen) wipe() {
	if s.terminal {
		fmt.Fprint(s.out, "\r\x1b[K")
	}
}
