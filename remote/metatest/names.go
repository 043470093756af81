package metatest

import (
	"slices"
	"testing"

	"github.com/dbfs/dbfs"
)

// The names that histories give: under exact rules each is its own; under portable ones those
// in a row are one, and the last are none.
var (
	sameNames  = [][]string{{"a", "A"}, {"\u00e9", "e\u0301", "E\u0301"}, {"stra\u00dfe", "STRASSE"}}
	unportable = []string{"nul", "a.", "a?"}
	someNames  = slices.Concat(slices.Concat(sameNames...), unportable)
)

// sameName is the model's own rule.
func sameName(rule dbfs.NameRule, a, b string) bool {
	if a == b || rule == dbfs.NamesExact {
		return a == b
	}
	return slices.ContainsFunc(sameNames, func(row []string) bool { return slices.Contains(row, a) && slices.Contains(row, b) })
}

// Where names are portable the rules are the same but for these. The tree is that of the rules.
var portableRules = []rule{
	{"create: names differ by case", []dbfs.Op{create("n", "", "G", nil)}, 0, dbfs.RefusedNameTaken, "g", nil},
	{"create: names differ by case in the batch", []dbfs.Op{create("n", "", "n", nil), create("m", "", "N", nil)}, 0, dbfs.RefusedNameTaken, "", nil},
	{"create: names differ by composition", []dbfs.Op{create("n", "", "\u00e9", nil), create("m", "", "e\u0301", nil)}, 0, dbfs.RefusedNameTaken, "", nil},
	{"create: names differ by both", []dbfs.Op{create("n", "", "\u03b0", nil), create("m", "", "\u03a5\u0308\u0301", nil)}, 0, dbfs.RefusedNameTaken, "", nil},
	{"create: names differ by more", []dbfs.Op{create("n", "", "\u00e8", nil), create("m", "", "\u00e9", nil)}, 2, "", "", nil},
	{"create at another spelling of a deleted file", []dbfs.Op{create("n", "", "DEAD", nil)}, 1, "", "", nil},
	{"create in another directory", []dbfs.Op{create("n", "d", "G", nil)}, 1, "", "", nil},
	{"move to another spelling of its own name", []dbfs.Op{move("g", 5, "", "G")}, 1, "", "", nil},
	{"move to another spelling and back", []dbfs.Op{move("g", 5, "", "G"), move("g", self, "", "g")}, 2, "", "", nil},
	{"move a dir to another spelling", []dbfs.Op{move("d", 12, "", "D"), mkdir("n", "", "d")}, 0, dbfs.RefusedNameTaken, "d", nil},
	{"move to another spelling of a name taken", []dbfs.Op{move("f", 2, "", "G")}, 0, dbfs.RefusedNameTaken, "g", nil},
	{"move away, and create at another spelling", []dbfs.Op{move("g", 5, "", "x"), create("n", "", "G", nil)}, 2, "", "", nil},
	{"replace by another spelling", []dbfs.Op{replace("f", 2, "", "G", "g", dbfs.Revs{Content: 11, Place: 5})}, 2, "", "", nil},
	{"replace one, but another has the spelling", []dbfs.Op{replace("f", 2, "", "LINK", "g", dbfs.Revs{Content: 11, Place: 5})}, 0, dbfs.RefusedNameTaken, "link", nil},
	{"delete and create at another spelling", []dbfs.Op{remove("g", dbfs.Revs{Content: 11, Place: 5}), create("n", "", "G", nil)}, 2, "", "", nil},
	{"delete tree and take its name", []dbfs.Op{removeTree("d", 12, 12), mkdir("n", "", "D")}, 2, "", "", nil},
	{"revive at another spelling of a name taken", []dbfs.Op{revive("dead", "", "G", nil)}, 0, dbfs.RefusedNameTaken, "g", nil},
	{"revive at another spelling of its own", []dbfs.Op{revive("dead", "", "Dead", nil)}, 1, "", "", nil},
	{"exchange two spellings of two dirs", []dbfs.Op{mkdir("n", "e", "G"), exchange("n", self, "g", 5)}, 3, "", "", nil},
	{"exchange, and the names are held", []dbfs.Op{exchange("f", 2, "g", 5), mkdir("n", "", "G")}, 0, dbfs.RefusedNameTaken, "f", nil},
	{"create a device", []dbfs.Op{create("n", "", "Con.txt", nil)}, 0, "", "", dbfs.ErrInvalid},
	{"create a name that ends with a dot", []dbfs.Op{mkdir("n", "", "n.")}, 0, "", "", dbfs.ErrInvalid},
	{"create a name of characters to come", []dbfs.Op{mkdir("n", "", "\U0003fffd")}, 0, "", "", dbfs.ErrInvalid},
	{"move to a device", []dbfs.Op{move("g", 5, "", "aux")}, 0, "", "", dbfs.ErrInvalid},
	{"revive at a name with a colon", []dbfs.Op{revive("dead", "", "a:b", nil)}, 0, "", "", dbfs.ErrInvalid},
}

