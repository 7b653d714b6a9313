package events

import (
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

type busStats struct {
	published, duplicates, publishErrors, trimmed atomic.Int64

	mu          sync.Mutex
	subscribers []*Subscriber
}

func (b *busStats) add(s *Subscriber) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.subscribers = append(b.subscribers, s)
}

func (b *busStats) remove(s *Subscriber) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.subscribers = slices.DeleteFunc(b.subscribers, func(other *Subscriber) bool { return other == s })
}

func (b *busStats) all() []*Subscriber {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.subscribers)
}

// BusStats are a bus' counters in this process.
type BusStats struct {
	Published     int64 // events that Publish has sent
	Duplicates    int64 // of them, not stored because their ID had been published
	PublishErrors int64
	Trimmed       int64 // events that this process has cut from streams
}

func (b *busStats) snapshot() BusStats {
	return BusStats{Published: b.published.Load(), Duplicates: b.duplicates.Load(), PublishErrors: b.publishErrors.Load(), Trimmed: b.trimmed.Load()}
}

type subscriberStats struct {
	received, handled, failed, panics, unhandled, retries, deadLettered, parked, lost, givenBack, skipped atomic.Int64
	paused                                                                                                atomic.Bool
	gaps, dropped, filtered, probes, probesFailed                                                         atomic.Int64
	deferred, running, held, owned, lag, waiting, dead, delayed, oldest                                   atomic.Int64
}

// Stats are a subscriber's counters in this process, since it was made.
type Stats struct {
	Received     int64 // events that came from the server
	Handled      int64 // events whose handlers returned nil
	Failed       int64 // attempts that failed, panics and undecodable events included
	Panics       int64
	Unhandled    int64 // events that no handler matched
	Retries      int64 // attempts after the first
	DeadLettered int64
	Parked       int64 // events that were put behind a retry
	Skipped      int64 // events whose id was in the inbox
	Deferred     int64 // times that an event was left to another version of the group's program
	GivenBack    int64 // events that were given back unfinished at a shutdown or to another process
	Lost         int64 // leases that were lost
	Gaps         int64
	Dropped      int64 // live events for which there was no room
	Filtered     int64 // live events that came for a pattern's share of the bus, and that no pattern matched; not in Received
	Probes       int64 // liveness probes sent
	ProbesFailed int64
	InFlight     int64 // handlers running now
	Held         int64 // events in this process now, waiting or being handled
	Partitions   int64 // partitions that this process owns now
	// Lag is how many events of the owned partitions wait on the server: not read yet, or parked (Waiting). Oldest is the age of the oldest
	// event that waits there, or that was read and is not finished. As of the last look, at most a few seconds ago. Durable.
	Lag    int64
	Oldest time.Duration
	// Waiting is how many events of the owned partitions are parked on the server now, behind a retry or as the tail of a long
	// channel. Durable.
	Waiting int64
	// Dead is how many dead letters the owned partitions have, and Delayed how many of their events are not due yet; as of the last
	// look. Durable.
	Dead, Delayed int64
	Paused        bool // the group is paused, as of the last heartbeat; see Durable.Pause
}

// Stats returns the subscriber's counters.
func (s *Subscriber) Stats() Stats {
	c := &s.stats
	return Stats{
		Received: c.received.Load(), Handled: c.handled.Load(), Failed: c.failed.Load(), Panics: c.panics.Load(),
		Unhandled: c.unhandled.Load(), Retries: c.retries.Load(), DeadLettered: c.deadLettered.Load(), Parked: c.parked.Load(),
		Skipped: c.skipped.Load(), Deferred: c.deferred.Load(), GivenBack: c.givenBack.Load(), Lost: c.lost.Load(), Gaps: c.gaps.Load(), Dropped: c.dropped.Load(), Filtered: c.filtered.Load(),
		Probes: c.probes.Load(), ProbesFailed: c.probesFailed.Load(), InFlight: c.running.Load(), Held: c.held.Load(),
		Partitions: c.owned.Load(), Lag: c.lag.Load(), Waiting: c.waiting.Load(), Dead: c.dead.Load(), Delayed: c.delayed.Load(), Paused: c.paused.Load(), Oldest: age(c.oldest.Load()),
	}
}

// age is how long ago a time was, in ns since 1970; 0 has none.
func age(at int64) time.Duration {
	if at == 0 {
		return 0
	}
	return max(time.Since(time.Unix(0, at)), time.Millisecond)
}

func flag(on bool) float64 {
	if on {
		return 1
	}
	return 0
}

func (s *Stats) plus(o Stats) {
	s.Received += o.Received
	s.Handled += o.Handled
	s.Failed += o.Failed
	s.Panics += o.Panics
	s.Unhandled += o.Unhandled
	s.Retries += o.Retries
	s.DeadLettered += o.DeadLettered
	s.Parked += o.Parked
	s.Skipped += o.Skipped
	s.Deferred += o.Deferred
	s.GivenBack += o.GivenBack
	s.Lost += o.Lost
	s.Gaps += o.Gaps
	s.Dropped += o.Dropped
	s.Filtered += o.Filtered
	s.Probes += o.Probes
	s.ProbesFailed += o.ProbesFailed
	s.InFlight += o.InFlight
	s.Held += o.Held
	s.Partitions += o.Partitions
	s.Waiting += o.Waiting
	s.Lag += o.Lag
	s.Dead += o.Dead
	s.Delayed += o.Delayed
	s.Paused = s.Paused || o.Paused
	s.Oldest = max(s.Oldest, o.Oldest)
}
