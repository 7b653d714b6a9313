package cache

import (
	"errors"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/redstart-go/redstart/internal/fault"
)

// pending remembers the invalidations that the server did not confirm. They are replayed until the server confirms them, so that
// an outage leaves no stale entry. A replay is safe at any time: it can only turn a hit into a miss.
//
// Until then this process does not read what it failed to invalidate. Other processes may read it: they can't know. If this process
// ends first, the entries last until their TTL.
type pending struct {
	siblings *siblings
	count    atomic.Int64
	mu       sync.Mutex
	keys     map[string]uint64 // to the number of the last failure: see siblings
	refs     map[ref]uint64
	prefixes map[string]uint64 // of DeletePrefix
	running  bool
	turn     chan struct{} // holds one: the goroutine that replays
}

const (
	// maxPending bounds the memory. Past it, one Clear replaces all pending invalidations.
	maxPending = 10_000
	// maxPendingPrefixes bounds what a read compares its key with.
	maxPendingPrefixes = 100
)

var errPending = fault.New(fault.ErrUnavailable, nil, "an invalidation of this key has not reached the server yet: it is being replayed")

// failures are what one call failed to invalidate.
type failures struct {
	keys     []string
	refs     []ref
	prefixes []string
}

// worthReplaying distinguishes an outage from a refusal that a replay would meet again.
func worthReplaying(err error) bool { return err != nil && !errors.Is(err, fault.ErrDenied) }

func (p *pending) init() {
	p.keys, p.refs, p.prefixes = make(map[string]uint64), make(map[ref]uint64), make(map[string]uint64)
	p.turn = make(chan struct{}, 1)
}

// pend records failures and has them replayed. It comes before this process forgets what it knew, and nearEntry looks for pending
// invalidations. A read that has looked before, and found none, has its reservation poisoned.
//
//	read    pends? no ── reserve ── reply (old) ── pends? yes: not stored near
//	Delete                  failed, pend, forget
//
//	read    pends? no ── reserve ── reply (old) ── pends? no ──────── commit: refused
//	Delete                                            failed, pend, forget
func (c *Cache[V]) pend(f failures, err error) {
	c.points.Hold("pend", "")
	c.remember(f)
	c.core.Warn("cache: invalidations are pending: they are replayed until the server confirms them", c.name,
		"cache", c.name, "pending", c.pending.count.Load(), "error", err)
}

// invalidated ends the invalidation of a key: it is pending after an error, and ends the pending ones up to number if it confirms them.
func (c *Cache[V]) invalidated(key string, err error, number uint64, confirms bool) {
	if worthReplaying(err) {
		c.pend(failures{keys: []string{key}}, err)
	}
	c.changed(key) // see pend
	switch {
	case err != nil:
		c.count.add(cErrors, 1)
	case confirms:
		c.confirmed(number, failures{keys: []string{key}})
	}
}

func (c *Cache[V]) remember(f failures) {
	p := &c.pending
	p.mu.Lock()
	defer p.mu.Unlock()
	number := p.siblings.failed.Add(1)
	for _, key := range f.keys { // cloned: the caller's may be a part of a request, all of which it would keep
		p.keys[strings.Clone(key)] = number
	}
	for _, one := range f.refs {
		p.refs[ref{one.kind, strings.Clone(one.tag)}] = number
	}
	for _, prefix := range f.prefixes {
		p.prefixes[strings.Clone(prefix)] = number
	}
	if len(p.prefixes) > maxPendingPrefixes || len(p.keys)+len(p.refs)+len(p.prefixes) > maxPending {
		clear(p.keys)
		clear(p.prefixes)
		clear(p.refs)
		p.refs[clearRef] = number
	}
	p.recount()
	c.count.add(cOwed, int64(len(f.keys)+len(f.refs)+len(f.prefixes)))
	if !p.running {
		p.running = c.life.group.Go("replay of invalidations of cache "+c.name, c.replayAll)
	}
}

// recount holds the lock.
func (p *pending) recount() {
	n := int64(len(p.keys) + len(p.refs) + len(p.prefixes))
	p.siblings.pending.Add(n - p.count.Swap(n))
}

// hasKey reports whether an invalidation of key is pending. One of a tag concerns the entries with the tag alone: see checkTags.
func (p *pending) hasKey(key string) bool {
	if p.count.Load() == 0 {
		return false
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if _, ok := p.keys[key]; ok {
		return true
	}
	if _, ok := p.refs[clearRef]; ok {
		return true
	}
	for prefix := range p.prefixes {
		if strings.HasPrefix(key, prefix) {
			return true
		}
	}
	return false
}

func (p *pending) hasRef(r ref) bool {
	if p.count.Load() == 0 {
		return false
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	_, ok := p.refs[r]
	return ok
}

// confirm removes what the server has confirmed since, unless it failed again later.
func (p *pending) confirm(number uint64, f failures) {
	if p.count.Load() == 0 {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, key := range f.keys {
		removeUpTo(p.keys, key, number)
	}
	for _, one := range f.refs {
		removeUpTo(p.refs, one, number)
	}
	for _, prefix := range f.prefixes {
		removeUpTo(p.prefixes, prefix, number)
	}
	p.recount()
}

// confirmAll is confirm after a Clear, which includes every other invalidation.
func (p *pending) confirmAll(number uint64) {
	if p.count.Load() == 0 {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for key := range p.keys {
		removeUpTo(p.keys, key, number)
	}
	for one := range p.refs {
		removeUpTo(p.refs, one, number)
	}
	for prefix := range p.prefixes {
		removeUpTo(p.prefixes, prefix, number)
	}
	p.recount()
}

func removeUpTo[K comparable](m map[K]uint64, what K, number uint64) {
	if failed, ok := m[what]; ok && failed <= number {
		delete(m, what)
	}
}
