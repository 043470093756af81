package dbfs

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"testing"
)

func TestChunkLengths(t *testing.T) {
	for _, c := range []struct {
		size int64
		n    int
		last int
	}{{0, 0, 0}, {1, 1, 1}, {ChunkSize, 1, ChunkSize}, {ChunkSize + 1, 2, 1}, {MaxFileSize, MaxFileChunks, ChunkSize - 4096}} {
		if got := NumChunks(c.size); got != c.n {
			t.Errorf("NumChunks(%d) = %d, want %d", c.size, got, c.n)
		}
		if got := ChunkLen(c.size, c.n-1); c.n > 0 && got != c.last {
			t.Errorf("the last chunk of %d bytes has %d, want %d", c.size, got, c.last)
		}
		if got := ChunkLen(c.size, c.n); got != 0 {
			t.Errorf("beyond the end of %d bytes there is a chunk of %d", c.size, got)
		}
	}
}

func TestChunksOfZerosHaveOneName(t *testing.T) {
	for _, n := range []int{1, 4095, 4096, 4097, ChunkSize} {
		zeros := make([]byte, n)
		if HashChunk(zeros) != ZeroChunk {
			t.Errorf("%d zeros are not the zero chunk", n)
		}
		zeros[n-1] = 1
		if got, want := HashChunk(zeros), ChunkID(sha256.Sum256(zeros)); got != want {
			t.Errorf("%d bytes ending in 1 hash to %s, want %s", n, got, want)
		}
	}
}

func TestVerifyFindsDamage(t *testing.T) {
	b := []byte("some bytes")
	ref := ChunkRef{HashChunk(b), len(b)}
	if err := ref.Verify(b); err != nil {
		t.Fatal(err)
	}
	for _, bad := range [][]byte{nil, b[:len(b)-1], append(bytes.Clone(b), 0), []byte("some bytez"), make([]byte, len(b))} {
		if err := ref.Verify(bad); !errors.Is(err, ErrCorrupt) {
			t.Errorf("Verify(%q) = %v, want ErrCorrupt", bad, err)
		}
	}
	if err := (ChunkRef{ZeroChunk, 3}).Verify([]byte{0, 0, 1}); !errors.Is(err, ErrCorrupt) {
		t.Errorf("a one among zeros: %v, want ErrCorrupt", err)
	}
}

// The content hash is the one that Dropbox publishes: computed by hand here.
func TestContentID(t *testing.T) {
	data := bytes.Repeat([]byte{7}, ChunkSize)
	tail := make([]byte, 10) // zeros, whose name here is not their hash
	h1, h2 := sha256.Sum256(data), sha256.Sum256(tail)
	want := sha256.Sum256(append(h1[:], h2[:]...))
	c := Content{Size: ChunkSize + 10, Chunks: Blocks(HashChunk(data), HashChunk(tail))}
	if got := c.ContentID(); got != want {
		t.Errorf("content id %s, want %x", got, want)
	}
	const empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
	if got := (Content{}).ContentID().String(); got != empty {
		t.Errorf("empty file: %s, want %s", got, empty)
	}
	if got := len(c.Refs()); got != 1 {
		t.Errorf("%d chunks are to be stored, want 1: the other is zeros", got)
	}
}

func TestData(t *testing.T) {
	id := ChunkID{1}
	for _, c := range []struct {
		content Content
		want    int64
	}{
		{Content{}, 0},
		{Content{Size: 7, Chunks: Blocks(id)}, 7},
		{Content{Size: 7, Chunks: Blocks(ZeroChunk)}, 0},
		{Content{Size: ChunkSize + 7, Chunks: Blocks(id, ZeroChunk)}, ChunkSize},
		{Content{Size: ChunkSize + 7, Chunks: Blocks(ZeroChunk, id)}, 7},
		{Content{Size: 3 * ChunkSize, Chunks: Blocks(id, ZeroChunk, id)}, 2 * ChunkSize},
	} {
		if got := c.content.Data(); got != c.want {
			t.Errorf("%d bytes in %d chunks: %d are data, want %d", c.content.Size, c.content.Chunks.Len(), got, c.want)
		}
	}
}

func TestContentCheck(t *testing.T) {
	for name, c := range map[string]Content{
		"negative":        {Size: -1},
		"too few chunks":  {Size: ChunkSize + 1, Chunks: Blocks(make([]ChunkID, 1)...)},
		"too many chunks": {Size: 1, Chunks: Blocks(make([]ChunkID, 2)...)},
		"too large":       {Size: MaxFileSize + 1, Chunks: Blocklist{}.Edit(MaxFileChunks, nil)},
	} {
		if err := c.Check(); !errors.Is(err, ErrInvalid) {
			t.Errorf("%s: %v, want ErrInvalid", name, err)
		}
	}
}

func TestOpAsJSON(t *testing.T) {
	op := sampleOp().Travelling()
	b, err := json.Marshal(op)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Contains(b, []byte(`"prev":"self"`)) {
		t.Errorf("the base that an earlier edit makes is not \"self\": %s", b)
	}
	var back Op
	if err := json.Unmarshal(b, &back); err != nil {
		t.Fatal(err)
	}
	if got, want := AppendOp(nil, &back), AppendOp(nil, &op); !bytes.Equal(got, want) {
		t.Errorf("JSON changed the op:\n got %s\nwant %s", hex.EncodeToString(got), hex.EncodeToString(want))
	}
}

func TestJSONRefusesNonsense(t *testing.T) {
	for name, text := range map[string]string{
		"unknown kind":  `{"kind":"portal"}`,
		"unknown op":    `{"type":"explode"}`,
		"short node id": `{"node":"abcd"}`,
		"node id":       `{"node":"zz000000000000000000000000000000"}`,
		"op id":         `{"id":"12"}`,
		"op id number":  `{"id":"0000000000000001-x"}`,
		"revision":      `{"base":{"crev":"selfish"}}`,
		"negative":      `{"base":{"crev":-1}}`,
		"chunk id":      `{"content":{"size":1,"chunks":["00"]}}`,
		"namespace":     `{"mount":"1"}`,
	} {
		var op Op
		if err := json.Unmarshal([]byte(text), &op); !errors.Is(err, ErrInvalid) {
			t.Errorf("%s: %v, want ErrInvalid", name, err)
		}
	}
}
