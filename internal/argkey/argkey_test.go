package argkey_test

import (
	"context"
	"errors"
	"math"
	"math/big"
	"net/netip"
	"net/url"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
	"unique"
	"unsafe"

	"github.com/redstart-go/redstart/internal/argkey"
	"github.com/redstart-go/redstart/internal/fault"
)

// Simple arguments have readable keys, and the other keys are the same in all releases, because
// they are stored on servers. A change of an encoding makes every memoized result a miss. Another
// program computed these digests from the description of the encoding.
func TestGoldenKeys(t *testing.T) {
	t.Parallel()
	golden(t, -42, "i-42")
	golden(t, int8(-128), "i-128")
	golden(t, int64(math.MinInt64), "i-9223372036854775808")
	golden(t, userID(7), "i7")
	golden(t, 5*time.Minute, "i300000000000")
	golden(t, uint8(255), "u255")
	golden(t, uint64(math.MaxUint64), "u18446744073709551615")
	golden(t, true, "b1")
	golden(t, false, "b0")
	golden(t, "", "s")
	golden(t, "i42", "si42")
	golden(t, "#\x00é", "s#\x00é")
	golden(t, strings.Repeat("x", 64), "s"+strings.Repeat("x", 64))
	golden(t, strings.Repeat("x", 65), "#zntHwhOoeQ07Y9GnCk5OieGngU4ryAb-x7iKPTXmxKo")
	golden(t, struct{}{}, "#x08wCP3S98WuVEarLlImKfYzRvaKQCa09yuRs5NHX_Y")
	golden(t, 1.5, "#sxLLs8vrcwRvpq03cQQuJjuezRg2J3tLLr_jPnD-4DI")
	golden(t, pair{"a", "b"}, "#ADKnvCIjQF3ByC3LWK64zIySivE_PC5v-FYh-_MhA4Y")
	golden(t, []string{"a"}, "#qPy5OKr8mVZGQc0UkSslJKhdfbEvUEs6UD6PdV9kY60")
	golden(t, map[string]int{"a": 1, "b": 2}, "#DxrsGEUtvn8XosDTLn__L7sKn_fgRc0d_aC3t5PsJS0")
	golden(t, time.Unix(1e9, 1).UTC(), "#ARXtiAJFl53e3x4eKNmLm3hNYcGIXAXAN2joGyl6RYA")
	golden(t, netip.MustParseAddr("fe80::1%eth0"), "#3QvHs4sdJq2EY0CrSp3fhCiQjTb8HelZsvil9Yo8nUA")
	golden(t, *big.NewInt(-256), "#7zoK8QT32UIBP4meAjv_fNgJ4GKyB9LziZTarfuQP6E")
}

func golden[A any](t *testing.T, a A, want string) {
	t.Helper()
	if got := key(t, must(argkey.New[A]()), a); got != want {
		t.Errorf("%T: the key is %q, want %q", a, got, want)
	}
}

type (
	cond    interface{ Match() bool }
	filter  struct{ Cond cond }
	query   struct{ Where []filter }
	twisted struct {
		Next *twisted
		Ok   map[string][2]*bad
	}
	bad struct{ Stop chan int }
)

// New refuses a type that can't be part of a key, and names the path to it.
func TestRefused(t *testing.T) {
	t.Parallel()
	refuses[any](t, "args: an interface")
	refuses[error](t, "args: an interface (error)")
	refuses[func()](t, "args: a func")
	refuses[chan int](t, "args: a chan")
	refuses[uintptr](t, "args: uintptr")
	refuses[unsafe.Pointer](t, "args: unsafe.Pointer")
	refuses[query](t, "args.Where[].Cond: an interface (argkey_test.cond)")
	refuses[*query](t, "args.Where[].Cond: an interface")
	refuses[twisted](t, "args.Ok[value][].Stop: a chan")
	refuses[map[any]int](t, "args[key]: an interface")
	refuses[map[string]func()](t, "args[value]: a func")
	refuses[struct{ Ctx context.Context }](t, "args.Ctx: an interface")
	refuses[struct{ mu sync.Mutex }](t, "args.mu: sync.Mutex")
	refuses[struct{ N atomic.Int64 }](t, "args.N: atomic.Int64")
	refuses[struct{ P *atomic.Pointer[int] }](t, "args.P: atomic.Pointer[int]")
	refuses[*time.Location](t, "args: a time.Location")
	refuses[big.Float](t, "args: a big.Float")
	refuses[[3]func()](t, "args[]: a func")
	refuses[struct{ T reflect.Type }](t, "args.T: an interface")
	refuses[reflect.Value](t, "args.typ_")
}

func refuses[A any](t *testing.T, want string) {
	t.Helper()
	if _, err := argkey.New[A](); err == nil || !strings.HasPrefix(err.Error(), want) {
		t.Errorf("%v: got %v, want %s…", reflect.TypeFor[A](), err, want)
	}
}

