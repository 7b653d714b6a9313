package cache_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redstart-go/redstart"
	"github.com/redstart-go/redstart/cache"
	"github.com/redstart-go/redstart/internal/rig"
)

// fleet returns several processes on one server.
func fleet(t *testing.T, n int, opts cache.Options) []*cache.Cache[user] {
	t.Helper()
	e := rig.Engine{URL: rig.Shared(t).URL(), Namespace: rig.Prefix(t)}
	all := make([]*cache.Cache[user], n)
	for i := range all {
		all[i] = open(t, e, opts)
		warm(t, all[i])
	}
	return all
}

// Waiters share the outcome of a load that stores nothing. Eight processes get it from one load, in
// the time of one load. The control is a single call.
func TestC2_WaitersShareAnOutcome(t *testing.T) {
	t.Parallel()
	const processes = 8
	for name, end := range map[string]struct {
		err  error
		opts cache.Options
		hang bool
	}{
		"not found": {err: cache.ErrNotFound},
		"an error":  {err: errors.New("the database is away")},
		"hung":      {hang: true, opts: cache.Options{LoadTimeout: 500 * time.Millisecond}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			all := fleet(t, processes, end.opts)
			var loads atomic.Int32
			entered, goOn := make(chan struct{}, processes), make(chan struct{})
			load := func(ctx context.Context, _ string) (user, error) {
				loads.Add(1)
				entered <- struct{}{}
				if end.hang {
					<-ctx.Done()
					return user{}, ctx.Err()
				}
				<-goOn
				return user{}, end.err
			}
			results := make(chan error, processes)
			ask := func(c *cache.Cache[user]) {
				_, err := c.GetOrLoad(t.Context(), "1", load)
				results <- err
			}
			go ask(all[0])
			await(t, "the load", entered)
			for _, c := range all[1:] {
				go ask(c)
			}
			if !end.hang {
				rig.Eventually(t, 10*time.Second, "all others wait", func() bool {
					return !slices.ContainsFunc(all[1:], func(c *cache.Cache[user]) bool { return c.Stats().Waits == 0 })
				})
			}
			close(goOn)
			for range processes {
				err := await(t, "an outcome", results)
				switch {
				case end.hang && !errors.Is(err, cache.ErrLoadTimeout):
					t.Errorf("got %v, want ErrLoadTimeout", err)
				case !end.hang && !errors.Is(err, end.err) &&
					(errors.Is(end.err, cache.ErrNotFound) || !errors.Is(err, cache.ErrLoadFailed)):
					t.Errorf("got %v, want the outcome of the one load", err)
				}
			}
			if n := loads.Load(); n != 1 {
				t.Errorf("%d loads, want 1", n)
			}
		})
	}
}

// A value that can't be stored can't be shared through the server. Processes that wait for it then
// load at the same time, and not one after the other.
func TestC2_WaitersForAnUnstorableValueLoadTogether(t *testing.T) {
	t.Parallel()
	all := fleet(t, 4, cache.Options{MaxValueBytes: 100})
	large := user{Name: strings.Repeat("x", 1000)}
	entered, goOn := make(chan struct{}, len(all)), make(chan struct{})
	load := func(context.Context, string) (user, error) {
		entered <- struct{}{}
		<-goOn
		return large, nil
	}
	results := make(chan outcome, len(all))
	ask := func(c *cache.Cache[user], load cache.Loader[user]) {
		v, err := c.GetOrLoad(t.Context(), "1", load)
		results <- outcome{v, err}
	}
	first := make(chan struct{})
	go ask(all[0], func(context.Context, string) (user, error) {
		entered <- struct{}{}
		<-first
		return large, nil
	})
	await(t, "the first load", entered)
	for _, c := range all[1:] {
		go ask(c, load)
	}
	rig.Eventually(t, 10*time.Second, "all others wait", func() bool {
		return !slices.ContainsFunc(all[1:], func(c *cache.Cache[user]) bool { return c.Stats().Waits == 0 })
	})
	close(first)
	for range all[1:] { // no load ends before all have begun
		await(t, "a load next to the others", entered)
	}
	close(goOn)
	for range all {
		if o := await(t, "a value", results); o.err != nil || o.value != large {
			t.Fatal(len(o.value.Name), o.err)
		}
	}
}

