package wire_test

import (
	"fmt"
	"io"
	"sort"
	"strings"
	"testing"

	"github.com/redstart-go/redstart/internal/rig"
	"github.com/redstart-go/redstart/internal/wire"
)

func TestMain(m *testing.M) { rig.Main(m) }

// pieces is a connection whose reads return a few bytes each.
type pieces struct {
	t     *testing.T
	data  string
	sizes []byte // of the reads, in turn; 0 means as many bytes as fit
	reads int
}

func (p *pieces) Read(b []byte) (int, error) {
	if len(b) == 0 {
		p.t.Fatal("the decoder reads into no space: it would never get on")
	}
	if p.data == "" {
		return 0, io.EOF
	}
	n := len(b)
	if len(p.sizes) > 0 {
		if size := int(p.sizes[p.reads%len(p.sizes)]); size > 0 {
			n = min(n, size)
		}
	}
	p.reads++
	n = copy(b, p.data[:min(n, len(p.data))])
	p.data = p.data[n:]
	return n, nil
}

// decode returns all replies of a stream as text, and the error that ended it. At the end of the
// stream, this is EOF.
func decode(t *testing.T, data string, buffer int, sizes ...byte) (replies []string, end error) {
	t.Helper()
	return decodeWith(wire.NewDecoder(buffer), &pieces{t: t, data: data, sizes: sizes})
}

// decodeWithin is decode with another limit for the bytes of one reply.
func decodeWithin(t *testing.T, limit int64, data string, buffer int, sizes ...byte) (replies []string, end error) {
	t.Helper()
	d := wire.NewDecoder(buffer)
	d.SetLimit(limit)
	return decodeWith(d, &pieces{t: t, data: data, sizes: sizes})
}

func decodeWith(d *wire.Decoder, from *pieces) (replies []string, end error) {
	for {
		reply, push, err := d.Next()
		switch {
		case err == nil && push:
			replies = append(replies, "push "+render(&reply))
		case err == nil:
			replies = append(replies, render(&reply))
		case err != wire.ErrNeedMore:
			return replies, err
		default:
			if err := d.Fill(from); err != nil {
				return replies, err
			}
		}
	}
}

// render returns a reply as text.
func render(r *wire.Reply) string {
	if r.IsNil() {
		return "nil"
	}
	if err := r.Err(); err != nil {
		return "error " + err.Error()
	}
	if n, err := r.ToInt64(); err == nil {
		return fmt.Sprint(n)
	}
	if text, err := r.ToString(); err == nil {
		return fmt.Sprintf("%q", text)
	}
	if elems, err := r.ToArray(); err == nil {
		all := make([]string, len(elems))
		for i := range elems {
			all[i] = render(&elems[i])
		}
		return "[" + strings.Join(all, " ") + "]"
	}
	pairs, err := r.AsMap()
	if err != nil {
		return "unreadable: " + err.Error()
	}
	all := make([]string, 0, len(pairs))
	for key, value := range pairs {
		all = append(all, fmt.Sprintf("%q:%s", key, render(&value)))
	}
	sort.Strings(all)
	return "{" + strings.Join(all, " ") + "}"
}
