package main

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/pelletier/go-toml/v2"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/dbfs/dbfs"
	"github.com/dbfs/dbfs/cmd/dbfs/control"
)

// A setting has one name in three spellings: the flag --cache-size, the variable
// DBFS_CACHE_SIZE, the key cache-size in profiles/PROFILE.toml and in config.toml. The
// first of these places that has it decides; the flag's default is the last.

// byPath marks commands that, with all below them, find their profile by the paths they are given.
const byPath = "dbfs: profile by path"

func goesByPath(cmd *cobra.Command) bool {
	for ; cmd != nil; cmd = cmd.Parent() {
		if cmd.Annotations[byPath] != "" {
			return true
		}
	}
	return false
}

// configure gives every flag that is not on the command line its setting. It runs
// before every command.
func (t *tool) configure(cmd *cobra.Command, args []string) error {
	t.configured = true
	general, err := readConfig(t.places.configFile(), cmd.Root())
	if err != nil {
		return err
	}
	if err := t.chooseProfile(cmd, args, general); err != nil {
		return err
	}
	own, err := readConfig(t.places.profileFile(t.profile), cmd.Root())
	if err != nil {
		return err
	}
	if _, ok := own.values["profile"]; ok {
		return control.Errorf(dbfs.ErrInvalid, "profile in %s: a profile cannot name another", own.file)
	}
	var failed error
	cmd.Flags().VisitAll(func(f *pflag.Flag) {
		if failed == nil && !f.Changed && f.Name != "help" {
			failed = t.setting(cmd, f, own, general)
		}
	})
	if failed != nil {
		return failed
	}
	for _, check := range []func() error{cmd.ValidateRequiredFlags, cmd.ValidateFlagGroups} {
		if err := check(); err != nil {
			return usageError(cmd, err)
		}
	}
	switch t.progress {
	case "auto", "plain", "json", "none":
		return nil
	}
	return control.Errorf(dbfs.ErrInvalid, "progress %q: it is auto, plain, json or none", t.progress)
}

// chooseProfile decides in this order: the flag, the environment, the mount that one of
// the paths or the working directory is in, config.toml, the default.
func (t *tool) chooseProfile(cmd *cobra.Command, args []string, general config) error {
	flag := cmd.Flags().Lookup("profile")
	if !flag.Changed {
		if v, ok := t.lookup(variable("profile")); ok && v != "" {
			t.profile = v
		} else if m, ok := t.mountOfAny(args); ok && goesByPath(cmd) {
			t.profile = m.profile
		} else if v, ok := general.values["profile"].(string); ok {
			t.profile = v
		} else {
			t.profile = defaultProfile
		}
		flag.Changed = true
	}
	return checkProfile(t.profile)
}

// setting looks for a flag's value in the environment and then in files.
func (t *tool) setting(cmd *cobra.Command, f *pflag.Flag, files ...config) error {
	if v, ok := t.lookup(variable(f.Name)); ok && v != "" {
		if err := cmd.Flags().Set(f.Name, v); err != nil {
			return control.Errorf(dbfs.ErrInvalid, "%s=%q in the environment: %v", variable(f.Name), v, cause(err))
		}
		return nil
	}
	for _, c := range files {
		v, ok := c.values[f.Name]
		if !ok {
			continue
		}
		if err := c.set(cmd.Flags(), f.Name, v); err != nil {
			return control.Errorf(dbfs.ErrInvalid, "%s in %s: %v", f.Name, c.file, cause(err))
		}
		return nil
	}
	return nil
}

// variable returns the environment variable of a flag.
func variable(flag string) string {
	return "DBFS_" + strings.ToUpper(strings.ReplaceAll(flag, "-", "_"))
}

// cause drops pflag's talk of flags from an error: the value came from elsewhere.
func cause(err error) error {
	if inner := errors.Unwrap(err); inner != nil {
		return inner
	}
	return err
}

// config is a configuration file. A file that does not exist is an empty one.
type config struct {
	file   string
	values map[string]any
}

// readConfig reads a file and refuses what is not a setting of any command of root.
func readConfig(file string, root *cobra.Command) (config, error) {
	c := config{file: file}
	b, err := os.ReadFile(file)
	if errors.Is(err, os.ErrNotExist) {
		return c, nil
	}
	if err != nil {
		return c, fmt.Errorf("configuration: %w", err)
	}
	if err := toml.Unmarshal(b, &c.values); err != nil {
		where := file
		if at, ok := errors.AsType[*toml.DecodeError](err); ok {
			row, col := at.Position()
			where = fmt.Sprintf("%s:%d:%d", file, row, col)
		}
		return c, control.Errorf(dbfs.ErrInvalid, "%s: %v", where, err)
	}
	known := map[string]bool{}
	flagNames(root, known)
	for key := range c.values {
		if known[key] {
			continue
		}
		err := control.Errorf(dbfs.ErrInvalid, "%s in %s is not a setting", key, file)
		if dashed := strings.ReplaceAll(key, "_", "-"); known[dashed] {
			return c, control.WithHint(err, "did you mean "+dashed+"?")
		}
		return c, err
	}
	return c, nil
}

func flagNames(cmd *cobra.Command, names map[string]bool) {
	note := func(f *pflag.Flag) {
		if !f.Hidden && f.Name != "help" {
			names[f.Name] = true
		}
	}
	cmd.LocalFlags().VisitAll(note)
	for _, sub := range cmd.Commands() {
		flagNames(sub, names)
	}
}

// set gives a flag the value of a key. Lists are for flags that may be repeated.
func (c config) set(flags *pflag.FlagSet, name string, v any) error {
	switch v := v.(type) {
	case string:
		return flags.Set(name, v)
	case bool, int64, float64:
		return flags.Set(name, fmt.Sprint(v))
	case []any:
		for _, one := range v {
			if _, nested := one.([]any); nested {
				return errors.New("a list within a list")
			}
			if err := c.set(flags, name, one); err != nil {
				return err
			}
		}
		return nil
	}
	return fmt.Errorf("a %T cannot be a setting: use text, a number or true and false", v)
}
