package inspect_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/redstart-go/redstart"
	"github.com/redstart-go/redstart/cache"
	"github.com/redstart-go/redstart/codec"
	"github.com/redstart-go/redstart/inspect"
	"github.com/redstart-go/redstart/internal/clientcore"
	"github.com/redstart-go/redstart/internal/core"
	"github.com/redstart-go/redstart/internal/rig"
)

func newCache(t testing.TB, client *redstart.Client, name string, opts cache.Options) *cache.Cache[string] {
	t.Helper()
	c, err := cache.New[string](client, name, opts)
	must(t, err)
	t.Cleanup(func() { must(t, c.Close()) })
	return c
}

// loaded loads a key, and reports what the cache did: hit, stale, negative or miss.
func loaded(t testing.TB, c *cache.Cache[string], key string) string {
	t.Helper()
	var from cache.Source
	_, err := c.GetOrLoad(t.Context(), key, func(context.Context, string) (string, error) { return "", errors.New("not asked") },
		cache.From(&from))
	switch {
	case errors.Is(err, cache.ErrNotFound):
		return "negative"
	case err != nil:
		return "miss"
	case from == cache.FromStale:
		return "stale"
	}
	return "hit"
}

// explained is one state of a key, and what Explain says about it.
type explained struct {
	name            string
	make            func(t *testing.T, c *cache.Cache[string], in *inspect.Inspector, key string)
	verdict, reason string
	detail          string
}

func set(t *testing.T, c *cache.Cache[string], key string, opts ...cache.CallOption) {
	t.Helper()
	must(t, c.Set(t.Context(), key, "secret value", opts...))
}

var states = []explained{
	{"absent", func(*testing.T, *cache.Cache[string], *inspect.Inspector, string) {}, "miss", "nothing is stored", ""},
	{"fresh", func(t *testing.T, c *cache.Cache[string], _ *inspect.Inspector, key string) {
		set(t, c, key, cache.Tags("a", "b"))
	},
		"hit", "fresh", ""},
	{"deleted", func(t *testing.T, c *cache.Cache[string], in *inspect.Inspector, key string) {
		set(t, c, key)
		must(t, in.Caches().Delete(t.Context(), "users", key))
	}, "miss", "nothing is stored", ""},
	{"expired", func(t *testing.T, c *cache.Cache[string], in *inspect.Inspector, key string) {
		set(t, c, key)
		must(t, in.Caches().Expire(t.Context(), "users", key))
	}, "stale", "Expire ended it", ""},
	{"tag", func(t *testing.T, c *cache.Cache[string], in *inspect.Inspector, key string) {
		set(t, c, key, cache.Tags("kept", "team {7}"))
		must(t, in.Caches().InvalidateTag(t.Context(), "users", "team {7}"))
	}, "miss", "a tag was invalidated", "team {7}"},
	{"cleared", func(t *testing.T, c *cache.Cache[string], in *inspect.Inspector, key string) {
		set(t, c, key)
		must(t, in.Caches().Clear(t.Context(), "users"))
	}, "miss", "the cache was cleared", "lost"},
	{"cleared and used again", func(t *testing.T, c *cache.Cache[string], in *inspect.Inspector, key string) {
		set(t, c, key)
		must(t, c.Clear(t.Context()))
		set(t, c, "other")
	}, "miss", "the cache was cleared", "invalidated"},
	{"negative", func(t *testing.T, c *cache.Cache[string], _ *inspect.Inspector, key string) {
		_, err := c.GetOrLoad(t.Context(), key, func(context.Context, string) (string, error) { return "", cache.ErrNotFound })
		if !errors.Is(err, cache.ErrNotFound) {
			t.Fatal(err)
		}
	}, "negative", "not found in the source", ""},
	{"stale", func(t *testing.T, c *cache.Cache[string], _ *inspect.Inspector, key string) {
		set(t, c, key, cache.TTL(time.Millisecond))
	}, "stale", "past its TTL", ""},
}

// Explain says what the next GetOrLoad does, for each state of a key. The cache itself decides.
func TestExplainSaysWhatARead(t *testing.T) {
	t.Parallel()
	rig.Engines(t, func(t *testing.T, e rig.Engine) {
		client := open(t, e.URL, e.Namespace)
		opts := cache.Options{StaleFor: time.Hour, NegativeTTL: time.Hour, Version: "v2", Jitter: cache.NoJitter,
			EarlyRefresh: cache.NoEarlyRefresh}
		users := newCache(t, client, "users", opts)
		local := newInspector(t, client)
		remote := newInspector(t, open(t, e.URL, e.Namespace))
		for i, s := range states {
			key := fmt.Sprintf("%d <b>{x}\x00\x1b[2J", i)
			s.make(t, users, remote, key)
			if s.name == "stale" {
				rig.Eventually(t, 5*time.Second, "the entry is stale", func() bool {
					return explain(t, local, key).Entries[0].FreshLeft < 0
				})
			}
			before := explain(t, remote, key)
			own := explain(t, local, key)
			got := ""
			rig.Eventually(t, 5*time.Second, s.name+": the cache has received the push", func() bool {
				got = loaded(t, users, key)
				return got == before.Verdict
			})
			for who, why := range map[string]inspect.Explanation{"any": before, "this process": own} {
				if why.Verdict != got || why.Verdict != s.verdict || why.Reason != s.reason || why.Detail != s.detail || why.Reader != who {
					t.Errorf("%s: %s says %s (%s, %s); the cache: %s", s.name, who, why.Verdict, why.Reason, why.Detail, got)
				}
			}
		}
	})
}

