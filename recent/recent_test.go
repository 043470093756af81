package recent

import "testing"

func TestMap(t *testing.T) {
	m := New[int, string](2)
	for i, s := range []string{"zero", "one", "two"} {
		m.Keep(i, s)
	}
	if s, ok := m.Get(0); !ok || s != "zero" { // and so it is used again
		t.Errorf("0 is %q, %v", s, ok)
	}
	m.Keep(3, "three")
	for key, want := range []string{"zero", "", "two", "three"} {
		if s, ok := m.Get(key); s != want || ok != (want != "") {
			t.Errorf("%d is %q, %v, want %q", key, s, ok, want)
		}
	}
	m.Forget()
	if s, ok := m.Get(3); ok {
		t.Errorf("%q was not forgotten", s)
	}
}

func TestBound(t *testing.T) {
	const most = 1024
	m := New[int, int](most)
	for i := range 3 * most {
		m.Keep(i, i)
		if _, ok := m.Get(0); !ok {
			t.Fatalf("what is used all the time is forgotten after %d", i)
		}
	}
	if len(m.now) > most || len(m.older) > most {
		t.Errorf("%d and %d keys are remembered", len(m.now), len(m.older))
	}
}

func TestNothing(t *testing.T) {
	var m *Map[int, string]
	m.Keep(1, "one")
	m.Forget()
	if s, ok := m.Get(1); ok {
		t.Errorf("%q is remembered", s)
	}
}
