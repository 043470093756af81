package metatest

import (
	"slices"
	"strings"
	"testing"

	"github.com/dbfs/dbfs"
	"github.com/dbfs/dbfs/remote"
)

func testSharing(t *testing.T, open func(testing.TB) World) {
	tests(t, open, map[string]func(*testing.T, World){
		"Accounts":            accounts,
		"Devices":             devices,
		"RootsArePrivate":     rootsArePrivate,
		"Roles":               roles,
		"Members":             members,
		"Mounts":              mounts,
		"MountsAreTheServers": mountsAreTheServers,
		"Leaving":             leaving,
		"Listing":             listing,
		"NamesAreSaid":        namesAreSaid,
		"OneNameEach":         oneNameEach,
	})
}

func accounts(t *testing.T, w World) {
	admin, other := w.Device(t, "admin"), w.Device(t, "other")
	me, err := other.Me(t.Context())
	if err != nil || me.Name != "other" || me.Admin || me.Device != other.ID || me.Root != other.Root {
		t.Errorf("me: %+v, %v", me, err)
	}
	_, err = admin.AddUser(t.Context(), "other", false)
	wantError(t, err, dbfs.ErrExist)
	_, err = admin.AddUser(t.Context(), "a/b", false)
	wantError(t, err, dbfs.ErrInvalid)
	_, err = admin.ResetUser(t.Context(), "nobody")
	wantError(t, err, dbfs.ErrNotExist)
	second, err := admin.AddUser(t.Context(), "second admin", true)
	if err != nil || second.Token == "" || !second.Admin {
		t.Errorf("second admin: %+v, %v", second, err)
	}
	users, err := admin.Users(t.Context())
	check(t, err)
	var names []string
	for _, u := range users {
		names = append(names, u.Name)
		if u.Token != "" || u.ID == 0 {
			t.Errorf("listed: %+v", u)
		}
	}
	if want := []string{"admin", "other", "second admin"}; !slices.Equal(names, want) {
		t.Errorf("users %q, want %q", names, want)
	}
	_, err = other.AddUser(t.Context(), "x", true)
	wantError(t, err, dbfs.ErrForbidden)
	_, err = other.ResetUser(t.Context(), "admin")
	wantError(t, err, dbfs.ErrForbidden)
	_, err = other.Users(t.Context())
	wantError(t, err, dbfs.ErrForbidden)
}

func devices(t *testing.T, w World) {
	one, two, other := w.Device(t, "admin"), w.Device(t, "admin"), w.Device(t, "other")
	list, err := one.Devices(t.Context())
	check(t, err)
	if len(list) != 2 {
		t.Fatalf("devices %+v, want two", list)
	}
	for _, d := range list {
		if d.This != (d.ID == one.ID) || d.Revoked || d.Created.IsZero() || d.Name == "" {
			t.Errorf("device %+v", d)
		}
	}
	wantError(t, other.RevokeDevice(t.Context(), one.ID), dbfs.ErrNotExist)
	check(t, one.RevokeDevice(t.Context(), two.ID))
	check(t, one.Logout(t.Context()))
	list, err = w.Device(t, "admin").Devices(t.Context())
	check(t, err)
	revoked := 0
	for _, d := range list {
		if d.Revoked {
			revoked++
		}
	}
	if len(list) != 3 || revoked != 2 {
		t.Errorf("devices %+v, want two of three revoked", list)
	}
}

// wantShut wants every way into a namespace shut, with an error that names it.
func wantShut(t *testing.T, p *pen, ns dbfs.NamespaceID, named string, commit, read error) {
	t.Helper()
	ctx := t.Context()
	b := p.batch(mkdir("x", "", "x"))
	p.seq--
	_, errCommit := p.Commit(ctx, ns, b)
	_, errLog := p.Log(ctx, ns, dbfs.Cursor{Epoch: p.epoch}, 1)
	_, errTree := p.Tree(ctx, ns, dbfs.RootNode, 1)
	_, errMembers := p.Members(ctx, ns)
	for what, got := range map[string][2]error{"commit": {errCommit, commit}, "log": {errLog, read}, "tree": {errTree, read}, "members": {errMembers, read}} {
		if got[1] == nil {
			if got[0] != nil {
				t.Errorf("%s: %v", what, got[0])
			}
			continue
		}
		wantError(t, got[0], got[1])
		if !strings.Contains(got[0].Error(), named) {
			t.Errorf("%s: %q does not name %q", what, got[0], named)
		}
	}
}

