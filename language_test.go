package redstart_test

import (
	"fmt"
	"path"
	"slices"
	"strings"
	"testing"
	"unicode"
)

// instead maps each word and phrase that the project does not use to the term that replaces it.
// Keys are in lower case. A phrase has at most four words.
//
// The rule has one reason: a reader with another first language understands each sentence at once.
// So rewrite the sentence. To exchange the word alone is rarely enough.
var instead = terms(
	// Pronouns without a noun. Users are "they"; code that acts has a name.
	"nobody", "no caller, no process, none: name what acts",
	"somebody, someone, anybody, anyone", "a caller, a process, a user: name what acts",
	"whoever, whom, whomever", "the caller that, the process that: name what acts",
	"he, him, his, himself, she, her, herself", "they, their; or repeat the noun",

	// Terms of the project's first drafts.
	"told, tell, tells, telling", "notify, report, show, receive the push",
	"hearsay, hear of, hears of, heard of", "receive a notification of",
	"owe, owed, owes, owing", "pending (invalidation)",
	"debt, debts", "TAT, tokens outstanding; pending invalidations",
	"convoy, convoys", "batcher",
	"keeper, keepers", "renewer",
	"orphan, orphans, orphaned", "unconfirmed lock; left behind",
	"lane, lanes", "channel queue",
	"bury, buries, buried, unbury, unburied", "tombstone; restore",
	"graced", "in its grace period",
	"lookout, lookouts", "watcher",
	"refusals", "denied-key cache; denials",
	"heir, heirs", "new primary",
	"goods, furniture", "the shop's items; layout",
	"mend, mends, mended, mending", "restore, correct",
	"errstands", "optimistic lease request",
	"one thought", "one idea",

	// Words that make a reader stop.
	"anew", "again",
	"beside", "next to, compared with",
	"by itself", "automatically; alone",
	"by now", "already; or say when",
	"as it were, lest, hence, thence, whence, hitherto", "plain words, or nothing",
	"it is said", "say by which call",
	"is that of, are those of", "repeat the noun",
	"word of", "a notification of",
	"goes by, go by, going by, went by", "uses, follows",
	"is let, are let, was let", "may",
	"has it read, have it read", "reads",
)

// insteadForUsers has the terms that are right in the code and unknown to a user of the library.
var insteadForUsers = terms(
	"rig", "test harness",
)

// userDocs begin the paths of documents for users.
var userDocs = []string{"README.md", "docs/guides/", "docs/migrate/", "docs/guarantees.md", "service/internal/web/"}

// outsideLanguage reports whether the text of a file is not the project's own, or is a list of this
// test.
func outsideLanguage(file string) bool {
	return file == "language_test.go" || file == "language_todo_test.go" || file == "LICENSE" ||
		strings.Contains(file, "/vendor/") ||
		strings.HasPrefix(file, "tools/") && !strings.HasSuffix(file, ".go") ||
		strings.HasSuffix(file, ".min.js") || strings.Contains(file, "/testdata/")
}

// TestRulesLanguage reads comments, strings, names, documents and pages. It checks the words, the
// width of lines, the form of doc comments and the form of errors. Folders and files of
// languageTodo may have findings; an entry that has none is removed from the list.
func TestRulesLanguage(t *testing.T) {
	t.Parallel()
	found := map[string][]string{}
	for _, file := range sources(t, languageExtensions...) {
		if !outsideLanguage(file) {
			found[file] = findingsOf(t, file)
		}
	}

	pending := map[string]bool{}
	for file, findings := range found {
		entry := todoEntry(file)
		if entry == "" {
			for _, finding := range findings {
				t.Error(finding)
			}
		} else if len(findings) > 0 {
			pending[entry] = true
		}
	}
	for _, entry := range languageTodo {
		if !pending[entry] {
			t.Errorf("languageTodo has %q, which has no findings: remove it from language_todo_test.go", entry)
		}
	}
}

