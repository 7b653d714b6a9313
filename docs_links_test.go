package redstart_test

import (
	"os"
	"path"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"unicode"
)

var (
	markdownLink = regexp.MustCompile(`\]\(([^)\s]+)\)`)
	fenced       = regexp.MustCompile("(?ms)^```.*?^```$")
	inlineCode   = regexp.MustCompile("`[^`\n]*`")
	heading      = regexp.MustCompile(`(?m)^#+ (.+)$`)
	cited        = regexp.MustCompile(`\(([ACKESR]\d+(?:(?:, | and )[ACKESR]\d+)*)\)`)
)

// TestDocsLinksHaveTargets checks each relative link of the documents: the file exists, and so does
// the heading of an anchor.
func TestDocsLinksHaveTargets(t *testing.T) {
	t.Parallel()
	for _, file := range sources(t, ".md") {
		for _, problem := range brokenLinks(t, file, readFile(t, file)) {
			t.Errorf("%s: %s", file, problem)
		}
	}
}

// TestDocsLinksFindsPlantedLinks feeds the check with links that are correct, and with two that
// have no target.
func TestDocsLinksFindsPlantedLinks(t *testing.T) {
	t.Parallel()
	const text = "# One idea\n\n[a](#one-idea) [b](docs/guides/locks.md#fence-the-writes) [c](https://example.com)\n" +
		"```\n[d](gone.md)\n```\n`f[T](gone)` [e](docs/gone.md) [f](#no-heading)\n"
	want := []string{
		`link to "docs/gone.md": there is no such file`,
		`link to "#no-heading": there is no such heading`,
	}
	if got := brokenLinks(t, "README.md", text); strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("got %q, want %q", got, want)
	}
}

// TestDocsCitedGuaranteesHaveASection checks that each id in brackets, such as (C1), is defined.
func TestDocsCitedGuaranteesHaveASection(t *testing.T) {
	t.Parallel()
	guarantees := readFile(t, guaranteesFile)
	citations := 0
	for _, file := range sources(t, ".go", ".lua", ".md", ".html", ".js") {
		for _, match := range cited.FindAllStringSubmatch(readFile(t, file), -1) {
			for _, id := range strings.FieldsFunc(match[1], func(r rune) bool { return !unicode.IsUpper(r) && !unicode.IsDigit(r) }) {
				citations++
				if !strings.Contains(guarantees, "\n### "+id+" ") {
					t.Errorf("%s cites %s, and %s has no such section", file, id, guaranteesFile)
				}
			}
		}
	}
	if citations == 0 {
		t.Error("no file cites a guarantee: the pattern is wrong")
	}
}

// brokenLinks returns the relative links of a document that have no target.
func brokenLinks(t *testing.T, file, text string) []string {
	t.Helper()
	var problems []string
	text = fenced.ReplaceAllString(text, "")
	for _, match := range markdownLink.FindAllStringSubmatch(inlineCode.ReplaceAllString(text, "code"), -1) {
		link := match[1]
		if strings.Contains(link, "://") || strings.HasPrefix(link, "mailto:") {
			continue
		}

		name, anchor, _ := strings.Cut(link, "#")
		target := text
		if name != "" {
			found := path.Join(path.Dir(file), name)
			info, err := os.Stat(filepath.FromSlash(found))
			if err != nil {
				problems = append(problems, `link to "`+link+`": there is no such file`)
				continue
			}
			if anchor == "" || info.IsDir() {
				continue
			}
			target = fenced.ReplaceAllString(readFile(t, found), "")
		}
		if !hasHeading(target, anchor) {
			problems = append(problems, `link to "`+link+`": there is no such heading`)
		}
	}
	return problems
}

// hasHeading reports whether a document has a heading with this anchor, as web pages of
// repositories compose it.
func hasHeading(text, anchor string) bool {
	for _, match := range heading.FindAllStringSubmatch(text, -1) {
		composed := strings.Map(func(r rune) rune {
			switch {
			case r == ' ':
				return '-'
			case r == '-' || r == '_' || unicode.IsLetter(r) || unicode.IsDigit(r):
				return unicode.ToLower(r)
			}
			return -1
		}, match[1])
		if composed == anchor {
			return true
		}
	}
	return false
}
