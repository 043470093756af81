package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/dbfs/dbfs"
	"github.com/dbfs/dbfs/cmd/dbfs/control"
)

// savedLogin is the file "token" of a profile, as JSON:
//
//	{"version": 1, "server": URL, "account": NAME, "device": NAME, "token": TOKEN}
type savedLogin struct {
	Version int    `json:"version"`
	Server  string `json:"server"`
	Account string `json:"account"`
	Device  string `json:"device"`
	Token   string `json:"token"`
}

const loginVersion = 1

// readLogin returns ErrNotExist for a profile that is not logged in.
func readLogin(file string) (savedLogin, error) {
	var l savedLogin
	b, err := os.ReadFile(file)
	if errors.Is(err, os.ErrNotExist) {
		return l, fmt.Errorf("login: %w: %s", dbfs.ErrNotExist, file)
	}
	if err != nil {
		return l, fmt.Errorf("login: %w", err)
	}
	info, err := os.Stat(file)
	switch {
	case err != nil:
		return l, fmt.Errorf("login: %w", err)
	case info.Mode().Perm()&0o077 != 0:
		return l, control.WithHint(fmt.Errorf("%w: others may read the token in %s", dbfs.ErrForbidden, file), "chmod 600 "+file)
	}
	if err := json.Unmarshal(b, &l); err != nil {
		return l, fmt.Errorf("login: %w: %s: %v", dbfs.ErrCorrupt, file, err)
	}
	if l.Version != loginVersion {
		return l, fmt.Errorf("login: %w: %s is of version %d", dbfs.ErrVersion, file, l.Version)
	}
	return l, nil
}

// write replaces the file whole, so that a crash leaves the old login or the new one.
func (l savedLogin) write(file string) error {
	l.Version = loginVersion
	b, err := json.Marshal(l)
	if err != nil {
		return fmt.Errorf("login: %w", err)
	}
	if err := control.PrivateDir(filepath.Dir(file)); err != nil {
		return err
	}
	return writePrivate(file, append(b, '\n'))
}

// writePrivate replaces a file by one that only its owner can read, durably.
func writePrivate(file string, b []byte) error {
	tmp, err := os.CreateTemp(filepath.Dir(file), ".new-*") // mode 0600
	if err != nil {
		return fmt.Errorf("write %s: %w", file, err)
	}
	defer os.Remove(tmp.Name()) // fails once it has been renamed
	_, err = tmp.Write(b)
	if err == nil {
		err = tmp.Sync()
	}
	if closeErr := tmp.Close(); err == nil {
		err = closeErr
	}
	if err == nil {
		err = os.Rename(tmp.Name(), file)
	}
	if err != nil {
		return fmt.Errorf("write %s: %w", file, err)
	}
	return nil
}

// trimURL makes two ways to write a base URL the same.
func trimURL(u string) string { return strings.TrimRight(u, "/") }
