package redstart_test

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// operatingGuide has a table with a row for each warning and error that the library logs.
const operatingGuide = "docs/guides/operating.md"

var (
	logRow     = regexp.MustCompile("(?m)^\\| `([^`]+)` \\| (Warn|Error) \\|")
	logKey     = regexp.MustCompile(`^[a-z][a-z0-9]*(_[a-z0-9]+)*$`)
	logMessage = regexp.MustCompile(`^(redstart|cache|lock|events|session|ratelimit|inspect|console|idempotency): \S`)
)

// A warning or error is a constant text that the operating guide explains. What varies is in
// attributes with keys of snake_case words.
func TestLogMessagesAreExplained(t *testing.T) {
	t.Parallel()
	rows := logRow.FindAllStringSubmatch(readFile(t, operatingGuide), -1)
	found := 0
	for _, files := range libraryPackages(t) {
		for _, m := range findLogMessages(t, files) {
			found++
			switch {
			case m.text == "":
				t.Errorf("%s: the message is not a constant: put what varies into attributes", m.at)
			case !logMessage.MatchString(m.text):
				t.Errorf("%s: the message %q does not start with its package", m.at, m.text)
			case !slices.ContainsFunc(rows, func(row []string) bool {
				return strings.HasPrefix(m.text, row[1]) && (m.level == "" || m.level == row[2])
			}):
				t.Errorf("%s: %s has no row for the %s %q", m.at, operatingGuide, m.level, m.text)
			}
			for _, key := range m.keys {
				if !logKey.MatchString(key) {
					t.Errorf("%s: the attribute %q is not a word in snake_case", m.at, key)
				}
			}
		}
	}
	if found < 30 {
		t.Errorf("found %d messages: the search is broken", found)
	}
}

