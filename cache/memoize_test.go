package cache_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redstart-go/redstart"
	"github.com/redstart-go/redstart/cache"
	"github.com/redstart-go/redstart/internal/rig"
	"github.com/redstart-go/redstart/internal/rig/rigclient"
)

// search is the argument of most memos here.
type search struct {
	Text   string
	Tags   []string
	Limits map[string]int
	since  *time.Time
}

func memo[A any](t testing.TB, c *cache.Cache[user], name string, fn func(context.Context, A) (user, error),
	opts ...cache.CallOption) *cache.Memo[A, user] {
	t.Helper()
	m, err := cache.Memoize(c, name, fn, opts...)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// counted returns a function that names its result after its arguments, and counts its calls.
func counted[A any](calls *atomic.Int32) func(context.Context, A) (user, error) {
	return func(_ context.Context, args A) (user, error) {
		return user{Name: fmt.Sprintf("%+v", args), Version: int(calls.Add(1))}, nil
	}
}

func call[A any](t testing.TB, m *cache.Memo[A, user], args A) user {
	t.Helper()
	v, err := m.Call(t.Context(), args)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// Equal arguments run the function once, also if they were made separately. Other arguments run it
// again. Delete removes the result.
func TestMemoize(t *testing.T) {
	t.Parallel()
	rig.Engines(t, func(t *testing.T, e rig.Engine) {
		var calls atomic.Int32
		m := memo(t, open(t, e, cache.Options{}), "search", counted[search](&calls))
		other := memo(t, open(t, e, cache.Options{}), "search", counted[search](&calls)) // another process
		now := time.Now()
		stripped := now.Round(0)
		first := search{"a", []string{"b"}, map[string]int{"x": 1, "y": 2}, &now}
		again := search{"a", append(make([]string, 0, 9), "b"), map[string]int{"y": 2, "x": 1}, &stripped}

		want := call(t, m, first)
		if want.Version != 1 {
			t.Fatal(want)
		}
		if got := call(t, m, again); got != want {
			t.Errorf("equal arguments: got %+v, want %+v", got, want)
		}
		if got := call(t, other, again); got != want {
			t.Errorf("equal arguments elsewhere: got %+v, want %+v", got, want)
		}
		later := now.Add(1)
		for i, args := range []search{
			{}, {"a", []string{"b"}, map[string]int{"x": 1, "y": 2}, nil},
			{"a", []string{"b"}, map[string]int{"x": 1, "y": 2}, &later},
			{"a", []string{"b", ""}, nil, nil}, {"a", []string{"b"}, nil, nil}, {"ab", nil, nil, nil},
			{"ab", []string{}, nil, nil},
		} {
			if got := call(t, m, args); got.Version != i+2 {
				t.Errorf("%+v is taken for other arguments: got %+v", args, got)
			}
		}
		if err := other.Delete(t.Context(), again); err != nil {
			t.Fatal(err)
		}
		before := calls.Load()
		if got := call(t, m, first); got.Version != int(before)+1 {
			t.Errorf("after Delete: got %+v", got)
		}
		if call(t, m, search{}); calls.Load() != before+1 {
			t.Error("Delete forgot other arguments")
		}
	})
}

// Many callers in several processes make one call of the function.
func TestC2_MemoHerd(t *testing.T) {
	t.Parallel()
	rig.Engines(t, func(t *testing.T, e rig.Engine) {
		const processes, callers = 3, 25
		var calls, wrong atomic.Int32
		g := newGate()
		fn := func(ctx context.Context, args search) (user, error) {
			calls.Add(1)
			return g.load(ctx, args.Text)
		}
		var wg sync.WaitGroup
		for range processes {
			m := memo(t, open(t, e, cache.Options{}), "search", fn)
			for range callers {
				wg.Go(func() {
					if v, err := m.Call(t.Context(), search{Text: "a", Tags: []string{"b"}}); err != nil || v != after {
						wrong.Add(1)
					}
				})
			}
		}
		await(t, "the call", g.entered)
		g.release <- answer{value: after}
		wg.Wait()
		if calls.Load() != 1 || wrong.Load() != 0 {
			t.Fatalf("%d calls, want 1; %d callers got something else", calls.Load(), wrong.Load())
		}
	})
}

// A call of the function that began before Delete stores nothing.
func TestC1_MemoNoStaleSet(t *testing.T) {
	t.Parallel()
	rig.Engines(t, func(t *testing.T, e rig.Engine) {
		g := newGate()
		m := memo(t, open(t, e, cache.Options{}), "search",
			func(ctx context.Context, args search) (user, error) { return g.load(ctx, "") })
		overtaken := make(chan outcome, 1)
		go func() {
			v, err := m.Call(t.Context(), search{Text: "a"})
			overtaken <- outcome{v, err}
		}()
		await(t, "the call", g.entered)
		if err := m.Delete(t.Context(), search{Text: "a"}); err != nil {
			t.Fatal(err)
		}
		g.release <- answer{value: before}
		if o := await(t, "the overtaken caller", overtaken); o.err != nil || o.value != before {
			t.Fatal(o.value, o.err)
		}
		go func() {
			await(t, "the second call", g.entered)
			g.release <- answer{value: after}
		}()
		if v := call(t, m, search{Text: "a"}); v != after {
			t.Fatalf("got %+v, which Delete had overtaken", v)
		}
	})
}

// Memos of different names don't collide with each other or with plain keys, for any text in names
// and arguments.
func TestMemosDoNotCollide(t *testing.T) {
	t.Parallel()
	for name, near := range map[string]int{"far": 0, "near": 10_000} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := rig.Engine{URL: rig.Shared(t).URL(), Namespace: rig.Prefix(t)}
			namesAreApart(t, open(t, e, cache.Options{Near: cache.NearOptions{MaxEntries: near}}))
		})
	}
}

