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

// near holds decoded values in this process, as long as the server would tell that they have changed (C3).
type near[V any] struct {
	entries  *otter.Cache[string, *nearEntry[V]]
	ttl      time.Duration
	era      *era
	points   *failpoint.Points // of the cache
	seed     maphash.Seed
	shards   [64]nearShard
	closed   atomic.Bool
	budget   nearBudget[V]
	bytes    atomic.Int64 // of all entries, with Near.MaxBytes
	tooLarge atomic.Int64 // entries that were not kept
	sweeper  sweeper
	sweeping atomic.Bool
}

// nearEntry is never changed once it is in.
type nearEntry[V any] struct {
	value    V       // unless values are decoded again for each caller
	encoded  encoded // then: what to decode
	negative bool
	suspect  bool   // from the beginning: see near_suspect.go
	era      uint64 // in which the read began; 0 for suspect
	clear    *record
	tags     []*record

	// By our clock:
	expires time.Duration // never served from then on
	soft    time.Duration // stale from then on
	early   time.Duration // worth thinking about a refresh from then on
	cost    time.Duration
	bytes   int64          // see near_bytes.go
	head    [headSize]byte // not a part of the string that was read, all of which it would keep
}

// nearShard poisons: a read that began before an invalidation must not be stored after it.
//
//	reader      reserve ── GET ─────────── reply (old) ── commit: refused
//	connection                 invalidate
type nearShard struct {
	mu       sync.Mutex
	reserved map[string]*reserved
}

type reserved struct {
	readers int
	version uint64 // of the invalidations since the first of the readers
}

// ticket is a reader's reservation.
type ticket struct {
	at      *reserved
	version uint64
	era     uint64
}

func newNear[V any](opt NearOptions, era *era, sweeper sweeper) (*near[V], error) {
	n := &near[V]{ttl: opt.TTL, era: era, seed: maphash.MakeSeed(), budget: newNearBudget[V](opt), sweeper: sweeper}
	var err error
	n.entries, err = otter.New(n.limit(opt))
	return n, err
}

// nearby reports whether there is a near cache, and a server that tells it of changes.
func (c *Cache[V]) nearby() bool { return c.near != nil && c.core.Capabilities().Tracking }

// get returns a valid entry, maybe a stale one.
func (n *near[V]) get(key string, now time.Duration) *nearEntry[V] {
	if e := n.last(key, now); e != nil && e.era == n.era.Load() {
		return e
	}
	return nil
}

// last is get, and returns suspect entries too: what may be served while the server can't be reached.
func (n *near[V]) last(key string, now time.Duration) *nearEntry[V] {
	e, ok := n.entries.GetIfPresent(key)
	if !ok || n.over(e, now) {
		return nil
	}
	return e
}

func (n *near[V]) shard(key string) *nearShard {
	return &n.shards[maphash.String(n.seed, key)%uint64(len(n.shards))]
}

// reserve comes before the read whose reply is to be committed.
func (n *near[V]) reserve(key string) ticket {
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

// answered is what the server said of a key. The zero answered means that it did not answer.
type answered struct {
	yes  bool
	head string // of the entry that it has, though that is not stored near
}

// commit ends a reservation and stores e, which may be nil, unless the key was invalidated since. An answer of the server also ends an
// older suspect entry, unless the server still has it.
func (n *near[V]) commit(key string, t ticket, e *nearEntry[V], answer answered) {
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
func (n *near[V]) insert(key string, t ticket, e *nearEntry[V], fits bool, answer answered) bool {
	s := n.shard(key)
	s.mu.Lock()
	defer s.mu.Unlock()
	if t.at.readers--; t.at.readers == 0 {
		delete(s.reserved, key)
	}
	// Under the lock that poisons: an invalidation comes before this check, or removes what is stored after it.
	switch {
	case n.closed.Load():
	case e != nil && !fits: // an older entry is not the value that its caller has now
		n.entries.Invalidate(key)
	case e != nil && t.at.version == t.version:
		if !e.suspect {
			e.era = t.era // a loss of pushes since then makes it suspect
		}
		n.bytes.Add(e.bytes)
		n.entries.Set(strings.Clone(key), e) // the caller's may be a part of a request, all of which it would keep
		return true
	case answer.yes:
		if old, ok := n.entries.GetIfPresent(key); ok && old.era < t.era && string(old.head[:]) != answer.head {
			n.entries.Invalidate(key)
		}
	}
	return false
}

// invalidate removes an entry and poisons the reads that began before.
func (n *near[V]) invalidate(key string) {
	s := n.shard(key)
	s.mu.Lock()
	defer s.mu.Unlock()
	if r := s.reserved[key]; r != nil {
		r.version++
	}
	n.entries.Invalidate(key)
}

// invalidateFunc is invalidate for every key of which match is true.
func (n *near[V]) invalidateFunc(match func(key string) bool) {
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

// sharing says how one value may go to many callers.
type sharing uint8

const (
	shareValue sharing = iota // nothing in it can be changed through a copy, or callers promised not to
	shareClone                // V has a Clone method
	shareBytes                // each caller gets a fresh decode
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

// immutable reports that a copy of a value shares nothing with it that can be changed.
func immutable(t reflect.Type) bool {
	if t == timeType { // its location is never changed
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
