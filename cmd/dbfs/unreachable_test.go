package main

import (
	"net"
	"testing"
)

// Whoever names a server in a way that is none is told how to.
func TestServerThatIsNoURL(t *testing.T) {
	s := newSession(t)
	for given, want := range map[string]string{
		"127.0.0.1:9470":        "next: dbfs login --server http://127.0.0.1:9470\n",
		"[::1]:9470":            "next: dbfs login --server http://[::1]:9470\n",
		"localhost":             "next: dbfs login --server http://localhost\n",
		"drive.example.org":     "next: dbfs login --server https://drive.example.org\n",
		"drive.example.org/x":   "next: dbfs login --server https://drive.example.org/x\n",
		"ftp://drive.example":   "next: dbfs login --server https://HOST[:PORT]\n",
		"https://":              "it is a URL, with http:// or https:// before the host",
		"drive.example.org:123": "next: dbfs login --server https://drive.example.org:123\n",
	} {
		s.has(t, want, "login", "--server", given, "--token", "x")
		s.has(t, "exit 2", "login", "--server", given, "--token", "x")
	}
}

// Commands that ask the server themselves say which one does not answer, and what to do.
func TestServerThatIsDown(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	down := "http://" + l.Addr().String()
	l.Close()
	s := newSession(t)
	next := "next: see that the server at " + down + " runs and can be reached from here, then do it again\nexit 6"
	s.has(t, next, "login", "--server", down, "--token", "x")
	saved := savedLogin{Server: down, Account: "bob", Device: 1, Name: "desk", Token: "x"}
	if err := saved.write(s.tool.places.token("default")); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{
		{"ns", "ls"}, {"ns", "create", "team"}, {"ns", "share", "team", "bob"}, {"admin", "user", "ls"}, {"admin", "user", "add", "eve"},
		{"admin", "gc", "--dry-run"}, {"logout"},
	} {
		s.has(t, next, args...)
	}
}
