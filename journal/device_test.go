package journal

import (
	"testing"

	"github.com/dbfs/dbfs"
)

// Whoever logs in anew as another device sends what was made before under the new name.
func TestEditsOfAnEarlierLogin(t *testing.T) {
	c := newClient(t)
	_ = c
	_ = dbfs.OpID{}
}