// TestRulesLanguageFindsPlantedWords feeds each kind of passage with a fault and with a clean text.
func TestRulesLanguageFindsPlantedWords(t *testing.T) {
	t.Parallel()
	const clean = `package lock

import "errors"

// ErrBusy reports that the lock is taken.
var ErrBusy = errors.New("lock: busy: try again")
`
	for _, c := range []struct{ name, file, text, want string }{
		{"clean Go", "lock/a.go", clean, ""},
		{"comment", "lock/a.go", clean + "\n// nobody waits here.\nfunc f() {}\n", `lock/a.go:8: "nobody"`},
		{"phrase over two lines", "lock/a.go", clean + "\n// f ends when it is\n// said so.\nfunc f() {}\n", `lock/a.go:8: "it is said"`},
		{"string", "lock/a.go", clean + "\nvar s = `\nThe keeper ended.`\n", `lock/a.go:9: "keeper"`},
		{"test name", "lock/a_test.go", clean + "\nfunc TestEndedWithoutKeeper() {}\n", `lock/a_test.go:8: "keeper"`},
		{"variable", "lock/a.go", clean + "\nfunc f() { paidDebt := 1; _ = paidDebt }\n", `lock/a.go:8: "debt"`},
		{"file name", "lock/keeper_test.go", clean, `lock/keeper_test.go:1: "keeper"`},
		{"wide comment", "lock/a.go", clean + "\n// " + strings.Repeat("word ", 25) + "\nfunc f() {}\n", "lock/a.go:8: comment of"},
		{"wide code", "lock/a.go", clean + "\nvar s = \"" + strings.Repeat("word ", 30) + "\"\n", "lock/a.go:8: line of"},
		{"wide raw string", "lock/a.go", clean + "\nvar s = `\n" + strings.Repeat("word ", 30) + "\n`\n", ""},
		{"doc without name", "lock/a.go", clean + "\n// It ends.\nfunc End() {}\n", "lock/a.go:8: doc comment of End"},
		{"doc without full stop", "lock/a.go", clean + "\n// End ends\nfunc End() {}\n", "lock/a.go:8: doc comment of End"},
		{"exported without doc", "lock/a.go", clean + "\nfunc End() {}\n", "lock/a.go:8: End has no doc comment"},
		{"error without package", "lock/a.go", clean + "\n// ErrGone reports an end.\nvar ErrGone = errors.New(\"gone\")\n",
			`lock/a.go:9: error "gone"`},
		{"receiver", "lock/a.go", clean + "\ntype t int\n\nfunc (x t) f() {}\n", "lock/a.go:10: receiver x"},
		{"Lua comment", "lock/a.lua", "local a = 1 -- the debt\n", `lock/a.lua:1: "debt"`},
		{"Markdown", "docs/a.md", "# A\n\nThe server told\nthe client.\n", `docs/a.md:3: "told"`},
		{"page", "service/a.html", "<p>The goods</p>\n", `service/a.html:1: "goods"`},
		{"term of the tests in a guide", "docs/guides/a.md", "Start the rig.\n", `docs/guides/a.md:1: "rig"`},
		{"term of the tests in a design note", "docs/design/a.md", "Start the rig.\n", ""},
	} {
		got := findingsIn(t, c.file, c.text)
		switch {
		case c.want == "" && len(got) > 0:
			t.Errorf("%s: found %q in a clean text", c.name, got)
		case c.want != "" && (len(got) != 1 || !strings.HasPrefix(got[0], c.want)):
			t.Errorf("%s: found %q, want one finding %q", c.name, got, c.want)
		}
	}
}

// terms reads pairs: a list of words or phrases, and what to say in their place.
func terms(pairs ...string) map[string]string {
	all := map[string]string{}
	for pair := range slices.Chunk(pairs, 2) {
		for word := range strings.SplitSeq(pair[0], ", ") {
			all[word] = pair[1]
		}
	}
	return all
}

// todoEntry returns the entry of languageTodo that covers a file: its folder or the file.
func todoEntry(file string) string {
	for _, entry := range languageTodo {
		if entry == file || entry == path.Dir(file) {
			return entry
		}
	}
	return ""
}

// passage is text to check, and the line of the file on which it begins.
type passage struct {
	line int
	text string
}

const longestPhrase = 4

// wordFindings returns a line for each banned word or phrase of a passage.
func wordFindings(file string, p passage) []string {
	var findings []string
	words, lines, joined := wordsOf(p)
	for i := range words {
		phrase := words[i]
		for n := 1; ; n++ {
			if term, banned := termFor(file, phrase); banned {
				findings = append(findings, fmt.Sprintf("%s:%d: %q: write instead: %s", file, lines[i], phrase, term))
			}
			if n == longestPhrase || i+n == len(words) || !joined[i+n] {
				break
			}
			phrase += " " + words[i+n]
		}
	}
	return findings
}

// termFor looks a word or phrase up.
func termFor(file, phrase string) (string, bool) {
	if term, banned := instead[phrase]; banned {
		return term, true
	}
	forUsers := slices.ContainsFunc(userDocs, func(begin string) bool { return strings.HasPrefix(file, begin) })
	term, banned := insteadForUsers[phrase]
	return term, banned && forUsers
}

// wordsOf returns the words of a passage in lower case, the line of each, and whether only white
// space is between it and the word before.
func wordsOf(p passage) (words []string, lines []int, joined []bool) {
	line, begin, spaces := p.line, -1, true
	for i, r := range p.text + "\n" {
		if unicode.IsLetter(r) || r == '\'' && begin >= 0 {
			if begin < 0 {
				begin = i
			}
			continue
		}
		if begin >= 0 {
			words = append(words, strings.ToLower(strings.TrimRight(p.text[begin:i], "'")))
			lines = append(lines, line)
			joined = append(joined, spaces)
			begin, spaces = -1, true
		}
		if !unicode.IsSpace(r) {
			spaces = false
		}
		if r == '\n' {
			line++
		}
	}
	return words, lines, joined
}
