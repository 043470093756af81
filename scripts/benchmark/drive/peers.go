package drive

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// The peers are set up for speed, as their papers advise, and keep their data below the
// drive's directory and in a prefix of the bucket.

// program finds a peer's program among what the benchmark built, and then on the PATH.
func (s *Site) program(name string) string {
	if s.Tools != "" {
		if built := filepath.Join(s.Tools, name); executable(built) {
			return built
		}
	}
	found, err := exec.LookPath(name)
	if err != nil {
		return ""
	}
	return found
}

func executable(name string) bool {
	info, err := os.Stat(name)
	return err == nil && info.Mode().IsRegular() && info.Mode()&0o111 != 0
}

// absent says that a program is not here, and how to get it.
func absent(name, remedy string) func(*Site) string {
	return func(s *Site) string {
		if s.program(name) == "" {
			return name + " is not on the PATH; " + remedy
		}
		return noStore(s)
	}
}

func versionOf(name string, args ...string) func(*Site) string {
	return func(s *Site) string {
		out, err := exec.Command(s.program(name), args...).CombinedOutput()
		if err != nil {
			return "unknown"
		}
		first, _, _ := strings.Cut(strings.TrimSpace(string(out)), "\n")
		return first
	}
}

var rclone = System{
	Name:    "rclone",
	About:   "rclone mount, --vfs-cache-mode full, written back after 1 s",
	Missing: absent("rclone", "scripts/bench --peers builds it"),
	Version: versionOf("rclone", "version"),
	Start: func(ctx context.Context, s *Site, dir string) (Drive, error) {
		return startPeer(ctx, s, dir, rcloneMount)
	},
}

func rcloneMount(s *Site, dir, prefix string) (*Mount, error) {
	control, err := freeAddress()
	if err != nil {
		return nil, err
	}
	m := &Mount{}
	m.env = append(s.keys(),
		"RCLONE_CONFIG=/dev/null",
		"RCLONE_CONFIG_STORE_TYPE=s3", "RCLONE_CONFIG_STORE_PROVIDER=Other", "RCLONE_CONFIG_STORE_ENV_AUTH=true",
		"RCLONE_CONFIG_STORE_ENDPOINT="+s.Endpoint, "RCLONE_CONFIG_STORE_REGION="+s.Region,
		"RCLONE_CONFIG_STORE_FORCE_PATH_STYLE=true", "RCLONE_S3_NO_CHECK_BUCKET=true")
	m.argv = []string{s.program("rclone"), "mount", "store:" + s.Bucket + "/" + prefix, filepath.Join(dir, "mnt"),
		"--vfs-cache-mode", "full", "--vfs-write-back", "1s", "--dir-cache-time", "1h", "--attr-timeout", "1h",
		"--transfers", "16", "--cache-dir", filepath.Join(dir, "cache"), "--log-level", "NOTICE",
		"--rc", "--rc-no-auth", "--rc-addr", control}
	m.settle = func(ctx context.Context) error {
		// What was closed just now is not queued before the write-back time is over.
		return within(ctx, 15*time.Minute, "rclone uploads", func() (bool, error) {
			out, err := run(ctx, nil, m.env, s.program("rclone"), "rc", "--url", "http://"+control, "vfs/stats")
			text := strings.Join(strings.Fields(string(out)), "")
			return strings.Contains(text, `"uploadsInProgress":0,`) && strings.Contains(text, `"uploadsQueued":0`), err
		})
	}
	return m, nil
}

var s3fs = System{
	Name:    "s3fs",
	About:   "s3fs with a disk cache; files go to the store when they are closed",
	Missing: absent("s3fs", "scripts/bench --peers installs it"),
	Version: versionOf("s3fs", "--version"),
	Start: func(ctx context.Context, s *Site, dir string) (Drive, error) {
		return startPeer(ctx, s, dir, s3fsMount)
	},
}

func s3fsMount(s *Site, dir, prefix string) (*Mount, error) {
	return &Mount{env: []string{"AWSACCESSKEYID=" + s.Key, "AWSSECRETACCESSKEY=" + s.Secret,
		"AWS_ACCESS_KEY_ID=" + s.Key, "AWS_SECRET_ACCESS_KEY=" + s.Secret},
		argv: []string{s.program("s3fs"), s.Bucket + ":/" + prefix, filepath.Join(dir, "mnt"), "-f",
			"-o", "url=" + s.Endpoint, "-o", "use_path_request_style", "-o", "endpoint=" + s.Region,
			"-o", "use_cache=" + filepath.Join(dir, "cache"), "-o", "parallel_count=16", "-o", "multipart_size=16",
			"-o", "stat_cache_expire=3600", "-o", "enable_noobj_cache", "-o", "max_stat_cache_size=1000000"}}, nil
}

