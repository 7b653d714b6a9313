package argkey

import (
	"fmt"
	"math/big"
	"net/netip"
	"reflect"
	"time"
)

// kind is how a node reads memory.
type kind uint8

const (
	kindBool kind = iota
	kindInt8
	kindInt16
	kindInt32
	kindInt64
	kindUint8
	kindUint16
	kindUint32
	kindUint64
	kindFloat32
	kindFloat64
	kindComplex64
	kindComplex128
	kindString
	kindBytes
	kindByteArray
	kindTime
	kindBigInt
	kindAddr

	// The kinds from here on have elements.
	kindSlice
	kindArray
	kindMap
	kindPointer
	kindStruct
)

// node is the compiled form of a type. The nodes of a recursive type form a graph.
type node struct {
	kind       kind
	references bool // contains a pointer, slice or map
	silent     bool // the encoding of each value is empty, as for struct{}
	typ        reflect.Type
	key, elem  *node
	size       uintptr // of an element
	length     int     // of an array
	fields     []field
}

type field struct {
	offset uintptr
	node   *node
}

var (
	timeType     = reflect.TypeFor[time.Time]()
	locationType = reflect.TypeFor[time.Location]()
	bigIntType   = reflect.TypeFor[big.Int]()
	bigFloatType = reflect.TypeFor[big.Float]()
	addrType     = reflect.TypeFor[netip.Addr]()
)

func compile(t reflect.Type) (*node, error) {
	return compiler{}.node(t, "args")
}

// compiler has the nodes of the types seen so far, so that recursive types end.
type compiler map[reflect.Type]*node

// node compiles the type t at path.
func (c compiler) node(t reflect.Type, path string) (*node, error) {
	if n, ok := c[t]; ok {
		return n, nil
	}
	if why := refused(t); why != "" {
		return nil, fmt.Errorf("%s: %s", path, why)
	}
	n := &node{typ: t}
	c[t] = n
	var err error
	switch t.Kind() {
	case reflect.Slice:
		n.kind, n.references = kindSlice, true
		if t.Elem().Kind() == reflect.Uint8 {
			n.kind = kindBytes
			return n, nil
		}
		n.size = t.Elem().Size()
		n.elem, err = c.node(t.Elem(), path+"[]")
	case reflect.Array:
		err = c.array(n, path)
	case reflect.Map:
		n.kind, n.references = kindMap, true
		if n.key, err = c.node(t.Key(), path+"[key]"); err == nil {
			n.elem, err = c.node(t.Elem(), path+"[value]")
		}
	case reflect.Pointer:
		n.kind, n.references = kindPointer, true
		n.elem, err = c.node(t.Elem(), path)
	case reflect.Struct:
		err = c.fields(n, path)
	default:
		n.kind = scalars[t.Kind()]
	}
	if err != nil {
		return nil, err
	}
	return n, nil
}

func (c compiler) array(n *node, path string) (err error) {
	t := n.typ
	n.kind, n.length, n.size = kindArray, t.Len(), t.Elem().Size()
	switch {
	case n.length == 0:
		n.silent = true // an empty array, of any type
		return nil
	case t.Elem().Kind() == reflect.Uint8:
		n.kind = kindByteArray
		return nil
	}
	if n.elem, err = c.node(t.Elem(), path+"[]"); err != nil {
		return err
	}
	n.silent, n.references = n.elem.silent, n.elem.references
	return nil
}

func (c compiler) fields(n *node, path string) error {
	t := n.typ
	switch {
	case t.ConvertibleTo(timeType):
		n.kind = kindTime
		return nil
	case t.ConvertibleTo(bigIntType):
		n.kind, n.references = kindBigInt, true
		return nil
	case t.ConvertibleTo(addrType):
		n.kind = kindAddr
		return nil
	}
	n.kind, n.silent = kindStruct, true
	for i := range t.NumField() {
		f := t.Field(i)
		if f.Name == "_" { // no code can read this field
			continue
		}
		elem, err := c.node(f.Type, path+"."+f.Name)
		if err != nil {
			return err
		}
		n.fields = append(n.fields, field{f.Offset, elem})
		n.silent = n.silent && elem.silent
		n.references = n.references || elem.references
	}
	return nil
}

// refused returns why values of t can't be part of a key, or "".
func refused(t reflect.Type) string {
	switch t.Kind() {
	case reflect.Interface:
		return fmt.Sprintf("an interface (%v): its values may be of any type; use a concrete one", t)
	case reflect.Func:
		return "a func: two of them can't be compared; leave it to the decorated function"
	case reflect.Chan:
		return "a chan: it means nothing to another process"
	case reflect.UnsafePointer, reflect.Uintptr:
		return fmt.Sprintf("%v: an address means nothing to another process", t)
	case reflect.Struct:
		switch {
		case t.PkgPath() == "sync" || t.PkgPath() == "sync/atomic":
			return fmt.Sprintf("%v: it changes while it is read; pass what it guards or holds", t)
		case t.ConvertibleTo(locationType):
			return "a time.Location: pass its name"
		case t.ConvertibleTo(bigFloatType):
			return "a big.Float: the same number has many forms; pass its Text"
		}
	}
	return ""
}

var scalars = map[reflect.Kind]kind{
	reflect.Bool:       kindBool,
	reflect.Int8:       kindInt8,
	reflect.Int16:      kindInt16,
	reflect.Int32:      kindInt32,
	reflect.Int64:      kindInt64,
	reflect.Int:        intKind,
	reflect.Uint8:      kindUint8,
	reflect.Uint16:     kindUint16,
	reflect.Uint32:     kindUint32,
	reflect.Uint64:     kindUint64,
	reflect.Uint:       uintKind,
	reflect.Float32:    kindFloat32,
	reflect.Float64:    kindFloat64,
	reflect.Complex64:  kindComplex64,
	reflect.Complex128: kindComplex128,
	reflect.String:     kindString,
}

// The encoding of an int is the encoding of its number, because an int has 32 bits on some
// machines.
const (
	intKind  = kindInt32 + kind(^uint(0)>>63)
	uintKind = kindUint32 + kind(^uint(0)>>63)
)
