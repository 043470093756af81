package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/dbfs/dbfs/cmd/dbfs/control/controltest"
	"github.com/dbfs/dbfs/remote"
)

// startServer runs "dbfs serve" on a free port until the test ends.
func startServer(t *testing.T, data string, more ...string) serveReply {
	t.Helper()
	s := newSession(t)
	r, w := io.Pipe()
	s.tool.out = w
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan int, 1)
	s.reset()
	go func() {
		code := s.run(ctx, append([]string{"serve", "--json", "--data", data, "--listen", "127.0.0.1:0", "--log-level", "error"}, more...))
		w.Close()
		ended <- code
	}()
	t.Cleanup(func() {
		cancel()
		go io.Copy(io.Discard, r)
		select {
		case code := <-ended:
			if code != 0 {
				t.Errorf("serve: exit %d\n%s", code, s.errs.String())
			}
		case <-time.After(20 * time.Second):
			t.Error("serve does not end")
		}
	})
	var reply serveReply
	line, err := bufio.NewReader(r).ReadString('\n')
	if err == nil {
		err = json.Unmarshal([]byte(line), &reply)
	}
	if err != nil || reply.URL == "" {
		t.Fatalf("serve said %q, %v", line, err)
	}
	return reply
}

// want runs a command line and compares what it prints.
func (s *session) want(t *testing.T, want string, args ...string) {
	t.Helper()
	if got := s.do(t, args...); got != want {
		t.Errorf("dbfs %s:\n got %q\nwant %q", strings.Join(args, " "), got, want)
	}
}

// has runs a command line and looks for words in what it prints.
func (s *session) has(t *testing.T, words string, args ...string) string {
	t.Helper()
	got := s.do(t, args...)
	if !strings.Contains(got, words) {
		t.Errorf("dbfs %s:\n got %q\nwithout %q", strings.Join(args, " "), got, words)
	}
	return got
}

