package cache_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/redstart-go/redstart"
	"github.com/redstart-go/redstart/cache"
	"github.com/redstart-go/redstart/internal/rig"
)

// contents returns all keys of a server, without the outcomes of failed loads, which end after 2 s.
func contents(server *rig.Server) map[string]string {
	all := make(map[string]string)
	for _, key := range strings.Fields(server.CLI("KEYS", "*")) {
		if !strings.HasSuffix(key, ":outcome") {
			all[key] = server.CLI("DUMP", key)
		}
	}
	return all
}

// Invalid options are refused. The error names the field.
func TestBadOptions(t *testing.T) {
	t.Parallel()
	server := rig.Standalone(t)
	client := dial(t, server.URL(), "app")
	was := contents(server)
	type durations struct {
		name string
		set  func(o *cache.Options, d time.Duration)
	}
	type bad struct {
		says string
		opts cache.Options
	}
	var all []bad
	for _, field := range []durations{
		{"TTL", func(o *cache.Options, d time.Duration) { o.TTL = d }},
		{"StaleFor", func(o *cache.Options, d time.Duration) { o.StaleFor = d }},
		{"SoftTimeout", func(o *cache.Options, d time.Duration) { o.SoftTimeout = d }},
		{"NegativeTTL", func(o *cache.Options, d time.Duration) { o.NegativeTTL = d }},
		{"LoadTimeout", func(o *cache.Options, d time.Duration) { o.LoadTimeout = d }},
		{"HoldDown", func(o *cache.Options, d time.Duration) { o.HoldDown = d }},
		{"Near.TTL", func(o *cache.Options, d time.Duration) { o.Near.TTL = d }},
	} {
		for d, why := range map[time.Duration]string{
			-1: "must not be negative", -time.Hour: "must not be negative",
			time.Nanosecond: "must be at least 1ms", time.Millisecond - 1: "must be at least 1ms",
			11 * 365 * 24 * time.Hour: "must be at most", math.MaxInt64: "must be at most",
		} {
			b := bad{says: fmt.Sprintf("Options.%s is %v: %s", field.name, d, why)}
			field.set(&b.opts, d)
			all = append(all, b)
		}
	}
	for _, x := range []float64{-0.5, 1.5, -2, math.NaN(), math.Inf(1)} {
		all = append(all, bad{"Options.Jitter is", cache.Options{Jitter: x}})
	}
	for _, x := range []float64{-0.5, 101, -2, math.NaN(), math.Inf(1)} {
		all = append(all, bad{"Options.EarlyRefresh is", cache.Options{EarlyRefresh: x}})
	}
	all = append(all,
		bad{"Options.Near.MaxEntries is", cache.Options{Near: cache.NearOptions{MaxEntries: -1}}},
		bad{"Options.CompressAbove is", cache.Options{CompressAbove: -2}},
		bad{"Options.MaxValueBytes is", cache.Options{MaxValueBytes: -1}},
		bad{"Options.MaxValueBytes is", cache.Options{MaxValueBytes: 512<<20 + 1}},
	)
	for _, b := range all {
		c, err := cache.New[user](client, "users", b.opts)
		if c != nil || err == nil || !strings.HasPrefix(err.Error(), "cache: ") || !strings.Contains(err.Error(), b.says) {
			t.Errorf("%+v: got %v, want an error that names %s", b.opts, err, b.says)
		}
	}
	for says, try := range map[string]func() (*cache.Cache[user], error){
		"the client is nil": func() (*cache.Cache[user], error) { return cache.New[user](nil, "users", cache.Options{}) },
		"the name is empty": func() (*cache.Cache[user], error) { return cache.New[user](client, "", cache.Options{}) },
		"the name is 129 bytes": func() (*cache.Cache[user], error) {
			return cache.New[user](client, strings.Repeat("n", 129), cache.Options{})
		},
	} {
		c, err := try()
		if c != nil || err == nil || !strings.HasPrefix(err.Error(), "cache: New: ") || !strings.Contains(err.Error(), says) {
			t.Errorf("got %v, want an error that says %q", err, says)
		}
	}
	if now := contents(server); !maps.Equal(now, was) {
		t.Errorf("bad options changed the server: %v, was %v", now, was)
	}
}

