package argkey

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math"
	"math/big"
	"net/netip"
	"reflect"
	"slices"
	"time"
	"unsafe"
)

// sliceHeader is the memory layout of a slice of any type.
type sliceHeader struct {
	data     unsafe.Pointer
	len, cap int
}

// append appends the encoding of the value at p. No encoding is a prefix of another encoding of the
// same type, so encodings in a row stay separate:
//
//	int, uint            varint, zigzag for signed ones
//	float, complex       8 bytes for each part
//	string               length, bytes
//	slice, map           0 for nil, else length+1 and the elements; entries of a map by their bytes in order
//	array, struct        elements, fields
//	pointer              0 for nil, else 1 and the encoding of its target
//	time                 seconds, nanoseconds, location, abbreviation, offset
//
// append calls only itself and functions that don't call it. So the compiler sees that neither dst
// nor p escapes, and simple arguments need no allocation.
func (n *node) append(dst []byte, p unsafe.Pointer, depth int) (_ []byte, err error) {
	if n.kind < kindSlice {
		return n.scalar(dst, p)
	}
	if n.kind != kindStruct && n.kind != kindArray {
		if depth++; depth > maxDepth {
			return dst, fmt.Errorf("the arguments have more than %d pointers, slices and maps inside each other, "+
				"at a %v: a cycle can't be in a key", maxDepth, n.typ)
		}
	}
	length := n.length
	switch n.kind {
	case kindStruct:
		for i := range n.fields {
			f := &n.fields[i]
			if dst, err = f.node.append(dst, unsafe.Add(p, f.offset), depth); err != nil {
				return dst, err
			}
		}
		return dst, nil
	case kindPointer:
		to := *(*unsafe.Pointer)(p)
		if to == nil {
			return append(dst, 0), nil
		}
		if len(dst) > maxBytes {
			return dst, tooLarge(len(dst))
		}
		return n.elem.append(append(dst, 1), to, depth)
	case kindMap:
		if *(*unsafe.Pointer)(p) == nil {
			return append(dst, 0), nil
		}
		m := n.mapAt(p)
		dst = appendLength(dst, false, m.Len())
		if m.Len() == 0 {
			return dst, nil
		}
		key, value := reflect.New(n.typ.Key()), reflect.New(n.typ.Elem())
		ends := append(make([]int, 0, m.Len()+1), len(dst))
		for it := m.MapRange(); it.Next(); {
			if len(dst) > maxBytes {
				return dst, tooLarge(len(dst))
			}
			key.Elem().SetIterKey(it)
			value.Elem().SetIterValue(it)
			if dst, err = n.key.append(dst, key.UnsafePointer(), depth); err != nil {
				return dst, err
			}
			if dst, err = n.elem.append(dst, value.UnsafePointer(), depth); err != nil {
				return dst, err
			}
			ends = append(ends, len(dst))
		}
		return sortParts(dst, ends), nil
	case kindSlice:
		s := *(*sliceHeader)(p)
		dst = appendLength(dst, s.data == nil, s.len)
		p, length = s.data, s.len
	}
	if length == 0 || n.elem.silent {
		return dst, nil
	}
	for i := range length {
		if len(dst) > maxBytes {
			return dst, tooLarge(len(dst))
		}
		if dst, err = n.elem.append(dst, unsafe.Add(p, uintptr(i)*n.size), depth); err != nil {
			return dst, err
		}
	}
	return dst, nil
}

// mapAt returns the map at p. The result does not refer to p.
func (n *node) mapAt(p unsafe.Pointer) reflect.Value {
	m := *(*unsafe.Pointer)(p)
	return reflect.NewAt(n.typ, unsafe.Pointer(&m)).Elem()
}

// sortParts sorts the entries of a map by their bytes. ends has the end of each entry in dst. The
// bytes of the values count too, because a map can have several NaN keys.
func sortParts(dst []byte, ends []int) []byte {
	unordered := bytes.Clone(dst[ends[0]:])
	parts := make([][]byte, len(ends)-1)
	for i := range parts {
		parts[i] = unordered[ends[i]-ends[0] : ends[i+1]-ends[0]]
	}
	slices.SortFunc(parts, bytes.Compare)
	dst = dst[:ends[0]]
	for _, part := range parts {
		dst = append(dst, part...)
	}
	return dst
}