func TestAccountsAndNamespaces(t *testing.T) {
	data := filepath.Join(tempDir(t), "data")
	srv := startServer(t, data)
	token, err := os.ReadFile(filepath.Join(data, "admin.token"))
	if err != nil || strings.TrimSpace(string(token)) != srv.AdminToken || srv.AdminToken == "" {
		t.Fatalf("admin.token holds %q, %v; printed %q", token, err, srv.AdminToken)
	}
	if info, _ := os.Stat(filepath.Join(data, "admin.token")); info.Mode().Perm() != 0o600 {
		t.Errorf("admin.token has mode %v", info.Mode())
	}

	s := newSession(t)
	s.has(t, "exit 7", "login", "--server", srv.URL, "--token", "wrong")
	s.has(t, "login needs a token", "login", "--server", srv.URL)
	s.env["DBFS_TOKEN"] = srv.AdminToken
	s.want(t, "logged in as admin at "+srv.URL+"; this device is \"desk\"\n", "login", "--server", srv.URL+"/", "--device", "desk", "--profile", "root")
	delete(s.env, "DBFS_TOKEN")

	bob := strings.TrimSpace(s.do(t, "admin", "user", "add", "bob", "--profile", "root"))
	s.has(t, "already exists", "admin", "user", "add", "bob", "--profile", "root")
	s.tool.in = strings.NewReader(bob + "\n")
	s.has(t, "logged in as bob", "login", "--server", srv.URL, "--token=-", "--profile", "bob", "--device", "laptop")
	s.has(t, "exit 7", "admin", "user", "add", "eve", "--profile", "bob")
	s.has(t, "admin  admin\n", "admin", "user", "ls", "--profile", "root")

	team := strings.Fields(s.do(t, "ns", "create", "team", "--mount", "/team", "--profile", "root"))[0]
	s.has(t, team+"  admin  shared  exact  team", "ns", "ls", "--profile", "root")
	s.has(t, "no such file", "ns", "members", "team", "--profile", "bob")
	s.has(t, "exit 1", "ns", "create", "team", "--profile", "root")
	s.has(t, "another name, or dbfs ns ls", "ns", "create", "team", "--profile", "root")
	s.has(t, `--names "loose": it is exact or portable`, "ns", "create", "other", "--names", "loose", "--profile", "root")
	s.want(t, "", "ns", "rename", "team", "crew", "--profile", "root")
	photos := strings.Fields(s.do(t, "ns", "create", "photos", "--names", "portable", "--profile", "root"))[0]
	s.has(t, photos+"  admin  shared  portable  photos", "ns", "ls", "--profile", "root")
	s.has(t, `"names":"portable"`, "ns", "ls", "--json", "--profile", "root")
	s.has(t, "already exists", "ns", "rename", "photos", "crew", "--profile", "root")
	s.want(t, "", "ns", "rename", team, "team", "--profile", "root")
	s.want(t, "", "ns", "share", "team", "bob", "write", "--profile", "root")
	s.has(t, team+"  write  shared  exact  team", "ns", "ls", "--profile", "bob")
	s.has(t, "bob    write\n", "ns", "members", "team", "--profile", "bob")
	s.want(t, "/team\n", "ns", "mount", team, "--profile", "bob")
	s.has(t, "already exists", "ns", "mount", "team", "--profile", "bob")
	s.has(t, "exit 7", "ns", "share", "team", "admin", "read", "--profile", "bob")
	s.want(t, "", "ns", "unmount", "team", "--profile", "bob")
	s.want(t, "", "ns", "leave", "team", "--profile", "bob")
	s.has(t, "exit 4", "ns", "leave", "team", "--profile", "bob")
	s.has(t, `role "owner"`, "ns", "share", "team", "bob", "owner", "--profile", "root")
	s.has(t, "your own tree", "ns", "mount", "team", "other:/x", "--profile", "root")
	s.has(t, "ns what?", "ns", "--profile", "root")
	s.has(t, "did you mean share?", "ns", "shere")

	s.want(t, "", "logout", "--profile", "bob")
	s.has(t, "is not logged in", "logout", "--profile", "bob")
	s.has(t, "exit 7", "ns", "ls", "--profile", "bob")
	before, err := readLogin(s.places.token("bob"))
	if err != nil || before.Token != "" {
		t.Fatalf("after logout: %+v, %v", before, err)
	}
	s.has(t, "profile bob already exists: it is bob's", "login", "--server", srv.URL, "--token", srv.AdminToken, "--profile", "bob")
	s.has(t, "another --profile", "login", "--server", "http://127.0.0.1:1", "--token", "x", "--profile", "bob")
	s.has(t, "logged in as bob", "login", "--server", srv.URL, "--token", bob, "--profile", "bob")
	if after, err := readLogin(s.places.token("bob")); err != nil || after.Device != before.Device {
		t.Errorf("logged in again as device %v, was %v, %v", after.Device, before.Device, err)
	}
}

func TestCollectGarbage(t *testing.T) {
	srv := startServer(t, filepath.Join(tempDir(t), "data"), "--keep", "0", "--keep-versions", "7", "--collect", "0")
	s := newSession(t)
	s.env["DBFS_TOKEN"] = srv.AdminToken
	s.do(t, "login", "--server", srv.URL, "--device", "desk", "--profile", "root")
	delete(s.env, "DBFS_TOKEN")
	s.has(t, "would be condemned  0 chunks", "admin", "gc", "--dry-run", "--profile", "root")
	s.has(t, "forgotten  0 versions, 0 log lines, 0 deleted files\n", "admin", "gc", "--profile", "root")
	var res remote.Collection
	if err := json.Unmarshal([]byte(s.do(t, "admin", "gc", "--json", "--profile", "root")), &res); err != nil || res.Running || res.DryRun || res.Namespaces != 1 || res.Finished.IsZero() {
		t.Errorf("gc --json: %+v, %v", res, err)
	}
	bob := strings.TrimSpace(s.do(t, "admin", "user", "add", "bob", "--profile", "root"))
	s.do(t, "login", "--server", srv.URL, "--token", bob, "--profile", "bob", "--device", "laptop")
	s.has(t, "exit 7", "admin", "gc", "--profile", "bob")
}

func TestLogoutWhileUnsent(t *testing.T) {
	srv := startServer(t, filepath.Join(tempDir(t), "data"))
	s := newSession(t)
	s.serve(t, sampleDaemon()) // of profile default, with 12 files to send
	s.has(t, "logged in", "login", "--server", srv.URL, "--token", srv.AdminToken)
	s.has(t, "exit 8", "logout")
	s.want(t, "", "logout", "--force")
}

