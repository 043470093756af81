package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/schollz/progressbar/v3"
	"github.com/spf13/cobra"

	"github.com/dbfs/dbfs/remote"
)

// askEvery is how often a collection is asked how far it has got.
const askEvery = 500 * time.Millisecond

func gcCommand(t *tool) *cobra.Command {
	var dry bool
	cmd := &cobra.Command{
		Use: "gc", Short: "Delete chunks that nothing needs, now",
		Long: "Gc forgets versions, log entries and deleted files that are older than the server keeps them, and then\n" +
			"looks for chunks that nothing names any more. Those are condemned, and deleted by a later collection\n" +
			"a week on: until then whoever is behind can read them. A server does all this every day by itself.\n\n" +
			"With --dry-run nothing changes. It says what would be forgotten, condemned and deleted now; what\n" +
			"only forgetting would set free is not counted.",
		Example: "  dbfs admin gc --dry-run\n  dbfs admin gc --json",
		Args:    cobra.NoArgs,
		RunE:    func(cmd *cobra.Command, _ []string) error { return t.gc(cmd.Context(), dry) },
	}
	cmd.Flags().BoolVarP(&dry, "dry-run", "n", false, "change nothing, and say what would be done")
	return cmd
}

func (t *tool) gc(ctx context.Context, dry bool) error {
	client, err := t.server()
	if err != nil {
		return err
	}
	res, err := t.collect(ctx, client, dry)
	if err != nil {
		return err
	}
	if res.Error != "" {
		return fmt.Errorf("the collection ended early: %s", res.Error)
	}
	if t.json {
		return t.printJSON(res)
	}
	t.printCollection(res)
	return nil
}

// collect runs a collection to its end. One that is under way already is waited for instead, if
// it is of the same kind.
func (t *tool) collect(ctx context.Context, c remote.Collecting, dry bool) (remote.Collection, error) {
	res, err := c.StartCollection(ctx, dry)
	if err != nil {
		now, asked := c.Collection(ctx)
		if asked != nil || !now.Running || now.DryRun != dry {
			return res, err
		}
		res = now
	}
	report := t.collectionReport()
	defer report.finish()
	for begun := res.Started; res.Running; {
		report.update(res)
		select {
		case <-ctx.Done():
			return res, context.Cause(ctx)
		case <-time.After(askEvery):
		}
		if res, err = c.Collection(ctx); err != nil {
			return res, err
		}
		if !res.Started.Equal(begun) {
			return res, errors.New("another collection has begun meanwhile; what came of this one is in the server's log")
		}
	}
	return res, nil
}

func (t *tool) printCollection(res remote.Collection) {
	did := func(word string) string {
		if res.DryRun {
			return "would be " + word
		}
		return word
	}
	var tab table
	tab.add(did("forgotten"), fmt.Sprintf("%s, %s, %s",
		count(res.Versions, "version"), count(res.Entries, "log line"), count(res.Nodes, "deleted file")))
	tab.add(did("condemned"), count(res.Condemned, "chunk"), t.size(res.CondemnedBytes))
	tab.add(did("deleted"), count(res.Deleted, "chunk"), t.size(res.DeletedBytes))
	tab.add("waiting", count(res.Waiting, "chunk"), t.size(res.WaitingBytes))
	tab.write(t.out)
}

// collectionReport shows how far a collection has got, on stderr.
type collectionReport interface {
	update(remote.Collection)
	finish()
}

func (t *tool) collectionReport() collectionReport {
	switch {
	case t.progress == "json":
		return collectionLines{func(res remote.Collection) { json.NewEncoder(t.errs).Encode(res) }}
	case t.progress == "plain":
		return collectionLines{func(res remote.Collection) { fmt.Fprintln(t.errs, collectionStep(res)) }}
	case t.progress == "auto" && t.errTerm && !t.json:
		return &collectionBar{progressbar.NewOptions64(remote.CollectionTotal,
			progressbar.OptionSetWriter(t.errs), progressbar.OptionFullWidth(), progressbar.OptionClearOnFinish(),
			progressbar.OptionSetPredictTime(true), progressbar.OptionThrottle(100*time.Millisecond))}
	}
	return collectionLines{func(remote.Collection) {}}
}

// collectionStep says in words what a collection does now.
func collectionStep(res remote.Collection) string {
	if res.Phase == "" {
		return "beginning"
	}
	return fmt.Sprintf("%s: %s, %s, %d %%", res.Phase, count(res.Namespaces, "namespace"), count(res.Chunks, "chunk"), res.Done*100/remote.CollectionTotal)
}

type collectionLines struct{ line func(remote.Collection) }

func (r collectionLines) update(res remote.Collection) { r.line(res) }
func (r collectionLines) finish()                      {}

type collectionBar struct{ bar *progressbar.ProgressBar }

func (r *collectionBar) update(res remote.Collection) {
	r.bar.Describe(collectionStep(res))
	r.bar.Set64(min(res.Done, remote.CollectionTotal-1)) // a full bar would be finished
}

func (r *collectionBar) finish() { r.bar.Finish() }
