package e2e

import (
	"context"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/dbfs/dbfs"
	"github.com/dbfs/dbfs/cmd/dbfs/host"
	"github.com/dbfs/dbfs/remote"
)

// A site is a server in this process, over a directory. Its address stays when it is restarted.
type site struct {
	t      *testing.T
	dir    string // holds data/
	blocks string // address of the object store; "": the directory data/blocks
	addr   string // HOST:PORT

	srv    *host.Server
	http   *http.Server
	served chan struct{}
	tokens map[string]string // by account: what it logs in with
}

// newSite starts a server with the accounts "family" and "guest".
func newSite(t *testing.T, blocks string) *site {
	t.Helper()
	s := &site{t: t, dir: tempDir(t), blocks: blocks, tokens: make(map[string]string)}
	s.start()
	t.Cleanup(s.stop)
	admin := s.session(s.srv.Token)
	for _, name := range []string{family, guest} {
		user, err := admin.AddUser(t.Context(), name, false)
		if err != nil {
			t.Fatal(err)
		}
		s.tokens[name] = user.Token
	}
	return s
}

// start serves at the address, which the first start chooses.
func (s *site) start() {
	s.t.Helper()
	srv, err := host.Open(s.t.Context(), s.data(), host.Options{Blocks: s.blocks}, discard())
	if err != nil {
		s.t.Fatal(err)
	}
	addr := s.addr
	if addr == "" {
		addr = "127.0.0.1:0"
	}
	ln, err := net.Listen("tcp", addr)
	if err != nil {
		s.t.Fatal(err)
	}
	s.srv, s.addr = srv, ln.Addr().String()
	s.http = srv.HTTPServer()
	s.http.ErrorLog = slog.NewLogLogger(discard().Handler(), slog.LevelDebug)
	served := make(chan struct{})
	s.served = served
	go func() {
		defer close(served)
		s.http.Serve(ln)
	}()
}

// stop ends the server as a crash would, as far as those can tell who talk to it.
func (s *site) stop() {
	s.t.Helper()
	if s.srv == nil {
		return
	}
	s.http.Close()
	<-s.served
	if err := s.srv.Close(); err != nil {
		s.t.Error("close the server:", err)
	}
	s.srv = nil
}

func (s *site) restart() {
	s.t.Helper()
	s.stop()
	s.start()
}

func (s *site) data() string { return filepath.Join(s.dir, "data") }
func (s *site) url() string  { return "http://" + s.addr }

// login makes a device of an account and returns its token.
func (s *site) login(account, device string) string {
	s.t.Helper()
	login, err := s.srv.Login(s.t.Context(), remote.LoginRequest{Token: s.tokens[account], Name: device})
	if err != nil {
		s.t.Fatal(err)
	}
	return login.Token
}

// session returns the server as a fresh device of an account sees it.
func (s *site) session(token string) remoteSession {
	s.t.Helper()
	login, err := s.srv.Login(s.t.Context(), remote.LoginRequest{Token: token, Name: "inspector"})
	if err != nil {
		s.t.Fatal(err)
	}
	client := remote.NewClient(s.url(), login.Token, nil)
	return remoteSession{client, remote.NewChunks(client, nil)}
}

// A remoteSession is all that a device can ask of a server.
type remoteSession struct {
	*remote.Client
	chunks dbfs.ChunkStore
}

// objects returns how many objects the directory store holds, and their bytes.
func (s *site) objects() (n int, bytes int64) {
	s.t.Helper()
	err := filepath.WalkDir(filepath.Join(s.data(), "blocks"), func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() || filepath.Base(filepath.Dir(filepath.Dir(path))) != "c" {
			return err
		}
		info, err := e.Info()
		if err != nil {
			return err
		}
		n++
		bytes += info.Size()
		return nil
	})
	if err != nil {
		s.t.Fatal(err)
	}
	return n, bytes
}

// backup copies the database, with the server stopped, as a backup does. Objects are never
// changed in place, so they need no copy; restore
// puts the database back as it was then.
func (s *site) backup() (restore func()) {
	s.t.Helper()
	s.stop()
	defer s.start()
	meta, saved := filepath.Join(s.data(), "meta"), filepath.Join(s.dir, "meta.saved")
	if err := os.CopyFS(saved, os.DirFS(meta)); err != nil {
		s.t.Fatal(err)
	}
	return func() {
		s.t.Helper()
		s.stop()
		defer s.start()
		if err := os.RemoveAll(meta); err != nil {
			s.t.Fatal(err)
		}
		if err := os.CopyFS(meta, os.DirFS(saved)); err != nil {
			s.t.Fatal(err)
		}
	}
}

// A line is the network between one device and the site: every connection goes through it.
type line struct {
	to     string
	passed atomic.Int64 // bytes, both ways

	ln   net.Listener
	mu   sync.Mutex // guards what follows
	down bool
	hung bool // connections open, and nothing comes through
	open map[net.Conn]struct{}
}

func newLine(t *testing.T, to string) *line {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l := &line{to: to, ln: ln, open: make(map[net.Conn]struct{})}
	go l.accept()
	t.Cleanup(func() {
		ln.Close()
		l.cut()
	})
	return l
}

func (l *line) url() string { return "http://" + l.ln.Addr().String() }

func (l *line) accept() {
	for {
		c, err := l.ln.Accept()
		if err != nil {
			return
		}
		if !l.adopt(c) {
			c.Close()
			continue
		}
		go l.carry(c)
	}
}

func (l *line) adopt(c net.Conn) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.down {
		return false
	}
	l.open[c] = struct{}{}
	return true
}

func (l *line) drop(c net.Conn) {
	c.Close()
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.open, c)
}

func (l *line) copy(to, from net.Conn) { io.Copy(io.MultiWriter(to, counting{&l.passed}), from) }

// counting counts what is written to it.
type counting struct{ n *atomic.Int64 }

func (c counting) Write(p []byte) (int, error) {
	c.n.Add(int64(len(p)))
	return len(p), nil
}

// carry copies both ways until one side has enough.
func (l *line) carry(near net.Conn) {
	defer l.drop(near)
	l.mu.Lock()
	hung := l.hung
	l.mu.Unlock()
	if hung {
		io.Copy(io.Discard, near) // until it is cut
		return
	}
	far, err := net.Dial("tcp", l.to)
	if err != nil || !l.adopt(far) {
		return
	}
	defer l.drop(far)
	done := make(chan struct{})
	go func() {
		defer close(done)
		l.copy(far, near)
		far.Close()
	}()
	l.copy(near, far)
	near.Close()
	<-done
}

// cut ends every connection and lets none be made.
func (l *line) cut() { l.set(true, false) }

// hang ends every connection; new ones are made and never answered.
func (l *line) hang() { l.set(false, true) }

// mend lets connections be made again.
func (l *line) mend() { l.set(false, false) }

func (l *line) set(down, hung bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.down, l.hung = down, hung
	for c := range l.open {
		c.Close()
	}
}

func discard() *slog.Logger { return slog.New(slog.DiscardHandler) }

// within is a context that ends after d, or with the test.
func within(t *testing.T, d time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}
