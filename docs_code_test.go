package redstart_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path"
	"regexp"
	"strings"
	"testing"
)

// A block of Go in the documents names the declaration that it shows, or "file" for a whole file:
// <!-- Example in example_test.go -->. The path is relative to the root. For an example, the block
// has the body without the output. For another declaration, it has the text with its comment.
var (
	goFence   = regexp.MustCompile("(?m)^```go$")
	codeBlock = regexp.MustCompile("(?s)<!-- (\\w+) in (\\S+_test\\.go) -->\n```go\n(.*?)```\n")
)

// documentsWithCode are the Markdown files whose Go blocks come from files that the tests compile.
func documentsWithCode(t *testing.T) []string {
	t.Helper()
	files := []string{"README.md"}
	for _, file := range sources(t, ".md") {
		if dir := path.Dir(file); dir == "docs/guides" || dir == "docs/migrate" || path.Dir(dir) == "adapters" {
			files = append(files, file)
		}
	}
	return files
}

func TestDocsShowCodeThatCompiles(t *testing.T) {
	for _, file := range documentsWithCode(t) {
		text := readFile(t, file)
		blocks := codeBlock.FindAllStringSubmatchIndex(text, -1)
		if fences := len(goFence.FindAllString(text, -1)); fences != len(blocks) {
			t.Errorf("%s has %d blocks of Go, and %d of them name a declaration: put <!-- Name in file_test.go --> before each",
				file, fences, len(blocks))
		}

		var shown strings.Builder
		from := 0
		for _, at := range blocks {
			name, source := text[at[2]:at[3]], text[at[4]:at[5]]
			want := declaration(t, source, name)
			if got := text[at[6]:at[7]]; got != want && !updateDocs {
				t.Errorf("%s: the block of %s differs from %s: run make docs\n%s:\n%s\nsource:\n%s", file, name, source, file, got, want)
			}
			shown.WriteString(text[from:at[6]] + want)
			from = at[7]
		}
		if updateDocs {
			writeFile(t, file, shown.String()+text[from:])
		}
	}
}

// declaration returns the text of a top-level declaration. For an example, this is its body, one
// step less indented and without the output. For "file", it is the whole file.
func declaration(t *testing.T, file, name string) string {
	t.Helper()
	text := readFile(t, file)
	if name == "file" {
		return text
	}

	positions := token.NewFileSet()
	parsed, err := parser.ParseFile(positions, file, text, parser.SkipObjectResolution|parser.ParseComments)
	if err != nil {
		t.Fatal(err)
	}
	cut := func(from, to token.Pos) string {
		return text[positions.Position(from).Offset:positions.Position(to).Offset]
	}
	for _, decl := range parsed.Decls {
		switch d := decl.(type) {
		case *ast.FuncDecl:
			if d.Name.Name == name && strings.HasPrefix(name, "Example") {
				body, _, _ := strings.Cut(cut(d.Body.Lbrace+1, d.Body.Rbrace), "\t// Output:")
				return strings.TrimSpace(strings.ReplaceAll(body, "\n\t", "\n")) + "\n"
			}
			if d.Name.Name == name {
				return cut(start(d.Doc, d), d.End()) + "\n"
			}
		case *ast.GenDecl:
			for _, spec := range d.Specs {
				if typed, ok := spec.(*ast.TypeSpec); ok && typed.Name.Name == name {
					return cut(start(d.Doc, d), d.End()) + "\n"
				}
			}
		}
	}
	t.Fatalf("%s does not declare %s", file, name)
	return ""
}

// start returns the position at which a declaration begins, with its comment if it has one.
func start(doc *ast.CommentGroup, node ast.Node) token.Pos {
	if doc != nil {
		return doc.Pos()
	}
	return node.Pos()
}

// TestDocsQuoteTextsThatExist checks that the code has each error and log message that a marked
// table explains.
func TestDocsQuoteTextsThatExist(t *testing.T) {
	t.Parallel()
	var code strings.Builder
	for _, file := range sources(t, ".go") {
		if !strings.HasSuffix(file, "_test.go") {
			code.WriteString(readFile(t, file))
		}
	}
	const mark = "<!-- Texts that the tests find in the code -->\n"
	quote := regexp.MustCompile("(?m)^\\| `([^`]+)`")
	marked := 0
	for _, file := range documentsWithCode(t) {
		for _, table := range strings.Split(readFile(t, file), mark)[1:] {
			marked++
			table, _, _ = strings.Cut(table, "\n\n")
			quoted := quote.FindAllStringSubmatch(table, -1)
			if len(quoted) == 0 {
				t.Errorf("%s: a table after the mark quotes no text", file)
			}
			for _, text := range quoted {
				if !strings.Contains(code.String(), text[1]) {
					t.Errorf("%s explains %q, and no code has that text: correct the row", file, text[1])
				}
			}
		}
	}
	if marked == 0 {
		t.Error("no document has a table of texts")
	}
}
