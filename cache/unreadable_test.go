package cache_test

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/klauspost/compress/s2"
	"github.com/redis/rueidis"

	"github.com/redstart-go/redstart/cache"
	"github.com/redstart-go/redstart/codec"
	"github.com/redstart-go/redstart/internal/rig"
	"github.com/redstart-go/redstart/internal/rig/rigclient"
)

// raw is a key of a cache on the server, for writes by hand.
type raw struct {
	t   testing.TB
	r   rueidis.Client
	key string
}

func (r raw) do(cmd rueidis.Completed) rueidis.RedisResult {
	r.t.Helper()
	result := r.r.Do(r.t.Context(), cmd)
	if err := result.Error(); err != nil {
		r.t.Fatal(err)
	}
	return result
}

func (r raw) get() []byte {
	r.t.Helper()
	b, err := r.do(r.r.B().Get().Key(r.key).Build()).AsBytes()
	if err != nil {
		r.t.Fatal(err)
	}
	return b
}

func (r raw) set(data []byte) {
	r.t.Helper()
	r.do(r.r.B().Set().Key(r.key).Value(rueidis.BinaryString(data)).ExSeconds(600).Build())
}

// edit changes the bytes of an entry.
func (r raw) edit(change func(entry []byte) []byte) {
	r.t.Helper()
	r.set(change(r.get()))
}

// at returns a change of some bytes of an entry: see envelope.go.
func at(i int, to ...byte) func([]byte) []byte {
	return func(entry []byte) []byte {
		copy(entry[i:], to)
		return entry
	}
}

const payloadAt = 40 // of an entry without tags

// payload returns a change that gives an entry another payload and other flags.
func payload(flags byte, data []byte) func([]byte) []byte {
	return func(entry []byte) []byte {
		entry[1] = flags
		return append(entry[:payloadAt:payloadAt], data...)
	}
}

// bomb is 100 MiB, compressed to a few.
var bomb = sync.OnceValue(func() []byte { return s2.Encode(nil, make([]byte, 100<<20)) })

// unreadables are stored values that a cache with Version "2", the JSON codec and a limit of 1,000
// bytes can't use. Each begins as a valid entry.
var unreadables = map[string]struct {
	write  func(r raw)
	other  cache.Options // stores the entry in place of Version "2"
	notHit bool          // MGET reports it as a missing key
}{
	"no bytes":            {write: func(r raw) { r.set(nil) }},
	"the first byte":      {write: func(r raw) { r.edit(func(e []byte) []byte { return e[:1] }) }},
	"half a header":       {write: func(r raw) { r.edit(func(e []byte) []byte { return e[:payloadAt-1] }) }},
	"a header":            {write: func(r raw) { r.edit(func(e []byte) []byte { return e[:payloadAt] }) }},
	"half a value":        {write: func(r raw) { r.edit(func(e []byte) []byte { return e[:len(e)-1] }) }},
	"text":                {write: func(r raw) { r.set([]byte(strings.Repeat("{", 100))) }},
	"ones":                {write: func(r raw) { r.set([]byte(strings.Repeat("\xff", 100))) }},
	"zeros":               {write: func(r raw) { r.set(make([]byte, 100)) }},
	"the next format":     {write: func(r raw) { r.edit(at(0, 2)) }},
	"an unknown flag":     {write: func(r raw) { r.edit(at(1, 1<<3)) }},
	"33 tags":             {write: func(r raw) { r.edit(at(3, 33)) }},
	"a tag that is not":   {write: func(r raw) { r.edit(at(3, 1)) }},
	"another schema":      {other: cache.Options{Version: "1"}},
	"no schema":           {other: cache.Options{Version: ""}},
	"another codec":       {other: cache.Options{Version: "2", Codec: codec.CBOR}},
	"the id of another":   {write: func(r raw) { r.edit(at(2, 2)) }},
	"another type":        {write: func(r raw) { r.edit(payload(0, []byte(`{"ID":5}`))) }},
	"not compressed":      {write: func(r raw) { r.edit(payload(2, []byte(`{"ID":"5"}`))) }},
	"compressed":          {write: func(r raw) { r.edit(payload(0, s2.Encode(nil, []byte(`{"ID":"5"}`)))) }},
	"half compressed":     {write: func(r raw) { r.edit(payload(2, s2.Encode(nil, make([]byte, 100))[:5])) }},
	"a bomb":              {write: func(r raw) { r.edit(payload(2, bomb())) }},
	"the promise of 4 GB": {write: func(r raw) { r.edit(payload(2, append(binary.AppendUvarint(nil, 1<<32-1), "abc"...))) }},
	"over the cap":        {write: func(r raw) { r.edit(payload(0, []byte(`{"Name":"`+strings.Repeat("a", 1000)+`"}`))) }},
	"a hash": {notHit: true, write: func(r raw) {
		r.do(r.r.B().Del().Key(r.key).Build())
		r.do(r.r.B().Hset().Key(r.key).FieldValue().FieldValue("a", "b").Build())
	}},
	"a list": {notHit: true, write: func(r raw) {
		r.do(r.r.B().Del().Key(r.key).Build())
		r.do(r.r.B().Rpush().Key(r.key).Element("a").Build())
	}},
}

