package sim

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/dbfs/dbfs"
	"github.com/dbfs/dbfs/journal"
	"github.com/dbfs/dbfs/remote"
	"github.com/dbfs/dbfs/remote/server"
)

const day = 24 * time.Hour

// epoch0 is when everything begins.
var epoch0 = time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)

// A world is one history under way: servers over one database, clients, and what is known of
// what they must be like. Only one thing happens at a time; where a client or server would
// wait for another, others may act before it goes on.
type world struct {
	seed    uint64
	plan    Plan
	ctx     context.Context
	now     time.Time
	calm    bool // no faults any more
	depth   int  // of what happens while something else waits
	servers []*server.Server
	skews   []time.Duration // of the servers
	store   *store
	blobs   *blobs
	base    *base
	clients []*client
	stack   []*client // whose steps are under way, the innermost last

	// One source of chance for each concern, so that a change of one leaves the others alone.
	workload, schedule, luck, clocks, disks, ids, objects *rand.Rand

	mirror  *mirror
	ledger  ledger
	late    []lateCommit
	answers map[answerKey]answer
	sent    map[dbfs.NodeID]bool // what some batch has been about
	builds  map[build]time.Time  // versions that are held, until when
	moved   map[departure]int    // files that went to the second namespace: the content that they had then
	epoch   uint32
	backup  backup

	collection *server.Collection // of garbage, under way; nil: none
	cover      Coverage
	events     Events

	hash    uint64 // of everything that has happened
	tracing bool
	trace   []string
}

// A base is what every world begins with: a database with two accounts, their devices and
// the namespace that they share.
type base struct {
	rows   *rows
	ns     dbfs.NamespaceID
	second dbfs.NamespaceID   // of the same owner and for the same people
	all    []dbfs.NamespaceID // the accounts' own ones, and these two
	owner  string             // token of the owner's first device
	tokens []string           // of the devices
	mine   []bool             // whether a device is the owner's
	reader string             // token of a device that looks at what is there
}

// people are the clients' names; the last is the device that comes when all is at peace.
var people = []string{"alice", "bob", "carol", "dave", "eve", "frank", "grace", "heidi", "ivan"}

// guest is the name of the account that does not own the namespace.
const guest = "guest"

// makeBase makes the base of worlds with n clients.
func makeBase(n int, rule dbfs.NameRule) (*base, error) {
	b := &base{rows: newRows()}
	ctx := context.Background()
	srv, err := server.New(&store{rows: b.rows}, nil, server.Options{Now: func() time.Time { return epoch0 }, Log: silent})
	if err != nil {
		return nil, err
	}
	admin, _, err := srv.Bootstrap(ctx)
	if err != nil {
		return nil, err
	}
	login := func(token, name string) (*server.Session, string) {
		if err != nil {
			return nil, ""
		}
		var l remote.Login
		if l, err = srv.Login(ctx, remote.LoginRequest{Token: token, Name: name}); err != nil {
			return nil, ""
		}
		var se *server.Session
		se, err = srv.Session(ctx, l.Token)
		return se, l.Token
	}
	owner, token := login(admin, "owner")
	if err != nil {
		return nil, err
	}
	b.owner = token
	other, err := owner.AddUser(ctx, guest, false)
	if err != nil {
		return nil, err
	}
	for i, id := range []*dbfs.NamespaceID{&b.ns, &b.second} {
		ns, err := owner.CreateNamespace(ctx, []string{"shared", "second"}[i], rule)
		if err == nil {
			err = owner.SetMember(ctx, ns.ID, guest, dbfs.RoleWrite)
		}
		if err != nil {
			return nil, err
		}
		*id = ns.ID
	}
	var guests *server.Session
	for i := range n {
		of := admin
		if i%2 == 1 {
			of = other.Token
		}
		se, token := login(of, people[i])
		if i%2 == 1 {
			guests = se
		}
		b.tokens, b.mine = append(b.tokens, token), append(b.mine, i%2 == 0)
	}
	_, b.reader = login(admin, "reader")
	if err != nil {
		return nil, err
	}
	b.rows.undo = nil
	ours, err := owner.Namespaces(ctx)
	if err != nil {
		return nil, err
	}
	theirs, err := guests.Namespaces(ctx)
	if err != nil {
		return nil, err
	}
	b.all = []dbfs.NamespaceID{ours[0].ID, theirs[0].ID, b.ns, b.second}
	return b, err
}

// sortedBase makes bases until the namespaces of one are in a certain order, which is that in which
// they are walked: ids are random, and a seed must mean the same everywhere.
func sortedBase(n int, rule dbfs.NameRule) (*base, error) {
	for {
		b, err := makeBase(n, rule)
		if err != nil || slices.IsSorted(b.all) {
			return b, err
		}
	}
}

// bases holds one base for each sort of them.
var bases sync.Map // baseKey -> func() (*base, error)

type baseKey struct {
	clients int
	names   dbfs.NameRule
}

func baseFor(n int, rule dbfs.NameRule) (*base, error) {
	made, _ := bases.LoadOrStore(baseKey{n, rule}, sync.OnceValues(func() (*base, error) { return sortedBase(n, rule) }))
	return made.(func() (*base, error))()
}

