package redstart_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"path"
	"path/filepath"
	"regexp"
	"slices"
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

// TestScriptsThatTouchUndeclaredKeysAreListed compares the scripts that begin with
// script.UndeclaredKeys with the table in the guide on managed servers. The test rig checks what
// the scripts touch, on each embedded server that it starts.
//
// With the recording of make test (REDSTART_RECORDED), a script fails too if it ran on no embedded
// server, because it is unchecked. So does a script that begins with the line and needs no
// further keys, because Dragonfly stops all other operations while it runs.
func TestScriptsThatTouchUndeclaredKeysAreListed(t *testing.T) {
	t.Parallel()
	undeclared := map[string]bool{} // script → whether it begins with script.UndeclaredKeys
	for _, file := range sources(t, ".go") {
		if !strings.HasSuffix(file, "_test.go") {
			scriptsOf(t, file, undeclared)
		}
	}
	ran, touched := recordedNames(t, "scripts"), recordedNames(t, "undeclared")
	returns := regexp.MustCompile(`(?m)^return\b`)
	for _, file := range sources(t, ".lua") {
		if !returns.MatchString(readFile(t, file)) {
			continue // a part of other scripts
		}
		if _, known := undeclared[file]; !known {
			t.Errorf("%s is the last file of no script", file)
		}
		if ran != nil && !ran[file] {
			t.Errorf("%s ran on no embedded server: call it in a test with rig.Embedded or rig.Engines", file)
		}
		if ran != nil && undeclared[file] && !touched[file] {
			t.Errorf("%s touched only keys of KEYS: it does not need script.UndeclaredKeys, or no test shows why", file)
		}
	}

	var listed []string
	row := regexp.MustCompile("(?m)^\\| `([a-z]+/[a-z_]+\\.lua)` \\|")
	for _, match := range row.FindAllStringSubmatch(readFile(t, "docs/guides/managed.md"), -1) {
		listed = append(listed, match[1])
	}
	maps.DeleteFunc(undeclared, func(_ string, undeclared bool) bool { return !undeclared })
	begin := slices.Sorted(maps.Keys(undeclared))
	slices.Sort(listed)
	if !slices.Equal(listed, begin) {
		t.Errorf("docs/guides/managed.md lists %q,\nand script.UndeclaredKeys begins %q", listed, begin)
	}
}

// scriptsOf adds the scripts that a file creates. A script is named by the last of its files.
func scriptsOf(t *testing.T, file string, undeclared map[string]bool) {
	parsed, err := parser.ParseFile(token.NewFileSet(), filepath.FromSlash(file), nil, parser.SkipObjectResolution)
	if err != nil {
		t.Fatal(err)
	}
	ast.Inspect(parsed, func(n ast.Node) bool {
		call, ok := n.(*ast.CallExpr)
		if !ok || !isScript(call.Fun) || len(call.Args) != 1 {
			return true
		}
		parts := operands(call.Args[0])
		begins := parts[0] == "UndeclaredKeys"
		if slices.Contains(parts[1:], "UndeclaredKeys") {
			t.Errorf("%s: script.UndeclaredKeys has an effect in the first line only", file)
		}
		name := embeddedAs(t, path.Dir(file), parts[len(parts)-1])
		if before, known := undeclared[name]; known && before != begins {
			t.Errorf("%s begins with script.UndeclaredKeys in one place only", name)
		}
		undeclared[name] = begins
		return true
	})
}

// operands returns the names that an expression adds.
func operands(e ast.Expr) []string {
	switch e := e.(type) {
	case *ast.BinaryExpr:
		return append(operands(e.X), operands(e.Y)...)
	case *ast.SelectorExpr:
		return []string{e.Sel.Name}
	case *ast.Ident:
		return []string{e.Name}
	}
	return []string{""}
}

// embeddedAs returns the file that a folder embeds in a variable.
func embeddedAs(t *testing.T, folder, variable string) string {
	t.Helper()
	embeds := regexp.MustCompile(`//go:embed (\S+\.lua)\n\s*(?:var )?` + variable + `\s+string`)
	for _, file := range sources(t, ".go") {
		if path.Dir(file) != folder {
			continue
		}
		if match := embeds.FindStringSubmatch(readFile(t, file)); match != nil {
			return path.Join(folder, match[1])
		}
	}
	t.Errorf("%s: the last part of a script is %q, which is no variable with an embedded file", folder, variable)
	return ""
}