// A value that can't be used is a miss for every call. It is counted, and the next load or Set
// overwrites it.
func TestC5_UnreadableIsAMiss(t *testing.T) {
	t.Parallel()
	rig.Engines(t, func(t *testing.T, e rig.Engine) {
		for _, near := range []cache.NearOptions{{}, nearby.Near} {
			ctx := t.Context()
			client := dial(t, e.URL, e.Namespace)
			c := on(t, client, cache.Options{Version: "2", MaxValueBytes: 1000, Near: near})
			warm(t, c)
			want := user{ID: "x", Name: "new"}
			var loads int
			one := constant(want, &loads)
			many := func(_ context.Context, keys []string) (map[string]user, error) {
				loads++
				return map[string]user{keys[0]: want}, nil
			}
			for verb, read := range map[string]func(key string) (user, error){
				"Get": func(key string) (user, error) { return c.Get(ctx, key) },
				"GetMany": func(key string) (user, error) {
					got, err := c.GetMany(ctx, []string{key})
					if v, ok := got[key]; ok || err != nil {
						return v, err
					}
					return user{}, cache.ErrNotFound
				},
				"GetOrLoad": func(key string) (user, error) { return c.GetOrLoad(ctx, key, one) },
				"GetOrLoadMany": func(key string) (user, error) {
					got, err := c.GetOrLoadMany(ctx, []string{key}, many)
					return got[key], err
				},
			} {
				for name, what := range unreadables {
					key := strings.ReplaceAll(verb+" "+name, " ", "-")
					fatal := func(format string, args ...any) {
						t.Helper()
						t.Fatalf("%s of %s, near %d: %s", verb, name, near.MaxEntries, fmt.Sprintf(format, args...))
					}
					other := what.other
					if what.write != nil {
						other = cache.Options{Version: "2"}
					}
					if err := on(t, client, other).Set(ctx, key, before); err != nil {
						fatal("%v", err)
					}
					if what.write != nil {
						what.write(raw{t, rigclient.Redis(t, client), e.Namespace + ":cache:users:{" + key + "}"})
					}
					was := c.Stats()
					loads = 0
					var stop func()
					ctx, stop = context.WithTimeout(t.Context(), 10*time.Second) // a call that waits or asks without end fails
					v, err := read(key)
					stop()
					ctx = t.Context()
					loading := strings.HasPrefix(verb, "GetOrLoad")
					switch {
					case loading && (err != nil || v != want || loads != 1):
						fatal("%v, %v, %d loads", v, err, loads)
					case !loading && !errors.Is(err, cache.ErrNotFound):
						fatal("%v, %v, want ErrNotFound", v, err)
					}
					s := c.Stats()
					if n := s.Unreadable - was.Unreadable; n == 0 && !(what.notHit && verb == "GetMany") {
						fatal("not counted")
					}
					if s.Misses != was.Misses+1 || s.Errors != was.Errors {
						fatal("%d misses, %d errors, want a miss", s.Misses-was.Misses, s.Errors-was.Errors)
					}
					if !loading {
						if err := c.Set(ctx, key, want); err != nil {
							fatal("Set over it: %v", err)
						}
					}
					if v, err := c.GetOrLoad(ctx, key, forbidden(t)); err != nil || v != want {
						fatal("%v, %v: not overwritten", v, err)
					}
				}
			}
		}
	})
}

// An entry that claims a size above the limit costs no memory: it is not decompressed.
func TestC5_ABombCostsNoMemory(t *testing.T) {
	server := rig.Shared(t)
	ctx, namespace := t.Context(), rig.Prefix(t)
	client := dial(t, server.URL(), namespace)
	c := on(t, client, cache.Options{MaxValueBytes: 1 << 20})
	if err := c.Set(ctx, "1", before); err != nil {
		t.Fatal(err)
	}
	raw{t, rigclient.Redis(t, client), namespace + ":cache:users:{1}"}.edit(payload(2, bomb()))
	var was, now runtime.MemStats
	runtime.ReadMemStats(&was)
	v, err := c.Get(ctx, "1")
	runtime.ReadMemStats(&now)
	if !errors.Is(err, cache.ErrNotFound) {
		t.Fatal(v, err)
	}
	if n := now.TotalAlloc - was.TotalAlloc; n > 50<<20 {
		t.Fatalf("%d MiB were allocated to refuse a value of 100 MiB with a cap of 1 MiB", n>>20)
	}
}

// A lease key of another type delays no caller, and loads can store again soon.
func TestC5_UnreadableLease(t *testing.T) {
	t.Parallel()
	rig.Engines(t, func(t *testing.T, e rig.Engine) {
		client := dial(t, e.URL, e.Namespace)
		c := on(t, client, cache.Options{})
		for name, write := range map[string]func(r raw){
			"a list":         func(r raw) { r.do(r.r.B().Rpush().Key(r.key).Element("a").Build()) },
			"without an end": func(r raw) { r.do(r.r.B().Set().Key(r.key).Value("another program").Build()) },
			"empty": func(r raw) {
				r.do(r.r.B().Set().Key(r.key).Value("").Build())
			},
		} {
			key := strings.ReplaceAll(name, " ", "-")
			write(raw{t, rigclient.Redis(t, client), e.Namespace + ":cache:users:{" + key + "}:lease"})
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
			for range 3 {
				if v, err := c.GetOrLoad(ctx, key, constant(after, new(int))); err != nil || v != after {
					t.Fatalf("%s: %v, %v", name, v, err)
				}
			}
			if v, err := c.Get(ctx, key); err != nil || v != after {
				t.Fatalf("%s: %v, %v: not stored by the third load", name, v, err)
			}
			cancel()
		}
	})
}