func explain(t testing.TB, in *inspect.Inspector, key string) inspect.Explanation {
	t.Helper()
	why, err := in.Caches().Explain(t.Context(), "users", key)
	must(t, err)
	return why
}

// The facts of an entry: sizes, tags, times, compression, and the state of this process.
func TestExplainHasTheFacts(t *testing.T) {
	t.Parallel()
	rig.Engines(t, func(t *testing.T, e rig.Engine) {
		client := open(t, e.URL, e.Namespace)
		users := newCache(t, client, "users", cache.Options{TTL: time.Hour, Jitter: cache.NoJitter,
			Near: cache.NearOptions{MaxEntries: 10}})
		in := newInspector(t, client)
		long := strings.Repeat("secret value ", 1000)
		_, err := users.GetOrLoad(t.Context(), "k", func(context.Context, string) (string, error) { return long, nil }, cache.Tags("a"))
		must(t, err)

		why := explain(t, in, "k")
		if !why.Present || len(why.Entries) != 1 || len(why.Local) != 1 {
			t.Fatalf("%+v", why)
		}
		one := why.Entries[0]
		if one.ValueBytes != int64(len(long)+2) || !one.Compressed || one.Bytes >= one.ValueBytes || one.Bytes != why.Bytes {
			t.Errorf("sizes: %+v of %d bytes", one, why.Bytes)
		}
		if one.Codec != codec.JSON.Name() || len(one.Tags) != 1 || one.Tags[0] != (inspect.CacheTag{Name: "a", State: "current"}) {
			t.Errorf("%+v", one)
		}
		hour := inspect.Duration(time.Hour)
		if one.FreshLeft <= 0 || one.FreshLeft > hour || one.Age != hour-one.FreshLeft || why.TTLLeft <= 0 || why.TTLLeft > hour {
			t.Errorf("times: fresh for %v, age %v, TTL %v", one.FreshLeft, one.Age, why.TTLLeft)
		}
		if want := map[bool]string{true: "fresh", false: "none"}[client.Capabilities().Tracking]; why.Local[0].Near != want {
			t.Errorf("the near cache: %+v, want %s", why.Local[0], want)
		}
		if text := fmt.Sprintf("%+v", why); strings.Contains(text, "secret") {
			t.Error("the explanation has the value")
		}
		if v, err := in.Caches().Get(t.Context(), "users", "k"); err != nil || string(v.Data) != `"`+long+`"` {
			t.Errorf("Get: %.40q, %v", v.Data, err)
		}
		if _, err := in.Caches().Get(t.Context(), "users", "absent"); !errors.Is(err, inspect.ErrNotFound) {
			t.Errorf("Get of an absent key: %v", err)
		}
	})
}

// While a load runs, its lease is shown, and how long it has run.
func TestExplainShowsARunningLoad(t *testing.T) {
	t.Parallel()
	rig.Engines(t, func(t *testing.T, e rig.Engine) {
		client := open(t, e.URL, e.Namespace)
		users := newCache(t, client, "users", cache.Options{LoadTimeout: time.Minute})
		in := newInspector(t, client)
		started, end, done := make(chan bool), make(chan bool), make(chan error, 1)
		go func() {
			_, err := users.GetOrLoad(context.Background(), "slow", func(context.Context, string) (string, error) {
				close(started)
				<-end
				return "", errors.New("no value")
			})
			done <- err
		}()
		<-started
		why := explain(t, in, "slow")
		minute := inspect.Duration(time.Minute)
		if why.Lease != "load" || why.LeaseLeft <= minute/2 || why.LeaseHeld < 0 || why.LeaseHeld > minute/2 || !why.Local[0].Loading {
			t.Errorf("during a load: %+v", why)
		}
		close(end)
		if err := <-done; err == nil {
			t.Error("the load did not fail")
		}
		rig.Eventually(t, 5*time.Second, "the lease ends", func() bool { return explain(t, in, "slow").Lease == "" })
	})
}