// scalar appends a value without elements.
func (n *node) scalar(dst []byte, p unsafe.Pointer) ([]byte, error) {
	switch n.kind {
	case kindBool:
		return append(dst, *(*byte)(p)), nil
	case kindInt8, kindInt16, kindInt32, kindInt64:
		return binary.AppendVarint(dst, n.int(p)), nil
	case kindUint8, kindUint16, kindUint32, kindUint64:
		return binary.AppendUvarint(dst, n.uint(p)), nil
	case kindFloat32:
		return appendFloat(dst, float64(*(*float32)(p))), nil
	case kindFloat64:
		return appendFloat(dst, *(*float64)(p)), nil
	case kindComplex64:
		c := *(*complex64)(p)
		return appendFloat(appendFloat(dst, float64(real(c))), float64(imag(c))), nil
	case kindComplex128:
		c := *(*complex128)(p)
		return appendFloat(appendFloat(dst, real(c)), imag(c)), nil
	case kindString:
		s := *(*string)(p)
		if len(s) > maxBytes {
			return dst, tooLarge(len(s))
		}
		return appendString(dst, s), nil
	case kindBytes:
		b := *(*[]byte)(p)
		if len(b) > maxBytes {
			return dst, tooLarge(len(b))
		}
		return append(appendLength(dst, b == nil, len(b)), b...), nil
	case kindByteArray:
		return append(dst, unsafe.Slice((*byte)(p), n.length)...), nil
	case kindTime:
		return appendTime(dst, *(*time.Time)(p)), nil
	case kindAddr:
		return appendAddr(dst, *(*netip.Addr)(p)), nil
	case kindBigInt:
		return appendBigInt(dst, (*big.Int)(p)), nil
	}
	panic("argkey: a node without a kind")
}

func (n *node) int(p unsafe.Pointer) int64 {
	switch n.kind {
	case kindInt8:
		return int64(*(*int8)(p))
	case kindInt16:
		return int64(*(*int16)(p))
	case kindInt32:
		return int64(*(*int32)(p))
	}
	return *(*int64)(p)
}

func (n *node) uint(p unsafe.Pointer) uint64 {
	switch n.kind {
	case kindUint8:
		return uint64(*(*uint8)(p))
	case kindUint16:
		return uint64(*(*uint16)(p))
	case kindUint32:
		return uint64(*(*uint32)(p))
	}
	return *(*uint64)(p)
}

// appendLength appends a length. It distinguishes nil from empty.
func appendLength(dst []byte, isNil bool, length int) []byte {
	if isNil {
		return append(dst, 0)
	}
	return binary.AppendUvarint(dst, uint64(length)+1)
}

func appendString(dst []byte, s string) []byte {
	return append(binary.AppendUvarint(dst, uint64(len(s))), s...)
}

func appendFloat(dst []byte, f float64) []byte {
	if f != f {
		f = math.NaN() // one form for all 2^53 of them
	}
	return binary.BigEndian.AppendUint64(dst, math.Float64bits(f))
}

// appendTime includes the zone, because a function may depend on the day of a time.
func appendTime(dst []byte, t time.Time) []byte {
	abbreviation, offset := t.Zone()
	dst = binary.AppendVarint(dst, t.Unix())
	dst = binary.AppendUvarint(dst, uint64(t.Nanosecond()))
	dst = appendString(dst, t.Location().String())
	dst = appendString(dst, abbreviation)
	return binary.AppendVarint(dst, int64(offset))
}

// appendAddr distinguishes an IPv4 address from the same address mapped to IPv6, as netip does.
func appendAddr(dst []byte, a netip.Addr) []byte {
	address := a.As16()
	return appendString(append(append(dst, byte(a.BitLen())), address[:]...), a.Zone())
}

// appendBigInt appends sign and magnitude. The words inside a big.Int differ between machines.
func appendBigInt(dst []byte, i *big.Int) []byte {
	length := (i.BitLen() + 7) / 8
	dst = append(dst, byte(i.Sign()+1))
	dst = binary.AppendUvarint(dst, uint64(length))
	begin := len(dst)
	dst = append(dst, make([]byte, length)...)
	i.FillBytes(dst[begin:])
	return dst
}
