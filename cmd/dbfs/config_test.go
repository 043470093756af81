package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spf13/cobra"

	"github.com/dbfs/dbfs/cmd/dbfs/control"
)

// probe runs a command line of a tool that has one command, "probe", with a flag for each
// kind of value, and returns what the flags were.
func (s *session) probe(t *testing.T, args ...string) (size, list string, err error) {
	t.Helper()
	root := rootCommand(s.tool)
	var n byteSize = 1 << 10
	var words []string
	var on bool
	cmd := &cobra.Command{Use: "probe", RunE: func(*cobra.Command, []string) error { return nil }}
	cmd.Flags().Var(&n, "cache-bytes", "")
	cmd.Flags().StringArrayVar(&words, "word", nil, "")
	cmd.Flags().BoolVar(&on, "on", false, "")
	root.AddCommand(cmd)
	root.SetArgs(append([]string{"probe"}, args...))
	root.SetErr(&s.errs)
	s.reset()
	err = root.ExecuteContext(t.Context())
	list = strings.Join(words, " ")
	if on {
		list += " on"
	}
	return n.String(), list, err
}

// write makes a file below the session's configuration directory.
func (s *session) write(t *testing.T, name, text string) string {
	t.Helper()
	file := filepath.Join(s.places.config, name)
	if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

func TestPrecedence(t *testing.T) {
	const general, own = "cache-bytes = '2KiB'", "cache-bytes = '3KiB'"
	tests := []struct {
		name, general, own, env string
		args                    []string
		want                    string
	}{
		{name: "default", want: "1.0KiB"},
		{name: "config.toml", general: general, want: "2.0KiB"},
		{name: "profile before config.toml", general: general, own: own, want: "3.0KiB"},
		{name: "environment before profile", general: general, own: own, env: "4KiB", want: "4.0KiB"},
		{name: "flag before environment", general: general, own: own, env: "4KiB", args: []string{"--cache-bytes", "5KiB"}, want: "5.0KiB"},
		{name: "empty variable is none", general: general, env: "", want: "2.0KiB"},
		{name: "number", general: "cache-bytes = 6144", want: "6.0KiB"},
		{name: "flag of the default's value", env: "4KiB", args: []string{"--cache-bytes=1KiB"}, want: "1.0KiB"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			s := newSession(t)
			s.env["DBFS_CACHE_BYTES"] = test.env
			s.write(t, "config.toml", test.general)
			s.write(t, "profiles/default.toml", test.own)
			if got, _, err := s.probe(t, test.args...); got != test.want || err != nil {
				t.Errorf("got %s, %v; want %s", got, err, test.want)
			}
		})
	}
}

func TestListsAndSwitches(t *testing.T) {
	s := newSession(t)
	s.write(t, "config.toml", "word = ['one', 'two']\non = true\n")
	if _, got, err := s.probe(t); got != "one two on" || err != nil {
		t.Errorf("got %q, %v", got, err)
	}
	if _, got, err := s.probe(t, "--word", "three", "--on=false"); got != "three" || err != nil {
		t.Errorf("got %q, %v", got, err)
	}
}

func TestProfileIsChosen(t *testing.T) {
	tests := []struct {
		name, env, general string
		args               []string
		cmd                string
		want               string
	}{
		{name: "default", cmd: "version", want: "default"},
		{name: "flag", args: []string{"--profile", "f"}, env: "e", cmd: "version", want: "f"},
		{name: "environment", env: "e", general: "profile = 'g'", cmd: "status", want: "e"},
		{name: "config", general: "profile = 'g'", cmd: "version", want: "g"},
		{name: "working directory before config", general: "profile = 'g'", cmd: "status", want: "default"},
		{name: "path before working directory", cmd: "stat", args: []string{"/mnt/work/x"}, want: "work"},
		{name: "ns looks where it is", general: "profile = 'g'", cmd: "ns", args: []string{"ls"}, want: "default"},
		{name: "admin looks where it is", general: "profile = 'g'", cmd: "admin", args: []string{"user", "ls"}, want: "default"},
		{name: "login does not look at paths", general: "profile = 'g'", cmd: "logout", want: "g"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			s := newSession(t)
			s.env["DBFS_PROFILE"] = test.env
			s.write(t, "config.toml", test.general)
			mounts, _ := s.mounts()
			s.tool.mounts = func() ([]mountPoint, error) {
				return append(mounts, mountPoint{dir: "/mnt/work", root: "/", profile: "work"}), nil
			}
			s.do(t, append([]string{test.cmd}, test.args...)...)
			if s.profile != test.want {
				t.Errorf("got %q, want %q", s.profile, test.want)
			}
		})
	}
}

