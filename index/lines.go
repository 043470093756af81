package index

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/dbfs/dbfs"
)

const (
	windowSize = 256 << 10 // bytes of a text looked at together
	maxLine    = 64 << 20  // bytes of one line; a longer one ends the search of its file
)

// A Line is a line of a file that matched, or one beside it.
type Line struct {
	Number  int      // from 1
	Offset  int64    // of Text in the decoded text, in bytes
	Text    []byte   // with its line break if it has one
	Matches [][2]int // byte ranges in Text; nil: a line of context
}

// A lineSearch looks through one text, window by window, and gathers what GrepOptions ask for.
type lineSearch struct {
	opt  *GrepOptions
	f    finder
	read []byte // the buffer that windows are in

	out    *FileMatches
	number int    // of the line at pos
	offset int64  // of the window in the text
	pos    int    // in the window: lines before it are dealt with
	held   []Line // the last lines before pos that were not given out, at most Before
	after  int    // lines of context still to give after the last match
}

// run searches the text in r. What it found before an error is in out.
func (s *lineSearch) run(ctx context.Context, r io.Reader, out *FileMatches) error {
	s.out, s.number, s.offset, s.held, s.after = out, 1, 0, nil, 0
	buf := s.read[:0]
	defer func() { s.read = buf }()
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		buf = slices.Grow(buf, windowSize)
		n, err := io.ReadFull(r, buf[len(buf):min(cap(buf), len(buf)+windowSize)])
		fresh := buf[len(buf) : len(buf)+n]
		buf = buf[:len(buf)+n]
		last := err == io.EOF || err == io.ErrUnexpectedEOF
		if err != nil && !last {
			return err
		}
		if nul := bytes.IndexByte(fresh, 0); nul >= 0 {
			buf = buf[:len(buf)-n+nul]
			out.BinaryAt = s.offset + int64(len(buf))
			last = true
		}
		whole := len(buf)
		if !last {
			if whole = bytes.LastIndexByte(buf, '\n') + 1; whole == 0 {
				if len(buf) > maxLine {
					return fmt.Errorf("%w: a line of more than %d bytes", dbfs.ErrTooLarge, maxLine)
				}
				continue
			}
		}
		enough := s.window(buf[:whole])
		out.Searched += int64(whole)
		if enough || last {
			return nil
		}
		s.offset += int64(whole)
		buf = append(buf[:0], buf[whole:]...)
	}
}

// window searches whole lines and reports whether that was enough of this text.
func (s *lineSearch) window(win []byte) (enough bool) {
	s.pos = 0
	s.f.window(win)
	for {
		line, ok := s.f.next(s.pos)
		if !ok {
			break
		}
		s.between(line[0])
		s.match(line)
		if s.opt.FilesOnly {
			return true
		}
		if s.opt.MaxPerFile > 0 && s.out.Count >= s.opt.MaxPerFile {
			s.between(len(win)) // the context after the last match
			return true
		}
	}
	s.between(len(win))
	return false
}

func (s *lineSearch) match(line span) {
	matches := s.f.m.matches(s.f.win[line[0]:line[1]])
	s.out.Count++
	s.out.Matches += len(matches)
	if !s.opt.FilesOnly && !s.opt.CountOnly {
		s.out.Lines = append(s.out.Lines, s.held...)
		l := s.line(line[0])
		l.Matches = make([][2]int, len(matches))
		for i, m := range matches {
			l.Matches[i] = m
		}
		s.out.Lines = append(s.out.Lines, l)
	}
	s.held = s.held[:0]
	s.after = s.opt.After
	s.pos = min(line[1]+1, len(s.f.win))
	s.number++
}

// line makes a Line of the one that begins at start, which is line s.number. The text is copied.
func (s *lineSearch) line(start int) Line {
	end := s.f.line(start)[1]
	return Line{Number: s.number, Offset: s.offset + int64(start), Text: bytes.Clone(s.f.win[start:min(end+1, len(s.f.win))])}
}

// between deals with the lines from pos to end, none of which matches: the first of them
// may follow a match, the last may come before one.
func (s *lineSearch) between(end int) {
	context := !s.opt.FilesOnly && !s.opt.CountOnly
	for ; context && s.after > 0 && s.pos < end; s.after-- {
		s.out.Lines = append(s.out.Lines, s.line(s.pos))
		s.step()
	}
	if !context || s.opt.Before == 0 {
		s.number += bytes.Count(s.f.win[s.pos:end], []byte{'\n'})
		s.pos = end
		return
	}
	tail := end // where the last Before lines begin
	for n := 0; n < s.opt.Before && tail > s.pos; n++ {
		tail = s.f.line(tail - 1)[0]
	}
	s.number += bytes.Count(s.f.win[s.pos:tail], []byte{'\n'})
	s.pos = tail
	for s.pos < end {
		if len(s.held) == s.opt.Before {
			s.held = append(s.held[:0], s.held[1:]...)
		}
		s.held = append(s.held, s.line(s.pos))
		s.step()
	}
}

// step goes to the next line.
func (s *lineSearch) step() {
	s.pos = min(s.f.line(s.pos)[1]+1, len(s.f.win))
	s.number++
}

// search searches one file. A nil error with no matches is a file that was searched in
// vain; ErrOffline one whose bytes are not here; errNotText one without text.
func (s *lineSearch) search(ctx context.Context, source Source, node dbfs.NodeID, out *FileMatches) error {
	r, err := source.Open(ctx, node)
	if err != nil {
		return err
	}
	defer r.Close()
	text, ok, err := textReader(r)
	if err != nil {
		return err
	}
	if !ok {
		return errNotText
	}
	return s.run(ctx, text, out)
}

var errNotText = errors.New("not text")
