package main

import (
	"bytes"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/spf13/cobra"

	"github.com/dbfs/dbfs"
	"github.com/dbfs/dbfs/cmd/dbfs/control"
	"github.com/dbfs/dbfs/cmd/dbfs/control/controltest"
	"github.com/dbfs/dbfs/cmd/dbfs/daemon"
)

var update = flag.Bool("update", false, "write the transcripts in testdata anew")

// asTool makes the test binary run as dbfs with the drive of drive_test.go.
const asTool = "DBFS_TEST_BINARY_IS_THE_TOOL"

func TestMain(m *testing.M) {
	if os.Getenv(asTool) != "" {
		t := newTool()
		t.newDrive = newTestDrive
		os.Exit(t.run(interruptible(), os.Args[1:]))
	}
	os.Exit(m.Run())
}

// A session is a tool in a world of its own, where it is always the same moment.
type session struct {
	*tool
	out, errs bytes.Buffer
	env       map[string]string
}

var noon = time.Date(2026, 8, 1, 12, 0, 0, 0, time.UTC)

func newSession(t *testing.T) *session {
	dir := tempDir(t)
	s := &session{env: map[string]string{}}
	s.tool = &tool{
		in: strings.NewReader(""), out: &s.out, errs: &s.errs,
		now:    func() time.Time { return noon },
		lookup: func(name string) (string, bool) { v, ok := s.env[name]; return v, ok },
		cwd:    func() (string, error) { return "/home/ana/Dbfs/work", nil },
		mounts: func() ([]mountPoint, error) {
			return []mountPoint{{dir: "/home/ana/Dbfs", root: "/", profile: defaultProfile, device: "0:77"}}, nil
		},
		places: places{
			config: filepath.Join(dir, "config"), state: filepath.Join(dir, "state"),
			cache: filepath.Join(dir, "cache"), runtime: filepath.Join(dir, "run"), home: "/home/ana",
		},
		newDrive: newTestDrive,
	}
	return s
}

