package dbfs

import (
	"errors"
	"strings"
	"testing"
	"time"
)

func TestCheckName(t *testing.T) {
	for _, name := range []string{"a", "a b", ".hidden", "...", "naïve", "日本", strings.Repeat("x", MaxName), "new\nline"} {
		if err := CheckName(name); err != nil {
			t.Errorf("CheckName(%q) = %v, want nil", name, err)
		}
	}
	for name, want := range map[string]error{
		"": ErrInvalid, ".": ErrInvalid, "..": ErrInvalid, "a/b": ErrInvalid, "a\x00": ErrInvalid,
		"\xff": ErrInvalid, "\xc3": ErrInvalid, strings.Repeat("x", MaxName+1): ErrNameTooLong,
	} {
		if err := CheckName(name); !errors.Is(err, want) {
			t.Errorf("CheckName(%q) = %v, want %v", name, err, want)
		}
	}
}

func TestNodeCheck(t *testing.T) {
	good := sampleNode()
	if err := good.Check(); err != nil {
		t.Fatal(err)
	}
	if err := (&Node{Kind: KindDir}).Check(); err != nil {
		t.Errorf("the root: %v", err)
	}
	for name, break_ := range map[string]func(*Node){
		"name":             func(n *Node) { n.Name = "a/b" },
		"its own parent":   func(n *Node) { n.Parent = n.ID },
		"kind":             func(n *Node) { n.Kind = 99 },
		"no kind":          func(n *Node) { n.Kind = 0 },
		"content":          func(n *Node) { n.Content.Chunks = Blocklist{} },
		"empty target":     func(n *Node) { n.Kind, n.Target = KindSymlink, "" },
		"target with NUL":  func(n *Node) { n.Kind, n.Target = KindSymlink, "a\x00" },
		"target not UTF-8": func(n *Node) { n.Kind, n.Target = KindSymlink, "\xff" },
		"root deleted":     func(n *Node) { n.ID, n.Kind = RootNode, KindDir },
		"root as a file":   func(n *Node) { n.ID, n.Deleted = RootNode, false },
	} {
		n := sampleNode()
		break_(&n)
		if err := n.Check(); !errors.Is(err, ErrInvalid) {
			t.Errorf("%s: %v, want ErrInvalid", name, err)
		}
	}
	n := Node{ID: good.ID, Name: "l", Kind: KindSymlink, Target: strings.Repeat("x", MaxTarget+1)}
	if err := n.Check(); !errors.Is(err, ErrNameTooLong) {
		t.Errorf("long target: %v, want ErrNameTooLong", err)
	}
}

func TestNodeIDsSortByTime(t *testing.T) {
	at := time.UnixMilli(1_700_000_000_000)
	a, b := NewNodeID(at), NewNodeID(at.Add(time.Millisecond))
	if a.String() >= b.String() {
		t.Errorf("%s, made first, does not come before %s", a, b)
	}
	if a == NewNodeID(at) {
		t.Error("two ids of one moment are equal")
	}
	if version, variant := a[6]>>4, a[8]>>6; version != 7 || variant != 2 {
		t.Errorf("version %d, variant %d of a UUID, want 7 and 2", version, variant)
	}
}

func TestAttrCheck(t *testing.T) {
	big := func(n int) map[string][]byte { return map[string][]byte{"user.a": make([]byte, n)} }
	for name, c := range map[string]struct {
		attr Attr
		want error
	}{
		"none":           {Attr{}, nil},
		"all mode bits":  {Attr{Mode: 0o7777}, nil},
		"type bits":      {Attr{Mode: 0o100644}, ErrInvalid},
		"64 KiB value":   {Attr{Xattrs: big(64 << 10)}, nil},
		"most bytes":     {Attr{Xattrs: big(MaxXattrs - len("user.a"))}, nil},
		"too many bytes": {Attr{Xattrs: big(MaxXattrs)}, ErrTooLarge},
		"no name":        {Attr{Xattrs: map[string][]byte{"": nil}}, ErrInvalid},
		"name not UTF-8": {Attr{Xattrs: map[string][]byte{"user.\xff": nil}}, ErrInvalid},
		"long name":      {Attr{Xattrs: map[string][]byte{strings.Repeat("x", MaxName+1): nil}}, ErrInvalid},
	} {
		if err := c.attr.Check(); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
	}
}
