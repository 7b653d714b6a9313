package cache

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redstart-go/redstart/internal/lifecycle"
)

// life is what a Cache starts and registers, and Close ends.
type life struct {
	group      *lifecycle.Group // of the cache's goroutines
	ended      atomic.Bool
	once       sync.Once
	result     error
	unregister []func()
}

// closeLimit bounds Close, and closeGroup the wait for loaders after all other steps.
const (
	closeLimit = 2500 * time.Millisecond
	closeGroup = 2 * time.Second
)

// Close ends the cache in this process, in at most 2.5 s. It replays pending invalidations once, ends the loads that are under way,
// stops all goroutines of the cache, empties the near cache, and removes the cache's metrics. Entries on the server stay.
//
// Every later call, and every call that waits for a load, returns redstart.ErrUnavailable. An invalidation that is still pending is
// handed to another Cache of this name and client, or to the next that New makes. Stats still returns what was counted.
//
// redstart.Client.Close closes all caches of the client. A second Close waits for the first and returns the same. The error names
// loaders that ignore their context.
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

// usable is errClosed after Close.
func (s *store) usable() error {
	if s.life.ended.Load() {
		return errClosed
	}
	return nil
}

// close empties the near cache, and keeps reads that are under way from storing in it.
func (n *near[V]) close() {
	n.closed.Store(true)
	n.invalidateFunc(func(string) bool { return true })
}

// leave removes c from the siblings. What is pending goes to one of them, or waits for the next.
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

// take empties pending, and returns what was in it.
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
