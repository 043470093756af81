package dir

import (
	"errors"
	"io"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/dbfs/dbfs"
	"github.com/dbfs/dbfs/remote/chunktest"
)

func open(t *testing.T, dir string) *Store {
	t.Helper()
	s, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func TestObjects(t *testing.T) { chunktest.Objects(t, open(t, t.TempDir())) }

func TestObjectsSurviveAndAddressesDoNot(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	if err := s.Put(t.Context(), "c/00/a", []byte("hello")); err != nil {
		t.Fatal(err)
	}
	old, _, _ := s.SignGet(t.Context(), "c/00/a", time.Minute)
	s = open(t, dir)
	if n, _, err := s.Stat(t.Context(), "c/00/a"); n != 5 || err != nil {
		t.Errorf("after opening again: %d bytes, %v; want 5", n, err)
	}
	w := httptest.NewRecorder()
	s.ServeHTTP(w, httptest.NewRequest("GET", old, nil))
	if w.Code != http.StatusForbidden {
		t.Errorf("address of the earlier process: status %d, want 403", w.Code)
	}
}

func TestNamesStayInside(t *testing.T) {
	s := open(t, t.TempDir())
	for _, name := range []string{"", ".", "..", "/etc/passwd", "../x", "c/../../x", "c//x", "tmp/x"} {
		if err := s.Put(t.Context(), name, []byte("x")); !errors.Is(err, dbfs.ErrInvalid) {
			t.Errorf("put %q: %v, want ErrInvalid", name, err)
		}
		if _, _, err := s.SignPut(t.Context(), name, 1, [32]byte{}, time.Minute); !errors.Is(err, dbfs.ErrInvalid) {
			t.Errorf("sign %q: %v, want ErrInvalid", name, err)
		}
	}
}

// TestBrokenUploadLeavesNothing cuts a body off in the middle.
func TestBrokenUploadLeavesNothing(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	url, _, err := s.SignPut(t.Context(), "c/00/a", 1000, [32]byte{}, time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	r := httptest.NewRequest("PUT", url, io.MultiReader(strings.NewReader("some"), broken{}))
	r.ContentLength = 1000
	w := httptest.NewRecorder()
	s.ServeHTTP(w, r)
	if w.Code != http.StatusServiceUnavailable {
		t.Errorf("status %d, want 503", w.Code)
	}
	if names := files(t, dir); len(names) != 0 {
		t.Errorf("left behind: %q", names)
	}
}

type broken struct{}

func (broken) Read([]byte) (int, error) { return 0, errors.New("connection reset") }

// TestOpenSweepsOldWrites leaves what might still be written by somebody.
func TestOpenSweepsOldWrites(t *testing.T) {
	dir := t.TempDir()
	open(t, dir)
	for _, name := range []string{"old", "new"} {
		if err := os.WriteFile(filepath.Join(dir, tmpDir, name), []byte("x"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	then := time.Now().Add(-tmpLife - time.Minute)
	if err := os.Chtimes(filepath.Join(dir, tmpDir, "old"), then, then); err != nil {
		t.Fatal(err)
	}
	open(t, dir)
	if got := files(t, dir); len(got) != 1 || got[0] != "tmp/new" {
		t.Errorf("after sweeping there are %q, want tmp/new", got)
	}
}

func files(t *testing.T, dir string) (names []string) {
	t.Helper()
	err := fs.WalkDir(os.DirFS(dir), ".", func(p string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			names = append(names, p)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return names
}
