package index

import (
	"bufio"
	"bytes"
	"io"
	"unicode/utf8"

	"golang.org/x/text/encoding/charmap"
	"golang.org/x/text/encoding/unicode"
	"golang.org/x/text/transform"
)

const (
	// MaxText is how much of a file is indexed, in bytes. Grep searches all of it.
	MaxText = 4 << 20

	// headSize is how much of a file decides what it is, in bytes.
	headSize = 64 << 10
)

// An encoding is how the bytes of a text become characters. Its head decides.
type encoding uint8

const (
	notText encoding = iota
	utf8Text
	utf8BOM
	utf16Text // with a byte order mark
	latin1    // what is neither of these
)

// sniff decides by the first headSize bytes of a file, or all of a shorter one.
func sniff(head []byte) encoding {
	head = head[:min(len(head), headSize)]
	switch {
	case bytes.HasPrefix(head, []byte{0xff, 0xfe}), bytes.HasPrefix(head, []byte{0xfe, 0xff}):
		return utf16Text
	case bytes.IndexByte(head, 0) >= 0:
		return notText
	case !validHead(head):
		return latin1
	case bytes.HasPrefix(head, []byte("\xef\xbb\xbf")):
		return utf8BOM
	}
	return utf8Text
}

// validHead reports whether head is UTF-8; its last character may be cut in two.
func validHead(head []byte) bool {
	for i := len(head) - 1; len(head) == headSize && i >= 0 && i >= len(head)-utf8.UTFMax; i-- {
		if utf8.RuneStart(head[i]) {
			if !utf8.FullRune(head[i:]) {
				head = head[:i]
			}
			break
		}
	}
	return utf8.Valid(head)
}

// IsText reports whether a file that begins with head (64 KiB, or all of it) is text.
func IsText(head []byte) bool { return sniff(head) != notText }

// Decode returns the text of a file as UTF-8: byte order marks are taken off, UTF-16 and
// Latin-1 converted, and it ends before the first NUL. False: it is not text. The result
// may share raw's memory.
func Decode(raw []byte) ([]byte, bool) {
	enc := sniff(raw)
	switch enc {
	case notText:
		return nil, false
	case utf8BOM:
		raw = raw[3:]
	case utf16Text, latin1:
		raw, _ = io.ReadAll(enc.reader(bytes.NewReader(raw))) // neither the reader nor these decoders fail
	}
	if i := bytes.IndexByte(raw, 0); i >= 0 {
		raw = raw[:i]
	}
	return raw, true
}

// reader decodes as Decode does, but for the NUL.
func (e encoding) reader(r io.Reader) io.Reader {
	switch e {
	case utf8BOM:
		io.CopyN(io.Discard, r, 3) // what is missing shows at the next read
	case utf16Text:
		return transform.NewReader(r, unicode.UTF16(unicode.LittleEndian, unicode.UseBOM).NewDecoder())
	case latin1:
		return transform.NewReader(r, charmap.Windows1252.NewDecoder())
	}
	return r
}

// textReader returns a reader of the text in r, and false when it is none.
func textReader(r io.Reader) (io.Reader, bool, error) {
	br := bufio.NewReaderSize(r, headSize)
	head, err := br.Peek(headSize)
	if err != nil && err != io.EOF {
		return nil, false, err
	}
	enc := sniff(head)
	if enc == notText {
		return nil, false, nil
	}
	return enc.reader(br), true, nil
}