// In a rolling deploy, a value has an entry of each Version, and each reader has its own verdict.
func TestExplainKnowsVersions(t *testing.T) {
	t.Parallel()
	rig.Engines(t, func(t *testing.T, e rig.Engine) {
		for _, long := range []int{1, 40_000} {
			client, other := open(t, e.URL, e.Namespace), open(t, e.URL, e.Namespace)
			remote := newInspector(t, open(t, e.URL, e.Namespace))
			load := func(context.Context, string) (string, error) { return strings.Repeat("v", long), nil }
			key := fmt.Sprint(long)
			for _, one := range []struct {
				client  *redstart.Client
				version string
			}{{client, "1"}, {other, "2"}} {
				c := newCache(t, one.client, "users", cache.Options{Version: one.version, CompressAbove: cache.NoCompression})
				_, err := c.GetOrLoad(t.Context(), key, load)
				must(t, err)
			}

			why := explain(t, remote, key)
			if len(why.Entries) != 2 || why.Verdict != "hit" {
				t.Fatalf("%+v", why)
			}
			for version, want := range map[string]string{"1": "hit", "2": "hit", "3": "miss"} {
				why, err := remote.Caches().ExplainVersion(t.Context(), "users", key, version)
				must(t, err)
				if why.Verdict != want || want == "miss" && why.Reason != "an entry of another Version or Codec" {
					t.Errorf("version %s: %s (%s)", version, why.Verdict, why.Reason)
				}
			}
		}
	})
}

// Values of other programs and releases are explained as such, and never shown.
func TestExplainForeignValues(t *testing.T) {
	t.Parallel()
	rig.Engines(t, func(t *testing.T, e rig.Engine) {
		client := open(t, e.URL, e.Namespace)
		c, in := clientcore.Of(client), newInspector(t, client)
		write := func(name, key string, args ...string) {
			_, err := c.Do(t.Context(), core.Write(name, e.Namespace+":cache:users:{"+key+"}", args...))
			must(t, err)
		}
		valid := strings.Repeat("\x00", 60)
		for key, value := range map[string]string{"text": "<script>alert(1)</script>", "version": "\x09" + valid, "short": "\x01\x00",
			"flags": "\x01\xff\x01\x00" + valid, "tags": "\x01\x00\x01\x20" + valid, "several": "\x02\x00",
			"lengths": "\x02" + valid[:27] + "\xff\xff\xff\xff12345", "long": strings.Repeat("x", 1<<20)} {
			write("SET", key, value)
		}
		write("RPUSH", "list", "a")
		for _, key := range []string{"text", "version", "short", "flags", "tags", "several", "lengths", "long", "list"} {
			why := explain(t, in, key)
			if why.Verdict != "miss" || why.Reason != "not an entry of this release" || why.Detail == "" || !why.Present {
				t.Errorf("%s: %+v", key, why)
			}
			_, err := in.Caches().Get(t.Context(), "users", key)
			if !errors.Is(err, redstart.ErrCorrupt) || strings.Contains(err.Error(), "script>") {
				t.Errorf("Get of %s: %v", key, err)
			}
		}
	})
}

// The list has each cache with its counts, and no other keys.
func TestCacheList(t *testing.T) {
	t.Parallel()
	rig.Engines(t, func(t *testing.T, e rig.Engine) {
		if e.Name == "acl" {
			return // no SCAN
		}
		client := open(t, e.URL, e.Namespace)
		in := newInspector(t, open(t, e.URL, e.Namespace))
		want := map[string]int64{"users": 40, "<b>\x1b{*}": 3}
		for name, n := range want {
			c := newCache(t, client, name, cache.Options{})
			for i := range n {
				set(t, c, fmt.Sprint(i), cache.Tags("t"))
			}
		}
		got := map[string]int64{}
		for _, info := range pages(t, 500, func(p inspect.Page) (inspect.List[inspect.CacheInfo], error) {
			return in.Caches().List(t.Context(), p)
		}) {
			got[info.Name] += info.Sampled
			if info.Bytes < info.Entries*40 || info.Local {
				t.Errorf("%+v", info)
			}
		}
		if fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("listed %v, want %v", got, want)
		}
	})
}

// A list that ends with its budget scales what it has seen to all keys of the server.
func TestCacheListEstimates(t *testing.T) {
	t.Parallel()
	rig.Need(t, rig.TierAll)
	s := rig.Standalone(t)
	const n = 3 * inspect.MaxScanned
	s.CLI("DEBUG", "POPULATE", fmt.Sprint(n), "app:cache:big:{x}", "100")
	// The keys of POPULATE have suffixes, so they are no values: they only fill the server.
	s.CLI("EVAL", `for i = 1, 60000 do redis.call('SET', 'app:cache:users:{' .. i .. '}', string.rep('v', 100)) end`, "0")
	in := newInspector(t, open(t, s.URL(), "app"))
	list, err := in.Caches().List(t.Context(), inspect.Page{})
	must(t, err)
	for _, info := range list.Items {
		wrong := info.Entries < 50_000 || info.Entries > 70_000 || info.Bytes/info.Entries != 100 || info.Sampled > 30_000
		if info.Name == "users" && wrong {
			t.Errorf("%+v of a page with %d keys", info, list.Scanned)
		}
	}
	if len(list.Items) == 0 || list.Next == "" {
		t.Errorf("%+v", list)
	}
}
