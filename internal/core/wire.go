package core

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"unsafe"

	"github.com/redstart-go/redstart/internal/fault"
)

// Budgets of what a server may answer. A server that exceeds one is not a server that we understand: the connection ends.
const (
	maxText  = 512 << 20 // bytes of one string: the server's own proto-max-bulk-len
	maxDepth = 32        // lists within lists
	maxElems = 1 << 24   // elements of one list
)

// appendWord appends one argument as a bulk string.
func appendWord(b []byte, word string) []byte {
	b = append(b, '$')
	b = strconv.AppendInt(b, int64(len(word)), 10)
	b = append(b, '\r', '\n')
	b = append(b, word...)
	return append(b, '\r', '\n')
}

func appendHead(b []byte, words int) []byte {
	b = append(b, '*')
	b = strconv.AppendInt(b, int64(words), 10)
	return append(b, '\r', '\n')
}

// decoder reads RESP3. Its state is explicit: a read that was interrupted in the middle of a reply is continued by
// another goroutine.
type decoder struct {
	buf  []byte
	r, w int // what is buffered

	stack []frame
	push  bool // the outermost list is a push

	text     []byte // a string that is longer than the buffer holds, and its line end, while it is read
	filled   int    // of text
	kind     replyKind
	verbatim bool // it begins with its format, as "txt:"
}

// frame is a list that is being read.
type frame struct {
	kind  replyKind
	elems []Reply
	left  int  // elements to come
	drop  bool // attributes: read and forgotten
}

var errNeedMore = errors.New("more bytes are needed")

// fill reads once from the connection.
func (d *decoder) fill(from io.Reader) error {
	if d.text != nil && d.filled < len(d.text) {
		n, err := from.Read(d.text[d.filled:])
		d.filled += n
		return err
	}
	if d.r > 0 {
		d.w = copy(d.buf, d.buf[d.r:d.w])
		d.r = 0
	}
	n, err := from.Read(d.buf[d.w:])
	d.w += n
	return err
}

// next returns the next whole reply, and whether it is a push. Its error is errNeedMore if the buffer does not hold the
// rest of it, or else the end of the connection.
func (d *decoder) next() (reply Reply, push bool, err error) {
	for {
		value, whole, err := d.value()
		if err != nil {
			return Reply{}, false, err
		}
		if !whole {
			continue // a list has begun
		}
		for whole && len(d.stack) > 0 {
			top := &d.stack[len(d.stack)-1]
			if !top.drop {
				top.elems = append(top.elems, value)
			}
			if top.left--; top.left > 0 {
				whole = false
				break
			}
			value = Reply{kind: top.kind, elems: top.elems}
			whole = !top.drop
			*top = frame{}
			d.stack = d.stack[:len(d.stack)-1]
		}
		if whole {
			push, d.push = d.push, false
			return value, push, nil
		}
	}
}

// value reads one value that is not a list, or the head of a list (then it is not whole, unless the list is empty).
func (d *decoder) value() (v Reply, whole bool, err error) {
	if d.text != nil {
		return d.rest()
	}
	line, after, err := d.line()
	if err != nil {
		return Reply{}, false, err
	}
	kind, body := line[0], line[1:]
	switch kind {
	case ':', '#':
		v, err = scalar(kind, body)
	case '+', ',', '(':
		v = Reply{kind: kindText, text: string(body)}
	case '-':
		v = Reply{kind: kindError, text: string(body)}
	case '_':
	case '$', '=', '!':
		d.kind, d.verbatim = kindText, kind == '='
		if kind == '!' {
			d.kind = kindError
		}
		return d.bulk(body, after)
	case '*', '~', '>', '%', '|':
		d.r = after
		return d.list(kind, body)
	default:
		return Reply{}, false, fmt.Errorf("received unknown message type: %d", kind)
	}
	if err != nil {
		return Reply{}, false, err
	}
	d.r = after
	return v, true, nil
}

