package redstart_test

import (
	"regexp"
	"strings"
	"testing"
)

// A block of terminal output in the documents names the step of a transcript that it shows: <!--
// step "the last attempt fails" in cmd/redstartctl/testdata/poison-event.txt -->. The block has the
// commands and the output after this step. The tests of redstartctl run the transcripts against a
// server, so the documents show real output.
var (
	consoleFence = regexp.MustCompile("(?m)^```console$")
	consoleBlock = regexp.MustCompile("(?s)<!-- step \"([^\"]+)\" in (\\S+\\.txt) -->\n```console\n(.*?)```\n")
)

func TestDocsShowRealOutput(t *testing.T) {
	shown := 0
	for _, file := range documentsWithCode(t) {
		text := readFile(t, file)
		blocks := consoleBlock.FindAllStringSubmatchIndex(text, -1)
		if fences := len(consoleFence.FindAllString(text, -1)); fences != len(blocks) {
			t.Errorf("%s has %d blocks of output, and %d of them name a step: put <!-- step \"…\" in file.txt --> before each",
				file, fences, len(blocks))
		}

		var changed strings.Builder
		from := 0
		for _, at := range blocks {
			shown++
			step, source := text[at[2]:at[3]], text[at[4]:at[5]]
			want := transcriptOf(t, source, step)
			if got := text[at[6]:at[7]]; got != want && !updateDocs {
				t.Errorf("%s: the block of step %q differs from %s: run make docs", file, step, source)
			}
			changed.WriteString(text[from:at[6]] + want)
			from = at[7]
		}
		if updateDocs && from > 0 {
			writeFile(t, file, changed.String()+text[from:])
		}
	}
	if shown == 0 {
		t.Error("no document shows output of the tool")
	}
}

// transcriptOf returns the commands and the output between a step and the next one.
func transcriptOf(t *testing.T, file, step string) string {
	t.Helper()
	_, after, found := strings.Cut(readFile(t, file), "# "+step+"\n")
	if !found {
		t.Fatalf("%s has no step %q", file, step)
	}
	after, _, _ = strings.Cut(after, "\n# ")
	return strings.TrimSpace(after) + "\n"
}
