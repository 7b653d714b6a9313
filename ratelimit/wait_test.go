package ratelimit_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/redstart-go/redstart/internal/clientcore"
	"github.com/redstart-go/redstart/internal/rig"
	"github.com/redstart-go/redstart/ratelimit"
)

func TestWait(t *testing.T) {
	t.Parallel()
	client := shared(t)
	l := limiter(t, client, ratelimit.Options{Rules: []ratelimit.Rule{{Name: "r", Limit: 20, Window: time.Second, Burst: 1}}})
	began := time.Now()
	var wg sync.WaitGroup
	for range 6 {
		wg.Go(func() {
			if err := l.Wait(t.Context(), "k"); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if took := time.Since(began); took < 250*time.Millisecond {
		t.Errorf("six at 20 per second after %v", took)
	}

	slow := limiter(t, client, ratelimit.Options{Rules: []ratelimit.Rule{{Name: "slow", Limit: 1, Window: time.Hour}}})
	if err := slow.Wait(t.Context(), "slow"); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	began = time.Now()
	err := slow.Wait(ctx, "slow")
	if !errors.Is(err, ratelimit.ErrDeadline) || !errors.Is(err, context.DeadlineExceeded) || ctx.Err() != nil {
		t.Errorf("a deadline that can't be met: %v after %v, want the error before the deadline", err, time.Since(began))
	}
	ctx, cancel = context.WithCancel(t.Context())
	time.AfterFunc(20*time.Millisecond, cancel)
	if err := slow.Wait(ctx, "slow"); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
	if err := slow.Wait(ctx, "slow"); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled before: %v", err)
	}
}

// Waiters notice a reset, because their queue asks Redis at least once per second.
func TestWaitNoticesReset(t *testing.T) {
	t.Parallel()
	server := rig.Shared(t)
	namespace := rig.Prefix(t)
	opts := ratelimit.Options{Rules: []ratelimit.Rule{{Limit: 1, Window: time.Hour}}}
	l, other := limiter(t, open(t, server.URL(), namespace), opts), limiter(t, open(t, server.URL(), namespace), opts)
	allow(t, l, "k", 1)
	waited := make(chan error, 1)
	go func() { waited <- l.Wait(t.Context(), "k") }()
	rig.Eventually(t, 5*time.Second, "a waiter", func() bool { return l.Stats().Refused > 0 })
	if err := other.Reset(t.Context(), "k"); err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-waited:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(3 * time.Second):
		t.Error("still waiting")
	}
}

// A permit expires when its holder neither extends nor releases it, and never more than the limit
// run at the same time.
func TestConcurrency(t *testing.T) {
	t.Parallel()
	server := rig.Shared(t)
	namespace := rig.Prefix(t)
	var all []*ratelimit.Concurrency
	for range 3 {
		c, err := ratelimit.NewConcurrency(open(t, server.URL(), namespace), "c",
			ratelimit.ConcurrencyOptions{Limit: 3, TTL: 400 * time.Millisecond})
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, c)
	}
	var held []*ratelimit.Permit
	for _, c := range all {
		p, err := c.Acquire(t.Context(), "lapse")
		if err != nil || p.Degraded {
			t.Fatal(p, err)
		}
		held = append(held, p)
	}
	if _, err := all[0].Acquire(t.Context(), "lapse"); !errors.Is(err, ratelimit.ErrBusy) {
		t.Errorf("a fourth: %v", err)
	}
	watch := rig.Watch(t)
	rig.Eventually(t, 5*time.Second, "a permit lapses while another is extended", func() bool {
		if err := held[1].Extend(t.Context()); err != nil {
			t.Fatal(err)
		}
		p, err := all[0].Acquire(t.Context(), "lapse")
		return err == nil && p != nil
	})
	if took := watch.Took(); took > 800*time.Millisecond {
		t.Errorf("a permit lapsed after %v", took)
	}
	if err := held[0].Extend(t.Context()); !errors.Is(err, ratelimit.ErrExpired) {
		t.Errorf("extend what has lapsed: %v", err)
	}
	if err := held[2].Release(t.Context()); !errors.Is(err, ratelimit.ErrExpired) {
		t.Errorf("release what has lapsed: %v", err)
	}
	if err := held[1].Release(t.Context()); err != nil {
		t.Error(err)
	}

	var mu sync.Mutex
	running, most, done := 0, 0, 0
	var wg sync.WaitGroup
	for i := range 24 {
		wg.Go(func() {
			for {
				p, err := all[i%3].Acquire(t.Context(), "busy")
				if errors.Is(err, ratelimit.ErrBusy) {
					<-time.After(time.Millisecond)
					continue
				}
				if err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				running++
				most = max(most, running)
				mu.Unlock()
				<-time.After(2 * time.Millisecond)
				mu.Lock()
				running--
				done++
				mu.Unlock()
				if err := p.Release(t.Context()); err != nil {
					t.Error(err)
				}
				return
			}
		})
	}
	wg.Wait()
	if most > 3 || most == 0 || done != 24 {
		t.Errorf("%d ran at once, %d in all", most, done)
	}
}

// After the clock stepped back, permits that would last longer than a TTL are shortened to one TTL.
func TestConcurrencyAfterAClockStep(t *testing.T) {
	t.Parallel()
	server := rig.Shared(t)
	client := shared(t)
	c, err := ratelimit.NewConcurrency(client, "step", ratelimit.ConcurrencyOptions{Limit: 1, TTL: 200 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	space, err := clientcore.Of(client).Keys("limit", "step")
	if err != nil {
		t.Fatal(err)
	}
	server.CLI("ZADD", space.Sibling("k", "permits"), fmt.Sprint(time.Now().Add(time.Hour).UnixMicro()), "from the future")
	if _, err := c.Acquire(t.Context(), "k"); !errors.Is(err, ratelimit.ErrBusy) {
		t.Errorf("%v", err)
	}
	rig.Eventually(t, 3*time.Second, "a permit", func() bool {
		p,
			err := c.Acquire(t.Context(), "k")
		return err == nil && !p.Degraded
	})
}

func TestConcurrencyInAnOutage(t *testing.T) {
	t.Parallel()
	server := rig.Standalone(t)
	client := open(t, server.URL(), "app")
	for _, o := range []ratelimit.Outage{ratelimit.FailOpen, ratelimit.FailClosed} {
		c, err := ratelimit.NewConcurrency(client, "c", ratelimit.ConcurrencyOptions{Limit: 1, Outage: o})
		if err != nil {
			t.Fatal(err)
		}
		if server.PID() != 0 {
			server.Kill()
		}
		p, err := c.Acquire(t.Context(), "k")
		if o == ratelimit.FailClosed {
			if err == nil || errors.Is(err, ratelimit.ErrBusy) {
				t.Errorf("FailClosed: %+v, %v", p, err)
			}
			continue
		}
		if err != nil || !p.Degraded {
			t.Fatalf("FailOpen: %+v, %v", p, err)
		}
		if err := errors.Join(p.Extend(t.Context()), p.Release(t.Context())); err != nil {
			t.Error(err)
		}
	}
}
