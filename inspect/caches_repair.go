package inspect

import (
	"context"
	"errors"
	"fmt"

	"github.com/redstart-go/redstart/cache"
	"github.com/redstart-go/redstart/internal/cacheview"
)

// Value is a cached value, as its codec wrote it.
type Value struct {
	Explanation
	// Data is the encoded value, without compression. For codec JSON, it is the JSON text.
	Data []byte `json:"data"`
}

// maxShown bounds the value that Get returns, in bytes.
const maxShown = 1 << 20

// Get returns the stored value of the entry that [Caches.Explain] judges, also if a read would not
// serve it. The value may be secret: show it only if the operator requests it. It takes one round
// trip more than Explain. Errors: [ErrNotFound] if no value is stored; redstart.ErrTooLarge above
// 1 MiB; redstart.ErrCorrupt for an entry of another release.
func (c *Caches) Get(ctx context.Context, cache, key string) (Value, error) {
	reader, name := c.readerOf(cache, key)
	why, stored, err := c.explain(ctx, cache, key, reader, name)
	if err != nil {
		return Value{}, err
	}
	v := Value{Explanation: why}
	if v.Data, err = c.value(ctx, cache, key, stored); err != nil {
		return v, failure("get", quoted(cache)+" key "+quoted(key), err)
	}
	return v, nil
}

// value reads the payload of the entry that the reader uses, or else of the newest one.
func (c *Caches) value(ctx context.Context, cache, key string, stored *cacheview.Stored) ([]byte, error) {
	var chosen *cacheview.Entry
	for i := range stored.Entries {
		e := &stored.Entries[i]
		if chosen == nil || chosen.Reason == cacheview.OtherReader && e.Reason != cacheview.OtherReader {
			chosen = e
		}
	}
	switch {
	case chosen == nil || chosen.Negative:
		return nil, ErrNotFound
	case chosen.Reason == cacheview.Unreadable:
		return nil, fmt.Errorf("%w: %s", errUnreadable, chosen.Detail)
	}
	text, err := c.view.Value(ctx, c.in.core, cache, key, chosen, maxShown)
	return []byte(text), err
}

// Delete removes a key, as cache.Cache.Delete does: its value, its lease and its hold-down. Loads
// that are running can't store their result. It does not report whether a value was stored. It does
// not start a hold-down, because only the services know Options.HoldDown.
func (c *Caches) Delete(ctx context.Context, name, key string) error {
	return c.repair(ctx, "delete", name, key, func(caching *cache.Cache[[]byte]) error { return caching.Delete(ctx, key) })
}

// Expire makes a value stale at once, as cache.Cache.Expire does: it is served until its reload.
func (c *Caches) Expire(ctx context.Context, name, key string) error {
	return c.repair(ctx, "expire", name, key, func(caching *cache.Cache[[]byte]) error { return caching.Expire(ctx, key) })
}

// InvalidateTag ends every entry with a tag, as cache.Cache.InvalidateTags does.
func (c *Caches) InvalidateTag(ctx context.Context, name, tag string) error {
	return c.repair(ctx, "invalidate", name, tag, func(caching *cache.Cache[[]byte]) error { return caching.InvalidateTags(ctx, tag) })
}

// Clear ends every entry of a cache, as cache.Cache.Clear does. All services load all keys again:
// the source must bear that.
func (c *Caches) Clear(ctx context.Context, name string) error {
	return c.repair(ctx, "clear", name, "", func(caching *cache.Cache[[]byte]) error { return caching.Clear(ctx) })
}

// repair runs a public method of a Cache that exists for this call. If the method fails, its
// invalidation is pending: it moves to a Cache of this process with the same name.
func (c *Caches) repair(ctx context.Context, verb, name, part string, do func(*cache.Cache[[]byte]) error) error {
	_, err := c.in.repair(ctx, repair{"cache", verb, name, part}, func(context.Context) (int64, error) {
		caching, err := cache.New[[]byte](c.in.client, name, cache.Options{})
		if err != nil {
			return 0, err
		}
		if err := errors.Join(do(caching), caching.Close()); err != nil {
			return 0, err
		}
		return 1, nil
	})
	return err
}
