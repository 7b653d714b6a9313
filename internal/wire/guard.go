package wire

import (
	"bytes"
	"errors"
	"fmt"
)

// Guard reads the headers of the replies that another decoder is about to read. That decoder
// believes each length: a negative one ends the process, and a huge one takes its memory at once.
// It has the budgets of [Decoder]. One goroutine at a time uses it.
type Guard struct {
	skip  int64  // bytes of a string, and its line end, that follow
	line  []byte // the beginning of a line
	stack []open // lists that are not complete
	used  int64  // bytes of the reply that is being read
}

// open is a list that is not complete.
type open struct {
	left int64 // missing elements
	drop bool  // attributes, which come before the value that they describe
}

// maxLine is the longest line in bytes: a status, an error or a number.
const maxLine = 64 << 10

var errLine = errors.New("received a malformed line")

// Check reads the next bytes of the stream. After an error the stream is not usable.
func (g *Guard) Check(p []byte) error {
	for len(p) > 0 {
		if g.skip > 0 {
			n := min(g.skip, int64(len(p)))
			g.skip -= n
			p = p[n:]
			if g.skip == 0 {
				g.complete()
			}
			continue
		}

		part := p
		end := bytes.IndexByte(p, '\n') + 1
		if end > 0 {
			part = p[:end]
		}
		if len(g.line)+len(part) > maxLine {
			return fmt.Errorf("received a line of more than %d bytes", maxLine)
		}
		g.line = append(g.line, part...)
		p = p[len(part):]
		if end == 0 {
			return nil
		}
		if err := g.header(g.line); err != nil {
			return err
		}
		g.line = g.line[:0]
	}
	return nil
}

// header reads a line with its end.
func (g *Guard) header(line []byte) error {
	if len(line) < 3 || line[len(line)-2] != '\r' {
		return errLine
	}
	kind, body := line[0], line[1:len(line)-2]
	switch kind {
	case '$', '=', '!', '*', '~', '>', '%', '|':
	default: // a value without a length
		return g.add(int64(len(body)))
	}

	n, err := number(body)
	switch {
	case err != nil:
		return err
	case n == -1 && (kind == '$' || kind == '*'): // the null of RESP2
		g.complete()
		return nil
	case n < 0:
		return fmt.Errorf("received a length of %d", n)
	case kind == '$' || kind == '=' || kind == '!':
		return g.text(n)
	}
	return g.list(kind, n)
}

// text reads the head of a string.
func (g *Guard) text(n int64) error {
	if n > min(maxText, maxReply-g.used) {
		return fmt.Errorf("received a string of %d bytes", n)
	}
	g.used += n
	g.skip = n + 2
	return nil
}

// list reads the head of a list.
func (g *Guard) list(kind byte, n int64) error {
	size := elemSize
	if kind == '%' || kind == '|' {
		size *= 2
	}
	if n > (maxReply-g.used)/size || len(g.stack) >= maxDepth {
		return fmt.Errorf("received a list of %d elements, %d deep", n, len(g.stack))
	}
	g.used += n * size
	switch {
	case n > 0:
		g.stack = append(g.stack, open{n * size / elemSize, kind == '|'})
	case kind != '|':
		g.complete()
	}
	return nil
}

// add counts a value without a length.
func (g *Guard) add(n int64) error {
	if n > maxReply-g.used {
		return fmt.Errorf("received a reply of more than %d bytes", int64(maxReply))
	}
	g.used += n
	g.complete()
	return nil
}

// complete notes that a value is complete, and the lists that end with it.
func (g *Guard) complete() {
	for len(g.stack) > 0 {
		top := &g.stack[len(g.stack)-1]
		if top.left--; top.left > 0 {
			return
		}
		drop := top.drop
		g.stack = g.stack[:len(g.stack)-1]
		if drop {
			return
		}
	}
	g.used = 0
}
