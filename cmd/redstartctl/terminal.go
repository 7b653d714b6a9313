package main

import (
	"bytes"
	"io"
	"strings"
	"unicode/utf8"
)

// The control sequences of a terminal (ECMA-48, and the alternate screen of xterm).
const (
	enterScreen = "\x1b[?1049h\x1b[?25l" // alternate screen, hidden cursor
	leaveScreen = "\x1b[?25h\x1b[?1049l"
	home        = "\x1b[H"
	clearLine   = "\x1b[K"
	clearBelow  = "\x1b[J"
)

// size is the size of a terminal, in characters.
type size struct{ columns, rows int }

// defaultSize is the size of a terminal that does not report one.
var defaultSize = size{80, 24}

// draw writes one frame over the frame before. It cuts the text at the size of the terminal, so
// that no line wraps and nothing scrolls. The text has no control characters except line feeds. A
// frame is one write, so that a slow terminal never shows a half of it.
func draw(w io.Writer, text string, to size) error {
	var frame bytes.Buffer
	frame.WriteString(home)
	lines := strings.Split(strings.TrimRight(text, "\n"), "\n")
	lines = lines[:min(len(lines), max(to.rows, 1))]
	for i, line := range lines {
		frame.WriteString(clip(line, to.columns))
		frame.WriteString(clearLine)
		if i < len(lines)-1 {
			frame.WriteString("\r\n")
		}
	}
	frame.WriteString(clearBelow)
	_, err := w.Write(frame.Bytes())
	return err
}

// clip returns the first columns characters of a line.
func clip(line string, columns int) string {
	if utf8.RuneCountInString(line) <= columns {
		return line
	}
	n := 0
	for i := range line {
		if n == columns {
			return line[:i]
		}
		n++
	}
	return line
}
