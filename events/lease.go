package events

import "time"

// deadline is passed when either clock says so: the monotonic one stops while a machine is suspended.
type deadline struct{ at time.Time }

func (d deadline) passed(now time.Time) bool {
	return !now.Before(d.at) || !now.Round(0).Before(d.at.Round(0))
}

// renewed moves the end of the lease, counted from before the turn was sent.
func (x *session) renewed(sent time.Time) {
	x.run.mu.Lock()
	defer x.run.mu.Unlock()
	x.until = deadline{sent.Add(x.d.opt.Lease - x.d.opt.Lease/leaseMargin)}
	x.watchdog.Reset(time.Until(x.until.at))
	if x.stalled {
		x.stalled = false
		for _, l := range x.lanes {
			x.start(l)
			x.run.offer(l) // it gave its slot back when it stopped
		}
	}
}

// expire ends the handlers' context when the lease is over (E2).
func (x *session) expire() {
	x.run.mu.Lock()
	left := time.Until(x.until.at)
	passed := x.until.passed(time.Now())
	if !passed && x.phase != over {
		x.watchdog.Reset(left)
	}
	x.run.mu.Unlock()
	if passed {
		x.cancel(ErrLost)
	}
}

func (x *session) lapsed() bool {
	x.run.mu.Lock()
	defer x.run.mu.Unlock()
	return x.until.passed(time.Now())
}
