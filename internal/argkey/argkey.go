// Package argkey makes cache keys of Go values: two values of one type have the same key if and only if
// they are equal.
//
// Equal means reflect.DeepEqual, except that
//
//   - a NaN equals every NaN, also as the key of a map, and -0 differs from +0;
//   - times are equal if they are one instant in one zone: the location's name, and the abbreviation and the
//     offset that hold there at that instant; a monotonic reading doesn't count;
//   - big.Int is a number and netip.Addr an address, whatever is inside them;
//   - a field named _ doesn't count.
//
// So unexported fields count, pointers are what they point to, and nil differs from a pointer to zero, from
// an empty slice and from an empty map. No method of a value is called: neither MarshalText, nor
// MarshalBinary, nor Equal.
//
// Values of different types have different keys, where a type is its shape: kinds, and the names of fields in
// their order. Names of types don't count, nor do tags.
//
// Beyond equality, what is in a key is in it for good: a changed encoding is a changed key, which is a miss
// and never a wrong hit.
package argkey

import (
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"reflect"
	"strconv"
	"unsafe"

	"github.com/redstart-go/redstart/internal/fault"
)

const (
	// maxDepth bounds how many pointers, slices and maps lie inside each other: what is deeper is a cycle.
	maxDepth = 100
	// maxBytes bounds an encoding: pointers that meet again are followed each time, and 100 pairs of them
	// would be 2^100 values.
	maxBytes = 16 << 20
	// maxReadable is the longest string that is its own key.
	maxReadable = 64
)

// MaxKey bounds what Append appends.
const MaxKey = 1 + maxReadable

// Encoder makes keys of values of type A. Use New. It is safe for concurrent use.
type Encoder[A any] struct {
	root  *node
	shape [sha256.Size]byte
}

// New returns the encoder of A. The error names the path to what can't be in a key, such as
// "args.Filter.Less: a func".
func New[A any]() (*Encoder[A], error) {
	t := reflect.TypeFor[A]()
	root, err := compile(t)
	if err != nil {
		return nil, err
	}
	return &Encoder[A]{root: root, shape: shapeOf(t)}, nil
}

// References reports that values of A can change through a copy: they have pointers, slices or maps.
func (e *Encoder[A]) References() bool { return e.root.references }

// Append appends the key of a to dst: printable ASCII, except for strings. Numbers, bools and strings of at
// most 64 bytes stay readable, as a letter and themselves; everything else is # and its SHA-256. It allocates
// nothing unless there are maps in a, or a is large.
//
// It is an error if a is too deep, as a cycle is, and fault.ErrTooLarge if its encoding is above 16 MiB.
func (e *Encoder[A]) Append(dst []byte, a *A) ([]byte, error) {
	p := unsafe.Pointer(a)
	switch n := e.root; n.kind {
	case kindBool:
		if *(*bool)(p) {
			return append(dst, "b1"...), nil
		}
		return append(dst, "b0"...), nil
	case kindInt8, kindInt16, kindInt32, kindInt64:
		return strconv.AppendInt(append(dst, 'i'), n.int(p), 10), nil
	case kindUint8, kindUint16, kindUint32, kindUint64:
		return strconv.AppendUint(append(dst, 'u'), n.uint(p), 10), nil
	case kindString:
		if s := *(*string)(p); len(s) <= maxReadable {
			return append(append(dst, 's'), s...), nil
		}
	}
	// The shape comes first: it has one length, so where it ends is never in doubt.
	var stack [256]byte
	encoded, err := e.root.append(append(stack[:0], e.shape[:]...), p, 0)
	if err != nil {
		return dst, err
	}
	if len(encoded) > maxBytes {
		return dst, tooLarge(len(encoded))
	}
	sum := sha256.Sum256(encoded)
	return base64.RawURLEncoding.AppendEncode(append(dst, '#'), sum[:]), nil
}

func tooLarge(size int) error {
	return fault.New(fault.ErrTooLarge, fmt.Errorf("the arguments have %d bytes encoded or more", size),
		fmt.Sprintf("at most %d: pass less, such as a name or a digest", maxBytes))
}
