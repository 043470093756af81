// Benchmark measures dbfs side by side with what it is compared with. scripts/bench builds it, gives it an
// S3 server, and clears up after it; --help says what it can do.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"

	"github.com/spf13/pflag"

	"github.com/dbfs/dbfs/scripts/benchmark/drive"
	"github.com/dbfs/dbfs/scripts/benchmark/report"
	"github.com/dbfs/dbfs/scripts/benchmark/work"
)

func main() {
	if len(os.Args) == 2 && os.Args[1] == workerArg {
		serveWorker(os.Stdin, os.Stdout)
		return
	}
	o, err := parse(os.Args[1:])
	switch {
	case errors.Is(err, pflag.ErrHelp):
		return
	case err != nil:
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err = do(ctx, o)
	interrupted := ctx.Err() != nil
	stop()
	if err != nil && !errors.Is(err, context.Canceled) {
		fmt.Fprintln(os.Stderr, "bench:", err)
	}
	switch {
	case interrupted:
		os.Exit(130)
	case err != nil:
		os.Exit(1)
	}
}

func do(ctx context.Context, o *options) error {
	switch {
	case o.list:
		return list()
	case o.from != "":
		r, err := report.Read(o.from)
		if err != nil {
			return err
		}
		return publish(o, r, "bench")
	}
	b, err := newBench(ctx, o)
	if err != nil {
		return err
	}
	name := "bench"
	if o.memory {
		name = "memory"
		err = b.largeTree(ctx)
	} else {
		err = b.all(ctx)
	}
	if ctx.Err() != nil {
		b.results.Cut = true
	}
	if len(b.results.Measures) == 0 && b.results.Memory == nil {
		return err
	}
	return errors.Join(err, publish(o, b.results, name))
}

func list() error {
	fmt.Println("systems:")
	for _, s := range drive.All() {
		fmt.Printf("  %-20s  %s\n", s.Name, s.About)
	}
	fmt.Println("workloads:")
	for _, w := range work.All() {
		fmt.Printf("  %-20s  %s\n", w.Name, w.Title)
	}
	return nil
}

// publish writes results, tables and plots.
func publish(o *options, r *report.Results, name string) error {
	if err := os.MkdirAll(o.out, 0o755); err != nil {
		return err
	}
	kept := filepath.Join(o.out, name+".json")
	if o.from == "" {
		if err := r.Write(kept); err != nil {
			return err
		}
	}
	table := filepath.Join(o.out, name+".md")
	f, err := os.Create(table)
	if err != nil {
		return err
	}
	err = errors.Join(r.Markdown(f), f.Close())
	if err != nil {
		return err
	}
	plots, err := r.Plot(o.out)
	if err != nil {
		return err
	}
	if o.json {
		return r.Encode(os.Stdout)
	}
	if err := r.Markdown(os.Stdout); err != nil {
		return err
	}
	fmt.Fprintf(os.Stderr, "\nwritten: %s %s", table, kept)
	for _, p := range plots {
		fmt.Fprintf(os.Stderr, " %s", p)
	}
	fmt.Fprintln(os.Stderr)
	return nil
}