func TestLogoutWithoutTheServer(t *testing.T) {
	s := newSession(t)
	saved := savedLogin{Server: "http://127.0.0.1:1", Account: "ana", Device: 7, Name: "x", Token: "t"}
	if err := saved.write(s.places.token(defaultProfile)); err != nil {
		t.Fatal(err)
	}
	s.has(t, "exit 6", "logout")
	s.has(t, "still takes this device's token", "logout", "--force")
}

func TestServerKeepsItsDataAndItsLock(t *testing.T) {
	data := filepath.Join(tempDir(t), "data")
	blocks := filepath.Join(tempDir(t), "blocks")
	args := []string{"--blocks", "file://" + blocks}
	var token string
	t.Run("first start", func(t *testing.T) {
		srv := startServer(t, data, args...)
		token = srv.AdminToken
		s := newSession(t)
		if got := s.do(t, "serve", "--data", data, "--listen", "127.0.0.1:0"); !strings.Contains(got, "exit 11") {
			t.Errorf("second server on the same data: %q", got)
		}
	})
	t.Run("second start", func(t *testing.T) {
		srv := startServer(t, data, args...)
		if srv.AdminToken != token {
			t.Errorf("token %q, was %q: nobody has used it yet", srv.AdminToken, token)
		}
		s := newSession(t)
		s.has(t, "logged in as admin", "login", "--server", srv.URL, "--token", token)
	})
	t.Run("third start", func(t *testing.T) {
		if srv := startServer(t, data, args...); srv.AdminToken != "" {
			t.Error("a token that was used is printed again")
		}
	})
	if _, err := os.Stat(blocks); err != nil {
		t.Error("--blocks was not used:", err)
	}
}

func TestServeRestored(t *testing.T) {
	data := filepath.Join(tempDir(t), "data")
	t.Run("first start", func(t *testing.T) {
		if srv := startServer(t, data); srv.Restored != nil {
			t.Errorf("restored without being told to: %+v", srv.Restored)
		}
	})
	t.Run("restored", func(t *testing.T) {
		srv := startServer(t, data, "--restored")
		if r := srv.Restored; r == nil || r.Namespaces != 1 || r.Epoch < 1_000_000 || r.Missing != 0 {
			t.Errorf("%+v", r)
		}
	})
}

func TestServeRefuses(t *testing.T) {
	data := filepath.Join(tempDir(t), "data")
	tests := []struct {
		args []string
		code string
		says string
	}{
		{nil, "exit 2", "data"},
		{[]string{"--data", data, "--listen", "0.0.0.0:0"}, "exit 2", "--insecure"},
		{[]string{"--data", data, "--listen", ":0"}, "exit 2", "unencrypted"},
		{[]string{"--data", data, "--listen", "example.org:0"}, "exit 2", "unencrypted"},
		{[]string{"--data", data, "--listen", "nonsense"}, "exit 2", "HOST:PORT"},
		{[]string{"--data", data, "--tls-cert", "x"}, "exit 2", "tls-key"},
		{[]string{"--data", data, "--listen", ":0", "--tls-cert", "x", "--tls-key", "y"}, "exit 1", "TLS certificate"},
		{[]string{"--data", data, "--listen", "127.0.0.1:0", "--blocks", "ftp://x"}, "exit 2", "s3://BUCKET"},
		{[]string{"--data", data, "--listen", "127.0.0.1:0", "--blocks", "file://host/x"}, "exit 2", "file:///DIR"},
		{[]string{"--data", data, "--listen", "127.0.0.1:0", "--blocks", "s3://b?colour=red"}, "exit 2", "colour"},
	}
	s := newSession(t)
	for _, test := range tests {
		got := s.do(t, append([]string{"serve"}, test.args...)...)
		if !strings.Contains(got, test.code+"\n") || !strings.Contains(got, test.says) {
			t.Errorf("serve %v: %q, want %s and %q", test.args, got, test.code, test.says)
		}
	}
	if _, err := os.Stat(data); !errors.Is(err, os.ErrNotExist) {
		entries, _ := os.ReadDir(data)
		for _, e := range entries {
			t.Errorf("a refused server left %s", e.Name())
		}
	}
}

func TestLoopback(t *testing.T) {
	for host, want := range map[string]bool{"localhost": true, "127.0.0.1": true, "127.9.9.9": true, "::1": true, "": false, "0.0.0.0": false, "::": false, "10.0.0.1": false, "h": false} {
		if loopback(host) != want {
			t.Errorf("%q: %v, want %v", host, !want, want)
		}
	}
}

