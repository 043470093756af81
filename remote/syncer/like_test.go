package syncer

import (
	"testing"

	"github.com/dbfs/dbfs"
)

func TestLikeOf(t *testing.T) {
	const names = "abcdefghijklmnop"
	id := func(r rune) dbfs.ChunkID {
		if r == '0' {
			return dbfs.ZeroChunk
		}
		return dbfs.HashChunk([]byte(string(r)))
	}
	content := func(s string, last int) dbfs.Content {
		var ids []dbfs.ChunkID
		for _, r := range s {
			ids = append(ids, id(r))
		}
		return dbfs.Content{Size: int64(len(s)-1)*dbfs.ChunkSize + int64(last), Chunks: dbfs.Blocks(ids...)}
	}
	for _, c := range []struct {
		was, now string
		i        int
		want     string // same, before, after; '-': none
		few      bool
	}{
		{"abc", "aXc", 1, "bac", true},
		{"abc", "Xbc", 0, "a-b", true},
		{"abc", "abX", 2, "cb-", true},
		{"abc", "abcXY", 3, "-c-", true},
		{"abc", "abcXY", 4, "---", true},
		{"a0c", "aXc", 1, "-ac", true},
		{names, "ABCDEFGHijklmnop", 3, "dce", true},
		{names, "ABCDEFGHIjklmnop", 3, "dce", false},
	} {
		was := content(c.was, 1000)
		like := likeOf(was, content(c.now, 5), c.i)
		for n, got := range []dbfs.ChunkRef{like.Same, like.Before, like.After} {
			var want dbfs.ChunkRef
			if at := was.Chunks.Index(id(rune(c.want[n]))); at >= 0 {
				want = was.Ref(at)
			}
			if got != want {
				t.Errorf("chunk %d of %s, which was %s: got %v, want %c", c.i, c.now, c.was, got, c.want[n])
			}
		}
		if like.Few != c.few {
			t.Errorf("%s, which was %s: few is %v", c.now, c.was, like.Few)
		}
	}
}
