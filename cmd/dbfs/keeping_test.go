package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/dbfs/dbfs"
)

func TestLockNamesItsHolder(t *testing.T) {
	name := filepath.Join(tempDir(t), "lock")
	first, err := takeLock(name, holder{PID: 4711, Profile: "work", Mount: "/mnt/w"})
	if err != nil {
		t.Fatal(err)
	}
	_, err = takeLock(name, holder{PID: 1})
	if want := "already in use: process 4711 has profile work mounted at /mnt/w"; !errors.Is(err, dbfs.ErrLocked) || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
	first.Close()
	second, err := takeLock(name, holder{PID: 2, Profile: "p", Mount: "/"})
	if err != nil {
		t.Fatal("a lock that was let go of:", err)
	}
	defer second.Close()
	// A holder that has not written yet, or was cut off, is still one.
	if err := os.Truncate(name, 3); err != nil {
		t.Fatal(err)
	}
	if _, err := takeLock(name, holder{}); !errors.Is(err, dbfs.ErrLocked) {
		t.Errorf("damaged lock file: %v", err)
	}
}

func TestLogIsBounded(t *testing.T) {
	name := filepath.Join(tempDir(t), "log")
	log, err := openLog(name, 100, false)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 50 {
		fmt.Fprintf(log, "line %02d\n", i)
	}
	log.f.Close()
	now, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	before, err := os.ReadFile(name + ".1")
	if err != nil {
		t.Fatal(err)
	}
	if len(now) > 100 || len(before) > 100 || !strings.HasSuffix(string(now), "line 49\n") {
		t.Errorf("%d and %d bytes, ending %q", len(before), len(now), now)
	}
	if all := string(before) + string(now); !strings.Contains(all, "line 40\n") {
		t.Errorf("a recent line is gone: %q", all)
	}
	again, err := openLog(name, 100, false)
	if err != nil {
		t.Fatal(err)
	}
	defer again.f.Close()
	if again.size != int64(len(now)) {
		t.Errorf("reopened at %d, want %d", again.size, len(now))
	}
}

func TestLoginFile(t *testing.T) {
	file := filepath.Join(tempDir(t), "p", "token")
	if _, err := readLogin(file); !errors.Is(err, dbfs.ErrNotExist) {
		t.Errorf("no file: %v", err)
	}
	want := savedLogin{Version: 1, Server: "https://h", Account: "ana", Device: 7, Name: "laptop", Token: "t"}
	if err := want.write(file); err != nil {
		t.Fatal(err)
	}
	if got, err := readLogin(file); got != want || err != nil {
		t.Errorf("got %+v, %v; want %+v", got, err, want)
	}
	if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	damaged := map[string]error{
		"": dbfs.ErrCorrupt, "{": dbfs.ErrCorrupt, "{}": dbfs.ErrCorrupt, `{"version":1}`: dbfs.ErrCorrupt,
		`{"version":1,"server":"s","device":"7"}`: dbfs.ErrCorrupt,
		`{"version":2,"server":"s"}`:              dbfs.ErrVersion,
	}
	for text, want := range damaged {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := readLogin(file); !errors.Is(err, want) {
			t.Errorf("%q: %v, want %v", text, err, want)
		}
	}
	if err := os.Chmod(file, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := readLogin(file); !errors.Is(err, dbfs.ErrForbidden) {
		t.Errorf("a token that others may read: %v", err)
	}
}

func TestLastError(t *testing.T) {
	name := filepath.Join(tempDir(t), "log")
	text := "time=1 level=ERROR msg=old\ntime=2 level=INFO msg=x\ntime=3 level=ERROR msg=new\ntime=4 level=INFO msg=bye\n"
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	begin := int64(strings.Index(text, "time=2"))
	if got, want := lastError(name, begin), ": time=3 level=ERROR msg=new"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if got := lastError(name, int64(len(text))); got != "" {
		t.Errorf("nothing new: %q", got)
	}
	if got := lastError(name+"x", 0); got != "" {
		t.Errorf("no log: %q", got)
	}
}
