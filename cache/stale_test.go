package cache_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redstart-go/redstart"
	"github.com/redstart-go/redstart/cache"
	"github.com/redstart-go/redstart/internal/rig"
	"github.com/redstart-go/redstart/internal/rig/rigclient"
)

// embeddedEngine returns an engine whose clock the test moves.
func embeddedEngine(t *testing.T) rig.Engine {
	t.Helper()
	e := rig.Engine{Embedded: rig.Embedded(t), Namespace: rig.Prefix(t)}
	e.URL = e.Embedded.URL()
	return e
}

// shortTTL is the TTL of entries that become stale in a test.
const shortTTL = 150 * time.Millisecond

func isStale(t *testing.T, c *cache.Cache[user], key string) {
	t.Helper()
	rig.Eventually(t, 10*time.Second, "the entry is stale", func() bool {
		_, err := c.Get(t.Context(), key)
		return errors.Is(err, cache.ErrNotFound)
	})
}

func TestStaleWhileRevalidate(t *testing.T) {
	t.Parallel()
	rig.Engines(t, func(t *testing.T, e rig.Engine) {
		ctx := t.Context()
		opts := cache.Options{StaleFor: time.Hour, EarlyRefresh: cache.NoEarlyRefresh}
		a, b := open(t, e, opts), open(t, e, opts)
		if err := a.Set(ctx, "1", before, cache.TTL(shortTTL)); err != nil {
			t.Fatal(err)
		}
		isStale(t, a, "1")
		g := newGate()
		for i := range 20 { // all are served at once, and one reloads
			c := a
			if i%2 == 1 {
				c = b
			}
			if v, err := c.GetOrLoad(ctx, "1", g.load); err != nil || v != before {
				t.Fatal(v, err)
			}
		}
		await(t, "the reload", g.entered)
		g.release <- answer{value: after}
		rig.Eventually(t, 5*time.Second, "the new value", func() bool {
			v, err := b.Get(ctx, "1")
			return err == nil && v == after
		})
		if len(g.entered) != 0 {
			t.Fatalf("%d more loads", len(g.entered))
		}
		if s, r := a.Stats(), b.Stats(); s.Stale+r.Stale == 0 || s.Refreshes+r.Refreshes != 1 {
			t.Fatalf("%+v\n%+v", s, r)
		}
	})
}

func TestStaleOnError(t *testing.T) {
	t.Parallel()
	rig.Engines(t, func(t *testing.T, e rig.Engine) {
		ctx := t.Context()
		c := open(t, e, cache.Options{StaleFor: time.Hour, SoftTimeout: 5 * time.Second})
		if err := c.Set(ctx, "1", before, cache.TTL(shortTTL)); err != nil {
			t.Fatal(err)
		}
		isStale(t, c, "1")
		for name, load := range map[string]cache.Loader[user]{
			"error": func(context.Context, string) (user, error) { return user{}, errors.New("the database is away") },
			"panic": func(context.Context, string) (user, error) { panic("boom") },
		} {
			if v, err := c.GetOrLoad(ctx, "1", load); err != nil || v != before {
				t.Fatalf("%s: %v, %v", name, v, err)
			}
		}
		gone := func(context.Context, string) (user, error) { return user{}, cache.ErrNotFound }
		// An earlier call may have left a reload running, with the other loader: this call joins
		// it.
		rig.Eventually(t, 5*time.Second, "a value that the source has lost is gone", func() bool {
			_, err := c.GetOrLoad(ctx, "1", gone)
			return errors.Is(err, cache.ErrNotFound)
		})
		if v, err := c.GetOrLoad(ctx, "1", constant(after, new(int))); err != nil || v != after {
			t.Fatalf("a stale value outlived its source: %v, %v", v, err)
		}
	})
}

func TestSoftTimeout(t *testing.T) {
	t.Parallel()
	rig.Engines(t, func(t *testing.T, e rig.Engine) {
		ctx := t.Context()
		c := open(t, e, cache.Options{StaleFor: time.Hour, SoftTimeout: 30 * time.Millisecond})
		if err := c.Set(ctx, "1", before, cache.TTL(shortTTL)); err != nil {
			t.Fatal(err)
		}
		isStale(t, c, "1")
		g := newGate()
		if v, err := c.GetOrLoad(ctx, "1", g.load); err != nil || v != before { // the reload is too slow
			t.Fatal(v, err)
		}
		await(t, "the reload", g.entered)
		g.release <- answer{value: after}
		rig.Eventually(t, 5*time.Second, "the reload continues", func() bool {
			v, err := c.Get(ctx, "1")
			return err == nil && v == after
		})
	})
}

// An invalidation overtakes a refresh. The refresh stores nothing, and a deleted entry is not
// served stale.
func TestC1_RefreshIsOvertaken(t *testing.T) {
	t.Parallel()
	rig.Engines(t, func(t *testing.T, e rig.Engine) {
		for _, near := range []int{0, 10} {
			ctx := t.Context()
			c := open(t, e, cache.Options{StaleFor: time.Hour, Near: cache.NearOptions{MaxEntries: near}})
			warm(t, c)
			if err := c.Set(ctx, "1", before, cache.TTL(shortTTL)); err != nil {
				t.Fatal(err)
			}
			isStale(t, c, "1")
			g := newGate()
			if v, err := c.GetOrLoad(ctx, "1", g.load); err != nil || v != before {
				t.Fatal(v, err)
			}
			await(t, "the refresh", g.entered)
			if err := c.Delete(ctx, "1"); err != nil {
				t.Fatal(err)
			}
			g.release <- answer{value: before}
			rig.Eventually(t, 5*time.Second, "the refresh learns that it was overtaken",
				func() bool { return c.Stats().LeaseLost == 1 })
			if v, err := c.GetOrLoad(ctx, "1", constant(after, new(int))); err != nil || v != after {
				t.Fatalf("near %d: a stale value after Delete: %v, %v", near, v, err)
			}
			if err := c.Delete(ctx, "1"); err != nil {
				t.Fatal(err)
			}
		}
	})
}

