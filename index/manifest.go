package index

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"github.com/dbfs/dbfs"
)

// The MANIFEST says which files make the index. It is a log:
//
//	8 bytes   "dbfsidx" and the version (1)
//	records   u32 length, u32 CRC-32C of the edit, the edit
//
// An edit is a list of fields, each u8 tag, uvarint length, bytes; all of it happens at
// once. A record that is torn or does not match its checksum ends the log: what came
// after it never happened. Opening writes the log anew.
const (
	manifestName    = "MANIFEST"
	manifestMagic   = "dbfsidx\x01"
	maxEdit         = 16 << 20 // bytes
	manifestRewrite = 1 << 20  // a log longer than this is written anew
)

// tags of an edit's fields
const (
	tagAdd     = 1 // uvarint number, uvarint level
	tagDrop    = 2 // uvarint number
	tagDead    = 3 // uvarint number, uvarint generation of its file of dead documents (0: none)
	tagNextDoc = 4 // uvarint: no document has this number or a higher one
	tagMark    = 5 // the feeder's bytes
	tagNoMark  = 6 // empty
)

// segmentRef is a segment as the MANIFEST knows it.
type segmentRef struct {
	number uint64 // names its file
	level  int
	dead   uint64 // generation of its file of dead documents; 0: none
}

func (r segmentRef) fileName() string { return fmt.Sprintf("%06d.seg", r.number) }
func (r segmentRef) deadName() string { return fmt.Sprintf("%06d-%d.del", r.number, r.dead) }

// state is what the MANIFEST adds up to.
type state struct {
	segments []segmentRef // by number as they were added; not in order of documents
	nextDoc  uint32
	mark     []byte // nil: the feeder starts from the beginning
}

// An edit changes the state. Segments in add have their file of dead documents with them.
type edit struct {
	add     []segmentRef
	drop    []uint64
	dead    []segmentRef // new generations
	nextDoc uint32       // 0: as it was
	mark    []byte       // nil: as it was
	noMark  bool
}

func (s *state) apply(e edit) {
	s.segments = slices.DeleteFunc(s.segments, func(r segmentRef) bool { return slices.Contains(e.drop, r.number) })
	s.segments = append(s.segments, e.add...)
	for _, d := range e.dead {
		for i := range s.segments {
			if s.segments[i].number == d.number {
				s.segments[i].dead = d.dead
			}
		}
	}
	s.nextDoc = max(s.nextDoc, e.nextDoc)
	if e.noMark {
		s.mark = nil
	}
	if e.mark != nil {
		s.mark = e.mark
	}
}

func appendField(b []byte, tag byte, v []byte) []byte {
	return append(binary.AppendUvarint(append(b, tag), uint64(len(v))), v...)
}

func uvarints(vs ...uint64) (b []byte) {
	for _, v := range vs {
		b = binary.AppendUvarint(b, v)
	}
	return b
}

func encodeEdit(e edit) (b []byte) {
	for _, n := range e.drop {
		b = appendField(b, tagDrop, uvarints(n))
	}
	for _, r := range e.add {
		b = appendField(b, tagAdd, uvarints(r.number, uint64(r.level)))
		if r.dead != 0 {
			b = appendField(b, tagDead, uvarints(r.number, r.dead))
		}
	}
	for _, r := range e.dead {
		b = appendField(b, tagDead, uvarints(r.number, r.dead))
	}
	if e.nextDoc != 0 {
		b = appendField(b, tagNextDoc, uvarints(uint64(e.nextDoc)))
	}
	if e.noMark {
		b = appendField(b, tagNoMark, nil)
	}
	if e.mark != nil {
		b = appendField(b, tagMark, e.mark)
	}
	return b
}

func decodeEdit(b []byte) (edit, error) {
	var e edit
	d := decoder{b: b}
	for len(d.b) > 0 && !d.bad {
		tag := d.bytes(1)[0]
		v := decoder{b: d.bytes(d.uvarint())}
		switch tag {
		case tagAdd:
			e.add = append(e.add, segmentRef{number: v.uvarint(), level: int(v.uvarint() & 63)})
		case tagDrop:
			e.drop = append(e.drop, v.uvarint())
		case tagDead:
			e.dead = append(e.dead, segmentRef{number: v.uvarint(), dead: v.uvarint()})
		case tagNextDoc:
			e.nextDoc = uint32(v.uvarint())
		case tagNoMark:
			e.noMark = true
		case tagMark:
			e.mark = append([]byte{}, v.b...)
			v.b = nil
		default:
			v.bad = true
		}
		d.bad = d.bad || v.bad || len(v.b) != 0
	}
	if d.bad {
		return edit{}, fmt.Errorf("%w: edit of the manifest", dbfs.ErrCorrupt)
	}
	return e, nil
}

