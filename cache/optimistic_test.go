package cache_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/redstart-go/redstart"
	"github.com/redstart-go/redstart/cache"
	"github.com/redstart-go/redstart/internal/rig"
	"github.com/redstart-go/redstart/internal/rig/rigclient"
)

// After several missing keys in a row, a miss has no read before its lease request. The first
// present key ends that.
func TestOptimisticRequests(t *testing.T) {
	t.Parallel()
	server, ctx := rig.Standalone(t), t.Context()
	for _, opts := range []cache.Options{{}, nearby} {
		namespace := fmt.Sprint("app", opts.Near.MaxEntries)
		c := on(t, dial(t, server.URL(), namespace), opts)
		if err := c.Set(ctx, "there", before); err != nil {
			t.Fatal(err)
		}
		loads := 0
		miss := func(i int) (requests int64) {
			t.Helper()
			was := server.CommandStats()
			if v, err := c.GetOrLoad(ctx, fmt.Sprint("absent", i), constant(after, &loads)); err != nil || v != after {
				t.Fatal(v, err)
			}
			now := server.CommandStats()
			sent := func(name string) int64 { return now[name] - was[name] }
			return sent("get") + sent("set") - sent("evalsha") // the script calls one of each
		}
		for i := range 20 {
			expected := c.Optimistic()
			if expected != (i >= 8) {
				t.Fatalf("after %d missing keys, requests are optimistic: %v", i, expected)
			}
			if i == 0 { // opens the connection, loads the script, reads the generations
				miss(i)
				continue
			}
			want := int64(4) // GET, SET and GET, EVALSHA
			if expected {
				want = 3
			}
			if got := miss(i); got != want {
				t.Fatalf("a miss after %d took %d requests, want %d", i, got, want)
			}
		}
		if loads != 20 {
			t.Fatalf("%d loads, want 20", loads)
		}
		var from cache.Source
		if v, err := c.GetOrLoad(ctx, "there", forbidden(t), cache.From(&from)); err != nil || v != before ||
			from != cache.FromServer {
			t.Fatal(v, err, from)
		}
		if c.Optimistic() {
			t.Fatal("requests are optimistic after a key was present")
		}
		rig.Eventually(t, 10*time.Second, "the lease is given back", func() bool {
			return strings.Contains(server.CLI("EXISTS", namespace+":cache:users:{there}:lease"), "0")
		})
		if got := miss(20); got != 4 {
			t.Fatalf("a miss after a hit took %d requests, want 4", got)
		}
		if got := c.Stats(); got.Hits != 1 || got.Misses != 21 {
			t.Fatalf("%d hits and %d misses, want 1 and 21", got.Hits, got.Misses)
		}
	}
}

// optimistic makes every lease request of c optimistic.
func optimistic[V any](t *testing.T, c *cache.Cache[V]) {
	t.Helper()
	rig.Arm(t, c.Points(), "optimistic", func(string) error { return errors.New("absent") })
}

// An optimistic request finds a stored value: the call returns it as any call does, and releases
// the lease.
func TestC2_AnOptimisticRequestFreesAPresentKey(t *testing.T) {
	t.Parallel()
	rig.Engines(t, func(t *testing.T, e rig.Engine) {
		ctx := t.Context()
		opts := cache.Options{LoadTimeout: time.Hour, NegativeTTL: time.Hour, StaleFor: time.Hour}
		client := dial(t, e.URL, e.Namespace)
		c, other := open(t, e, opts), on(t, client, opts)
		optimistic(t, c)
		name := func(key, suffix string) string { return e.Namespace + ":cache:users:{" + key + "}" + suffix }
		free := func(key string) {
			t.Helper()
			rig.Eventually(t, 10*time.Second, "the lease is given back", func() bool {
				r := rigclient.Redis(t, client)
				n, err := r.Do(ctx, r.B().Exists().Key(name(key, ":lease")).Build()).AsInt64()
				return err == nil && n == 0
			})
		}
		ask := func(key string, load cache.Loader[user]) (v user, from cache.Source, err error) {
			v, err = c.GetOrLoad(ctx, key, load, cache.From(&from))
			return v, from, err
		}
		if err := other.Set(ctx, "fresh", before); err != nil {
			t.Fatal(err)
		}
		if v, from, err := ask("fresh", forbidden(t)); err != nil || v != before || from != cache.FromServer {
			t.Fatal("fresh:", v, from, err)
		}
		free("fresh")

		if _, err := other.GetOrLoad(ctx, "negative",
			func(context.Context, string) (user, error) { return user{}, cache.ErrNotFound }); !errors.Is(err,
			cache.ErrNotFound) {
			t.Fatal(err)
		}
		if _, from, err := ask("negative", forbidden(t)); !errors.Is(err, cache.ErrNotFound) || from != cache.FromServer {
			t.Fatal("negative:", from, err)
		}
		free("negative")

		if err := other.Set(ctx, "stale", before, cache.TTL(time.Millisecond)); err != nil {
			t.Fatal(err)
		}
		rig.Eventually(t, 10*time.Second, "it is stale", func() bool {
			v, from, err := ask("stale", func(context.Context, string) (user, error) { return after, nil })
			if err != nil || v != before {
				t.Fatal("stale:", v, from, err)
			}
			return from == cache.FromStale
		})
		rig.Eventually(t, 10*time.Second, "it is refreshed", func() bool {
			v, _, err := ask("stale", func(context.Context, string) (user, error) { return after, nil })
			return err == nil && v == after
		})

		// A list can't be used as a value: it is counted and overwritten (C5).
		r := rigclient.Redis(t, client)
		if err := r.Do(ctx, r.B().Rpush().Key(name("list", "")).Element("?").Build()).Error(); err != nil {
			t.Fatal(err)
		}
		unreadable := c.Stats().Unreadable
		loads := 0
		if v, from, err := ask("list", constant(after, &loads)); err != nil || v != after ||
			from != cache.FromLoader || loads != 1 {
			t.Fatal("list:", v, from, err, loads)
		}
		if got := c.Stats().Unreadable - unreadable; got != 1 {
			t.Fatalf("%d were counted as unreadable, want 1", got)
		}
		free("list")
		if v, err := other.Get(ctx, "list"); err != nil || v != after {
			t.Fatal("list:", v, err)
		}
	})
}