// Another process has a longer lease. The wait for it ends with the waiter's own LoadTimeout.
func TestC2_AWaitEndsWithLoadTimeout(t *testing.T) {
	t.Parallel()
	e := rig.Engine{URL: rig.Shared(t).URL(), Namespace: rig.Prefix(t)}
	patient, hasty := open(t, e, cache.Options{LoadTimeout: time.Hour}),
		open(t, e, cache.Options{LoadTimeout: 300 * time.Millisecond})
	g := newGate()
	loading := begin(t.Context(), patient, "1", g.load)
	await(t, "the load", g.entered)
	for _, many := range []bool{false, true} {
		ended := make(chan error, 1)
		go func() {
			var err error
			if many {
				_, err = hasty.GetOrLoadMany(t.Context(), []string{"1"},
					func(context.Context, []string) (map[string]user, error) {
						t.Error("the waiter loads as well")
						return nil, nil
					})
			} else {
				_, err = hasty.GetOrLoad(t.Context(), "1", forbidden(t))
			}
			ended <- err
		}()
		if err := await(t, "the waiter", ended); !errors.Is(err, cache.ErrLoadTimeout) {
			t.Errorf("many %v: got %v, want ErrLoadTimeout", many, err)
		}
	}
	g.release <- answer{value: after}
	if o := await(t, "the load's caller", loading); o.err != nil || o.value != after {
		t.Fatal(o.value, o.err)
	}
}

// A loader panics while a batch waits for its key. Both callers panic, and no goroutine of the
// library does.
func TestC9_APanicReachesTheBatchThatWaits(t *testing.T) {
	t.Parallel()
	e := rig.Engine{URL: rig.Shared(t).URL(), Namespace: rig.Prefix(t)}
	c := open(t, e, cache.Options{})
	entered, goOn := make(chan struct{}), make(chan struct{})
	panics := make(chan any, 2)
	contained := func(call func()) {
		defer func() { panics <- recover() }()
		call()
	}
	go contained(func() {
		c.GetOrLoad(t.Context(), "1", func(context.Context, string) (user, error) {
			close(entered)
			<-goOn
			panic("boom")
		})
	})
	await(t, "the load", entered)
	go contained(func() {
		c.GetOrLoadMany(t.Context(), []string{"0", "1", "2"}, func(_ context.Context, keys []string) (map[string]user, error) {
			return nil, nil
		})
	})
	rig.Eventually(t, 10*time.Second, "the batch waits", func() bool { return c.Waiting("1") == 2 })
	close(goOn)
	for range 2 {
		if p := await(t, "a panic", panics); p == nil || !strings.Contains(fmt.Sprint(p), "boom") {
			t.Errorf("a caller got %v, want the panic", p)
		}
	}
	rig.Eventually(t, 10*time.Second, "no caller is left",
		func() bool { return c.Waiting("0")+c.Waiting("1")+c.Waiting("2") == 0 })
}

// odd is a value that does not survive its encoding.
type odd struct{ How, Text string }

func (o odd) MarshalJSON() ([]byte, error) {
	switch o.How {
	case "encode panics":
		panic("boom")
	case "asymmetric":
		return json.Marshal(o.Text)
	}
	return json.Marshal(map[string]string{"How": o.How, "Text": o.Text})
}

func (o *odd) UnmarshalJSON(data []byte) error {
	var m map[string]string
	if err := json.Unmarshal(data, &m); err != nil {
		return err
	}
	if m["How"] == "decode panics" {
		panic("boom")
	}
	*o = odd{m["How"], m["Text"]}
	return nil
}

// withPointer is a value that is copied by its encoding.
type withPointer struct{ Odd *odd }

