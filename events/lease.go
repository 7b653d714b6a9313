package events

import "time"

// deadline is passed when either clock says so: the monotonic one stops while a machine is suspended.
type deadline struct{ at time.Time }

func (d deadline) passed(now time.Time) bool {
	return !now.Before(d.at) || !now.Round(0).Before(d.at.Round(0))
}

// renewed moves the end of the lease, counted from before the turn was sent.
// It reports false if the handlers' context has ended in the meantime: an answer that comes at the last moment brings no owner back.
func (x *session) renewed(sent time.Time) bool {
	x.run.mu.Lock()
	defer x.run.mu.Unlock()
	if x.expired {
		return false
	}
	x.until = deadline{sent.Add(x.d.opt.Lease - x.d.opt.Lease/leaseMargin)}
	x.watchdog.Reset(time.Until(x.until.at))
	if x.stalled {
		x.stalled = false
		for _, l := range x.lanes {
			x.start(l)
			x.run.offer(l) // it gave its slot back when it stopped
		}
	}
	return true
}

// expire ends the handlers' context when the lease is over (E2).
func (x *session) expire() {
	x.run.mu.Lock()
	defer x.run.mu.Unlock()
	switch {
	case x.until.passed(time.Now()):
		x.expired = true
		x.cancel(ErrLost)
		x.kick()
	case x.phase != over:
		x.watchdog.Reset(time.Until(x.until.at))
	}
}

func (x *session) lapsed() bool {
	x.run.mu.Lock()
	defer x.run.mu.Unlock()
	return x.expired || x.until.passed(time.Now())
}
