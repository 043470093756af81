package opendb

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/dgraph-io/badger/v4"
)

// A log that its process had no time to begin keeps nobody from what is there.
func TestEmptyLog(t *testing.T) {
	for _, name := range []string{"00009.mem", "000009.vlog"} {
		t.Run(name, func(t *testing.T) {
			opts := badger.DefaultOptions(t.TempDir()).WithLogger(nil)
			db, err := Open(opts)
			if err != nil {
				t.Fatal(err)
			}
			err = db.Update(func(txn *badger.Txn) error { return txn.Set([]byte("k"), []byte("v")) })
			if err != nil {
				t.Fatal(err)
			}
			if err := db.Close(); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(opts.Dir, name), nil, 0o600); err != nil {
				t.Fatal(err)
			}
			if _, err := badger.Open(opts); err == nil {
				t.Fatal("Badger opens it by itself: this package is needless")
			}
			if db, err = Open(opts); err != nil {
				t.Fatal(err)
			}
			defer db.Close()
			err = db.View(func(txn *badger.Txn) error {
				_, err := txn.Get([]byte("k"))
				return err
			})
			if err != nil {
				t.Error(err)
			}
		})
	}
}

// Other errors are Badger's own.
func TestOtherErrors(t *testing.T) {
	opts := badger.DefaultOptions(t.TempDir()).WithLogger(nil)
	db, err := Open(opts)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if _, err := Open(opts); err == nil {
		t.Error("a database was opened twice")
	}
}