// A value that does not survive its encoding reaches its callers as it was loaded. It is counted
// and logged, and no other value is ever served in its place.
func TestC5_AValueThatIsLostInItsEncoding(t *testing.T) {
	t.Parallel()
	for _, how := range []string{"encode panics", "decode panics", "asymmetric"} {
		for _, near := range []cache.NearOptions{{}, {MaxEntries: 100}} {
			t.Run(fmt.Sprint(how, near.MaxEntries), func(t *testing.T) {
				t.Parallel()
				ctx, log := t.Context(), &lockedBuffer{}
				client := dialWith(t, redstart.Config{
					URL: rig.Shared(t).URL(), Namespace: rig.Prefix(t), CommandTimeout: 10 * time.Second,
					Logger: slog.New(slog.NewTextHandler(log, nil)),
				})
				c, err := cache.New[withPointer](client, "odd", cache.Options{Near: near, LoadTimeout: time.Hour})
				if err != nil {
					t.Fatal(err)
				}
				want := odd{how, "text"}
				const calls = 5
				for range calls {
					got, err := c.GetOrLoad(ctx, "1",
						func(context.Context, string) (withPointer,
							error) {
							return withPointer{&odd{how, "text"}}, nil
						})
					if err != nil || got.Odd == nil || *got.Odd != want {
						t.Fatalf("%+v, %v", got, err)
					}
					many, err := c.GetOrLoadMany(ctx, []string{"1"},
						func(context.Context, []string) (map[string]withPointer, error) {
							return map[string]withPointer{"1": {&odd{how, "text"}}}, nil
						})
					if err != nil || many["1"].Odd == nil || *many["1"].Odd != want {
						t.Fatalf("%+v, %v", many, err)
					}
				}
				if n := c.Stats().NotStored; n != 2*calls {
					t.Errorf("%d counted as not stored, want %d", n, 2*calls)
				}
				rig.Eventually(t, 10*time.Second, "the line in the log",
					func() bool { return strings.Contains(log.String(), "can't be stored") })
				if n := strings.Count(log.String(), "can't be stored"); n != 1 {
					t.Errorf("logged %d times, want once: %s", n, log)
				}
				if err := c.Set(ctx, "2", withPointer{&odd{how, "text"}}); (err != nil) != (how == "encode panics") {
					t.Errorf("Set: %v", err)
				}
				for range 2 {
					if got, err := c.Get(ctx, "2"); !errors.Is(err, cache.ErrNotFound) {
						t.Errorf("Get: %+v, %v: want a miss", got, err)
					}
				}
				for what, n := range c.Leftovers() {
					if n != 0 {
						t.Errorf("%d %s are left behind", n, what)
					}
				}
			})
		}
	}
}

// A BatchLoader's error wraps the ErrNotFound of one row. It is an error of the batch: no key is
// remembered as missing.
func TestC8_ABatchErrorIsNotNotFound(t *testing.T) {
	t.Parallel()
	e := rig.Engine{URL: rig.Shared(t).URL(), Namespace: rig.Prefix(t)}
	c := open(t, e, cache.Options{NegativeTTL: time.Hour})
	row := fmt.Errorf("row 2: %w", cache.ErrNotFound)
	_, err := c.GetOrLoadMany(t.Context(), []string{"1", "2"},
		func(context.Context, []string) (map[string]user, error) { return nil, row })
	failed, ok := errors.AsType[*cache.BatchError](err)
	if !ok || len(failed.Keys) != 2 || !errors.Is(failed.Keys["1"], row) {
		t.Fatalf("got %v, want the error of both keys", err)
	}
	for _, key := range []string{"1", "2"} {
		if v, err := c.GetOrLoad(t.Context(), key, constantLocked(after)); err != nil || v != after {
			t.Fatalf("%s: %v, %v: it is remembered as missing", key, v, err)
		}
	}
	got, err := c.GetOrLoadMany(t.Context(), []string{"3"},
		func(context.Context, []string) (map[string]user, error) { return nil, cache.ErrNotFound })
	if err != nil || len(got) != 0 {
		t.Fatalf("%v, %v: ErrNotFound itself is about all keys", got, err)
	}
}

// The stale keys of a batch that waits for their reload are loaded together. So are keys whose
// in-flight load was overtaken.
func TestC7_OneCallOfTheBatchLoader(t *testing.T) {
	t.Parallel()
	const n = 200
	e := rig.Engine{URL: rig.Shared(t).URL(), Namespace: rig.Prefix(t)}
	c := open(t, e, cache.Options{StaleFor: time.Hour, SoftTimeout: 10 * time.Second, EarlyRefresh: cache.NoEarlyRefresh})
	other := open(t, e, cache.Options{})
	warm(t, c)
	keys, values := make([]string, n), make(map[string]user)
	for i := range keys {
		keys[i] = fmt.Sprint("k", i)
		values[keys[i]] = before
	}
	var calls atomic.Int32
	load := func(_ context.Context, keys []string) (map[string]user, error) {
		calls.Add(1)
		got := make(map[string]user)
		for _, key := range keys {
			got[key] = after
		}
		return got, nil
	}
	t.Run("stale", func(t *testing.T) {
		if err := c.SetMany(t.Context(), values, cache.TTL(shortTTL), cache.StaleFor(time.Hour)); err != nil {
			t.Fatal(err)
		}
		for _, key := range []string{keys[0], keys[n-1]} {
			isStale(t, c, key)
		}
		got, err := c.GetOrLoadMany(t.Context(), keys, load)
		if err != nil || len(got) != n || got[keys[n-1]] != after {
			t.Fatal(len(got), got[keys[n-1]], err)
		}
		if got := calls.Swap(0); got > 2 { // one for the stale keys, and one if there is an early refresh
			t.Fatalf("%d calls of the BatchLoader for %d stale keys", got, n)
		}
	})
	t.Run("overtaken", func(t *testing.T) {
		if err := c.Delete(t.Context(), keys...); err != nil {
			t.Fatal(err)
		}
		entered, goOn := make(chan struct{}), make(chan struct{})
		var wg sync.WaitGroup
		wg.Go(func() {
			_, err := c.GetOrLoadMany(t.Context(), keys, func(ctx context.Context, keys []string) (map[string]user, error) {
				close(entered)
				<-goOn
				return load(ctx, keys)
			})
			if err != nil {
				t.Error(err)
			}
		})
		await(t, "the first batch loads", entered)
		if err := other.Delete(t.Context(), keys...); err != nil { // removes the leases
			t.Fatal(err)
		}
		wg.Go(func() {
			got, err := c.GetOrLoadMany(t.Context(), keys, load)
			if err != nil || len(got) != n {
				t.Error(len(got), err)
			}
		})
		rig.Eventually(t, 10*time.Second, "the second batch joins, or loads",
			func() bool { return c.Waiting(keys[n-1]) == 2 || calls.Load() > 0 })
		close(goOn)
		wg.Wait()
		if got := calls.Load(); got > 4 {
			t.Fatalf("%d calls of the BatchLoader for one overtaken batch of %d", got, n)
		}
	})
}

