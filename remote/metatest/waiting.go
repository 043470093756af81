package metatest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/dbfs/dbfs"
	"github.com/dbfs/dbfs/remote"
)

// long is longer than any test may take: a poll that ends by itself was woken.
const long = 60 * time.Second

func testWaiting(t *testing.T, open func(testing.TB) World) {
	tests(t, open, map[string]func(*testing.T, World){
		"AnswersAtOnceWhenBehind": answersAtOnceWhenBehind,
		"TimesOut":                timesOut,
		"WokenByACommit":          wokenByACommit,
		"NotWokenByARefusal":      notWokenByARefusal,
		"GivesUpWithItsCaller":    givesUpWithItsCaller,
		"Strangers":               strangers,
		"LosesItsRight":           losesItsRight,
		"WokenByAMount":           wokenByAMount,
		"TooMany":                 waitingForTooMany,
		"NoWakeUpIsLost":          noWakeUpIsLost,
	})
}

// asked starts a poll in the background.
func (p *pen) asked(timeout time.Duration, at map[dbfs.NamespaceID]dbfs.Cursor) <-chan answer {
	got := make(chan answer, 1)
	ctx := p.t.Context()
	go func() {
		hint, err := p.Wait(ctx, at, timeout)
		got <- answer{hint, err}
	}()
	return got
}

type answer struct {
	hint dbfs.Hint
	err  error
}

func (p *pen) at() map[dbfs.NamespaceID]dbfs.Cursor {
	return map[dbfs.NamespaceID]dbfs.Cursor{p.ns: p.head()}
}

func wantChanged(t *testing.T, got <-chan answer, want ...dbfs.NamespaceID) {
	t.Helper()
	select {
	case a := <-got:
		if a.err != nil || !slices.Equal(a.hint.Changed, want) {
			t.Fatalf("got %+v, %v, want %v changed", a.hint, a.err, want)
		}
	case <-time.After(10 * time.Second):
		t.Fatal("nobody woke the poll")
	}
}

func wantParked(t *testing.T, got <-chan answer) {
	t.Helper()
	select {
	case a := <-got:
		t.Fatalf("woken: %+v, %v", a.hint, a.err)
	case <-time.After(50 * time.Millisecond):
	}
}

func answersAtOnceWhenBehind(t *testing.T, w World) {
	p := rootPen(t, w, "admin")
	before := p.at()
	p.must(mkdir("d", "", "d"))
	wantChanged(t, p.asked(long, before), p.ns)
	now := p.at()
	at := now[p.ns]
	at.Epoch++ // of a log that was restored since
	wantChanged(t, p.asked(long, map[dbfs.NamespaceID]dbfs.Cursor{p.ns: at}), p.ns)
	wantChanged(t, p.asked(long, map[dbfs.NamespaceID]dbfs.Cursor{p.ns: {}}), p.ns)
}

func timesOut(t *testing.T, w World) {
	p := rootPen(t, w, "admin")
	begin := time.Now()
	a := <-p.asked(200*time.Millisecond, p.at())
	if took := time.Since(begin); a.err != nil || len(a.hint.Changed) != 0 || took < 140*time.Millisecond {
		t.Errorf("%+v, %v after %v", a.hint, a.err, took)
	}
	if a = <-p.asked(0, p.at()); a.err != nil || len(a.hint.Changed) != 0 {
		t.Errorf("no time at all: %+v, %v", a.hint, a.err)
	}
}

func wokenByACommit(t *testing.T, w World) {
	p := rootPen(t, w, "admin")
	other := newPen(t, w, w.Device(t, "admin"), p.ns)
	got := p.asked(long, p.at())
	wantParked(t, got)
	other.must(mkdir("d", "", "d"))
	wantChanged(t, got, p.ns)
}

func notWokenByARefusal(t *testing.T, w World) {
	p := rootPen(t, w, "admin")
	got := p.asked(long, p.at())
	_, err := p.send(p.batch(write("none", 1, content(1, 1))))
	wantRefusal(t, err, 0, dbfs.RefusedGone)
	stranger := rootPen(t, w, "stranger")
	stranger.must(mkdir("d", "", "d"))
	wantParked(t, got)
	p.must(mkdir("d", "", "d"))
	wantChanged(t, got, p.ns)
}

func givesUpWithItsCaller(t *testing.T, w World) {
	p := rootPen(t, w, "admin")
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(50*time.Millisecond, cancel)
	begin := time.Now()
	_, err := p.Wait(ctx, p.at(), long)
	if !errors.Is(err, context.Canceled) || time.Since(begin) > 10*time.Second {
		t.Errorf("%v after %v, want Canceled", err, time.Since(begin))
	}
}

// strangers are told to look, and looking tells them why not.
func strangers(t *testing.T, w World) {
	p, other := rootPen(t, w, "admin"), rootPen(t, w, "other")
	a := <-other.asked(long, map[dbfs.NamespaceID]dbfs.Cursor{p.ns: {Epoch: 1}})
	if a.err != nil || !slices.Equal(a.hint.Changed, []dbfs.NamespaceID{p.ns}) || a.hint.Retry <= 0 {
		t.Errorf("%+v, %v, want changed and a while to wait", a.hint, a.err)
	}
}

func losesItsRight(t *testing.T, w World) {
	p, other := rootPen(t, w, "admin"), rootPen(t, w, "other")
	ns, err := p.CreateNamespace(t.Context(), "team", dbfs.NamesExact)
	check(t, err)
	for _, role := range []dbfs.Role{dbfs.RoleRead, dbfs.RoleWrite, dbfs.RoleNone} {
		var got <-chan answer
		if role != dbfs.RoleRead {
			got = other.asked(long, map[dbfs.NamespaceID]dbfs.Cursor{ns.ID: ns.Cursor})
			wantParked(t, got)
		}
		check(t, p.SetMember(t.Context(), ns.ID, "other", role))
		if got != nil {
			wantChanged(t, got, ns.ID)
		}
	}
}

func wokenByAMount(t *testing.T, w World) {
	p := rootPen(t, w, "admin")
	ns, err := p.CreateNamespace(t.Context(), "team", dbfs.NamesExact)
	check(t, err)
	got := p.asked(long, p.at())
	wantParked(t, got)
	_, err = p.Mount(t.Context(), ns.ID, "/team")
	check(t, err)
	wantChanged(t, got, p.ns)
}

func waitingForTooMany(t *testing.T, w World) {
	p := rootPen(t, w, "admin")
	at := make(map[dbfs.NamespaceID]dbfs.Cursor)
	for i := range remote.MaxPoll + 1 {
		at[dbfs.NamespaceID(i+1)] = dbfs.Cursor{}
	}
	_, err := p.Wait(t.Context(), at, long)
	wantError(t, err, dbfs.ErrInvalid)
}

// noWakeUpIsLost: polls begin while commits happen; each must end at once with every
// commit, however they fall.
func noWakeUpIsLost(t *testing.T, w World) {
	p := rootPen(t, w, "admin")
	other := newPen(t, w, w.Device(t, "admin"), p.ns)
	for i := range 100 {
		got := p.asked(long, p.at())
		if i%3 == 0 {
			time.Sleep(time.Duration(i) * 10 * time.Microsecond)
		}
		other.must(mkdir(fmt.Sprint(i), "", fmt.Sprint(i)))
		wantChanged(t, got, p.ns)
	}
}