func namesAreApart(t *testing.T, c *cache.Cache[user]) {
	var calls atomic.Int32
	names := []string{"a", "b", "a:", "a:sa", "a:sa:", ":", "::", "%", "%3A", "a%3Asa", "\x00", "\x00memo:a",
		"é", strings.Repeat("x", 128), strings.Repeat(":", 128)}
	args := []string{"", "a", "sa", "a:sa", ":sa", "a:", ":", "%3A", "\x00", "i1", "#",
		strings.Repeat("x", 64), strings.Repeat("x", 65)}
	for _, name := range names {
		m := memo(t, c, name, counted[string](&calls))
		for _, arg := range args {
			before := calls.Load()
			if v := call(t, m, arg); v.Name != arg || calls.Load() != before+1 {
				t.Errorf("memo %q of %q meets another one: %+v", name, arg, v)
			}
			if v := call(t, m, arg); v.Name != arg || calls.Load() != before+1 {
				t.Errorf("memo %q of %q is not remembered: %+v", name, arg, v)
			}
		}
	}
	for _, key := range []string{"a", "a:", "a:sa", "memo:a:sa", "sa", ""} {
		if v, err := c.Get(t.Context(), key); !errors.Is(err, cache.ErrNotFound) {
			t.Errorf("the plain key %q meets a memo: %+v, %v", key, v, err)
		}
	}
	const taken = "\x00memo:a:sa"
	if v := call(t, memo(t, c, "a", counted[string](&calls)), "a"); v.Name != "a" {
		t.Fatal(v)
	}
	_, get := c.Get(t.Context(), taken)
	_, getMany := c.GetMany(t.Context(), []string{taken})
	_, getOrLoad := c.GetOrLoad(t.Context(), taken, forbidden(t))
	_, getOrLoadMany := c.GetOrLoadMany(t.Context(), []string{taken},
		func(context.Context, []string) (map[string]user, error) { return nil, nil })
	for verb, err := range map[string]error{
		"Get": get, "GetMany": getMany, "GetOrLoad": getOrLoad, "GetOrLoadMany": getOrLoadMany,
		"Set": c.Set(t.Context(), taken, user{}), "SetMany": c.SetMany(t.Context(), map[string]user{taken: {}}),
		"Delete": c.Delete(t.Context(), taken), "DeletePrefix": c.DeletePrefix(t.Context(), taken),
	} {
		if err == nil || !strings.Contains(err.Error(), "the key begins with the prefix of memos") {
			t.Errorf("%s of a memo's key: %v", verb, err)
		}
	}
	if err := c.Set(t.Context(), "\x00memo", user{}); err != nil {
		t.Errorf("a key that is not quite a memo's: %v", err)
	}
	// One name, arguments of another type: a digest and the string that looks like it.
	long := memo(t, c, "forms", counted[[]string](&calls))
	call(t, long, []string{"a"})
	numbers, texts := memo(t, c, "forms", counted[int](&calls)), memo(t, c, "forms", counted[string](&calls))
	call(t, numbers, 1)
	begin := calls.Load()
	call(t, texts, "i1")
	call(t, texts, "1")
	call(t, texts, "#qPy5OKr8mVZGQc0UkSslJKhdfbEvUEs6UD6PdV9kY60")
	if calls.Load() != begin+3 {
		t.Error("a string has the key of a digest")
	}
}

