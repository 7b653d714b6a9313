package lock

import (
	"sync/atomic"
	"time"

	"github.com/redstart-go/redstart/observe"
)

// Stats are the counters of a Locker since [New]. Durations are sums.
type Stats struct {
	Acquired int64 // by Acquire, TryAcquire and Do
	Refused  int64 // calls that returned ErrNotAcquired
	Waited   int64 // acquires that waited
	Renewals int64
	Lost     int64         // locks that ended before Release
	Held     int64         // locks that are held now
	Waiting  int64         // acquires that wait now
	WaitTime time.Duration // of acquires that waited and got the lock
	HoldTime time.Duration
	// HandoffTime counts from a release until the next holder had the lock. It is up to one round
	// trip too long.
	HandoffTime time.Duration
	Handoffs    int64 // number of hand-offs in HandoffTime
}

type counters struct {
	acquired, refused, waited, renewals, lost, waiting, handoffs atomic.Int64
	waitTime, holdTime, handoffTime                              atomic.Int64
}

func (c *counters) held(d time.Duration) { c.holdTime.Add(int64(d)) }

func (c *counters) waitedFor(wait, handoff time.Duration) {
	c.waitTime.Add(int64(wait))
	if handoff > 0 && handoff < grantTTL+handoffMarginMax {
		c.handoffTime.Add(int64(handoff))
		c.handoffs.Add(1)
	}
}

// Stats returns the present counters.
func (l *Locker) Stats() Stats {
	s := &l.stats
	return Stats{
		Acquired: s.acquired.Load(), Refused: s.refused.Load(), Waited: s.waited.Load(), Renewals: s.renewals.Load(),
		Lost: s.lost.Load(), Held: int64(l.renewer.count()), Waiting: s.waiting.Load(),
		WaitTime: time.Duration(s.waitTime.Load()), HoldTime: time.Duration(s.holdTime.Load()),
		HandoffTime: time.Duration(s.handoffTime.Load()), Handoffs: s.handoffs.Load(),
	}
}

func (l *Locker) metrics(yield func(observe.Metric) bool) bool {
	s := l.Stats()
	labels := []observe.Label{{Name: "locker", Value: l.opt.Name}}
	for _, m := range []observe.Metric{
		{Name: "redstart.lock.acquired", Help: "Locks acquired.", Value: float64(s.Acquired)},
		{Name: "redstart.lock.refused", Help: "Acquires that ended because the lock was held by another.",
			Value: float64(s.Refused)},
		{Name: "redstart.lock.waited", Help: "Acquires that had to wait.", Value: float64(s.Waited)},
		{Name: "redstart.lock.renewals", Help: "Leases extended.", Value: float64(s.Renewals)},
		{Name: "redstart.lock.lost", Help: "Locks that ended before they were released.", Value: float64(s.Lost)},
		{Name: "redstart.lock.handoffs", Help: "Locks that came from a release to a waiter.", Value: float64(s.Handoffs)},
		{Name: "redstart.lock.wait_time", Help: "Time waited for locks that were acquired.", Unit: "s",
			Value: s.WaitTime.Seconds()},
		{Name: "redstart.lock.hold_time", Help: "Time that locks were held.", Unit: "s", Value: s.HoldTime.Seconds()},
		{Name: "redstart.lock.handoff_time", Help: "Time from releases until the next holders had the locks.",
			Unit: "s", Value: s.HandoffTime.Seconds()},
		{Name: "redstart.lock.held", Help: "Locks held now.", Kind: observe.Gauge, Value: float64(s.Held)},
		{Name: "redstart.lock.waiting", Help: "Acquires that wait now.", Kind: observe.Gauge, Value: float64(s.Waiting)},
	} {
		m.Labels = labels
		if m.Unit == "" {
			m.Unit = "1"
		}
		if !yield(m) {
			return false
		}
	}

	return true
}