// The search finds direct calls, messages of variables, and messages that wrappers pass on.
func TestFindLogMessages(t *testing.T) {
	t.Parallel()
	const source = `package p
const named = "cache: a constant"
func (c *cache) direct() { c.core.Logger().Error("cache: direct", "bad key", 1) }
func (c *cache) joined() { c.core.Warn("cache: joined, " + "in two parts", c.name, "good_key", 1) }
func (c *cache) constant() { c.log.WarnContext(c.ctx, named) }
func (c *cache) variable() {
	text := "cache: one"
	if c.two { text = "cache: two" }
	c.core.Warn(text, c.name)
}
func (c *cache) wrapper(n int, text string) { c.outer(text) }
func (c *cache) outer(text string) { c.core.Logger().Log(c.ctx, c.level, text) }
func (c *cache) wrapped() { c.wrapper(1, "cache: wrapped") }
func (c *cache) computed() { c.core.Logger().Warn(c.text()) }
func (c *cache) other() { http.Error(c.w, "not a log", 500); c.err.Error(); c.core.Logger().Info("cache: info") }
`
	file, err := parser.ParseFile(token.NewFileSet(), "p.go", source, parser.SkipObjectResolution)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, m := range (&logSearch{files: map[string]*ast.File{"p.go": file}, line: func(token.Pos) int { return 0 }}).run() {
		got = append(got, fmt.Sprint(m.level, " ", m.text, " ", m.keys))
	}
	slices.Sort(got)
	want := []string{
		" cache: wrapped []", "Error cache: direct [bad key]", "Warn  []", "Warn cache: a constant []",
		"Warn cache: joined, in two parts [good_key]", "Warn cache: one []", "Warn cache: two []",
	}
	if !slices.Equal(got, want) {
		t.Errorf("found\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// libraryPackages returns the Go files of each package of the library by folder. The operating
// guide does not explain the logs of the reference shop and of the test harness. Package observe
// logs each operation, and no conditions.
func libraryPackages(t *testing.T) map[string][]string {
	t.Helper()
	packages := map[string][]string{}
	for _, file := range sources(t, ".go") {
		folder := path.Dir(file)
		top, _, _ := strings.Cut(folder, "/")
		if strings.HasSuffix(file, "_test.go") || slices.Contains([]string{"service", "bench", "cmd", "docs", "tools", "observe"}, top) ||
			strings.HasPrefix(folder, "internal/rig") {
			continue
		}
		packages[folder] = append(packages[folder], file)
	}
	return packages
}

// foundMessage is a warning or error in the code.
type foundMessage struct {
	at    string // file:line
	level string // "Warn" or "Error", "" if the code chooses the level at run time
	text  string // "" if it is not a constant
	keys  []string
}

func findLogMessages(t *testing.T, files []string) []foundMessage {
	t.Helper()
	set, parsed := token.NewFileSet(), map[string]*ast.File{}
	for _, file := range files {
		tree, err := parser.ParseFile(set, filepath.FromSlash(file), nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		parsed[file] = tree
	}
	search := logSearch{files: parsed, line: func(at token.Pos) int { return set.Position(at).Line }}
	return search.run()
}

// logSearch finds the log calls of one package. A function that logs one of its parameters is a
// wrapper: the messages are the arguments of its calls.
type logSearch struct {
	files    map[string]*ast.File
	line     func(token.Pos) int
	wrappers []logWrapper
	found    []foundMessage
}

// logWrapper is a function whose parameter number index is logged with a level.
type logWrapper struct {
	name, level string
	index       int
}

func (s *logSearch) run() []foundMessage {
	s.eachCall(func(file string, fn *ast.FuncDecl, call *ast.CallExpr) {
		if index, level, ok := logCallOf(call); ok {
			s.add(file, fn, call, index, level)
		}
	})
	for i := 0; i < len(s.wrappers); i++ { // add appends to it
		w := s.wrappers[i]
		s.eachCall(func(file string, fn *ast.FuncDecl, call *ast.CallExpr) {
			if _, _, direct := logCallOf(call); !direct && calledName(call) == w.name && w.index < len(call.Args) {
				s.add(file, fn, call, w.index, w.level)
			}
		})
	}
	return s.found
}

// add adds the messages of a call, or makes the function of the call a wrapper.
func (s *logSearch) add(file string, fn *ast.FuncDecl, call *ast.CallExpr, index int, level string) {
	texts, parameter := s.resolve(fn, call.Args[index])
	if parameter >= 0 {
		w := logWrapper{fn.Name.Name, level, parameter}
		if !slices.Contains(s.wrappers, w) {
			s.wrappers = append(s.wrappers, w)
		}
		return
	}
	if len(texts) == 0 {
		texts = []string{""}
	}
	for _, text := range texts {
		at := fmt.Sprintf("%s:%d", file, s.line(call.Pos()))
		s.found = append(s.found, foundMessage{at: at, level: level, text: text, keys: keysOf(call, index)})
	}
}

func (s *logSearch) eachCall(visit func(file string, fn *ast.FuncDecl, call *ast.CallExpr)) {
	for name, file := range s.files {
		for _, decl := range file.Decls {
			fn, ok := decl.(*ast.FuncDecl)
			if !ok || fn.Body == nil {
				continue
			}
			ast.Inspect(fn.Body, func(n ast.Node) bool {
				if call, ok := n.(*ast.CallExpr); ok {
					visit(name, fn, call)
				}
				return true
			})
		}
	}
}

// resolve returns the constant texts of an expression, or the number of the parameter of fn that it
// names, else -1.
func (s *logSearch) resolve(fn *ast.FuncDecl, expr ast.Expr) (texts []string, parameter int) {
	if text, ok := constantText(expr); ok {
		return []string{text}, -1
	}
	name, ok := expr.(*ast.Ident)
	if !ok {
		return nil, -1
	}
	index := 0
	for _, field := range fn.Type.Params.List {
		for _, parameter := range field.Names {
			if parameter.Name == name.Name {
				return nil, index
			}
			index++
		}
	}
	for _, file := range s.files {
		for _, decl := range file.Decls {
			if group, ok := decl.(*ast.GenDecl); ok {
				texts = append(texts, assignedTexts(group, name.Name)...)
			}
		}
	}
	return append(texts, assignedTexts(fn.Body, name.Name)...), -1
}

// assignedTexts returns the constant texts that a variable or constant gets inside a node.
func assignedTexts(node ast.Node, name string) (texts []string) {
	assign := func(target ast.Expr, value ast.Expr) {
		if id, ok := target.(*ast.Ident); ok && id.Name == name {
			if text, ok := constantText(value); ok {
				texts = append(texts, text)
			}
		}
	}
	ast.Inspect(node, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.AssignStmt:
			for i := range min(len(n.Lhs), len(n.Rhs)) {
				assign(n.Lhs[i], n.Rhs[i])
			}
		case *ast.ValueSpec:
			for i := range min(len(n.Names), len(n.Values)) {
				assign(n.Names[i], n.Values[i])
			}
		}
		return true
	})
	return texts
}

func constantText(expr ast.Expr) (string, bool) {
	switch e := expr.(type) {
	case *ast.BasicLit:
		text, err := strconv.Unquote(e.Value)
		return text, err == nil && e.Kind == token.STRING
	case *ast.BinaryExpr:
		left, ok1 := constantText(e.X)
		right, ok2 := constantText(e.Y)
		return left + right, ok1 && ok2 && e.Op == token.ADD
	}
	return "", false
}

// logCallOf reports whether a call logs a warning or an error, with the number of the message's
// argument and the level. Core.Warn is such a call for every receiver; a method of slog.Logger
// needs a receiver whose name ends with "log" or "Logger".
func logCallOf(call *ast.CallExpr) (index int, level string, ok bool) {
	calls := map[string]logWrapper{
		"Warn": {level: "Warn"}, "Error": {level: "Error"}, "WarnContext": {level: "Warn", index: 1},
		"ErrorContext": {level: "Error", index: 1}, "Log": {index: 2}, "LogAttrs": {index: 2},
	}
	method, isMethod := call.Fun.(*ast.SelectorExpr)
	if !isMethod {
		return 0, "", false
	}
	w, known := calls[method.Sel.Name]
	if !known || len(call.Args) <= w.index || method.Sel.Name != "Warn" && !isLogger(method.X) {
		return 0, "", false
	}
	return w.index, w.level, true
}

func isLogger(expr ast.Expr) bool {
	name := ""
	switch e := expr.(type) {
	case *ast.CallExpr:
		name = calledName(e)
	case *ast.SelectorExpr:
		name = e.Sel.Name
	case *ast.Ident:
		name = e.Name
	}
	name = strings.ToLower(name)
	return strings.HasSuffix(name, "log") || strings.HasSuffix(name, "logger")
}

func calledName(call *ast.CallExpr) string {
	switch fn := call.Fun.(type) {
	case *ast.SelectorExpr:
		return fn.Sel.Name
	case *ast.Ident:
		return fn.Name
	}
	return ""
}

// keysOf returns the constant keys of a log call. Core.Warn has a subject between the message and
// the attributes.
func keysOf(call *ast.CallExpr, message int) (keys []string) {
	method, ok := call.Fun.(*ast.SelectorExpr)
	if !ok || call.Ellipsis.IsValid() {
		return nil
	}
	first := message + 1
	if !isLogger(method.X) {
		first++
	}
	for i := first; i < len(call.Args); i += 2 {
		if text, ok := constantText(call.Args[i]); ok {
			keys = append(keys, text)
		}
	}
	return keys
}
