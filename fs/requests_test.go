package fs

import (
	"os"
	"testing"
)

// What the kernel may answer by itself, it does; and a write costs one request, not two: without
// HANDLE_KILLPRIV_V2 it would ask for security.capability before each.
func TestRequestsThatAreNotMade(t *testing.T) {
	d := newDrive(t, counted)
	f, err := os.Create(d.path("a"))
	d.must(err)
	defer f.Close()
	block := make([]byte, 4096)
	_, err = f.WriteAt(block, 0) // the kernel asks once whether there is something to be cleared
	d.must(err)
	counts := d.requests.of(func() {
		for i := range 50 {
			_, err := f.WriteAt(block, int64(i)*4096)
			d.must(err)
		}
	})
	if counts["WRITE"] != 50 || counts["GETXATTR"] != 0 || counts["GETATTR"] != 0 || counts["LOOKUP"] != 0 {
		t.Errorf("50 writes cost %v", counts)
	}
	d.must(f.Sync())
	look := func() {
		_, err := os.Stat(d.path("a"))
		d.must(err)
		if _, err := os.Stat(d.path("nothing")); !os.IsNotExist(err) {
			t.Errorf("stat of nothing: %v", err)
		}
		_, err = os.ReadFile(d.path("a"))
		d.must(err)
	}
	look()
	counts = d.requests.of(func() {
		for range 20 {
			look()
		}
	})
	for _, name := range []string{"LOOKUP", "GETATTR", "READ", "GETXATTR"} {
		if counts[name] != 0 {
			t.Errorf("names, attributes and bytes that the kernel has cost %v", counts)
		}
	}
}
