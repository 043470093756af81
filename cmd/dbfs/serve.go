package main

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/dbfs/dbfs/cmd/dbfs/control"
	"github.com/dbfs/dbfs/cmd/dbfs/host"
)

// drainTimeout is how long running requests may take when a server is told to end.
const drainTimeout = 15 * time.Second

// serveFlags are the flags of serve.
type serveFlags struct {
	listen, data, blocks string
	cert, key            string
	insecure             bool
	restored             bool
	keep, collect        span
	versions             int
	dedup                string
	logLevel             string
}

func serveCommand(t *tool) *cobra.Command {
	var flags serveFlags
	cmd := &cobra.Command{
		Use:   "serve --data DIR",
		Short: "Run a server: metadata, blocks and notification",
		Long: "Serve keeps namespaces in a database under DIR, and chunks in DIR/blocks, another directory, or a\n" +
			"bucket of any S3. Credentials for S3 come from the usual AWS places: AWS_ACCESS_KEY_ID and\n" +
			"AWS_SECRET_ACCESS_KEY, ~/.aws, the instance's role. The first start makes the account \"admin\" and\n" +
			"prints its token, which is kept in DIR/admin.token.\n\n" +
			"Without TLS a server listens on this machine only, unless --insecure says that something in\n" +
			"front of it takes care of that.\n\n" +
			"After the database was brought back from a backup, start once with --restored: clients then notice that\n" +
			"what they saw since is gone, and reconcile with what there is.",
		Example: "  dbfs serve --data /srv/dbfs\n" +
			"  dbfs serve --data /srv/dbfs --listen :443 --tls-cert cert.pem --tls-key key.pem --blocks s3://bucket/dbfs?region=eu-central-1\n" +
			"  dbfs serve --data /srv/dbfs --blocks 's3://bucket?endpoint=http://127.0.0.1:9000&path_style=true'",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return t.serveCmd(cmd.Context(), flags) },
	}
	f := cmd.Flags()
	f.StringVar(&flags.listen, "listen", "127.0.0.1:9470", "HOST:PORT; port 0 takes a free one")
	f.StringVar(&flags.data, "data", "", "directory of the database and everything else that is not a block")
	cmd.MarkFlagRequired("data")
	f.StringVar(&flags.blocks, "blocks", "", "file:///DIR or s3://BUCKET[/PREFIX][?endpoint=URL&region=NAME&path_style=true] (default: DATA/blocks)")
	f.StringVar(&flags.cert, "tls-cert", "", "certificate chain, PEM")
	f.StringVar(&flags.key, "tls-key", "", "its private key, PEM")
	cmd.MarkFlagsRequiredTogether("tls-cert", "tls-key")
	f.BoolVar(&flags.insecure, "insecure", false, "without TLS on an address that others can reach")
	flags.keep, flags.versions, flags.collect = span(30*24*time.Hour), 100, span(24*time.Hour)
	f.Var(&flags.keep, "keep", "for how long the versions that a file had are kept")
	f.IntVar(&flags.versions, "keep-versions", flags.versions, "how many of them for each file, at most")
	f.Var(&flags.collect, "collect", "how often garbage is collected; 0: only by dbfs admin gc")
	f.StringVar(&flags.dedup, "dedup", "account", "where a chunk may be stored already, not to be sent again: in the same namespace, in others of the same account, or anywhere on the server, for who proves to have it")
	f.BoolVar(&flags.restored, "restored", false, "the database in DIR was brought back from a backup; for one start")
	f.StringVar(&flags.logLevel, "log-level", "info", "debug, info, warn or error")
	return cmd
}

func (flags serveFlags) options() host.Options {
	// Where a flag says zero, the option's zero means something else.
	return host.Options{
		Blocks: flags.blocks, Collect: cmp.Or(time.Duration(flags.collect), -1),
		Restored: flags.restored, Dedup: flags.dedup, ReadBack: true,
		Keep: cmp.Or(time.Duration(flags.keep), -1), Versions: cmp.Or(flags.versions, -1),
	}
}

// serveReply is what serve --json prints once it listens.
type serveReply struct {
	URL        string `json:"url"`
	AdminToken string `json:"admin_token,omitempty"` // until somebody has logged in with it
	PID        int    `json:"pid"`

	Restored *host.Restoration `json:"restored,omitempty"` // what --restored did
}

