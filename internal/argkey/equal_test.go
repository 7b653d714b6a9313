package argkey_test

import (
	"fmt"
	"math"
	"math/big"
	"net/netip"
	"reflect"
	"time"
	"unsafe"
)

// equal is the documented equality. It uses reflect and not the encoding.
func equal(a, b reflect.Value) bool {
	switch v := open(a).(type) {
	case time.Time:
		w := open(b).(time.Time)
		vName, vOffset := v.Zone()
		wName, wOffset := w.Zone()
		return v.Equal(w) && vName == wName && vOffset == wOffset && v.Location().String() == w.Location().String()
	case big.Int:
		w := open(b).(big.Int)
		return v.Cmp(&w) == 0
	case netip.Addr:
		return v == open(b).(netip.Addr)
	}
	switch a.Kind() {
	case reflect.Float32, reflect.Float64:
		return sameFloat(a.Float(), b.Float())
	case reflect.Complex64, reflect.Complex128:
		return sameFloat(real(a.Complex()), real(b.Complex())) && sameFloat(imag(a.Complex()), imag(b.Complex()))
	case reflect.Pointer:
		if a.IsNil() || b.IsNil() {
			return a.IsNil() && b.IsNil()
		}
		return equal(a.Elem(), b.Elem())
	case reflect.Slice:
		if a.IsNil() != b.IsNil() {
			return false
		}
		fallthrough
	case reflect.Array:
		if a.Len() != b.Len() {
			return false
		}
		for i := range a.Len() {
			if !equal(a.Index(i), b.Index(i)) {
				return false
			}
		}
		return true
	case reflect.Map:
		return a.IsNil() == b.IsNil() && a.Len() == b.Len() && matched(entriesOf(a), entriesOf(b))
	case reflect.Struct:
		for i := range a.NumField() {
			if a.Type().Field(i).Name != "_" && !equal(a.Field(i), b.Field(i)) {
				return false
			}
		}
		return true
	case reflect.Bool, reflect.String, reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64,
		reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		return a.Equal(b)
	}
	panic(fmt.Sprint("no equality for ", a.Type()))
}

type entry struct{ key, value reflect.Value }

func entriesOf(m reflect.Value) (entries []entry) {
	for it := m.MapRange(); it.Next(); {
		key, value := reflect.New(m.Type().Key()).Elem(), reflect.New(m.Type().Elem()).Elem()
		key.Set(open2(it.Key()))
		value.Set(open2(it.Value()))
		entries = append(entries, entry{key, value})
	}
	return entries
}

// matched pairs the entries of two maps. Equality is transitive, so the first match is as good as
// any other.
func matched(a, b []entry) bool {
next:
	for _, x := range a {
		for i, y := range b {
			if equal(x.key, y.key) && equal(x.value, y.value) {
				b = append(b[:i:i], b[i+1:]...)
				continue next
			}
		}
		return false
	}
	return true
}

func sameFloat(a, b float64) bool {
	return math.IsNaN(a) && math.IsNaN(b) || a == b && math.Signbit(a) == math.Signbit(b)
}

// writable is v without the flag of an unexported field.
func writable(v reflect.Value) reflect.Value {
	return reflect.NewAt(v.Type(), unsafe.Pointer(v.UnsafeAddr())).Elem()
}

func open(v reflect.Value) any { return open2(v).Interface() }

func open2(v reflect.Value) reflect.Value {
	if v.CanAddr() {
		return writable(v)
	}
	return v
}

// source makes values from bytes. It makes few different values, and neighbours look alike, so that
// they collide unless the encoding distinguishes them.
type source []byte

func (s *source) next(n int) int {
	if len(*s) == 0 {
		return 0
	}
	b := (*s)[0]
	*s = (*s)[1:]
	return int(b) % n
}

func pick[T any](s *source, from ...T) T { return from[s.next(len(from))] }

var (
	brokenNaN = math.Float64frombits(0xfff8_0000_0000_beef)
	berlin    = time.FixedZone("CET", 3600)
	paris     = time.FixedZone("CET", 3600)
	lagos     = time.FixedZone("WAT", 3600)
	odd       = time.FixedZone("CET", 7200)
	instant   = time.Date(2026, 3, 1, 23, 30, 0, 0, time.UTC)
	monotonic = time.Now()
)