// A caller that reaches the server does not share a load that began while the server could not be
// reached.
func TestC1_ALoadOfAnOutageIsNotShared(t *testing.T) {
	t.Parallel()
	server := rig.Shared(t)
	proxy := rig.NewProxy(t, server.Addr())
	namespace, ctx := rig.Prefix(t), t.Context()
	ours := on(t, dialWith(t, redstart.Config{URL: proxy.URL(), Namespace: namespace,
		CommandTimeout: downTimeout}), cache.Options{})
	theirs := on(t, dial(t, server.URL(), namespace), cache.Options{})
	warm(t, ours)
	proxy.Refuse()
	proxy.Cut()
	g := newGate()
	first := begin(ctx, ours, "1", g.load)
	await(t, "the load in the hiccup", g.entered)
	if err := proxy.Accept(); err != nil {
		t.Fatal(err)
	}
	rig.Eventually(t, 10*time.Second, "the server is reached", func() bool {
		_, err := ours.Get(ctx, "2")
		return errors.Is(err, cache.ErrNotFound)
	})
	if err := theirs.Delete(ctx, "1"); err != nil {
		t.Fatal(err)
	}

	second := begin(ctx, ours, "1", constantLocked(after))
	rig.Eventually(t, 10*time.Second, "the second call waits, or has its value",
		func() bool { return ours.Waiting("1") != 1 || len(second) == 1 })
	g.release <- answer{value: before}
	if o := await(t, "the first caller", first); o.err != nil || o.value != before {
		t.Fatal(o.value, o.err)
	}
	if o := await(t, "the second caller", second); o.err != nil || o.value != after {
		t.Fatalf("%v, %v: a value from before a Delete that had returned", o.value, o.err)
	}
}

// A loader that asks for the key that it loads gets an error at once, also through another key and
// in a batch.
func TestALoaderThatAsksForItsOwnKey(t *testing.T) {
	t.Parallel()
	e := rig.Engine{URL: rig.Shared(t).URL(), Namespace: rig.Prefix(t)}
	c := open(t, e, cache.Options{LoadTimeout: time.Hour})
	ask := func(key string) cache.Loader[user] {
		return func(ctx context.Context, _ string) (user, error) {
			return c.GetOrLoad(ctx, key, func(ctx context.Context, _ string) (user, error) {
				got, err := c.GetOrLoadMany(ctx, []string{"1"},
					func(context.Context, []string) (map[string]user, error) { return nil, nil })
				return got["1"], err
			})
		}
	}
	for _, key := range []string{"1", "2"} {
		if o := await(t, "an error", begin(t.Context(), c, "1", ask(key))); !errors.Is(o.err,
			cache.ErrOwnKey) || !strings.Contains(o.err.Error(), `"1"`) {
			t.Errorf("by way of %s: %v", key, o.err)
		}
	}
	var later context.Context // a goroutine that still has the context of a load after its end
	if _, err := c.GetOrLoad(t.Context(), "3", func(ctx context.Context, _ string) (user, error) {
		later = context.WithoutCancel(ctx)
		return user{}, errAway
	}); !errors.Is(err, errAway) {
		t.Fatal(err)
	}
	if v, err := c.GetOrLoad(later, "3", constantLocked(after)); err != nil || v != after {
		t.Fatal(v, err)
	}
}
