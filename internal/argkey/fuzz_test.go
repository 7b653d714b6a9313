package argkey_test

import (
	"bytes"
	"math/big"
	"math/rand/v2"
	"net/netip"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/redstart-go/redstart/internal/argkey"
	"github.com/redstart-go/redstart/internal/rig"
)

type (
	userID  int64
	Embeds  struct{ Region, Zone string }
	minutes []byte
	pair    struct{ a, b string }
)

// Only reflection reads the unexported fields.
var _ = rich{minutes: nil, pair: nil, flag: false}

// rich has a field of each kind that a key can contain.
type rich struct {
	User     userID
	Names    []string
	A, B     string
	Raw      []byte
	minutes  minutes
	Digest   [4]byte
	Embeds   // fields of an embedded struct
	*pair    // fields of an embedded pointer to an unexported struct
	Since    time.Time
	Every    time.Duration
	Ratio    float64
	Small    float32
	Wave     complex128
	Wave64   complex64
	flag     bool
	I8       int8
	I16      int16
	I32      int32
	U        uint
	U8       uint8
	U16      uint16
	U32      uint32
	U64      uint64
	Counts   map[string]int
	Odd      map[float64]string
	Times    map[time.Time]*string
	Deep     map[string]map[pair][]string
	Pointer  *int
	Twice    **int
	Matrix   [2][]uint16
	Nested   [][]string
	Empties  []struct{}
	Amount   *big.Int
	Balance  big.Int
	Address  netip.Addr
	Port     netip.AddrPort
	Next     *rich
	Children []rich
	_        int
	Last     string
}

// FuzzKeysAreEquality checks that two values have the same key if and only if they are equal. It
// also builds each value a second time, with other pointers, maps and spare capacities, and with
// small changes.
func FuzzKeysAreEquality(f *testing.F) {
	encoder := must(argkey.New[rich]())
	f.Add([]byte{}, []byte{}, uint16(0), byte(0))
	f.Add([]byte{0, 2, 3, 1, 1, 0, 2}, []byte{0, 2, 3, 1, 2, 1, 1}, uint16(3), byte(1))
	random := rand.NewChaCha8([32]byte{1})
	for i := range 64 {
		a, b := make([]byte, 20+i*4), make([]byte, 20+i*4)
		random.Read(a)
		random.Read(b)
		f.Add(a, b, uint16(i), byte(i))
	}
	f.Fuzz(func(t *testing.T, a, b []byte, at uint16, by byte) {
		checkPair(t, encoder, from[rich](a), from[rich](b))
		checkPair(t, encoder, from[rich](a), from[rich](slices.Clone(a)))
		if len(a) > 0 {
			c := slices.Clone(a)
			c[int(at)%len(c)] += by
			checkPair(t, encoder, from[rich](a), from[rich](c))
		}
	})
}

func checkPair[T any](t *testing.T, encoder *argkey.Encoder[T], a, b T) (same bool) {
	t.Helper()
	want := equal(reflect.ValueOf(&a).Elem(), reflect.ValueOf(&b).Elem())
	keyA, keyB := key(t, encoder, a), key(t, encoder, b)
	if got := keyA == keyB; got != want {
		t.Fatalf("equal: %v, keys: %q and %q\na = %+v\nb = %+v", want, keyA, keyB, a, b)
	}
	return want
}

// Random values of small types are often almost equal. Here a missing length or flag becomes
// visible.
func TestKeysAreEquality(t *testing.T) {
	t.Parallel()
	t.Run("strings", pairs[struct{ A, B string }])
	t.Run("slices of strings", pairs[struct{ A, B []string }])
	t.Run("bytes", pairs[struct{ A, b minutes }])
	t.Run("slices of slices", pairs[[][]int8])
	t.Run("pointers", pairs[struct{ A, B **uint8 }])
	t.Run("pointers and slices", pairs[[]*[]uint8])
	t.Run("maps", pairs[map[string]string])
	t.Run("maps of maps", pairs[map[string]map[string][]string])
	t.Run("maps by float", pairs[map[float64]uint8])
	t.Run("maps by struct", pairs[map[pair]bool])
	t.Run("times", pairs[time.Time])
	t.Run("a map of times", pairs[map[time.Time]uint8])
	t.Run("floats", pairs[float64])
	t.Run("small floats", pairs[[2]float32])
	t.Run("complex", pairs[complex128])
	t.Run("numbers", pairs[struct {
		A int64
		B uint64
		C int8
	}])
	t.Run("strings alone", pairs[string])
	t.Run("ints alone", pairs[int64])
	t.Run("small ints alone", pairs[int8])
	t.Run("small uints alone", pairs[uint16])
	t.Run("bools alone", pairs[bool])
	t.Run("unexported", pairs[struct{ a, b, c string }])
	t.Run("embedded", pairs[struct {
		Embeds
		*pair
	}])
	t.Run("blank", pairs[struct{ A, _, B uint8 }])
	t.Run("integers", pairs[struct{ A, B big.Int }])
	t.Run("pointers to integers", pairs[[]*big.Int])
	t.Run("addresses", pairs[struct {
		A netip.Addr
		B string
	}])
	t.Run("lists", pairs[list])
	t.Run("trees", pairs[tree])
	t.Run("empties", pairs[struct{ A, B []struct{} }])
	t.Run("rich", pairs[rich])
}

type (
	list struct {
		Value uint8
		Next  *list
	}
	tree []tree
)

func pairs[T any](t *testing.T) {
	t.Parallel()
	encoder := must(argkey.New[T]())
	random := rand.New(rand.NewPCG(1, 2))
	rounds := rig.Soak(2_000, 200_000)
	var same int
	for range rounds {
		a := make([]byte, 1+random.IntN(40))
		for i := range a {
			a[i] = byte(random.UintN(256))
		}
		b := slices.Clone(a)
		switch random.IntN(4) {
		case 0:
			for i := range b {
				b[i] = byte(random.UintN(256))
			}
		case 1, 2:
			for range 1 + random.IntN(2) {
				b[random.IntN(len(b))] += byte(random.UintN(4))
			}
		}
		if checkPair(t, encoder, from[T](a), from[T](b)) && !bytes.Equal(a, b) {
			same++
		}
	}
	t.Logf("%d of %d pairs were made differently and are equal", same, rounds)
}

func must[A any](e *argkey.Encoder[A], err error) *argkey.Encoder[A] {
	if err != nil {
		panic(err)
	}
	return e
}

func key[A any](t testing.TB, e *argkey.Encoder[A], a A) string {
	t.Helper()
	key, err := e.Append(nil, &a)
	if err != nil {
		t.Fatal(err)
	}
	if len(key) > argkey.MaxKey {
		t.Fatalf("a key of %d bytes", len(key))
	}
	return string(key)
}
