package codec

import (
	"fmt"
	"reflect"
)

// Raw stores strings and byte slices as they are, also those of named types. Any other type is an
// error. A nil slice is decoded as an empty one.
var Raw Codec = rawCodec{}

type rawCodec struct{}

func (rawCodec) ID() byte     { return 3 }
func (rawCodec) Name() string { return "raw" }

func (c rawCodec) Append(dst []byte, v any) ([]byte, error) {
	switch v := v.(type) {
	case *[]byte:
		if v != nil {
			return append(dst, *v...), nil
		}
	case *string:
		if v != nil {
			return append(dst, *v...), nil
		}
	case []byte:
		return append(dst, v...), nil
	case string:
		return append(dst, v...), nil
	}
	rv := reflect.ValueOf(v)
	if rv.Kind() == reflect.Pointer && !rv.IsNil() {
		rv = rv.Elem()
	}
	switch {
	case rv.Kind() == reflect.String:
		return append(dst, rv.String()...), nil
	case isBytes(rv):
		return append(dst, rv.Bytes()...), nil
	}
	return dst, fail(c, fmt.Errorf("it encodes strings and byte slices, not %T", v))
}

func (c rawCodec) Unmarshal(data []byte, v any) error {
	switch v := v.(type) {
	case *[]byte:
		if v != nil {
			*v = append(make([]byte, 0, len(data)), data...)
			return nil
		}
	case *string:
		if v != nil {
			*v = string(data)
			return nil
		}
	}
	rv := reflect.ValueOf(v)
	if rv.Kind() == reflect.Pointer && !rv.IsNil() {
		switch rv = rv.Elem(); {
		case rv.Kind() == reflect.String:
			rv.SetString(string(data))
			return nil
		case isBytes(rv):
			rv.SetBytes(append(make([]byte, 0, len(data)), data...))
			return nil
		}
	}
	return fail(c, fmt.Errorf("it decodes into a string or a byte slice, not %T", v))
}

func isBytes(v reflect.Value) bool {
	return v.Kind() == reflect.Slice && v.Type().Elem().Kind() == reflect.Uint8
}