// narrow keeps the low bits, so that a number that is read with another width equals another
// number.
func narrow(n int64, bits int) int64 { return n << (64 - bits) >> (64 - bits) }

func (s *source) fill(v reflect.Value, depth int) {
	v = writable(v)
	switch p := v.Addr().Interface().(type) {
	case *time.Time:
		*p = pick(s, time.Time{}, instant, instant.Add(1), monotonic, monotonic.Round(0), instant.Add(-time.Hour)).In(
			pick(s, time.UTC, berlin, paris, lagos, odd, time.Local))
		if s.next(2) == 1 {
			*p = p.Round(0)
		}
		return
	case *big.Int:
		p.SetInt64(pick[int64](s, 0, 1, -1, 256, -256, 255))
		if s.next(3) == 1 {
			p.Lsh(p, 64)
		}
		return
	case *netip.Addr:
		*p = pick(s, netip.Addr{}, netip.MustParseAddr("0.0.0.0"), netip.MustParseAddr("::"),
			netip.MustParseAddr("::ffff:0.0.0.0"),
			netip.MustParseAddr("fe80::1%a"), netip.MustParseAddr("fe80::1%ab"), netip.MustParseAddr("fe80::1"))
		return
	}
	switch v.Kind() {
	case reflect.Bool:
		v.SetBool(s.next(2) == 1)
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		v.SetInt(narrow(pick[int64](s, 0, 1, -1, 63, 64, -64, -65, 1<<7, 1<<8, 1<<15, 1<<16, 1<<31, 1<<32,
			math.MinInt64), v.Type().Bits()))
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		v.SetUint(pick[uint64](s, 0, 1, 2, 127, 128, 1<<8, 1<<15, 1<<16, 1<<31, 1<<32, math.MaxUint64) & (1<<v.Type().Bits() - 1))
	case reflect.Float32, reflect.Float64:
		v.SetFloat(pick[float64](s, 0, math.Copysign(0, -1), 1, math.NaN(), brokenNaN, math.Inf(1), 0.5))
	case reflect.Complex64, reflect.Complex128:
		v.SetComplex(complex(pick[float64](s, 0, math.NaN(), brokenNaN, math.Copysign(0, -1)),
			pick[float64](s, 0, math.NaN(), 1)))
	case reflect.String:
		v.SetString(pick(s, "", "a", "b", "ab", "\x00", "\x01", "\x01a", "a\x01b"))
	case reflect.Pointer:
		if depth < 4 && s.next(3) > 0 {
			v.Set(reflect.New(v.Type().Elem()))
			s.fill(v.Elem(), depth+1)
		} else {
			v.SetZero()
		}
	case reflect.Slice:
		n := 0
		if depth < 4 {
			n = s.next(5)
		}
		if n == 0 {
			v.SetZero()
			return
		}
		v.Set(reflect.MakeSlice(v.Type(), n-1, n+s.next(2)))
		for i := range n - 1 {
			s.fill(v.Index(i), depth+1)
		}
	case reflect.Array:
		for i := range v.Len() {
			s.fill(v.Index(i), depth)
		}
	case reflect.Map:
		n := 0
		if depth < 4 {
			n = s.next(5)
		}
		if n == 0 {
			v.SetZero()
			return
		}
		v.Set(reflect.MakeMap(v.Type()))
		for range n - 1 {
			key, value := reflect.New(v.Type().Key()).Elem(), reflect.New(v.Type().Elem()).Elem()
			s.fill(key, depth+1)
			s.fill(value, depth+1)
			v.SetMapIndex(key, value)
		}
	case reflect.Struct:
		for i := range v.NumField() {
			s.fill(v.Field(i), depth)
		}
	default:
		panic(fmt.Sprint("no source for ", v.Type()))
	}
}

func from[T any](data []byte) (v T) {
	s := source(data)
	s.fill(reflect.ValueOf(&v).Elem(), 0)
	return v
}