var juicefs = System{
	Name:    "juicefs",
	About:   "JuiceFS with metadata in sqlite, --writeback",
	Missing: absent("juicefs", "it has to be installed by hand"),
	Version: versionOf("juicefs", "version"),
	Start: func(ctx context.Context, s *Site, dir string) (Drive, error) {
		return startPeer(ctx, s, dir, juicefsMount)
	},
}

func juicefsMount(s *Site, dir, prefix string) (*Mount, error) {
	meta := "sqlite3://" + filepath.Join(filepath.Dir(dir), "meta.db")
	program := s.program("juicefs")
	if _, err := os.Stat(filepath.Join(filepath.Dir(dir), "meta.db")); errors.Is(err, os.ErrNotExist) {
		_, err := run(context.Background(), nil, s.keys(), program, "format", "--storage", "s3", "--bucket", s.Endpoint+"/"+s.Bucket,
			"--access-key", s.Key, "--secret-key", s.Secret, "--trash-days", "0", meta, prefix)
		if err != nil {
			return nil, err
		}
	}
	m := &Mount{env: s.keys()}
	m.argv = []string{program, "mount", meta, filepath.Join(dir, "mnt"), "--writeback", "--cache-dir", filepath.Join(dir, "cache"),
		"--no-usage-report", "--attr-cache", "3600", "--entry-cache", "3600", "--dir-entry-cache", "3600"}
	m.settle = func(ctx context.Context) error {
		return within(ctx, 15*time.Minute, "juicefs uploads", func() (bool, error) {
			return noFiles(filepath.Join(dir, "cache"), "rawstaging")
		})
	}
	return m, nil
}

// noFiles reports whether no directory of that name below dir holds a file.
func noFiles(dir, name string) (bool, error) {
	none := true
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() && strings.Contains(path, "/"+name+"/") {
			none = false
			return fs.SkipAll
		}
		if errors.Is(err, fs.ErrNotExist) {
			return nil // gone meanwhile
		}
		return err
	})
	return none, err
}

var geesefs = System{
	Name:    "geesefs",
	About:   "geesefs with a disk cache; what is closed is not safe before it is uploaded",
	Missing: absent("geesefs", "it has to be installed by hand"),
	Version: versionOf("geesefs", "--version"),
	Start: func(ctx context.Context, s *Site, dir string) (Drive, error) {
		return startPeer(ctx, s, dir, geesefsMount)
	},
}

func geesefsMount(s *Site, dir, prefix string) (*Mount, error) {
	m := &Mount{env: s.keys()}
	at := filepath.Join(dir, "mnt")
	m.argv = []string{s.program("geesefs"), "-f", "--endpoint", s.Endpoint, "--region", s.Region,
		"--cache", filepath.Join(dir, "cache"), "--stat-cache-ttl", "1h", s.Bucket + ":" + prefix, at}
	m.settle = func(ctx context.Context) error {
		// An fsync of its top directory uploads everything.
		_, err := run(ctx, nil, nil, "sync", at)
		return err
	}
	return m, nil
}

// startPeer lays out the directories of a peer, mounts it, and says how it is mounted a second time.
func startPeer(ctx context.Context, s *Site, dir string, build func(s *Site, dir, prefix string) (*Mount, error)) (Drive, error) {
	prefix := s.prefix(dir)
	device := func(name string) (*Mount, error) {
		own := filepath.Join(dir, name)
		if err := makeDirs(nil, own, filepath.Join(own, "cache")); err != nil {
			return nil, err
		}
		m, err := build(s, own, prefix)
		if err != nil {
			return nil, err
		}
		m.site, m.keeps, m.at, m.cache = s, own, filepath.Join(own, "mnt"), filepath.Join(own, "cache")
		return m, nil
	}
	m, err := device("one")
	if err != nil {
		return nil, err
	}
	m.keeps = dir
	m.after = func() error { return s.clear(prefix) }
	m.again = func(context.Context) (*Mount, error) { return device("two") }
	if err := m.Show(ctx); err != nil {
		return nil, errors.Join(err, m.Stop())
	}
	return m, nil
}

func freeAddress() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", fmt.Errorf("a free port: %w", err)
	}
	defer l.Close()
	return l.Addr().String(), nil
}
