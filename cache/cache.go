package cache

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/redis/rueidis"

	"github.com/redstart-go/redstart"
	"github.com/redstart-go/redstart/internal/core"
	"github.com/redstart-go/redstart/internal/fault"
	"github.com/redstart-go/redstart/internal/flight"
)

// Loader fetches the value of a key from where it comes from. It returns ErrNotFound, or an error that
// wraps it, when there is none. Its context has the values of the caller's; it ends after LoadTimeout,
// and early when nobody waits for the value any more (C9).
type Loader[V any] func(ctx context.Context, key string) (V, error)

// Cache is a named cache of values of one type. Caches of one name share their entries, across processes
// too. Use New. Its methods are safe for concurrent use.
type Cache[V any] struct {
	store
	flights flight.Group[string, result[V]]
}

// New returns the cache with this name on the client's server. It lives as long as the client.
//
// The name is at most 128 bytes. The error names the field of Options that is wrong.
func New[V any](client *redstart.Client, name string, opts Options) (*Cache[V], error) {
	if client == nil {
		return nil, errors.New("cache: New: the client is nil: use redstart.Open")
	}
	if name == "" {
		return nil, errors.New("cache: New: the name is empty: it separates this cache from others")
	}
	opts, err := opts.withDefaults()
	if err != nil {
		return nil, err
	}
	c := &Cache[V]{store: store{name: name, core: client.Core(), opt: opts, schema: schemaOf(opts.Version)}}
	if c.space, err = c.core.Keys("cache", name); err != nil {
		return nil, fmt.Errorf("cache: New: %w", err)
	}
	c.core.Hub().Track(c.space.Prefix(), tracker[V]{c})
	c.core.OnClose(c.close)
	return c, nil
}

func (c *Cache[V]) close(ctx context.Context) error {
	if err := c.flights.Close(ctx); err != nil {
		return c.fail("close", err)
	}
	return nil
}

// Get returns the value of key, and ErrNotFound if none is stored: one round trip.
func (c *Cache[V]) Get(ctx context.Context, key string) (V, error) {
	var zero V
	if err := checkKey(key); err != nil {
		return zero, c.fail("get", err)
	}
	e, err := c.read(ctx, key)
	if err != nil {
		c.count.add(cErrors, 1)
		return zero, c.fail("get", err)
	}
	switch e.state {
	case fresh:
		c.count.add(cHits, 1)
		return e.value, nil
	case negative:
		c.count.add(cNegativeHits, 1)
	default:
		c.count.add(cMisses, 1)
	}
	return zero, ErrNotFound
}

// Set stores a value: one round trip. Loads of key that are under way, anywhere, can't replace it (C1).
//
// Errors: redstart.ErrTooLarge and the codec's, which change nothing; ErrUnavailable; ErrIndeterminate.
func (c *Cache[V]) Set(ctx context.Context, key string, value V, opts ...CallOption) error {
	if err := checkKey(key); err != nil {
		return c.fail("set", err)
	}
	set, err := c.settings(opts)
	if err != nil {
		return err
	}
	data, ttl, err := c.encode(&value, &set, 0)
	if err != nil {
		return c.fail("set", err)
	}
	_, err = c.core.Eval(ctx, setScript, c.pair(key), []string{data, millis(ttl)})
	c.changed(key)
	c.count.add(cInvalidations, 1)
	if err != nil {
		c.count.add(cErrors, 1)
		return c.fail("set", err)
	}
	return nil
}

// Delete removes keys, if they are there: one round trip per node. Loads of them that are under way,
// anywhere, can't store what they return (C1). With an error some keys may be gone and others not; it is
// safe to repeat.
func (c *Cache[V]) Delete(ctx context.Context, keys ...string) error {
	for _, key := range keys {
		if err := checkKey(key); err != nil {
			return c.fail("delete", err)
		}
	}
	var failed error
	for begin := 0; begin < len(keys); begin += chunk {
		part := keys[begin:min(begin+chunk, len(keys))]
		results := c.remove(ctx, part)
		for i, r := range results {
			c.changed(part[i])
			if _, err := core.Reply(r); err != nil {
				c.count.add(cErrors, 1)
				failed = err
			}
		}
	}
	c.count.add(cInvalidations, int64(len(keys)))
	if failed != nil {
		return c.fail("delete", failed)
	}
	return nil
}

// chunk is how many commands travel together.
const chunk = 500

// remove deletes values together with their leases.
func (s *store) remove(ctx context.Context, keys []string) []rueidis.RedisResult {
	if s.opt.HoldDown > 0 {
		calls := make([]core.Call, len(keys))
		for i, key := range keys {
			calls[i] = core.Call{Keys: s.pair(key), Args: []string{millis(s.opt.HoldDown)}}
		}
		return s.core.EvalMulti(ctx, holdScript, calls)
	}
	cmds := make([]rueidis.Completed, len(keys))
	for i, key := range keys {
		cmds[i] = s.core.B().Del().Key(s.pair(key)...).Build()
	}
	return s.core.DoMulti(ctx, cmds...)
}

// changed makes this process forget what it knew of a key, before a change of it returns: whoever
// asks from now on asks the server. Flights under way keep their callers.
func (c *Cache[V]) changed(key string) {
	c.flights.Forget(key)
	c.waiters.wake(key)
}

// encode makes an entry of a value. It returns it with its TTL on the server.
func (c *Cache[V]) encode(value *V, set *settings, cost time.Duration) (data string, ttl time.Duration, err error) {
	ttl = c.jitter(set.ttl)
	h := header{codec: c.opt.Codec.ID(), schema: c.schema, soft: c.serverNow() + ttl.Milliseconds(), cost: costOf(cost)}
	buf, err := c.opt.Codec.Append(h.seal(nil), value)
	if err != nil {
		return "", 0, err
	}
	if size := len(buf) - headerSize; size > c.opt.MaxValueBytes {
		return "", 0, fault.New(redstart.ErrTooLarge, fmt.Errorf("the value has %d bytes encoded", size), fmt.Sprintf("at most %d: raise Options.MaxValueBytes, or store less", c.opt.MaxValueBytes))
	}
	return rueidis.BinaryString(buf), ttl, nil
}

// encodeNegative makes the entry that remembers ErrNotFound.
func (s *store) encodeNegative() (data string, ttl time.Duration) {
	ttl = s.jitter(s.opt.NegativeTTL)
	h := header{flags: flagNegative, codec: s.opt.Codec.ID(), schema: s.schema, soft: s.serverNow() + ttl.Milliseconds()}
	return rueidis.BinaryString(h.seal(nil)), ttl
}

// jitter takes up to its part off a TTL.
func (s *store) jitter(ttl time.Duration) time.Duration {
	if s.opt.Jitter == 0 {
		return ttl
	}
	return max(ttl-time.Duration(s.opt.Jitter*rand.Float64()*float64(ttl)), time.Millisecond)
}
