package redstart_test

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"path"
	"strconv"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"
)

// languageExtensions are the files that people read. "" stands for files without an extension:
// Makefile and scripts.
var languageExtensions = []string{".go", ".md", ".lua", ".html", ".js", ".css", ".sh", ".yml", ".yaml", ".sql", ".svg", ""}

const (
	maxCommentColumns = 100
	maxCodeColumns    = 140
	tabColumns        = 4
)

// findingsOf returns the findings of a file, each with file and line.
func findingsOf(t *testing.T, file string) []string {
	t.Helper()
	return findingsIn(t, file, readFile(t, file))
}

func findingsIn(t *testing.T, file, text string) []string {
	t.Helper()
	findings := wordFindings(file, passage{1, strings.ReplaceAll(path.Base(file), "_", " ")})
	switch path.Ext(file) {
	case ".go":
		return append(findings, goFindings(t, file, text)...)
	case ".lua":
		text = luaComments(text)
	}
	return append(findings, wordFindings(file, passage{1, text})...)
}

// luaComments keeps what follows "--" on each line.
func luaComments(text string) string {
	lines := strings.Split(text, "\n")
	for i, line := range lines {
		_, lines[i], _ = strings.Cut(line, "--")
	}
	return strings.Join(lines, "\n")
}

func goFindings(t *testing.T, file, text string) []string {
	t.Helper()
	positions := token.NewFileSet()
	parsed, err := parser.ParseFile(positions, file, text, parser.ParseComments|parser.SkipObjectResolution)
	if err != nil {
		t.Fatal(err)
	}
	g := goFile{name: file, text: text, positions: positions, parsed: parsed}
	var findings []string
	for _, p := range g.passages() {
		findings = append(findings, wordFindings(file, p)...)
	}
	findings = append(findings, g.widths()...)
	findings = append(findings, g.docs()...)
	findings = append(findings, g.errorTexts()...)
	return findings
}

// goFile is a parsed file of Go.
type goFile struct {
	name, text string
	positions  *token.FileSet
	parsed     *ast.File
}

func (g goFile) line(at token.Pos) int { return g.positions.Position(at).Line }

func (g goFile) isTest() bool { return strings.HasSuffix(g.name, "_test.go") }

// at begins a finding.
func (g goFile) at(pos token.Pos, format string, args ...any) string {
	return fmt.Sprintf("%s:%d: %s", g.name, g.line(pos), fmt.Sprintf(format, args...))
}

// passages are the comments, the strings and the declared names.
func (g goFile) passages() []passage {
	var found []passage
	for _, group := range g.parsed.Comments {
		found = append(found, commentPassages(g, group)...)
	}
	name := func(ident *ast.Ident) {
		if ident != nil {
			found = append(found, passage{g.line(ident.Pos()), splitName(ident.Name)})
		}
	}
	ast.Inspect(g.parsed, func(node ast.Node) bool {
		switch n := node.(type) {
		case *ast.ImportSpec:
			return false
		case *ast.BasicLit:
			if n.Kind == token.STRING {
				found = append(found, passage{g.line(n.Pos()), stringText(n.Value)})
			}
		case *ast.FuncDecl:
			name(n.Name)
		case *ast.TypeSpec:
			name(n.Name)
		case *ast.ValueSpec:
			for _, ident := range n.Names {
				name(ident)
			}
		case *ast.Field:
			for _, ident := range n.Names {
				name(ident)
			}
		case *ast.AssignStmt:
			for _, left := range n.Lhs {
				if ident, ok := left.(*ast.Ident); ok && n.Tok == token.DEFINE {
					name(ident)
				}
			}
		}
		return true
	})
	return found
}

// commentPassages joins the lines of a group, so that a phrase over two lines is found.
func commentPassages(g goFile, group *ast.CommentGroup) []passage {
	var found []passage
	last := -2
	for _, c := range group.List {
		text := strings.TrimPrefix(strings.TrimPrefix(c.Text, "//"), "/*")
		if line := g.line(c.Pos()); line == last+1 {
			found[len(found)-1].text += "\n" + text
		} else {
			found = append(found, passage{line, text})
		}
		last = g.line(c.Pos())
	}
	return found
}

// stringText is the text of a string literal. A raw string keeps its lines.
func stringText(literal string) string {
	if strings.HasPrefix(literal, "`") {
		return literal
	}
	text, err := strconv.Unquote(literal)
	if err != nil {
		return literal
	}
	return strings.ReplaceAll(text, "\n", " ")
}

// splitName separates the words of an identifier by spaces. TestC1_NoStaleSet becomes "Test C1 No
// Stale Set".
func splitName(name string) string {
	var b strings.Builder
	before := 'a'
	for i, r := range name {
		next, _ := utf8.DecodeRuneInString(name[i+utf8.RuneLen(r):])
		begins := unicode.IsUpper(r) && (!unicode.IsUpper(before) || unicode.IsLower(next))
		switch {
		case r == '_':
			r = ' '
		case begins && i > 0:
			b.WriteByte(' ')
		}
		b.WriteRune(r)
		before = r
	}
	return b.String()
}

// widths reports comments and code that are too wide. Preformatted lines of comments, which are
// diagrams and code, have the limit of code. Lines of raw strings have none.
func (g goFile) widths() []string {
	raw := map[int]bool{}
	ast.Inspect(g.parsed, func(node ast.Node) bool {
		if n, ok := node.(*ast.BasicLit); ok && strings.HasPrefix(n.Value, "`") && strings.Contains(n.Value, "\n") {
			for line := g.line(n.Pos()); line <= g.line(n.End()); line++ {
				raw[line] = true
			}
		}
		return true
	})

	var findings []string
	for i, line := range strings.Split(g.text, "\n") {
		columns := utf8.RuneCountInString(line) + (tabColumns-1)*strings.Count(line, "\t")
		comment, isComment := strings.CutPrefix(strings.TrimLeft(line, "\t "), "//")
		isOutput := strings.HasPrefix(comment, " Output:") // the text of an example
		isText := strings.HasPrefix(comment, " ") && !strings.HasPrefix(comment, "  ") || strings.HasPrefix(comment, "   - ")
		isProse := isComment && isText && !isOutput
		switch {
		case raw[i+1] || strings.Contains(line, "://") || isComment && !isProse && strings.HasPrefix(comment, "go:"):
		case isProse && columns > maxCommentColumns:
			findings = append(findings, fmt.Sprintf("%s:%d: comment of %d columns, the limit is %d",
				g.name, i+1, columns, maxCommentColumns))
		case columns > maxCodeColumns:
			findings = append(findings, fmt.Sprintf("%s:%d: line of %d columns, the limit is %d",
				g.name, i+1, columns, maxCodeColumns))
		}
	}
	return findings
}
