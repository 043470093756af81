package main

import (
	"fmt"
	"io"
	"os"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/dbfs/dbfs/cmd/dbfs/control"
	"github.com/dbfs/dbfs/cmd/dbfs/daemon"
)

// tool is a run of the program: the world around it, and the flags that every command has.
type tool struct {
	in       io.Reader
	out      io.Writer
	errs     io.Writer
	inTerm   bool // whether a person is at the other end
	outTerm  bool
	errTerm  bool
	now      func() time.Time
	lookup   func(name string) (string, bool) // an environment variable
	cwd      func() (string, error)
	mounts   func() ([]mountPoint, error) // the mounts of our profiles
	places   places
	newDrive func(daemon.Settings) (drive, error)
	args     []string // the command line

	// Set by configure.
	configured bool
	profile    string
	socket     string
	json       bool
	bytes      bool // sizes exactly
	noColor    bool
	progress   string // "auto", "plain", "json" or "none"

	asked string // the server that the command has asked itself; "": none
}

func newTool() *tool {
	places := findPlaces(os.LookupEnv, homeDir(), os.Getuid())
	return &tool{
		in: os.Stdin, out: os.Stdout, errs: os.Stderr,
		inTerm: term.IsTerminal(0), outTerm: term.IsTerminal(1), errTerm: term.IsTerminal(2),
		now: time.Now, lookup: os.LookupEnv, cwd: os.Getwd,
		places: places,
		mounts: func() ([]mountPoint, error) {
			all, err := listMounts()
			return places.own(all), err
		},
		newDrive: func(s daemon.Settings) (drive, error) { return daemon.New(s) },
	}
}

func (t *tool) globalFlags(root *cobra.Command) {
	f := root.PersistentFlags()
	f.StringVar(&t.profile, "profile", "", "which login and daemon (default: of the mount that the path or the working directory is in, else \"default\")")
	f.StringVar(&t.socket, "socket", "", "control socket of the daemon (default: by profile)")
	f.BoolVar(&t.json, "json", false, "one JSON object, or JSON lines where the answer is a stream")
	f.BoolVar(&t.bytes, "bytes", false, "exact sizes")
	f.BoolVar(&t.noColor, "no-color", false, "no colours; NO_COLOR does the same")
	f.StringVar(&t.progress, "progress", "auto", "auto, plain, json or none, on stderr; auto is a bar on a terminal")
}

// daemon returns a client of the profile's daemon. It connects when it is asked something.
func (t *tool) daemon() *control.Client { return control.NewClient(t.socketPath()) }

func (t *tool) socketPath() string {
	if t.socket != "" {
		return t.socket
	}
	return t.places.socket(t.profile)
}

// colored reports whether to colour what goes to out.
func (t *tool) colored() bool {
	set, ok := t.lookup("NO_COLOR")
	return t.outTerm && !t.noColor && !t.json && (!ok || set == "")
}

// printf writes to out for people; write errors are the reader's business, who has gone.
func (t *tool) printf(format string, args ...any) { fmt.Fprintf(t.out, format, args...) }

// note writes a remark to stderr.
func (t *tool) note(format string, args ...any) { fmt.Fprintf(t.errs, "dbfs: "+format+"\n", args...) }
