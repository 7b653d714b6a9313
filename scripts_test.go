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

// TestA6_ScriptsSayWhatTheyDo reads every Lua file: no shebang (a full server would refuse even a
// script that only deletes), and a header with KEYS, ARGV, what it returns, and its invariant. A
// file that returns nothing is a part of others, and says what it makes of KEYS.
func TestA6_ScriptsSayWhatTheyDo(t *testing.T) {
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
				t.Errorf("%s: its header does not say %q", file, strings.TrimSpace(word))
			}
		}
	}
}

// TestA6_ScriptsAreConstant finds a script whose text is put together when the program runs: the
// server would keep every variant for ever.
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
					t.Errorf("%s makes a script in a function: scripts are variables of the package", file)
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

// isScript recognises script.New and script.ReadOnly.
func isScript(fun ast.Expr) bool {
	s, ok := fun.(*ast.SelectorExpr)
	if !ok {
		return false
	}
	pkg, ok := s.X.(*ast.Ident)
	return ok && pkg.Name == "script" && (s.Sel.Name == "New" || s.Sel.Name == "ReadOnly")
}
