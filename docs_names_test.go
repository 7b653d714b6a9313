package redstart_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// qualifiedName matches an exported identifier of a public package, such as
// lock.Options.MinReplicas.
var qualifiedName = regexp.MustCompile(
	`\b(redstart|cache|lock|events|session|ratelimit|idempotency|codec|observe|embedded)\.([A-Z]\w*(?:\.[A-Z]\w*)*)`)

// TestDocsNameIdentifiersThatExist checks the qualified identifiers of the documents. The migration
// texts and the changelog also have the names of other libraries and of earlier code.
func TestDocsNameIdentifiersThatExist(t *testing.T) {
	t.Parallel()
	exported := map[string]map[string]bool{"redstart": exportedIn(t, ".")}
	for _, name := range append([]string{"codec", "observe", "embedded"}, patterns...) {
		exported[name] = exportedIn(t, name)
	}

	checked := 0
	for _, file := range sources(t, ".md") {
		if file == "CHANGELOG.md" || path.Dir(file) == "docs/migrate" {
			continue
		}
		missing, count := unknownNames(readFile(t, file), exported)
		checked += count
		for _, name := range missing {
			t.Errorf("%s names %s, which does not exist", file, name)
		}
	}
	if checked == 0 {
		t.Error("no document names an identifier: the pattern is wrong")
	}
}

// TestDocsNamesFindsAPlantedName feeds the check with a name that exists and with one that does
// not.
func TestDocsNamesFindsAPlantedName(t *testing.T) {
	t.Parallel()
	exported := map[string]map[string]bool{"lock": exportedIn(t, "lock")}
	missing, count := unknownNames("`lock.Options.MinReplicas` and `lock.Options.Gone`, not redstart.cache.requests", exported)
	if count != 2 || len(missing) != 1 || missing[0] != "lock.Options.Gone" {
		t.Errorf("found %q in %d names, want lock.Options.Gone in 2", missing, count)
	}
}

// unknownNames returns the qualified names of a text that no package exports, and the number of
// all.
func unknownNames(text string, exported map[string]map[string]bool) (missing []string, count int) {
	for _, match := range qualifiedName.FindAllStringSubmatch(text, -1) {
		count++
		for part := range strings.SplitSeq(match[2], ".") {
			if !exported[match[1]][part] {
				missing = append(missing, match[0])
				break
			}
		}
	}
	return missing, count
}

// exportedIn returns the exported identifiers of a package: declarations, methods and fields.
func exportedIn(t *testing.T, folder string) map[string]bool {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(folder, "*.go"))
	if err != nil {
		t.Fatal(err)
	}
	names := map[string]bool{}
	for _, file := range files {
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(parsed, func(node ast.Node) bool {
			switch n := node.(type) {
			case *ast.FuncDecl:
				names[n.Name.Name] = true
				return false
			case *ast.TypeSpec:
				names[n.Name.Name] = true
			case *ast.ValueSpec:
				for _, name := range n.Names {
					names[name.Name] = true
				}
			case *ast.Field:
				for _, name := range n.Names {
					names[name.Name] = true
				}
			}
			return true
		})
	}
	return names
}
