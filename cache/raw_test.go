package cache_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/redstart-go/redstart/cache"
	"github.com/redstart-go/redstart/codec"
	"github.com/redstart-go/redstart/internal/rig"
	"github.com/redstart-go/redstart/internal/rig/rigclient"
)

// A long byte slice is the server's reply without a copy, and belongs to its caller. A caller that
// changes it changes no other caller's value: for reads, joined loads and the near cache.
func TestC3_LongBytesBelongToTheirCaller(t *testing.T) {
	t.Parallel()
	for _, near := range []cache.NearOptions{{}, {MaxEntries: 100}} {
		t.Run(fmt.Sprint("near ", near.MaxEntries), func(t *testing.T) {
			t.Parallel()
			ctx, e := t.Context(), rig.Engine{URL: rig.Shared(t).URL(), Namespace: rig.Prefix(t)}
			opts := cache.Options{Codec: codec.Raw, Near: near, StaleFor: time.Hour, EarlyRefresh: cache.NoEarlyRefresh}
			c, err := cache.New[[]byte](dial(t, e.URL, e.Namespace), "bytes", opts)
			if err != nil {
				t.Fatal(err)
			}
			none := func(context.Context, string) ([]byte, error) {
				t.Error("the loader ran")
				return nil, nil
			}
			spoil := func(what string, v []byte, err error) {
				t.Helper()
				if err != nil || len(v) != 64<<10 || bytes.Count(v, []byte{'g'}) != len(v) {
					t.Fatalf("%s: %d bytes, %d of them as stored, %v", what, len(v), bytes.Count(v, []byte{'g'}), err)
				}
				clear(v)
				_ = append(v, "more"...) // nor may it write behind the value
			}
			green := bytes.Repeat([]byte{'g'}, 64<<10)
			if err := c.Set(ctx, "1", green); err != nil {
				t.Fatal(err)
			}
			for range 4 {
				v, err := c.Get(ctx, "1")
				spoil("Get", v, err)
				v, err = c.GetOrLoad(ctx, "1", none)
				spoil("GetOrLoad", v, err)
				many, err := c.GetMany(ctx, []string{"1"})
				spoil("GetMany", many["1"], err)
				v, err = c.GetOrLoad(ctx, "loaded",
					func(context.Context, string) ([]byte, error) { return bytes.Clone(green), nil })
				spoil("a loaded value", v, err)
			}

			// Three callers join a load that finds a value of another process.
			other, err := cache.New[[]byte](dial(t, e.URL, e.Namespace), "bytes", cache.Options{Codec: codec.Raw})
			if err != nil {
				t.Fatal(err)
			}
			joined, err := cache.New[[]byte](dial(t, e.URL, e.Namespace), "bytes", opts)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := joined.Get(ctx, "warm"); err == nil {
				t.Fatal("a value that was never stored")
			}
			optimistic(t, joined)
			asked, goOn := make(chan struct{}), make(chan struct{})
			rig.ArmOnce(t, joined.Points(), "lease", "2", func() {
				close(asked)
				<-goOn
				if err := other.Set(ctx, "2", green); err != nil {
					t.Error(err)
				}
			})
			type got struct {
				v   []byte
				err error
			}
			all := make(chan got, 3)
			for range cap(all) {
				go func() {
					v, err := joined.GetOrLoad(ctx, "2", none)
					all <- got{v, err}
				}()
			}
			await(t, "the first asks", asked)
			rig.Eventually(t, 10*time.Second, "the others join", func() bool { return joined.Waiting("2") == cap(all) })
			close(goOn)
			for range cap(all) {
				g := await(t, "a caller", all)
				spoil("a caller that joined", g.v, g.err)
			}
		})
	}
}

// Long values are stored through keys of their own. Set, loads, and loads that were overtaken leave
// none of these keys.
func TestLongValuesLeaveNoKeys(t *testing.T) {
	t.Parallel()
	for name, url := range map[string]string{"standalone": rig.Shared(t).URL(), "cluster": rig.SharedCluster(t).URL()} {
		ctx, namespace := t.Context(), rig.Prefix(t)+name
		client := dial(t, url, namespace)
		c, err := cache.New[string](client, "text",
			cache.Options{Codec: codec.Raw, CompressAbove: cache.NoCompression, TTL: time.Hour})
		if err != nil {
			t.Fatal(err)
		}
		long := strings.Repeat("v", 100<<10)
		load := func(context.Context, string) (string, error) { return long, nil }
		is := func(key string) {
			t.Helper()
			if v, err := c.Get(ctx, key); err != nil || v != long {
				t.Fatalf("%s: %d bytes, %v", key, len(v), err)
			}
		}
		if err := errors.Join(c.Set(ctx, "set", "short"), c.Set(ctx, "set", long),
			c.SetMany(ctx, map[string]string{"many": long, "other": "short"}),
			second(c.GetOrLoad(ctx, "load", load))); err != nil {
			t.Fatal(err)
		}
		for _, key := range []string{"set", "many", "load"} {
			is(key)
		}
		if v, err := c.Get(ctx, "other"); err != nil || v != "short" {
			t.Fatal(v, err)
		}

		if _, err := c.GetOrLoad(ctx, "overtaken",
			func(context.Context, string) (string, error) { return long, c.Delete(ctx, "overtaken") }); err != nil {
			t.Fatal(err)
		}
		if v, err := c.Get(ctx, "overtaken"); !errors.Is(err, cache.ErrNotFound) {
			t.Fatalf("%d bytes, %v: a load that was overtaken stored its value", len(v), err)
		}
		stored := func(key string) string { return namespace + ":cache:text:{" + key + "}" }
		r := rigclient.Redis(t, client)
		for _, key := range []string{"set", "many", "load"} {
			if ttl, err := r.Do(ctx, r.B().Pttl().Key(stored(key)).Build()).AsInt64(); err != nil ||
				ttl < (50*time.Minute).Milliseconds() {
				t.Errorf("%s lives for %d ms, %v", key, ttl, err)
			}
		}
		for addr, node := range r.Nodes() {
			keys, err := node.Do(ctx,
				node.B().Scan().Cursor(0).Match(namespace+"*:long:*").Count(1_000_000).Build()).AsScanEntry()
			if err != nil || len(keys.Elements) > 0 {
				t.Errorf("%s has %v, %v", addr, keys.Elements, err)
			}
		}
	}
}

