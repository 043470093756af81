package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/dbfs/dbfs"
	"github.com/dbfs/dbfs/cmd/dbfs/control"
	"github.com/dbfs/dbfs/cmd/dbfs/daemon"
	"github.com/dbfs/dbfs/remote"
)

// drive is what "dbfs mount" runs: a client built from its settings.
type drive interface {
	// Run mounts the drive and opens the control socket, calls ready once the mount answers,
	// and serves until ctx ends or somebody unmounts it. It returns nil after an
	// orderly unmount, with everything unsent stored and the socket closed.
	Run(ctx context.Context, ready func()) error

	// Abort takes the mount away at once, whoever uses it. Run then returns soon.
	Abort() error
}

// mountFlags are the flags of mount.
type mountFlags struct {
	background         bool
	readyFD            int // hidden: where a process in the background reports to the one that started it
	state, cache       string
	cacheSize, unsent  byteSize
	minFree            byteSize
	server             string
	allowOther, ro     bool
	owner              ownerFlag
	acl, indexAll      bool
	nonempty           bool
	passthrough        automatic
	shield             shieldRules
	limit              limit
	guard              bool
	budget             daemon.Budget
	guardBytes         byteSize
	guardWindow        span
	logLevel           string
	explicitMountPoint string
}

func mountCommand(t *tool) *cobra.Command {
	flags := mountFlags{cacheSize: 10 << 30, minFree: 1 << 30, budget: daemon.DefaultBudget()}
	flags.guardBytes, flags.guardWindow = byteSize(flags.budget.Bytes), span(flags.budget.Window)
	cmd := &cobra.Command{
		Use:   "mount [PATH]",
		Short: "Show the drive at a directory, by default ~/Dbfs",
		Long: "Mount runs the daemon: it shows your files at PATH and keeps them in sync until it is unmounted or\n" +
			"interrupted. It starts from what is on this device and connects afterwards, so it needs no network.\n" +
			"A profile that never logged in gets a server of its own within the daemon.",
		Example: "  dbfs mount ~/Dbfs -d\n  dbfs mount ~/Work --profile work --cache-size 50GiB -d\n" +
			"  mount.fuse.dbfs work /srv/work -o allow_other,cache_size=50GiB   # what fstab's line runs",
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			flags.explicitMountPoint = firstOf(args)
			return t.mount(cmd.Context(), flags)
		},
	}
	f := cmd.Flags()
	f.BoolVarP(&flags.background, "daemon", "d", false, "in the background; return when the mount answers")
	f.IntVar(&flags.readyFD, "ready-fd", -1, "")
	f.MarkHidden("ready-fd")
	f.StringVar(&flags.state, "state-dir", "", "where unsent data, journal and index are (default: by profile)")
	f.StringVar(&flags.cache, "cache-dir", "", "where downloaded data is (default: by profile)")
	f.Var(&flags.cacheSize, "cache-size", "how much downloaded data to keep")
	f.Var(&flags.unsent, "unsent-size", "how much unsent data to hold before writers must wait (default: half of what its disk has free, but at least 8GiB)")
	f.Var(&flags.limit, "bwlimit", "bytes a second, as rclone has it: 1M, UP:DOWN, off, or a timetable (default: as dbfs throttle set it last)")
	f.Var(&flags.minFree, "min-free", "how much of the disk to leave free")
	f.StringVar(&flags.server, "server", "", "base URL, or embedded (default: where this profile is logged in, else embedded)")
	f.BoolVar(&flags.allowOther, "allow-other", false, "let other users in, as far as the files' modes do")
	f.BoolVar(&flags.ro, "read-only", false, "no changes")
	if flags.owner = "self"; os.Geteuid() == 0 {
		flags.owner = "preserve"
	}
	f.Var(&flags.owner, "owner", "whose files are: self shows all as yours, preserve keeps and syncs their owners and groups")
	f.BoolVar(&flags.acl, "acl", false, "keep and obey POSIX ACLs: setfacl, getfacl; goes with --owner preserve")
	f.BoolVar(&flags.indexAll, "index-all", false, "download small files so that they can be searched")
	f.BoolVar(&flags.nonempty, "nonempty", false, "mount over a directory that holds files, which are hidden meanwhile")
	flags.passthrough.off = true
	f.Var(&flags.passthrough, "passthrough", "auto: the kernel reads large files without the daemon, where root mounts; off: never")
	flags.shield.must("auto")
	f.Var(&flags.shield, "shield", "programs that get nothing downloaded: auto, off, or names between commas, -NAME to let one: dbfs why")
	f.BoolVar(&flags.guard, "guard", true, "hold mass deletes and overwrites, here and by other devices, until you decide: dbfs held")
	f.IntVar(&flags.budget.Count, "guard-count", flags.budget.Count, "so many deletes and overwrites within the window are never held")
	f.IntVar(&flags.budget.Share, "guard-share", flags.budget.Share, "hold more than those if they are more than so many per cent of a namespace")
	f.IntVar(&flags.budget.Max, "guard-max", flags.budget.Max, "hold more than so many whatever their share")
	f.Var(&flags.guardBytes, "guard-bytes", "hold those of files that held more than so much")
	f.Var(&flags.guardWindow, "guard-window", "how far back deletes and overwrites are counted together")
	f.StringVar(&flags.logLevel, "log-level", "info", "debug, info, warn or error")
	return cmd
}

