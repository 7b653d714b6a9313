package redstart_test

import (
	"go/ast"
	"go/doc/comment"
	"go/parser"
	"go/token"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// packageSections are the headings that the package doc of each pattern has, in any order.
var packageSections = []string{"What", "Quick start", "Guarantees", "Limits", "Cost", "When not to use"}

const conventions = "docs/conventions.md"

// guaranteeLetters has the letter of each pattern's guarantees.
var guaranteeLetters = map[string]string{"cache": "C", "lock": "K", "events": "E", "session": "S", "ratelimit": "R", "idempotency": "I"}

// A reader of one package doc knows all six: the same sections, a link to the shared rules, and
// only ids of guarantees that are the package's own or shared by all (A).
func TestDocsPackagesHaveTheSameForm(t *testing.T) {
	t.Parallel()
	for _, pattern := range patterns {
		for _, finding := range packageDocFindings(t, pattern, readFile(t, pattern+"/doc.go")) {
			t.Errorf("%s/doc.go: %s", pattern, finding)
		}
	}
}

func TestDocsFindPackageDocsOfAnotherForm(t *testing.T) {
	t.Parallel()
	good := "// Package lock locks.\n//\n"
	for _, section := range packageSections {
		good += "// # " + section + "\n//\n// Text (K1, A2).\n//\n"
	}
	good += "// Shared rules: " + conventions + "\npackage lock\n"
	for name, c := range map[string]struct{ old, new, want string }{
		"good":         {"", "", ""},
		"no section":   {"# Cost", "# Costs", "no section Cost"},
		"foreign id":   {"(K1, A2)", "(K1, C2)", "C2 is a guarantee of another package"},
		"no link":      {"conventions.md", "other.md", "no link"},
		"no such id":   {"(K1, A2)", "(K1) K99", "K99 is not a guarantee"},
		"id in a word": {"(K1, A2)", "RESP3, S3FIFO and MK8", ""},
	} {
		got := strings.Join(packageDocFindings(t, "lock", strings.Replace(good, c.old, c.new, 1)), "\n")
		if c.want == "" && got != "" || !strings.Contains(got, c.want) {
			t.Errorf("%s: found %q, want %q", name, got, c.want)
		}
	}
}

// packageDocFindings checks the text of a doc.go.
func packageDocFindings(t *testing.T, pattern, text string) []string {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), "doc.go", text, parser.ParseComments)
	if err != nil {
		t.Fatal(err)
	}
	if file.Doc == nil {
		return []string{"no package doc"}
	}

	var findings []string
	headings := headingsOf(file.Doc)
	for _, section := range packageSections {
		if !slices.Contains(headings, section) {
			findings = append(findings, "no section "+section)
		}
	}
	if !strings.Contains(file.Doc.Text(), conventions) {
		findings = append(findings, "no link to "+conventions)
	}
	for _, id := range regexp.MustCompile(`\b[ACEIKRS]\d+\b`).FindAllString(file.Doc.Text(), -1) {
		letter := id[:1]
		switch {
		case letter != "A" && letter != guaranteeLetters[pattern]:
			findings = append(findings, id+" is a guarantee of another package")
		case !isGuarantee(id):
			findings = append(findings, id+" is not a guarantee")
		}
	}
	return findings
}

// isGuarantee reports whether guaranteeIDs has an id.
func isGuarantee(id string) bool {
	for n := range guaranteeIDs[id[:1]] {
		if id == id[:1]+strconv.Itoa(n+1) {
			return true
		}
	}
	return false
}

// headingsOf returns the headings of a doc comment.
func headingsOf(group *ast.CommentGroup) []string {
	var headings []string
	for _, block := range new(comment.Parser).Parse(group.Text()).Content {
		heading, ok := block.(*comment.Heading)
		if !ok {
			continue
		}
		var text strings.Builder
		for _, part := range heading.Text {
			if plain, ok := part.(comment.Plain); ok {
				text.WriteString(string(plain))
			}
		}
		headings = append(headings, text.String())
	}
	return headings
}