// tempDir is a private directory whose path leaves room for a socket's name.
func tempDir(t *testing.T) string {
	dir, err := os.MkdirTemp("", "dbfs")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// serve opens the session's socket for a daemon.
func (s *session) serve(t *testing.T, d control.Daemon) {
	t.Helper()
	ln, err := control.Listen(s.places.socket(defaultProfile))
	if err != nil {
		t.Fatal(err)
	}
	srv := control.NewServer(d, slog.New(slog.DiscardHandler))
	go srv.Serve(ln)
	t.Cleanup(func() { srv.Shutdown(t.Context()) })
}

// do runs a command line and returns all that it wrote, and the exit code if it is not 0.
func (s *session) do(t *testing.T, args ...string) string {
	t.Helper()
	s.out.Reset()
	s.errs.Reset()
	s.reset()
	code := s.run(t.Context(), args)
	text := s.out.String()
	for line := range strings.Lines(s.errs.String()) {
		text += "! " + line
	}
	if code != 0 {
		text += fmt.Sprintf("exit %d\n", code)
	}
	return strings.ReplaceAll(text, "\x1b", "ESC")
}

// reset forgets what an earlier command line has set.
func (s *session) reset() {
	s.configured = false
	s.profile, s.socket, s.json, s.bytes, s.noColor, s.progress = "", "", false, false, false, "auto"
}

func sampleDaemon() *controltest.Fake {
	id := func(n byte) dbfs.NodeID { return dbfs.NodeID{15: n} }
	file := func(n byte, path string, size, local int64, sync control.SyncWord, here control.Residency) control.FileStatus {
		return control.FileStatus{
			Path: path, Name: path[strings.LastIndex(path, "/")+1:], Kind: dbfs.KindFile, Size: size, Mode: 0o644,
			ModTime: noon.Add(-time.Duration(n) * time.Hour), Namespace: 7, Node: id(n), Rev: dbfs.JID(88100 + int(n)),
			Sync: sync, Residency: here, LocalBytes: local,
		}
	}
	dir := file(1, "/work/acme", 0, 0, control.UpToDate, control.Local)
	dir.Kind, dir.Mode = dbfs.KindDir, 0o755
	link := file(2, "/work/latest", 4, 0, control.UpToDate, control.Local)
	link.Kind, link.Mode, link.Target = dbfs.KindSymlink, 0o777, "acme"
	fresh := file(5, "/work/tab\tname", 10, 10, control.Pending, control.Local)
	fresh.Rev, fresh.Reason = 0, "waits for its turn"
	return &controltest.Fake{
		Stat: control.Status{
			Version: control.Version{Version: "1.0", Go: "go1.26", API: 1, PID: 4711},
			Profile: defaultProfile, Account: "ana@example.org", Server: "https://drive.example.org", Mount: "/home/ana/Dbfs", Since: noon.Add(-time.Hour),
			Reads: "cached", ReadsWhy: "not root",
			Sync: control.Sync{
				Word: control.Uploading, Link: control.Online, Ops: 14, Files: 12, Bytes: 340 << 20, Rate: 6 << 20,
				Oldest: noon.Add(-14 * time.Second),
			},
			Namespaces: []control.NamespaceStatus{
				{ID: 7, Name: "personal", Role: dbfs.RoleAdmin, Cursor: dbfs.Cursor{Epoch: 1, JID: 88123}, Confirmed: noon.Add(-53 * time.Second)},
				{ID: 8, Name: "archive", Role: dbfs.RoleRead, Cursor: dbfs.Cursor{Epoch: 1, JID: 911}, Confirmed: noon.Add(-time.Minute), Loading: true},
			},
			Cache:     control.CacheStatus{Used: 18 << 30, Budget: 40 << 30, Pinned: 6 << 30, Unsent: 300 << 20, UnsentBudget: 8 << 30},
			Search:    control.SearchStatus{Word: "indexing", Documents: 1284110, Waiting: 7, Behind: 3 * time.Second},
			Attention: []control.Attention{{Kind: "conflict", Message: "1 conflict", Command: "dbfs conflicts"}},
		},
		Files: []control.FileStatus{
			dir, link,
			file(3, "/work/movie.mkv", 4<<30, 1<<30, control.UpToDate, control.Partial),
			file(4, "/work/plan.docx", 1258291, 1258291, control.Uploading, control.Local),
			fresh,
		},
		Steps: []control.Progress{
			{Phase: "uploading", Done: 1 << 20, Total: 3 << 20, Files: 2, Rate: 1 << 20, Item: "/work/plan.docx"},
			{Phase: "uploading", Done: 3 << 20, Total: 3 << 20},
		},
		Hits: []control.Hit{
			{Path: "/work/acme/mail.eml", Score: 7.5, Size: 2048, ModTime: noon.Add(-26 * time.Hour), Residency: control.Local,
				Snippet: "Attached is\nthe invoice of May", Spans: [][2]int{{16, 23}}},
			{Path: "/invoice.pdf", Score: 3, Size: 1 << 20, ModTime: noon, Residency: control.OnlineOnly},
		},
		Events: []control.GrepEvent{
			{Path: "/work/acme/mail.eml", Line: 2, Offset: 5, Text: []byte("before\n"), Context: true},
			{Path: "/work/acme/mail.eml", Line: 3, Offset: 12, Text: []byte("an invoice, the invoice\n"), Spans: [][2]int{{3, 10}, {16, 23}}},
			{Path: "/work/acme/mail.eml", Line: 9, Offset: 99, Text: []byte("invoice \xff"), Spans: [][2]int{{0, 7}}},
			{Path: "/work/terms.txt", Line: 1, Text: []byte("no newline: invoice"), Spans: [][2]int{{12, 19}}},
		},
		Summary: control.GrepSummary{Considered: 48211, Candidates: 3, Searched: 2, Matched: 2, Lines: 3, NotSearched: 1, Bytes: 4096, Elapsed: 1500 * time.Microsecond},
		Copies: []control.Conflict{
			{Path: "/work/plan (bob's conflicted copy).docx", Original: "/work/plan.docx", Device: "bob-laptop", Time: noon.Add(-time.Hour), Size: 1200},
		},
		Details: []control.ConflictDetail{
			{
				Conflict: control.Conflict{Path: "/work/plan (bob's conflicted copy).docx", Original: "/work/plan.docx", Device: "bob-laptop", Time: noon.Add(-time.Hour), Size: 1200},
				What:     "conflicted-copy",
				Ours:     control.ConflictVersion{Path: "/work/plan (bob's conflicted copy).docx", Kind: dbfs.KindFile, Size: 1200, ModTime: noon.Add(-time.Hour), Hash: dbfs.HashChunk([]byte("ours")), Device: "bob-laptop", Unsent: true},
				Theirs:   &control.ConflictVersion{Path: "/work/plan.docx", Kind: dbfs.KindFile, Size: 1300, ModTime: noon.Add(-2 * time.Hour), Hash: dbfs.HashChunk([]byte("theirs")), Rev: 17, Time: noon, Device: "desk"},
				Base:     &control.ConflictVersion{Kind: dbfs.KindFile, Size: 1100, ModTime: noon.Add(-48 * time.Hour), Hash: dbfs.HashChunk([]byte("base")), Rev: 12, Device: "desk"},
			},
			{
				Conflict: control.Conflict{Path: "/a (name conflict, desk 2026-05-01)", Device: "desk"}, What: "name-conflict",
				Ours:   control.ConflictVersion{Path: "/a (name conflict, desk 2026-05-01)", Kind: dbfs.KindSymlink, ModTime: noon},
				NoBase: "two different files wanted one name, so there is none",
			},
		},
		Held: []control.Hold{
			{ID: 7, Namespace: "personal", State: control.HoldUndecided, Since: noon.Add(-time.Minute), Deletes: 412, Overwrites: 1, Bytes: 3 << 30, Of: 520},
			{ID: 8, Namespace: "archive", Incoming: true, State: "approved", Since: noon, Overwrites: 3001, Bytes: 1 << 20},
		},
		HeldNames: []control.HeldItem{
			{Path: "/work/plan.docx", What: "overwrite", Size: 1200, Time: noon.Add(-2 * time.Minute)},
			{Path: "/work/acme", What: "delete", Time: noon.Add(-time.Minute)},
		},
	}
}

// TestTranscripts runs the command lines of testdata/*.txt, which begin with "$ dbfs" or,
// on a terminal, "% dbfs", and compares what they print. Lines on stderr are shown
// behind "! ", escape characters as ESC.
func TestTranscripts(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("no transcripts: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			s := newSession(t)
			s.serve(t, daemonFor(file))
			var got strings.Builder
			for line := range strings.Lines(string(want)) {
				prompt, words, ok := strings.Cut(strings.TrimSpace(line), " dbfs")
				if !ok || prompt != "$" && prompt != "%" {
					continue
				}
				s.outTerm = prompt == "%"
				got.WriteString(line)
				got.WriteString(s.do(t, split(words)...))
				got.WriteString("\n")
			}
			if *update {
				if err := os.WriteFile(file, []byte(got.String()), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			if got.String() != string(want) {
				t.Errorf("%s differs; got:\n%s", file, got.String())
			}
		})
	}
}

// daemonFor returns the daemon of a transcript: "nothing.txt" asks one that has nothing.
func daemonFor(file string) control.Daemon {
	if filepath.Base(file) == "nothing.txt" {
		return &controltest.Fake{Stat: control.Status{
			Profile: defaultProfile, Server: daemon.Embedded, Mount: "/home/ana/Dbfs",
			Sync: control.Sync{Word: control.UpToDate, Link: control.Online}, Search: control.SearchStatus{Word: "current"},
		}}
	}
	return sampleDaemon()
}

// split cuts a command line at spaces outside of single quotes.
func split(line string) []string {
	var words []string
	for i, part := range strings.Split(line, "'") {
		if i%2 == 1 {
			words = append(words, part)
		} else {
			words = append(words, strings.Fields(part)...)
		}
	}
	return words
}

func TestEveryCommandExplainsItself(t *testing.T) {
	var check func(cmd *cobra.Command)
	check = func(cmd *cobra.Command) {
		if cmd.Name() == "completion" || cmd.Name() == "help" {
			return // cobra's own
		}
		if cmd.Short == "" || cmd.Example == "" {
			t.Errorf("%s has no short text or no example", cmd.CommandPath())
		}
		if !cmd.HasSubCommands() && cmd.Args == nil {
			t.Errorf("%s takes any arguments", cmd.CommandPath())
		}
		for _, sub := range cmd.Commands() {
			check(sub)
		}
	}
	check(rootCommand(newSession(t).tool))
}

func TestJSONOnlyWhereItIsAFlag(t *testing.T) {
	s := newSession(t)
	s.serve(t, sampleDaemon())
	if got := s.do(t, "grep", "-F", "-e", "--json"); !strings.HasPrefix(got, "acme/mail.eml-before") {
		t.Errorf("a search for --json: %q", got)
	}
	if got := s.do(t, "grep", "-x", "--json"); !strings.HasPrefix(got, `{"error":{"kind":"usage"`) {
		t.Errorf("a wrong flag with --json: %q", got)
	}
}

func TestCompletion(t *testing.T) {
	s := newSession(t)
	if got := s.do(t, "__complete", "conf"); !strings.HasPrefix(got, "conflicts\t") {
		t.Errorf("completion of conf: %q", got)
	}
	if got := s.do(t, "completion", "bash"); !strings.Contains(got, "__start_dbfs") {
		t.Errorf("completion bash: %q", got)
	}
	if got := s.do(t, "completion", "csh"); !strings.HasSuffix(got, "exit 2\n") {
		t.Errorf("completion csh: %q", got)
	}
}

func TestAloneIsStatus(t *testing.T) {
	s := newSession(t)
	s.serve(t, sampleDaemon())
	if got, want := s.do(t), s.do(t, "status"); got != want || !strings.Contains(got, "oldest unsent change 14 s") {
		t.Errorf("dbfs alone: %q, status: %q", got, want)
	}
}

func TestNoDaemonAtAll(t *testing.T) {
	s := newSession(t)
	got := s.do(t, "wait")
	if want := "! dbfs: the daemon is not running\n!   next: dbfs mount -d\nexit 5\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	got = s.do(t, "status", "--json")
	if want := `{"error":{"kind":"no_daemon","message":"the daemon is not running","hint":"dbfs mount -d"}}` + "\nexit 5\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestWaitTimesOut(t *testing.T) {
	fake := sampleDaemon()
	fake.Hang = true
	s := newSession(t)
	s.serve(t, fake)
	got := s.do(t, "wait", "--timeout", "0.2s", "--progress", "none")
	if want := "! dbfs: not yet synced after 200ms: uploading  3.0 MiB of 3.0 MiB, 0 files left\nexit 8\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestProgressModes(t *testing.T) {
	s := newSession(t)
	s.serve(t, sampleDaemon())
	tests := map[string]string{
		"none":  "",
		"plain": "uploading  1.0 MiB of 3.0 MiB, 2 files left, /work/plan.docx\n", // one line a second, and the clock stands
		"json": `{"done":1048576,"total":3145728,"files":2,"rate":1048576,"item":"/work/plan.docx","phase":"uploading"}
{"done":3145728,"total":3145728,"files":0,"rate":0,"phase":"uploading"}
`,
	}
	for mode, want := range tests {
		s.do(t, "wait", "--progress", mode)
		if got := s.errs.String(); got != want {
			t.Errorf("%s: got %q, want %q", mode, got, want)
		}
	}
	s.errTerm = true
	if s.do(t, "wait"); !strings.Contains(s.errs.String(), "%") {
		t.Errorf("no bar on a terminal: %q", s.errs.String())
	}
	if s.do(t, "wait", "--json"); s.errs.Len() > 0 {
		t.Errorf("a bar with --json: %q", s.errs.String())
	}
	if got := s.do(t, "wait", "--progress", "loud"); !strings.HasSuffix(got, "exit 2\n") {
		t.Errorf("--progress loud: %q", got)
	}
}
