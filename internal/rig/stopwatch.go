package rig

import (
	"sync/atomic"
	"testing"
	"time"
)

// nap is the duration of one sleep of the control of a [Stopwatch].
const nap = time.Millisecond

// Stopwatch measures a duration without the time for which the machine was late. A control
// goroutine sleeps in short naps during the measurement. The time by which a nap exceeds twice its
// duration is subtracted. So a limit of a quiet machine also holds on a busy one, and a wait that a
// fault causes counts on both.
type Stopwatch struct {
	began time.Time
	late  atomic.Int64 // of naps that are over
	nap   atomic.Int64 // when the present nap began, ns since began
}

// Watch starts a Stopwatch. Its control ends with the test.
func Watch(t testing.TB) *Stopwatch {
	s := &Stopwatch{began: time.Now()}
	stop, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		for {
			select {
			case <-stop:
				return
			default:
			}
			s.nap.Store(int64(time.Since(s.began)))
			time.Sleep(nap)
			s.late.Add(int64(s.over()))
		}
	}()
	t.Cleanup(func() { close(stop); <-done })
	return s
}

// over returns how late the present nap is.
func (s *Stopwatch) over() time.Duration {
	if over := time.Since(s.began) - time.Duration(s.nap.Load()) - nap; over > nap {
		return over
	}
	return 0
}

// Took returns the time since [Watch], without the time for which the machine was late.
func (s *Stopwatch) Took() time.Duration {
	return time.Since(s.began) - time.Duration(s.late.Load()) - s.over()
}
