package cache

import (
	"context"
	"math/rand/v2"
	"slices"
	"time"
)

const (
	replayFirst = 50 * time.Millisecond
	replayMax   = time.Second
)

// replayAll replays until no invalidation is pending. It is the only goroutine that replays, except
// for Close. No caller waits for a replay.
func (c *Cache[V]) replayAll(ctx context.Context) {
	timer := time.NewTimer(replayFirst)
	defer timer.Stop()
	before := c.count.sum(cReplayedInvalidations)
	for wait := replayFirst; ; wait = min(2*wait, replayMax) {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		}
		c.replay(ctx)
		c.pending.mu.Lock()
		if c.pending.count.Load() == 0 {
			c.pending.running = false
			c.pending.mu.Unlock()
			c.core.Warn("cache: no invalidation is pending any more", c.name, "cache", c.name, "replayed",
				c.count.sum(cReplayedInvalidations)-before)
			return
		}
		c.pending.mu.Unlock()
		timer.Reset(wait/2 + rand.N(wait/2+1))
	}
}

// replay repeats each pending invalidation once. A failure does not delay the others, whose servers
// may be reachable.
func (c *Cache[V]) replay(ctx context.Context) {
	p := &c.pending
	select {
	case p.turn <- struct{}{}:
		defer func() { <-p.turn }()
	case <-ctx.Done():
		return
	}
	c.points.Hold("replay", "")
	p.mu.Lock()
	number := p.siblings.failed.Load() // later failures get a higher number
	keys, refs, prefixes := listOf(p.keys), listOf(p.refs), listOf(p.prefixes)
	p.mu.Unlock()

	for part := range slices.Chunk(keys, chunk) {
		c.replayed(number, failures{keys: confirmedOf(part, c.removeAll(ctx, part))})
	}
	c.replayRefs(ctx, number, refs)
	for _, prefix := range prefixes {
		if err := c.removePrefix(ctx, prefix); !worthReplaying(err) {
			c.replayed(number, failures{prefixes: []string{prefix}})
		}
	}
}

// replayRefs changes the epoch before the tags: see late.
func (c *Cache[V]) replayRefs(ctx context.Context, number uint64, refs []ref) {
	var first, tags []ref
	for _, r := range refs {
		if r.kind == tagSuffix {
			tags = append(tags, r)
		} else {
			first = append(first, r)
		}
	}
	confirmed := confirmedOf(first, c.dropGenerations(ctx, first))
	c.replayed(number, failures{refs: confirmed})
	if slices.Contains(first, epochRef) && !slices.Contains(confirmed, epochRef) {
		return
	}
	c.replayed(number, failures{refs: confirmedOf(tags, c.dropGenerations(ctx, tags))})
}

// replayed ends pending invalidations, unless they failed again in the meantime.
func (c *Cache[V]) replayed(number uint64, f failures) {
	n := len(f.keys) + len(f.refs) + len(f.prefixes)
	if n == 0 {
		return
	}
	c.points.Hold("replayed", "")
	c.pending.confirm(number, f)
	c.count.add(cReplayedInvalidations, int64(n))
}

func listOf[K comparable](m map[K]uint64) []K {
	all := make([]K, 0, len(m))
	for what := range m {
		all = append(all, what)
	}
	return all
}

// confirmedOf returns those that need no further replay.
func confirmedOf[K any](all []K, errs []error) []K {
	confirmed := make([]K, 0, len(all))
	for i, err := range errs {
		if !worthReplaying(err) {
			confirmed = append(confirmed, all[i])
		}
	}
	return confirmed
}

// removeAll deletes keys with their leases. It returns an error for each.
func (c *Cache[V]) removeAll(ctx context.Context, keys []string) []error {
	errs := make([]error, len(keys))
	for i, r := range c.remove(ctx, keys) {
		c.changed(keys[i])
		_, errs[i] = r.Get()
	}
	return errs
}
