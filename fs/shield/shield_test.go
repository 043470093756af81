package shield

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"syscall"
	"testing"
	"time"

	"github.com/dbfs/dbfs"
	"github.com/dbfs/dbfs/cache"
)

func TestRules(t *testing.T) {
	quiet := Program{PID: 1, Idle: true}
	for _, c := range []struct {
		rules string
		p     Program
		want  verdict
	}{
		{"auto", Program{PID: 1, Name: "cat"}, allowed},
		{"auto", Program{PID: 1, Name: "tumblerd"}, crawler},
		{"auto", Program{PID: 1, Name: "tracker-extract-3"}, crawler},
		{"auto", Program{PID: 1, Name: "gdk-pixbuf-thumbnailer"}, crawler},
		{"auto", Program{PID: 1, Name: "thumbnail.so"}, crawler},
		{"auto", Program{PID: 1, Name: "kioworker"}, allowed},
		{"auto", Program{PID: 1, Name: "restic", Idle: true}, allowed},
		{"auto", Program{PID: 1, Name: "find", Idle: true}, suspect},
		{"auto", Program{PID: 1, Name: "find", Idle: true, Screen: true}, allowed},
		{"auto", Program{Name: "unknown", Idle: true}, allowed},
		{"auto,-tumblerd", Program{PID: 1, Name: "tumblerd"}, allowed},
		{"auto, photo*", Program{PID: 1, Name: "photoprism"}, crawler},
		{"auto,cp", Program{PID: 1, Name: "cp"}, crawler},
		{"-tumblerd,auto", Program{PID: 1, Name: "tumblerd"}, crawler},
		{"find", quiet, allowed},
		{"off", Program{PID: 1, Name: "tumblerd"}, allowed},
		{"off", quiet, allowed},
	} {
		r, err := ParseRules(c.rules)
		if got := r.verdict(&c.p); got != c.want || err != nil {
			t.Errorf("%q says %v of %+v, %v; want %v", c.rules, got, c.p, err, c.want)
		}
	}
	for _, bad := range []string{"", ",", "-", "auto,,x", "a[", "auto,off", "auto,-off"} {
		if _, err := ParseRules(bad); !errors.Is(err, dbfs.ErrInvalid) {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

func TestProgramOf(t *testing.T) {
	if p := ProgramOf(syscall.Gettid()); p.PID != os.Getpid() || p.Name != "shield.test" {
		t.Errorf("this is %+v", p)
	}
	for _, tid := range []int{0, -1, 1 << 30} {
		if p := ProgramOf(tid); p != unseen {
			t.Errorf("%d is %+v", tid, p)
		}
	}
	for _, c := range []struct {
		argv []string
		idle bool
	}{
		{[]string{"sleep", "60"}, false},
		{[]string{"nice", "-n", "40", "sleep", "60"}, true}, // as nice as can be, whatever this is
		{[]string{"ionice", "-c", "3", "sleep", "60"}, true},
		{[]string{"chrt", "--idle", "0", "sleep", "60"}, true},
	} {
		cmd := exec.CommandContext(t.Context(), c.argv[0], c.argv[1:]...)
		cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true} // without a terminal
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		var p Program
		for end := time.Now().Add(5 * time.Second); p.Command != "sleep 60" && time.Now().Before(end); time.Sleep(time.Millisecond) {
			p = ProgramOf(cmd.Process.Pid)
		}
		if p.Name != "sleep" || p.PID != cmd.Process.Pid || p.Command != "sleep 60" || p.Idle != c.idle || p.Screen {
			t.Errorf("%q is %+v", c.argv, p)
		}
		cmd.Process.Kill()
		cmd.Wait()
	}
}

func numbered(i int) (f cache.File) {
	f.Node[0], f.Node[1] = byte(i), byte(i>>8)
	return f
}

func TestRate(t *testing.T) {
	now := time.Unix(1_000_000, 0)
	var r rate
	ask := func(i int, want bool) {
		t.Helper()
		if got := r.exceeds(numbered(i), now); got != want {
			t.Errorf("file %d at %v: refused %v, want %v", i, now, got, want)
		}
	}
	for i := range 10 * rateFiles { // slowly: a few a minute
		ask(i, false)
		now = now.Add(2 * rateWindow / rateFiles)
	}
	now = now.Add(2 * rateWindow)
	for i := range rateFiles {
		ask(i, false)
		ask(i, false) // the next piece of it
	}
	ask(rateFiles, true)
	ask(0, true) // and nothing else any more
	now = now.Add(ratePause - time.Second)
	ask(1, true)
	now = now.Add(2 * time.Second)
	ask(rateFiles, false)
}

func TestBook(t *testing.T) {
	now := time.Unix(1_000_000, 0)
	s := New(Rules{}, func() time.Time { now = now.Add(time.Second); return now }, slog.New(slog.DiscardHandler))
	cat, grep := s.Part("cat", numbered(1)), s.Part("grep", numbered(1))
	cat.Fetched(10)
	grep.Fetched(5)
	cat.Fetched(10)
	if all := s.Causes(); len(all) != 2 || all[0].Program.Name != "cat" || all[0].Bytes != 20 || all[1].Bytes != 5 || !all[0].First.Before(all[0].Last) {
		t.Errorf("causes: %+v", all)
	}
	for i := range 3 * maxCauses / 2 {
		s.Part("many", numbered(10+i)).Fetched(1)
	}
	all := s.Causes()
	if len(all) != maxCauses || all[0].File != numbered(10+3*maxCauses/2-1) || len(s.book.where) != maxCauses {
		t.Errorf("%d causes are remembered, of %v first; want %d", len(all), all[0].File, maxCauses)
	}
	if sums := s.Totals(); len(sums) != 3 || sums[0].Program.Name != "many" || sums[0].Files != 3*maxCauses/2 || sums[1].Bytes != 20 {
		t.Errorf("totals: %+v", sums)
	}
	for i := range 2 * maxTotals {
		s.Part(fmt.Sprint("program", i), numbered(1)).Fetched(1)
	}
	if n := len(s.Totals()); n != maxTotals {
		t.Errorf("%d programs are remembered, want %d", n, maxTotals)
	}
}

// Who is refused is so for reading; what a writer needs of a chunk that it changes comes for everybody.
func TestShieldRefuses(t *testing.T) {
	rules, err := ParseRules("shield.test")
	if err != nil {
		t.Fatal(err)
	}
	s := New(rules, time.Now, slog.New(slog.DiscardHandler))
	if err := s.Thread(syscall.Gettid(), numbered(1), false).May(); !errors.Is(err, dbfs.ErrForbidden) {
		t.Errorf("a crawler reads: %v", err)
	}
	if err := s.Thread(syscall.Gettid(), numbered(1), true).May(); err != nil {
		t.Errorf("it writes: %v", err)
	}
	if err := s.Thread(0, numbered(1), false).May(); err != nil {
		t.Errorf("somebody unseen reads: %v", err)
	}
	if err := s.Part("dbfs pin", numbered(1)).May(); err != nil {
		t.Errorf("a part of dbfs reads: %v", err)
	}
	if sums := s.Totals(); len(sums) != 1 || sums[0].Refused != 1 || sums[0].Files != 1 || sums[0].Bytes != 0 {
		t.Errorf("totals: %+v", sums)
	}
}
