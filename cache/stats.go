package cache

import (
	"sync/atomic"
	"time"

	"github.com/redstart-go/redstart/internal/stripe"
	"github.com/redstart-go/redstart/observe"
)

type counter int

const (
	cNearHits counter = iota
	cHits
	cStale
	cNegativeHits
	cMisses
	cUnreadable
	cInvalidated
	cLoads
	cLoadErrors
	cLoadNanos
	cRefreshes
	cRefreshErrors
	cHeldBack
	cWaits
	cLeaseLost
	cNotStored
	cErrors
	cInvalidations
	cFailedInvalidations
	cReplayedInvalidations
	counterCount
)

// counters are striped: cores that count at the same time don't wait for one cache line.
type counters struct {
	stripes [stripes]struct {
		n [counterCount]atomic.Int64
		_ [64]byte
	}
}

const stripes = 16

func (c *counters) add(what counter, n int64) { c.stripes[stripe.Of(stripes)].n[what].Add(n) }

func (c *counters) sum(what counter) (n int64) {
	for i := range c.stripes {
		n += c.stripes[i].n[what].Load()
	}
	return n
}

// Stats are the counters of one cache in this process, since [New].
type Stats struct {
	NearHits              int64         // values and remembered ErrNotFound from the near cache
	Hits                  int64         // fresh values from the server
	Stale                 int64         // stale values served
	NegativeHits          int64         // remembered ErrNotFound from the server
	Misses                int64         // keys without an entry that could be served
	Unreadable            int64         // entries with another format, version or codec (C5)
	Invalidated           int64         // entries whose tags or cache were invalidated
	Loads                 int64         // runs of loaders
	LoadErrors            int64         // of Loads: failed; ErrNotFound is no failure
	LoadTime              time.Duration // total duration of all loads
	Refreshes             int64         // loads while an entry was served: stale or early
	RefreshErrors         int64         // of Refreshes: failed
	HeldBack              int64         // refreshes that were not tried, because the last one of the key had just failed
	Waits                 int64         // misses that waited for a load of another process
	LeaseLost             int64         // loads that an invalidation overtook, and that stored nothing (C1)
	NotStored             int64         // loaded values that can't be encoded, or are too large
	Errors                int64         // errors of the server that calls met
	Invalidations         int64         // keys and tags of Delete, Expire, Set, DeletePrefix, InvalidateTags and Clear
	FailedInvalidations   int64         // invalidations that failed and became pending
	ReplayedInvalidations int64         // pending invalidations that a replay has confirmed; one Clear may replace 10,000
	PendingInvalidations  int64         // invalidations that are pending now
	NearEntries           int64         // entries in the near cache now
	NearBytes             int64         // their memory in bytes; 0 without Near.MaxBytes
	NearTooLarge          int64         // values above an eighth of Near.MaxBytes, which were not kept
}

// Stats returns the counters.
func (c *Cache[V]) Stats() Stats {
	n := &c.count
	s := Stats{
		NearHits: n.sum(cNearHits), Hits: n.sum(cHits), Stale: n.sum(cStale),
		NegativeHits: n.sum(cNegativeHits), Misses: n.sum(cMisses),
		Unreadable: n.sum(cUnreadable), Invalidated: n.sum(cInvalidated), Loads: n.sum(cLoads), LoadErrors: n.sum(cLoadErrors),
		LoadTime: time.Duration(n.sum(cLoadNanos)), Refreshes: n.sum(cRefreshes),
		RefreshErrors: n.sum(cRefreshErrors), HeldBack: n.sum(cHeldBack), Waits: n.sum(cWaits),
		LeaseLost: n.sum(cLeaseLost),
		NotStored: n.sum(cNotStored), Errors: n.sum(cErrors), Invalidations: n.sum(cInvalidations),
		FailedInvalidations:   n.sum(cFailedInvalidations),
		ReplayedInvalidations: n.sum(cReplayedInvalidations), PendingInvalidations: c.pending.count.Load(),
	}
	if c.near != nil {
		s.NearEntries = int64(c.near.entries.EstimatedSize())
		s.NearBytes, s.NearTooLarge = c.near.bytes.Load(), c.near.tooLarge.Load()
	}
	return s
}

// metrics yields the counters for package observe.
func (c *Cache[V]) metrics(yield func(observe.Metric) bool) bool {
	s := c.Stats()
	name := observe.Label{Name: "cache", Value: c.name}
	results := []struct {
		label string
		n     int64
	}{{"near", s.NearHits}, {"hit", s.Hits}, {"stale", s.Stale}, {"negative", s.NegativeHits}, {"miss", s.Misses}}
	for _, r := range results {
		if !yield(observe.Metric{Name: "redstart.cache.requests",
			Help: "Keys that calls asked for, by result.", Unit: "1", Kind: observe.Counter,
			Labels: []observe.Label{name, {Name: "result", Value: r.label}}, Value: float64(r.n)}) {
			return false
		}
	}
	for _, m := range []struct {
		name, help, unit string
		kind             observe.Kind
		value            float64
	}{
		{"unreadable", "Entries of another format, version or codec.", "1", observe.Counter, float64(s.Unreadable)},
		{"invalidated", "Entries whose tags or cache were invalidated.", "1", observe.Counter, float64(s.Invalidated)},
		{"loads", "Runs of loaders.", "1", observe.Counter, float64(s.Loads)},
		{"load.errors", "Loads that failed.", "1", observe.Counter, float64(s.LoadErrors)},
		{"load.time", "Duration of all loads.", "s", observe.Counter, s.LoadTime.Seconds()},
		{"refreshes", "Loads while an entry was served.", "1", observe.Counter, float64(s.Refreshes)},
		{"refresh.errors", "Refreshes that failed.", "1", observe.Counter, float64(s.RefreshErrors)},
		{"refreshes.held_back", "Refreshes that were not tried, because the last one of the key had just failed.", "1",
			observe.Counter, float64(s.HeldBack)},
		{"waits", "Misses that waited for a load of another process.", "1", observe.Counter, float64(s.Waits)},
		{"lease.lost", "Loads that an invalidation overtook, and that stored nothing.", "1", observe.Counter,
			float64(s.LeaseLost)},
		{"not_stored", "Loaded values that can't be encoded or are too large.", "1", observe.Counter, float64(s.NotStored)},
		{"errors", "Errors of the server that calls met.", "1", observe.Counter, float64(s.Errors)},
		{"invalidations", "Keys and tags invalidated.", "1", observe.Counter, float64(s.Invalidations)},
		{"invalidations.failed", "Invalidations that failed and became pending.", "1", observe.Counter,
			float64(s.FailedInvalidations)},
		{"invalidations.replayed", "Pending invalidations that a replay has confirmed.", "1", observe.Counter,
			float64(s.ReplayedInvalidations)},
		{"invalidations.pending", "Invalidations that are pending now.", "1", observe.Gauge, float64(s.PendingInvalidations)},
		{"near.entries", "Entries in the near cache.", "1", observe.Gauge, float64(s.NearEntries)},
		{"near.bytes", "Memory of the near cache, if Near.MaxBytes bounds it.", "By", observe.Gauge, float64(s.NearBytes)},
		{"near.too_large", "Values that are too large for the near cache.", "1", observe.Counter, float64(s.NearTooLarge)},
	} {
		if !yield(observe.Metric{Name: "redstart.cache." + m.name, Help: m.help, Unit: m.unit, Kind: m.kind,
			Labels: []observe.Label{name}, Value: m.value}) {
			return false
		}
	}
	return true
}
