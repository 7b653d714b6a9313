package clock_test

import (
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/redstart-go/redstart/internal/clock"
	"github.com/redstart-go/redstart/internal/tick"
)

func advance(s *clock.Source, d time.Duration) {
	s.Add(d)
	s.Fire()
}

// fired reports whether a timer has fired. The bubble is idle before it looks.
func fired(c <-chan time.Time) bool {
	synctest.Wait()
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// A moved source moves its times, ends the timers that are due, and shortens the others.
func TestAdvanceMovesTimesAndTimers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := clock.NewSource()
		began, machine := s.Now(), time.Now()
		soon, late := s.NewTimer(time.Minute), s.NewTimer(time.Hour)
		runs := 0
		s.AfterFunc(time.Minute, func() { runs++ })
		control := time.NewTimer(time.Minute)
		defer control.Stop()

		advance(s, 10*time.Minute)
		if passed := s.Since(began); passed != 10*time.Minute || s.Ahead() != passed || s.Until(began) != -passed {
			t.Errorf("%v have passed by the source, %v ahead", passed, s.Ahead())
		}
		if time.Since(machine) != 0 || fired(control.C) {
			t.Error("the time of the machine moved too")
		}
		if !fired(soon.C) || runs != 1 {
			t.Errorf("a timer of a minute has not fired after ten; its function ran %d times", runs)
		}
		if fired(late.C) {
			t.Error("a timer of an hour fired after ten minutes")
		}
		time.Sleep(50*time.Minute - time.Second)
		if fired(late.C) {
			t.Error("the timer of an hour fired a second early")
		}
		time.Sleep(time.Second)
		if !fired(late.C) {
			t.Error("the timer of an hour has not fired after ten moved and fifty waited minutes")
		}
		advance(s, time.Hour)
		if fired(soon.C) || fired(late.C) || runs != 1 {
			t.Error("a timer fired twice")
		}
	})
}

// A timer that is due when the source is moved fires once, whichever comes first.
func TestMovedTimersFireOnce(t *testing.T) {
	t.Parallel()
	s := clock.NewSource()
	var runs atomic.Int64
	var ended sync.WaitGroup
	for range 2000 {
		ended.Add(1)
		s.AfterFunc(50*time.Microsecond, func() { runs.Add(1); ended.Done() }) // a second run would panic
		advance(s, time.Second)
	}
	ended.Wait()
	if n := runs.Load(); n != 2000 {
		t.Errorf("2000 functions ran %d times", n)
	}
}

// A stopped timer stays silent, and a reset timer counts from its reset.
func TestStoppedAndResetTimers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := clock.NewSource()
		stopped, reset := s.NewTimer(time.Minute), s.NewTimer(time.Minute)
		if !stopped.Stop() || !reset.Reset(time.Hour) {
			t.Fatal("a timer was not active")
		}
		advance(s, 2*time.Minute)
		if fired(stopped.C) || fired(reset.C) {
			t.Error("a timer of a minute fired after its stop or its reset")
		}
		advance(s, time.Hour)
		if !fired(reset.C) || fired(stopped.C) {
			t.Error("only the reset timer is due")
		}
	})
}

// A source keeps no timer that has fired, however many its users make.
func TestFiredTimersAreForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := clock.NewSource()
		keep := s.NewTimer(time.Hour)
		defer keep.Stop()
		for range 20 {
			for range 100 {
				<-s.After(time.Millisecond)
			}
		}
		if n := clock.Timers(s); n > 2*clock.PruneMin {
			t.Errorf("the source remembers %d timers; one is pending", n)
		}
	})
}

// Without a source, all functions use the machine's time.
func TestNilSourceIsTheMachine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var s *clock.Source
		began := s.Now()
		timer := s.NewTimer(30 * time.Second)
		<-timer.C
		timer.Reset(10 * time.Second)
		<-timer.C
		<-s.After(20 * time.Second)
		if s.Since(began) != time.Minute || s.Until(began) != -time.Minute || s.Ahead() != 0 || timer.Stop() {
			t.Errorf("%v have passed", s.Since(began))
		}
	})
}

// The coarse clock follows the source. The deadline of a call does not.
func TestCoarseClockFollows(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ticks := tick.New(time.Second, nil)
		defer ticks.Close()
		s := clock.NewSource()
		c := clock.NewCoarse(ticks, s)
		call, at := c.Deadline(), c.At(c.Exact()+500*time.Millisecond)
		before := c.Now()

		advance(s, time.Hour)
		if moved := c.Now() - before; moved < time.Hour || moved > time.Hour+tick.Grain {
			t.Errorf("the clock moved by %v", moved)
		}
		synctest.Wait()
		select {
		case <-call:
			t.Error("the deadline of a call of one second passed with the move")
		default:
		}
		<-at
		<-call
		<-c.At(c.Now() - time.Minute) // in the past
	})
}

// A client finds the source of its server by address, until the source is removed.
func TestRegistry(t *testing.T) {
	t.Parallel()
	s, other := clock.NewSource(), clock.NewSource()
	remove := clock.Register(s, "registry-a:1", "registry-b:1")
	defer clock.Register(other, "registry-c:1")()
	if clock.Of([]string{"elsewhere:1", "registry-b:1"}) != s || clock.Of([]string{"registry-c:1"}) != other {
		t.Error("not found by address")
	}
	if clock.Of([]string{"elsewhere:1"}) != nil {
		t.Error("found a source for an unknown address")
	}
	remove()
	if clock.Of([]string{"registry-a:1", "registry-b:1"}) != nil {
		t.Error("found after it was removed")
	}
}
