// Package opendb opens Badger's databases, also those of a process that died at a bad moment.
package opendb

import (
	"errors"
	"os"
	"path/filepath"
	"strings"

	"github.com/dgraph-io/badger/v4"
)

// emptyLog is what Badger says of such a file; of the error itself it passes on only the text.
const emptyLog = "Create a new file"

// Open is badger.Open. Badger makes a log in two steps, and does not open a database again whose process
// died between them: the log is there, and empty. Nothing was ever in such a file, so it is removed.
func Open(opts badger.Options) (*badger.DB, error) {
	db, err := badger.Open(opts)
	if err == nil || !strings.Contains(err.Error(), emptyLog) {
		return db, err
	}
	if err := removeEmptyLogs(opts.Dir, opts.ValueDir); err != nil {
		return nil, err
	}
	return badger.Open(opts)
}

func removeEmptyLogs(dirs ...string) error {
	var errs []error
	for _, dir := range dirs {
		for _, pattern := range []string{"*.mem", "*.vlog"} {
			names, err := filepath.Glob(filepath.Join(dir, pattern))
			errs = append(errs, err)
			for _, name := range names {
				if info, err := os.Stat(name); err == nil && info.Size() == 0 {
					errs = append(errs, os.Remove(name))
				}
			}
		}
	}
	return errors.Join(errs...)
}
