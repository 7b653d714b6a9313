package cache

import (
	"math"
	"reflect"
	"unsafe"

	"github.com/maypok86/otter/v2"
)

// With Near.MaxBytes, an entry counts with the memory that it keeps:
//
//	its key, its encoded or decoded value, 8 bytes for each tag, and a fixed part for the entry itself
//
// A decoded value is measured by reflection. The measurement looks at the first 64 elements of a
// list or map, and at 4,096 values in total. It costs less than the decoding before it.

const (
	// nearNode is the memory of the table and the eviction policy per entry: a node of 64 bytes and
	// its part of a bucket.
	nearNode = 84
	// nearPart: one entry may use this part of Near.MaxBytes, an eighth.
	nearPart = 8
	// minNearBytes is large enough for the smallest entries: each is below that part.
	minNearBytes = 64 << 10

	sampledElements = 64
	sampledValues   = 4096
)

// nearBudget is the memory budget of the near cache.
type nearBudget[V any] struct {
	most  int64 // Near.MaxBytes, 0 for no bound
	least int64 // minimum count of an entry, so that MaxEntries holds too
	deep  bool  // values keep memory outside of the entry
}

func newNearBudget[V any](opt NearOptions) nearBudget[V] {
	b := nearBudget[V]{most: opt.MaxBytes, deep: pointsTo(reflect.TypeFor[V]())}
	if opt.MaxBytes > 0 && opt.MaxEntries > 0 {
		b.least = (opt.MaxBytes + int64(opt.MaxEntries) - 1) / int64(opt.MaxEntries)
	}
	return b
}

// limit returns otter's options for both bounds. Otter has one bound. With MaxBytes, an entry
// therefore weighs at least MaxBytes/MaxEntries: the sum of the weights then bounds the number of
// entries too.
func (n *nearCache[V]) limit(opt NearOptions) *otter.Options[string, *nearEntry[V]] {
	if opt.MaxBytes == 0 {
		return &otter.Options[string, *nearEntry[V]]{MaximumSize: opt.MaxEntries}
	}
	return &otter.Options[string, *nearEntry[V]]{
		MaximumWeight: uint64(opt.MaxBytes),
		Weigher: func(_ string, e *nearEntry[V]) uint32 {
			return uint32(min(max(e.bytes, n.budget.least), math.MaxUint32))
		},
		OnAtomicDeletion: func(gone otter.DeletionEvent[string, *nearEntry[V]]) { n.bytes.Add(-gone.Value.bytes) },
	}
}

// fits measures an entry. It reports whether the entry is small enough to keep.
func (b *nearBudget[V]) fits(key string, e *nearEntry[V]) bool {
	if b.most == 0 {
		return true
	}
	e.bytes = int64(nearNode+unsafe.Sizeof(*e)) + int64(len(key)+len(e.encoded.payload)+8*len(e.tags))
	if b.deep && !e.negative && !e.encoded.known {
		m := meter{left: sampledValues}
		e.bytes += m.behind(reflect.ValueOf(&e.value).Elem())
	}
	return e.bytes <= b.most/nearPart
}

// trim evicts entries above the bound. The policy evicts in the background. A caller that finds the
// count an eighth above the bound evicts itself, so that many callers can't fill the memory before
// the policy runs.
func (n *nearCache[V]) trim() {
	if most := n.budget.most; most > 0 && n.bytes.Load() > most+most/nearPart {
		n.entries.CleanUp()
	}
}

// meter measures a value by reflection. It calls no user code.
type meter struct {
	left int // number of values that it may still look at
	seen map[unsafe.Pointer]struct{}
}

// behind returns the memory that a value keeps outside of its own bytes.
func (m *meter) behind(v reflect.Value) int64 {
	if m.left--; m.left < 0 || !pointsTo(v.Type()) {
		return 0
	}
	switch v.Kind() {
	case reflect.String:
		return int64(v.Len())
	case reflect.Slice:
		if !m.first(v.UnsafePointer()) {
			return 0
		}
		return int64(v.Cap())*int64(v.Type().Elem().Size()) + m.elements(v)
	case reflect.Array:
		return m.elements(v)
	case reflect.Struct:
		var sum int64
		for i := range v.NumField() {
			sum += m.behind(v.Field(i))
		}
		return sum
	case reflect.Pointer:
		if v.IsNil() || !m.first(v.UnsafePointer()) {
			return 0
		}
		return int64(v.Type().Elem().Size()) + m.behind(v.Elem())
	case reflect.Interface:
		if v.IsNil() {
			return 0
		}
		return int64(v.Elem().Type().Size()) + m.behind(v.Elem())
	case reflect.Map:
		return m.table(v)
	}
	return 0
}

// first reports whether memory was not counted before: a value may point to itself.
func (m *meter) first(p unsafe.Pointer) bool {
	if _, known := m.seen[p]; known || p == nil {
		return false
	}
	if m.seen == nil {
		m.seen = make(map[unsafe.Pointer]struct{})
	}
	m.seen[p] = struct{}{}
	return true
}

// elements measures the elements of a slice or an array, by a sample of the first.
func (m *meter) elements(v reflect.Value) (sum int64) {
	if !pointsTo(v.Type().Elem()) {
		return 0
	}
	n := min(v.Len(), sampledElements)
	for i := range n {
		sum += m.behind(v.Index(i))
	}
	return scaled(sum, n, v.Len())
}

// table measures a map. A map has a power of two of slots with a byte each, and uses at most 7 of
// 8.
func (m *meter) table(v reflect.Value) int64 {
	if v.IsNil() || !m.first(v.UnsafePointer()) {
		return 0
	}
	const header = 48
	place := int64(v.Type().Key().Size()+v.Type().Elem().Size()) + 1
	sum, n := int64(0), 0
	for entry := v.MapRange(); n < sampledElements && entry.Next(); n++ {
		sum += m.behind(entry.Key()) + m.behind(entry.Value())
	}
	places := int64(8)
	for places*7 < int64(v.Len())*8 {
		places *= 2
	}
	return header + places*place + scaled(sum, n, v.Len())
}

func scaled(sum int64, n, of int) int64 {
	if n == 0 || n == of {
		return sum
	}
	return int64(float64(sum) / float64(n) * float64(of))
}

// pointsTo reports whether values of a type keep memory outside of their own bytes. The location of
// a time.Time is shared by all.
func pointsTo(t reflect.Type) bool {
	if t == timeType {
		return false
	}
	switch t.Kind() {
	case reflect.Array:
		return t.Len() > 0 && pointsTo(t.Elem())
	case reflect.Struct:
		for i := range t.NumField() {
			if pointsTo(t.Field(i).Type) {
				return true
			}
		}
		return false
	case reflect.String, reflect.Slice, reflect.Pointer, reflect.Interface, reflect.Map:
		return true
	}
	return false
}
