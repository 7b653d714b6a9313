package redstarttest_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/redstart-go/redstart/cache"
	"github.com/redstart-go/redstart/events"
	"github.com/redstart-go/redstart/internal/rig"
	"github.com/redstart-go/redstart/lock"
	"github.com/redstart-go/redstart/ratelimit"
	"github.com/redstart-go/redstart/redstarttest"
	"github.com/redstart-go/redstart/session"
)

// A limit that a client remembers as refused is free after Advance, for each algorithm, and a
// waiter is admitted. Before Advance, it is refused from memory.
func TestAdvanceLiftsARefusedLimit(t *testing.T) {
	for _, algorithm := range []ratelimit.Algorithm{ratelimit.GCRA, ratelimit.SlidingLog, ratelimit.FixedWindow, ratelimit.SlidingWindow} {
		server := redstarttest.Start(t)
		limiter, err := ratelimit.New(server.Client(), "reports", ratelimit.Options{
			Rules: []ratelimit.Rule{ratelimit.PerHour(1)}, Algorithm: algorithm})
		if err != nil {
			t.Fatal(err)
		}
		allow := func(want bool) {
			t.Helper()
			if result, err := limiter.Allow(t.Context(), "ada"); err != nil || result.Allowed != want {
				t.Errorf("%v: allowed is %t, %v, want %t", algorithm, result.Allowed, err, want)
			}
		}
		allow(true)
		allow(false)
		allow(false)
		if limiter.Stats().RefusedLocally == 0 {
			t.Errorf("%v: the control was not refused from memory", algorithm)
		}
		server.Advance(2 * time.Hour)
		allow(true)

		refused := limiter.Stats().Refused
		waited := make(chan error, 1)
		go func() { waited <- limiter.Wait(t.Context(), "ada") }()
		rig.Eventually(t, 10*time.Second, "the call waits", func() bool { return limiter.Stats().Refused > refused })
		server.Advance(2 * time.Hour)
		select {
		case err := <-waited:
			if err != nil {
				t.Error(err)
			}
		case <-time.After(10 * time.Second):
			t.Fatalf("%v: the waiter was not admitted after Advance", algorithm)
		}
	}
}

// A lock whose lease has passed is lost for its holder, and free for another process.
func TestAdvanceEndsALease(t *testing.T) {
	server := redstarttest.Start(t)
	newLocker := func() *lock.Locker {
		locker, err := lock.New(server.Client(), lock.Options{TTL: 10 * time.Second})
		if err != nil {
			t.Fatal(err)
		}
		return locker
	}
	holder, other := newLocker(), newLocker()
	held, err := holder.Acquire(t.Context(), "report")
	if err != nil {
		t.Fatal(err)
	}
	ctx := held.Context()
	if _, err := other.TryAcquire(t.Context(), "report"); !errors.Is(err, lock.ErrNotAcquired) || held.Err() != nil {
		t.Errorf("before Advance: other %v, holder %v", err, held.Err())
	}

	server.Advance(11 * time.Second)
	if err := held.Err(); !errors.Is(err, lock.ErrLost) {
		t.Errorf("the holder has %v after its lease, want ErrLost", err)
	}
	select {
	case <-ctx.Done():
	case <-time.After(10 * time.Second):
		t.Error("the holder's context has not ended")
	}
	next, err := other.TryAcquire(t.Context(), "report")
	if err != nil || next.Token() <= held.Token() {
		t.Fatalf("the next holder: %v, %v", next, err)
	}
	if err := next.Release(t.Context()); err != nil {
		t.Error(err)
	}
}

// A near-cached entry ends with its TTL. Before, it is served from memory.
func TestAdvanceEndsNearCachedEntries(t *testing.T) {
	server := redstarttest.Start(t)
	numbers, err := cache.New[int](server.Client(), "numbers",
		cache.Options{TTL: time.Hour, Near: cache.NearOptions{MaxEntries: 10, TTL: time.Minute}})
	if err != nil {
		t.Fatal(err)
	}
	loads := 0
	read := func() int64 {
		t.Helper()
		before := numbers.Stats().NearHits
		_, err := numbers.GetOrLoad(t.Context(), "n", func(context.Context, string) (int, error) { loads++; return loads, nil })
		if err != nil {
			t.Fatal(err)
		}
		return numbers.Stats().NearHits - before
	}
	read()
	rig.Eventually(t, 10*time.Second, "the entry is near-cached", func() bool { return read() == 1 })

	server.Advance(2 * time.Minute)
	if read() != 0 || loads != 1 {
		t.Errorf("after Near.TTL, the entry came from memory, or was loaded again (%d loads)", loads)
	}
	server.Advance(2 * time.Hour)
	if read() != 0 || loads != 2 {
		t.Errorf("after TTL, %d loads, want 2", loads)
	}
}