// Simple arguments are legible in the keys on the server.
func TestMemoKeysAreLegible(t *testing.T) {
	t.Parallel()
	namespace := rig.Prefix(t)
	client := dial(t, rig.Shared(t).URL(), namespace)
	c := on(t, client, cache.Options{})
	call(t, memo(t, c, "by id", counted[int64](new(atomic.Int32))), -42)
	call(t, memo(t, c, "by:mail", counted[string](new(atomic.Int32))), "ada@example.com")
	call(t, memo(t, c, "pair", counted[[]string](new(atomic.Int32))), []string{"a"})
	r := rigclient.Redis(t, client)
	for _, key := range []string{
		"{%00memo:by%20id:i-42}", "{%00memo:by%253Amail:sada@example.com}",
		"{%00memo:pair:#qPy5OKr8mVZGQc0UkSslJKhdfbEvUEs6UD6PdV9kY60}",
	} {
		key = namespace + ":cache:users:" + key
		if n, err := r.Do(t.Context(), r.B().Exists().Key(key).Build()).AsInt64(); err != nil || n != 1 {
			t.Errorf("%s: %d, %v", key, n, err)
		}
	}
}

// Memoize refuses invalid arguments. The error says what and where.
func TestMemoizeRefuses(t *testing.T) {
	t.Parallel()
	type filter struct{ Less func(a, b int) bool }
	type report struct {
		Day     time.Time
		Filters map[string][]filter
	}
	e := rig.Engine{URL: rig.Embedded(t).URL(), Namespace: rig.Prefix(t)}
	c := open(t, e, cache.Options{})
	fn := counted[int](new(atomic.Int32))
	for want, err := range map[string]error{
		"cache: Memoize: the cache is nil: use New": last(cache.Memoize(nil, "a",
			fn)),
		`cache: memoize "" in "users": the name is empty: it separates the memos of one cache`: last(cache.Memoize(c, "",
			fn)),
		`cache: memoize in "users": the name has 129 bytes: at most 128`: last(cache.Memoize(c,
			strings.Repeat("x", 129), fn)),
		`cache: memoize "a" in "users": the function is nil`: last(cache.Memoize[int](c, "a",
			nil)),
		"cache: TTL(-1s): must be from 1ms to 87600h0m0s": last(cache.Memoize(c, "a", fn,
			cache.TTL(-time.Second))),
		`cache: memoize "a" in "users": args.Filters[value][].Less: a func: two of them`: last(cache.Memoize(c, "a",
			counted[report](nil))),
		`cache: memoize "a" in "users": args: an interface (interface {}): its values may be of a`: last(cache.Memoize(c, "a",
			counted[any](nil))),
	} {
		if err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("got %v, want %s", err, want)
		}
	}
}

func last[M any](_ M, err error) error { return err }

// Arguments that have no key are an error of the call, and the function is not called.
func TestMemoCallRefuses(t *testing.T) {
	t.Parallel()
	type node struct{ Next *node }
	e := rig.Engine{URL: rig.Embedded(t).URL(), Namespace: rig.Prefix(t)}
	c := open(t, e, cache.Options{})
	var calls atomic.Int32
	cycle := &node{}
	cycle.Next = cycle
	m := memo(t, c, "list", counted[*node](&calls))
	_, err := m.Call(t.Context(), cycle)
	for _, err := range []error{err, m.Delete(t.Context(), cycle)} {
		if err == nil || !strings.HasPrefix(err.Error(),
			`cache: memo "list" in "users": the arguments have more than 100 pointers, slices and maps inside each other`) {
			t.Errorf("got %v", err)
		}
	}
	large := memo(t, c, "bytes", counted[[]byte](&calls))
	_, err = large.Call(t.Context(), make([]byte, 17<<20))
	if !errors.Is(err, redstart.ErrTooLarge) {
		t.Errorf("got %v", err)
	}
	if calls.Load() != 0 {
		t.Error("the function was called")
	}
}

// The options apply to every call, and ErrNotFound and Adjust work as in a loader.
func TestMemoIsGetOrLoad(t *testing.T) {
	t.Parallel()
	rig.Engines(t, func(t *testing.T, e rig.Engine) {
		c := open(t, e, cache.Options{NegativeTTL: time.Minute})
		var calls atomic.Int32
		broken := errors.New("the database is away")
		m := memo(t, c, "by id", func(_ context.Context, id int) (user, error) {
			calls.Add(1)
			if id == 0 {
				return user{}, cache.ErrNotFound
			}
			return user{}, broken
		})
		for range 2 {
			if _, err := m.Call(t.Context(), 0); !errors.Is(err, cache.ErrNotFound) {
				t.Fatal(err)
			}
		}
		if calls.Load() != 1 {
			t.Errorf("ErrNotFound is not remembered: %d calls", calls.Load())
		}
		for range 2 {
			if _, err := m.Call(t.Context(), 1); !errors.Is(err, broken) {
				t.Fatal(err)
			}
		}
		if calls.Load() != 3 {
			t.Errorf("an error is remembered: %d calls", calls.Load())
		}
		short := memo(t, c, "short", counted[int](&calls), cache.TTL(20*time.Millisecond))
		first := call(t, short, 1)
		rig.Eventually(t, 10*time.Second, "the TTL of the option ends", func() bool {
			if e.Embedded != nil {
				e.Embedded.Advance(time.Second)
			}
			return call(t, short, 1).Version > first.Version
		})
	})
}

