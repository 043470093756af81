package main

import (
	"path/filepath"
	"strings"

	"github.com/dbfs/dbfs/cmd/dbfs/control"
)

// mount(8) runs "mount.fuse.dbfs SOURCE DIR [-sfnv] [-o OPTIONS]" for a line of fstab
// whose type is fuse.dbfs. Linked to that name, this program takes SOURCE for a profile
// and OPTIONS for flags of mount with "_" for "-".

// flagOptions are the options of mount(8) that have a flag here of another name.
var flagOptions = map[string]string{"ro": "--read-only"}

// otherOptions are those that concern others: the kernel, mount(8), systemd.
var otherOptions = map[string]bool{
	"rw": true, "defaults": true, "auto": true, "noauto": true, "nofail": true, "user": true, "nouser": true, "users": true,
	"owner": true, "group": true, "dev": true, "nodev": true, "suid": true, "nosuid": true, "exec": true, "noexec": true,
	"atime": true, "noatime": true, "relatime": true, "sync": true, "async": true, "dirsync": true, "_netdev": true,
	"default_permissions": true,
}

// fstabArgs returns the arguments of a command line, with mount(8)'s manner of calling
// translated into ours.
func fstabArgs(argv []string) ([]string, error) {
	switch filepath.Base(argv[0]) {
	case "mount.fuse.dbfs", "mount.dbfs":
	default:
		return argv[1:], nil
	}
	var words, flags []string
	for i := 1; i < len(argv); i++ {
		switch arg := argv[i]; {
		case arg == "-o" && i+1 < len(argv):
			i++
			more, err := optionFlags(argv[i])
			if err != nil {
				return nil, err
			}
			flags = append(flags, more...)
		case arg == "-t" || arg == "-N":
			i++ // type and namespace: mount(8) has seen to them
		case strings.HasPrefix(arg, "-"):
			// -s, -f, -n, -v mean nothing here.
		default:
			words = append(words, arg)
		}
	}
	if len(words) != 2 {
		return nil, control.Errorf(control.ErrUsage, "%s PROFILE DIR [-o OPTIONS]", filepath.Base(argv[0]))
	}
	profile := strings.TrimPrefix(words[0], mountSource(""))
	if profile == "" || profile == "none" || profile == "dbfs" {
		profile = defaultProfile
	}
	return append([]string{"mount", words[1], "--daemon", "--profile", profile}, flags...), nil
}

// optionFlags translates "a,b_c=d" to "--a --b-c=d".
func optionFlags(options string) ([]string, error) {
	var flags []string
	for option := range strings.SplitSeq(options, ",") {
		key, value, hasValue := strings.Cut(option, "=")
		flag := flagOptions[key]
		switch {
		case key == "" || otherOptions[key] && !(key == "owner" && hasValue) || strings.HasPrefix(key, "x-") || key == "comment":
			continue
		case strings.HasPrefix(key, "-"):
			return nil, control.Errorf(control.ErrUsage, "mount option %q", option)
		case flag == "":
			flag = "--" + strings.ReplaceAll(key, "_", "-")
		}
		if hasValue {
			flag += "=" + value
		}
		flags = append(flags, flag)
	}
	return flags, nil
}