// An entry whose load took an hour is refreshed before its TTL of an hour ends, and one whose load
// took no time is not. The entry holds the duration, so that the test need not wait.
func TestEarlyRefresh(t *testing.T) {
	t.Parallel()
	rig.Engines(t, func(t *testing.T, e rig.Engine) {
		for _, near := range []cache.NearOptions{{}, nearby.Near} {
			for _, many := range []bool{false, true} {
				ctx := t.Context()
				client := dial(t, e.URL, e.Namespace)
				// not at once, with a probability of 1 %
				c := on(t, client, cache.Options{TTL: time.Hour, Jitter: cache.NoJitter, EarlyRefresh: 100, Near: near})
				load := constantLocked(after)
				get := func() user {
					t.Helper()
					if !many {
						v, err := c.GetOrLoad(ctx, "1", load)
						if err != nil {
							t.Fatal(err)
						}
						return v
					}
					got, err := c.GetOrLoadMany(ctx, []string{"1"}, func(context.Context, []string) (map[string]user, error) {
						return map[string]user{"1": after}, nil
					})
					if err != nil {
						t.Fatal(err)
					}
					return got["1"]
				}
				if err := c.Set(ctx, "1", before); err != nil {
					t.Fatal(err)
				}
				for range 20 {
					if v := get(); v != before {
						t.Fatalf("%v: an entry whose load took no time was refreshed", v)
					}
				}
				r := raw{t, rigclient.Redis(t, client), e.Namespace + ":cache:users:{1}"}
				r.edit(at(28, binary.BigEndian.AppendUint32(nil, uint32(time.Hour.Milliseconds()))...))
				rig.Eventually(t, 10*time.Second, "a refresh before the TTL has ended", func() bool { return get() == after })
				if s := c.Stats(); s.Refreshes == 0 || s.Loads != s.Refreshes || s.Misses != 0 {
					t.Fatalf("%+v", s)
				}
			}
		}
	})
}

// The error of a refresh in the background is logged, because no caller gets it.
func TestAFailedRefreshIsLogged(t *testing.T) {
	t.Parallel()
	e := embeddedEngine(t)
	ctx := t.Context()
	log := &lockedBuffer{}
	client := dialWith(t, redstart.Config{URL: e.URL, Namespace: e.Namespace,
		CommandTimeout: 10 * time.Second, Logger: slog.New(slog.NewTextHandler(log, nil))})
	c := on(t, client, cache.Options{StaleFor: time.Hour, EarlyRefresh: cache.NoEarlyRefresh, MaxValueBytes: 100})
	clockOf(c)
	large := user{Name: strings.Repeat("a", 200)}
	says := func(what string, words ...string) {
		t.Helper()
		rig.Eventually(t, 10*time.Second, what+" is logged", func() bool {
			text := log.String()
			for _, word := range append(words, "cache=users", "level=WARN") {
				if !strings.Contains(text, word) {
					return false
				}
			}
			return true
		})
		log.Reset()
	}
	for key, load := range map[string]cache.Loader[user]{
		"away": func(context.Context, string) (user, error) { return user{}, errAway },
		"boom": func(context.Context, string) (user, error) { panic("boom") },
	} {
		for _, many := range []bool{false, true} {
			key := fmt.Sprint(key, many)
			if err := c.Set(ctx, key, before, cache.TTL(shortTTL)); err != nil {
				t.Fatal(err)
			}
			isLongStale(t, c, key)
			if many {
				got, err := c.GetOrLoadMany(ctx, []string{key},
					func(ctx context.Context, keys []string) (map[string]user, error) {
						_, err := load(ctx, keys[0])
						return nil, err
					})
				if err != nil || got[key] != before {
					t.Fatal(got, err)
				}
			} else if v, err := c.GetOrLoad(ctx, key, load); err != nil || v != before {
				t.Fatal(v, err)
			}
			says("the failure of "+key, "a refresh failed", key[:4])
		}
	}
	if v, err := c.GetOrLoad(ctx, "large", constantLocked(large)); err != nil || v != large {
		t.Fatal(v, err)
	}
	says("a value that can't be stored", "can't be stored", "Options.MaxValueBytes")
	if _, err := c.GetOrLoadMany(ctx, []string{"larger"}, func(context.Context, []string) (map[string]user, error) {
		return map[string]user{"larger": large}, nil
	}); err != nil {
		t.Fatal(err)
	}
	if s := c.Stats(); s.NotStored != 2 || log.String() != "" {
		t.Fatalf("%d were not stored, want 2; only the first is logged: %s", s.NotStored, log)
	}
}

// lockedBuffer is a log that a test reads while it is written.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

func (b *lockedBuffer) Reset() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.b.Reset()
}

func constantLocked(v user) cache.Loader[user] {
	return func(context.Context, string) (user, error) { return v, nil }
}
