package index

import (
	"bufio"
	"bytes"
	"context"
	"database/sql"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	_ "modernc.org/sqlite"
)

// A script is an endless history of a small drive, the same for the same seed: files
// are written, copied, renamed, forgotten and removed.
type script struct {
	drive   *drive
	unknown map[int]bool // nodes of which the feeder had no text
	seed    uint64
}

const scriptNodes = 120

var vocabulary = strings.Fields(`alpha beta gamma delta Epsilon zeta eta theta iota kappa lambda mu nu xi omicron pi rho sigma tau
	upsilon phi chi psi OMEGA café naïve über façade résumé piñata alphabet alpine betting 42 2025 x`)

func newScript(seed uint64) *script {
	return &script{newDrive(), map[int]bool{}, seed}
}

// step makes edit number n and tells the index; nil: only the drive learns of it.
func (s *script) step(t testing.TB, x *Index, n int) {
	rng := rand.New(rand.NewPCG(s.seed, uint64(n)))
	node := rng.IntN(scriptNodes)
	id := nodeNumber(node)
	old := s.drive.files[id]
	update := func(f File) {
		if s.unknown[node] {
			f.Text = nil
		}
		if x != nil {
			feed(t, x, f)
		}
	}
	switch k := rng.IntN(10); {
	case old != nil && k == 0:
		s.drive.remove(node)
		if x != nil {
			if err := x.Remove(id); err != nil {
				t.Fatal(err)
			}
		}
	case old != nil && k <= 2: // rename
		text, mtime := string(old.text), old.mtime
		f := s.drive.put(node, randomName(rng), text)
		s.drive.files[id].mtime = mtime
		f.MTime = mtime
		update(f)
	case k == 3: // copy
		from := rng.IntN(scriptNodes)
		if src := s.drive.files[nodeNumber(from)]; src != nil && !s.unknown[from] {
			delete(s.unknown, node)
			update(s.drive.put(node, randomName(rng), string(src.text)))
		}
	case k == 4: // bytes that are not here, and that nothing else has
		s.unknown[node] = true
		update(s.drive.put(node, randomName(rng), fmt.Sprintf("unknown %d", n)))
		s.drive.files[id].offline = true
	default:
		delete(s.unknown, node)
		update(s.drive.put(node, randomName(rng), randomText(rng)))
	}
}

func randomName(rng *rand.Rand) string {
	return randomWords(rng, 1+rng.IntN(3), " ") + []string{".txt", ".md", ""}[rng.IntN(3)]
}

func randomText(rng *rand.Rand) string {
	text := randomWords(rng, rng.IntN(30), " ") + ".\n" + randomWords(rng, rng.IntN(10), ", ")
	if rng.IntN(50) == 0 { // more than a block of positions, and a chain of several chunks
		text += strings.Repeat("\n"+text, 40)
	}
	return text
}

func randomWords(rng *rand.Rand, n int, sep string) string {
	words := make([]string, n)
	for i := range words {
		words[i] = vocabulary[min(rng.IntN(len(vocabulary)), rng.IntN(len(vocabulary)))]
	}
	return strings.Join(words, sep)
}

// names returns what paths returns for the given nodes.
func (s *script) names(nodes []int) []string {
	out := []string{}
	for _, n := range nodes {
		out = append(out, s.drive.files[nodeNumber(n)].path)
	}
	slices.Sort(out)
	return out
}

// An oracle answers queries by SQLite's full-text search.
type oracle struct{ db *sql.DB }

func newOracle(t testing.TB, s *script) *oracle {
	t.Helper()
	db, err := sql.Open("sqlite", ":memory:")
	if err != nil {
		t.Fatal(err)
	}
	db.SetMaxOpenConns(1)
	t.Cleanup(func() { db.Close() })
	if _, err := db.Exec(`create virtual table f using fts5(name, body, tokenize = "unicode61 remove_diacritics 2")`); err != nil {
		t.Fatal(err)
	}
	for n := range scriptNodes {
		f := s.drive.files[nodeNumber(n)]
		if f == nil {
			continue
		}
		body := string(f.text)
		if s.unknown[n] {
			body = ""
		}
		if _, err := db.Exec(`insert into f(rowid, name, body) values(?, ?, ?)`, n, f.path, body); err != nil {
			t.Fatal(err)
		}
	}
	return &oracle{db}
}

