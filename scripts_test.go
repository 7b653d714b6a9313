package redstart_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestA6_ScriptsHaveAHeader reads each Lua file. No file has a shebang, because a full server
// refuses such a script even if it only deletes. Each file has a header with KEYS, ARGV, the result
// and the invariant. A file without a result is a part of other scripts and has a header with KEYS.
func TestA6_ScriptsHaveAHeader(t *testing.T) {
	t.Parallel()
	returns := regexp.MustCompile(`(?m)^return\b`)
	for _, file := range sources(t, ".lua") {
		text := readFile(t, file)
		if strings.Contains(text, "#!") {
			t.Errorf("%s has a shebang", file)
		}
		header, code := "", text
		for strings.HasPrefix(code, "--") {
			line, rest, _ := strings.Cut(code, "\n")
			header, code = header+line+"\n", rest
		}
		if header == "" {
			t.Errorf("%s has no header", file)
		}
		var say []string
		if returns.MatchString(code) {
			say = []string{"KEYS", "eturns ", "Invariant"}
			if strings.Contains(code, "ARGV[") {
				say = append(say, "ARGV")
			}
		} else if strings.Contains(code, "KEYS[") {
			say = []string{"KEYS"}
		}
		for _, word := range say {
			if !strings.Contains(header, word) {
				t.Errorf("%s: its header has no %q", file, strings.TrimSpace(word))
			}
		}
	}
}

// TestA6_ScriptsAreConstant finds scripts whose text is computed at run time. The server would keep
// each variant until its restart.
func TestA6_ScriptsAreConstant(t *testing.T) {
	t.Parallel()
	found := 0
	for _, file := range sources(t, ".go") {
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		parsed, err := parser.ParseFile(token.NewFileSet(), filepath.FromSlash(file), nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		for _, decl := range parsed.Decls {
			_, inFunc := decl.(*ast.FuncDecl)
			ast.Inspect(decl, func(n ast.Node) bool {
				call, ok := n.(*ast.CallExpr)
				if !ok || !isScript(call.Fun) {
					return true
				}
				found++
				if inFunc {
					t.Errorf("%s creates a script in a function: make it a variable of the package", file)
				}
				for _, arg := range call.Args {
					ast.Inspect(arg, func(n ast.Node) bool {
						if _, ok := n.(*ast.CallExpr); ok {
							t.Errorf("%s computes the text of a script", file)
						}
						return true
					})
				}
				return true
			})
		}
	}
	if found == 0 {
		t.Error("no scripts found: the search is broken")
	}
}

// isScript reports whether a call is script.New or script.ReadOnly.
func isScript(fun ast.Expr) bool {
	s, ok := fun.(*ast.SelectorExpr)
	if !ok {
		return false
	}
	pkg, ok := s.X.(*ast.Ident)
	return ok && pkg.Name == "script" && (s.Sel.Name == "New" || s.Sel.Name == "ReadOnly")
}
