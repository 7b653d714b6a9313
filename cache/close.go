package cache

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redstart-go/redstart/internal/lifecycle"
)

// life holds what a Cache starts and registers. Close ends it.
type life struct {
	group      *lifecycle.Group // the goroutines of the cache
	ended      atomic.Bool
	once       sync.Once
	result     error
	unregister []func()
}

// closeLimit bounds Close. closeGroup bounds its last step, the wait for loaders.
const (
	closeLimit = 2500 * time.Millisecond
	closeGroup = 2 * time.Second
)

// Close closes the cache in this process, in at most 2.5 s. It replays pending invalidations once,
// ends running loads, stops all goroutines of the cache, empties the near cache, and removes the
// cache's metrics. Entries on the server stay.
//
// Later calls, and calls that wait for a load, return redstart.ErrUnavailable. An invalidation that
// is still pending moves to another Cache with this name and client, or to the next that [New]
// creates. [Cache.Stats] still works.
//
// redstart.Client.Close closes all caches of the client. A second Close waits for the first and
// returns the same error. The error names loaders that ignore their context.
func (c *Cache[V]) Close() error {
	ctx, cancel := context.WithTimeout(context.Background(), closeLimit)
	defer cancel()
	return c.close(ctx)
}

func (c *Cache[V]) close(ctx context.Context) error {
	c.life.once.Do(func() { c.life.result = c.end(ctx) })
	return c.life.result
}

func (c *Cache[V]) end(ctx context.Context) error {
	c.life.ended.Store(true)
	if c.pending.count.Load() > 0 {
		c.replay(ctx)
	}
	err := errors.Join(c.flights.Close(ctx), c.refreshes.Close(ctx), c.life.group.Close(closeGroup))

	for _, remove := range c.life.unregister {
		remove()
	}
	c.leave()
	if c.near != nil {
		c.near.close()
	}
	if err != nil {
		return c.fail("close", err)
	}
	return nil
}

// usable returns errClosed after Close.
func (s *store) usable() error {
	if s.life.ended.Load() {
		return errClosed
	}
	return nil
}

// close empties the near cache. Reads that are running store nothing in it.
func (n *nearCache[V]) close() {
	n.closed.Store(true)
	n.invalidateFunc(func(string) bool { return true })
}

// leave removes c from its siblings. Its pending invalidations move to one of them, or wait for the
// next sibling.
func (c *Cache[V]) leave() {
	all, p := c.pending.siblings, &c.pending
	all.mu.Lock()
	defer all.mu.Unlock()

	var rest []sibling
	for _, one := range all.list() {
		if one != sibling(c) {
			rest = append(rest, one)
		}
	}
	left := p.take()
	switch {
	case left.count() == 0:
	case len(rest) > 0:
		rest[0].remember(left)
	default:
		all.left = left
	}
	all.all.Store(&rest)
}

// take removes and returns all pending invalidations.
func (p *pending) take() failures {
	p.mu.Lock()
	defer p.mu.Unlock()
	f := failures{keys: listOf(p.keys), refs: listOf(p.refs), prefixes: listOf(p.prefixes)}
	clear(p.keys)
	clear(p.refs)
	clear(p.prefixes)
	p.recount()
	return f
}

func (f failures) count() int { return len(f.keys) + len(f.refs) + len(f.prefixes) }
