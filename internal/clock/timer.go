package clock

import "time"

// pruneMin is the least number of timers at which a source removes those that have fired. A timer
// that fires does not remove itself.
const pruneMin = 256

// Timer is a [time.Timer] that also ends when its source is moved past its time.
type Timer struct {
	C      <-chan time.Time
	timer  *time.Timer
	source *Source
	at     time.Time // by the source; guarded by its mutex
}

// NewTimer is [time.NewTimer] by the source.
func (s *Source) NewTimer(d time.Duration) *Timer {
	timer := time.NewTimer(d)
	return s.track(&Timer{C: timer.C, timer: timer, source: s}, d)
}

// AfterFunc is [time.AfterFunc] by the source.
func (s *Source) AfterFunc(d time.Duration, f func()) *Timer {
	return s.track(&Timer{timer: time.AfterFunc(d, f), source: s}, d)
}

// After is [time.After] by the source.
func (s *Source) After(d time.Duration) <-chan time.Time { return s.NewTimer(d).C }

// Since returns the time that has passed since t, by the source.
func (s *Source) Since(t time.Time) time.Duration {
	if s == nil {
		return time.Since(t)
	}
	return s.Now().Sub(t)
}

// Until returns the time until t, by the source.
func (s *Source) Until(t time.Time) time.Duration {
	if s == nil {
		return time.Until(t)
	}
	return t.Sub(s.Now())
}

// Reset is [time.Timer.Reset] by the source.
func (t *Timer) Reset(d time.Duration) bool {
	active := t.timer.Reset(d)
	t.source.track(t, d)
	return active
}

// Stop is [time.Timer.Stop].
func (t *Timer) Stop() bool {
	if s := t.source; s != nil {
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.timers, t)
	}
	return t.timer.Stop()
}

// track remembers a timer that ends after d. It counts from the time for which Fire ran last: a
// timer that starts between Add and Fire then ends early, and never late. The code that waits
// for it compares the time and waits again.
func (s *Source) track(t *Timer, d time.Duration) *Timer {
	if s == nil {
		return t
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now().Add(s.fired)
	t.at = now.Add(d)
	s.timers[t] = struct{}{}
	if len(s.timers) >= s.pruneAt {
		for other := range s.timers {
			if !now.Before(other.at) {
				delete(s.timers, other)
			}
		}
		s.pruneAt = max(2*len(s.timers), pruneMin)
	}
	return t
}