func (o *oracle) nodes(t testing.TB, match string) (nodes []int) {
	t.Helper()
	rows, err := o.db.Query(`select rowid from f where f match ?`, match)
	if err != nil {
		t.Fatalf("oracle %s: %v", match, err)
	}
	defer rows.Close()
	for rows.Next() {
		var n int
		if err := rows.Scan(&n); err != nil {
			t.Fatal(err)
		}
		nodes = append(nodes, n)
	}
	return nodes
}

// randomQuery returns the same query for the index and for the oracle.
func randomQuery(rng *rand.Rand, depth int) (ours, theirs string) {
	word := func() string { return vocabulary[rng.IntN(len(vocabulary))] }
	switch k := rng.IntN(8 + depth); k {
	case 0:
		two := randomWords(rng, 2+rng.IntN(2), " ")
		return `"` + two + `"`, `"` + two + `"`
	case 1:
		p := string([]rune(word())[:1])
		return p + "*", `"` + p + `"*`
	case 2:
		w := word()
		return "name:" + w, `{name} : "` + w + `"`
	case 3:
		w := randomWords(rng, 2, " ")
		return `name:"` + w + `"`, `{name} : "` + w + `"`
	case 8:
		a, fa := randomQuery(rng, depth-1)
		b, fb := randomQuery(rng, depth-1)
		return "(" + a + " OR " + b + ")", "(" + fa + " OR " + fb + ")"
	case 9:
		a, fa := randomQuery(rng, depth-1)
		b, fb := randomQuery(rng, depth-1)
		return "(" + a + " -" + b + ")", "(" + fa + " NOT " + fb + ")"
	case 10, 11:
		a, fa := randomQuery(rng, depth-1)
		b, fb := randomQuery(rng, depth-1)
		return "(" + a + " " + b + ")", "(" + fa + " AND " + fb + ")"
	}
	w := word()
	return w, `"` + w + `"`
}

// compare asks the index and the oracle the same, and greps against looking at every line.
func (s *script) compare(t testing.TB, x *Index, rng *rand.Rand, queries int) {
	t.Helper()
	o := newOracle(t, s)
	for range queries {
		ours, theirs := randomQuery(rng, 4)
		if got, want := paths(t, x, ours), s.names(o.nodes(t, theirs)); !slices.Equal(got, want) {
			t.Fatalf("%s (%s):\n got %q\nwant %q", ours, theirs, got, want)
		}
	}
	d := newDrive() // what is here
	for id, f := range s.drive.files {
		if !f.offline {
			d.files[id] = f
		}
	}
	for range queries / 4 {
		opt := GrepOptions{Pattern: randomWords(rng, 1+rng.IntN(2), " "), IgnoreCase: rng.IntN(2) == 0}
		got, _ := grep(t, x, opt)
		want := everyLine(d, opt)
		slices.Sort(got)
		slices.Sort(want)
		if !slices.Equal(got, want) {
			t.Fatalf("grep %+v:\n got %q\nwant %q", opt, got, want)
		}
	}
}

func TestAgainstOracle(t *testing.T) {
	for seed := range uint64(3) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			dir := t.TempDir()
			s := newScript(seed)
			opt := Options{Tree: s.drive, Source: s.drive, MemoryBytes: 300 << 10, Cache: NewCache(1 << 20)}
			x := openIndex(t, dir, opt)
			rng := rand.New(rand.NewPCG(seed, 99))
			for n := range 1200 {
				s.step(t, x, n)
				switch rng.IntN(50) {
				case 0:
					flush(t, x)
				case 1:
					if err := x.Close(); err != nil {
						t.Fatal(err)
					}
					x = openIndex(t, dir, opt)
				case 2:
					s.compare(t, x, rng, 8)
				}
			}
			s.compare(t, x, rng, 60)
			if st := x.Stats(); st.Segments == 0 || st.Segments > 20 {
				t.Errorf("%d segments: flushing or merging did not happen", st.Segments)
			}
		})
	}
}

