// Command rewrap fills comment paragraphs of Go files at 100 columns.
//
//	go run ./internal/rewrap cache lock/lease.go
//
// It changes a paragraph only if one of its lines is too wide. Code, comments next to code, code in
// comments, tables, headings, directives, link targets and the output of examples stay as they are.
// It prints the paragraphs that are too wide and look like separate lines; those need a person.
package main

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

func main() {
	if len(os.Args) < 2 {
		fmt.Fprintln(os.Stderr, "rewrap: name the files and folders to rewrap")
		os.Exit(2)
	}
	for _, root := range os.Args[1:] {
		if err := walk(root); err != nil {
			fmt.Fprintf(os.Stderr, "rewrap: %v\n", err)
			os.Exit(1)
		}
	}
}

// walk rewraps a file, or the Go files of a folder and its subfolders.
func walk(root string) error {
	return filepath.WalkDir(root, func(name string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() || !strings.HasSuffix(name, ".go") {
			return err
		}
		before, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		after, skipped, err := rewrap(name, before)
		if err != nil {
			return err
		}
		for _, line := range skipped {
			fmt.Printf("%s:%d: too wide, and looks like separate lines: not changed\n", name, line)
		}
		if string(after) == string(before) {
			return nil
		}
		return os.WriteFile(name, after, 0o644)
	})
}
