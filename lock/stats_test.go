package lock_test

import (
	"errors"
	"testing"
	"time"

	"github.com/redstart-go/redstart/internal/rig"
	"github.com/redstart-go/redstart/lock"
)

// TestStats checks the counters and the observers while one process holds a lock, and another is
// refused, waits, and gets it.
func TestStats(t *testing.T) {
	t.Parallel()
	namespace := rig.Prefix(t)
	here, there := open(t, rig.Shared(t).URL(), namespace, patient), open(t, rig.Shared(t).URL(), namespace, patient)
	first := newLocker(t, here, lock.Options{Name: "first"})
	second := newLocker(t, there, lock.Options{Name: "second", Wait: lock.WaitForever})

	asked := time.Now()
	held := mustTry(t, first, "n")
	got := time.Now()
	if _, err := second.TryAcquire(t.Context(), "n"); !errors.Is(err, lock.ErrNotAcquired) {
		t.Fatal(err)
	}
	waitedFrom := time.Now()
	next := make(chan *lock.Lock, 1)
	go func() {
		if won, err := second.Acquire(t.Context(), "n"); err == nil {
			next <- won
		}
	}()
	rig.Eventually(t, 10*time.Second, "the second waits", func() bool { return second.Stats().Waiting == 1 })
	waiting := time.Now()
	if s := first.Stats(); s.Held != 1 || s.HoldTime != 0 {
		t.Errorf("while it is held: %+v", s)
	}
	released := time.Now()
	mustRelease(t, held)
	over := time.Now()
	won := soon(t, "the second gets the lock", next)
	handed := time.Now()

	s := first.Stats()
	if s.Acquired != 1 || s.Refused != 0 || s.Waited != 0 || s.Lost != 0 || s.Held != 0 || s.WaitTime != 0 || s.Handoffs != 0 {
		t.Errorf("who did not wait: %+v", s)
	}
	within(t, "held", s.HoldTime, released.Sub(got), over.Sub(asked))
	s = second.Stats()
	if s.Acquired != 1 || s.Refused != 1 || s.Waited != 1 || s.Waiting != 0 || s.Held != 1 || s.Lost != 0 || s.Handoffs != 1 {
		t.Errorf("who waited: %+v", s)
	}
	within(t, "waited", s.WaitTime, released.Sub(waiting), handed.Sub(waitedFrom))
	// The waiter knows the time of the release from its last request, with an error of one round
	// trip.
	within(t, "handed over", s.HandoffTime, 1, handed.Sub(released)+waiting.Sub(waitedFrom))

	reported := map[string]float64{}
	for m := range there.Metrics() {
		if len(m.Labels) == 1 && m.Labels[0].Value == "second" {
			reported[m.Name] = m.Value
		}
	}
	for name, want := range map[string]float64{
		"acquired": 1, "refused": 1, "waited": 1, "lost": 0, "handoffs": 1, "held": 1, "waiting": 0, "hold_time": 0,
		"wait_time": s.WaitTime.Seconds(), "handoff_time": s.HandoffTime.Seconds(),
	} {
		if value, ok := reported["redstart.lock."+name]; !ok || value != want {
			t.Errorf("observers got %s = %v, want %v", name, value, want)
		}
	}
	if _, ok := reported["redstart.lock.renewals"]; !ok {
		t.Error("observers got no renewals")
	}
	mustRelease(t, won)
}

func within(t *testing.T, what string, d, least, most time.Duration) {
	t.Helper()
	if d < least || d > most {
		t.Errorf("%s for %v, want %v to %v", what, d, least, most)
	}
}

// On the embedded engine, locks of both kinds are renewed while they are held, and waiters keep
// their places. They get the locks in the end.
func TestRenewalsAndHeartbeatsOnTheEmbeddedEngine(t *testing.T) {
	t.Parallel()
	url, namespace := rig.Embedded(t).URL(), rig.Prefix(t)
	holder := newLocker(t, open(t, url, namespace, patient), lock.Options{TTL: 500 * time.Millisecond})
	other := newLocker(t, open(t, url, namespace, patient), lock.Options{Wait: lock.WaitForever})
	held := mustTry(t, holder, "n")
	reader, err := holder.Reader("r")
	reader = resourceOf(t, reader, err)
	read, err := reader.TryAcquire(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	next := make(chan *lock.Lock, 2)
	go func() {
		if won, err := other.Acquire(t.Context(), "n"); err == nil {
			next <- won
		}
	}()
	writer, err := other.Writer("r")
	writer = resourceOf(t, writer, err)
	go func() {
		if won, err := writer.Acquire(t.Context()); err == nil {
			next <- won
		}
	}()
	rig.Eventually(t, 10*time.Second, "the others wait", func() bool { return other.Stats().Waiting == 2 })

	// 20 renewals of two locks take more than two heartbeats of 0.9 s
	before := holder.Stats().Renewals
	rig.Eventually(t, 30*time.Second, "renewals", func() bool { return holder.Stats().Renewals >= before+20 })
	for _, l := range []*lock.Lock{held, read} {
		if err := l.Context().Err(); err != nil {
			t.Errorf("a renewed lock was lost: %v", err)
		}
		mustRelease(t, l)
	}
	for range 2 {
		mustRelease(t, soon(t, "a waiter gets its lock", next))
	}
}
