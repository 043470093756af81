package server

import (
	"context"
	"strings"

	"github.com/dbfs/dbfs"
)

// A packRow says what is in a pack, an object that holds the frames of many chunks. Its key in
// TablePack is the object's name. It is written before the first chunk row that names the
// pack, and goes after the last and after the object; so an object of such a name without a row is
// an upload of which nothing came.
//
// A pack is condemned as a whole when nothing live is left in it: because nothing ever was, or
// because the rest was packed anew elsewhere. Chunk rows that name it are looked for once more
// before it is deleted.
type packRow struct {
	State     chunkState    `json:"state"`
	Made      int64         `json:"made"` // seconds since 1970
	Size      int64         `json:"size"` // of the object, bytes
	Chunks    []packedChunk `json:"chunks"`
	Condemned int64         `json:"condemned,omitempty"` // seconds since 1970: when it became so
}

// A packedChunk is a frame in a pack.
type packedChunk struct {
	ID   dbfs.ChunkID `json:"h"`
	Raw  int          `json:"n"`   // of the chunk, bytes
	Off  int64        `json:"off"` // of the frame in the pack, bytes
	Size int64        `json:"len"` // of the frame, bytes
}

// isPack reports whether an object is a pack, by its name, which is for ever: p/<hh>/<16 random digits>-<16
// digits of the SHA-256 of its bytes>, hh being the first byte of that.
func isPack(object string) bool { return strings.HasPrefix(object, "p/") }

// pack returns the row of a pack; dbfs.ErrNotExist.
func (s *Server) pack(ctx context.Context, object string) (packRow, error) {
	return getRow[packRow](ctx, s, TablePack, "pack", []byte(object))
}