const childVariable = "DBFS_INDEX_TEST_CHILD"

// TestMain makes the test binary the victim of TestKilled when it is told to.
func TestMain(m *testing.M) {
	if dir := os.Getenv(childVariable); dir != "" {
		feedForEver(dir)
	}
	os.Exit(m.Run())
}

func killedOptions(s *script) Options {
	return Options{Tree: s.drive, Source: s.drive, MemoryBytes: 300 << 10, FlushEvery: 15 * time.Millisecond}
}

// feedForEver goes on with the script from the index's mark until it is killed. It prints a
// line once the mark has moved.
func feedForEver(dir string) {
	t := &testing.B{}
	s := newScript(7)
	x, err := Open(dir, killedOptions(s))
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	began := x.Mark()
	moved := false
	for n := s.upTo(began); ; n++ {
		s.step(t, x, n)
		if (n+1)%markEvery == 0 {
			x.Advance([]byte(fmt.Sprint(n + 1)))
		}
		if !moved && !bytes.Equal(x.Mark(), began) {
			moved = true
			fmt.Println("moved")
		}
	}
}

// markEvery is how many edits there are to a mark: a kill comes between them, too.
const markEvery = 5

// upTo makes the edits before a mark, without an index, and returns how many they were.
func (s *script) upTo(mark []byte) int {
	var n int
	fmt.Sscan(string(mark), &n)
	for i := range n {
		s.step(nil, nil, i)
	}
	return n
}

// TestKilled kills a feeding process again and again: by the clock, which hits its start as
// well, and in every second round soon after the mark moved, however slow the machine is.
// Whatever moment it was, once the edits after the mark are repeated the index is as if
// nothing had happened.
func TestKilled(t *testing.T) {
	dir := t.TempDir()
	rng := rand.New(rand.NewPCG(5, 6))
	last := 0
	for round := range 20 {
		var stderr strings.Builder
		child := exec.Command(os.Args[0])
		child.Env = append(os.Environ(), childVariable+"="+dir)
		child.Stderr = &stderr
		stdout, err := child.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := child.Start(); err != nil {
			t.Fatal(err)
		}
		if round%2 == 1 {
			bufio.NewReader(stdout).ReadString('\n') // ends, too, when the child does
		}
		time.Sleep(time.Duration(30+rng.IntN(150)) * time.Millisecond)
		child.Process.Kill()
		child.Wait()
		if stderr.Len() > 0 {
			t.Fatalf("round %d: the child says: %s", round, stderr.String())
		}
		s := newScript(7)
		x := openIndex(t, dir, killedOptions(s))
		if x.Lost() {
			t.Fatalf("round %d: something was lost", round)
		}
		n := s.upTo(x.Mark())
		if n < last {
			t.Fatalf("round %d: mark %d after %d", round, n, last)
		}
		last = n
		for i := range markEvery {
			s.step(t, x, n+i)
		}
		s.compare(t, x, rng, 8)
		if err := x.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if last == 0 {
		t.Error("the mark never moved")
	}
	t.Logf("killed 20 times on the way to edit %d", last)
}

func TestMarkWaitsForDisk(t *testing.T) {
	d := newDrive()
	x := openIndex(t, t.TempDir(), d.options())
	feed(t, x, d.put(1, "a", "one"))
	x.Advance([]byte("1"))
	if got := x.Mark(); got != nil {
		t.Errorf("mark %q before anything is on disk", got)
	}
	flush(t, x)
	if got := string(x.Mark()); got != "1" {
		t.Errorf("mark %q after the flush, want 1", got)
	}
	if err := x.Flush(context.Background()); err != nil {
		t.Errorf("flush of nothing: %v", err)
	}
}
