// Package argkey makes cache keys from Go values. Two values of one type have the same key if and
// only if they are equal.
//
// Equal means reflect.DeepEqual, with these exceptions:
//
//   - A NaN equals every NaN, also as the key of a map. -0 differs from +0.
//   - Times are equal if they are one instant in one zone: the name of the location, and its
//     abbreviation and offset at this instant. A monotonic reading does not count.
//   - big.Int compares as a number, and netip.Addr as an address.
//   - A field named _ does not count.
//
// Unexported fields count, and a pointer stands for its target. Nil differs from a pointer to zero,
// from an empty slice and from an empty map. No method of a value is called: neither MarshalText,
// nor MarshalBinary, nor Equal.
//
// Values of different types have different keys. A type is its shape here: kinds, and the names of
// the fields in their order. Names of types and tags do not count.
//
// The encoding must not change. A changed encoding changes all keys, so every call is a miss once.
// It never causes a wrong hit.
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
	// maxDepth is how many pointers, slices and maps lie inside each other. A deeper value is a
	// cycle.
	maxDepth = 100
	// maxBytes limits an encoding. A pointer that occurs twice is followed twice, so 100 pairs of
	// pointers would be 2^100 values.
	maxBytes = 16 << 20
	// maxReadable is the length of the longest string that is its own key.
	maxReadable = 64
)

// MaxKey is how many bytes [Encoder.Append] appends at most.
const MaxKey = 1 + maxReadable

// Encoder makes keys from values of type A. Make it with [New]. It is safe for concurrent use.
type Encoder[A any] struct {
	root  *node
	shape [sha256.Size]byte
}

// New returns the encoder of A. Its error names the path of a field that can't be part of a key,
// for example "args.Filter.Less: a func".
func New[A any]() (*Encoder[A], error) {
	t := reflect.TypeFor[A]()
	root, err := compile(t)
	if err != nil {
		return nil, err
	}
	return &Encoder[A]{root: root, shape: shapeOf(t)}, nil
}

// References reports whether values of A contain pointers, slices or maps. Such values can change
// through a copy.
func (e *Encoder[A]) References() bool { return e.root.references }

// Append appends the key of a to dst, in printable ASCII except for strings. Numbers, bools and
// strings of at most 64 bytes stay readable, after a letter. Other keys are # and the SHA-256 of
// the encoding. Append allocates only if a contains maps or is large.
//
// Append returns an error if a is too deep, as a cycle is, and fault.ErrTooLarge if its encoding
// exceeds 16 MiB.
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
	// The shape comes first. It has a fixed length, so its end is clear.
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
