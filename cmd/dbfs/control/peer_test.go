package control

import (
	"errors"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"github.com/dbfs/dbfs"
)

func TestPeers(t *testing.T) {
	tests := []struct {
		peer, owner uint32
		in          bool
	}{
		{1000, 1000, true},
		{0, 1000, true}, // root
		{1001, 1000, false},
		{1000, 0, false},
	}
	for _, test := range tests {
		s := &Server{owner: test.owner, peer: func(net.Conn) (uint32, error) { return test.peer, nil }}
		err, _ := s.greet(t.Context(), nil).Value(peerKey{}).(error)
		if (err == nil) != test.in {
			t.Errorf("user %d at the socket of %d: %v", test.peer, test.owner, err)
		}
	}
	broken := &Server{peer: func(net.Conn) (uint32, error) { return 0, errors.New("who?") }}
	if err, _ := broken.greet(t.Context(), nil).Value(peerKey{}).(error); err == nil {
		t.Error("a peer that nobody knows was let in")
	}
}

func TestPeerUIDNeedsAUnixSocket(t *testing.T) {
	a, b := net.Pipe()
	defer a.Close()
	defer b.Close()
	if _, err := peerUID(a); err == nil {
		t.Error("a pipe has no peer")
	}
}

// TestStrangerIsRefused opens the socket's mode on purpose and connects as another user:
// the kernel's word for who is there must be enough.
func TestStrangerIsRefused(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root, to connect as somebody else")
	}
	dir, err := os.MkdirTemp("", "dbfs")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	socket := filepath.Join(dir, "s")
	ln, err := Listen(socket)
	if err != nil {
		t.Fatal(err)
	}
	srv := NewServer(struct{ Daemon }{}, slog.New(slog.DiscardHandler))
	go srv.Serve(ln)
	defer srv.Shutdown(t.Context())
	for path, mode := range map[string]os.FileMode{dir: 0o755, socket: 0o666} {
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
	}
	answer := make(chan string)
	go func() {
		// The thread changes its user and, never unlocked, ends with the goroutine.
		runtime.LockOSThread()
		const nobody = 65534
		if _, _, errno := syscall.RawSyscall(syscall.SYS_SETRESUID, nobody, nobody, nobody); errno != 0 {
			answer <- "setresuid: " + errno.Error()
			return
		}
		conn, err := net.Dial("unix", socket)
		if err != nil {
			answer <- err.Error()
			return
		}
		defer conn.Close()
		conn.Write([]byte("GET /v1/status HTTP/1.1\r\nHost: dbfs\r\n\r\n"))
		b := make([]byte, 4096)
		n, _ := conn.Read(b)
		answer <- string(b[:n])
	}()
	got := <-answer
	if !strings.HasPrefix(got, "HTTP/1.1 403") || !strings.Contains(got, dbfs.ErrForbidden.Error()) {
		t.Errorf("answer to a stranger: %q", got)
	}
}
