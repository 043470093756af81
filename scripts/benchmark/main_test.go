package main

import (
	"errors"
	"os"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/dbfs/dbfs/scripts/benchmark/work"
)

// TestMain lets the test binary be a worker, too.
func TestMain(m *testing.M) {
	if len(os.Args) == 2 && os.Args[1] == workerArg {
		serveWorker(os.Stdin, os.Stdout)
		return
	}
	os.Exit(m.Run())
}

func start(t *testing.T, o order) *worker {
	t.Helper()
	w, err := startWorker("/proc/self/exe", nil, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := w.end(); err != nil {
			t.Error(err)
		}
	})
	return w
}

func TestWorker(t *testing.T) {
	w := start(t, order{"create", work.Task{Dir: t.TempDir(), Files: 10}})
	for i, want := range []answer{{Ready: true}, {Ran: true}, {Ready: true}} {
		if i == 1 {
			if err := w.in.Encode("go"); err != nil {
				t.Fatal(err)
			}
		}
		got, err := w.hear(t.Context(), time.Minute, "test")
		if err != nil || got.Ready != want.Ready || got.Ran != want.Ran || got.Ran != (got.Seconds > 0) {
			t.Fatalf("answer %d is %+v, %v; want %+v", i, got, err, want)
		}
	}
}

func TestWorkerFails(t *testing.T) {
	file := t.TempDir() + "/file"
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for name, o := range map[string]order{"no workload": {"nothing", work.Task{}}, "not a directory": {"create", work.Task{Dir: file, Files: 1}}} {
		w := start(t, o)
		if _, err := w.hear(t.Context(), time.Minute, "test"); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%v is answered with %v", o, err)
		}
	}
}

// TestWorkerIsLate gives a run less time than it needs, and wants its process gone.
func TestWorkerIsLate(t *testing.T) {
	w := start(t, order{"change", work.Task{Dir: t.TempDir(), Other: t.TempDir(), Changes: 1, Patience: time.Minute}})
	if _, err := w.hear(t.Context(), time.Minute, "prepare"); err != nil {
		t.Fatal(err)
	}
	if err := w.in.Encode("go"); err != nil {
		t.Fatal(err)
	}
	if _, err := w.hear(t.Context(), 50*time.Millisecond, "run"); !errors.Is(err, errLate) {
		t.Errorf("a run that is late is told as %v", err)
	}
	if err := w.end(); err != nil {
		t.Fatal(err)
	}
	if w.cmd.ProcessState == nil {
		t.Error("the process has not ended")
	}
}

func TestFlags(t *testing.T) {
	for _, tt := range []struct {
		args string
		want string // in the error; empty: none
	}{
		{"", ""},
		{"--quick --only dbfs,disk --work create,stat", ""},
		{"--size 64MiB --max-size 1GiB", ""},
		{"--size 5", "whole MiB"},
		{"--size 1.5MiB", "whole MiB"},
		{"--size 17GiB", "whole MiB"},
		{"--runs 0", "--runs 0"},
		{"--files -1", "--files -1"},
		{"--only nothing", "no system"},
		{"--work nothing", "no workload"},
		{"--limit 0s", "limit"},
		{"dbfs", "only flags"},
	} {
		_, err := parse(strings.Fields(tt.args))
		if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
			t.Errorf("%q: %v, want %q", tt.args, err, tt.want)
		}
	}
}

func TestQuickLeavesFlagsAlone(t *testing.T) {
	o, err := parse([]string{"--quick", "--files", "5000"})
	if err != nil {
		t.Fatal(err)
	}
	if o.files != 5000 || o.runs != 1 || o.size != 64<<20 {
		t.Errorf("files %d, runs %d, size %v", o.files, o.runs, o.size)
	}
}

func TestNamesStandForAllThatBeginSo(t *testing.T) {
	o, err := parse([]string{"--work", "stat,sqlite"})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, w := range o.workloads() {
		got = append(got, w.Name)
	}
	if want := []string{"stat-dropped", "stat-warm", "sqlite"}; !reflect.DeepEqual(got, want) {
		t.Errorf("workloads %v, want %v", got, want)
	}
}

func TestSteps(t *testing.T) {
	for _, tt := range []struct {
		first, times, most int64
		want               []int64
	}{
		{1000, 10, 1_000_000, []int64{1000, 10_000, 100_000, 1_000_000}},
		{1 << 20, 4, 100 << 20, []int64{1 << 20, 4 << 20, 16 << 20, 64 << 20}},
		{1000, 10, 999, nil},
	} {
		if got := steps(tt.first, tt.times, tt.most); !reflect.DeepEqual(got, tt.want) {
			t.Errorf("steps(%d, %d, %d) = %v, want %v", tt.first, tt.times, tt.most, got, tt.want)
		}
	}
}

func TestCommandIsShownWithoutDirectories(t *testing.T) {
	got := visibleArgs([]string{"--quick", "--scratch=/x", "--tools=/y", "--runs", "1", "--objects=/z"})
	if want := []string{"--quick", "--runs", "1"}; !reflect.DeepEqual(got, want) {
		t.Errorf("shown as %v, want %v", got, want)
	}
}
