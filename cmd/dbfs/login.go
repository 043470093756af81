package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/dbfs/dbfs"
	"github.com/dbfs/dbfs/cmd/dbfs/control"
)

func loginCommand(t *tool) *cobra.Command {
	var server, token, device string
	cmd := &cobra.Command{
		Use:   "login --server URL",
		Short: "Make this machine a device of an account",
		Long: "Login trades an account's token for one of this device, which is kept for the profile. The token\n" +
			"comes from --token, DBFS_TOKEN, a question on the terminal, or with --token=- from standard input.\n" +
			"A profile that was logged in before becomes the same device again, with all it has not sent.",
		Example: "  dbfs login --server https://drive.example.org\n  dbfs login --server http://127.0.0.1:9470 --token - --profile test < DATA/admin.token",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			server := trimURL(server)
			if err := checkServer(server); err != nil {
				return err
			}
			token, err := t.readToken(token)
			if err != nil {
				return err
			}
			return t.login(cmd.Context(), server, token, device)
		},
	}
	cmd.Flags().StringVar(&server, "server", "", "base URL of the server")
	cmd.MarkFlagRequired("server")
	cmd.Flags().StringVar(&token, "token", "", "the account's token; - reads it from standard input")
	cmd.Flags().StringVar(&device, "device", "", "what to call this device (default: the host's name)")
	return cmd
}

// checkServer returns an error unless what was given as a server is the URL of one.
func checkServer(server string) error {
	u, err := url.Parse(server)
	if err == nil && (u.Scheme == "http" || u.Scheme == "https") && u.Host != "" {
		return nil
	}
	err = control.Errorf(control.ErrUsage, "--server %q: it is a URL, with http:// or https:// before the host", server)
	if strings.Contains(server, "://") || server == "" {
		return control.WithHint(err, "dbfs login --server https://HOST[:PORT]")
	}
	return control.WithHint(err, "dbfs login --server "+likelyScheme(server)+"://"+server)
}

// likelyScheme is how a server listens most likely: without a certificate only on this machine.
func likelyScheme(hostport string) string {
	host, _, err := net.SplitHostPort(hostport)
	if err != nil {
		host = hostport
	}
	if ip := net.ParseIP(strings.Trim(host, "[]")); host == "localhost" || ip != nil && ip.IsLoopback() {
		return "http"
	}
	return "https"
}

// readToken takes the token as it was given, or asks for it.
func (t *tool) readToken(given string) (string, error) {
	switch {
	case given == "-":
		line, err := bufio.NewReader(io.LimitReader(t.in, 4096)).ReadString('\n')
		if err != nil && !errors.Is(err, io.EOF) {
			return "", fmt.Errorf("read token: %w", err)
		}
		given = line
	case given == "" && t.inTerm:
		fmt.Fprint(t.errs, "Token: ")
		b, err := term.ReadPassword(int(os.Stdin.Fd()))
		fmt.Fprintln(t.errs)
		if err != nil {
			return "", fmt.Errorf("read token: %w", err)
		}
		given = string(b)
	}
	if given = strings.TrimSpace(given); given == "" {
		return "", control.Errorf(control.ErrUsage, "login needs a token: --token, DBFS_TOKEN or --token=-")
	}
	return given, nil
}

// loginReply is what login --json prints.
type loginReply struct {
	Profile string        `json:"profile"`
	Server  string        `json:"server"`
	Account string        `json:"account"`
	Device  dbfs.DeviceID `json:"device"`
	Name    string        `json:"name"`
}

func (t *tool) login(ctx context.Context, server, token, device string) error {
	file := t.places.token(t.profile)
	before, err := readLogin(file)
	switch {
	case errors.Is(err, dbfs.ErrNotExist):
	case err != nil:
		return err
	case before.Server != server:
		return t.taken(before)
	}
	if device, err = deviceName(device); err != nil {
		return err
	}
	l, err := t.ask(server, "").Login(ctx, token, device, before.Device)
	if errors.Is(err, dbfs.ErrForbidden) && before.Device != 0 {
		return t.taken(before)
	}
	if err != nil {
		return err
	}
	saved := savedLogin{Server: server, Account: l.Name, Device: l.Device, Name: device, Token: l.Token}
	if err := saved.write(file); err != nil {
		return err
	}
	if t.json {
		return t.printJSON(loginReply{t.profile, server, l.Name, l.Device, device})
	}
	t.printf("logged in as %s at %s; this device is %q\n", visible(l.Name), server, visible(device))
	if _, err := t.daemon().Version(ctx); err == nil {
		t.note("the drive that is mounted goes on with its old login, which is void now: nothing is sent or fetched until it is mounted again. Next: %s, then %s", t.ours("dbfs umount"), t.ours("dbfs mount -d"))
	}
	return nil
}

// deviceName is the name that was given, or else the host's.
func deviceName(given string) (string, error) {
	if given != "" {
		return given, nil
	}
	host, err := os.Hostname()
	if err != nil {
		return "", fmt.Errorf("name of this device: %w", err)
	}
	return host, nil
}

// taken says that the profile belongs to another account or server, whose edits it may hold.
func (t *tool) taken(before savedLogin) error {
	err := fmt.Errorf("profile %s %w: it is %s's at %s", t.profile, dbfs.ErrExist, before.Account, before.Server)
	return control.WithHint(err, "log in with another --profile")
}

func logoutCommand(t *tool) *cobra.Command {
	var force bool
	cmd := &cobra.Command{
		Use:   "logout",
		Short: "Make this device's token worthless",
		Long: "Logout ends this device's right to the account. What is on this disk stays, and logging the\n" +
			"profile in again takes it up. While changes are unsent it refuses, unless told to with --force.",
		Example: "  dbfs logout\n  dbfs logout --force --profile work   # although unsent, or the server cannot be reached",
		Args:    cobra.NoArgs,
		RunE:    func(cmd *cobra.Command, _ []string) error { return t.logout(cmd.Context(), force) },
	}
	cmd.Flags().BoolVar(&force, "force", false, "although changes are unsent or the server cannot be reached")
	return cmd
}

func (t *tool) logout(ctx context.Context, force bool) error {
	file := t.places.token(t.profile)
	saved, err := readLogin(file)
	if err == nil && saved.Token == "" {
		err = dbfs.ErrNotExist
	}
	if errors.Is(err, dbfs.ErrNotExist) {
		return fmt.Errorf("%w: profile %s is not logged in", dbfs.ErrAuth, t.profile)
	}
	if err != nil {
		return err
	}
	st, err := t.daemon().Status(ctx)
	switch {
	case force || errors.Is(err, control.ErrNoDaemon):
	case err != nil:
		return err
	case !st.Synced():
		return control.WithHint(fmt.Errorf("%w: %s", control.ErrNotSynced, t.left(st.Sync)), "dbfs wait, or dbfs logout --force")
	}
	err = t.ask(saved.Server, saved.Token).Logout(ctx)
	switch {
	case errors.Is(err, dbfs.ErrAuth): // it was worthless already
	case err != nil && force:
		t.note("the server still takes this device's token, until it is revoked there: %v", err)
	case err != nil:
		return err
	}
	saved.Token = ""
	return saved.write(file)
}
