package codec

import (
	"fmt"
	"reflect"
)

// Codec encodes values. It must be safe for concurrent use and constant: two processes, and two
// releases, that share an ID must read each other's bytes.
type Codec interface {
	// ID goes before every stored value. 1 to 63 are Redstart's own, 64 to 255 are for yours, 0 is
	// no codec.
	ID() byte
	// Name is for messages and metrics.
	Name() string
	// Append encodes v, or what v points to, behind dst and returns the extended slice, as the
	// append builtin does. After an error the result is dst itself. Callers pass a pointer, which
	// saves a copy and finds methods on pointers, and own the buffer, which lets them keep it.
	Append(dst []byte, v any) ([]byte, error)
	// Unmarshal decodes all of data into v, a pointer to a zero value. It does not keep data: the
	// caller uses the buffer again. After an error *v may be half filled and is thrown away.
	Unmarshal(data []byte, v any) error
}

// firstFuncID is the first ID for codecs that are not Redstart's.
const firstFuncID = 64

// Func returns a codec for one type made of two functions. The id is 64 or more and belongs to this
// codec for as long as values that it wrote are stored. encode appends to dst as Codec.Append does;
// decode must not keep data.
func Func[V any](id byte, name string, encode func(dst []byte, v V) ([]byte, error), decode func(data []byte) (V, error)) (Codec, error) {
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
	// V first: when V is an interface or a pointer a *V may be a V too, and is meant as one.
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

// fail says which codec.
func fail(c Codec, err error) error { return fmt.Errorf("codec: %s: %w", c.Name(), err) }
