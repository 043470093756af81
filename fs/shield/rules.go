package shield

import (
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/dbfs/dbfs"
)

// Rules say which programs get names and attributes, but no bytes that would have to be fetched. None refuse nobody.
type Rules struct {
	names []rule // the last one that fits decides
	rates bool   // who is idle and asks for many files is refused, too
}

type rule struct {
	pattern string // of names, as path.Match has them
	refuse  bool
}

// crawlers are programs that read every file that they find, to show or to find it again.
var crawlers = []string{
	"tracker-*", "tracker3*", "localsearch*", "baloo_file*", "recollindex", "recoll_index*", "updatedb*", "beagled*",
	"tumblerd", "*thumbnailer*", "*-thumbnail*", "thumbnail.so",
}

// copiers read many files since somebody wants them to, also when they run by night and give way to others.
var copiers = []string{
	"rsync", "rclone", "restic", "borg*", "kopia", "duplicity", "duplicati*", "bup", "bacula*", "tar", "bsdtar", "cp", "mv",
	"git", "unison*", "rdiff-backup*", "dirvish*", "rsnapshot", "sftp-server", "scp", "zip", "7z*", "dbfs",
}

// ParseRules reads rules: words between commas. "auto" are those that dbfs has, NAME refuses a program, -NAME lets it have
// everything, and "off", alone, refuses nobody. A name may have * and ?. What comes later counts.
func ParseRules(s string) (Rules, error) {
	var r Rules
	if strings.TrimSpace(s) == "off" {
		return r, nil
	}
	for _, word := range strings.Split(s, ",") {
		word = strings.TrimSpace(word)
		if word == "auto" {
			r.rates = true
			r.add(true, crawlers...)
			r.add(false, copiers...)
			continue
		}
		name, allow := strings.CutPrefix(word, "-")
		if name == "" || name == "off" {
			return r, fmt.Errorf("%q is not auto, off, or names of programs between commas: %w", s, dbfs.ErrInvalid)
		}
		if _, err := path.Match(name, ""); err != nil {
			return r, fmt.Errorf("%q: %w: %w", name, err, dbfs.ErrInvalid)
		}
		r.add(!allow, name)
	}
	return r, nil
}

func (r *Rules) add(refuse bool, patterns ...string) {
	for _, p := range patterns {
		r.names = append(r.names, rule{p, refuse})
	}
}

// verdict says what the name of a program decides.
func (r *Rules) verdict(p *Program) verdict {
	for _, rule := range slices.Backward(r.names) {
		if ok, _ := path.Match(rule.pattern, p.Name); !ok {
			continue
		}
		if rule.refuse {
			return crawler
		}
		return allowed
	}
	if r.rates && p.Idle && !p.Screen && p.PID != 0 {
		return suspect
	}
	return allowed
}

type verdict int

const (
	allowed verdict = iota
	suspect         // its rate decides
	crawler
)
