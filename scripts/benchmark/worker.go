package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"syscall"
	"time"

	"github.com/dbfs/dbfs/scripts/benchmark/report"
	"github.com/dbfs/dbfs/scripts/benchmark/work"
)

// A workload runs in a process of its own, which can be ended when it takes too long, which holds
// no file open while a drive is remounted, and which may be another user's. It is told what to do
// in one line of JSON on standard input, and answers on standard output:
//
//	order                   the workload and its task
//	         {"ready":true}    it is prepared
//	go                      the run begins
//	         {"seconds":…}     it has ended, and is checked
//
// An answer with an error is the last one.
const workerArg = "worker"

type order struct {
	Work string    `json:"work"`
	Task work.Task `json:"task"`
}

type answer struct {
	Ready   bool      `json:"ready,omitempty"`
	Ran     bool      `json:"ran,omitempty"` // and is checked now
	Seconds float64   `json:"seconds,omitempty"`
	Samples []float64 `json:"samples,omitempty"`
	Error   string    `json:"error,omitempty"`
}

// serveWorker is the process.
func serveWorker(in io.Reader, out io.Writer) {
	enc := json.NewEncoder(out)
	if err := runWorker(json.NewDecoder(in), enc); err != nil {
		enc.Encode(answer{Error: err.Error()})
	}
}

func runWorker(in *json.Decoder, out *json.Encoder) error {
	var o order
	if err := in.Decode(&o); err != nil {
		return fmt.Errorf("order: %w", err)
	}
	w, err := work.Find(o.Work)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(o.Task.Dir, 0o755); err != nil {
		return err
	}
	if err := w.Setup(o.Task); err != nil {
		return fmt.Errorf("prepare: %w", err)
	}
	if err := out.Encode(answer{Ready: true}); err != nil {
		return err
	}
	var signal string
	if err := in.Decode(&signal); err != nil {
		return fmt.Errorf("signal: %w", err)
	}
	var m work.Meter
	start := time.Now()
	err = w.Run(o.Task, &m)
	took := time.Since(start)
	if err != nil {
		return err
	}
	a := answer{Ran: true, Seconds: took.Seconds()}
	for _, d := range m.Samples {
		a.Samples = append(a.Samples, d.Seconds())
	}
	if len(a.Samples) > 0 {
		a.Seconds = report.Median(a.Samples)
	}
	if err := out.Encode(a); err != nil {
		return err
	}
	if w.Check != nil {
		if err := w.Check(o.Task); err != nil {
			return fmt.Errorf("wrong result: %w", err)
		}
	}
	return out.Encode(answer{Ready: true})
}

// errLate says that a worker took too long, errStuck that it could not even be ended.
var (
	errLate  = errors.New("not finished")
	errStuck = errors.New("its requests to the drive never return")
)

// A worker is the process as the benchmark sees it.
type worker struct {
	cmd  *exec.Cmd
	in   *json.Encoder
	out  chan answer // closed at its end
	done chan struct{}
}

func startWorker(program string, who *syscall.Credential, o order) (*worker, error) {
	cmd := exec.Command(program, workerArg)
	cmd.Dir = "/"
	cmd.Stderr = os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Credential: who}
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	w := &worker{cmd: cmd, in: json.NewEncoder(in), out: make(chan answer, 4), done: make(chan struct{})}
	go func() {
		defer close(w.done)
		defer close(w.out)
		dec := json.NewDecoder(out)
		for range cap(w.out) { // a worker has no more to say
			var a answer
			if dec.Decode(&a) != nil {
				break
			}
			w.out <- a
		}
		cmd.Wait()
	}()
	return w, w.in.Encode(o)
}

// hear waits for the next answer.
func (w *worker) hear(ctx context.Context, limit time.Duration, doing string) (answer, error) {
	select {
	case a, ok := <-w.out:
		if !ok {
			return a, fmt.Errorf("%s: the process ended", doing)
		}
		if a.Error != "" {
			return a, errors.New(a.Error)
		}
		return a, nil
	case <-time.After(limit):
		return answer{}, fmt.Errorf("%s: %w within %v", doing, errLate, limit)
	case <-ctx.Done():
		return answer{}, context.Cause(ctx)
	}
}

// end ends the process and what it has started. It returns errStuck when that does not help: then the
// drive must be ended first, and it ends by itself.
func (w *worker) end() error {
	select {
	case <-w.done:
		return nil
	default:
	}
	syscall.Kill(-w.cmd.Process.Pid, syscall.SIGKILL)
	select {
	case <-w.done:
		return nil
	case <-time.After(20 * time.Second):
		return errStuck
	}
}
