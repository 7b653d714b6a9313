package cache

import (
	"context"
	"errors"
	"fmt"

	"github.com/redstart-go/redstart"
	"github.com/redstart-go/redstart/internal/clientcore"
	"github.com/redstart-go/redstart/internal/core"
	"github.com/redstart-go/redstart/internal/flight"
)

// Loader loads the value of a key from the source. It returns [ErrNotFound], or an error that wraps
// it, if the source has no value. Its context carries the values of the caller's context. The
// context ends after Options.LoadTimeout, and when the last caller leaves (C9), unless a call has
// [Detach].
type Loader[V any] func(ctx context.Context, key string) (V, error)

// Cache is a named cache of values of one type. Use [New]. Its methods are safe for concurrent use.
//
// Caches with the same name share their entries, also across processes. Caches with the same name
// and client also share their pending invalidations.
type Cache[V any] struct {
	store
	near      *nearCache[V] // nil if it is off
	sharing   sharing
	tracker   tracker[V]
	flights   flight.Group[string, result[V]] // of misses
	refreshes flight.Group[string, result[V]] // of entries that callers get in the meantime
}

// New returns the cache with this name on the client's server. It lives until [Cache.Close], or as
// long as the client.
//
// The name has 1 to 128 bytes. The error names the field of [Options] that is wrong.
func New[V any](client *redstart.Client, name string, opts Options) (*Cache[V], error) {
	if client == nil {
		return nil, errors.New("cache: New: the client is nil: use redstart.Open")
	}
	if name == "" {
		return nil, errors.New("cache: New: the name is empty: it separates this cache from other caches")
	}
	opts, err := opts.withDefaults()
	if err != nil {
		return nil, err
	}
	c := &Cache[V]{store: store{
		name: name, core: clientcore.Of(client), opt: opts, schema: schemaOf(opts.Version),
		loadName: "load of cache " + name, takeoverName: "end of a load of cache " + name,
		touchName: "repeated read of generations of cache " + name,
	}}
	if c.space, err = c.core.Keys("cache", name); err != nil {
		return nil, fmt.Errorf("cache: New: %w", err)
	}
	c.sharing = sharingOf[V](opts.Near.Shared)
	c.life.group = c.core.Group().Sub()
	if opts.Near.on() {
		if c.near, err = newNearCache[V](opts.Near, &c.generations.era, c.sweeper()); err != nil {
			return nil, fmt.Errorf("cache: New: the near cache: %w", err)
		}
		c.near.points = &c.points
	}
	c.generations.era.Store(1)
	c.generations.offline.Store(&generation{})
	c.pending.init()
	c.absence.points = &c.points
	c.backoff.now = c.core.Clock().Now
	c.tracker = tracker[V]{c}
	c.join()
	c.life.unregister = []func(){c.core.Hub().Track(c.space.Prefix(), c.tracker), c.core.OnMetrics(c.metrics),
		c.core.OnClose(c.close)}
	return c, nil
}

// Set stores a value: one round trip. Loads of key that are running in any process can't store
// their result (C1).
//
// Errors: redstart.ErrTooLarge and errors of the codec change nothing. After ErrUnavailable and
// ErrIndeterminate, the invalidation of the key is pending: see [Cache.Delete].
func (c *Cache[V]) Set(ctx context.Context, key string, value V, opts ...CallOption) error {
	if err := checkKey(key); err != nil {
		return c.fail("set", err)
	}
	if err := c.usable(); err != nil {
		return c.fail("set", err)
	}
	set, err := c.settings(opts)
	if err != nil {
		return err
	}
	ctx, end := c.observe(ctx, "set")
	err = c.set(ctx, key, value, &set)
	end(err)
	if err != nil {
		return c.fail("set", err)
	}
	return nil
}

func (c *Cache[V]) set(ctx context.Context, key string, value V, set *settings) error {
	number := c.lastFailed()
	st, err := c.stamp(ctx, set)
	if err == nil {
		entry, invalid := c.encode(&value, set, &st, 0, true)
		if invalid != nil {
			return invalid // nothing has changed
		}
		_, err = c.evalAll(ctx, setScript, []core.Call{c.setting(key, &entry)}, false)[0].Get()
		if err == nil {
			c.recycle(&entry)
		}
	}
	c.count.add(cInvalidations, 1)
	c.invalidated(key, err, number, true)
	return err
}

// setting returns a call of set.lua.
func (s *store) setting(key string, entry *sealed) core.Call {
	return s.storing(key, core.Call{Keys: s.pair(key), Args: []string{entry.data, millis(entry.ttl)}}, 0)
}

// Delete removes keys: one round trip per node. Loads of these keys that are running in any process
// can't store their result (C1). A key that is not stored is no error.
//
// After an error, some keys may be removed and others not. After ErrUnavailable and
// ErrIndeterminate, the invalidations are pending: this process replays them until the server
// confirms them. It is safe to repeat the call.
func (c *Cache[V]) Delete(ctx context.Context, keys ...string) error {
	for _, key := range keys {
		if err := checkKey(key); err != nil {
			return c.fail("delete", err)
		}
	}
	return c.invalidateKeys(ctx, "delete", keys, c.remove, true)
}

// invalidateKeys runs Delete or Expire, also for keys of memos. With confirms, success also
// confirms earlier invalidations of the keys that failed.
func (c *Cache[V]) invalidateKeys(ctx context.Context, verb string, keys []string,
	do func(context.Context, []string) []core.Result, confirms bool) error {
	if err := c.usable(); err != nil {
		return c.fail(verb, err)
	}
	ctx, end := c.observe(ctx, verb)
	var failed error
	number := c.lastFailed()
	for begin := 0; begin < len(keys); begin += chunk {
		part := keys[begin:min(begin+chunk, len(keys))]
		for i, r := range do(ctx, part) {
			_, err := r.Get()
			c.invalidated(part[i], err, number, confirms)
			if err != nil {
				failed = err
			}
		}
	}
	c.count.add(cInvalidations, int64(len(keys)))
	end(failed)
	if failed != nil {
		return c.fail(verb, failed)
	}
	return nil
}

// chunk is the number of commands that travel together.
const chunk = 500

// remove deletes values together with their leases.
func (s *store) remove(ctx context.Context, keys []string) []core.Result {
	if s.opt.HoldDown > 0 {
		calls := make([]core.Call, len(keys))
		for i, key := range keys {
			calls[i] = core.Call{Keys: s.pair(key), Args: []string{millis(s.opt.HoldDown)}}
		}
		return s.core.EvalMulti(ctx, holdScript, calls)
	}
	cmds := make([]core.Command, len(keys))
	for i, key := range keys {
		pair := s.pair(key)
		cmds[i] = core.Write("DEL", pair[0], pair[1:]...)
	}
	return s.core.DoMulti(ctx, cmds...)
}
