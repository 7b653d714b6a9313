package cache

import (
	"errors"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/redstart-go/redstart/internal/fault"
)

// pending holds the invalidations that the server has not confirmed. They are replayed until the
// server confirms them, so that an outage leaves no stale entry. A replay is safe at any time: it
// can only turn a hit into a miss.
//
// Until then, this process does not read the keys concerned. Other processes may read them: they
// don't know of the invalidation. If this process ends first, the entries last until their TTL.
type pending struct {
	siblings *siblings
	count    atomic.Int64
	mu       sync.Mutex
	keys     map[string]uint64 // value: number of the last failure, see siblings
	refs     map[ref]uint64
	prefixes map[string]uint64 // of DeletePrefix
	running  bool
	turn     chan struct{} // has room for one: the goroutine that replays
}

const (
	// maxPending bounds the memory. One Clear replaces a larger number of pending invalidations.
	maxPending = 10_000
	// maxPendingPrefixes bounds the number of prefixes that each read compares with its key.
	maxPendingPrefixes = 100
)

var errPending = fault.New(fault.ErrUnavailable, nil,
	"an invalidation of this key is pending: it is replayed until the server confirms it")

// failures are the invalidations of one call that failed.
type failures struct {
	keys     []string
	refs     []ref
	prefixes []string
}

// worthReplaying reports whether an error is an outage. A replay would get a refusal again.
func worthReplaying(err error) bool { return err != nil && !errors.Is(err, fault.ErrDenied) }

func (p *pending) init() {
	p.keys, p.refs, p.prefixes = make(map[string]uint64), make(map[ref]uint64), make(map[string]uint64)
	p.turn = make(chan struct{}, 1)
}

// pend records failed invalidations and starts their replay. The caller forgets local state after
// pend. nearEntry looks for pending invalidations. If a read looked before pend, its reservation is
// void:
//
//	read    pends? no ── reserve ── reply (old) ── pends? yes: not stored
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

// invalidated ends the invalidation of one key. After an error the invalidation is pending. With
// confirms, success also ends the pending invalidations up to number.
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
	for _, key := range f.keys { // cloned: the key may be a part of a request, which it would keep in memory
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
	c.count.add(cFailedInvalidations, int64(len(f.keys)+len(f.refs)+len(f.prefixes)))
	if !p.running {
		p.running = c.life.group.Work("replay of invalidations of cache "+c.name, c.replayAll)
	}
}

// recount updates the counts. The caller holds the lock.
func (p *pending) recount() {
	n := int64(len(p.keys) + len(p.refs) + len(p.prefixes))
	p.siblings.pending.Add(n - p.count.Swap(n))
}

// hasKey reports whether an invalidation of key is pending. An invalidation of a tag concerns only
// entries with the tag: see checkTags.
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

// confirm removes invalidations that the server has confirmed. One that failed again later, with a
// number above number, stays.
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
