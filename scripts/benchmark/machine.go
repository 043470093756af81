package main

import (
	"os"
	"runtime"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/dbfs/dbfs/scripts/benchmark/drive"
	"github.com/dbfs/dbfs/scripts/benchmark/report"
)

// thisMachine describes where everything is measured.
func thisMachine(dir string) report.Machine {
	m := report.Machine{CPU: field("/proc/cpuinfo", "model name"), Cores: runtime.NumCPU(), Go: runtime.Version(), Disk: drive.FileSystem(dir)}
	if kib, _, _ := strings.Cut(field("/proc/meminfo", "MemTotal"), " "); kib != "" {
		n, _ := strconv.ParseInt(kib, 10, 64)
		m.Bytes = n << 10
	}
	var name unix.Utsname
	if unix.Uname(&name) == nil {
		m.Kernel = unix.ByteSliceToString(name.Release[:])
	}
	if b, err := os.ReadFile("/proc/loadavg"); err == nil {
		first, _, _ := strings.Cut(string(b), " ")
		m.Load, _ = strconv.ParseFloat(first, 64)
	}
	return m
}

// field reads "key : value" from one of the kernel's files.
func field(file, key string) string {
	b, err := os.ReadFile(file)
	if err != nil {
		return ""
	}
	for line := range strings.Lines(string(b)) {
		k, v, ok := strings.Cut(line, ":")
		if ok && strings.TrimSpace(k) == key {
			return strings.TrimSpace(v)
		}
	}
	return ""
}
