package e2e

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"

	"github.com/dbfs/dbfs"
	"github.com/dbfs/dbfs/fault"
	"github.com/dbfs/dbfs/remote"
)

// What the three clients of the log have to do with: few names, so that they meet, and more nodes
// than they will make.
const (
	linearClients = 3
	linearNames   = 3
	linearNodes   = 400
	linearSteps   = 60 // of each client
	linearKills   = 4
	linearCuts    = 4 // requests of each client that are given up while they are under way
)

// TestLogIsLinearizable lets three clients commit to one namespace of a real server at once, lose
// answers and ask again, and kills the server meanwhile. What they were answered must be explained
// by one log, to which batches come one after the other, each at a moment between its question and
// its answer: with revisions as preconditions, and with one answer for one number, whenever it is
// asked for.
func TestLogIsLinearizable(t *testing.T) {
	l := runLinear(t, "")
	if got := porcupine.CheckOperationsTimeout(linearModel(l), l.history, 2*time.Minute); got != porcupine.Ok {
		t.Errorf("the history of %d requests is %s", len(l.history), got)
	}
	t.Logf("%d requests: %v", len(l.history), l.answers)
}

// A question is one request: an edit as a batch of its own, or a reading of the log.
type question struct {
	client int
	seq    uint64
	edit   edited
	read   bool
	after  dbfs.JID
}

// An edited is what an edit is about, comparable.
type edited struct {
	what    dbfs.OpType
	node    int // its name is that number modulo linearNames
	content dbfs.JID
	place   dbfs.JID
}

// An answer is what came back.
type answer struct {
	unknown bool   // nothing: the edit may have been made or not
	code    string // "ok", why it was refused, or "stale"
	jid     dbfs.JID
	entries string // of a reading
}

// A ledgered is the log and what follows from it, comparable.
type ledgered struct {
	head    dbfs.JID
	entries string // entryLen bytes each, from the beginning on
	nodes   [linearNodes]noded
	last    [linearClients]struct {
		seq  uint64
		edit edited
		answer
	}
}

type noded struct {
	known, live    bool
	content, place dbfs.JID
}

const entryLen = 16 // client, seq

func entryOf(client int, seq uint64) string {
	b := binary.BigEndian.AppendUint64(nil, uint64(client))
	return string(binary.BigEndian.AppendUint64(b, seq))
}

func linearModel(l *linear) porcupine.Model {
	m := porcupine.NondeterministicModel{
		Init: func() []any { return []any{ledgered{head: l.begin}} },
		Step: func(state, input, output any) []any {
			s, q, a := state.(ledgered), input.(question), output.(answer)
			if q.read {
				if a.entries != s.entries[(q.after-l.begin)*entryLen:] {
					return nil
				}
				return []any{s}
			}
			next, want := s.commit(q)
			switch {
			case a.unknown && next == s:
				return []any{s}
			case a.unknown:
				return []any{s, next}
			case a != want:
				return nil
			}
			return []any{next}
		},
		Equal: func(a, b any) bool { return a.(ledgered) == b.(ledgered) },
	}
	return m.ToModel()
}

// commit is what a server does with a batch, and what it answers.
func (s ledgered) commit(q question) (ledgered, answer) {
	last := &s.last[q.client]
	switch {
	case q.seq == last.seq && q.edit == last.edit:
		return s, last.answer
	case q.seq <= last.seq:
		return s, answer{code: "stale"}
	}
	code := s.refusal(q.edit)
	last.seq, last.edit, last.answer = q.seq, q.edit, answer{code: code}
	if code != "ok" {
		return s, last.answer
	}
	s.head++
	last.jid = s.head
	s.entries += entryOf(q.client, q.seq)
	n := &s.nodes[q.edit.node]
	switch q.edit.what {
	case dbfs.OpCreate:
		*n = noded{true, true, s.head, s.head}
	case dbfs.OpWrite:
		n.content = s.head
	case dbfs.OpDelete:
		n.live, n.place = false, s.head
	}
	return s, last.answer
}

