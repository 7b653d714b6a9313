package demo_test

import (
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"slices"
	"strings"
	"testing"
)

// The code of the shop that users copy does not know the demo: demo.go of the service creates it,
// and package web serves it.
func TestDemoIsWiredInOnePlace(t *testing.T) {
	t.Parallel()
	var importing []string
	service := os.DirFS("../..")
	err := fs.WalkDir(service, ".", func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return err
		}
		text, err := fs.ReadFile(service, path)
		if err != nil {
			return err
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, text, parser.ImportsOnly)
		if err != nil {
			return err
		}
		for _, spec := range file.Imports {
			if spec.Path.Value == `"github.com/redstart-go/redstart/service/internal/demo"` {
				importing = append(importing, path)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"demo.go", "internal/web/code.go", "internal/web/demo.go", "internal/web/stories.go", "internal/web/web.go"}
	if slices.Sort(importing); !slices.Equal(importing, want) {
		t.Errorf("the demo is imported by %q, want %q", importing, want)
	}
}
