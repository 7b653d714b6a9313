// Package wire implements RESP3, the protocol between a client and its servers. It encodes commands
// and decodes replies and pushes.
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

// Budgets of one reply. A reply that exceeds a budget ends the connection, because the rest of the
// stream can't be read without this reply.
const (
	maxText = 512 << 20 // bytes of one string: the server's own limit, proto-max-bulk-len
	// bytes of one reply in memory: its strings, and elemSize per list element
	maxReply = maxText + 64<<20
	maxDepth = 32 // lists within lists
	elemSize = int64(unsafe.Sizeof(Reply{}))
)

// firstText is the space that a long string gets at once: a value of 1 MiB and the header of a
// cache entry. More space follows as the bytes arrive.
const firstText = 1<<20 + 64<<10

// Decoder reads RESP3. One goroutine at a time uses it. Another goroutine can continue an
// interrupted read in the middle of a reply.
type Decoder struct {
	buf  []byte
	r, w int // the unread bytes of buf

	stack []frame
	push  bool  // the outermost list is a push
	limit int64 // bytes of one reply: maxReply
	used  int64 // bytes of the reply that is being read

	text     []byte // space for a string that is too long for buf, and for its line end
	filled   int    // bytes of text that were read
	size     int    // length of the whole string and its line end
	kind     replyKind
	verbatim bool // the string begins with its format, such as "txt:"
}

// frame is the state of a list that is being read.
type frame struct {
	kind  replyKind
	elems []Reply
	left  int  // missing elements
	drop  bool // attributes: the elements are discarded
}

// ErrNeedMore is the error of [Decoder.Next] while the rest of a reply has not been read.
var ErrNeedMore = errors.New("more bytes are needed")

// NewDecoder returns a decoder with a read buffer of size bytes, at least 64. A string longer than
// half of it is read into its own allocation, without a copy.
func NewDecoder(size int) *Decoder { return &Decoder{buf: make([]byte, size), limit: maxReply} }

// readPart is the greatest number of bytes of a long string that one read takes. Between two reads,
// the reader may let other goroutines run.
const readPart = 128 << 10

// Fill reads once from a connection. After an interrupted read, no bytes are lost.
func (d *Decoder) Fill(from io.Reader) error {
	if d.text != nil && d.filled < d.size {
		if d.filled == len(d.text) {
			more := space(min(d.size, 2*len(d.text)))
			copy(more, d.text)
			d.text = more
		}
		n, err := from.Read(d.text[d.filled:min(len(d.text), d.filled+readPart)])
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

// Missing returns how many bytes of a long string have not been read.
func (d *Decoder) Missing() int {
	if d.text == nil {
		return 0
	}
	return d.size - d.filled
}

// Next returns the next complete reply, and whether it is a push. Its error is [ErrNeedMore] while
// a part of the reply is missing. After any other error the connection is not usable.
func (d *Decoder) Next() (reply Reply, push bool, err error) {
	for {
		value, whole, err := d.value()
		if err != nil {
			return Reply{}, false, err
		}
		if !whole {
			continue // the value is the head of a list
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

// value reads one value without elements, or the head of a list. whole is false after the head of a
// list that has elements.
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

// line returns the next line and the index of the byte after it. The line stays in the buffer.
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

// bulk reads a string of known length.
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
	if d.w-after >= size { // all of it has arrived
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
	if size <= len(d.buf)/2 && after-d.r+size <= len(d.buf) { // the buffer has space for it
		return Reply{}, false, ErrNeedMore
	}
	d.text, d.size = space(min(size, max(firstText, d.w-after))), size
	d.filled = copy(d.text, d.buf[after:d.w])
	d.r, d.w = 0, 0
	d.used += n
	return d.rest()
}

// space returns n bytes, n > 0, with any contents. make would clear them, which takes a sixth of
// the processor time of a reply of 1 MiB. A Builder allocates without that.
func space(n int) []byte {
	var b strings.Builder
	b.Grow(n)
	b.WriteByte(0) // the string has an address, and no other reference
	return unsafe.Slice(unsafe.StringData(b.String()), n)
}

// rest returns a long string when it is complete.
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
	// text has no other reference
	return Reply{kind: d.kind, text: unsafe.String(unsafe.SliceData(text), len(text))}, true, nil
}

// ended checks the line end of a string. Without the check, a wrong length would change the meaning
// of the rest of the stream.
func ended(text []byte) error {
	if n := len(text) - 2; text[n] != '\r' || text[n+1] != '\n' {
		return fmt.Errorf("received a string of %d bytes without its line end", n)
	}
	return nil
}

// list reads the head of a list, a map or a push.
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
		f.elems = make([]Reply, 0, min(f.left, 1024)) // append gets more space as elements arrive
	}
	d.stack = append(d.stack, f)
	return Reply{}, false, nil
}

// tooLarge returns the error of a reply that exceeds a budget.
func (d *Decoder) tooLarge(what string, args ...any) error {
	return fault.New(fault.ErrTooLarge,
		fmt.Errorf("received "+what+", after %d bytes of the same reply, limit %d",
			append(args, d.used, d.limit)...), "")
}
