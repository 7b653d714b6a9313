package main

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const wide = "The first sentence of this paragraph fills the line and more, so that a part of it moves below, with its end."

func TestRewrap(t *testing.T) {
	t.Parallel()
	const filled = "// The first sentence of this paragraph fills the line and more, so that a part of it moves below," +
		"\n// with its end."
	for name, c := range map[string]struct{ before, after string }{
		"paragraph": {"// " + wide, filled},
		"next to short ones": {"// Short one.\n//\n// " + wide + "\n//\n// Short\n// one.",
			"// Short one.\n//\n" + filled + "\n//\n// Short\n// one."},
		"list": {"// List:\n//\n//   - " + wide + "\n//     More.\n//   - Short.",
			"// List:\n//\n//   - " + wide[:88] + "\n//     " + wide[89:] + " More.\n//   - Short."},
		"code in a comment":   {"// Code:\n//\n//\t" + wide, "// Code:\n//\n//\t" + wide},
		"columns":             {"// a  b  " + wide, "// a  b  " + wide},
		"broken on purpose":   {"// Short\n// " + wide, "// Short\n// " + wide},
		"directive":           {"//go:generate " + wide, "//go:generate " + wide},
		"no list by accident": {"// " + wide[:93] + " - with", "// " + wide[:93] + " -\n// with"},
	} {
		after, _, err := rewrap(name, []byte("package a\n\n"+c.before+"\nvar a int\n"))
		if err != nil {
			t.Fatal(err)
		}
		if got := strings.TrimSuffix(strings.TrimPrefix(string(after), "package a\n\n"), "\nvar a int\n"); got != c.after {
			t.Errorf("%s:\ngot\n%s\nwant\n%s", name, got, c.after)
		}
	}
}

func TestRewrapLeavesCommentsNextToCodeAndOutputs(t *testing.T) {
	t.Parallel()
	source := "package a\n\nvar a int // " + wide + "\n\nfunc Example() {\n\t// Output:\n\t// " + wide + "\n}\n"
	after, _, err := rewrap("a.go", []byte(source))
	if err != nil || string(after) != source {
		t.Errorf("%v: got\n%s\nwant\n%s", err, after, source)
	}
}

// TestRewrapTheTree rewraps every file of the project in memory. rewrap compares code and words; a
// second pass must find nothing to do.
func TestRewrapTheTree(t *testing.T) {
	t.Parallel()
	files := 0
	err := filepath.WalkDir("../..", func(name string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() || !strings.HasSuffix(name, ".go") {
			return err
		}
		files++
		source, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		once, _, err := rewrap(name, source)
		if err != nil {
			t.Error(err)
			return nil
		}
		if string(once) == string(source) {
			return nil // a second pass would be the same call
		}
		twice, _, err := rewrap(name, once)
		if err != nil || string(twice) != string(once) {
			t.Errorf("%s: a second pass changes the file again: %v", name, err)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if files < 500 {
		t.Errorf("found %d files: the walk is broken", files)
	}
}