// namesAreSaid: how names are told apart is said of every namespace, and is no business of others.
func namesAreSaid(t *testing.T, w World) {
	admin := w.Device(t, "admin")
	for _, rule := range []dbfs.NameRule{dbfs.NamesExact, dbfs.NamesPortable} {
		made, err := admin.CreateNamespace(t.Context(), "of "+rule.String(), rule)
		check(t, err)
		if made.Names != rule {
			t.Errorf("made with %s names: %+v", rule, made)
		}
		list, err := admin.Namespaces(t.Context())
		check(t, err)
		for _, ns := range list {
			if want := rule; ns.ID == made.ID && ns.Names != want || ns.Root && ns.Names != dbfs.NamesExact {
				t.Errorf("listed as %+v", ns)
			}
		}
	}
	_, err := admin.CreateNamespace(t.Context(), "of others", dbfs.NamesPortable+1)
	wantError(t, err, dbfs.ErrInvalid)
}

// oneNameEach: an account makes no second namespace of a name, nor gives it to another one.
func oneNameEach(t *testing.T, w World) {
	ctx := t.Context()
	admin, bob := w.Device(t, "admin"), w.Device(t, "bob")
	team, err := admin.CreateNamespace(ctx, "team", dbfs.NamesExact)
	check(t, err)
	_, err = admin.CreateNamespace(ctx, "team", dbfs.NamesExact)
	wantError(t, err, dbfs.ErrExist)
	theirs, err := bob.CreateNamespace(ctx, "team", dbfs.NamesExact) // bob has none yet
	check(t, err)
	check(t, admin.SetMember(ctx, team.ID, "bob", dbfs.RoleWrite)) // and now two: others may give what they want
	wantError(t, bob.RenameNamespace(ctx, team.ID, "mine"), dbfs.ErrForbidden)
	wantError(t, bob.RenameNamespace(ctx, theirs.ID, "a/b"), dbfs.ErrInvalid)
	wantError(t, bob.RenameNamespace(ctx, bob.Root, "mine"), dbfs.ErrInvalid)
	check(t, bob.RenameNamespace(ctx, theirs.ID, "theirs"))
	check(t, bob.RenameNamespace(ctx, theirs.ID, "theirs")) // as it is called already
	wantError(t, bob.RenameNamespace(ctx, theirs.ID, "team"), dbfs.ErrExist)
	check(t, admin.RenameNamespace(ctx, team.ID, "group"))
	list, err := bob.Namespaces(ctx)
	check(t, err)
	names := make(map[dbfs.NamespaceID]string)
	for _, ns := range list {
		names[ns.ID] = ns.Name
	}
	if names[team.ID] != "group" || names[theirs.ID] != "theirs" {
		t.Errorf("called %v", names)
	}
	check(t, bob.RenameNamespace(ctx, theirs.ID, "team"))
	_, err = admin.CreateNamespace(ctx, "team", dbfs.NamesPortable)
	check(t, err)
}
