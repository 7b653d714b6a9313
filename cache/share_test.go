package cache_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redstart-go/redstart"
	"github.com/redstart-go/redstart/cache"
	"github.com/redstart-go/redstart/internal/rig"
)

// owner is a type of value that can be changed through a copy.
type owner[V any] struct {
	name     string
	make     func(load string) V // with the name of the load that made it
	leafs    func(V) []string
	original func(V) bool // reports a value that was not copied; nil if a copy looks the same
}

var (
	trees = owner[*tree]{
		name: "trees", make: func(load string) *tree { return &tree{Leafs: []string{"green", load}} },
		leafs: func(v *tree) []string { return v.Leafs },
	}
	cloners = owner[cloner]{
		name: "cloners", make: func(load string) cloner { return cloner{Leafs: []string{"green", load}} },
		leafs:    func(v cloner) []string { return v.Leafs },
		original: func(v cloner) bool { return v.clones == 0 },
	}
	lists = owner[[]string]{
		name: "lists", make: func(load string) []string { return []string{"green", load} },
		leafs: func(v []string) []string { return v },
	}
)

// A caller that changes its value changes no other caller's. Values of the near cache, of a shared
// load, stale values and those of a batch belong to their caller, by a fresh decode or by Clone.
func TestC3_ValuesBelongToTheirCaller(t *testing.T) {
	t.Parallel()
	tracked(t, func(t *testing.T, e rig.Engine) {
		client := dial(t, e.URL, e.Namespace)
		owns(t, client, trees)
		owns(t, client, cloners)
		owns(t, client, lists)
	})
}

