package tick_test

import (
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/redstart-go/redstart/internal/tick"
)

func TestDeadlineFiresWithinTwoGrains(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const delay = 100 * time.Millisecond
		c := tick.New(delay, nil)
		defer c.Close()
		for range 20 {
			began := time.Now()
			<-c.Deadline()
			if took := time.Since(began); took < delay || took > delay+2*tick.Grain {
				t.Fatalf("a deadline of %v fired after %v", delay, took)
			}
			time.Sleep(37 * time.Millisecond)
		}
	})
}

func TestClockSleepsWhenIdleAndWakesExact(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := tick.New(50*time.Millisecond, nil)
		defer c.Close()
		<-c.Deadline()
		before := c.Now()
		time.Sleep(time.Hour)
		if passed := c.Now() - before; passed < time.Hour-tick.Grain {
			t.Fatalf("after an idle hour the clock had moved by %v", passed)
		}
		began := time.Now()
		<-c.Deadline()
		if took := time.Since(began); took < 50*time.Millisecond || took > 50*time.Millisecond+2*tick.Grain {
			t.Fatalf("the first deadline after sleep fired after %v", took)
		}
	})
}

// Between calls that come every 100 ms, the clock sleeps. It ticks at most ten times per call.
func TestClockSleepsBetweenRareCalls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var ticks atomic.Int64
		c := tick.New(50*time.Millisecond, func(time.Duration) bool { ticks.Add(1); return false })
		defer c.Close()
		const calls = 100
		for range calls {
			c.Now()
			time.Sleep(100 * time.Millisecond)
			if !c.Asleep() {
				t.Fatal("the clock is awake 100 ms after a call")
			}
		}
		if n := ticks.Load(); n > 10*calls {
			t.Errorf("%d calls cost %d ticks", calls, n)
		}
	})
}

// The clock falls asleep between the two steps of a caller of Deadline. The deadline still fires.
func TestADeadlineThatComesAsTheClockFallsAsleep(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := tick.New(time.Second, nil)
		defer c.Close()
		before := c.Now()
		for !c.Asleep() {
			time.Sleep(tick.Grain)
		}
		began := time.Now()
		select {
		case <-c.DeadlineLate(before):
			if took := time.Since(began); took > time.Second+2*tick.Grain {
				t.Errorf("the deadline fired after %v", took)
			}
		case <-time.After(time.Hour):
			t.Error("the deadline did not fire")
		}
	})
}

func TestCloseFiresWhatIsPending(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := tick.New(time.Hour, nil)
		ch := c.Deadline()
		c.Close()
		<-ch
		<-c.Deadline() // a deadline after Close
	})
}

func BenchmarkDeadline(b *testing.B) {
	c := tick.New(time.Second, nil)
	defer c.Close()
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			_ = c.Deadline()
		}
	})
}