// A type without values of a refused type is accepted.
func TestAccepted(t *testing.T) {
	t.Parallel()
	type uncomparable struct {
		_ [0]func()
		_ chan int
		N [0]func()
		A int
	}
	e := must(argkey.New[uncomparable]())
	if key(t, e, uncomparable{A: 1}) == key(t, e, uncomparable{A: 2}) {
		t.Error("a field behind a blank one is lost")
	}
	u := must(argkey.New[*url.URL]())
	one, other := parse(t, "https://a:b@example.com/?q=1#x"), parse(t, "https://a:c@example.com/?q=1#x")
	if key(t, u, one) != key(t, u, parse(t, one.String())) || key(t, u, one) == key(t, u, other) {
		t.Error("URLs")
	}
	h := must(argkey.New[unique.Handle[string]]())
	again := unique.Make("a")
	if key(t, h, again) != key(t, h, unique.Make("a")) || key(t, h, unique.Make("a")) == key(t, h, unique.Make("b")) {
		t.Error("handles")
	}
}

func parse(t *testing.T, s string) *url.URL {
	u, err := url.Parse(s)
	if err != nil {
		t.Fatal(err)
	}
	return u
}

// Equal bytes of two types have different keys: a release that adds a field does not use the
// entries of the release before.
func TestShapesDiffer(t *testing.T) {
	t.Parallel()
	type node struct{ Next *node }
	type other struct{ Prev *other }
	seen := map[string]string{}
	shape[struct{}](t, seen)
	shape[struct{ A int }](t, seen)
	shape[struct{ B int }](t, seen)
	shape[struct{ A int8 }](t, seen)
	shape[struct{ A uint8 }](t, seen)
	shape[struct{ A bool }](t, seen)
	shape[struct{ A, B int }](t, seen)
	shape[struct{ B, A int }](t, seen)
	shape[struct {
		A struct{ B int }
		C int
	}](t, seen)
	shape[struct {
		A struct {
			B int
			C int
		}
	}](t, seen)
	shape[struct{ A *int }](t, seen)
	shape[struct{ A []int }](t, seen)
	shape[struct{ A []uint8 }](t, seen)
	shape[struct{ A []uint16 }](t, seen)
	shape[struct{ A map[int]int }](t, seen)
	shape[struct{ A map[int][]int }](t, seen)
	shape[struct{ A []map[int]int }](t, seen)
	shape[[0]int](t, seen)
	shape[[1]int](t, seen)
	shape[[11]int](t, seen)
	shape[[1][1]int](t, seen)
	shape[[]int](t, seen)
	shape[*int](t, seen)
	shape[**int](t, seen)
	shape[float32](t, seen)
	shape[float64](t, seen)
	shape[complex64](t, seen)
	shape[time.Time](t, seen)
	shape[big.Int](t, seen)
	shape[netip.Addr](t, seen)
	shape[node](t, seen)
	shape[other](t, seen)

	// Names of types and tags do not count.
	type renamed struct {
		A int `json:"b"`
	}
	if key(t, must(argkey.New[renamed]()), renamed{1}) != key(t, must(argkey.New[struct{ A int }]()), struct{ A int }{1}) {
		t.Error("the name of a type, or a tag, is in the key")
	}
}

func shape[A any](t *testing.T, seen map[string]string) {
	t.Helper()
	k, name := key(t, must(argkey.New[A]()), *new(A)), reflect.TypeFor[A]().String()
	if before, ok := seen[k]; ok {
		t.Errorf("the zero values of %s and %s have the same key", before, name)
	}
	seen[k] = name
}

// The zone is part of a time, and the monotonic reading is not.
func TestTimes(t *testing.T) {
	t.Parallel()
	e := must(argkey.New[time.Time]())
	now := time.Now()
	if now.String() == now.Round(0).String() {
		t.Fatal("no monotonic reading")
	}
	if key(t, e, now) != key(t, e, now.Round(0)) {
		t.Error("the monotonic reading is in the key")
	}
	utc := now.UTC()
	for name, zone := range map[string]*time.Location{"offset": odd, "name": lagos,
		"the same offset as UTC": time.FixedZone("GMT", 0)} {
		if key(t, e, utc) == key(t, e, utc.In(zone)) {
			t.Errorf("%s: the zone is not in the key", name)
		}
	}
	if key(t, e, utc.In(berlin)) != key(t, e, utc.In(paris)) {
		t.Error("two locations of one name and offset differ")
	}
	type stamp time.Time
	named := must(argkey.New[stamp]())
	if key(t, named, stamp(now)) != key(t, e, now.Round(0)) {
		t.Error("a named time is read by its fields")
	}
}

