package cache

import (
	"context"
	"fmt"
	"runtime"
	"testing"
	"testing/synctest"
	"time"
)

// newTestNear returns a near cache without a server, on the clock of the synctest bubble.
func newTestNear[V any](t testing.TB, opt NearOptions) (n *nearCache[V], sweeps *int) {
	t.Helper()
	start, ctx, sweeps := time.Now(), t.Context(), new(int)
	era := &era{}
	era.Store(1)
	n, err := newNearCache[V](opt, era, sweeper{
		pause: opt.TTL / 4,
		now:   func() time.Duration { return time.Since(start) },
		begin: func(sweep func(context.Context)) bool {
			*sweeps++
			go sweep(ctx)
			return true
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	return n, sweeps
}

// put stores an entry as a read does.
func (n *nearCache[V]) put(key string, e *nearEntry[V]) {
	if e.clear == nil {
		e.clear = &generation{}
	}
	n.commit(key, n.reserve(key), e, answered{yes: true})
}

// An ended entry leaves the memory within a quarter of Near.TTL, also if no call asks for it. A
// valid entry stays. The goroutine of the sweep ends with the last entry, and starts with the next.
func TestSweepRemovesEndedEntries(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const entries, ttl = 3 * sweepStep, time.Minute
		n, sweeps := newTestNear[string](t, NearOptions{MaxEntries: 10 * entries, TTL: ttl})
		time.Sleep(time.Hour)
		synctest.Wait()
		if *sweeps != 0 {
			t.Fatalf("%d goroutines sweep an empty near cache", *sweeps)
		}

		invalidated, tag := &generation{}, &generation{}
		now := n.sweeper.now()
		for i := range entries {
			e := &nearEntry[string]{value: "v", expires: now + ttl}
			switch i % 4 {
			case 1:
				e.clear = invalidated
			case 2:
				e.tags = []*generation{{}, tag}
			case 3:
				e.expires = now + ttl*3/4
			}
			n.put(fmt.Sprint(i), e)
		}
		left := func() int { return n.entries.EstimatedSize() }
		const part = ttl/4 + time.Second
		time.Sleep(part)
		synctest.Wait()
		if left() != entries {
			t.Fatalf("%d valid entries are left of %d", left(), entries)
		}
		invalidated.dead.Store(true)
		tag.dead.Store(true)
		time.Sleep(part)
		synctest.Wait()
		if left() != entries/2 {
			t.Fatalf("%d entries are left of %d, half of which depend on an invalidated generation", left(), entries)
		}
		time.Sleep(part)
		synctest.Wait()
		if left() != entries/4 {
			t.Fatalf("%d entries are left of %d, a quarter of which is not past its TTL", left(), entries)
		}
		time.Sleep(ttl)
		synctest.Wait()
		if left() != 0 || n.sweeping.Load() || *sweeps != 1 {
			t.Fatalf("%d entries are left after Near.TTL; sweeping: %v; %d goroutines were started", left(),
				n.sweeping.Load(), *sweeps)
		}

		n.put("again", &nearEntry[string]{value: "v", expires: n.sweeper.now() + ttl})
		time.Sleep(ttl + part)
		synctest.Wait()
		if left() != 0 || n.sweeping.Load() || *sweeps != 2 {
			t.Fatalf("%d entries are left; sweeping: %v; %d goroutines were started, want 2", left(), n.sweeping.Load(), *sweeps)
		}
	})
}

// The sweep does not remove an entry that has replaced an ended one.
func TestSweepKeepsAReplacement(t *testing.T) {
	t.Parallel()
	n, _ := newTestNear[string](t, NearOptions{MaxEntries: 10, TTL: time.Hour})
	old := &nearEntry[string]{value: "old"}
	n.put("1", old)
	n.put("1", &nearEntry[string]{value: "new", expires: time.Hour})
	n.remove("1", old)
	if e := n.last("1", 0); e == nil || e.value != "new" {
		t.Fatalf("got %v, want the replacement", e)
	}
}

// A sweep of many entries rests after each step, and ends within a step after Close.
func TestSweepIsDoneInSteps(t *testing.T) {
	t.Parallel()
	const steps = 10
	n, _ := newTestNear[int](t, NearOptions{MaxEntries: 2 * steps * sweepStep, TTL: time.Hour})
	for i := range steps * sweepStep {
		n.put(fmt.Sprint(i), &nearEntry[int]{expires: time.Hour})
	}
	rests := 0
	if !n.sweep(func() bool { rests++; return true }) || rests != steps {
		t.Errorf("%d rests in %d steps", rests, steps)
	}
	rests = 0
	if n.sweep(func() bool { rests++; return rests < 3 }) || rests != 3 {
		t.Errorf("a sweep that was to end after 3 steps rested %d times", rests)
	}
}

// Ended entries need no memory after the sweep: the heap is as small as before.
func TestSweepFreesMemory(t *testing.T) {
	heap := func() int64 {
		runtime.GC()
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return int64(m.HeapAlloc)
	}
	synctest.Test(t, func(t *testing.T) {
		const entries, size = 2000, 10 << 10
		n, _ := newTestNear[[]byte](t, NearOptions{MaxEntries: entries, TTL: time.Minute})
		empty := heap()
		for i := range entries {
			n.put(fmt.Sprint(i), &nearEntry[[]byte]{value: make([]byte, size), expires: n.sweeper.now() + time.Minute})
		}
		full := heap() - empty
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		n.entries.CleanUp()
		swept := heap() - empty
		t.Logf("full %d KiB, swept %d KiB", full>>10, swept>>10)
		if full < entries*size/2 || swept > full/20 {
			t.Errorf("%d KiB are left of %d KiB", swept>>10, full>>10)
		}
		runtime.KeepAlive(n)
	})
}
