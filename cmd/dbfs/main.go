// Command dbfs is the drive, the tool and the server in one binary.
//
// "dbfs mount" is the daemon: it shows the user's tree as a local directory and opens a
// control socket. Nearly every other command is the tool: a thin client that asks the
// daemon over that socket and never opens a database. "dbfs serve" is the server.
//
// A profile is one login with one daemon, one state directory, one socket and one mount.
// A place is where files of a profile are kept; places.go lists them. A setting is the
// value of a flag, which may also come from the environment or a configuration file;
// config.go tells from which first.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/dbfs/dbfs/cmd/dbfs/control"
)

// commands is the table of subcommands as help shows it. What is not in it does not exist.
var commands = []struct {
	title string
	made  []func(*tool) *cobra.Command
}{
	{"Start here", []func(*tool) *cobra.Command{loginCommand, logoutCommand, mountCommand, umountCommand}},
	{"Look", []func(*tool) *cobra.Command{statusCommand, filestatusCommand, lsCommand}},
	{"Be sure", []func(*tool) *cobra.Command{waitCommand, queueCommand, heldCommand}},
	{"Local copies", []func(*tool) *cobra.Command{pinCommand, unpinCommand, freeCommand, warmupCommand, cacheCommand, whyCommand}},
	{"Find", []func(*tool) *cobra.Command{searchCommand, grepCommand}},
	{"Go back", []func(*tool) *cobra.Command{versionsCommand, restoreCommand, trashCommand}},
	{"Conflicts and sharing", []func(*tool) *cobra.Command{conflictsCommand, nsCommand}},
	{"Tune", []func(*tool) *cobra.Command{throttleCommand, pauseCommand, resumeCommand}},
	{"Run a service", []func(*tool) *cobra.Command{serveCommand, adminCommand}},
	{"About dbfs", []func(*tool) *cobra.Command{versionCommand, debugCommand}},
}

func main() {
	args, err := fstabArgs(os.Args)
	if err != nil {
		fmt.Fprintln(os.Stderr, "dbfs:", err)
		os.Exit(exitCode(err))
	}
	os.Exit(newTool().run(interruptible(), args))
}

// interruptible ends with the first SIGINT, SIGTERM or SIGHUP; the next one has its usual
// effect. Commands that do something else with signals ask for them, too: see mount.go.
func interruptible() context.Context {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	context.AfterFunc(ctx, stop)
	return ctx
}

// run runs one command line and returns the exit code.
func (t *tool) run(ctx context.Context, args []string) int {
	t.args = args
	root := rootCommand(t)
	root.SetArgs(args)
	err := root.ExecuteContext(ctx)
	if !t.configured { // the command line itself is wrong; what can be read of it decides
		t.json = slices.Contains(args, "--json")
	}
	return t.report(err)
}

func rootCommand(t *tool) *cobra.Command {
	root := &cobra.Command{
		Use:   "dbfs",
		Short: "A drive for files that live elsewhere",
		Long: "dbfs shows your files as one local directory tree. Every name is here; bytes come when somebody\n" +
			"reads them, and what you write is safe on this disk at once and at the server soon after.",
		Example:           "  dbfs mount ~/Dbfs -d      # start here\n  dbfs                      # the same as dbfs status\n  dbfs grep -n 'TODO' ~/Dbfs",
		SilenceErrors:     true,
		SilenceUsage:      true,
		PersistentPreRunE: t.configure,
		Args:              knownCommand,
	}
	root.SetOut(t.out)
	root.SetErr(t.errs)
	root.SetIn(t.in)
	status := statusCommand(t)
	root.RunE = status.RunE
	t.globalFlags(root)
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error { return usageError(cmd, plainValue(err)) })
	for i, group := range commands {
		id := fmt.Sprint(i)
		root.AddGroup(&cobra.Group{ID: id, Title: group.title + ":"})
		for _, make := range group.made {
			cmd := make(t)
			cmd.GroupID = id
			root.AddCommand(cmd)
		}
	}
	about := fmt.Sprint(len(commands) - 1)
	root.SetHelpCommandGroupID(about)
	root.SetCompletionCommandGroupID(about)
	root.InitDefaultHelpCmd()
	root.InitDefaultCompletionCmd()
	if completion, _, err := root.Find([]string{"completion"}); err == nil {
		chooses(completion) // cobra's own shows help for a shell that it does not know, and calls that a success
	}
	usageErrors(root)
	return root
}