func owns[V any](t *testing.T, client *redstart.Client, o owner[V]) {
	ctx := t.Context()
	c, err := cache.New[V](client, o.name, cache.Options{
		Near: cache.NearOptions{MaxEntries: 1000}, StaleFor: time.Hour, SoftTimeout: 30 * time.Second,
		EarlyRefresh: cache.NoEarlyRefresh,
	})
	if err != nil {
		t.Fatal(err)
	}
	load := func(context.Context, string) (V, error) { return o.make("alone"), nil }
	loadMany := func(_ context.Context, keys []string) (map[string]V, error) {
		values := make(map[string]V)
		for _, key := range keys {
			values[key] = o.make("alone")
		}
		return values, nil
	}
	spoil := func(what string, v V, err error) {
		t.Helper()
		if err != nil {
			t.Fatalf("%s: %s: %v", o.name, what, err)
		}
		if got := o.leafs(v)[0]; got != "green" {
			t.Fatalf("%s: %s: a caller sees the change of another: %q", o.name, what, got)
		}
		o.leafs(v)[0] = "red"
	}
	many := func(what string, values map[string]V, err error) {
		t.Helper()
		spoil(what, values["1"], err)
	}

	// The call that loads or stores, and every later call, which is a near-cache hit.
	for what, fill := range map[string]func(){
		"GetOrLoad": func() { v, err := c.GetOrLoad(ctx, "1", load); spoil("the loader's caller", v, err) },
		"GetOrLoadMany": func() {
			got, err := c.GetOrLoadMany(ctx, []string{"1"}, loadMany)
			many("the loader's batch", got, err)
		},
		"Set": func() {
			v := o.make("set")
			err := c.Set(ctx, "1", v)
			spoil("Set", v, err)
		},
		"SetMany": func() {
			v := o.make("set")
			err := c.SetMany(ctx, map[string]V{"1": v})
			spoil("SetMany", v, err)
		},
	} {
		if err := c.Delete(ctx, "1"); err != nil {
			t.Fatal(err)
		}
		fill()
		was := c.Stats().NearHits
		for range 3 {
			v, err := c.Get(ctx, "1")
			spoil("Get after "+what, v, err)
			v, err = c.GetOrLoad(ctx, "1", load)
			spoil("GetOrLoad after "+what, v, err)
			got, err := c.GetMany(ctx, []string{"1"})
			many("GetMany after "+what, got, err)
			got, err = c.GetOrLoadMany(ctx, []string{"1"}, loadMany)
			many("GetOrLoadMany after "+what, got, err)
		}
		if c.Stats().NearHits < was+9 {
			t.Fatalf("%s: after %s there were %d near hits of 12: this shows nothing", o.name, what, c.Stats().NearHits-was)
		}
	}

	// Several callers wait for one load: single calls and a batch, for the load of a single call,
	// of a batch, and a reload.
	type got struct {
		v   V
		err error
	}
	stores := c
	held, err := cache.New[V](client, o.name, cache.Options{HoldDown: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	for _, leader := range []string{"a call", "a batch", "a reload", "a call that stores nothing",
		"a batch that stores nothing"} {
		key, c, storesNothing := leader, stores, strings.HasSuffix(leader, "nothing")
		if storesNothing {
			c = held
			if err := c.Delete(ctx, key); err != nil {
				t.Fatal(err)
			}
		}
		entered, goOn := make(chan struct{}, 10), make(chan struct{})
		var loads atomic.Int64
		slow := func(ctx context.Context, _ string) (V, error) {
			load := fmt.Sprint("load ", loads.Add(1))
			entered <- struct{}{}
			<-goOn
			return o.make(load), nil
		}
		slowMany := func(ctx context.Context, keys []string) (map[string]V, error) {
			v, err := slow(ctx, keys[0])
			return map[string]V{keys[0]: v}, err
		}
		waiting := func() int { return c.Waiting(key) }
		if leader == "a reload" {
			waiting = func() int { return c.Refreshing(key) }
			if err := c.Set(ctx, key, o.make("set"), cache.TTL(shortTTL)); err != nil {
				t.Fatal(err)
			}
			rig.Eventually(t, 10*time.Second, "the entry is stale", func() bool {
				_, err := c.Get(ctx, key)
				return errors.Is(err, cache.ErrNotFound)
			})
		}
		all := make(chan got, 3)
		single := func() {
			v, err := c.GetOrLoad(ctx, key, slow)
			all <- got{v, err}
		}
		batch := func() {
			values, err := c.GetOrLoadMany(ctx, []string{key}, slowMany)
			all <- got{values[key], err}
		}
		if strings.HasPrefix(leader, "a batch") {
			go batch()
		} else {
			go single()
		}
		await(t, "the load", entered)
		go single()
		go batch()
		rig.Eventually(t, 10*time.Second, "all three wait for the load", func() bool { return waiting() == 3 })
		close(goOn)
		// by load: the number of callers with its value, and whether one has the original
		shared, originals := make(map[string]int), make(map[string]bool)
		for range 3 {
			g := await(t, "a caller", all)
			spoil("a caller that waited for the load of "+leader, g.v, g.err)
			load := o.leafs(g.v)[1]
			shared[load]++
			if o.original != nil && o.original(g.v) {
				originals[load] = true
			}
		}
		// The server does not confirm a value that is not stored: a call that joined after the load
		// began loads again (C1). A caller may get the original if no other caller has that load's
		// value.
		for load, callers := range shared {
			if callers > 1 && originals[load] {
				t.Errorf("%s: %d callers have the value of %s of %s, and one of them has the original",
					o.name, callers, load, leader)
			}
		}
		if shared["load 1"] == 0 || !storesNothing && shared["load 1"] != 3 {
			t.Errorf("%s: %v: the callers did not share the load of %s", o.name, shared, leader)
		}
		if !storesNothing {
			v, err := c.Get(ctx, key)
			spoil("a caller after the load of "+leader, v, err)
		}
	}
}

// A stale near-cached entry is served while neither the server nor the source answers. Each caller
// gets its own value.
func TestC3_StaleValuesBelongToTheirCaller(t *testing.T) {
	t.Parallel()
	server, ctx := rig.Standalone(t), t.Context()
	client := dialWith(t, redstart.Config{URL: server.URL(), Namespace: "app", CommandTimeout: downTimeout})
	tree, clone := staleOf(t, client, trees), staleOf(t, client, cloners)
	server.Stop()
	defer server.Continue()
	for range 3 {
		for what, ask := range map[string]func(context.Context) (*string, error){"trees": tree, "cloners": clone} {
			leaf, err := ask(ctx)
			if err != nil || *leaf != "green" {
				t.Fatalf("%s: %q, %v: a caller sees the change of the one before", what, *leaf, err)
			}
			*leaf = "red"
		}
	}
}

// staleOf stores a stale value in the near cache. It returns a call for it with a source that
// fails.
func staleOf[V any](t *testing.T, client *redstart.Client, o owner[V]) func(context.Context) (*string, error) {
	t.Helper()
	c, err := cache.New[V](client, o.name, cache.Options{Near: nearby.Near, StaleFor: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Set(t.Context(), "1", o.make("set"), cache.TTL(time.Second)); err != nil {
		t.Fatal(err)
	}
	rig.Eventually(t, 10*time.Second, "the value is near-cached", func() bool {
		_, err := c.Get(t.Context(), "1")
		return err == nil && c.Stats().NearHits > 0
	})
	rig.Eventually(t, 10*time.Second, "it is stale", func() bool {
		_, err := c.Get(t.Context(), "1")
		return errors.Is(err, cache.ErrNotFound)
	})
	return func(ctx context.Context) (*string, error) {
		var from cache.Source
		v, err := c.GetOrLoad(ctx, "1", func(context.Context, string) (V, error) {
			var none V
			return none, errAway
		}, cache.From(&from))
		if err == nil && from != cache.FromStale {
			err = fmt.Errorf("from %v", from)
		}
		if err != nil {
			return new(string), err
		}
		return &o.leafs(v)[0], nil
	}
}

// With Near.Shared, all hits return the same value.
func TestC3_SharedIsNotCopied(t *testing.T) {
	t.Parallel()
	server := rig.Shared(t)
	ctx := t.Context()
	c, err := cache.New[[]string](dial(t, server.URL(), rig.Prefix(t)), "shared",
		cache.Options{Near: cache.NearOptions{MaxEntries: 10, Shared: true}})
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Set(ctx, "1", []string{"green"}); err != nil {
		t.Fatal(err)
	}
	var last []string
	rig.Eventually(t, 10*time.Second, "two hits of the same value", func() bool {
		v, err := c.Get(ctx, "1")
		if err != nil {
			t.Fatal(err)
		}
		same := last != nil && &v[0] == &last[0]
		last = v
		return same
	})
}
