package codec

import (
	"fmt"
	"reflect"
)

// Codec encodes and decodes values. It must be safe for concurrent use. Its format must not change:
// processes and releases with the same ID read each other's bytes.
type Codec interface {
	// ID is stored before every value. 1 to 63 are reserved for Redstart, 64 to 255 are free, and 0
	// is invalid.
	ID() byte
	// Name is used in messages and metrics.
	Name() string
	// Append encodes v, or the target of v, appends it to dst, and returns the extended slice.
	// After an error it returns dst. Callers pass a pointer, which saves a copy and finds methods
	// of pointers. The caller owns the buffer.
	Append(dst []byte, v any) ([]byte, error)
	// Unmarshal decodes all of data into v, a pointer to a zero value. It must not keep data: the
	// caller reuses the buffer. After an error, *v may be incomplete.
	Unmarshal(data []byte, v any) error
}

// firstFuncID is the first ID of codecs that are not Redstart's.
const firstFuncID = 64

// Func returns a codec for one type, made of two functions. The id is from 64 to 255, and must
// belong to this codec while values that it wrote are stored. encode appends to dst, as
// Codec.Append does. decode must not keep data.
func Func[V any](id byte, name string, encode func(dst []byte, v V) ([]byte, error),
	decode func(data []byte) (V, error)) (Codec, error) {
	switch {
	case id < firstFuncID:
		return nil, fmt.Errorf("codec: id %d: must be at least %d", id, firstFuncID)
	case name == "":
		return nil, fmt.Errorf("codec: the name of codec %d is empty", id)
	case encode == nil || decode == nil:
		return nil, fmt.Errorf("codec: %s: a function is nil", name)
	}
	return funcCodec[V]{id: id, name: name, encode: encode, decode: decode}, nil
}

type funcCodec[V any] struct {
	id     byte
	name   string
	encode func(dst []byte, v V) ([]byte, error)
	decode func(data []byte) (V, error)
}

func (c funcCodec[V]) ID() byte     { return c.id }
func (c funcCodec[V]) Name() string { return c.name }

func (c funcCodec[V]) Append(dst []byte, v any) ([]byte, error) {
	var out []byte
	var err error
	// V before *V: if V is an interface or a pointer, a *V may also be a V.
	switch v := v.(type) {
	case V:
		out, err = c.encode(dst, v)
	case *V:
		if v == nil {
			return dst, fail(c, errNilPointer)
		}
		out, err = c.encode(dst, *v)
	default:
		return dst, fail(c, fmt.Errorf("it encodes %v, not %T", reflect.TypeFor[V](), v))
	}
	if err != nil {
		return dst, fail(c, err)
	}
	return out, nil
}

func (c funcCodec[V]) Unmarshal(data []byte, v any) error {
	target, ok := v.(*V)
	if !ok {
		return fail(c, fmt.Errorf("it decodes into %v, not %T", reflect.TypeFor[*V](), v))
	}
	if target == nil {
		return fail(c, errNilPointer)
	}
	value, err := c.decode(data)
	if err != nil {
		return fail(c, err)
	}
	*target = value
	return nil
}

var errNilPointer = fmt.Errorf("nil pointer")

// fail adds the name of the codec to an error.
func fail(c Codec, err error) error { return fmt.Errorf("codec: %s: %w", c.Name(), err) }
