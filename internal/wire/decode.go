// Package wire is RESP3, the protocol between a client and its servers: it encodes commands, and decodes replies and pushes.
package wire

import (
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"unsafe"

	"github.com/redstart-go/redstart/internal/fault"
)

// Budgets of one reply. A reply that exceeds one of them ends the connection, because the rest of the stream can't be read without it.
const (
	maxText  = 512 << 20        // bytes of one string: the server's own limit, proto-max-bulk-len
	maxReply = maxText + 64<<20 // bytes of one reply in memory: its strings, and elemSize for each element of a list
	maxDepth = 32               // lists within lists
	elemSize = int64(unsafe.Sizeof(Reply{}))
)

// firstText is the space that a long string gets at once: a value of 1 MiB and the header of a cache entry. More space follows as the
// bytes arrive.
const firstText = 1<<20 + 64<<10

// Decoder reads RESP3. Its state is explicit: a read that was interrupted in the middle of a reply is continued by
// another goroutine. It is used by one goroutine at a time.
type Decoder struct {
	buf  []byte
	r, w int // what is buffered

	stack []frame
	push  bool  // the outermost list is a push
	limit int64 // bytes of one reply: maxReply
	used  int64 // of limit, by the reply that is being read

	text     []byte // a string that is longer than the buffer holds, and its line end, as far as there is space for it
	filled   int    // of text
	size     int    // of the whole string and its line end
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

// ErrNeedMore is the error of [Decoder.Next] while the rest of a reply has not been read.
var ErrNeedMore = errors.New("more bytes are needed")

// NewDecoder returns a decoder with a read buffer of size bytes, at least 64. A string that is longer than half of it is read into an
// allocation of its own, without a copy.
func NewDecoder(size int) *Decoder { return &Decoder{buf: make([]byte, size), limit: maxReply} }

// Fill reads once from a connection. An interrupted read loses nothing.
func (d *Decoder) Fill(from io.Reader) error {
	if d.text != nil && d.filled < d.size {
		if d.filled == len(d.text) {
			more := make([]byte, min(d.size, 2*len(d.text)))
			copy(more, d.text)
			d.text = more
		}
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

// Next returns the next whole reply, and whether it is a push. Its error is ErrNeedMore if the buffer does not hold the
// rest of it. After any other error, the connection can't be used any more.
func (d *Decoder) Next() (reply Reply, push bool, err error) {
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
			d.used = 0
			return value, push, nil
		}
	}
}

// value reads one value that is not a list, or the head of a list (then it is not whole, unless the list is empty).
func (d *Decoder) value() (v Reply, whole bool, err error) {
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
	}
	if err == nil && int64(len(v.text)) > d.limit-d.used {
		err = d.tooLarge("a line of %d bytes", len(v.text))
	}
	if err != nil {
		return Reply{}, false, err
	}
	d.used += int64(len(v.text))
	d.r = after
	return v, true, nil
}

// line returns the next line, which stays buffered, and where the next one begins.
func (d *Decoder) line() (line []byte, after int, err error) {
	if d.w > d.r && strings.IndexByte(":#+,(-_$=!*~>%|", d.buf[d.r]) < 0 {
		return nil, 0, fmt.Errorf("received unknown message type: %d", d.buf[d.r])
	}
	for i := d.r; i+1 < d.w; i++ {
		if d.buf[i] == '\r' && d.buf[i+1] == '\n' {
			return d.buf[d.r:i], i + 2, nil
		}
	}
	if d.w-d.r >= len(d.buf)-1 {
		return nil, 0, fmt.Errorf("received a line of more than %d bytes", d.w-d.r)
	}
	return nil, 0, ErrNeedMore
}

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
func (d *Decoder) bulk(body []byte, after int) (Reply, bool, error) {
	n, err := number(body)
	switch {
	case err != nil:
		return Reply{}, false, err
	case n < 0:
		d.r = after
		return Reply{}, true, nil
	case n > min(maxText, d.limit-d.used):
		return Reply{}, false, d.tooLarge("a string of %d bytes", n)
	}
	size := int(n) + 2
	if d.w-after >= size { // it is here
		if err := ended(d.buf[after : after+size]); err != nil {
			return Reply{}, false, err
		}
		v := Reply{kind: d.kind, text: string(d.buf[after : after+int(n)])}
		d.r = after + size
		d.used += n
		if d.verbatim {
			v.text = v.text[min(4, len(v.text)):]
		}
		return v, true, nil
	}
	if size <= len(d.buf)/2 && after-d.r+size <= len(d.buf) { // it will fit
		return Reply{}, false, ErrNeedMore
	}
	d.text, d.size = make([]byte, min(size, max(firstText, d.w-after))), size
	d.filled = copy(d.text, d.buf[after:d.w])
	d.r, d.w = 0, 0
	d.used += n
	return d.rest()
}

// rest returns a long string once it has been read.
func (d *Decoder) rest() (Reply, bool, error) {
	if d.filled < d.size {
		return Reply{}, false, ErrNeedMore
	}
	if err := ended(d.text); err != nil {
		return Reply{}, false, err
	}
	text := d.text[:d.size-2]
	d.text = nil
	if d.verbatim {
		text = text[min(4, len(text)):]
	}
	return Reply{kind: d.kind, text: unsafe.String(unsafe.SliceData(text), len(text))}, true, nil // nothing else refers to these bytes
}

// ended checks that a string has its line end: else the rest of the stream would be read as something that it is not.
func ended(text []byte) error {
	if n := len(text) - 2; text[n] != '\r' || text[n+1] != '\n' {
		return fmt.Errorf("received a string of %d bytes without its line end", n)
	}
	return nil
}

// list begins a list, a map or a push.
func (d *Decoder) list(kind byte, body []byte) (Reply, bool, error) {
	n, err := number(body)
	if err != nil {
		return Reply{}, false, err
	}
	f := frame{kind: kindArray, left: int(n), drop: kind == '|'}
	size := elemSize
	if kind == '%' || kind == '|' { // n pairs
		f.left *= 2
		size *= 2
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
	case n < 0 && kind == '*':
		return Reply{}, true, nil
	case n < 0:
		return Reply{}, false, fmt.Errorf("received a list of %d elements", n)
	case n > (d.limit-d.used)/size || len(d.stack) >= maxDepth:
		return Reply{}, false, d.tooLarge("a list of %d elements, %d deep", n, len(d.stack))
	case n == 0 && !f.drop:
		return Reply{kind: f.kind, elems: []Reply{}}, true, nil
	case n == 0:
		return Reply{}, false, nil
	}
	d.used += n * size
	if !f.drop {
		f.elems = make([]Reply, 0, min(f.left, 1024)) // more only as it arrives
	}
	d.stack = append(d.stack, f)
	return Reply{}, false, nil
}

// tooLarge is the error of a reply that exceeds a budget.
func (d *Decoder) tooLarge(what string, args ...any) error {
	return fault.New(fault.ErrTooLarge, fmt.Errorf("received "+what+", after %d bytes of the same reply, limit %d", append(args, d.used, d.limit)...), "")
}
