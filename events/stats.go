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

// BusStats are the counters of a bus in this process.
type BusStats struct {
	Published     int64 // events that were published, with the duplicates
	Duplicates    int64 // events that were not stored because their ID was published before
	PublishErrors int64 // events that were not published
	Trimmed       int64 // events that this process has cut from streams
}

func (b *busStats) snapshot() BusStats {
	return BusStats{
		Published: b.published.Load(), Duplicates: b.duplicates.Load(),
		PublishErrors: b.publishErrors.Load(), Trimmed: b.trimmed.Load(),
	}
}

type subscriberStats struct {
	received, handled, failed, panics, unhandled, retries, deadLettered, parked, lost, givenBack, skipped atomic.Int64
	paused                                                                                                atomic.Bool
	gaps, dropped, filtered, probes, probesFailed                                                         atomic.Int64
	deferred, running, held, owned, lag, waiting, dead, delayed, oldest                                   atomic.Int64
}

// Stats are the counters of a subscriber in this process.
type Stats struct {
	Received     int64 // events from the server
	Handled      int64 // events whose handlers returned nil
	Failed       int64 // failed attempts, with panics and undecodable events
	Panics       int64 // panics of user code
	Unhandled    int64 // events that no handler matched
	Retries      int64 // attempts after the first one
	DeadLettered int64 // events that became dead letters
	Parked       int64 // events that were parked behind a retry
	Skipped      int64 // events whose id was in the inbox
	Deferred     int64 // times that an event waited for another version of the group's program
	GivenBack    int64 // events that returned to the group unfinished
	Lost         int64 // leases that were lost
	Gaps         int64 // known losses; see Gap
	Dropped      int64 // live events that were dropped because the queue was full
	// Filtered counts live events that arrived on a glob partition and matched no pattern. They are
	// not in Received.
	Filtered     int64
	Probes       int64 // liveness probes
	ProbesFailed int64 // liveness probes that did not return
	InFlight     int64 // handlers that run now
	Held         int64 // events in this process now, waiting or being handled
	Partitions   int64 // partitions that this process owns now

	// The gauges that follow are for Durable buses. They concern the owned partitions, and are at
	// most a few seconds old.

	Lag     int64         // events that are unread or parked
	Waiting int64         // parked events, behind a retry or in a long channel
	Delayed int64         // delayed events that are not due
	Dead    int64         // dead letters
	Oldest  time.Duration // age of the oldest event that waits or is being handled
	Paused  bool          // the group is paused; see Durable.Pause
}

// Stats returns the counters of the subscriber.
func (s *Subscriber) Stats() Stats {
	c := &s.stats
	return Stats{
		Received: c.received.Load(), Handled: c.handled.Load(), Failed: c.failed.Load(), Panics: c.panics.Load(),
		Unhandled: c.unhandled.Load(), Retries: c.retries.Load(), DeadLettered: c.deadLettered.Load(), Parked: c.parked.Load(),
		Skipped: c.skipped.Load(), Deferred: c.deferred.Load(), GivenBack: c.givenBack.Load(), Lost: c.lost.Load(),
		Gaps: c.gaps.Load(), Dropped: c.dropped.Load(), Filtered: c.filtered.Load(),
		Probes: c.probes.Load(), ProbesFailed: c.probesFailed.Load(), InFlight: c.running.Load(), Held: c.held.Load(),
		Partitions: c.owned.Load(), Lag: c.lag.Load(), Waiting: c.waiting.Load(), Delayed: c.delayed.Load(),
		Dead: c.dead.Load(), Oldest: age(c.oldest.Load()), Paused: c.paused.Load(),
	}
}

// age returns the age of a time in ns since 1970. The age of time 0 is 0.
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