func (t *tool) serveCmd(ctx context.Context, flags serveFlags) error {
	log, err := newLog(t.errs, flags.logLevel)
	if err != nil {
		return err
	}
	switch flags.dedup {
	case "namespace", "account", "server":
	default:
		return control.Errorf(control.ErrUsage, "dedup %q: namespace, account or server", flags.dedup)
	}
	// Before anything is opened: what is wrong with the flags should not look like a start.
	ln, err := listen(flags)
	if err != nil {
		return err
	}
	defer ln.Close()
	data, err := t.abs(flags.data)
	if err != nil {
		return err
	}
	ls, err := host.Open(ctx, data, flags.options(), log)
	if err != nil {
		return err
	}
	if err := t.announce(ls, ln, flags, data); err != nil {
		return errors.Join(err, ls.Close())
	}
	return errors.Join(serveUntil(ctx, ls.HTTPServer(), ln, log), ls.Close())
}

// announce says where the server is, and as long as nobody has, how to log in.
func (t *tool) announce(ls *host.Server, ln net.Listener, flags serveFlags, data string) error {
	file := filepath.Join(data, "admin.token")
	if ls.Token != "" {
		if err := writePrivate(file, []byte(ls.Token+"\n")); err != nil {
			return err
		}
	}
	url := baseURL(ln.Addr(), flags.cert != "")
	if t.json {
		return t.lineJSON(serveReply{url, ls.Token, os.Getpid(), ls.Restoration})
	}
	if r := ls.Restoration; r != nil {
		t.printf("restored: %s go on under epoch %d, and clients list them anew; %s may go on as they are; of %s %d are missing\n"+
			"  leave out --restored from now on\n", count(int64(r.Namespaces), "namespace"), r.Epoch, count(int64(r.Devices), "device"), count(int64(r.Chunks), "chunk"), r.Missing)
	}
	t.printf("serving at %s\n", url)
	if ls.Token != "" {
		t.printf("admin token %s\n  also in %s; log in: dbfs login --server %s --token - < %s\n", ls.Token, file, url, file)
	}
	return nil
}

// listen opens the address. Without TLS it must be one of this machine's own.
func listen(flags serveFlags) (net.Listener, error) {
	host, _, err := net.SplitHostPort(flags.listen)
	if err != nil {
		return nil, control.Errorf(control.ErrUsage, "listen %q: write HOST:PORT", flags.listen)
	}
	if flags.cert == "" && !flags.insecure && !loopback(host) {
		err := control.Errorf(control.ErrUsage, "listen %q: tokens and files would cross the network unencrypted", flags.listen)
		return nil, control.WithHint(err, "--tls-cert and --tls-key, or --insecure behind something that encrypts")
	}
	var secure *tls.Config
	if flags.cert != "" {
		pair, err := tls.LoadX509KeyPair(flags.cert, flags.key)
		if err != nil {
			return nil, fmt.Errorf("TLS certificate: %w", err)
		}
		secure = &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12, NextProtos: []string{"h2", "http/1.1"}}
	}
	ln, err := net.Listen("tcp", flags.listen)
	if err != nil {
		return nil, fmt.Errorf("listen: %w", err)
	}
	if secure != nil {
		ln = tls.NewListener(ln, secure)
	}
	return ln, nil
}

// loopback reports whether only this machine can reach a host. No host means every address.
func loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// baseURL is how this machine reaches a listener.
func baseURL(addr net.Addr, secure bool) string {
	scheme := "http"
	if secure {
		scheme = "https"
	}
	host, port, err := net.SplitHostPort(addr.String())
	if err != nil {
		return scheme + "://" + addr.String()
	}
	if ip := net.ParseIP(host); ip != nil && ip.IsUnspecified() {
		host = "127.0.0.1"
	}
	return scheme + "://" + net.JoinHostPort(host, port)
}

// serveUntil serves until ctx ends, then lets running requests finish.
func serveUntil(ctx context.Context, hs *http.Server, ln net.Listener, log *slog.Logger) error {
	hs.ErrorLog = slog.NewLogLogger(log.Handler(), slog.LevelDebug)
	failed := make(chan error, 1)
	go func() { failed <- hs.Serve(ln) }()
	select {
	case err := <-failed:
		return fmt.Errorf("serve: %w", err)
	case <-ctx.Done():
	}
	log.Info("ending; running requests are finished first")
	late, cancel := context.WithTimeout(context.Background(), drainTimeout)
	defer cancel()
	if err := hs.Shutdown(late); err != nil {
		log.Warn("requests were cut off", "err", err)
		return hs.Close()
	}
	return nil
}