// line returns the next line, which stays buffered, and where the next one begins.
func (d *decoder) line() (line []byte, after int, err error) {
	for i := d.r; i+1 < d.w; i++ {
		if d.buf[i] == '\r' && d.buf[i+1] == '\n' {
			if i == d.r {
				return nil, 0, errors.New("received an empty line")
			}
			return d.buf[d.r:i], i + 2, nil
		}
	}
	if d.w > d.r && !known(d.buf[d.r]) {
		return nil, 0, fmt.Errorf("received unknown message type: %d", d.buf[d.r])
	}
	if d.w-d.r >= len(d.buf)-1 {
		return nil, 0, fmt.Errorf("received a line of more than %d bytes", d.w-d.r)
	}
	return nil, 0, errNeedMore
}

func known(kind byte) bool { return slices.Contains([]byte(":#+,(-_$=!*~>%|"), kind) }

func scalar(kind byte, body []byte) (Reply, error) {
	if kind == '#' {
		if len(body) == 1 && body[0] == 't' {
			return Reply{kind: kindInt, n: 1}, nil
		}
		return Reply{kind: kindInt}, nil
	}
	n, err := number(body)
	return Reply{kind: kindInt, n: n}, err
}

func number(b []byte) (int64, error) {
	negative := len(b) > 0 && b[0] == '-'
	digits := b
	if negative {
		digits = b[1:]
	}
	if len(digits) == 0 || len(digits) > 18 {
		return strconv.ParseInt(string(b), 10, 64)
	}
	var n int64
	for _, c := range digits {
		if c < '0' || c > '9' {
			return strconv.ParseInt(string(b), 10, 64)
		}
		n = n*10 + int64(c-'0')
	}
	if negative {
		n = -n
	}
	return n, nil
}

// bulk reads a string whose length is known.
func (d *decoder) bulk(body []byte, after int) (Reply, bool, error) {
	n, err := number(body)
	switch {
	case err != nil:
		return Reply{}, false, err
	case n < 0:
		d.r = after
		return Reply{}, true, nil
	case n > maxText:
		return Reply{}, false, fault.New(fault.ErrTooLarge, fmt.Errorf("received a string of %d bytes", n), "")
	}
	size := int(n) + 2
	if d.w-after >= size { // it is here
		v := Reply{kind: d.kind, text: string(d.buf[after : after+int(n)])}
		d.r = after + size
		if d.verbatim {
			v.text = v.text[min(4, len(v.text)):]
		}
		return v, true, nil
	}
	if size <= len(d.buf)/2 { // it will fit
		return Reply{}, false, errNeedMore
	}
	d.text = make([]byte, size)
	d.filled = copy(d.text, d.buf[after:d.w])
	d.r, d.w = 0, 0
	return d.rest()
}

// rest returns a long string once it has been read.
func (d *decoder) rest() (Reply, bool, error) {
	if d.filled < len(d.text) {
		return Reply{}, false, errNeedMore
	}
	text := d.text[:len(d.text)-2]
	d.text = nil
	if d.verbatim {
		text = text[min(4, len(text)):]
	}
	return Reply{kind: d.kind, text: unsafe.String(unsafe.SliceData(text), len(text))}, true, nil // nothing else refers to these bytes
}

// list begins a list, a map or a push.
func (d *decoder) list(kind byte, body []byte) (Reply, bool, error) {
	n, err := number(body)
	if err != nil {
		return Reply{}, false, err
	}
	f := frame{kind: kindArray, left: int(n), drop: kind == '|'}
	if kind == '%' || kind == '|' {
		f.left *= 2
	}
	if kind == '%' {
		f.kind = kindMap
	}
	if kind == '>' {
		if len(d.stack) > 0 {
			return Reply{}, false, errors.New("received a push within a reply")
		}
		d.push = true
	}
	switch {
	case n < 0:
		return Reply{}, true, nil
	case n > maxElems || len(d.stack) >= maxDepth:
		return Reply{}, false, fault.New(fault.ErrTooLarge, fmt.Errorf("received a list of %d elements, %d deep", n, len(d.stack)), "")
	case n == 0 && !f.drop:
		return Reply{kind: f.kind, elems: []Reply{}}, true, nil
	case n == 0:
		return Reply{}, false, nil
	}
	if !f.drop {
		f.elems = make([]Reply, 0, min(f.left, 1024)) // more only as it arrives
	}
	d.stack = append(d.stack, f)
	return Reply{}, false, nil
}
