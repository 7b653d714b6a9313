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
	make     func() V
	leaf     func(V) *string
	original func(V) bool // if it can be told
}

var (
	trees = owner[*tree]{
		name: "trees", make: func() *tree { return &tree{Leafs: []string{"green"}} }, leaf: func(v *tree) *string { return &v.Leafs[0] },
	}
	cloners = owner[cloner]{
		name: "cloners", make: func() cloner { return cloner{Leafs: []string{"green"}} }, leaf: func(v cloner) *string { return &v.Leafs[0] },
		original: func(v cloner) bool { return v.clones == 0 },
	}
	lists = owner[[]string]{
		name: "lists", make: func() []string { return []string{"green"} }, leaf: func(v []string) *string { return &v[0] },
	}
)

// Who changes what he got changes it for himself: what is near, what several callers wait for, what is served stale, and what comes with a batch is
// each caller's own. By a fresh decode, or by Clone.
func TestC3_NobodyCorruptsTheValueForOthers(t *testing.T) {
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
		Near: cache.NearOptions{MaxEntries: 1000}, StaleFor: time.Hour, SoftTimeout: 30 * time.Second, EarlyRefresh: cache.NoEarlyRefresh,
	})
	if err != nil {
		t.Fatal(err)
	}
	load := func(context.Context, string) (V, error) { return o.make(), nil }
	loadMany := func(_ context.Context, keys []string) (map[string]V, error) {
		values := make(map[string]V)
		for _, key := range keys {
			values[key] = o.make()
		}
		return values, nil
	}
	spoil := func(what string, v V, err error) {
		t.Helper()
		if err != nil {
			t.Fatalf("%s: %s: %v", o.name, what, err)
		}
		if got := *o.leaf(v); got != "green" {
			t.Fatalf("%s: %s: a caller sees what another wrote into his: %q", o.name, what, got)
		}
		*o.leaf(v) = "red"
	}
	many := func(what string, values map[string]V, err error) {
		t.Helper()
		spoil(what, values["1"], err)
	}

	// Whoever loads, and whoever comes after: by every call, near by then.
	for what, fill := range map[string]func(){
		"GetOrLoad": func() { v, err := c.GetOrLoad(ctx, "1", load); spoil("the loader's caller", v, err) },
		"GetOrLoadMany": func() {
			got, err := c.GetOrLoadMany(ctx, []string{"1"}, loadMany)
			many("the loader's batch", got, err)
		},
		"Set": func() {
			v := o.make()
			err := c.Set(ctx, "1", v)
			spoil("Set", v, err)
		},
		"SetMany": func() {
			v := o.make()
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

	// Several who wait for one load: single calls and a batch, in a flight of a single call and in one of a batch; and for the reload of what is stale.
	type got struct {
		v   V
		err error
	}
	stores := c
	held, err := cache.New[V](client, o.name, cache.Options{HoldDown: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	for _, leader := range []string{"a call", "a batch", "a reload", "a call that stores nothing", "a batch that stores nothing"} {
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
			loads.Add(1)
			entered <- struct{}{}
			<-goOn
			return o.make(), nil
		}
		slowMany := func(ctx context.Context, keys []string) (map[string]V, error) {
			loads.Add(1)
			entered <- struct{}{}
			<-goOn
			return loadMany(ctx, keys)
		}
		waiting := func() int { return c.Waiting(key) }
		if leader == "a reload" {
			waiting = func() int { return c.Refreshing(key) }
			if err := c.Set(ctx, key, o.make(), cache.TTL(shortTTL)); err != nil {
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
		originals := int64(0)
		for range 3 {
			g := await(t, "a caller", all)
			if g.err == nil && o.original != nil && o.original(g.v) {
				originals++
			}
			// What is not stored is not confirmed by the server: those who came after the load began load again (C1), and one who does so
			// alone has the original of a load of its own.
			if originals > loads.Load()-1 {
				t.Fatalf("%s: one of those who waited for the load of %s has the original, which others copy meanwhile", o.name, leader)
			}
			spoil("who waited for the load of "+leader, g.v, g.err)
		}
		if !storesNothing {
			v, err := c.Get(ctx, key)
			spoil("who came after the load of "+leader, v, err)
		}
	}
}

// What is stale and near is served when neither the server nor the source is there: to each caller his own.
func TestC3_NobodyCorruptsWhatIsStale(t *testing.T) {
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
				t.Fatalf("%s: %q, %v: what is stale was spoilt by the caller before", what, *leaf, err)
			}
			*leaf = "red"
		}
	}
}

// staleOf brings a value near that has become stale, and returns what asks for it with a source that fails.
func staleOf[V any](t *testing.T, client *redstart.Client, o owner[V]) func(context.Context) (*string, error) {
	t.Helper()
	c, err := cache.New[V](client, o.name, cache.Options{Near: nearby.Near, StaleFor: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Set(t.Context(), "1", o.make(), cache.TTL(time.Second)); err != nil {
		t.Fatal(err)
	}
	rig.Eventually(t, 10*time.Second, "it comes near", func() bool {
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
		return o.leaf(v), nil
	}
}

// With Near.Shared a hit is the very value that others have.
func TestC3_SharedIsNotCopied(t *testing.T) {
	t.Parallel()
	server := rig.Shared(t)
	ctx := t.Context()
	c, err := cache.New[[]string](dial(t, server.URL(), rig.Prefix(t)), "shared", cache.Options{Near: cache.NearOptions{MaxEntries: 10, Shared: true}})
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
