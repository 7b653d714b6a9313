package flight

import "context"

// Claim is a flight whose load is not a function of its own: one of several that a batch brings home
// together. Who claims a key must Finish it.
type Claim[K comparable, V any] struct {
	group *Group[K, V]
	key   K
	call  *call[V]
	ctx   context.Context
}

// Claim begins a flight for key with one waiter, the caller. It is nil if one is under way, which Do will join,
// or if the Group is closed.
func (g *Group[K, V]) Claim(ctx context.Context, key K) *Claim[K, V] {
	loadCtx, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
	c := &call[V]{done: make(chan struct{}), cancel: cancel, waiters: 1}
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed || g.calls[key] != nil {
		cancel(nil)
		return nil
	}
	g.add(key, c)
	return &Claim[K, V]{group: g, key: key, call: c, ctx: loadCtx}
}

// Key is what was claimed.
func (c *Claim[K, V]) Key() K { return c.key }

// Context ends when the last one who waits for the key has left, when the Group closes, and with Finish.
func (c *Claim[K, V]) Context() context.Context { return c.ctx }

// Finish gives the result to everyone who waits. Only the first one counts.
func (c *Claim[K, V]) Finish(v V, err error) {
	c.group.mu.Lock()
	_, running := c.group.running[c.call]
	c.group.mu.Unlock()
	if running {
		c.group.finish(c.key, c.call, v, err)
	}
}

// Wait is the claimer's own wait, as in Do: it leaves when its ctx ends.
func (c *Claim[K, V]) Wait(ctx context.Context) (v V, shared bool, err error) {
	return c.group.wait(ctx, c.key, c.call, false)
}
