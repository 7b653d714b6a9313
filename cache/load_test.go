package cache_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redstart-go/redstart"
	"github.com/redstart-go/redstart/cache"
	"github.com/redstart-go/redstart/internal/flight"
	"github.com/redstart-go/redstart/internal/rig"
)

func registerRoles() {
	rig.RegisterRole("loader", loaderRole)
	rig.RegisterRole("history", historyRole)
	rig.RegisterRole("callers", callersRole)
}

// loaderRole takes a lease, reports it, and hangs until it is killed.
func loaderRole() {
	ctx := context.Background()
	client, err := redstart.Open(ctx, redstart.Config{URL: os.Getenv("TEST_URL"), Namespace: os.Getenv("TEST_NAMESPACE")})
	if err != nil {
		fmt.Println(err)
		return
	}
	c, err := cache.New[user](client, "users", cache.Options{LoadTimeout: 1500 * time.Millisecond})
	if err != nil {
		fmt.Println(err)
		return
	}
	c.GetOrLoad(ctx, "1", func(context.Context, string) (user, error) {
		fmt.Println("loading")
		select {}
	})
}

func TestC2_OneLoadPerFleet(t *testing.T) {
	t.Parallel()
	rig.Engines(t, func(t *testing.T, e rig.Engine) {
		const processes, callers = 4, 25
		var loads atomic.Int32
		g := newGate()
		load := func(ctx context.Context, key string) (user, error) {
			if loads.Add(1) > 1 {
				return user{}, errors.New("a second load")
			}
			return g.load(ctx, key)
		}
		var done, wrong atomic.Int32
		var all []*cache.Cache[user]
		for range processes {
			c := open(t, e, cache.Options{})
			all = append(all, c)
			for range callers {
				go func() {
					defer done.Add(1)
					if v, err := c.GetOrLoad(t.Context(), "1", load); err != nil || v != after {
						wrong.Add(1)
					}
				}()
			}
		}
		await(t, "the load", g.entered)
		g.release <- answer{value: after}
		rig.Eventually(t, 10*time.Second, "everybody has the value", func() bool {
			for i, c := range all {
				if c.Stats().LeaseLost > 0 {
					t.Fatalf("the lease of process %d's load was taken while it ran", i)
				}
			}
			return done.Load() == processes*callers
		})
		if loads.Load() != 1 || wrong.Load() != 0 {
			t.Fatalf("%d loads, want 1; %d callers got something else", loads.Load(), wrong.Load())
		}
	})
}

// A process that dies during a load delays the key until its lease ends, and no longer.
func TestC2_CrashedLoader(t *testing.T) {
	t.Parallel()
	rig.Need(t, rig.TierAll)
	for name, url := range map[string]string{"standalone": rig.Shared(t).URL(), "cluster": rig.SharedCluster(t).URL()} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			namespace := rig.Prefix(t)
			p := rig.Spawn(t, "loader", map[string]string{"TEST_URL": url, "TEST_NAMESPACE": namespace})
			if line := p.Line(10 * time.Second); line != "loading" {
				t.Fatal(line)
			}
			c := on(t, dial(t, url, namespace), cache.Options{})
			waits := begin(t.Context(), c, "1", constant(after, new(int)))
			p.Kill()
			watch := rig.Watch(t)
			if o := await(t, "the takeover", waits); o.err != nil || o.value != after {
				t.Fatal(o.value, o.err)
			}
			if took := watch.Took(); took > 3*time.Second {
				t.Fatalf("the takeover took %v with a lease of 1.5s", took)
			}
		})
	}
}

// A load that fails releases its lease at once. Waiting callers of other processes get
// ErrLoadFailed, and the next call loads.
func TestC2_FailedLoadFreesTheKey(t *testing.T) {
	t.Parallel()
	rig.Engines(t, func(t *testing.T, e rig.Engine) {
		ctx := t.Context()
		a, b := open(t, e, cache.Options{LoadTimeout: time.Hour}), open(t, e, cache.Options{LoadTimeout: time.Hour})
		g, other := newGate(), newGate()
		first := begin(ctx, a, "1", g.load)
		await(t, "the load", g.entered)
		second := begin(ctx, b, "1", other.load)
		rig.Eventually(t, 10*time.Second, "the second process waits", func() bool { return b.Stats().Waits == 1 })
		broken := errors.New("the database is away")
		g.release <- answer{err: broken}
		if o := await(t, "the first caller", first); o.err != broken {
			t.Fatalf("got %v, want the loader's error", o.err)
		}
		if o := await(t, "the second caller", second); !errors.Is(o.err, cache.ErrLoadFailed) ||
			strings.Contains(o.err.Error(), broken.Error()) {
			t.Fatalf("the second caller got %v, want the error of the load that it waited for", o.err)
		}
		if len(other.entered) != 0 {
			t.Fatal("the second process has loaded as well")
		}
		third := begin(ctx, b, "1", other.load)
		await(t, "the second load", other.entered)
		other.release <- answer{value: after}
		if o := await(t, "the third caller", third); o.err != nil || o.value != after {
			t.Fatal(o.value, o.err)
		}
	})
}