func TestBadConfigurationIsNamed(t *testing.T) {
	tests := []struct {
		name, file, text, env string
		says                  []string // after DIR has been put in place
	}{
		{name: "value", file: "config.toml", text: "cache-bytes = 'banana'", says: []string{"cache-bytes in DIR/config.toml", `"banana" is not a size`}},
		{name: "value in profile", file: "profiles/default.toml", text: "on = 'perhaps'", says: []string{"on in DIR/profiles/default.toml", "perhaps"}},
		{name: "environment", env: "banana", says: []string{`DBFS_CACHE_BYTES="banana"`, "is not a size"}},
		{name: "unknown key", file: "config.toml", text: "cash-size = 1", says: []string{"cash-size in DIR/config.toml is not a setting"}},
		{name: "underscore", file: "config.toml", text: "cache_size = 1", says: []string{"cache_size in DIR/config.toml is not a setting"}},
		{name: "hidden flag", file: "config.toml", text: "ready-fd = 1", says: []string{"ready-fd in DIR/config.toml is not a setting"}},
		{name: "no TOML", file: "config.toml", text: "a = 1\nb = = 2", says: []string{"DIR/config.toml:2:5"}},
		{name: "table", file: "config.toml", text: "[word]\nx = 1", says: []string{"word in DIR/config.toml", "cannot be a setting"}},
		{name: "nested list", file: "config.toml", text: "word = [['x']]", says: []string{"word in DIR/config.toml", "list within a list"}},
		{name: "profile in a profile", file: "profiles/default.toml", text: "profile = 'x'", says: []string{"a profile cannot name another"}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			s := newSession(t)
			s.env["DBFS_CACHE_BYTES"] = test.env
			if test.file != "" {
				s.write(t, test.file, test.text)
			}
			_, _, err := s.probe(t)
			if exitCode(err) != 2 {
				t.Fatalf("exit %d, want 2: %v", exitCode(err), err)
			}
			for _, want := range test.says {
				want = strings.ReplaceAll(want, "DIR", s.places.config)
				if !strings.Contains(err.Error(), want) {
					t.Errorf("%q does not say %q", err, want)
				}
			}
		})
	}
	s := newSession(t)
	s.write(t, "config.toml", "cache_size = 1")
	if _, _, err := s.probe(t); control.ErrorOf(err).Hint != "did you mean cache-size?" {
		t.Errorf("hint %q", control.ErrorOf(err).Hint)
	}
}

func TestUnreadableConfigurationIsAnError(t *testing.T) {
	s := newSession(t)
	if err := os.MkdirAll(s.places.configFile(), 0o700); err != nil { // a directory in its place
		t.Fatal(err)
	}
	if _, _, err := s.probe(t); err == nil || !strings.Contains(err.Error(), s.places.configFile()) {
		t.Errorf("got %v", err)
	}
}

func TestNumbersAreToldPlainly(t *testing.T) {
	for _, c := range []struct{ args, want string }{
		{"debug sim --histories x", `--histories: "x" is not a number that fits`},
		{"mount --guard=perhaps", `--guard: "perhaps" is not true or false`},
	} {
		s := newSession(t)
		s.do(t, strings.Fields(c.args)...)
		if got := s.errs.String(); !strings.Contains(got, c.want) {
			t.Errorf("%s: %s", c.args, got)
		}
	}
}