// An ownerFlag is "self" or "preserve".
type ownerFlag string

func (o *ownerFlag) String() string { return string(*o) }
func (o *ownerFlag) Type() string   { return "string" }
func (o *ownerFlag) Set(s string) error {
	if s != "self" && s != "preserve" {
		return fmt.Errorf("%q is neither self nor preserve", s)
	}
	*o = ownerFlag(s)
	return nil
}

func (t *tool) mount(ctx context.Context, flags mountFlags) error {
	s, err := t.mountSettings(flags)
	if err != nil {
		return err
	}
	for _, dir := range []string{s.State, filepath.Dir(logName(s.State)), s.Cache, t.places.runtime} {
		if err := control.PrivateDir(dir); err != nil {
			return err
		}
	}
	if flags.readyFD >= 0 {
		return t.mountReporting(ctx, s, flags)
	}
	if flags.background {
		return t.mountInBackground(s)
	}
	s.Log, err = newLog(t.errs, flags.logLevel)
	if err != nil {
		return err
	}
	report := t.listingReport()
	s.Listing = report
	return t.mountHere(ctx, s, flags.nonempty, func() {
		report(0)
		t.note("mounted at %s; interrupt to unmount", s.Mount)
	})
}

func logName(state string) string { return filepath.Join(state, "log", "dbfs.log") }

// mountHere runs a drive in this process until it ends.
func (t *tool) mountHere(ctx context.Context, s daemon.Settings, nonempty bool, ready func()) error {
	// The kernel has applied the callers' umask to the modes that it hands us.
	unix.Umask(0)
	h := holder{PID: os.Getpid(), Profile: s.Profile, Mount: s.Mount}
	for _, name := range []string{filepath.Join(s.State, "lock"), t.places.runLock(s.Profile)} {
		lock, err := takeLock(name, h)
		if err != nil {
			return err
		}
		defer lock.Close()
	}
	if err := prepareMountPoint(s, nonempty); err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	limitMemory(ctx, s)
	d, err := t.newDrive(s)
	if err != nil {
		return err
	}
	return runDrive(ctx, d, s.Log, ready)
}

// runDrive runs d until it ends by itself or by signals: the first unmounts in order, the
// second by force, the third ends the process.
func runDrive(ctx context.Context, d drive, log *slog.Logger, ready func()) error {
	sigs := make(chan os.Signal, 3)
	signal.Notify(sigs, os.Interrupt, syscall.SIGTERM)
	defer signal.Stop(sigs)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	ended := make(chan struct{})
	defer close(ended)
	go func() {
		for n := 1; ; n++ {
			select {
			case <-ended:
				return
			case sig := <-sigs:
				log.Info("signal", "signal", sig, "count", n)
			}
			switch n {
			case 1:
				cancel()
			case 2:
				if err := d.Abort(); err != nil {
					log.Error("forced unmount", "err", err)
				}
			default:
				os.Exit(130)
			}
		}
	}()
	return d.Run(ctx, ready)
}

