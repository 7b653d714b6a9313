package cache

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/redstart-go/redstart/internal/core"
)

// BatchLoader loads the values of several keys. A key that is absent from the result has no value.
// It gets the context of a [Loader].
type BatchLoader[V any] func(ctx context.Context, keys []string) (map[string]V, error)

// BatchError holds the errors of the keys of a batch that failed. The other keys succeeded.
// errors.Is and errors.As look into all of them.
type BatchError struct{ Keys map[string]error }

// Error returns the number of keys that failed, and one of the errors.
func (e *BatchError) Error() string {
	if len(e.Keys) == 0 {
		return "cache: no key of the batch failed"
	}
	first := slices.Min(slices.Collect(maps.Keys(e.Keys))) // the same key each time
	text := strings.TrimPrefix(e.Keys[first].Error(), "cache: ")
	if len(e.Keys) == 1 {
		return "cache: a key of the batch failed: " + text
	}
	return fmt.Sprintf("cache: %d keys of the batch failed, one of them: %s", len(e.Keys), text)
}

// Unwrap returns the errors of all keys.
func (e *BatchError) Unwrap() []error {
	all := make([]error, 0, len(e.Keys))
	for _, err := range e.Keys {
		all = append(all, err)
	}
	return all
}

// put adds the error of a key. It creates the BatchError if e is nil.
func (e *BatchError) put(key string, err error) *BatchError {
	if e == nil {
		e = &BatchError{Keys: make(map[string]error)}
	}
	e.Keys[key] = err
	return e
}

// GetMany returns the values of those keys that have one: one round trip per node for each 1,000
// keys or 8 MiB.
//
// If some keys can't be read, it returns the others with a [*BatchError].
func (c *Cache[V]) GetMany(ctx context.Context, keys []string) (map[string]V, error) {
	for _, key := range keys {
		if err := checkKey(key); err != nil {
			return nil, c.fail("get many", err)
		}
	}
	if err := c.usable(); err != nil {
		return nil, c.fail("get many", err)
	}
	ctx, end := c.observe(ctx, "get many")
	values := make(map[string]V, len(keys))
	var failed *BatchError
	rest := c.takeNearMany(keys, values, nil)
	for _, e := range c.readMany(ctx, rest) {
		switch {
		case e.err != nil:
			c.count.add(cErrors, 1)
			if v, from, ok, err := c.takeSuspect(e.key, e.err, 0); !ok {
				failed = failed.put(e.key, c.fail("get many", e.err))
			} else if c.degraded(ctx, policyOf(from), e.err); err == nil {
				values[e.key] = v
			}
		default:
			if e.state == fresh {
				values[e.key] = e.value
			}
			c.countFound(e.state)
		}
	}
	if failed != nil {
		end(failed)
		return values, failed
	}
	end(nil)
	return values, nil
}

// takeNearMany adds near-cached values to values and returns the other keys, each once.
func (c *Cache[V]) takeNearMany(keys []string, values map[string]V,
	early func(key string, e *nearEntry[V], now time.Duration)) []string {
	rest := make([]string, 0, len(keys))
	seen := make(map[string]struct{}, len(keys))
	now := c.core.Clock().Now()
	for _, key := range keys {
		if _, dup := seen[key]; dup {
			continue
		}
		seen[key] = struct{}{}
		if c.near != nil {
			if e := c.near.get(key, now); e != nil && now < e.soft {
				v, ok, err := c.takeNear(key, e)
				if !ok {
					rest = append(rest, key)
					continue
				}
				if err == nil {
					values[key] = v
				}
				if early != nil && now >= e.early {
					early(key, e, now)
				}
				continue
			}
		}
		rest = append(rest, key)
	}
	return rest
}

// SetMany stores several values: one round trip per node for each 500 values or 8 MiB.
//
// If a value can't be encoded, nothing changes. If the server fails, a [*BatchError] holds the keys
// that failed; their invalidations are pending, as after [Cache.Set].
func (c *Cache[V]) SetMany(ctx context.Context, values map[string]V, opts ...CallOption) error {
	for key := range values {
		if err := checkKey(key); err != nil {
			return c.fail("set many", err)
		}
	}
	set, err := c.settings(opts)
	if err != nil {
		return err
	}
	if err := c.usable(); err != nil {
		return c.fail("set many", err)
	}
	ctx, end := c.observe(ctx, "set many")
	err = c.setMany(ctx, values, &set)
	end(err)
	return err
}

func (c *Cache[V]) setMany(ctx context.Context, values map[string]V, set *settings) error {
	number := c.lastFailed()
	st, down := c.stamp(ctx, set)
	if down != nil {
		st = stamps{clear: &generation{}}
		set = &settings{ttl: set.ttl}
	}
	keys := make([]string, 0, len(values))
	calls, sizes := make([]core.Call, 0, len(values)), make([]int, 0, len(values))
	for key, value := range values {
		entry, err := c.encode(&value, set, &st, 0, false)
		if err != nil {
			return c.fail("set many", err)
		}
		keys = append(keys, key)
		sizes = append(sizes, len(entry.data))
		calls = append(calls, c.setting(key, &entry))
	}
	var failed *BatchError
	for begin, end := range partsOf(len(calls), func(i int) int { return sizes[i] }) {
		var results []core.Result
		if down == nil {
			results = c.core.EvalMulti(ctx, setScript, calls[begin:end])
		}
		for i := range calls[begin:end] {
			key, err := keys[begin+i], down
			if down == nil {
				_, err = results[i].Get()
			}
			if c.invalidated(key, err, number, true); err != nil {
				failed = failed.put(key, c.fail("set many", err))
			}
		}
	}
	c.count.add(cInvalidations, int64(len(keys)))
	if failed != nil {
		return failed
	}
	return nil
}