// usageErrors makes every command's complaint about its arguments an ErrUsage.
func usageErrors(cmd *cobra.Command) {
	if check := cmd.Args; check != nil {
		cmd.Args = func(cmd *cobra.Command, args []string) error {
			if err := check(cmd, args); err != nil {
				return usageError(cmd, err)
			}
			return nil
		}
	}
	for _, sub := range cmd.Commands() {
		usageErrors(sub)
	}
}

// knownCommand refuses arguments, which are misspelt subcommands, and says what they may
// have been.
func knownCommand(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	err := fmt.Errorf("there is no command %q", cmd.CommandPath()+" "+args[0])
	cmd.SuggestionsMinimumDistance = 2
	if near := cmd.SuggestionsFor(args[0]); len(near) > 0 {
		return control.WithHint(control.Errorf(control.ErrUsage, "%v", err), "did you mean "+strings.Join(near, " or ")+"?")
	}
	return err
}

// usageError marks an error of the command line and says where to read about it.
func usageError(cmd *cobra.Command, err error) error {
	if control.ErrorOf(err).Hint != "" {
		return err
	}
	return control.WithHint(control.Errorf(control.ErrUsage, "%s", plainGroups(err.Error())), cmd.CommandPath()+" --help")
}

// What package cobra says of flags that go together, or do not.
var (
	excludeEachOther = regexp.MustCompile(`^if any flags in the group \[.*\] are set none of the others can be; \[(.*)\] were all set$`)
	oneIsRequired    = regexp.MustCompile(`^at least one of the flags in the group \[(.*)\] is required$`)
	goTogether       = regexp.MustCompile(`^if any flags in the group \[.*\] are set they must all be set; missing \[(.*)\]$`)
)

// plainGroups says that in plain words.
func plainGroups(text string) string {
	flags := func(list, last string) string {
		names := strings.Fields(list)
		for i := range names {
			names[i] = "--" + names[i]
		}
		if n := len(names); n > 1 {
			names = append(names[:n-2:n-2], names[n-2]+last+names[n-1])
		}
		return strings.Join(names, ", ")
	}
	if m := excludeEachOther.FindStringSubmatch(text); m != nil {
		return flags(m[1], " and ") + " do not go together"
	}
	if m := oneIsRequired.FindStringSubmatch(text); m != nil {
		return "say one of " + flags(m[1], " and ")
	}
	if m := goTogether.FindStringSubmatch(text); m != nil {
		return flags(m[1], " and ") + " is missing"
	}
	return text
}

// plainValue says without package strconv's words that a flag's value is none.
func plainValue(err error) error {
	bad, ok := errors.AsType[*pflag.InvalidValueError](err)
	if !ok {
		return err
	}
	if _, ok := errors.AsType[*strconv.NumError](err); !ok {
		return err
	}
	what := "a number that fits"
	if f := bad.GetFlag(); f.Value.Type() == "bool" {
		what = "true or false"
	}
	return fmt.Errorf("--%s: %q is not %s", bad.GetFlag().Name, bad.GetValue(), what)
}

// chooses makes a command that only has subcommands.
func chooses(cmd *cobra.Command, subs ...*cobra.Command) *cobra.Command {
	cmd.Args = knownCommand
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		return usageError(cmd, fmt.Errorf("%s what?", cmd.CommandPath()))
	}
	cmd.AddCommand(subs...)
	return cmd
}
