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
//	{"version": 1, "server": URL, "account": NAME, "device": ID, "name": NAME, "token": TOKEN}
//
// After a logout it remains, without the token: logging in again makes the same device,
// whose unsent edits then go out.
type savedLogin struct {
	Version int           `json:"version"`
	Server  string        `json:"server"`
	Account string        `json:"account"`
	Device  dbfs.DeviceID `json:"device"`
	Name    string        `json:"name"`            // of the device
	Token   string        `json:"token,omitempty"` // of the device
}

const loginVersion = 1

// readLogin returns ErrNotExist for a profile that never logged in.
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
	err = json.Unmarshal(b, &l)
	switch {
	case err == nil && l.Version > loginVersion:
		return l, fmt.Errorf("login: %w: %s is of version %d", dbfs.ErrVersion, file, l.Version)
	case err != nil || l.Version < 1 || l.Server == "" || l.Device == 0:
		return l, control.WithHint(fmt.Errorf("login: %w: %s", dbfs.ErrCorrupt, file), "remove it and log in again")
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