func TestC2_PanicFreesTheKey(t *testing.T) {
	t.Parallel()
	rig.Engines(t, func(t *testing.T, e rig.Engine) {
		ctx := t.Context()
		c := open(t, e, cache.Options{LoadTimeout: time.Hour})
		func() {
			defer func() {
				p, ok := recover().(*flight.PanicError)
				if !ok || p.Value != "boom" || !strings.Contains(string(p.Stack), "load_test.go") {
					t.Fatalf("got %v", p)
				}
			}()
			c.GetOrLoad(ctx, "1", func(context.Context, string) (user, error) { panic("boom") })
		}()
		next := begin(ctx, c, "1", constantLocked(after))
		if o := await(t, "a load after the panic, which has given its lease back", next); o.err != nil || o.value != after {
			t.Fatal(o.value, o.err)
		}
	})
}

// One caller leaves, and the others get their value. After all have left, the load ends and the key
// is free.
func TestC9_CancellationFailsNoOtherCall(t *testing.T) {
	t.Parallel()
	rig.Engines(t, func(t *testing.T, e rig.Engine) {
		c := open(t, e, cache.Options{LoadTimeout: time.Hour})
		warm(t, c)
		g := newGate()
		leader, leave := context.WithCancel(t.Context())
		first := begin(leader, c, "1", g.load)
		loading := await(t, "the load", g.entered)
		second := begin(t.Context(), c, "1", g.load)
		rig.Eventually(t, 5*time.Second, "the second caller joins", func() bool { return c.Waiting("1") == 2 })
		leave()
		if o := await(t, "the caller that left", first); !errors.Is(o.err, context.Canceled) {
			t.Fatalf("the caller that left got %v", o.err)
		}
		if loading.Err() != nil {
			t.Fatal("the load ended with the first caller")
		}
		g.release <- answer{value: after}
		if o := await(t, "the caller that stayed", second); o.err != nil || o.value != after {
			t.Fatalf("the caller that stayed got %v, %v", o.value, o.err)
		}

		alone, leave := context.WithCancel(t.Context())
		third := begin(alone, c, "2", g.load)
		loading = await(t, "the load", g.entered)
		leave()
		await(t, "the caller", third)
		await(t, "the end of the load", loading.Done())
		if v, err := c.GetOrLoad(t.Context(), "2", constant(after, new(int))); err != nil || v != after {
			t.Fatal(v, err)
		}
	})
}

func TestLoadTimeout(t *testing.T) {
	t.Parallel()
	rig.Engines(t, func(t *testing.T, e rig.Engine) {
		c := open(t, e, cache.Options{LoadTimeout: 50 * time.Millisecond})
		for name, deaf := range map[string]bool{"obedient": false, "deaf": true} {
			end := make(chan struct{})
			_, err := c.GetOrLoad(t.Context(), name, func(ctx context.Context, key string) (user, error) {
				if deaf {
					<-end
				} else {
					<-ctx.Done()
				}
				return user{}, ctx.Err()
			})
			close(end)
			if !errors.Is(err, cache.ErrLoadTimeout) || errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("%s: got %v", name, err)
			}
		}
	})
}

