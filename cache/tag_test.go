package cache_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/redstart-go/redstart/cache"
	"github.com/redstart-go/redstart/internal/rig"
	"github.com/redstart-go/redstart/internal/rig/rigclient"
)

func TestInvalidateTags(t *testing.T) {
	t.Parallel()
	rig.Engines(t, func(t *testing.T, e rig.Engine) {
		for _, opts := range []cache.Options{{}, nearby} {
			ctx := t.Context()
			c := open(t, e, opts)
			set := func(key string, tags ...string) {
				t.Helper()
				if err := c.Set(ctx, key, before, cache.Tags(tags...)); err != nil {
					t.Fatal(err)
				}
			}
			set("a", "red")
			set("b", "red", "blue", "red")
			set("c", "blue")
			if err := c.Set(ctx, "none", before); err != nil {
				t.Fatal(err)
			}
			adjusted := func(ctx context.Context, _ string) (user, error) {
				cache.Adjust(ctx, cache.Tags("blue", "red"), cache.TTL(time.Hour))
				return before, nil
			}
			if err := c.Delete(ctx, "d"); err != nil {
				t.Fatal(err)
			}
			if _, err := c.GetOrLoad(ctx, "d", adjusted, cache.Tags("blue")); err != nil {
				t.Fatal(err)
			}
			expect := func(when string, keys string) {
				t.Helper()
				for range 2 {
					many, err := c.GetMany(ctx, []string{"a", "b", "c", "d", "none"})
					if err != nil {
						t.Fatal(err)
					}
					for _, key := range []string{"a", "b", "c", "d", "none"} {
						_, err := c.Get(ctx, key)
						_, inMany := many[key]
						if want := strings.Contains(keys, key); (err == nil) != want || inMany != want {
							t.Fatalf("%s: %s: %v, in GetMany %v", when, key, err, inMany)
						}
					}
				}
			}
			expect("before", "a b c d none")
			if err := c.InvalidateTags(ctx, "red"); err != nil {
				t.Fatal(err)
			}
			expect("after red", "c none")
			set("a", "red")
			expect("stored again", "a c none")
			if err := c.InvalidateTags(ctx, "blue", "red"); err != nil {
				t.Fatal(err)
			}
			expect("after both", "none")
			if err := c.Clear(ctx); err != nil {
				t.Fatal(err)
			}
			expect("after Clear", "")
		}
	})
}

// The generation of a tag or of the cache is evicted. Its entries are misses and stay misses.
func TestC6_ALostGenerationRevivesNothing(t *testing.T) {
	t.Parallel()
	rig.Engines(t, func(t *testing.T, e rig.Engine) {
		for _, record := range []string{"{tag}:tag", "{%}:clear"} {
			ctx := t.Context()
			client := dial(t, e.URL, e.Namespace)
			c := on(t, client, nearby)
			if err := c.Set(ctx, "1", before, cache.Tags("tag")); err != nil {
				t.Fatal(err)
			}
			if _, err := c.Get(ctx, "1"); err != nil {
				t.Fatal(err)
			}
			if err := c.InvalidateTags(ctx, "tag"); err != nil {
				t.Fatal(err)
			}
			r := rigclient.Redis(t, client)
			if err := r.Do(ctx, r.B().Del().Key(e.Namespace+":cache:users:"+record).Build()).Error(); err != nil {
				t.Fatal(err)
			}
			for _, other := range []*cache.Cache[user]{c, open(t, e, nearby)} {
				for range 3 {
					if v, err := other.Get(ctx, "1"); !errors.Is(err, cache.ErrNotFound) {
						t.Fatalf("%s: revived: %v, %v", record, v, err)
					}
				}
			}
			// Lost without an earlier invalidation, they are misses after the push too.
			if err := c.Set(ctx, "2", before, cache.Tags("tag")); err != nil {
				t.Fatal(err)
			}
			if err := r.Do(ctx, r.B().Del().Key(e.Namespace+":cache:users:"+record).Build()).Error(); err != nil {
				t.Fatal(err)
			}
			rig.Eventually(t, 5*time.Second, "a miss", func() bool {
				_, err := c.Get(ctx, "2")
				return errors.Is(err, cache.ErrNotFound)
			})
			if err := c.InvalidateTags(ctx, "tag"); err != nil {
				t.Fatal(err)
			}
		}
	})
}

// Generations live as long as their entries, also if the TTL of a call is longer than all before.
func TestGenerationsOutliveTheirEntries(t *testing.T) {
	t.Parallel()
	e := embeddedEngine(t)
	ctx := t.Context()
	c := open(t, e, cache.Options{Jitter: cache.NoJitter})
	if err := c.Set(ctx, "1", before, cache.Tags("tag")); err != nil {
		t.Fatal(err)
	}
	if err := c.Set(ctx, "2", before, cache.Tags("tag"), cache.TTL(30*24*time.Hour)); err != nil {
		t.Fatal(err)
	}
	e.Embedded.Advance(29 * 24 * time.Hour)
	if _, err := c.Get(ctx, "2"); err != nil {
		t.Fatalf("a generation ended before its entry: %v", err)
	}
}