func rootsArePrivate(t *testing.T, w World) {
	admin, other := rootPen(t, w, "admin"), rootPen(t, w, "other")
	ctx := t.Context()
	wantShut(t, admin, other.ns, other.ns.String(), dbfs.ErrForbidden, dbfs.ErrForbidden)
	wantShut(t, other, 12345, dbfs.NamespaceID(12345).String(), dbfs.ErrForbidden, dbfs.ErrForbidden)
	wantError(t, other.SetMember(ctx, other.ns, "admin", dbfs.RoleRead), dbfs.ErrInvalid)
	wantError(t, admin.SetMember(ctx, other.ns, "admin", dbfs.RoleRead), dbfs.ErrForbidden)
	_, err := other.Mount(ctx, other.ns, "/me")
	wantError(t, err, dbfs.ErrInvalid)
	wantError(t, other.Leave(ctx, other.ns), dbfs.ErrInvalid)
}

func roles(t *testing.T, w World) {
	admin := rootPen(t, w, "admin")
	ctx := t.Context()
	ns, err := admin.CreateNamespace(ctx, "team", dbfs.NamesExact)
	check(t, err)
	bob := rootPen(t, w, "bob")
	cases := []struct {
		role                 dbfs.Role
		named                string
		commit, read, manage error
	}{
		{dbfs.RoleNone, ns.ID.String(), dbfs.ErrForbidden, dbfs.ErrForbidden, dbfs.ErrForbidden},
		{dbfs.RoleRead, "team", dbfs.ErrReadOnly, nil, dbfs.ErrForbidden},
		{dbfs.RoleWrite, "team", nil, nil, dbfs.ErrForbidden},
		{dbfs.RoleAdmin, "team", nil, nil, nil},
		{dbfs.RoleNone, ns.ID.String(), dbfs.ErrForbidden, dbfs.ErrForbidden, dbfs.ErrForbidden},
	}
	for i, c := range cases {
		check(t, admin.SetMember(ctx, ns.ID, "bob", c.role))
		bob.seq, bob.n = uint64(i), uint64(i)
		if c.commit == nil {
			b := bob.batch(mkdir(c.role.String(), "", c.role.String()))
			_, err := bob.Commit(ctx, ns.ID, b)
			check(t, err)
			_, err = bob.Tree(ctx, ns.ID, dbfs.RootNode, 0)
			check(t, err)
		} else {
			wantShut(t, bob, ns.ID, c.named, c.commit, c.read)
		}
		err := bob.SetMember(ctx, ns.ID, "admin", dbfs.RoleAdmin)
		if c.manage == nil {
			check(t, err)
		} else {
			wantError(t, err, c.manage)
		}
	}
	wantError(t, admin.SetMember(ctx, ns.ID, "nobody", dbfs.RoleRead), dbfs.ErrNotExist)
	wantError(t, admin.SetMember(ctx, ns.ID, "admin", dbfs.RoleWrite), dbfs.ErrInvalid)
}

func members(t *testing.T, w World) {
	admin := w.Device(t, "admin")
	w.Device(t, "bob")
	w.Device(t, "carol")
	ctx := t.Context()
	ns, err := admin.CreateNamespace(ctx, "team", dbfs.NamesExact)
	check(t, err)
	check(t, admin.SetMember(ctx, ns.ID, "bob", dbfs.RoleRead))
	check(t, admin.SetMember(ctx, ns.ID, "carol", dbfs.RoleWrite))
	check(t, admin.SetMember(ctx, ns.ID, "carol", dbfs.RoleNone))
	list, err := admin.Members(ctx, ns.ID)
	check(t, err)
	got := make(map[string]remote.Member)
	for _, m := range list {
		got[m.Name] = m
	}
	if len(list) != 2 || got["admin"].Role != dbfs.RoleAdmin || !got["admin"].Owner || got["bob"].Role != dbfs.RoleRead || got["bob"].Owner {
		t.Errorf("members %+v", list)
	}
}