func TestCycles(t *testing.T) {
	t.Parallel()
	type pointer *pointer
	var p pointer
	p = &p
	deep(t, p)
	l := &list{}
	l.Next = l
	deep(t, l)
	s := make(tree, 1)
	s[0] = s
	deep(t, s)
	type graph map[string]graph
	g := graph{}
	g["self"] = g
	deep(t, g)

	long := &list{}
	for range 98 {
		long = &list{Next: long}
	}
	if _, err := must(argkey.New[*list]()).Append(nil, &long); err != nil {
		t.Errorf("100 levels: %v", err)
	}
	long = &list{Next: long}
	deep(t, &list{Next: long})
}

func deep[A any](t *testing.T, a A) {
	t.Helper()
	dst, err := must(argkey.New[A]()).Append([]byte("x"), &a)
	if err == nil || !strings.Contains(err.Error(), "a cycle can't be in a key") || string(dst) != "x" {
		t.Errorf("%T: got %q, %v", a, dst, err)
	}
}

// Pointers to one value are no cycle, although there can be 2^99 paths through them. A value that
// is too large is refused before it is copied. The test is not parallel, because it counts the
// allocations of the process.
func TestTooLarge(t *testing.T) {
	type two struct{ L, R *two }
	w := &two{}
	for range 90 {
		w = &two{w, w}
	}
	large(t, w)
	huge := make([]byte, 1<<28) // the test touches none of it
	text := unsafe.String(&huge[0], len(huge))
	part := text[:maxBytes]
	large(t, huge)
	large(t, text)
	large(t, huge[:maxBytes+1])
	large(t, part+"x")
	large(t, unsafe.Slice((*int8)(unsafe.Pointer(&huge[0])), len(huge)))
	large(t, unsafe.Slice((*struct{ A, B int32 })(unsafe.Pointer(&huge[0])), len(huge)/8))
	large(t, slices.Repeat([]string{part}, 30))
	large(t, map[string]string{"a": part, "b": part})
	large(t, map[int][]string{1: {part, part}, 2: {part, part}, 3: {part, part}, 4: {part, part},
		5: {part, part}, 6: {part, part}})
	many := make(map[int]string)
	for i := range 30 {
		many[i] = part
	}
	large(t, many)
	endless := make([]struct{}, math.MaxInt)
	if _, err := must(argkey.New[[]struct{}]()).Append(nil, &endless); err != nil {
		t.Error(err)
	}
	fits := part[:maxBytes-100]
	if _, err := must(argkey.New[string]()).Append(nil, &fits); err != nil {
		t.Error(err)
	}
}

const maxBytes = 16 << 20

func large[A any](t *testing.T, a A) {
	t.Helper()
	e := must(argkey.New[A]())
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	if _, err := e.Append(nil, &a); !errors.Is(err, fault.ErrTooLarge) {
		t.Errorf("%T: got %v", a, err)
	}
	runtime.ReadMemStats(&after)
	if used := after.TotalAlloc - before.TotalAlloc; used > 12*maxBytes {
		t.Errorf("%T: %d MiB allocated to find it too large", a, used>>20)
	}
}

func TestReferences(t *testing.T) {
	t.Parallel()
	for what, ok := range map[string]bool{
		"int":     !must(argkey.New[int]()).References(),
		"string":  !must(argkey.New[string]()).References(),
		"struct":  !must(argkey.New[struct{ A [2]time.Time }]()).References(),
		"slice":   must(argkey.New[struct{ A [2]struct{ B []int } }]()).References(),
		"map":     must(argkey.New[map[int]int]()).References(),
		"pointer": must(argkey.New[*int]()).References(),
		"big.Int": must(argkey.New[big.Int]()).References(),
		"bytes":   must(argkey.New[[]byte]()).References(),
	} {
		if !ok {
			t.Error(what)
		}
	}
}

// The test is not parallel, because AllocsPerRun counts the allocations of the process.
func TestAllocations(t *testing.T) {
	allocates(t, 42, 0)
	allocates(t, "user-42", 0)
	allocates(t, strings.Repeat("x", 100), 0)
	n := 7
	allocates(t, struct {
		ID    int
		Lang  string
		Since time.Time
		Tags  []string
		Page  *int
		Raw   [16]byte
	}{42, "de", time.Now(), []string{"a", "b"}, &n, [16]byte{}}, 0)
	allocates(t, netip.MustParseAddr("192.0.2.1"), 0)
	allocates(t, *big.NewInt(1 << 40), 0)
	allocates(t, map[string]int{"a": 1, "b": 2, "c": 3}, 8)
}

func allocates[A any](t *testing.T, a A, want float64) {
	t.Helper()
	e := must(argkey.New[A]())
	got := testing.AllocsPerRun(100, func() {
		var buf [argkey.MaxKey]byte
		b := a
		if _, err := e.Append(buf[:0], &b); err != nil {
			t.Error(err)
		}
	})
	if got > want {
		t.Errorf("%T: %v allocations, want %v", a, got, want)
	}
}
