package main

import (
	"fmt"
	"os"
	"os/user"
	"path/filepath"
	"regexp"
	"strconv"
	"syscall"

	"github.com/dbfs/dbfs"
	"github.com/dbfs/dbfs/cmd/dbfs/control"
)

// defaultProfile is the profile of those who never name one.
const defaultProfile = "default"

// places are the directories of dbfs, as the XDG base directory specification has them:
//
//	config   config.toml, profiles/PROFILE.toml
//	state    PROFILE/: what must not be lost; unsent data, journal, index, token, log
//	cache    PROFILE/: what may be deleted at any time
//	runtime  PROFILE.sock, PROFILE.lock
type places struct {
	config, state, cache, runtime string
	home                          string
}

// findPlaces decides from the environment. A variable that is not an absolute path
// counts as not set, as the specification says.
func findPlaces(lookup func(string) (string, bool), home string, uid int) places {
	dir := func(name, otherwise string) string {
		if v, _ := lookup(name); filepath.IsAbs(v) {
			return filepath.Join(v, "dbfs")
		}
		return otherwise
	}
	return places{
		config:  dir("XDG_CONFIG_HOME", filepath.Join(home, ".config/dbfs")),
		state:   dir("XDG_STATE_HOME", filepath.Join(home, ".local/state/dbfs")),
		cache:   dir("XDG_CACHE_HOME", filepath.Join(home, ".cache/dbfs")),
		runtime: dir("XDG_RUNTIME_DIR", runtimeDir(uid)),
		home:    home,
	}
}

// runtimeDir is where sockets are when the session does not say: what systemd would
// have said, or, where there is no such thing, a directory of one's own in /tmp.
func runtimeDir(uid int) string {
	dir := filepath.Join("/run/user", strconv.Itoa(uid))
	if info, err := os.Stat(dir); err == nil && info.IsDir() && int(info.Sys().(*syscall.Stat_t).Uid) == uid {
		return filepath.Join(dir, "dbfs")
	}
	return fmt.Sprintf("/tmp/dbfs-%d", uid)
}

func (p places) configFile() string { return filepath.Join(p.config, "config.toml") }
func (p places) profileFile(profile string) string {
	return filepath.Join(p.config, "profiles", profile+".toml")
}
func (p places) stateDir(profile string) string { return filepath.Join(p.state, profile) }
func (p places) cacheDir(profile string) string { return filepath.Join(p.cache, profile) }
func (p places) socket(profile string) string   { return filepath.Join(p.runtime, profile+".sock") }
func (p places) runLock(profile string) string  { return filepath.Join(p.runtime, profile+".lock") }

// token is the file with what "dbfs login" was given. It stays here whatever --state-dir
// says, so that a login is found by the profile's name alone.
func (p places) token(profile string) string { return filepath.Join(p.stateDir(profile), "token") }

// mountPoint is where a profile is mounted unless told otherwise.
func (p places) mountPoint(profile string) string {
	if profile == defaultProfile {
		return filepath.Join(p.home, "Dbfs")
	}
	return filepath.Join(p.home, "Dbfs ("+profile+")")
}

var profileName = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}$`)

func checkProfile(name string) error {
	if !profileName.MatchString(name) {
		return control.Errorf(dbfs.ErrInvalid, "the profile name %q: use 1 to 64 letters, digits, '.', '_' and '-'", name)
	}
	return nil
}

// homeDir works without HOME, too, which mount(8) does not set at boot.
func homeDir() string {
	if home, err := os.UserHomeDir(); err == nil {
		return home
	}
	if u, err := user.Current(); err == nil {
		return u.HomeDir
	}
	return "/"
}
