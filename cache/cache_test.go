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

func TestGetSetDelete(t *testing.T) {
	t.Parallel()
	rig.Engines(t, func(t *testing.T, e rig.Engine) {
		ctx := t.Context()
		c := open(t, e, cache.Options{})
		for _, key := range []string{"1", "", "a:b{c}*?[d]", "\x00\xff", "%", strings.Repeat("k", 1024)} {
			if _, err := c.Get(ctx, key); !errors.Is(err, cache.ErrNotFound) {
				t.Fatalf("%q: got %v before anything was stored", key, err)
			}
			want := user{ID: key[:min(len(key), 1)], Name: "Ada", Version: 1}
			want.ID = "x"
			if err := c.Set(ctx, key, want); err != nil {
				t.Fatal(err)
			}
			if got, err := c.Get(ctx, key); err != nil || got != want {
				t.Fatalf("%q: got %v, %v, want %v", key, got, err, want)
			}
			if got, err := c.GetOrLoad(ctx, key, forbidden(t)); err != nil || got != want {
				t.Fatalf("%q: got %v, %v, want %v", key, got, err, want)
			}
			if err := c.Delete(ctx, key); err != nil {
				t.Fatal(err)
			}
			if _, err := c.Get(ctx, key); !errors.Is(err, cache.ErrNotFound) {
				t.Fatalf("%q: got %v after Delete", key, err)
			}
		}
	})
}

func TestGetOrLoadStores(t *testing.T) {
	t.Parallel()
	rig.Engines(t, func(t *testing.T, e rig.Engine) {
		ctx := t.Context()
		a, b := open(t, e, cache.Options{}), open(t, e, cache.Options{})
		want := user{ID: "1", Name: "Ada"}
		loads := 0
		for range 3 {
			for _, c := range []*cache.Cache[user]{a, b} {
				if got, err := c.GetOrLoad(ctx, "1", constant(want, &loads)); err != nil || got != want {
					t.Fatalf("got %v, %v", got, err)
				}
			}
		}
		if loads != 1 {
			t.Fatalf("%d loads, want 1", loads)
		}
	})
}

func TestTTL(t *testing.T) {
	t.Parallel()
	e := rig.Engine{Embedded: rig.Embedded(t), Namespace: rig.Prefix(t)}
	e.URL = e.Embedded.URL()
	c := open(t, e, cache.Options{TTL: time.Minute, Jitter: cache.NoJitter})
	ctx := t.Context()
	loads := 0
	get := func(opts ...cache.CallOption) {
		t.Helper()
		if _, err := c.GetOrLoad(ctx, "1", constant(user{}, &loads), opts...); err != nil {
			t.Fatal(err)
		}
	}
	get()
	e.Embedded.Advance(59 * time.Second)
	get()
	if loads != 1 {
		t.Fatalf("%d loads within the TTL", loads)
	}
	e.Embedded.Advance(2 * time.Second)
	get(cache.TTL(time.Hour))
	e.Embedded.Advance(30 * time.Minute)
	get()
	if loads != 2 {
		t.Fatalf("%d loads, want 2: the option of the call did not replace the TTL", loads)
	}
	e.Embedded.Advance(31 * time.Minute)
	get()
	if loads != 3 {
		t.Fatalf("%d loads, want 3", loads)
	}
}

func TestBadInput(t *testing.T) {
	t.Parallel()
	server := rig.Embedded(t)
	client := dial(t, server.URL(), rig.Prefix(t))
	for name, try := range map[string]func() error{
		"nil client":  func() error { _, err := cache.New[user](nil, "x", cache.Options{}); return err },
		"empty name":  func() error { _, err := cache.New[user](client, "", cache.Options{}); return err },
		"long name":   func() error { _, err := cache.New[user](client, strings.Repeat("n", 129), cache.Options{}); return err },
		"TTL":         func() error { _, err := cache.New[user](client, "x", cache.Options{TTL: -1}); return err },
		"NegativeTTL": func() error { _, err := cache.New[user](client, "x", cache.Options{NegativeTTL: -1}); return err },
		"LoadTimeout": func() error {
			_, err := cache.New[user](client, "x", cache.Options{LoadTimeout: time.Nanosecond})
			return err
		},
		"HoldDown":      func() error { _, err := cache.New[user](client, "x", cache.Options{HoldDown: -1}); return err },
		"Jitter":        func() error { _, err := cache.New[user](client, "x", cache.Options{Jitter: 1.5}); return err },
		"MaxValueBytes": func() error { _, err := cache.New[user](client, "x", cache.Options{MaxValueBytes: -1}); return err },
		"TTL of a call": func() error { return on(t, client, cache.Options{}).Set(t.Context(), "k", user{}, cache.TTL(-1)) },
		"zero option":   func() error { return on(t, client, cache.Options{}).Set(t.Context(), "k", user{}, cache.CallOption{}) },
		"over-long key": func() error {
			return on(t, client, cache.Options{}).Set(t.Context(), strings.Repeat("k", 1025), user{})
		},
		"nil loader":     func() error { _, err := on(t, client, cache.Options{}).GetOrLoad(t.Context(), "k", nil); return err },
		"value over cap": func() error { return on(t, client, cache.Options{MaxValueBytes: 10}).Set(t.Context(), "k", user{}) },
	} {
		err := try()
		if err == nil {
			t.Errorf("%s: no error", name)
			continue
		}
		if !strings.HasPrefix(err.Error(), "cache: ") {
			t.Errorf("%s: %q does not name the package", name, err)
		}
		if word, _, _ := strings.Cut(name, " "); strings.ToUpper(word[:1]) == word[:1] && !strings.Contains(err.Error(), word) {
			t.Errorf("%s: %q does not name the field", name, err)
		}
	}
	if _, err := on(t, client, cache.Options{}).Get(t.Context(), "k"); !errors.Is(err, cache.ErrNotFound) {
		t.Errorf("bad input changed something: %v", err)
	}
	err := on(t, client, cache.Options{MaxValueBytes: 10}).Set(t.Context(), "k", user{})
	if !errors.Is(err, redstart.ErrTooLarge) {
		t.Errorf("got %v, want ErrTooLarge", err)
	}
}