// The function begins late, here after another process cancelled its load. The target of a pointer
// in the arguments has changed: the result would belong to other arguments.
func TestMemoArgumentsChangedBeforeTheCall(t *testing.T) {
	t.Parallel()
	e := rig.Engine{URL: rig.Shared(t).URL(), Namespace: rig.Prefix(t)}
	g := newGate()
	c := open(t, e, cache.Options{})
	m := memo(t, open(t, e, cache.Options{}), "search",
		func(ctx context.Context, _ search) (user, error) { return g.load(ctx, "") })
	var calls atomic.Int32
	late := memo(t, c, "search", counted[search](&calls))

	first, second := make(chan error, 1), make(chan error, 1)
	leaving, leave := context.WithCancel(t.Context())
	go func() {
		_, err := m.Call(leaving, search{Text: "a", Tags: []string{"b"}})
		first <- err
	}()
	await(t, "the call of the first process", g.entered)
	tags := []string{"b"}
	go func() {
		_, err := late.Call(t.Context(), search{Text: "a", Tags: tags})
		second <- err
	}()
	rig.Eventually(t, 10*time.Second, "the second process asks", func() bool { return c.Stats().Misses == 1 })
	tags[0] = "c"
	leave()
	await(t, "the first process", first)
	if err := await(t, "the second process", second); err == nil || !strings.Contains(err.Error(), "changed after Call began") {
		t.Errorf("got %v", err)
	}
	if calls.Load() != 0 {
		t.Error("the function was called with other arguments than the key's")
	}
}

// A near-cache hit allocates only the key. Not parallel: AllocsPerRun counts the allocations of all
// goroutines.
func TestMemoNearHitAllocations(t *testing.T) {
	c := open(t, rig.Engine{URL: rig.Shared(t).URL(), Namespace: rig.Prefix(t)},
		cache.Options{Near: cache.NearOptions{MaxEntries: 100}})
	nearHitAllocates(t, c, 42, 1)
	nearHitAllocates(t, c, "user-42", 1)
	nearHitAllocates(t, c, search{Text: "user-42", Tags: []string{"a", "b"}}, 1)
}

func nearHitAllocates[A any](t *testing.T, c *cache.Cache[user], args A, want float64) {
	t.Helper()
	m := memo(t, c, fmt.Sprintf("%T", args), counted[A](new(atomic.Int32)))
	rig.Eventually(t, 10*time.Second, "the value is near-cached", func() bool {
		hits := c.Stats().NearHits
		call(t, m, args)
		return c.Stats().NearHits > hits
	})
	ctx := t.Context()
	if got := testing.AllocsPerRun(100, func() { m.Call(ctx, args) }); got > want {
		t.Errorf("%T: %v allocations, want %v", args, got, want)
	}
}

// This benchmark compares a memo with GetOrLoad of a ready key.
func BenchmarkMemoHit(b *testing.B) {
	for name, near := range map[string]int{"redis": 0, "near": 1000} {
		b.Run(name, func(b *testing.B) {
			c := open(b, rig.Engine{URL: rig.Shared(b).URL(), Namespace: rig.Prefix(b)},
				cache.Options{Near: cache.NearOptions{MaxEntries: near}})
			load := func(context.Context, string) (user, error) { return user{ID: "1"}, nil }
			b.Run("GetOrLoad", func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					if _, err := c.GetOrLoad(b.Context(), "user-1", load); err != nil {
						b.Fatal(err)
					}
				}
			})
			b.Run("int", benchMemo(c, 1))
			b.Run("string", benchMemo(c, "user-1"))
			b.Run("struct", benchMemo(c, search{Text: "user-1", Tags: []string{"a"}}))
		})
	}
}

func benchMemo[A any](c *cache.Cache[user], args A) func(*testing.B) {
	return func(b *testing.B) {
		m := memo(b, c, b.Name(), func(context.Context, A) (user, error) { return user{ID: "1"}, nil })
		b.ReportAllocs()
		for b.Loop() {
			if _, err := m.Call(b.Context(), args); err != nil {
				b.Fatal(err)
			}
		}
	}
}
