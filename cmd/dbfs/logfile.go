package main

import (
	"fmt"
	"os"
	"sync"

	"golang.org/x/sys/unix"
)

// maxLog is the size in bytes at which a log file becomes FILE.1 and a new one begins.
const maxLog = 16 << 20

// logFile is a log that does not grow without end: there are never more than two files.
type logFile struct {
	name string
	max  int64
	std  bool // also take over stdout and stderr, so that a crash is in the log

	mu   sync.Mutex // guards what follows
	f    *os.File
	size int64
}

func openLog(name string, max int64, std bool) (*logFile, error) {
	l := &logFile{name: name, max: max, std: std}
	if err := l.open(); err != nil {
		return nil, err
	}
	return l, nil
}

func (l *logFile) open() error {
	f, err := os.OpenFile(l.name, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return fmt.Errorf("log: %w", err)
	}
	info, err := f.Stat()
	if err != nil {
		f.Close()
		return fmt.Errorf("log: %w", err)
	}
	if l.std {
		unix.Dup2(int(f.Fd()), 1)
		unix.Dup2(int(f.Fd()), 2)
	}
	if l.f != nil {
		l.f.Close()
	}
	l.f, l.size = f, info.Size()
	return nil
}

// Write appends a line. When a new file cannot be had it goes on in the old one.
func (l *logFile) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.size > 0 && l.size+int64(len(b)) > l.max && os.Rename(l.name, l.name+".1") == nil {
		l.open()
	}
	n, err := l.f.Write(b)
	l.size += int64(n)
	return n, err
}
