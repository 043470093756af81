package drive

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

var dbfs = System{
	Name:    "dbfs",
	About:   "dbfs mount as who runs the benchmark, with a dbfs serve that keeps its chunks at the S3 server",
	Missing: noDbfs,
	Version: dbfsVersion,
	Start: func(ctx context.Context, s *Site, dir string) (Drive, error) {
		return startDbfs(ctx, s, dir, nil)
	},
}

var dbfsUser = System{
	Name:  "dbfs-user",
	About: "the same, mounted and used by a user without privileges, through fusermount3",
	Missing: func(s *Site) string {
		if s.Runner == nil {
			return "only with --unprivileged, by root"
		}
		if info, err := os.Stat("/dev/fuse"); err == nil && info.Mode().Perm()&0o006 != 0o006 {
			return "users may not open /dev/fuse here; chmod 666 /dev/fuse lets them"
		}
		return noDbfs(s)
	},
	Version: dbfsVersion,
	Start: func(ctx context.Context, s *Site, dir string) (Drive, error) {
		return startDbfs(ctx, s, dir, s.Runner)
	},
}

func noDbfs(s *Site) string {
	if s.Dbfs == "" {
		return "scripts/bench builds it"
	}
	return noStore(s)
}

func dbfsVersion(s *Site) string {
	out, err := run(context.Background(), nil, nil, s.Dbfs, "version")
	if err != nil {
		return "unknown"
	}
	first, _, _ := strings.Cut(string(out), "\n")
	return first
}

// A Server is a running dbfs serve.
type Server struct {
	URL   string
	Token string // of its first account

	site    *Site
	process *process
	prefix  string
}

// Serve starts a server with nothing in it, whose database is below dir.
func Serve(ctx context.Context, s *Site, dir string) (*Server, error) {
	data := filepath.Join(dir, "server")
	if err := os.MkdirAll(data, 0o700); err != nil {
		return nil, err
	}
	srv := &Server{site: s, prefix: s.prefix(dir)}
	said := filepath.Join(data, "server.log")
	blocks := fmt.Sprintf("s3://%s/%s?endpoint=%s&path_style=true&region=%s", s.Bucket, srv.prefix, s.Endpoint, s.Region)
	p, err := spawn(nil, said, s.keys(), s.Dbfs, "serve", "--json", "--listen", "127.0.0.1:0", "--data", data, "--blocks", blocks, "--log-level", "warn")
	if err != nil {
		return nil, err
	}
	srv.process = p
	err = within(ctx, patience, "dbfs serve", func() (bool, error) {
		if p.ended() {
			return false, fmt.Errorf("dbfs serve ended: %s", p.lastWords())
		}
		return srv.read(said), nil
	})
	if err != nil {
		return nil, errors.Join(err, srv.Stop())
	}
	return srv, nil
}

// read takes address and token from what the server said when it was ready.
func (srv *Server) read(said string) bool {
	b, err := os.ReadFile(said)
	if err != nil {
		return false
	}
	for line := range strings.Lines(string(b)) {
		var ready struct {
			URL   string `json:"url"`
			Token string `json:"admin_token"`
		}
		if strings.HasSuffix(line, "\n") && json.Unmarshal([]byte(line), &ready) == nil && ready.URL != "" {
			srv.URL, srv.Token = ready.URL, ready.Token
			return true
		}
	}
	return false
}

// Stop ends the server and removes its chunks.
func (srv *Server) Stop() error {
	if !srv.process.ask() {
		srv.process.kill()
	}
	return srv.site.clear(srv.prefix)
}

// keys are the credentials of the S3 server, in the usual variables.
func (s *Site) keys() []string {
	return []string{"AWS_ACCESS_KEY_ID=" + s.Key, "AWS_SECRET_ACCESS_KEY=" + s.Secret, "AWS_REGION=" + s.Region}
}

func startDbfs(ctx context.Context, s *Site, dir string, who *syscall.Credential) (Drive, error) {
	if err := makeDirs(who, dir); err != nil {
		return nil, err
	}
	srv, err := Serve(ctx, s, dir)
	if err != nil {
		return nil, err
	}
	m, err := Device(ctx, srv, filepath.Join(dir, "one"), who)
	if err == nil {
		err = m.Show(ctx)
	}
	if err != nil {
		return nil, errors.Join(err, srv.Stop())
	}
	m.keeps = dir
	m.after = srv.Stop
	m.again = func(ctx context.Context) (*Mount, error) {
		return Device(ctx, srv, filepath.Join(dir, "two"), who)
	}
	return m, nil
}

// Device logs a device in at a server, with its directories below dir. It is not mounted yet.
func Device(ctx context.Context, srv *Server, dir string, who *syscall.Credential) (*Mount, error) {
	s := srv.site
	m := &Mount{site: s, at: filepath.Join(dir, "mnt"), keeps: dir, who: who, cache: filepath.Join(dir, "cache")}
	for _, sub := range []string{"", "config", "state", "cache", "run"} {
		if err := makeDirs(who, filepath.Join(dir, sub)); err != nil {
			return nil, err
		}
		if sub != "" {
			m.env = append(m.env, fmt.Sprintf("XDG_%s=%s", xdg[sub], filepath.Join(dir, sub)))
		}
	}
	if err := os.Chmod(filepath.Join(dir, "run"), 0o700); err != nil {
		return nil, err
	}
	m.env = append(m.env, "HOME="+dir)
	_, err := run(ctx, who, m.env, s.Dbfs, "login", "--server", srv.URL, "--token", srv.Token, "--device", filepath.Base(dir))
	// The guard would hold the removal of thousands of files until somebody approves it.
	m.argv = []string{s.Dbfs, "mount", m.at, "--guard=false", "--log-level", "warn"}
	m.settle = m.synced
	return m, err
}

var xdg = map[string]string{"config": "CONFIG_HOME", "state": "STATE_HOME", "cache": "CACHE_HOME", "run": "RUNTIME_DIR"}

// synced returns when the server has everything and the index has read it.
func (m *Mount) synced(ctx context.Context) error {
	if _, err := run(ctx, m.who, m.env, m.site.Dbfs, "wait", "--timeout", "15m"); err != nil {
		return err
	}
	return within(ctx, 5*time.Minute, "dbfs indexes", func() (bool, error) {
		st, err := m.Status(ctx)
		return err == nil && st.Search.Waiting == 0, err
	})
}

// A Status is what the benchmark wants to know of dbfs status --json.
type Status struct {
	Namespaces []struct {
		Cursor struct {
			JID uint64 `json:"jid"` // the last entry of the log that the device has
		} `json:"cursor"`
		Loading bool `json:"loading"`
	} `json:"namespaces"`
	Search struct {
		Waiting int64 `json:"waiting"`
	} `json:"search"`
}

func (m *Mount) Status(ctx context.Context) (Status, error) {
	var st Status
	out, err := run(ctx, m.who, m.env, m.site.Dbfs, "status", "--json")
	if err == nil {
		err = json.Unmarshal(out, &st)
	}
	return st, err
}
