package cache

import (
	"hash/maphash"
	"reflect"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/maypok86/otter/v2"

	"github.com/redstart-go/redstart/internal/failpoint"
)

// nearCache holds values in this process, while the server pushes their changes (C3).
type nearCache[V any] struct {
	entries  *otter.Cache[string, *nearEntry[V]]
	ttl      time.Duration
	era      *era
	points   *failpoint.Points // of the cache
	seed     maphash.Seed
	shards   [64]nearShard
	closed   atomic.Bool
	budget   nearBudget[V]
	bytes    atomic.Int64 // of all entries; 0 without Near.MaxBytes
	tooLarge atomic.Int64 // entries that were too large to keep
	sweeper  sweeper
	sweeping atomic.Bool
}

// nearEntry is a near-cached entry. It does not change after it is stored.
type nearEntry[V any] struct {
	value    V       // unless each caller gets a fresh decode
	encoded  encoded // for a fresh decode
	negative bool
	suspect  bool   // from the beginning: see near_suspect.go
	era      uint64 // in which the read began; 0 if suspect
	clear    *generation
	tags     []*generation

	// By the client's clock:
	expires time.Duration // not served from then on
	soft    time.Duration // stale from then on
	early   time.Duration // may be refreshed from then on
	cost    time.Duration
	bytes   int64          // see near_bytes.go
	head    [headSize]byte // an array: a substring would keep the whole entry in memory
}

// nearShard holds the reservations of reads. A read that began before an invalidation must not be
// stored after it:
//
//	reader      reserve ── GET ─────────── reply (old) ── commit: refused
//	connection                 invalidate
type nearShard struct {
	mu       sync.Mutex
	reserved map[string]*reserved
}

type reserved struct {
	readers int
	version uint64 // counts invalidations since the first of the readers
}

// ticket is the reservation of one reader.
type ticket struct {
	at      *reserved
	version uint64
	era     uint64
}

func newNearCache[V any](opt NearOptions, era *era, sweeper sweeper) (*nearCache[V], error) {
	n := &nearCache[V]{ttl: opt.TTL, era: era, seed: maphash.MakeSeed(), budget: newNearBudget[V](opt), sweeper: sweeper}
	var err error
	n.entries, err = otter.New(n.limit(opt))
	return n, err
}

// nearby reports whether there is a near cache, and the server pushes changes.
func (c *Cache[V]) nearby() bool { return c.near != nil && c.core.Capabilities().Tracking }

// get returns a current entry. It may be stale.
func (n *nearCache[V]) get(key string, now time.Duration) *nearEntry[V] {
	if e := n.last(key, now); e != nil && e.era == n.era.Load() {
		return e
	}
	return nil
}

// last returns a current or suspect entry. A suspect one may be served only while the server can't
// be reached.
func (n *nearCache[V]) last(key string, now time.Duration) *nearEntry[V] {
	e, ok := n.entries.GetIfPresent(key)
	if !ok || n.over(e, now) {
		return nil
	}
	return e
}

func (n *nearCache[V]) shard(key string) *nearShard {
	return &n.shards[maphash.String(n.seed, key)%uint64(len(n.shards))]
}

// reserve starts a reservation, before the read whose reply commit stores.
func (n *nearCache[V]) reserve(key string) ticket {
	n.points.Hold("reserve", key)
	s := n.shard(key)
	s.mu.Lock()
	defer s.mu.Unlock()
	r := s.reserved[key]
	if r == nil {
		if s.reserved == nil {
			s.reserved = make(map[string]*reserved)
		}
		r = &reserved{}
		s.reserved[key] = r
	}
	r.readers++
	return ticket{r, r.version, n.era.Load()}
}

// answered is the server's answer for a key. The zero value means that there is no answer.
type answered struct {
	yes  bool
	head string // of the entry on the server, if it is not stored in the near cache
}

// commit ends a reservation. It stores e, unless e is nil or the key was invalidated since the
// reservation. An answer of the server also removes an older suspect entry, unless the server still
// has that entry.
func (n *nearCache[V]) commit(key string, t ticket, e *nearEntry[V], answer answered) {
	n.points.Hold("commit", key)
	fits := e == nil || n.budget.fits(key, e)
	if !fits {
		n.tooLarge.Add(1)
	}
	if n.insert(key, t, e, fits, answer) {
		n.trim()
		n.watch()
	}
}

// insert ends a reservation. It reports whether e is stored.
func (n *nearCache[V]) insert(key string, t ticket, e *nearEntry[V], fits bool, answer answered) bool {
	s := n.shard(key)
	s.mu.Lock()
	defer s.mu.Unlock()
	if t.at.readers--; t.at.readers == 0 {
		delete(s.reserved, key)
	}
	// An invalidation holds the same lock: it comes before this check, or it removes what is stored
	// here.
	switch {
	case n.closed.Load():
	case e != nil && !fits: // an older entry differs from the value that the caller got
		n.entries.Invalidate(key)
	case e != nil && t.at.version == t.version:
		if !e.suspect {
			e.era = t.era // suspect if pushes were lost since the reservation
		}
		n.bytes.Add(e.bytes)
		n.entries.Set(strings.Clone(key), e) // cloned: the key may be a part of a request, which it would keep in memory
		return true
	case answer.yes:
		if old, ok := n.entries.GetIfPresent(key); ok && old.era < t.era && string(old.head[:]) != answer.head {
			n.entries.Invalidate(key)
		}
	}
	return false
}

// invalidate removes an entry and voids the reservations of its key.
func (n *nearCache[V]) invalidate(key string) {
	s := n.shard(key)
	s.mu.Lock()
	defer s.mu.Unlock()
	if r := s.reserved[key]; r != nil {
		r.version++
	}
	n.entries.Invalidate(key)
}

// invalidateFunc is invalidate for every key for which match is true.
func (n *nearCache[V]) invalidateFunc(match func(key string) bool) {
	for i := range n.shards {
		s := &n.shards[i]
		s.mu.Lock()
		for key, r := range s.reserved {
			if match(key) {
				r.version++
			}
		}
		s.mu.Unlock()
	}
	for key := range n.entries.Keys() {
		if match(key) {
			n.invalidate(key)
		}
	}
}

// sharing says how several callers get one value.
type sharing uint8

const (
	shareValue sharing = iota // as it is: a copy shares nothing that can change, or callers promised not to modify it
	shareClone                // by its method Clone
	shareBytes                // by a fresh decode for each
)

func sharingOf[V any](promised bool) sharing {
	if promised || immutable(reflect.TypeFor[V]()) {
		return shareValue
	}
	var v V
	if _, ok := any(v).(interface{ Clone() V }); ok {
		return shareClone
	}
	return shareBytes
}

var timeType = reflect.TypeFor[time.Time]()

// immutable reports whether a copy of a value shares nothing with it that can change.
func immutable(t reflect.Type) bool {
	if t == timeType { // its location never changes
		return true
	}
	switch t.Kind() {
	case reflect.Array:
		return immutable(t.Elem())
	case reflect.Struct:
		for i := range t.NumField() {
			if !immutable(t.Field(i).Type) {
				return false
			}
		}
		return true
	case reflect.String:
		return true
	}
	return t.Kind() >= reflect.Bool && t.Kind() <= reflect.Complex128 && t.Kind() != reflect.Uintptr
}
