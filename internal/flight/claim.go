package flight

import "context"

// Claim is one caller's part in a flight. The claim that began it must Finish it.
type Claim[K comparable, V any] struct {
	group *Group[K, V]
	key   K
	call  *call[V]
	ctx   context.Context // of a claim that began the flight
}

// Claim begins a flight for key with one waiter, the caller. It is nil if one is under way, or if the Group is closed. A
// detached flight goes on when its last waiter leaves.
func (g *Group[K, V]) Claim(ctx context.Context, key K, detached bool) *Claim[K, V] {
	if claim, begun := g.claim(ctx, key, detached, false); begun {
		return claim
	}
	return nil
}

// Join takes part in the flight of key: in the one that is under way, or in a new one, which the caller must Finish. It is nil
// if the Group is closed.
func (g *Group[K, V]) Join(ctx context.Context, key K, detached bool) (claim *Claim[K, V], begun bool) {
	return g.claim(ctx, key, detached, true)
}

func (g *Group[K, V]) claim(ctx context.Context, key K, detached, join bool) (claim *Claim[K, V], begun bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed {
		return nil, false
	}
	if c := g.calls[key]; c != nil {
		if !join {
			return nil, false
		}
		c.waiters++
		c.shared = true
		c.detached = c.detached || detached
		return &Claim[K, V]{group: g, key: key, call: c}, false
	}

	loadCtx, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
	c := &call[V]{done: make(chan struct{}), cancel: cancel, waiters: 1, detached: detached}
	g.add(key, c)
	return &Claim[K, V]{group: g, key: key, call: c, ctx: loadCtx}, true
}

// Key is what was claimed.
func (c *Claim[K, V]) Key() K { return c.key }

// Context is the load's, for the claim that began the flight: it ends when the last waiter has left a flight that is not
// detached, when the Group closes, and with Finish.
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

// Wait returns the result. It leaves when ctx ends, with ctx.Err(). A panic of the load is a panic of Wait, with a *PanicError.
func (c *Claim[K, V]) Wait(ctx context.Context) (v V, shared bool, err error) {
	return c.group.wait(ctx, c.key, c.call, c.ctx == nil)
}

// Leave takes the caller out without a result. cause is that of the load's context if the caller was the last.
func (c *Claim[K, V]) Leave(cause error) { c.group.leave(cause, c.key, c.call) }
