package dbfs_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/dbfs/dbfs"

// layers says which packages of ours each package may import, outside its tests: imports
// point down, and packages of one level never meet. A new package gets a row here; a
// new import is a decision about the architecture and is made here, before the code. Paths
// are within the module; the root, with the nouns, is ".".
var layers = map[string][]string{
	// 0: the nouns; the standard library only
	".": {},

	// 0, too: switches by which tests break things; nothing in a program built as usual
	"fault": {},

	// 0, too: the rules of names, which both ends go by; Unicode's tables
	"names": {"."},

	// 0, too: Badger's databases, opened in any state that a crash leaves
	"opendb": {},

	// 0, too: a map that forgets
	"recent": {},

	// 1: each knows only the nouns
	"cache":           {".", "fault", "names", "opendb"},
	"journal":         {".", "fault", "names", "recent"},
	"index":           {"."},
	"remote":          {".", "fault", "recent"},
	"remote/s3":       {"."},
	"remote/throttle": {},
	"remote/dir":      {"."},

	// 2: kernel and local, local and network, the other end
	"fs":            {".", "fault", "names", "recent", "cache", "journal"},
	"fs/shield":     {".", "cache"},
	"remote/syncer": {".", "fault", "cache", "journal"},
	"remote/server": {".", "fault", "names", "recent", "remote"},

	// engines under the server
	"remote/server/badgerdb": {".", "fault", "opendb", "remote/server"},

	// 3: joins the parts; nobody imports it
	"cmd/dbfs/control": {"."},
	"cmd/dbfs/host":    {".", "remote/s3", "remote/dir", "remote/server", "remote/server/badgerdb", "cmd/dbfs/control"},
	"cmd/dbfs/daemon":  {".", "cache", "journal", "index", "remote", "remote/throttle", "fs", "fs/shield", "remote/syncer", "cmd/dbfs/control", "cmd/dbfs/host"},
	"cmd/dbfs/sim":     {".", "fault", "names", "cache", "journal", "remote", "remote/syncer", "remote/server"},
	"cmd/dbfs":         {".", "remote", "remote/throttle", "fs/shield", "cmd/dbfs/control", "cmd/dbfs/host", "cmd/dbfs/daemon", "cmd/dbfs/sim"},

	// suites and fakes; only tests import them
	"cache/kvtest":                 {"."},
	"remote/chunktest":             {"."},
	"remote/metatest":              {".", "names", "remote"},
	"remote/server/memstore":       {".", "remote/server"},
	"remote/server/storetest":      {".", "remote/server"},
	"cmd/dbfs/control/controltest": {".", "cmd/dbfs/control"},

	// the whole, tested; nothing but tests
	"cmd/dbfs/e2e": {},
}

func TestImportsPointDown(t *testing.T) {
	for _, p := range listPackages(t) {
		name := within(p.ImportPath)
		allowed, ok := layers[name]
		if !ok {
			t.Errorf("package %s has no row in the table of layers_test.go: decide its level, and add one with the packages of ours that it may import", name)
			continue
		}
		for _, path := range p.Imports {
			if ours(path) && !slices.Contains(allowed, within(path)) {
				t.Errorf("%s imports %s, which the table of layers_test.go does not allow: declare a small interface in %s and let cmd/dbfs join the two, or change the table with a reason",
					name, within(path), name)
			}
		}
	}
}

func TestNounsNeedOnlyTheStandardLibrary(t *testing.T) {
	for _, p := range listPackages(t) {
		if within(p.ImportPath) != "." {
			continue
		}
		for _, path := range p.Imports {
			if first, _, _ := strings.Cut(path, "/"); strings.Contains(first, ".") {
				t.Errorf("the root package imports %s; every package imports the root, so it may use the standard library only", path)
			}
		}
	}
}

// TestTableIsAboutWhatExists keeps rows from outliving their packages.
func TestTableIsAboutWhatExists(t *testing.T) {
	there := map[string]bool{}
	for _, p := range listPackages(t) {
		there[within(p.ImportPath)] = true
	}
	for name, allowed := range layers {
		if !there[name] {
			t.Errorf("the table of layers_test.go has a row for %s, which does not exist: take it out", name)
		}
		for _, other := range allowed {
			if _, ok := layers[other]; !ok {
				t.Errorf("the row of %s allows %s, which has no row itself", name, other)
			}
		}
	}
}

type listed struct {
	ImportPath string
	Imports    []string // of the files that are not tests
}

func listPackages(t *testing.T) []listed {
	t.Helper()
	cmd := exec.Command("go", "list", "-json=ImportPath,Imports", "./...")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v\n%s", err, &stderr)
	}
	var all []listed
	for dec := json.NewDecoder(bytes.NewReader(out)); ; {
		var p listed
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatalf("go list: %v", err)
		}
		all = append(all, p)
	}
	if len(all) == 0 {
		t.Fatal("go list found no package")
	}
	return all
}

func ours(path string) bool {
	return path == module || strings.HasPrefix(path, module+"/")
}

// within writes an import path as the table does.
func within(path string) string {
	if path == module {
		return "."
	}
	return strings.TrimPrefix(path, module+"/")
}