// Invalid arguments are refused by name, before anything is changed, read or loaded.
func TestBadArguments(t *testing.T) {
	t.Parallel()
	server := rig.Standalone(t)
	ctx := t.Context()
	client := dial(t, server.URL(), "app")
	c := on(t, client, cache.Options{MaxValueBytes: 1000, CompressAbove: cache.NoCompression})
	large := user{Name: strings.Repeat("a", 1001)}
	packed := on(t, client, cache.Options{MaxValueBytes: 1000, CompressAbove: 100})
	if err := c.Set(ctx, "1", before, cache.Tags("tag")); err != nil {
		t.Fatal(err)
	}
	load := forbidden(t)
	loadMany := func(context.Context, []string) (map[string]user, error) {
		t.Error("the loader ran")
		return nil, nil
	}
	type call = func(key string, opts ...cache.CallOption) error
	calls := map[string]call{ // calls with a key
		"Get": func(key string, _ ...cache.CallOption) error { _, err := c.Get(ctx, key); return err },
		"GetMany": func(key string, _ ...cache.CallOption) error {
			_, err := c.GetMany(ctx, []string{"1", key})
			return err
		},
		"Delete":       func(key string, _ ...cache.CallOption) error { return c.Delete(ctx, "1", key) },
		"DeletePrefix": func(key string, _ ...cache.CallOption) error { return c.DeletePrefix(ctx, key) },
		"GetOrLoad":    func(key string, o ...cache.CallOption) error { _, err := c.GetOrLoad(ctx, key, load, o...); return err },
		"GetOrLoadMany": func(key string, o ...cache.CallOption) error {
			_, err := c.GetOrLoadMany(ctx, []string{"1", key}, loadMany, o...)
			return err
		},
		"Set": func(key string, o ...cache.CallOption) error { return c.Set(ctx, key, after, o...) },
		"SetMany": func(key string, o ...cache.CallOption) error {
			return c.SetMany(ctx, map[string]user{"1": after, key: after}, o...)
		},
	}
	was := contents(server)
	if len(was) < 3 {
		t.Fatalf("only %v", was)
	}
	refused := func(what string, err error, says string) {
		t.Helper()
		if err == nil || !strings.HasPrefix(err.Error(), "cache: ") || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: got %v, want an error that says %q", what, err, says)
		}
		if now := contents(server); !maps.Equal(now, was) {
			t.Errorf("%s changed the server", what)
		}
	}
	for name, do := range calls {
		long := do(strings.Repeat("k", 1025))
		refused(name+" of an over-long key", long, "the key has 1025 bytes")
		if !errors.Is(long, redstart.ErrTooLarge) {
			t.Errorf("%s of an over-long key: %v, want ErrTooLarge", name, long)
		}
		refused(name+" of a memo's key", do("\x00memo:f:1"), "the key begins with the prefix of memos")
	}
	many := make([]string, 33)
	for i := range many {
		many[i] = strings.Repeat("t", i+1)
	}
	for what, bad := range map[string]struct {
		says string
		opt  cache.CallOption
	}{
		"a negative TTL":       {"TTL(-1ns)", cache.TTL(-1)},
		"a zero TTL":           {"TTL(0s)", cache.TTL(0)},
		"too short a TTL":      {"TTL(999µs)", cache.TTL(999 * time.Microsecond)},
		"too long a TTL":       {"TTL(", cache.TTL(math.MaxInt64)},
		"an empty tag":         {"Tags: ", cache.Tags("ok", "")},
		"an over-long tag":     {"Tags: ", cache.Tags(strings.Repeat("t", 256))},
		"too many tags":        {"Tags: ", cache.Tags(many...)},
		"an option of no kind": {"the CallOption is zero", cache.CallOption{}},
	} {
		for _, name := range []string{"GetOrLoad", "GetOrLoadMany", "Set", "SetMany"} {
			refused(name+" with "+what, calls[name]("1", bad.opt), bad.says)
		}
	}
	_, err := c.GetOrLoad(ctx, "1", nil)
	refused("GetOrLoad with a nil loader", err, "the loader is nil")
	_, err = c.GetOrLoadMany(ctx, []string{"1"}, nil)
	refused("GetOrLoadMany with a nil loader", err, "the loader is nil")
	refused("InvalidateTags with an empty tag", c.InvalidateTags(ctx, "tag", ""), "tag")
	for what, err := range map[string]error{
		"Set": c.Set(ctx, "1", large), "Set, compressed": packed.Set(ctx, "1", large),
		"SetMany":             c.SetMany(ctx, map[string]user{"1": after, "2": large}),
		"SetMany, compressed": packed.SetMany(ctx, map[string]user{"1": after, "2": large}),
	} {
		refused(what+" of a value over the cap", err, "Options.MaxValueBytes")
		if !errors.Is(err, redstart.ErrTooLarge) {
			t.Errorf("%s: %v, want ErrTooLarge", what, err)
		}
	}
	for what, adjusted := range map[string]cache.CallOption{"TTL": cache.TTL(-1), "Tags": cache.Tags("")} {
		_, err := c.GetOrLoad(ctx, "new", func(ctx context.Context, _ string) (user, error) {
			cache.Adjust(ctx, adjusted)
			return after, nil
		})
		refused("Adjust with a bad "+what, err, "Adjust: ")
		_, err = c.GetOrLoadMany(ctx, []string{"1", "new"}, func(ctx context.Context, _ []string) (map[string]user, error) {
			cache.Adjust(ctx, adjusted)
			return map[string]user{"new": after}, nil
		})
		refused("Adjust in a batch with a bad "+what, err, "Adjust: ")
	}
	if v, err := c.Get(ctx, "1"); err != nil || v != before {
		t.Errorf("%v, %v: the stored value is gone", v, err)
	}
	funcs, err := cache.New[func()](client, "funcs", cache.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if err := funcs.Set(ctx, "1", func() {}); err == nil || !strings.HasPrefix(err.Error(), `cache: set in "funcs": `) {
		t.Errorf("a value that can't be encoded: %v", err)
	}
}

