package cache

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redstart-go/redstart/internal/fault"
)

// replay remembers invalidations that the server did not confirm, and repeats them until it does, so that
// an outage leaves no stale entry behind. Repeating is safe: it can only make a miss of a hit.
//
// Meanwhile this process does not read what it failed to invalidate. Others may, until the server is back:
// they can't know. If this process ends first, what it owed stays on the server until its TTL.
type replay struct {
	family *siblings
	owed   atomic.Int64 // how many
	mu     sync.Mutex
	seq    uint64
	keys   map[string]uint64 // to the seq of the last failure
	refs   map[ref]uint64
	// prefixes are those of DeletePrefix.
	prefixes map[string]uint64
	running  bool
	turn     chan struct{} // holds one: who settles
}

// maxOwed bounds the memory. Past it, the whole cache is owed a Clear instead.
const maxOwed = 10_000

const (
	replayFirst = 50 * time.Millisecond
	replayMax   = time.Second
)

var errPending = fault.New(fault.ErrUnavailable, nil, "an invalidation of this key has not reached the server yet: it is being repeated")

// debt is what one failed call leaves.
type debt struct {
	keys     []string
	refs     []ref
	prefixes []string
}

// worthReplaying tells an outage from a refusal that will be repeated just the same.
func worthReplaying(err error) bool { return err != nil && !errors.Is(err, fault.ErrDenied) }

func (r *replay) init() { r.turn = make(chan struct{}, 1) }

func (c *Cache[V]) owesItself(key string) bool {
	r := &c.replay
	if r.owed.Load() == 0 {
		return false
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, ok := r.keys[key]; ok || len(r.refs) > 0 {
		return true
	}
	for prefix := range r.prefixes {
		if strings.HasPrefix(key, prefix) {
			return true
		}
	}
	return false
}

// owe remembers a failure and has it repeated. It comes before this process forgets what it knew, and nearEntry looks at what
// is owed: a read that has looked already, and found nothing, has its reservation poisoned.
//
//	read    owes? no ── reserve ── reply (old) ── owes? yes: not near
//	Delete                  failed, owe, forget
//
//	read    owes? no ── reserve ── reply (old) ── owes? no ──────── commit: refused
//	Delete                                            failed, owe, forget
func (c *Cache[V]) owe(d debt) {
	c.at("owe", "")
	r := &c.replay
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.keys == nil {
		r.keys, r.refs, r.prefixes = make(map[string]uint64), make(map[ref]uint64), make(map[string]uint64)
	}
	r.seq++
	for _, key := range d.keys {
		r.keys[key] = r.seq
	}
	for _, one := range d.refs {
		r.refs[one] = r.seq
	}
	for _, prefix := range d.prefixes {
		r.prefixes[prefix] = r.seq
	}
	if len(r.keys)+len(r.refs)+len(r.prefixes) > maxOwed {
		clear(r.keys)
		clear(r.prefixes)
		clear(r.refs)
		r.refs[clearRef] = r.seq
	}
	r.recount()
	c.count.add(cOwed, int64(len(d.keys)+len(d.refs)+len(d.prefixes)))
	if !r.running {
		r.running = c.core.Group().Go("replay of invalidations of cache "+c.name, c.repay)
	}
}

// recount holds the lock.
func (r *replay) recount() {
	n := int64(len(r.keys) + len(r.refs) + len(r.prefixes))
	r.family.owed.Add(n - r.owed.Swap(n))
}

func (c *Cache[V]) paidItself(keys []string) {
	r := &c.replay
	if r.owed.Load() == 0 {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, key := range keys {
		delete(r.keys, key)
	}
	r.recount()
}

// repay tries until nothing is owed.
func (c *Cache[V]) repay(ctx context.Context) {
	timer := time.NewTimer(replayFirst)
	defer timer.Stop()
	for wait := replayFirst; ; wait = min(2*wait, replayMax) {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		}
		c.settleItself(ctx)
		c.replay.mu.Lock()
		if c.replay.owed.Load() == 0 {
			c.replay.running = false
			c.replay.mu.Unlock()
			return
		}
		c.replay.mu.Unlock()
		timer.Reset(wait/2 + rand.N(wait/2+1))
	}
}

// settleItself repeats what is owed and reports whether all of it succeeded. It gives up at the first failure.
func (c *Cache[V]) settleItself(ctx context.Context) bool {
	r := &c.replay
	if r.owed.Load() == 0 {
		return true
	}
	select {
	case r.turn <- struct{}{}:
		defer func() { <-r.turn }()
	case <-ctx.Done():
		return false
	}
	c.at("settle", "")
	r.mu.Lock()
	keys, refs, prefixes := snapshot(r.keys), snapshot(r.refs), snapshot(r.prefixes)
	r.mu.Unlock()
	var epoch []owedItem[ref] // before the tags: see late
	if at := slices.IndexFunc(refs, func(one owedItem[ref]) bool { return one.what == epochRef }); at >= 0 {
		epoch, refs = refs[at:at+1:at+1], slices.Delete(slices.Clone(refs), at, at+1)
	}
	drop := func(part []ref) error { return c.dropRecords(ctx, part) }
	return repeat(c, r.keys, keys, func(part []string) error { return c.removeAll(ctx, part) }) &&
		repeat(c, r.refs, epoch, drop) && repeat(c, r.refs, refs, drop) &&
		repeat(c, r.prefixes, prefixes, func(part []string) error {
			for _, prefix := range part {
				if err := c.removePrefix(ctx, prefix); err != nil {
					return err
				}
			}
			return nil
		})
}

type owedItem[K comparable] struct {
	what K
	seq  uint64
}

func snapshot[K comparable](m map[K]uint64) []owedItem[K] {
	all := make([]owedItem[K], 0, len(m))
	for what, seq := range m {
		all = append(all, owedItem[K]{what, seq})
	}
	return all
}

// repeat works off one kind of debt, in parts.
func repeat[V any, K comparable](c *Cache[V], m map[K]uint64, items []owedItem[K], do func([]K) error) bool {
	for begin := 0; begin < len(items); begin += chunk {
		part := items[begin:min(begin+chunk, len(items))]
		what := make([]K, len(part))
		for i := range part {
			what[i] = part[i].what
		}
		if err := do(what); err != nil && worthReplaying(err) {
			return false
		}
		c.at("repeated", "")
		c.replay.mu.Lock()
		for _, item := range part {
			if m[item.what] == item.seq { // not failed again meanwhile
				delete(m, item.what)
			}
		}
		c.replay.recount()
		c.replay.mu.Unlock()
		c.count.add(cReplayed, int64(len(part)))
	}
	return true
}

// removeAll deletes keys with their leases and returns the first error.
func (c *Cache[V]) removeAll(ctx context.Context, keys []string) error {
	var failed error
	for i, r := range c.remove(ctx, keys) {
		c.changed(keys[i])
		if _, err := r.Get(); err != nil && failed == nil {
			failed = err
		}
	}
	return failed
}