// The same holds if generations are read from memory: the server gets the longer TTL.
func TestGenerationsInMemoryOutliveTheirEntries(t *testing.T) {
	t.Parallel()
	rig.Engines(t, func(t *testing.T, e rig.Engine) {
		ctx := t.Context()
		client := dial(t, e.URL, e.Namespace)
		c := on(t, client, cache.Options{Jitter: cache.NoJitter})
		for _, long := range []time.Duration{time.Minute, 20 * 24 * time.Hour} { // without tags
			if err := c.Set(ctx, "none", before, cache.TTL(long)); err != nil {
				t.Fatal(err)
			}
			r := rigclient.Redis(t, client)
			left, err := r.Do(ctx, r.B().Pttl().Key(e.Namespace+":cache:users:{%}:clear").Build()).AsInt64()
			if err != nil || time.Duration(left)*time.Millisecond < long-time.Minute {
				t.Errorf("Set for %v: the cache's generation lives for %d ms, %v", long, left, err)
			}
		}
		for _, long := range []time.Duration{time.Minute, 30 * 24 * time.Hour} {
			for what, store := range map[string]func() error{
				"Set": func() error { return c.Set(ctx, "1", before, cache.Tags("set"), cache.TTL(long)) },
				"GetOrLoad": func() error {
					_, err := c.GetOrLoad(ctx, "l"+long.String(), constantLocked(before), cache.Tags("load"), cache.TTL(long))
					return err
				},
				"Adjust": func() error {
					_, err := c.GetOrLoad(ctx, "a"+long.String(), func(ctx context.Context, _ string) (user, error) {
						cache.Adjust(ctx, cache.Tags("adjust"))
						return before, nil
					}, cache.TTL(long))
					return err
				},
			} {
				if err := store(); err != nil {
					t.Fatal(err)
				}
				tag := map[string]string{"Set": "set", "GetOrLoad": "load", "Adjust": "adjust"}[what]
				for _, record := range []string{"{" + tag + "}:tag", "{%}:clear"} {
					r := rigclient.Redis(t, client)
					left, err := r.Do(ctx, r.B().Pttl().Key(e.Namespace+":cache:users:"+record).Build()).AsInt64()
					if err != nil {
						t.Fatal(err)
					}
					if left := time.Duration(left) * time.Millisecond; left < long-time.Minute {
						t.Errorf("%s for %v: %s lives for %v", what, long, record, left)
					}
				}
			}
		}
	})
}

func TestTagInput(t *testing.T) {
	t.Parallel()
	e := embeddedEngine(t)
	ctx := t.Context()
	c := open(t, e, cache.Options{})
	many := make([]string, 33)
	for i := range many {
		many[i] = fmt.Sprint(i)
	}
	for name, err := range map[string]error{
		"empty":    c.Set(ctx, "1", before, cache.Tags("")),
		"long":     c.Set(ctx, "1", before, cache.Tags(strings.Repeat("t", 256))),
		"too many": c.Set(ctx, "1", before, cache.Tags(many...)),
		"invalid":  c.InvalidateTags(ctx, "ok", ""),
	} {
		if err == nil || !strings.HasPrefix(err.Error(), "cache: ") {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := c.GetOrLoad(ctx, "1", func(ctx context.Context, _ string) (user, error) {
		cache.Adjust(ctx, cache.TTL(-1))
		return before, nil
	}); err == nil || !strings.Contains(err.Error(), "Adjust") {
		t.Errorf("a bad Adjust: %v", err)
	}
	cache.Adjust(ctx, cache.TTL(1)) // outside of a loader it has no effect
}

func TestDeletePrefix(t *testing.T) {
	t.Parallel()
	rig.Engines(t, func(t *testing.T, e rig.Engine) {
		if e.Name == "acl" {
			return // see TestC1_NoStaleSet
		}
		for _, opts := range []cache.Options{{}, nearby} {
			ctx := t.Context()
			c := open(t, e, opts)
			values := map[string]user{"user:*:a": before, "user:[1]:a": before, "user:?": before}
			size := 1500 // more than one step of a SCAN and one pipeline
			for i := range size {
				values[fmt.Sprintf("user:%d:%d", i%3, i)] = before
			}
			if err := c.SetMany(ctx, values); err != nil {
				t.Fatal(err)
			}
			other, err := cache.New[user](dial(t, e.URL, e.Namespace), "usersX", cache.Options{})
			if err != nil {
				t.Fatal(err)
			}
			if err := other.Set(ctx, "user:1:1", before); err != nil {
				t.Fatal(err)
			}
			keys := make([]string, 0, len(values))
			for key := range values {
				keys = append(keys, key)
			}
			check := func(prefix string, dead func(key string) bool) {
				t.Helper()
				if err := c.DeletePrefix(ctx, prefix); err != nil {
					t.Fatal(err)
				}
				got, err := c.GetMany(ctx, keys)
				if err != nil {
					t.Fatal(err)
				}
				for _, key := range keys {
					if _, ok := got[key]; ok == dead(key) {
						t.Fatalf("DeletePrefix(%q): %q: there %v", prefix, key, ok)
					}
				}
			}
			check("user:*", func(key string) bool { return key == "user:*:a" })
			check("user:[", func(key string) bool { return strings.HasPrefix(key, "user:*") || strings.HasPrefix(key, "user:[") })
			check("user:1:", func(key string) bool {
				return strings.HasPrefix(key, "user:*") || strings.HasPrefix(key, "user:[") || strings.HasPrefix(key, "user:1:")
			})
			check("", func(string) bool { return true })
			if _, err := other.Get(ctx, "user:1:1"); err != nil {
				t.Fatalf("another cache lost its entry: %v", err)
			}
		}
	})
}