// A call without keys is no error, and the empty key is a key.
func TestEmptyArguments(t *testing.T) {
	t.Parallel()
	e := embeddedEngine(t)
	ctx := t.Context()
	c := open(t, e, cache.Options{})
	if err := errors.Join(c.Delete(ctx), c.SetMany(ctx, nil), c.InvalidateTags(ctx)); err != nil {
		t.Error(err)
	}
	if got, err := c.GetMany(ctx, nil); err != nil || len(got) != 0 {
		t.Error(got, err)
	}
	if err := errors.Join(c.Set(ctx, "", before), c.Set(ctx, "x", after)); err != nil {
		t.Fatal(err)
	}
	if v, err := c.GetOrLoad(ctx, "", forbidden(t)); err != nil || v != before {
		t.Error(v, err)
	}
	if err := c.Delete(ctx, ""); err != nil {
		t.Error(err)
	}
	if v, err := c.Get(ctx, "x"); err != nil || v != after {
		t.Errorf("%v, %v: the empty key is a prefix of nothing for Delete", v, err)
	}
}

// A process stores a value that is above the limit of another process. To the other process it is a
// miss, with and without compression: counted, loaded, and not replaced, because the loaded value
// is as large.
func TestC5_AboveTheReadersLimit(t *testing.T) {
	t.Parallel()
	rig.Engines(t, func(t *testing.T, e rig.Engine) {
		ctx := t.Context()
		large := user{Name: strings.Repeat("a", 5000)}
		for _, above := range []int{cache.NoCompression, 100} {
			generous, strict := open(t, e, cache.Options{CompressAbove: above}), open(t, e, cache.Options{MaxValueBytes: 1000})
			if err := generous.Set(ctx, "1", large); err != nil {
				t.Fatal(err)
			}
			if v, err := strict.Get(ctx, "1"); !errors.Is(err, cache.ErrNotFound) {
				t.Fatalf("%d bytes, %v with a cap of 1000", len(v.Name), err)
			}
			if got, err := strict.GetMany(ctx, []string{"1"}); err != nil || len(got) != 0 {
				t.Fatal(len(got), err)
			}
			if v, err := strict.GetOrLoad(ctx, "1", constant(large, new(int))); err != nil || v != large {
				t.Fatal(len(v.Name), err)
			}
			if s := strict.Stats(); s.Unreadable < 3 || s.NotStored != 1 {
				t.Fatalf("%+v", s)
			}
			if v, err := generous.Get(ctx, "1"); err != nil || v != large {
				t.Fatal(len(v.Name), err)
			}
		}
	})
}
