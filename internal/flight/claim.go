package flight

import "context"

// Claim is one caller's part in an in-flight load. The claim that began the load must call Finish.
type Claim[K comparable, V any] struct {
	group *Group[K, V]
	key   K
	call  *call[V]
	ctx   context.Context // of the claim that began the load
}

// Join joins the running load of key, or begins one, which the caller must Finish. A detached load
// continues when its last caller leaves. Join returns nil if the Group is closed.
func (g *Group[K, V]) Join(ctx context.Context, key K, detached bool) (claim *Claim[K, V], begun bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed {
		return nil, false
	}
	if c := g.calls[key]; c != nil {
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

// Context returns the context of the load, for the claim that began it. It ends when the last
// caller has left a load that is not detached, when the Group closes, and with Finish.
func (c *Claim[K, V]) Context() context.Context { return c.ctx }

// Finish gives the result to all callers. Only the first call has an effect.
func (c *Claim[K, V]) Finish(v V, err error) {
	c.group.mu.Lock()
	_, running := c.group.running[c.call]
	c.group.mu.Unlock()
	if running {
		c.group.finish(c.key, c.call, v, err)
	}
}

// Wait returns the result. If ctx ends first, the caller leaves and Wait returns ctx.Err(). If the
// load panics, Wait panics with a *PanicError.
func (c *Claim[K, V]) Wait(ctx context.Context) (v V, shared bool, err error) {
	return c.group.wait(ctx, c.key, c.call, c.ctx == nil)
}

// Leave removes the caller without a result. If the caller was the last, cause becomes the cause of
// the load's context.
func (c *Claim[K, V]) Leave(cause error) { c.group.leave(cause, c.key, c.call) }