// A push wakes a process that waits for another process's load, for each outcome. It wakes before
// its next poll.
func TestC2_WaitersAreWoken(t *testing.T) {
	t.Parallel()
	tracked(t, func(t *testing.T, e rig.Engine) {
		const poll = 500 * time.Millisecond // at least
		client := dial(t, e.URL, e.Namespace)
		ours, other := on(t, client, cache.Options{LoadTimeout: time.Hour}), open(t, e, cache.Options{LoadTimeout: time.Hour})
		// its fills go over the same client, whose pushes reach only other clients
		sibling := on(t, client, cache.Options{LoadTimeout: time.Hour, Near: nearby.Near})
		for _, c := range []*cache.Cache[user]{ours, other, sibling} {
			warm(t, c)
		}
		for name, end := range map[string]answer{
			"a value": {value: after}, "an error": {err: errors.New("the database is away")},
			"a sibling's value": {value: after}, "a sibling's error": {err: errors.New("the database is away")},
		} {
			theirs := other
			if strings.HasPrefix(name, "a sibling") {
				theirs = sibling
			}
			var quickest time.Duration
			for i := range 20 { // on a busy machine some rounds may be slow, but not all
				key, waits, g := fmt.Sprint(name, i), ours.Stats().Waits, newGate()
				loading := begin(t.Context(), theirs, key, g.load)
				await(t, "the load", g.entered)
				waiting := begin(t.Context(), ours, key, constantLocked(after))
				rig.Eventually(t, 10*time.Second, "it waits", func() bool { return ours.Stats().Waits > waits })
				ended := time.Now()
				g.release <- end
				o := await(t, "the caller that waited", waiting)
				if end.err == nil && (o.err != nil || o.value != after) || end.err != nil &&
					!errors.Is(o.err, cache.ErrLoadFailed) {
					t.Fatal(o.value, o.err)
				}
				if took := time.Since(ended); quickest == 0 || took < quickest {
					quickest = took
				}
				await(t, "the caller that loaded", loading)
				if quickest < poll/2 {
					break
				}
			}
			if quickest >= poll/2 {
				t.Errorf("after %s the quickest of 20 waited for %v: they poll, and no push wakes them", name, quickest)
			}
		}
	})
}

// callersRole asks for one key with 100 callers at once. It prints the number of its loads, and the
// time in µs since 1970 at which its last caller had the value.
func callersRole() {
	ctx := context.Background()
	client, err := redstart.Open(ctx, redstart.Config{URL: os.Getenv("TEST_URL"),
		Namespace: os.Getenv("TEST_NAMESPACE"), CommandTimeout: 10 * time.Second})
	if err != nil {
		fmt.Println(err)
		return
	}
	c, err := cache.New[user](client, "users", cache.Options{})
	if err == nil {
		_, err = c.GetOrLoad(ctx, fmt.Sprint("warm", os.Getpid()),
			func(context.Context, string) (user, error) { return before, nil })
	}
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println("ready")
	var line string
	fmt.Scanln(&line)
	var loads, loaded atomic.Int64
	var wg, asking sync.WaitGroup
	release := make(chan struct{})
	asking.Add(100)
	for range 100 {
		wg.Go(func() {
			asking.Done()
			v, err := c.GetOrLoad(ctx, "cold", func(context.Context, string) (user, error) {
				loads.Add(1)
				<-release
				loaded.Store(time.Now().UnixMicro())
				return after, nil
			})
			if err != nil || v != after {
				fmt.Println("wrong:", v, err)
			}
		})
	}
	asking.Wait()
	fmt.Println("asking")
	fmt.Scanln(&line)
	close(release)
	wg.Wait()
	fmt.Println(loads.Load(), loaded.Load(), time.Now().UnixMicro())
	fmt.Scanln(&line)
}

// Eight processes with 100 callers each ask for one cold key: one load, and the last caller has the
// value soon after.
func TestC2_EightProcesses(t *testing.T) {
	t.Parallel()
	rig.Need(t, rig.TierAll)
	for name, url := range map[string]string{"standalone": rig.Shared(t).URL(), "cluster": rig.SharedCluster(t).URL()} {
		t.Run(name, func(t *testing.T) {
			namespace := rig.Prefix(t)
			var processes []*rig.Proc
			for range 8 {
				processes = append(processes, rig.Spawn(t, "callers",
					map[string]string{"TEST_URL": url, "TEST_NAMESPACE": namespace}))
			}
			for _, p := range processes {
				if line := p.Line(60 * time.Second); line != "ready" {
					t.Fatal(line)
				}
			}
			for _, p := range processes {
				p.Send("go")
			}
			for _, p := range processes {
				if line := p.Line(60 * time.Second); line != "asking" {
					t.Fatal(line)
				}
			}
			for _, p := range processes {
				p.Send("load")
			}
			var loads, loaded, last int64
			for _, p := range processes {
				var n, at, end int64
				line := p.Line(60 * time.Second)
				if _, err := fmt.Sscan(line, &n, &at, &end); err != nil {
					t.Fatal(line)
				}
				loads += n
				loaded, last = max(loaded, at), max(last, end)
			}
			if loads != 1 {
				t.Fatalf("%d loads, want 1", loads)
			}
			late := time.Duration(last-loaded) * time.Microsecond
			t.Logf("the last of 800 callers had the value %v after the load", late)
			if late > 10*time.Second { // 20 ms on an idle machine; see TestC2_WaitersAreWoken
				t.Fatalf("the last caller had the value %v after the load", late)
			}
			for _, p := range processes {
				p.Send("end")
			}
		})
	}
}
