package e2e

import (
	"os"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/dbfs/dbfs"
)

// Two devices of two people use a folder where names are portable.
func TestPortableNames(t *testing.T) {
	onMounts(t,
		sharedNamed("team", dbfs.RoleWrite, dbfs.NamesPortable),
		as(alice, eventually("mount", isDir("team")), write("team/readme", "one"), mkdir("team/Docs"), write("team/docs/f", "deep")), synced(),
		as(carol, eventually("mount", isDir("team")), sees("team/README", "one"), sees("team/DOCS/F", "deep"),
			refused(unix.EINVAL, "write a device", func(v *device) error { return os.WriteFile(v.at("team/Con.txt"), nil, 0o644) })),

		// Nothing but the spelling changes, here and there.
		as(alice, rename("team/readme", "team/README"), rename("team/Docs", "team/DOCS")), synced(),
		as(carol, holds("team", "DOCS", "README"), sees("team/readme", "one"),
			write("team/ReadMe", "two"), remove("team/docs/F")), synced(),
		as(alice, holds("team", "DOCS", "README"), holds("team/docs"), sees("team/readme", "two"), clearAway("team/docs")), synced(),

		// Apart from each other.
		as(alice, offline(), write("team/plan.txt", "alice's"), mkdir("team/new"), write("team/new/a", "a")),
		as(carol, write("team/PLAN.TXT", "carol's"), mkdir("team/NEW"), write("team/NEW/b", "b"), remove("team/readme"), sent()),
		as(alice, online()), synced(),
		as(alice, sees("team/Plan.txt", "carol's"), sees("team/"+asideOf("plan.txt", alice), "alice's"), sees("team/New/A", "a"), sees("team/New/B", "b"), lacks("team/README")),
		as(carol, sees("team/plan.TXT", "carol's"), sees("team/"+asideOf("plan.txt", alice), "alice's"), holds("team/NEW", "a", "b"), lacks("team/readme")),

		// A name that is not there is not remembered in any spelling.
		as(alice, lacks("team/late"), lacks("team/LATE")),
		as(carol, write("team/Late", "here")), synced(),
		as(alice, sees("team/late", "here"), sees("team/LATE", "here"), stopped(), started(), sees("team/lATE", "here")),
	)
}