// mountSettings puts together what the flags, the login and the places say.
func (t *tool) mountSettings(flags mountFlags) (daemon.Settings, error) {
	s := daemon.Settings{
		Profile: t.profile, Socket: t.socketPath(), Source: mountSource(t.profile),
		CacheSize: int64(flags.cacheSize), UnsentSize: int64(flags.unsent), MinFree: int64(flags.minFree),
		AllowOther: flags.allowOther, ReadOnly: flags.ro, Preserve: flags.owner == "preserve", ACL: flags.acl, IndexAll: flags.indexAll,
		Version:       thisVersion(),
		NoPassthrough: flags.passthrough.off,
		Shield:        flags.shield.rules,
		Limit:         flags.limit.schedule,
	}
	if s.Guard, s.NoGuard = flags.budget, !flags.guard; flags.guard {
		s.Guard.Bytes, s.Guard.Window = int64(flags.guardBytes), time.Duration(flags.guardWindow)
		if err := s.Guard.Check(); err != nil {
			return s, err
		}
	}
	s.Version.PID = os.Getpid()
	for _, dir := range []struct {
		to               *string
		given, otherwise string
	}{
		{&s.Mount, flags.explicitMountPoint, t.places.mountPoint(t.profile)},
		{&s.State, flags.state, t.places.stateDir(t.profile)},
		{&s.Cache, flags.cache, t.places.cacheDir(t.profile)},
		{&s.Socket, s.Socket, ""},
	} {
		if dir.given == "" {
			dir.given = dir.otherwise
		}
		var err error
		if *dir.to, err = t.abs(dir.given); err != nil {
			return s, err
		}
	}
	if s.UnsentSize == 0 {
		s.UnsentSize = unsentSize(freeAt(s.State))
	}
	mounts, err := listMounts()
	if err != nil {
		return s, err
	}
	s.Mount = realMountPoint(s.Mount, mounts)
	for _, dir := range []string{s.State, s.Cache, filepath.Dir(s.Socket)} {
		if overlap(s.Mount, dir) {
			return s, control.Errorf(dbfs.ErrInvalid, "the mount %s and the daemon's own %s are one inside the other", s.Mount, dir)
		}
	}
	return s, t.chooseServer(&s, flags.server)
}

// unsentSize is how much unsent data is held if nobody says how much, on a disk that has so much free. What is written to
// a file is unsent until it is closed, so a file cannot be larger than this: as large a one as half the disk goes in.
func unsentSize(free int64) int64 { return max(8<<30, free/2) }

// freeAt returns how many bytes the disk of a directory has free, which may have to be made yet; 0: unknown.
func freeAt(dir string) int64 {
	var st unix.Statfs_t
	for err := unix.Statfs(dir, &st); err != nil; err = unix.Statfs(dir, &st) {
		if !errors.Is(err, unix.ENOENT) || dir == filepath.Dir(dir) {
			return 0
		}
		dir = filepath.Dir(dir)
	}
	return int64(st.Bavail) * st.Bsize
}

func overlap(a, b string) bool {
	_, below := within(a, b)
	_, above := within(b, a)
	return below || above
}

// chooseServer takes the server that is asked for, else the one that the profile is
// logged in at, else the embedded one.
func (t *tool) chooseServer(s *daemon.Settings, asked string) error {
	saved, err := readLogin(t.places.token(t.profile))
	known := err == nil
	if err != nil && !errors.Is(err, dbfs.ErrNotExist) {
		return err
	}
	switch {
	case !known && (asked == "" || asked == daemon.Embedded):
		s.Server = daemon.Embedded
		s.Device, err = deviceName("")
		return err
	case !known:
		return t.notLoggedIn(asked)
	case asked != "" && trimURL(asked) != saved.Server:
		return control.Errorf(dbfs.ErrInvalid, "profile %s is logged in at %s, not at %s: use another profile", t.profile, saved.Server, asked)
	case saved.Token == "":
		return t.notLoggedIn(saved.Server)
	default:
		s.Server, s.Token, s.Login, s.Device = saved.Server, saved.Token, saved.Device, saved.Name
		s.Renewed = func(l remote.Login) error {
			renewed := saved
			renewed.Device, renewed.Token = l.Device, l.Token
			return renewed.write(t.places.token(t.profile))
		}
	}
	return nil
}

func (t *tool) notLoggedIn(server string) error {
	return control.WithHint(fmt.Errorf("%w: profile %s is not logged in at %s", dbfs.ErrAuth, t.profile, server),
		fmt.Sprintf("dbfs login --server %s --token TOKEN --profile %s", server, t.profile))
}

// prepareMountPoint makes sure of an empty directory. A mount whose daemon is dead is taken away.
func prepareMountPoint(s daemon.Settings, nonempty bool) error {
	mounts, err := listMounts()
	if err != nil {
		return err
	}
	for _, m := range mounts {
		if m.dir != s.Mount {
			continue
		}
		if !dead(m) {
			return control.WithHint(fmt.Errorf("%w: profile %s is mounted at %s", dbfs.ErrBusy, m.profile, m.dir), fmt.Sprintf("dbfs umount %q", m.dir))
		}
		s.Log.Warn("removing the mount that a dead daemon left", "mount", m.dir)
		if err := detach(m); err != nil {
			return err
		}
	}
	if err := os.MkdirAll(s.Mount, 0o755); err != nil {
		return fmt.Errorf("mount point: %w", err)
	}
	entries, err := os.ReadDir(s.Mount)
	if err != nil {
		return fmt.Errorf("mount point: %w", err)
	}
	if len(entries) > 0 && !nonempty {
		return control.WithHint(fmt.Errorf("%w: %s holds files, which a mount would hide", dbfs.ErrNotEmpty, s.Mount), "choose another directory, or --nonempty")
	}
	return nil
}