// The server does not copy a value of 10 KB into Lua. A short value needs no key of its own.
func TestLongValuesPassLua(t *testing.T) {
	t.Parallel()
	rig.Need(t, rig.TierServer)
	server, ctx := rig.Standalone(t), t.Context()
	c, err := cache.New[string](dial(t, server.URL(), "app"), "text",
		cache.Options{Codec: codec.Raw, CompressAbove: cache.NoCompression})
	if err != nil {
		t.Fatal(err)
	}
	for size, renames := range map[int]int64{1000: 0, 10_000: 2} {
		was := server.CommandStats()["rename"]
		value := strings.Repeat("v", size)
		if err := errors.Join(c.Set(ctx, "set", value), second(c.GetOrLoad(ctx, fmt.Sprint("load", size),
			func(context.Context, string) (string, error) { return value, nil }))); err != nil {
			t.Fatal(err)
		}
		if n := server.CommandStats()["rename"] - was; n != renames {
			t.Errorf("a Set and a load of %d bytes made %d RENAMEs, want %d", size, n, renames)
		}
	}
}

// The TTL of a long value may end before the script that renames it begins, for example on a busy
// server. Set stores it without an error.
func TestLongValuesMayLiveForAMillisecond(t *testing.T) {
	t.Parallel()
	ctx, namespace := t.Context(), rig.Prefix(t)
	c, err := cache.New[string](dial(t, rig.Shared(t).URL(), namespace), "text",
		cache.Options{Codec: codec.Raw, CompressAbove: cache.NoCompression})
	if err != nil {
		t.Fatal(err)
	}
	values := make(map[string]string)
	for i := range 16 {
		values[fmt.Sprint(i)] = strings.Repeat("v", 1<<20)
	}
	for range 5 {
		if err := c.SetMany(ctx, values, cache.TTL(time.Millisecond)); err != nil {
			t.Fatal(err)
		}
	}
}

// A value that is a reply without a copy keeps only its own bytes in memory, and no entries of
// other Versions.
func TestLongBytesKeepNoOtherVersion(t *testing.T) {
	const entries, own, others = 50, 8 << 10, 512 << 10
	ctx, e := t.Context(), rig.Engine{URL: rig.Shared(t).URL(), Namespace: rig.Prefix(t)}
	of := func(version string) *cache.Cache[string] {
		c, err := cache.New[string](dial(t, e.URL, e.Namespace), "text",
			cache.Options{Codec: codec.Raw, Version: version, CompressAbove: cache.NoCompression})
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	small, large := of("1"), of("2")
	load := func(size int) cache.Loader[string] {
		return func(context.Context, string) (string, error) { return string(make([]byte, size)), nil }
	}
	for i := range entries {
		for _, err := range []error{second(large.GetOrLoad(ctx, fmt.Sprint(i), load(others))),
			second(small.GetOrLoad(ctx, fmt.Sprint(i), load(own)))} {
			if err != nil {
				t.Fatal(err)
			}
		}
	}

	was := heapInUse()
	values := make([]string, entries)
	for i := range values {
		var err error
		if values[i], err = small.Get(ctx, fmt.Sprint(i)); err != nil || len(values[i]) != own {
			t.Fatal(len(values[i]), err)
		}
	}
	if kept := heapInUse() - was; kept > entries*others/4 {
		t.Errorf("%d values of %d KiB keep %d KiB in memory", entries, own>>10, kept>>10)
	}
	runtime.KeepAlive(values)
}

func second[V any](_ V, err error) error { return err }

// mute is a value that can't be encoded.
type mute struct{ Leafs []string }

func (*mute) MarshalJSON() ([]byte, error) { return nil, errors.New("a value that can't be encoded") }

// Callers that wait for one load of a value that can't be encoded, and therefore not copied, each
// get their own value.
func TestC3_ValuesThatCannotBeCopiedAreNotShared(t *testing.T) {
	t.Parallel()
	const callers = 3
	ctx := t.Context()
	c, err := cache.New[*mute](dial(t, rig.Shared(t).URL(), rig.Prefix(t)), "mutes", cache.Options{})
	if err != nil {
		t.Fatal(err)
	}
	goOn := make(chan struct{})
	load := func(context.Context, string) (*mute, error) {
		<-goOn
		return &mute{Leafs: []string{"green"}}, nil
	}
	values := make(chan *mute, callers)
	for range callers {
		go func() {
			v, err := c.GetOrLoad(ctx, "1", load)
			if err != nil {
				t.Error(err)
			}
			values <- v
		}()
	}
	rig.Eventually(t, 10*time.Second, "all wait for one load", func() bool { return c.Waiting("1") == callers })
	close(goOn)
	for range callers {
		v := await(t, "a value", values)
		if v == nil || v.Leafs[0] != "green" {
			t.Fatalf("%v: a caller sees the change of another", v)
		}
		v.Leafs[0] = "red"
	}
}