func TestCompression(t *testing.T) {
	t.Parallel()
	rig.Engines(t, func(t *testing.T, e rig.Engine) {
		ctx := t.Context()
		client := dial(t, e.URL, e.Namespace)
		for _, opts := range []cache.Options{{CompressAbove: 100}, {CompressAbove: 100, Near: nearby.Near},
			{CompressAbove: cache.NoCompression}} {
			c := on(t, client, opts)
			want := user{Name: strings.Repeat("Ada ", 1000)}
			if err := c.Set(ctx, "1", want); err != nil {
				t.Fatal(err)
			}
			r := rigclient.Redis(t, client)
			size, err := r.Do(ctx, r.B().Strlen().Key(e.Namespace+":cache:users:{1}").Build()).AsInt64()
			if err != nil {
				t.Fatal(err)
			}
			if compressed := size < 1000; compressed != (opts.CompressAbove == 100) {
				t.Fatalf("%d bytes with CompressAbove %d", size, opts.CompressAbove)
			}
			for range 3 {
				if v, err := c.Get(ctx, "1"); err != nil || v != want {
					t.Fatal(len(v.Name), err)
				}
			}
			if many, err := c.GetMany(ctx, []string{"1"}); err != nil || many["1"] != want {
				t.Fatal(len(many), err)
			}
		}
	})
}

// A value above MaxValueBytes is returned and not stored, and its lease is released.
func TestC5_TooLargeToStore(t *testing.T) {
	t.Parallel()
	rig.Engines(t, func(t *testing.T, e rig.Engine) {
		ctx := t.Context()
		c := open(t, e, cache.Options{MaxValueBytes: 100, LoadTimeout: time.Hour})
		large := user{Name: strings.Repeat("a", 200)}
		loads := 0
		for range 2 {
			if v, err := c.GetOrLoad(ctx, "1", constant(large, &loads)); err != nil || v != large {
				t.Fatal(len(v.Name), err)
			}
		}
		if s := c.Stats(); loads != 2 || s.NotStored != 2 {
			t.Fatalf("%d loads, %+v", loads, s)
		}
		if err := c.SetMany(ctx, map[string]user{"2": before, "3": large}); !errors.Is(err, redstart.ErrTooLarge) {
			t.Fatal(err)
		}
		if _, err := c.Get(ctx, "2"); !errors.Is(err, cache.ErrNotFound) {
			t.Fatalf("a bad value changed something: %v", err)
		}
	})
}

func TestA4_EverythingExpires(t *testing.T) {
	t.Parallel()
	server := rig.Standalone(t)
	client := dial(t, server.URL(), "app")
	ctx := t.Context()
	c := on(t, client, cache.Options{HoldDown: time.Minute, NegativeTTL: time.Minute, StaleFor: time.Minute, Near: nearby.Near})
	g := newGate()
	loading := begin(ctx, c, "loading", g.load, cache.Tags("tag"))
	await(t, "the load", g.entered)
	if err := errors.Join(c.Set(ctx, "set", before, cache.Tags("a")), c.Delete(ctx, "deleted"),
		c.InvalidateTags(ctx, "b"), c.SetMany(ctx, map[string]user{"m": before})); err != nil {
		t.Fatal(err)
	}
	c.GetOrLoad(ctx, "none", func(context.Context, string) (user, error) { return user{}, cache.ErrNotFound })
	keys := strings.Fields(server.CLI("KEYS", "*"))
	if len(keys) < 8 {
		t.Fatalf("only %v", keys)
	}
	for _, key := range keys {
		if ttl := strings.TrimSpace(server.CLI("PTTL", key)); strings.HasPrefix(ttl, "-") {
			t.Errorf("%s: PTTL %s", key, ttl)
		}
	}
	g.release <- answer{value: before}
	await(t, "the caller", loading)
}

func TestA6_ScriptFlush(t *testing.T) {
	t.Parallel()
	server := rig.Standalone(t)
	c := on(t, dial(t, server.URL(), "app"), cache.Options{})
	ctx := t.Context()
	for i := range 3 {
		key := fmt.Sprint(i)
		server.CLI("SCRIPT", "FLUSH")
		if v, err := c.GetOrLoad(ctx, key, func(context.Context, string) (user, error) {
			server.CLI("SCRIPT", "FLUSH")
			return before, nil
		}, cache.Tags("tag")); err != nil || v != before {
			t.Fatal(v, err)
		}
		if v, err := c.GetOrLoad(ctx, key, forbidden(t)); err != nil || v != before {
			t.Fatal(v, err)
		}
		server.CLI("SCRIPT", "FLUSH")
		if _, err := c.GetOrLoadMany(ctx, []string{key + "a", key + "b"},
			func(context.Context, []string) (map[string]user, error) {
				return map[string]user{key + "a": before}, nil
			}); err != nil {
			t.Fatal(err)
		}
	}
}
