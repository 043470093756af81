package control

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"sync"
	"time"

	"github.com/dbfs/dbfs"
)

// A stream is JSON lines. Each is one of
//
//	{"item": …}     something of what was asked for
//	{}              nothing yet, but still at it; at least every keepAlive
//	{"done": …}     the last line: all of it was said; what of it there is in total
//	{"error": {…}}  the last line: it ended early
//
// A stream that ends without a last line was cut off: the daemon died.
type streamLine struct {
	Item  json.RawMessage `json:"item,omitempty"`
	Done  json.RawMessage `json:"done,omitempty"`
	Error *Error          `json:"error,omitempty"`
}

const (
	keepAlive  = 5 * time.Second       // the longest silence of a stream
	lineDelay  = 30 * time.Millisecond // how long lines are gathered before they are sent
	maxLine    = 16 << 20              // bytes of one line that a client takes
	maxRequest = 1 << 20               // bytes of a request's body
)

// A streamWriter sends the lines of a stream. Lines that come quickly share a packet.
type streamWriter struct {
	done chan struct{} // closed when the last line is out
	gone sync.WaitGroup

	mu  sync.Mutex // guards what follows
	buf *bufio.Writer
	rc  *http.ResponseController
	new int // lines since the last flush
	err error
}

func newStreamWriter(w http.ResponseWriter) *streamWriter {
	w.Header().Set("Content-Type", "application/x-ndjson")
	s := &streamWriter{done: make(chan struct{}), buf: bufio.NewWriterSize(w, 32<<10), rc: http.NewResponseController(w)}
	s.gone.Go(s.tend)
	return s
}

// tend flushes what has gathered, and says that the stream lives while nothing gathers.
func (s *streamWriter) tend() {
	tick := time.NewTicker(lineDelay)
	defer tick.Stop()
	last := time.Now()
	for {
		select {
		case <-s.done:
			return
		case now := <-tick.C:
			s.mu.Lock()
			if s.new == 0 && now.Sub(last) >= keepAlive {
				s.write(streamLine{})
			}
			if s.new > 0 {
				last = now
				s.flush()
			}
			s.mu.Unlock()
		}
	}
}

// item sends one thing. After an error, which is that the client has gone, it does nothing more.
func (s *streamWriter) item(v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("stream: %w", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.write(streamLine{Item: b})
	return s.err
}

// end sends the last line.
func (s *streamWriter) end(result any, err error) {
	line := streamLine{}
	if err == nil {
		line.Done, err = json.Marshal(result)
	}
	if err != nil {
		line = streamLine{Error: ErrorOf(err)}
	}
	close(s.done)
	s.gone.Wait()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.write(line)
	s.flush()
}

func (s *streamWriter) write(line streamLine) {
	if s.err != nil {
		return
	}
	b, err := json.Marshal(line)
	if err == nil {
		_, err = s.buf.Write(append(b, '\n'))
	}
	s.new++
	s.err = err
}

func (s *streamWriter) flush() {
	if s.err == nil {
		s.err = s.buf.Flush()
	}
	if s.err == nil {
		s.err = s.rc.Flush()
	}
	s.new = 0
}

// readStream hands every item of a stream to item and puts its result into result. It
// calls alive for every line.
func readStream(r io.Reader, alive func(), item func(json.RawMessage) error, result any) error {
	lines := bufio.NewScanner(r)
	lines.Buffer(make([]byte, 0, 64<<10), maxLine)
	for lines.Scan() {
		alive()
		var line streamLine
		if err := json.Unmarshal(lines.Bytes(), &line); err != nil {
			return fmt.Errorf("%w: a line of the daemon's answer: %v", dbfs.ErrCorrupt, err)
		}
		switch {
		case line.Error != nil:
			return line.Error
		case line.Done != nil:
			return unmarshal(line.Done, result)
		case line.Item != nil:
			if err := item(line.Item); err != nil {
				return err
			}
		}
	}
	if err := lines.Err(); err != nil {
		return err
	}
	return fmt.Errorf("%w: it ended in the middle of its answer", ErrNoDaemon)
}

func unmarshal(b []byte, v any) error {
	if err := json.Unmarshal(b, v); err != nil {
		return fmt.Errorf("%w: the daemon's answer: %v", dbfs.ErrCorrupt, err)
	}
	return nil
}
