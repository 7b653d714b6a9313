package redstart_test

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// updateDocs makes the tests write the generated parts of the documentation. Without it, they
// compare. make docs sets REDSTART_UPDATE=1.
var updateDocs = os.Getenv("REDSTART_UPDATE") == "1"

const guaranteesFile = "docs/guarantees.md"

// guaranteeIDs are the guarantees that the project makes: letter and count.
var guaranteeIDs = map[string]int{"A": 7, "C": 9, "K": 6, "E": 8, "S": 8, "R": 6, "I": 5}

// Each guarantee has these parts. The list of tests is folded, and make docs writes it.
const (
	listOpens  = "\n<details>\n<summary>Proved by</summary>\n\n"
	listCloses = "\n</details>\n"
)

var guaranteeParts = []string{"**Promise.** ", "**Example.**", "**Limits.**", listOpens, listCloses}

var (
	guaranteeTest = regexp.MustCompile(`^(?:Test|Fuzz)([A-Z]\d+)_`)
	section       = regexp.MustCompile(`(?m)^### ([A-Z]\d+)\b`)
	testLink      = regexp.MustCompile("\\[`((?:Test|Fuzz)\\w+)`\\]\\(\\.\\./([^)]+_test\\.go)\\)")
	testMention   = regexp.MustCompile("`((?:Test|Fuzz)\\w+)`")
)

// Not parallel: the other tests read the file that this one writes.
func TestDocsGuaranteesNameTestsThatExist(t *testing.T) {
	tests := testFuncs(t)
	text := readFile(t, guaranteesFile)
	if updateDocs {
		text = linkTests(text, tests)
		writeFile(t, guaranteesFile, text)
	}

	linked := 0
	for _, link := range testLink.FindAllStringSubmatch(text, -1) {
		linked++
		if !slices.Contains(tests[link[1]], link[2]) {
			t.Errorf("%s: there is no %s in %s; run make docs", guaranteesFile, link[1], link[2])
		}
	}
	if mentioned := len(testMention.FindAllString(text, -1)); mentioned != linked {
		t.Errorf("%s mentions %d tests and links %d: each is a link to its file", guaranteesFile, mentioned, linked)
	}
}

func TestDocsGuaranteesAreComplete(t *testing.T) {
	t.Parallel()
	text := readFile(t, guaranteesFile)
	sections := section.FindAllStringSubmatchIndex(text, -1)
	seen := map[string]bool{}
	for i, at := range sections {
		id := text[at[2]:at[3]]
		if seen[id] {
			t.Errorf("%s: %s has two sections", guaranteesFile, id)
		}
		seen[id] = true

		end := len(text)
		if i+1 < len(sections) {
			end = sections[i+1][0]
		}
		checkParts(t, id, text[at[0]:end])
	}

	want := 0
	for letter, count := range guaranteeIDs {
		want += count
		for n := 1; n <= count; n++ {
			if id := fmt.Sprint(letter, n); !seen[id] {
				t.Errorf("%s has no section for %s", guaranteesFile, id)
			}
		}
	}
	if len(seen) != want {
		t.Errorf("%s has %d sections, want %d", guaranteesFile, len(seen), want)
	}
}

// checkParts fails unless a guarantee has its parts in order, each once: promise, example, limits,
// tests.
func checkParts(t *testing.T, id, part string) {
	t.Helper()
	from := 0
	for _, mark := range guaranteeParts {
		at := strings.Index(part, mark)
		if strings.Count(part, mark) != 1 || at < from {
			t.Errorf("%s: the section of %s needs exactly one %q, after the part before it", guaranteesFile, id, mark)
		}
		from = max(from, at)
	}
}

// TestDocsGuaranteeTestsHaveTheirGuarantee finds tests whose id has no section.
func TestDocsGuaranteeTestsHaveTheirGuarantee(t *testing.T) {
	t.Parallel()
	text := readFile(t, guaranteesFile)
	for name, files := range testFuncs(t) {
		if id := guaranteeTest.FindStringSubmatch(name); id != nil && !strings.Contains(text, "\n### "+id[1]+" ") {
			t.Errorf("%s in %v: there is no guarantee %s", name, files, id[1])
		}
	}
}

func TestDocsDependenciesAreExplained(t *testing.T) {
	t.Parallel()
	explained := readFile(t, "docs/design/dependencies.md")
	direct := regexp.MustCompile(`(?m)^(?:require|\t)\s*([\w./-]+\.[\w./-]+) v\S+$`)
	for _, mod := range sources(t, ".mod") {
		if mod == "tools/go.mod" { // commands, and no imports
			continue
		}
		for _, match := range direct.FindAllStringSubmatch(readFile(t, mod), -1) {
			if name := match[1]; !strings.HasPrefix(name, module) && !strings.Contains(explained, "`"+name+"`") {
				t.Errorf("%s requires %s, which docs/design/dependencies.md does not explain", mod, name)
			}
		}
	}
}

// linkTests writes the folded list of each section from the names of the tests. Each test has its
// own line, so that branches which add tests to one guarantee can be merged.
func linkTests(text string, tests map[string][]string) string {
	parts := section.FindAllStringSubmatchIndex(text, -1)
	var out strings.Builder
	from := 0
	for i, at := range parts {
		end := len(text)
		if i+1 < len(parts) {
			end = parts[i+1][0]
		}
		out.WriteString(text[from:at[0]])
		out.WriteString(provedBy(text[at[0]:end], text[at[2]:at[3]], tests, i+1 == len(parts)))
		from = end
	}
	return out.String() + text[from:]
}

func provedBy(part, id string, tests map[string][]string, atEnd bool) string {
	var links []string
	for name, files := range tests {
		if match := guaranteeTest.FindStringSubmatch(name); match != nil && match[1] == id {
			for _, file := range files {
				links = append(links, fmt.Sprintf("- [`%s`](../%s)\n", name, file))
			}
		}
	}
	slices.Sort(links)
	statement, _, _ := strings.Cut(part, "\nProved by:") // how older branches begin the list
	statement, _, _ = strings.Cut(statement, "\n<details>")
	_, nextGroup, last := strings.Cut(part, "\n## ")
	part = statement + listOpens + strings.Join(links, "") + listCloses
	if last {
		part += "\n## " + nextGroup
	} else if !atEnd {
		part += "\n"
	}
	return part
}

// testFuncs maps the name of each test and fuzz test in the tree to the files that have one.
func testFuncs(t *testing.T) map[string][]string {
	t.Helper()
	found := map[string][]string{}
	for _, file := range sources(t, ".go") {
		if !strings.HasSuffix(file, "_test.go") {
			continue
		}
		parsed, err := parser.ParseFile(token.NewFileSet(), filepath.FromSlash(file), nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		for _, decl := range parsed.Decls {
			fn, ok := decl.(*ast.FuncDecl)
			if ok && fn.Recv == nil && (strings.HasPrefix(fn.Name.Name, "Test") || strings.HasPrefix(fn.Name.Name, "Fuzz")) {
				found[fn.Name.Name] = append(found[fn.Name.Name], path.Clean(file))
			}
		}
	}
	return found
}

func readFile(t *testing.T, name string) string {
	t.Helper()
	content, err := os.ReadFile(filepath.FromSlash(name))
	if err != nil {
		t.Fatal(err)
	}
	return string(content)
}

func writeFile(t *testing.T, name, content string) {
	t.Helper()
	if err := os.WriteFile(filepath.FromSlash(name), []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
}
