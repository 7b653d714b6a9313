package argkey

import (
	"crypto/sha256"
	"reflect"
	"strconv"
)

// shapeOf returns a digest of the shape of a type. It is part of every key that is not readable.
// Fields that are added, removed, renamed, moved or of another kind change the keys. So two
// releases of a program never confuse their arguments.
func shapeOf(t reflect.Type) [sha256.Size]byte {
	return sha256.Sum256(describer{}.append(nil, t))
}

// describer has the number of each described type, so that recursive types end.
type describer map[reflect.Type]int

// append appends a description. Names of fields are identifiers, so they stay separate from the
// text around them.
func (d describer) append(dst []byte, t reflect.Type) []byte {
	switch t.Kind() {
	case reflect.Slice, reflect.Array, reflect.Map, reflect.Pointer, reflect.Struct:
	default:
		return append(dst, t.Kind().String()...)
	}
	if number, ok := d[t]; ok {
		return strconv.AppendInt(append(dst, '#'), int64(number), 10)
	}
	d[t] = len(d)
	switch t.Kind() {
	case reflect.Slice:
		return d.append(append(dst, "[]"...), t.Elem())
	case reflect.Array:
		dst = strconv.AppendInt(append(dst, '['), int64(t.Len()), 10)
		if t.Len() == 0 {
			return append(dst, ']')
		}
		return d.append(append(dst, ']'), t.Elem())
	case reflect.Map:
		dst = d.append(append(dst, "map["...), t.Key())
		return d.append(append(dst, ']'), t.Elem())
	case reflect.Pointer:
		return d.append(append(dst, '*'), t.Elem())
	}
	switch {
	case t.ConvertibleTo(timeType):
		return append(dst, "time"...)
	case t.ConvertibleTo(bigIntType):
		return append(dst, "integer"...)
	case t.ConvertibleTo(addrType):
		return append(dst, "address"...)
	}
	dst = append(dst, '{')
	for i := range t.NumField() {
		if f := t.Field(i); f.Name != "_" {
			dst = d.append(append(append(dst, f.Name...), ' '), f.Type)
			dst = append(dst, ';')
		}
	}
	return append(dst, '}')
}
