package cache

import (
	"fmt"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redstart-go/redstart/internal/rig"
)

func payloadOf(n int) encoded { return encoded{payload: strings.Repeat("a", n), known: true} }

// used adds the counts of the entries in the table, one by one.
func (n *nearCache[V]) used() (sum int64) {
	for _, e := range n.entries.All() {
		sum += e.bytes
	}
	return sum
}

// A near cache with MaxBytes fills to its bound and not above it: with small entries, large ones
// and both.
func TestNearMaxBytes(t *testing.T) {
	t.Parallel()
	const most = 1 << 20
	for name, sizes := range map[string][]int{
		"10 B": {10}, "1 KiB": {1 << 10}, "100 KiB": {100 << 10}, "mixed": {10, 100 << 10, 1 << 10, 10, 10},
	} {
		n, _ := newTestNear[[]byte](t, NearOptions{MaxBytes: most, TTL: time.Hour})
		largest := int64(0)
		for i, sum := 0, int64(0); sum < 4*most; i++ {
			e := &nearEntry[[]byte]{encoded: payloadOf(sizes[i%len(sizes)]), expires: time.Hour}
			n.put(fmt.Sprint(i), e)
			sum, largest = sum+e.bytes, max(largest, e.bytes)
		}
		n.entries.CleanUp()
		used := n.used()
		if used > most || used < most-most/nearPart-largest {
			t.Errorf("%s: %d KiB in %d entries, want up to %d KiB", name, used>>10, n.entries.EstimatedSize(), most>>10)
		}
		if n.bytes.Load() != used {
			t.Errorf("%s: %d bytes are counted, and the entries have %d", name, n.bytes.Load(), used)
		}
	}
}

// Entries that leave the near cache leave the count: replaced, invalidated, evicted and swept ones.
func TestNearBytesAreReleased(t *testing.T) {
	t.Parallel()
	n, _ := newTestNear[[]byte](t, NearOptions{MaxBytes: 1 << 20, TTL: time.Hour})
	entry := func(size int) *nearEntry[[]byte] {
		return &nearEntry[[]byte]{encoded: payloadOf(size), expires: time.Hour}
	}
	for i := range 3000 {
		n.put(fmt.Sprint(i%100), entry(i))
		if i%7 == 0 {
			n.invalidate(fmt.Sprint(i % 10))
		}
		if n.entries.CleanUp(); n.bytes.Load() != n.used() {
			t.Fatalf("%d bytes are counted, and the entries have %d", n.bytes.Load(), n.used())
		}
	}
	for _, e := range n.entries.All() {
		e.clear.dead.Store(true)
	}
	if n.sweep(func() bool { return true }); n.bytes.Load() != 0 {
		t.Errorf("%d bytes are counted without an entry", n.bytes.Load())
	}
}

// MaxBytes and MaxEntries both hold. When one is reached, at least half of the other is used as
// well: entries that count less than MaxBytes/MaxEntries fill MaxEntries, and others fill MaxBytes.
func TestNearMaxBytesAndMaxEntries(t *testing.T) {
	t.Parallel()
	const most, entries = 1 << 20, 100
	for name, c := range map[string]struct {
		sizes         []int
		count, filled float64 // at least these parts of the bounds
	}{
		"small": {[]int{10}, 0.95, 0}, "large": {[]int{100 << 10}, 0, 0.8}, "mixed": {[]int{10, 30 << 10}, 0.25, 0.25},
	} {
		n, _ := newTestNear[[]byte](t, NearOptions{MaxBytes: most, MaxEntries: entries, TTL: time.Hour})
		for i := range 10 * entries {
			n.put(fmt.Sprint(i), &nearEntry[[]byte]{encoded: payloadOf(c.sizes[i%len(c.sizes)]), expires: time.Hour})
		}
		n.entries.CleanUp()
		count, used := n.entries.EstimatedSize(), n.used()
		t.Logf("%s: %d entries, %d KiB", name, count, used>>10)
		if count > entries || used > most {
			t.Errorf("%s: %d entries with %d KiB, want at most %d and %d KiB", name, count, used>>10, entries, most>>10)
		}
		if float64(count) < c.count*entries || float64(used) < c.filled*most {
			t.Errorf("%s: only %d entries with %d KiB", name, count, used>>10)
		}
	}
}