// A caller has read that a key is missing, and joins a load with an optimistic request. Both find
// the value that another process has stored since.
func TestAnOptimisticLoadIsJoined(t *testing.T) {
	t.Parallel()
	rig.Engines(t, func(t *testing.T, e rig.Engine) {
		ctx := t.Context()
		e.Namespace += "-"
		ours, theirs := open(t, e, cache.Options{}), open(t, e, cache.Options{})
		warm(t, ours)
		optimistic(t, ours)
		asked, goOn := make(chan struct{}), make(chan struct{})
		rig.ArmOnce(t, ours.Points(), "lease", "1", func() {
			close(asked)
			<-goOn
			if err := theirs.Set(ctx, "1", after); err != nil {
				t.Error(err)
			}
		})
		first := begin(ctx, ours, "1", forbidden(t))
		await(t, "the first asks", asked)
		second := begin(ctx, ours, "1", forbidden(t))
		third := make(chan outcome, 1)
		go func() { // a batch reads before it joins
			got, err := ours.GetOrLoadMany(ctx, []string{"1"}, func(context.Context, []string) (map[string]user, error) {
				t.Error("the loader of the batch ran")
				return nil, nil
			})
			third <- outcome{got["1"], err}
		}()
		rig.Eventually(t, 10*time.Second, "the others join", func() bool { return ours.Waiting("1") == 3 })
		close(goOn)
		for _, who := range []<-chan outcome{first, second, third} {
			if o := await(t, "a caller", who); o.err != nil || o.value != after {
				t.Fatal(o.value, o.err)
			}
		}
	})
}

// With a stopped server, an optimistic request costs one command timeout, as a read does, and
// nothing is stored. The server grants the lease when it continues, and the lease is released.
func TestC4_AnOptimisticRequestInAnOutage(t *testing.T) {
	t.Parallel()
	server, ctx := rig.Standalone(t), t.Context()
	c := on(t, dialWith(t, redstart.Config{URL: server.URL(), Namespace: "app", CommandTimeout: downTimeout}),
		cache.Options{LoadTimeout: time.Hour})
	optimistic(t, c)
	loads := 0
	if _, err := c.GetOrLoad(ctx, "1", constant(before, &loads)); err != nil {
		t.Fatal(err)
	}
	server.Stop()
	for range 3 {
		if v, err := c.GetOrLoad(ctx, "2", constant(after, &loads)); err != nil || v != after {
			t.Fatal(v, err)
		}
	}
	server.Continue()
	if loads != 4 {
		t.Fatalf("%d loads, want 4", loads)
	}
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second) // a caller that finds the lease waits for it
	defer cancel()
	rig.Eventually(t, 10*time.Second, "the lease that was asked for is free, and the key is stored", func() bool {
		if v, err := c.GetOrLoad(ctx, "2", constant(after, &loads)); err != nil || v != after {
			t.Fatal(v, err)
		}
		v, err := c.Get(ctx, "2")
		return err == nil && v == after
	})
}