// partsOf splits n values into parts that are written one after the other. A part has at most chunk
// values, and at most partBytes bytes and one value.
func partsOf(n int, size func(i int) int) iter.Seq2[int, int] {
	return func(yield func(begin, end int) bool) {
		for begin := 0; begin < n; {
			end := begin
			for bytes := 0; end < min(begin+chunk, n) && bytes < partBytes; end++ {
				bytes += size(end)
			}
			if !yield(begin, end) {
				return
			}
			begin = end
		}
	}
}

// GetOrLoadMany returns the values of several keys, and loads the missing ones together (C7). Round
// trips per node: one for values that are stored; two more and the load on misses. A key without a
// value is absent from the result. Each key has a lease of its own: the call waits for keys that
// other processes load.
//
// If some keys fail, it returns the others with a [*BatchError].
func (c *Cache[V]) GetOrLoadMany(ctx context.Context, keys []string, load BatchLoader[V],
	opts ...CallOption) (map[string]V, error) {
	if load == nil {
		return nil, c.fail("get or load many", errNilLoader)
	}
	for _, key := range keys {
		if err := checkKey(key); err != nil {
			return nil, c.fail("get or load many", err)
		}
	}
	set, err := c.settings(opts)
	if err != nil {
		return nil, err
	}
	if err := c.usable(); err != nil {
		return nil, c.fail("get or load many", err)
	}
	ctx, end := c.observe(ctx, "get or load many")
	defer endPanicked(end)
	values, err := c.getOrLoadMany(ctx, keys, load, set)
	end(err)
	return values, err
}

func (c *Cache[V]) getOrLoadMany(ctx context.Context, keys []string, load BatchLoader[V], set settings) (map[string]V, error) {
	values := make(map[string]V, len(keys))
	var failed *BatchError
	take := func(key string, v V, err error, missing bool) {
		switch {
		case err == nil:
			values[key] = v
		case !missing:
			failed = failed.put(key, err)
		}
	}

	w := work[V]{values: values}
	rest := c.takeNearMany(keys, values, func(key string, e *nearEntry[V], now time.Duration) {
		if !e.negative && c.early(e.soft-now, e.cost) {
			w.early = append(w.early, wanted{key: key, seen: "=" + string(e.head[:])})
		}
	})
	for _, e := range c.readMany(ctx, rest) {
		c.sort(ctx, &w, &e, set.staleFor)
	}
	if ctx.Err() != nil {
		return values, c.fail("get or load many", ended(ctx))
	}

	src := source[V]{many: load}
	if len(w.early) > 0 {
		c.refresh(ctx, w.early, src, set)
	}
	again := c.serveStale(ctx, w.old, src, set, func(key string, v V, _ Source,
		err error) {
		take(key, v, err, errors.Is(err, ErrNotFound))
	})
	if miss := append(w.miss, again...); len(miss) > 0 {
		if err := c.ownKey(ctx, miss); err != nil {
			return values, c.fail("get or load many", err)
		}
		c.load(ctx, miss, src, set, func(i int, l loaded[V]) {
			if callEnded(ctx, l.err) {
				l.err = c.fail("get or load many", l.err)
			} else if l.err != nil && !l.missing && miss[i].offline && !errors.Is(l.err, errClosed) {
				if v, ok := c.takeStale(miss[i].key, set.staleFor); ok {
					c.degradedStale(ctx, miss[i].down, l.err)
					l.value, l.err = v, nil
				}
			}
			take(miss[i].key, l.value, l.err, l.missing)
		})
	}
	if failed != nil {
		return values, failed
	}
	return values, nil
}

// work is what a batch has found, and what it still has to do.
type work[V any] struct {
	values map[string]V
	early  []wanted      // to refresh early
	old    []staleKey[V] // to serve stale
	miss   []wanted      // to load
}

// sort adds one result to the work.
func (c *Cache[V]) sort(ctx context.Context, w *work[V], e *foundKey[V], staleFor time.Duration) {
	if e.err != nil {
		c.count.add(cErrors, 1)
		v, from, ok, err := c.takeSuspect(e.key, e.err, staleFor)
		if !ok {
			c.degraded(ctx, policyLoad, e.err)
			w.miss = append(w.miss, wanted{key: e.key, offline: true, down: e.err})
		} else if c.degraded(ctx, policyOf(from), e.err); err == nil {
			w.values[e.key] = v
		}
		return
	}
	switch e.state {
	case stale:
		w.old = append(w.old, staleKey[V]{e.key, e.head, e.value})
		return
	case fresh:
		w.values[e.key] = e.value
		if c.earlyFound(&e.found) {
			w.early = append(w.early, wanted{key: e.key, seen: "=" + e.head})
		}
	case missing, rejected:
		w.miss = append(w.miss, wanted{key: e.key, seen: rejectedHead(e.state, e.head)})
	}
	c.countFound(e.state)
}