var silent = slog.New(slog.NewTextHandler(io.Discard, &slog.HandlerOptions{Level: slog.LevelError + 1}))

const servers = 2

func newWorld(seed uint64, plan Plan, clients int, tracing bool) (*world, error) {
	b, err := baseFor(clients, plan.names)
	if err != nil {
		return nil, err
	}
	w := &world{
		seed: seed, plan: plan, ctx: context.Background(), now: epoch0, base: b, epoch: 1, tracing: tracing,
		answers: make(map[answerKey]answer), sent: make(map[dbfs.NodeID]bool), moved: make(map[departure]int), builds: make(map[build]time.Time), cover: make(Coverage), events: make(Events), hash: fnvOffset,
	}
	for i, r := range []**rand.Rand{&w.workload, &w.schedule, &w.luck, &w.clocks, &w.disks, &w.ids, &w.objects} {
		*r = rand.New(rand.NewPCG(seed, uint64(i)))
	}
	w.store = &store{rows: b.rows.clone(), w: w}
	w.blobs = &blobs{objects: make(map[string][]byte), w: w}
	w.calm = true
	for i := range servers {
		w.skews = append(w.skews, w.skew(5*time.Minute))
		w.servers = append(w.servers, nil)
		if err := w.serve(i); err != nil {
			return nil, err
		}
	}
	w.ledger = newLedger()
	w.mirror = newMirror(w)
	for i := range clients {
		c, err := newClient(w, i)
		if err != nil {
			return nil, err
		}
		w.clients = append(w.clients, c)
	}
	w.calm = false
	return w, nil
}

// serve starts a server anew over the database.
func (w *world) serve(i int) error {
	keep := server.Retention{}
	if w.plan.garbage {
		keep = server.Retention{Contents: 2 * day, Versions: 3, Log: 2 * day, Deleted: 4 * day}
	}
	srv, err := server.New(w.store, w.blobs, server.Options{
		Keep: keep,
		Now:  func() time.Time { return w.now.Add(w.skews[i]) }, Rand: func() float64 { return 0.5 }, Name: w.objects.Uint64, Log: silent, Lanes: 1,
	})
	w.servers[i] = srv
	return err
}

func (w *world) skew(limit time.Duration) time.Duration {
	return time.Duration(w.clocks.Int64N(int64(2*limit))) - limit
}

// ns is the namespace that everything is about.
func (w *world) ns() dbfs.NamespaceID { return w.base.ns }

// fault decides whether something goes wrong.
func (w *world) fault(k faultKind) bool {
	if w == nil || w.calm || w.plan.rates[k] == 0 {
		return false
	}
	if w.luck.IntN(1000) >= w.plan.rates[k] {
		return false
	}
	w.note("      … %s", faultNames[k])
	return true
}

var faultNames = [faults]string{
	"the request is lost", "the answer is lost", "a transaction is run again", "the database does not answer",
	"the object store fails", "the object store's answer is lost", "a download breaks off", "a hint is lost", "a hint comes twice",
}

const (
	fnvOffset = 14695981039346656037
	fnvPrime  = 1099511628211
)

// mix makes something that has happened part of the history's hash.
func (w *world) mix(values ...uint64) {
	for _, v := range values {
		w.hash = (w.hash ^ v) * fnvPrime
	}
}

func (w *world) mixText(s string) {
	h := fnv.New64a()
	io.WriteString(h, s)
	w.mix(h.Sum64())
}

// note writes a line of the trace.
func (w *world) note(format string, args ...any) {
	if w.tracing {
		at := w.now.Sub(epoch0).Round(time.Millisecond)
		w.trace = append(w.trace, fmt.Sprintf("%12s %s%s", at, strings.Repeat("  | ", w.depth), fmt.Sprintf(format, args...)))
	}
}

// A violation ends a history: something is not as it must be.
type violation struct {
	property string
	text     string
}

func (w *world) fail(property, format string, args ...any) {
	panic(violation{property, fmt.Sprintf(format, args...)})
}

// must ends a history with an error that nothing explains.
func (w *world) must(err error, doing string) {
	if err != nil {
		w.fail("errors", "%s: %v", doing, err)
	}
}

// offline reports whether an error is one that a client tries again after.
func offline(err error) bool {
	return errors.Is(err, dbfs.ErrOffline) || errors.Is(err, dbfs.ErrReset) || errors.Is(err, dbfs.ErrBusy)
}

// owner is a session that says who may do what.
func (w *world) owner() *server.Session {
	se, err := w.servers[0].Session(w.ctx, w.base.owner)
	w.must(err, "the owner's session")
	return se
}

// picture writes down the namespace, a line for each node.
func (w *world) picture() string {
	var lines []string
	for _, n := range w.mirror.nodes {
		if !n.Deleted {
			lines = append(lines, describe(&n))
		}
	}
	slices.Sort(lines)
	return strings.Join(lines, "\n")
}

func isRevival(s string) bool {
	return strings.Contains(s, "what="+string(journal.NoticeRevive))
}
