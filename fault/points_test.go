package fault

import (
	"fmt"
	"go/ast"
	"go/constant"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// Every point has a name of its own, a sentence, and a place in Points; and it is in the source
// exactly once, in the package that its name begins with. A point that nobody comes to any more, or
// that stands for two places, would let a test of crashes pass that tests nothing.
func TestPointsAreInTheSource(t *testing.T) {
	names := declared(t)
	if len(names) != len(Points) {
		t.Errorf("points.go declares %d points, Points lists %d", len(names), len(Points))
	}
	used := uses(t, "..")
	for name, p := range names {
		if !slices.Contains(Points, p) {
			t.Errorf("%s is not in Points", name)
		}
		dir, _, _ := strings.Cut(string(p), ".")
		switch at := used[name]; {
		case len(at) != 1:
			t.Errorf("%s is used at %q, want one place", name, at)
		case filepath.Base(filepath.Dir(at[0])) != dir:
			t.Errorf("%s (%s) is used in %s", name, p, at[0])
		}
		delete(used, name)
	}
	for name, at := range used {
		t.Errorf("fault.Here(%s) at %q names no point of points.go", name, at)
	}
}

// declared returns the points of points.go by the names of their constants.
func declared(t *testing.T) map[string]Point {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), "points.go", nil, parser.ParseComments)
	if err != nil {
		t.Fatal(err)
	}
	names := make(map[string]Point)
	seen := make(map[Point]string)
	ast.Inspect(file, func(n ast.Node) bool {
		spec, ok := n.(*ast.ValueSpec)
		if !ok || len(spec.Values) != 1 {
			return true
		}
		lit, ok := spec.Values[0].(*ast.BasicLit)
		if !ok {
			return true
		}
		p := Point(constant.StringVal(constant.MakeFromLiteral(lit.Value, lit.Kind, 0)))
		name := spec.Names[0].Name
		if spec.Doc == nil {
			t.Errorf("%s has no sentence", name)
		}
		if other, twice := seen[p]; twice {
			t.Errorf("%s and %s are both %q", name, other, p)
		}
		names[name], seen[p] = p, name
		return true
	})
	return names
}

// uses returns where the source below a directory, tests apart, calls fault.Here, by what it
// is given.
func uses(t *testing.T, top string) map[string][]string {
	t.Helper()
	found := make(map[string][]string)
	err := filepath.WalkDir(top, func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && strings.HasPrefix(d.Name(), ".") && path != top:
			return filepath.SkipDir
		case d.IsDir() || filepath.Ext(path) != ".go" || strings.HasSuffix(path, "_test.go"):
			return nil
		}
		return usesIn(path, found)
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

func usesIn(path string, found map[string][]string) error {
	files := token.NewFileSet()
	file, err := parser.ParseFile(files, path, nil, 0)
	if err != nil {
		return err
	}
	ast.Inspect(file, func(n ast.Node) bool {
		call, ok := n.(*ast.CallExpr)
		if !ok || !isSelector(call.Fun, "Here") || len(call.Args) != 1 {
			return true
		}
		at := path + ":" + strconv.Itoa(files.Position(call.Pos()).Line)
		name := fmt.Sprintf("%T", call.Args[0])
		if sel, ok := call.Args[0].(*ast.SelectorExpr); ok {
			name = sel.Sel.Name
		}
		found[name] = append(found[name], at)
		return true
	})
	return nil
}

// isSelector reports whether an expression is fault.NAME.
func isSelector(e ast.Expr, name string) bool {
	sel, ok := e.(*ast.SelectorExpr)
	if !ok || sel.Sel.Name != name {
		return false
	}
	pkg, ok := sel.X.(*ast.Ident)
	return ok && pkg.Name == "fault"
}