func (s *ledgered) refusal(e edited) string {
	n := s.nodes[e.node]
	switch {
	case e.what == dbfs.OpCreate && n.known:
		return string(dbfs.RefusedIDExists)
	case e.what == dbfs.OpCreate:
		for i := e.node % linearNames; i < linearNodes; i += linearNames {
			if s.nodes[i].live {
				return string(dbfs.RefusedNameTaken)
			}
		}
	case !n.live:
		return string(dbfs.RefusedGone)
	case e.content != n.content:
		return string(dbfs.RefusedContent)
	case e.what == dbfs.OpDelete && e.place != n.place:
		return string(dbfs.RefusedPlace)
	}
	return "ok"
}

// A linear is clients at work, and the history that they make.
type linear struct {
	t     *testing.T
	ns    dbfs.NamespaceID
	begin dbfs.JID // where the log was
	ids   [linearNodes]dbfs.NodeID
	start time.Time

	devices map[dbfs.DeviceID]int // who is who

	mu      sync.Mutex // guards what follows
	history []porcupine.Operation
	answers map[string]int
}

func runLinear(t *testing.T, bug fault.Mutant) *linear {
	t.Helper()
	m := newFaultyMachine(t)
	srv := m.serve()
	session := srv.session()
	list, err := session.Namespaces(t.Context())
	must0(t, err)
	l := &linear{t: t, ns: list[0].ID, begin: list[0].Cursor.JID, start: time.Now(), answers: make(map[string]int), devices: make(map[dbfs.DeviceID]int)}
	for i := range l.ids {
		l.ids[i] = dbfs.NewNodeID(time.Now())
	}
	again := func() {
		srv.doomed("DBFS_BUG=" + string(bug))
		srv.await(serving)
	}
	srv.kill()
	again()
	seed := seed(t)
	var all []*linearClient
	for i := range linearClients {
		login, err := remote.NewClient(srv.url, "", nil).Login(t.Context(), srv.token, fmt.Sprint("client", i), 0)
		must0(t, err)
		c := &linearClient{l: l, n: i, device: login.Device, rng: rand.New(rand.NewPCG(seed, uint64(i))),
			client: func() *remote.Client { return remote.NewClient(srv.url, login.Token, nil) }}
		l.devices[login.Device] = i
		all = append(all, c)
	}
	var clients sync.WaitGroup
	for _, c := range all {
		clients.Go(c.work)
	}
	done := make(chan struct{})
	go func() {
		clients.Wait()
		close(done)
	}()
	for range linearKills {
		select {
		case <-done:
		case <-time.After(200 * time.Millisecond):
			srv.kill()
			again()
		}
	}
	<-done
	srv.kill()
	return l
}

func (l *linear) now() int64 { return int64(time.Since(l.start)) }

// note writes a request down. One that was given up may still be carried out, at any time.
func (l *linear) note(q question, a answer, call int64, givenUp bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	back := l.now()
	if givenUp {
		back = math.MaxInt64
	}
	l.history = append(l.history, porcupine.Operation{ClientId: q.client, Input: q, Output: a, Call: call, Return: back})
	switch {
	case q.read:
		l.answers["read"]++
	case a.unknown:
		l.answers["unknown"]++
	default:
		l.answers[a.code]++
	}
}

// A linearClient is one device. What it knows of the nodes may be old.
type linearClient struct {
	l      *linear
	n      int
	device dbfs.DeviceID
	rng    *rand.Rand
	client func() *remote.Client
	seq    uint64
	cuts   int
	made   int // nodes
	head   dbfs.JID
	nodes  [linearNodes]noded
}

func (c *linearClient) work() {
	c.head = c.l.begin
	for range linearSteps {
		if c.rng.IntN(3) == 0 {
			c.read()
		}
		c.commit(c.choose())
	}
	c.read()
}