// decodeManifest adds up a MANIFEST's edits as far as they can be read. ErrCorrupt and
// ErrVersion say that it is none at all.
func decodeManifest(b []byte) (state, error) {
	var s state
	if len(b) < len(manifestMagic) || string(b[:magicPrefix]) != manifestMagic[:magicPrefix] {
		return s, fmt.Errorf("%w: manifest of %d bytes", dbfs.ErrCorrupt, len(b))
	}
	if b[magicPrefix] != manifestMagic[magicPrefix] {
		return s, fmt.Errorf("%w: manifest %d", dbfs.ErrVersion, b[magicPrefix])
	}
	for b = b[len(manifestMagic):]; len(b) >= 8; {
		n, sum := binary.LittleEndian.Uint32(b), binary.LittleEndian.Uint32(b[4:])
		if n > maxEdit || int(n) > len(b)-8 || crc32.Checksum(b[8:8+n], castagnoli) != sum {
			break
		}
		e, err := decodeEdit(b[8 : 8+n])
		if err != nil {
			break
		}
		s.apply(e)
		b = b[8+n:]
	}
	return s, nil
}

// A manifest is the open MANIFEST. Its owner calls it from one goroutine at a time.
type manifest struct {
	dir   string
	f     *os.File
	size  int64
	state state
}

// loadManifest reads the MANIFEST of dir; missing is the empty state.
func loadManifest(dir string) (state, error) {
	b, err := os.ReadFile(filepath.Join(dir, manifestName))
	if errors.Is(err, fs.ErrNotExist) {
		return state{}, nil
	}
	if err != nil {
		return state{}, fmt.Errorf("read manifest: %w", err)
	}
	return decodeManifest(b)
}

// newManifest writes the MANIFEST of dir anew.
func newManifest(dir string, s state) (*manifest, error) {
	m := &manifest{dir: dir, state: s}
	return m, m.rewrite()
}

func appendRecord(b []byte, e edit) []byte {
	body := encodeEdit(e)
	b = binary.LittleEndian.AppendUint32(b, uint32(len(body)))
	b = binary.LittleEndian.AppendUint32(b, crc32.Checksum(body, castagnoli))
	return append(b, body...)
}

func (m *manifest) rewrite() error {
	b := appendRecord([]byte(manifestMagic), edit{add: m.state.segments, nextDoc: m.state.nextDoc, mark: m.state.mark})
	name := filepath.Join(m.dir, manifestName)
	if err := writeFileSync(name+".tmp", b); err != nil {
		return fmt.Errorf("write manifest: %w", err)
	}
	if err := os.Rename(name+".tmp", name); err != nil {
		return fmt.Errorf("write manifest: %w", err)
	}
	if err := syncDir(m.dir); err != nil {
		return fmt.Errorf("write manifest: %w", err)
	}
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		return fmt.Errorf("write manifest: %w", err)
	}
	m.close()
	m.f, m.size = f, int64(len(b))
	return nil
}

// commit makes an edit last. After an error it did not happen, or the whole log is
// written anew before the next one.
func (m *manifest) commit(e edit) error {
	if m.f == nil || m.size > manifestRewrite {
		if err := m.rewrite(); err != nil {
			return err
		}
	}
	rec := appendRecord(nil, e)
	_, err := m.f.Write(rec)
	if err == nil {
		err = m.f.Sync()
	}
	if err != nil {
		m.close() // what stands in the file now is unknown
		return fmt.Errorf("write manifest: %w", err)
	}
	m.size += int64(len(rec))
	m.state.apply(e)
	return nil
}

func (m *manifest) close() {
	if m.f != nil {
		m.f.Close()
		m.f = nil
	}
}

func writeFileSync(name string, b []byte) error {
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	if err == nil {
		err = f.Sync()
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	return err
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}