// embeddedHost is a daemon that lends out a server, as one with an embedded server does.
type embeddedHost struct {
	*controltest.Fake
	handler http.Handler
}

func (h embeddedHost) ServerHandler() http.Handler { return h.handler }

func TestNamespacesThroughTheDaemon(t *testing.T) {
	s := newSession(t)
	s.has(t, "exit 5", "ns", "ls") // never logged in, and no daemon

	srv := startServer(t, filepath.Join(tempDir(t), "data"))
	other := newSession(t)
	other.has(t, "logged in", "login", "--server", srv.URL, "--token", srv.AdminToken)
	saved, err := readLogin(other.places.token(defaultProfile))
	if err != nil {
		t.Fatal(err)
	}
	base, err := url.Parse(srv.URL)
	if err != nil {
		t.Fatal(err)
	}
	s.serve(t, embeddedHost{sampleDaemon(), &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) {
		r.SetURL(base)
		r.Out.Header.Set("Authorization", "Bearer "+saved.Token)
	}}})
	s.has(t, "team", "ns", "create", "team")
	s.has(t, "admin  shared  exact  team", "ns", "ls")
	s.has(t, `"role":"admin"`, "ns", "ls", "--json")
}

func TestServeFinishesWhatRuns(t *testing.T) {
	began, finish := make(chan struct{}), make(chan struct{})
	hs := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		close(began)
		<-finish
		io.WriteString(w, "done")
	})}
	ln, err := listen(serveFlags{listen: "127.0.0.1:0"})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- serveUntil(ctx, hs, ln, slog.New(slog.DiscardHandler)) }()
	answer := make(chan string, 1)
	go func() {
		resp, err := http.Get("http://" + ln.Addr().String())
		if err != nil {
			answer <- err.Error()
			return
		}
		defer resp.Body.Close()
		var b bytes.Buffer
		b.ReadFrom(resp.Body)
		answer <- b.String()
	}()
	<-began
	cancel()
	close(finish)
	if got := <-answer; got != "done" {
		t.Errorf("a running request got %q", got)
	}
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

func TestServeWithTLS(t *testing.T) {
	dir := tempDir(t)
	cert, key, pool := selfSigned(t, dir)
	srv := startServer(t, filepath.Join(dir, "data"), "--tls-cert", cert, "--tls-key", key)
	if !strings.HasPrefix(srv.URL, "https://127.0.0.1:") {
		t.Fatalf("URL %s", srv.URL)
	}
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}, ForceAttemptHTTP2: true}}
	defer client.CloseIdleConnections()
	resp, err := client.Get(srv.URL + "/v1/me")
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusUnauthorized || resp.ProtoMajor != 2 {
		t.Errorf("status %d over HTTP/%d, want 401 over HTTP/2", resp.StatusCode, resp.ProtoMajor)
	}
}

// selfSigned writes a certificate for 127.0.0.1 and its key.
func selfSigned(t *testing.T, dir string) (cert, key string, pool *x509.CertPool) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	cert, key = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	for file, block := range map[string]*pem.Block{cert: {Type: "CERTIFICATE", Bytes: der}, key: {Type: "PRIVATE KEY", Bytes: secret}} {
		if err := os.WriteFile(file, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	pool = x509.NewCertPool()
	parsed, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	pool.AddCert(parsed)
	return cert, key, pool
}

func TestServeOnS3(t *testing.T) {
	endpoint, bucket := os.Getenv("DBFS_TEST_S3"), os.Getenv("DBFS_TEST_S3_BUCKET")
	if endpoint == "" || bucket == "" {
		t.Skip("needs a real S3 server: DBFS_TEST_S3 and DBFS_TEST_S3_BUCKET are not set")
	}
	query := url.Values{"endpoint": {endpoint}, "path_style": {"true"}}.Encode()
	startServer(t, filepath.Join(tempDir(t), "data"), "--blocks", "s3://"+bucket+"/serve-test?"+query)
	s := newSession(t)
	got := s.do(t, "serve", "--data", filepath.Join(tempDir(t), "data"), "--listen", "127.0.0.1:0", "--blocks", "s3://no-such-bucket-here?"+query)
	if !strings.Contains(got, "no-such-bucket-here") || !strings.Contains(got, "exit ") {
		t.Errorf("a bucket that is not there: %q", got)
	}
}