// A consumer's lease ends, its handler's context with it, and another process handles the event. A
// delayed event appears.
func TestAdvanceMovesConsumers(t *testing.T) {
	server := redstarttest.Start(t)
	bus := newBus(t, server, "orders")
	lost, handled := make(chan error, 1), make(chan int, 10)
	started := make(chan struct{})
	run(t, bus, func(ctx context.Context, e events.Event[int]) error {
		if e.Data == 1 && e.Attempt == 1 {
			close(started)
			<-ctx.Done()
			lost <- context.Cause(ctx)
			return ctx.Err()
		}
		handled <- e.Data
		return nil
	})
	publish(t, bus, 1)
	<-started
	select {
	case err := <-lost:
		t.Fatalf("before Advance: %v", err)
	default:
	}

	server.Advance(time.Minute)
	if err := <-lost; !errors.Is(err, events.ErrLost) {
		t.Errorf("the handler's context ended with %v, want ErrLost", err)
	}
	if n := <-handled; n != 1 {
		t.Errorf("event %d was handled again, want 1", n)
	}

	publish(t, bus, 2, events.Delay(time.Hour))
	publish(t, bus, 3)
	if n := <-handled; n != 3 {
		t.Errorf("event %d was handled, want 3: event 2 is delayed", n)
	}
	server.Advance(time.Hour)
	n := <-handled
	for n == 3 { // its acknowledgement was under way when the lease ended
		n = <-handled
	}
	if n != 2 {
		t.Errorf("event %d was handled, want 2", n)
	}
	redstarttest.Drain(server, bus)
}

// A watched session ends with its IdleTimeout.
func TestAdvanceEndsSessions(t *testing.T) {
	server := redstarttest.Start(t)
	sessions, err := session.New[string](server.Client(), "shop", session.Options{IdleTimeout: 30 * time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	s, err := sessions.Create(t.Context(), "ada", "cart")
	if err != nil {
		t.Fatal(err)
	}
	watched, stop, err := s.Watch(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer stop()
	server.Advance(20 * time.Minute)
	if _, err := sessions.Load(t.Context(), s.Token()); err != nil || watched.Err() != nil {
		t.Errorf("after 20 of 30 minutes: %v, %v", err, watched.Err())
	}
	server.Advance(time.Hour)
	select {
	case <-watched.Done():
	case <-time.After(10 * time.Second):
		t.Error("the watched context has not ended")
	}
	if _, err := sessions.Load(t.Context(), s.Token()); !errors.Is(err, session.ErrNotFound) {
		t.Errorf("after its end: %v", err)
	}
}

// A client that the tested code opens by the URL follows too, and so does a second process.
func TestAdvanceMovesClientsOpenedByURL(t *testing.T) {
	server := redstarttest.Start(t)
	client := open(t, server)
	limiter, err := ratelimit.New(client, "reports", ratelimit.Options{Rules: []ratelimit.Rule{ratelimit.PerHour(1)}})
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range []bool{true, false, false, true} {
		if i == 3 {
			server.Advance(time.Hour)
		}
		if result, err := limiter.Allow(t.Context(), "ada"); err != nil || result.Allowed != want {
			t.Errorf("request %d: allowed is %t, %v", i, result.Allowed, err)
		}
	}
}

func TestAdvanceMisuse(t *testing.T) {
	wantFailure(t, func(t testing.TB) { redstarttest.Start(t).Advance(-time.Second) }, "-1s", "forward only")
	t.Run("real", func(t *testing.T) {
		t.Setenv("REDSTART_TEST_URL", rig.Shared(t).URL())
		wantFailure(t, func(t testing.TB) { redstarttest.Start(t).Advance(time.Hour) }, "REDSTART_TEST_URL", "t.Setenv")
	})
}
