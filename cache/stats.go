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
	cOwed
	cReplayed
	counterCount
)

// counters are striped, so that cores which count at once don't wait for one cache line.
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

// Stats are the counters of one cache in this process, since New.
type Stats struct {
	NearHits      int64         // values and remembered ErrNotFound from this process' memory
	Hits          int64         // fresh values from the server
	Stale         int64         // stale values served
	NegativeHits  int64         // remembered ErrNotFound from the server
	Misses        int64         // nothing to serve
	Unreadable    int64         // entries that are none of ours, or of another version or codec (C5)
	Invalidated   int64         // entries found whose tags or cache were invalidated
	Loads         int64         // runs of loaders
	LoadErrors    int64         // of those: failed, ErrNotFound apart
	LoadTime      time.Duration // in all loads
	Refreshes     int64         // loads while an entry was served: stale ones and early ones
	RefreshErrors int64         // of those: failed
	HeldBack      int64         // refreshes that were not tried, since the last one of the key had just failed
	Waits         int64         // misses that waited for another process' load
	LeaseLost     int64         // loads that were overtaken and stored nothing (C1)
	NotStored     int64         // loaded values that can't be encoded, or are too large
	Errors        int64         // failures of the server that calls met
	Invalidations int64         // keys and tags of Delete, Expire, Set, DeletePrefix, InvalidateTags, Clear
	Owed          int64         // invalidations that failed and are repeated until they succeed
	Replayed      int64         // of those: done; past 10,000 one Clear stands for all
	Owing         int64         // of those: now open
	NearEntries   int64         // in memory now
	NearBytes     int64         // of those; 0 without Near.MaxBytes
	NearTooLarge  int64         // values that were not kept in memory, since they are larger than an eighth of Near.MaxBytes
}

// Stats returns what was counted so far.
func (c *Cache[V]) Stats() Stats {
	n := &c.count
	s := Stats{
		NearHits: n.sum(cNearHits), Hits: n.sum(cHits), Stale: n.sum(cStale), NegativeHits: n.sum(cNegativeHits), Misses: n.sum(cMisses),
		Unreadable: n.sum(cUnreadable), Invalidated: n.sum(cInvalidated), Loads: n.sum(cLoads), LoadErrors: n.sum(cLoadErrors),
		LoadTime: time.Duration(n.sum(cLoadNanos)), Refreshes: n.sum(cRefreshes), RefreshErrors: n.sum(cRefreshErrors), HeldBack: n.sum(cHeldBack), Waits: n.sum(cWaits), LeaseLost: n.sum(cLeaseLost),
		NotStored: n.sum(cNotStored), Errors: n.sum(cErrors), Invalidations: n.sum(cInvalidations), Owed: n.sum(cOwed),
		Replayed: n.sum(cReplayed), Owing: c.pending.count.Load(),
	}
	if c.near != nil {
		s.NearEntries = int64(c.near.entries.EstimatedSize())
		s.NearBytes, s.NearTooLarge = c.near.bytes.Load(), c.near.tooLarge.Load()
	}
	return s
}

// metrics yields Stats for package observe.
func (c *Cache[V]) metrics(yield func(observe.Metric) bool) bool {
	s := c.Stats()
	name := observe.Label{Name: "cache", Value: c.name}
	results := []struct {
		label string
		n     int64
	}{{"near", s.NearHits}, {"hit", s.Hits}, {"stale", s.Stale}, {"negative", s.NegativeHits}, {"miss", s.Misses}}
	for _, r := range results {
		if !yield(observe.Metric{Name: "redstart.cache.requests", Help: "Keys asked for, by what was found.", Unit: "1", Kind: observe.Counter,
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
		{"invalidated", "Entries found whose tags or cache were invalidated.", "1", observe.Counter, float64(s.Invalidated)},
		{"loads", "Runs of loaders.", "1", observe.Counter, float64(s.Loads)},
		{"load.errors", "Loads that failed.", "1", observe.Counter, float64(s.LoadErrors)},
		{"load.time", "Time in loaders.", "s", observe.Counter, s.LoadTime.Seconds()},
		{"refreshes", "Loads while an entry was served.", "1", observe.Counter, float64(s.Refreshes)},
		{"refresh.errors", "Of those: failed.", "1", observe.Counter, float64(s.RefreshErrors)},
		{"refreshes.held_back", "Refreshes not tried because the last one of the key had just failed.", "1", observe.Counter, float64(s.HeldBack)},
		{"waits", "Misses that waited for another process' load.", "1", observe.Counter, float64(s.Waits)},
		{"lease.lost", "Loads that were overtaken and stored nothing.", "1", observe.Counter, float64(s.LeaseLost)},
		{"not_stored", "Loaded values that can't be encoded or are too large.", "1", observe.Counter, float64(s.NotStored)},
		{"errors", "Failures of the server that calls met.", "1", observe.Counter, float64(s.Errors)},
		{"invalidations", "Keys and tags invalidated.", "1", observe.Counter, float64(s.Invalidations)},
		{"owed", "Invalidations that failed.", "1", observe.Counter, float64(s.Owed)},
		{"replayed", "Failed invalidations that were repeated with success.", "1", observe.Counter, float64(s.Replayed)},
		{"owing", "Failed invalidations that are still open.", "1", observe.Gauge, float64(s.Owing)},
		{"near.entries", "Entries in this process' memory.", "1", observe.Gauge, float64(s.NearEntries)},
		{"near.bytes", "Memory of those, where it is bounded.", "By", observe.Gauge, float64(s.NearBytes)},
		{"near.too_large", "Values that were not kept in memory because of their size.", "1", observe.Counter, float64(s.NearTooLarge)},
	} {
		if !yield(observe.Metric{Name: "redstart.cache." + m.name, Help: m.help, Unit: m.unit, Kind: m.kind, Labels: []observe.Label{name}, Value: m.value}) {
			return false
		}
	}
	return true
}
