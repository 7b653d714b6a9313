package redstart_test

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"path"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/redstart-go/redstart"
	"github.com/redstart-go/redstart/internal/core"
)

// TestArchPublicPackagesShowNoInternalType reads the exported declarations of each public package.
// A user cannot import internal packages, so a type from there has no documentation and no name.
func TestArchPublicPackagesShowNoInternalType(t *testing.T) {
	t.Parallel()
	public := 0
	for _, file := range sources(t, ".go") {
		text := readFile(t, file)
		g := goFile{name: file, text: text, positions: token.NewFileSet()}
		if !g.isPublic() {
			continue
		}
		public++
		for _, finding := range internalTypes(t, g) {
			t.Error(finding)
		}
	}
	if public < 50 {
		t.Errorf("read %d files of public packages: the walk is broken", public)
	}
}

func TestArchInternalTypesAreFound(t *testing.T) {
	t.Parallel()
	const begin = `package lock

import (
	"time"

	held "` + module + `/internal/core"
)

`
	for text, want := range map[string]int{
		"type A = held.Core":                      1,
		"type A held.Core":                        1,
		"type A struct { C *held.Core }":          1,
		"type A struct { held.Core }":             1,
		"type A struct { c *held.Core }":          0,
		"type a = held.Core":                      0,
		"type A interface { F(c held.Core) }":     1,
		"type A[T held.Core] struct { c T }":      1,
		"func F(c []held.Core) map[int]held.Core": 2,
		"func f(c held.Core)":                     0,
		"type A int\nfunc (a A) F() *held.Core":   1,
		"type a int\nfunc (a a) F() *held.Core":   0,
		"var A held.Core":                         1,
		"var A = held.X":                          1,
		"var A error = held.X":                    0,
		"var a = held.X":                          0,
		"func F(d time.Duration)":                 0,
	} {
		g := goFile{name: "lock/a.go", text: begin + text, positions: token.NewFileSet()}
		if got := internalTypes(t, g); len(got) != want {
			t.Errorf("%s: found %q, want %d findings", text, got, want)
		}
	}
}

// internalTypes reports each use of an internal package in an exported declaration of a file. The
// value of a variable may come from one if the type of the variable is declared.
func internalTypes(t *testing.T, g goFile) []string {
	t.Helper()
	var err error
	g.parsed, err = parser.ParseFile(g.positions, g.name, g.text, parser.SkipObjectResolution)
	if err != nil {
		t.Fatal(err)
	}
	internal := map[string]bool{}
	for _, spec := range g.parsed.Imports {
		imported, err := strconv.Unquote(spec.Path.Value)
		if err != nil {
			t.Fatal(err)
		}
		if strings.HasPrefix(imported, module+"/internal/") {
			name := path.Base(imported)
			if spec.Name != nil {
				name = spec.Name.Name
			}
			internal[name] = true
		}
	}

	var findings []string
	for _, shown := range shownExpressions(g.parsed) {
		ast.Inspect(shown, func(node ast.Node) bool {
			if selector, ok := node.(*ast.SelectorExpr); ok {
				if from, ok := selector.X.(*ast.Ident); ok && internal[from.Name] {
					findings = append(findings, g.at(node.Pos(), "the public API shows %s.%s of an internal package",
						from.Name, selector.Sel.Name))
				}
			}
			return true
		})
	}
	return findings
}

// shownExpressions returns the parts of the exported declarations that go doc shows: signatures,
// exported fields, constraints, and the types of variables or, without a type, their values.
func shownExpressions(file *ast.File) []ast.Node {
	var shown []ast.Node
	for _, decl := range file.Decls {
		switch d := decl.(type) {
		case *ast.FuncDecl:
			if d.Name.IsExported() && receiverIsExported(d) {
				shown = append(shown, d.Type)
			}
		case *ast.GenDecl:
			for _, spec := range d.Specs {
				switch s := spec.(type) {
				case *ast.TypeSpec:
					if s.Name.IsExported() {
						shown = append(shown, shownOfType(s)...)
					}
				case *ast.ValueSpec:
					shown = append(shown, shownOfValue(s)...)
				}
			}
		}
	}
	return shown
}

func shownOfType(s *ast.TypeSpec) []ast.Node {
	var shown []ast.Node
	if s.TypeParams != nil {
		shown = append(shown, s.TypeParams)
	}
	fields, ok := s.Type.(*ast.StructType)
	if !ok {
		return append(shown, s.Type)
	}
	for _, field := range fields.Fields.List {
		if len(field.Names) == 0 || slices.ContainsFunc(field.Names, (*ast.Ident).IsExported) {
			shown = append(shown, field.Type)
		}
	}
	return shown
}

func shownOfValue(s *ast.ValueSpec) []ast.Node {
	if !slices.ContainsFunc(s.Names, (*ast.Ident).IsExported) {
		return nil
	}
	if s.Type != nil {
		return []ast.Node{s.Type}
	}
	var shown []ast.Node
	for _, value := range s.Values {
		shown = append(shown, value)
	}
	return shown
}

// The states of the public type have the numbers and the names of the connection layer.
func TestBreakerStatesMatchTheConnectionLayer(t *testing.T) {
	t.Parallel()
	for state, want := range map[redstart.BreakerState]core.BreakerState{
		redstart.BreakerClosed:   core.BreakerClosed,
		redstart.BreakerOpen:     core.BreakerOpen,
		redstart.BreakerHalfOpen: core.BreakerHalfOpen,
	} {
		if redstart.BreakerState(want) != state || state.String() != want.String() {
			t.Errorf("state %d is %q, and %d is %q in the connection layer", state, state, want, want)
		}
	}
	if got, want := fmt.Sprint(redstart.BreakerState(9)), "BreakerState(9)"; got != want {
		t.Errorf("an unknown state is %q, want %q", got, want)
	}
}