func listing(t *testing.T, w World) {
	admin, bob := w.Device(t, "admin"), w.Device(t, "bob")
	ctx := t.Context()
	for _, name := range []string{"zebra", "ant"} {
		ns, err := admin.CreateNamespace(ctx, name, dbfs.NamesExact)
		check(t, err)
		check(t, admin.SetMember(ctx, ns.ID, "bob", dbfs.RoleRead))
	}
	list, err := bob.Namespaces(ctx)
	check(t, err)
	var got []string
	for _, ns := range list {
		got = append(got, ns.Name+":"+ns.Role.String())
		if ns.Root != (ns.ID == bob.Root) {
			t.Errorf("root? %+v", ns)
		}
	}
	if want := []string{"bob:admin", "ant:read", "zebra:read"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	_, err = admin.CreateNamespace(ctx, "a/b", dbfs.NamesExact)
	wantError(t, err, dbfs.ErrInvalid)
}

func mounts(t *testing.T, w World) {
	admin, bob := rootPen(t, w, "admin"), rootPen(t, w, "bob")
	ctx := t.Context()
	ns, err := admin.CreateNamespace(ctx, "team", dbfs.NamesExact)
	check(t, err)
	_, err = bob.Mount(ctx, ns.ID, "/team")
	wantError(t, err, dbfs.ErrForbidden)
	check(t, admin.SetMember(ctx, ns.ID, "bob", dbfs.RoleRead))

	bob.must(mkdir("d", "", "d"), create("f", "", "f", nil))
	for path, want := range map[string]error{"/x/team": dbfs.ErrNotExist, "/f": dbfs.ErrExist, "/f/team": dbfs.ErrNotDir, "/": dbfs.ErrInvalid, "": dbfs.ErrInvalid, "/d/../x": dbfs.ErrInvalid} {
		_, err := bob.Mount(ctx, ns.ID, path)
		wantError(t, err, want)
	}
	first, err := bob.Mount(ctx, ns.ID, "/d/team")
	check(t, err)
	n := wholeTree(t, bob, bob.ns, 0)[first]
	if n.Kind != dbfs.KindMount || n.Mount != ns.ID || n.Parent != id("d") || n.Name != "team" {
		t.Errorf("mount is %+v", n)
	}
	_, err = bob.Mount(ctx, ns.ID, "/second")
	wantError(t, err, dbfs.ErrExist)

	check(t, bob.Unmount(ctx, ns.ID))
	check(t, bob.Unmount(ctx, ns.ID)) // twice is once
	if _, there := wholeTree(t, bob, bob.ns, 0)[first]; there {
		t.Error("still mounted")
	}
	second, err := bob.Mount(ctx, ns.ID, "third/")
	check(t, err)
	if second == first {
		t.Error("a node's id was used twice")
	}
	for _, e := range wholeLog(t, bob, bob.ns, bob.epoch, 0)[2:] {
		if e.Op.Device != 0 || !e.End || e.Actor == 0 {
			t.Errorf("the server's own entry: %+v", e)
		}
	}
}

// mountsAreTheServers: clients may move a mount and set its attributes, nothing else.
func mountsAreTheServers(t *testing.T, w World) {
	p := rootPen(t, w, "admin")
	ns, err := p.CreateNamespace(t.Context(), "team", dbfs.NamesExact)
	check(t, err)
	mount, err := p.Mount(t.Context(), ns.ID, "/team")
	check(t, err)
	on := func(op dbfs.Op) dbfs.Op {
		op.Node = mount
		return op
	}
	p.must(mkdir("d", "", "d"), on(move("", 1, "d", "moved")), on(chmod("", 1, 0o700)))
	_, err = p.send(p.batch(on(remove("", dbfs.Revs{Place: 3}))))
	wantError(t, err, dbfs.ErrInvalid)
	p.seq--
	_, err = p.send(p.batch(on(write("", 1, content(1, 1)))))
	wantError(t, err, dbfs.ErrInvalid)
	p.seq--
	under := mkdir("x", "", "x")
	under.Parent = mount
	_, err = p.send(p.batch(under))
	wantRefusal(t, err, 0, dbfs.RefusedParentGone)
	_, err = p.send(p.batch(remove("d", dbfs.Revs{Place: 2})))
	wantRefusal(t, err, 0, dbfs.RefusedNotEmpty)
	check(t, p.Unmount(t.Context(), ns.ID))
	_, err = p.send(p.batch(on(revive("", "", "back", nil))))
	wantError(t, err, dbfs.ErrInvalid)
}

func leaving(t *testing.T, w World) {
	admin, bob := rootPen(t, w, "admin"), rootPen(t, w, "bob")
	ctx := t.Context()
	for _, leave := range []func(dbfs.NamespaceID) error{
		func(ns dbfs.NamespaceID) error { return bob.Leave(ctx, ns) },
		func(ns dbfs.NamespaceID) error { return admin.SetMember(ctx, ns, "bob", dbfs.RoleNone) },
	} {
		ns, err := admin.CreateNamespace(ctx, fresh("team"), dbfs.NamesExact)
		check(t, err)
		check(t, admin.SetMember(ctx, ns.ID, "bob", dbfs.RoleWrite))
		_, err = bob.Mount(ctx, ns.ID, "/team")
		check(t, err)
		check(t, leave(ns.ID))
		if tree := wholeTree(t, bob, bob.ns, 0); len(tree) != 0 {
			t.Errorf("left over: %+v", tree)
		}
		if list, err := bob.Namespaces(ctx); err != nil || len(list) != 1 {
			t.Errorf("namespaces %+v, %v", list, err)
		}
		wantError(t, bob.Leave(ctx, ns.ID), dbfs.ErrForbidden)
		wantError(t, admin.Leave(ctx, ns.ID), dbfs.ErrInvalid)
	}
}
