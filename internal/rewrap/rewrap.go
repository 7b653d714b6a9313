package main

import (
	"fmt"
	"go/ast"
	"go/format"
	"go/parser"
	"go/scanner"
	"go/token"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"
)

const (
	maxColumns = 100
	tabColumns = 4
	// A line that ends before this column, with more text below it, was broken on purpose.
	minColumns = 60
)

var (
	listItem   = regexp.MustCompile(`^  +(?:-|\d+\.) `)
	notProse   = regexp.MustCompile(`^(?:#|\[[^\]]+\]: |[-*+] |\d+[.)] |Output:|Unordered output:)`)
	beginsLine = regexp.MustCompile(`^(?:[-*#+].*|\d+[.)]|(?i:output):.*)$`)
	output     = regexp.MustCompile(`(?i)^// *(?:unordered )?output:`)
)

// rewrap returns the source with its wide paragraphs filled, and the lines on which a paragraph
// begins that is too wide and was not changed.
func rewrap(name string, source []byte) (result []byte, skipped []int, err error) {
	positions := token.NewFileSet()
	file, err := parser.ParseFile(positions, name, source, parser.ParseComments|parser.SkipObjectResolution)
	if err != nil {
		return nil, nil, err
	}
	lines := strings.Split(string(source), "\n")
	groups := slices.Clone(file.Comments)
	slices.Reverse(groups) // so that the numbers of the lines above stay right
	for _, group := range groups {
		from, to := positions.Position(group.Pos()).Line-1, positions.Position(group.End()).Line
		indent, ok := ownLines(group, lines[from:to])
		if !ok {
			continue
		}
		filled, left := fillGroup(lines[from:to], indent)
		lines = slices.Replace(lines, from, to, filled...)
		for _, at := range left {
			skipped = append(skipped, from+at+1)
		}
	}
	slices.Sort(skipped)
	result, err = format.Source([]byte(strings.Join(lines, "\n")))
	if err != nil {
		return nil, nil, err
	}
	return result, skipped, same(name, source, result)
}

// ownLines returns the indentation of a group, and whether all its comments are "//" comments with
// nothing before them. The output of an example is not such a group.
func ownLines(group *ast.CommentGroup, lines []string) (indent string, ok bool) {
	indent = lines[0][:len(lines[0])-len(strings.TrimLeft(lines[0], "\t "))]
	for _, line := range lines {
		text, found := strings.CutPrefix(line, indent+"//")
		if !found || output.MatchString("//"+text) {
			return "", false
		}
	}
	return indent, len(lines) == len(group.List)
}

// fillGroup fills the paragraphs and list items of a comment group. It returns the numbers of the
// lines on which a paragraph begins that it left too wide.
func fillGroup(lines []string, indent string) (filled []string, left []int) {
	for i := 0; i < len(lines); {
		text := strings.TrimPrefix(lines[i], indent+"//")
		first, next := "", ""
		switch {
		case listItem.MatchString(text):
			first = listItem.FindString(text)
			next = strings.Repeat(" ", len(first))
		case isProse(text):
			first, next = " ", " "
		default:
			filled = append(filled, lines[i])
			i++
			continue
		}

		end := i + 1
		for end < len(lines) && continues(strings.TrimPrefix(lines[end], indent+"//"), next) {
			end++
		}
		paragraph, ok := fill(lines[i:end], indent+"//"+first, indent+"//"+next)
		if !ok {
			left = append(left, i)
		}
		filled = append(filled, paragraph...)
		i = end
	}
	return filled, left
}

// isProse reports whether the text of a comment line is part of a paragraph.
func isProse(text string) bool {
	words, ok := strings.CutPrefix(text, " ")
	return ok && words != "" && words[0] != ' ' && words[0] != '\t' && !notProse.MatchString(words)
}

// continues reports whether a line belongs to the paragraph or list item above it.
func continues(text, indent string) bool {
	if indent == " " {
		return isProse(text)
	}
	words, ok := strings.CutPrefix(text, indent)
	return ok && words != "" && words[0] != ' '
}

// fill breaks a paragraph at maxColumns if a line is wider. It reports false, and changes nothing,
// if the paragraph has columns of its own or lines that were broken on purpose.
func fill(lines []string, first, next string) ([]string, bool) {
	wide := slices.ContainsFunc(lines, func(line string) bool { return columns(line) > maxColumns })
	if !wide {
		return lines, true
	}
	var words []string
	for i, line := range lines {
		text := line[len(next):]
		if strings.Contains(text, "  ") || strings.Contains(text, "\t") || i+1 < len(lines) && columns(line) < minColumns {
			return lines, false
		}
		words = append(words, strings.Fields(text)...)
	}

	var filled []string
	line := first + words[0]
	for _, word := range words[1:] {
		// A word that would begin a list, a heading or a directive stays on its line.
		if columns(line)+1+columns(word) > maxColumns && !beginsLine.MatchString(word) {
			filled = append(filled, line)
			line = next + word
			continue
		}
		line += " " + word
	}
	return append(filled, line), true
}

func columns(line string) int {
	return utf8.RuneCountInString(line) + (tabColumns-1)*strings.Count(line, "\t")
}

// same returns an error if two sources differ in code or in the words of their comments.
func same(name string, before, after []byte) error {
	a, b := tokens(before), tokens(after)
	for i := range min(len(a), len(b)) {
		if a[i] != b[i] {
			return fmt.Errorf("%s: %q became %q: this is a defect of rewrap, nothing was written", name, a[i], b[i])
		}
	}
	if len(a) != len(b) {
		return fmt.Errorf("%s: %d tokens became %d: this is a defect of rewrap, nothing was written", name, len(a), len(b))
	}
	return nil
}

// tokens returns the tokens of a source and the words of its comments.
func tokens(source []byte) []string {
	var s scanner.Scanner
	files := token.NewFileSet()
	s.Init(files.AddFile("", -1, len(source)), source, nil, scanner.ScanComments)
	var all []string
	for {
		_, kind, text := s.Scan()
		switch kind {
		case token.EOF:
			return all
		case token.COMMENT:
			for _, word := range strings.Fields(text) {
				if word != "//" {
					all = append(all, strings.TrimPrefix(word, "//"))
				}
			}
		default:
			all = append(all, kind.String(), text)
		}
	}
}