// Entries are evicted in the same order as with MaxEntries: keys in use survive many keys that are
// read once.
func TestNearMaxBytesKeepsWhatIsUsed(t *testing.T) {
	t.Parallel()
	const size, room, hot = 1000, 400, 50
	survivors := func(opt NearOptions) (left int) {
		opt.TTL = time.Hour
		n, _ := newTestNear[[]byte](t, opt)
		put := func(key string) {
			n.put(key, &nearEntry[[]byte]{encoded: payloadOf(size), expires: time.Hour})
		}
		for i := range hot {
			put(fmt.Sprint("hot", i))
		}
		for i := range 20 * room {
			put(fmt.Sprint("once", i))
			for j := range 4 {
				n.last(fmt.Sprint("hot", (4*i+j)%hot), 0)
			}
			n.entries.CleanUp() // the policy records reads in the background, and loses some of many
		}
		for i := range hot {
			if _, ok := n.entries.GetEntryQuietly(fmt.Sprint("hot", i)); ok {
				left++
			}
		}
		return left
	}
	e := &nearEntry[[]byte]{encoded: payloadOf(size)}
	budget := newNearBudget[[]byte](NearOptions{MaxBytes: 1 << 20})
	budget.fits("once1000", e)
	byCount, byBytes := survivors(NearOptions{MaxEntries: room}), survivors(NearOptions{MaxBytes: room * e.bytes})
	if byCount < hot*9/10 || byBytes < byCount*9/10 {
		t.Errorf("of %d keys in use, %d survive with MaxBytes and %d with MaxEntries", hot, byBytes, byCount)
	}
}

// An entry of an eighth of MaxBytes is kept. An entry with one byte more is not, and ends the older
// entry of its key.
func TestNearEntryLargerThanItsPart(t *testing.T) {
	t.Parallel()
	const most = 1 << 20
	n, _ := newTestNear[[]byte](t, NearOptions{MaxBytes: most, TTL: time.Hour})
	probe := &nearEntry[[]byte]{}
	n.budget.fits("key", probe)
	room := most/nearPart - int(probe.bytes)

	n.put("key", &nearEntry[[]byte]{encoded: payloadOf(room), expires: time.Hour})
	if n.last("key", 0) == nil || n.tooLarge.Load() != 0 {
		t.Fatalf("an entry of an eighth is not kept; %d were too large", n.tooLarge.Load())
	}
	n.put("key", &nearEntry[[]byte]{encoded: payloadOf(room + 1), expires: time.Hour})
	if n.last("key", 0) != nil || n.tooLarge.Load() != 1 || n.bytes.Load() != 0 {
		t.Errorf("kept: %v, too large: %d, bytes: %d", n.last("key", 0) != nil, n.tooLarge.Load(), n.bytes.Load())
	}
	n.put(strings.Repeat("k", 4), &nearEntry[[]byte]{encoded: payloadOf(room), expires: time.Hour})
	if n.tooLarge.Load() != 2 {
		t.Error("the key is not counted")
	}
}

// Many callers that store at the same time don't fill the memory before the policy evicts: each
// trims.
func TestNearMaxBytesUnderManyCallers(t *testing.T) {
	t.Parallel()
	const most, callers, size = 8 << 20, 128, 64 << 10
	n, _ := newTestNear[[]byte](t, NearOptions{MaxBytes: most, TTL: time.Hour})
	payload := payloadOf(size)
	var peak atomic.Int64
	var wg sync.WaitGroup
	for caller := range callers {
		wg.Go(func() {
			for i := range 100 {
				n.put(fmt.Sprint(caller, " ", i), &nearEntry[[]byte]{encoded: payload, expires: time.Hour})
				for now := n.bytes.Load(); ; {
					was := peak.Load()
					if now <= was || peak.CompareAndSwap(was, now) {
						break
					}
				}
			}
		})
	}
	wg.Wait()
	bound := int64(most + most/nearPart + callers*(size+1024))
	t.Logf("peak %d MiB of %d MiB", peak.Load()>>20, most>>20)
	if peak.Load() > bound {
		t.Errorf("%d KiB were held at once, want at most %d", peak.Load()>>10, bound>>10)
	}
}

type leafy struct {
	Name  string
	Next  *leafy
	Words []string
	Count map[string]int
	Any   any
	When  time.Time
	Fixed [4]int64
}

// A value that points to itself is measured once, and a long one by its first elements.
func TestMeterEnds(t *testing.T) {
	t.Parallel()
	loop := &leafy{Name: "0123456789"}
	loop.Next, loop.Any = loop, loop
	m := meter{left: sampledValues}
	if got, want := m.behind(reflect.ValueOf(loop)), int64(reflect.TypeFor[leafy]().Size())+10+8; got != want {
		t.Errorf("a loop has %d bytes, want %d", got, want)
	}
	words := slices.Repeat([]string{"0123456789"}, 1_000_000)
	m = meter{left: sampledValues}
	if got, want := m.behind(reflect.ValueOf(words)), int64(26*len(words)); got != want || m.left < sampledValues/2 {
		t.Errorf("%d strings have %d bytes, want %d; %d values were looked at", len(words), got, want, sampledValues-m.left)
	}
}