// choose takes an edit of something that is there, as far as it knows, or makes something.
func (c *linearClient) choose() edited {
	var live []int
	for i, n := range c.nodes {
		if n.live {
			live = append(live, i)
		}
	}
	if len(live) == 0 || c.rng.IntN(4) == 0 {
		// Each client makes nodes of its own, now and then one that it has made before.
		if c.made == 0 || c.rng.IntN(8) > 0 {
			c.made++
		}
		return edited{what: dbfs.OpCreate, node: (c.made-1)*linearClients + c.n}
	}
	i := live[c.rng.IntN(len(live))]
	e := edited{what: dbfs.OpWrite, node: i, content: c.nodes[i].content}
	if c.rng.IntN(2) == 0 {
		e.what, e.place = dbfs.OpDelete, c.nodes[i].place
	}
	return e
}

func (c *linearClient) op(e edited) dbfs.Op {
	op := dbfs.Op{
		ID: dbfs.OpID{Device: c.device, N: c.seq}, Type: e.what, Node: c.l.ids[e.node], Time: 1,
		Base: dbfs.Revs{Content: e.content, Place: e.place},
	}
	switch e.what {
	case dbfs.OpCreate:
		op.Kind, op.Name, op.Content = dbfs.KindFile, fmt.Sprint("name", e.node%linearNames), &dbfs.Content{}
		op.Attr = dbfs.Attr{Mode: 0o644}
	case dbfs.OpWrite:
		op.Content = &dbfs.Content{}
	}
	return op
}

// commit asks until it is answered, and now and then once more.
func (c *linearClient) commit(e edited) {
	c.seq++
	q := question{client: c.n, seq: c.seq, edit: e}
	batch := dbfs.Batch{Epoch: 1, Device: c.device, Seq: c.seq, Ops: []dbfs.Op{c.op(e)}}
	for {
		cut := c.cuts < linearCuts && c.rng.IntN(10) == 0
		a := c.ask(q, batch, cut)
		if a.unknown {
			time.Sleep(5 * time.Millisecond)
			continue
		}
		if c.rng.IntN(5) > 0 {
			return
		}
		time.Sleep(time.Duration(c.rng.IntN(20)) * time.Millisecond) // the answer was lost, and came late
	}
}

func (c *linearClient) ask(q question, batch dbfs.Batch, cut bool) answer {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if cut {
		c.cuts++
		stop := time.AfterFunc(time.Duration(c.rng.IntN(4000))*time.Microsecond, cancel)
		defer stop.Stop()
	}
	call := c.l.now()
	entries, err := c.client().Commit(ctx, c.l.ns, batch)
	a := answerOf(entries, err)
	c.l.note(q, a, call, a.unknown && ctx.Err() != nil)
	return a
}

func answerOf(entries []dbfs.Entry, err error) answer {
	var no *dbfs.RefusedError
	switch {
	case err == nil:
		return answer{code: "ok", jid: entries[0].JID}
	case errors.As(err, &no):
		return answer{code: string(no.Code)}
	case errors.Is(err, dbfs.ErrStaleSeq):
		return answer{code: "stale"}
	case errors.Is(err, dbfs.ErrOffline), errors.Is(err, context.Canceled):
		return answer{unknown: true}
	}
	return answer{code: "an error: " + err.Error()}
}

// read brings the client up to date.
func (c *linearClient) read() {
	q := question{client: c.n, read: true, after: c.head}
	for {
		call := c.l.now()
		page, err := c.client().Log(context.Background(), c.l.ns, dbfs.Cursor{Epoch: 1, JID: c.head}, 1000)
		if errors.Is(err, dbfs.ErrOffline) {
			time.Sleep(5 * time.Millisecond)
			continue
		}
		if err != nil || page.More {
			c.l.t.Errorf("the log after %d: %v, more: %t", c.head, err, page.More)
			return
		}
		c.l.note(q, answer{entries: c.learn(page)}, call, false)
		return
	}
}

func (c *linearClient) learn(page dbfs.LogPage) string {
	var all string
	for _, e := range page.Entries {
		all += entryOf(c.l.devices[e.Op.Device], e.Op.N)
		i := slices.Index(c.l.ids[:], e.Node.ID)
		c.nodes[i] = noded{true, !e.Node.Deleted, e.Node.Revs.Content, e.Node.Revs.Place}
	}
	c.head = page.Next.JID
	return all
}