// Entries count with the heap memory that they keep, within a third: encoded and decoded values,
// small and large ones.
func TestNearBytesEqualTheHeap(t *testing.T) {
	rig.Need(t, rig.TierAll)
	text := func(n int) string { return strings.Repeat("a", n) }
	heapRatio(t, "encoded 10 B", 50_000, func(int) nearEntry[[]string] { return nearEntry[[]string]{encoded: payloadOf(10)} })
	heapRatio(t, "encoded 1 KiB", 10_000,
		func(int) nearEntry[[]string] { return nearEntry[[]string]{encoded: payloadOf(1 << 10)} })
	heapRatio(t, "encoded 100 KiB", 500,
		func(int) nearEntry[[]string] { return nearEntry[[]string]{encoded: payloadOf(100 << 10)} })
	heapRatio(t, "numbers", 50_000, func(i int) nearEntry[int] { return nearEntry[int]{value: i} })
	heapRatio(t, "strings of 1 KiB", 10_000, func(int) nearEntry[string] { return nearEntry[string]{value: text(1 << 10)} })
	heapRatio(t, "structs", 20_000, func(i int) nearEntry[leafy] {
		return nearEntry[leafy]{value: leafy{Name: text(i % 50), Next: &leafy{Name: text(20)},
			Words: []string{text(10), text(30)}, Any: text(16)}}
	})
	heapRatio(t, "maps of 10", 5_000, func(i int) nearEntry[map[string]int] {
		m := make(map[string]int)
		for j := range 10 {
			m[fmt.Sprint(i, " ", j)] = j
		}
		return nearEntry[map[string]int]{value: m}
	})
	heapRatio(t, "maps of 1,000", 100, func(i int) nearEntry[map[string]int] {
		m := make(map[string]int)
		for j := range 1000 {
			m[fmt.Sprint(i, " ", j)] = j
		}
		return nearEntry[map[string]int]{value: m}
	})
	heapRatio(t, "lists of structs", 500, func(int) nearEntry[[]leafy] {
		list := make([]leafy, 200)
		for i := range list {
			list[i].Name = text(40)
		}
		return nearEntry[[]leafy]{value: list}
	})
}

func heapRatio[V any](t *testing.T, name string, entries int, entry func(i int) nearEntry[V]) {
	t.Helper()
	heap := func() int64 {
		runtime.GC()
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return int64(m.HeapAlloc)
	}
	n, _ := newTestNear[V](t, NearOptions{MaxBytes: 1 << 30, TTL: time.Hour})
	clear := &generation{}
	empty := heap()
	for i := range entries {
		e := entry(i)
		e.clear, e.expires, e.encoded.payload = clear, time.Hour, strings.Clone(e.encoded.payload)
		n.put(fmt.Sprint("a key of some length: ", i), &e)
	}
	n.entries.CleanUp()
	real := heap() - empty
	ratio := float64(real) / float64(n.bytes.Load())
	t.Logf("%-18s %6d entries: %6d KiB of heap, %6d KiB counted, ratio %.2f", name, entries, real>>10, n.bytes.Load()>>10, ratio)
	if n.entries.EstimatedSize() != entries || ratio < 0.67 || ratio > 1.33 {
		t.Errorf("%s: %d entries use %.2f times what they count", name, n.entries.EstimatedSize(), ratio)
	}
	runtime.KeepAlive(n)
}

// State of a key keeps the key in memory, and not the request that the key was cut out of.
func TestKeysKeepNoRequestInMemory(t *testing.T) {
	const keys, size = 200, 64 << 10
	heap := func() int64 {
		runtime.GC()
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return int64(m.HeapAlloc)
	}
	key := func(i int) string { return (fmt.Sprintf("%06d", i) + strings.Repeat(" ", size))[:6] }
	n, _ := newTestNear[int](t, NearOptions{MaxEntries: 10 * keys, TTL: time.Hour})
	b := backoff{now: func() time.Duration { return 0 }}
	c := &Cache[int]{}
	c.pending.init()
	c.pending.siblings, c.pending.running = &siblings{}, true
	for name, keep := range map[string]func(key string){
		"near entry":     func(key string) { n.put(key, &nearEntry[int]{expires: time.Hour}) },
		"failed refresh": b.failed,
		"pending key":    func(key string) { c.remember(failures{keys: []string{key}}) },
		"pending tag":    func(key string) { c.remember(failures{refs: []ref{{tagSuffix, key}}}) },
		"pending prefix": func(key string) {
			if len(c.pending.prefixes) < maxPendingPrefixes { // one more is a Clear
				c.remember(failures{prefixes: []string{key}})
			}
		},
	} {
		was := heap()
		for i := range keys {
			keep(key(i))
		}
		if kept := (heap() - was) / keys; kept > size/10 {
			t.Errorf("%s: each keeps %d KiB", name, kept>>10)
		}
	}
	runtime.KeepAlive(n)
	runtime.KeepAlive(c)
	runtime.KeepAlive(&b)
}
