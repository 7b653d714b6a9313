package ratelimit_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/redstart-go/redstart"
	"github.com/redstart-go/redstart/internal/rig"
	"github.com/redstart-go/redstart/ratelimit"
)

// waitLine starts waiters one after the other, and records when they are admitted.
type waitLine struct {
	queue *ratelimit.Queue
	began time.Time
	wg    sync.WaitGroup

	mu   sync.Mutex
	at   map[int]time.Duration
	errs map[int]error
}

func newLine(q *ratelimit.Queue) *waitLine {
	return &waitLine{queue: q, began: time.Now(), at: map[int]time.Duration{}, errs: map[int]error{}}
}

// admitted returns the waiters that were admitted. It fails if a waiter was admitted before an
// earlier one.
func (l *waitLine) admitted(t *testing.T) []int {
	t.Helper()
	l.wg.Wait()
	order := slices.Sorted(maps.Keys(l.at))
	for k, i := range order[min(1, len(order)):] {
		if l.at[i] < l.at[order[k]] {
			t.Fatalf("waiter %d was admitted after %v, waiter %d after %v", order[k], l.at[order[k]], i, l.at[i])
		}
	}
	return order
}

// join is called in a bubble. It returns when the waiter waits.
func (l *waitLine) join(ctx context.Context, i int) {
	l.wg.Go(func() {
		err := l.queue.Wait(ctx, "k")
		l.mu.Lock()
		defer l.mu.Unlock()
		if err != nil {
			l.errs[i] = err
			return
		}
		l.at[i] = time.Since(l.began)
	})
	synctest.Wait()
}

// The waiters of one key are admitted in the order of their calls, as fast as a single caller is.
func TestWaitIsFirstComeFirstServed(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		waiters int
		rules   []ratelimit.Rule
		latency time.Duration
	}{
		{waiters: 1, rules: []ratelimit.Rule{{Limit: 20, Window: time.Second, Burst: 1}}},
		{waiters: 21, rules: []ratelimit.Rule{{Limit: 20, Window: time.Second, Burst: 1}}},
		{waiters: 200, rules: []ratelimit.Rule{ratelimit.PerSecond(50)}, latency: 30 * time.Millisecond},
		{waiters: 60, rules: []ratelimit.Rule{ratelimit.PerSecond(5), ratelimit.PerMinute(30)}},
		{waiters: 10_000, rules: []ratelimit.Rule{ratelimit.PerSecond(1000)}, latency: time.Millisecond},
	} {
		t.Run(fmt.Sprintf("%d waiters, %v", c.waiters, c.rules[0]), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				control := ratelimit.NewQueue(1, false, c.rules...)
				control.Latency = c.latency
				defer control.Close()
				began := time.Now()
				for range c.waiters {
					if err := control.Wait(t.Context(), "k"); err != nil {
						t.Fatal(err)
					}
				}
				alone := time.Since(began)

				q := ratelimit.NewQueue(c.waiters, false, c.rules...)
				q.Latency = c.latency
				defer q.Close()
				l := newLine(q)
				for i := range c.waiters {
					l.join(t.Context(), i)
				}
				if n := len(l.admitted(t)); n != c.waiters {
					t.Fatalf("%d were admitted: %v", n, l.errs)
				}
				last := l.at[c.waiters-1]
				if last > alone+c.latency {
					t.Errorf("the last of %d waiters after %v, one caller alone needs %v for as many tokens",
						c.waiters, last, alone)
				}
				if q.Keys() != 0 || q.Refunded.Load() != 0 {
					t.Errorf("%d queues left, %d tokens given back", q.Keys(), q.Refunded.Load())
				}
				if c.latency == 0 && len(c.rules) == 1 && q.Asked.Load() > int64(c.waiters)+1 {
					t.Errorf("%d questions for %d tokens", q.Asked.Load(), c.waiters)
				}
				t.Logf("%d questions, the last after %v, one caller alone %v with %d", q.Asked.Load(), last,
					alone, control.Asked.Load())
			})
		})
	}
}

// A waiter that leaves passes its position to the next one. A waiter that cannot be admitted in
// time does not enter the queue.
func TestWaiterThatLeavesPassesItsPositionOn(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		q := ratelimit.NewQueue(8, false, ratelimit.Rule{Name: "slow", Limit: 1, Window: time.Second})
		defer q.Close()
		if err := q.Wait(t.Context(), "k"); err != nil {
			t.Fatal(err)
		}
		l := newLine(q)
		impatient, leave := context.WithCancel(t.Context())
		for i := range 8 { // they would be admitted after 1 s, 2 s, …
			if i == 1 || i == 2 || i == 7 {
				l.join(impatient, i)
			} else {
				l.join(t.Context(), i)
			}
		}

		var full *ratelimit.WaitError
		if err := q.Wait(t.Context(), "k"); !errors.As(err, &full) ||
			!errors.Is(err, ratelimit.ErrQueueFull) || full.RetryAfter != 9*time.Second || full.Rule != "slow" {
			t.Errorf("a ninth waiter of eight: %v", err)
		}
		leave()
		synctest.Wait()
		if n := q.Waiting("k"); n != 5 {
			t.Errorf("%d wait after three of eight left", n)
		}

		short, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		began := time.Now()
		var late *ratelimit.WaitError
		if err := q.Wait(short, "k"); !errors.As(err, &late) || !errors.Is(err, ratelimit.ErrDeadline) ||
			!errors.Is(err, context.DeadlineExceeded) ||
			late.RetryAfter != 6*time.Second || time.Since(began) != 0 {
			t.Errorf("behind five at one per second, with 5 s: %v after %v", err, time.Since(began))
		}
		long, cancel := context.WithTimeout(t.Context(), 6*time.Second+time.Millisecond)
		defer cancel()
		l.join(long, 8)

		order := l.admitted(t)
		if got, want := fmt.Sprint(order), "[0 3 4 5 6 8]"; got != want {
			t.Errorf("admitted %s, want %s", got, want)
		}
		for place, i := range order {
			if at, want := l.at[i], time.Duration(place+1)*time.Second; at < want || at > want+time.Millisecond {
				t.Errorf("waiter %d after %v, want %v", i, at, want)
			}
		}
		for _, i := range []int{1, 2, 7} {
			if !errors.Is(l.errs[i], context.Canceled) {
				t.Errorf("waiter %d left: %v", i, l.errs[i])
			}
		}
	})
}

// Waiters that joined before the first answer are checked against their deadline when it arrives.
func TestWaitChecksDeadlinesWithTheFirstAnswer(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		q := ratelimit.NewQueue(100, false, ratelimit.PerSecond(1))
		q.Latency = 100 * time.Millisecond
		defer q.Close()
		q.Take("k", 1)
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
		defer cancel()
		l := newLine(q)
		for i := range 10 {
			l.join(ctx, i)
		}
		time.Sleep(q.Latency)
		synctest.Wait()
		if n := q.Waiting("k"); n > 3 || n < 2 {
			t.Errorf("%d wait after the first answer: the others cannot be admitted within 3 s at one per second", n)
		}
		order := l.admitted(t)
		for i, err := range l.errs {
			if !errors.Is(err, ratelimit.ErrDeadline) {
				t.Errorf("waiter %d: %v", i, err)
			}
		}
		if len(order) < 2 || len(order)+len(l.errs) != 10 {
			t.Errorf("admitted %v, %d errors", order, len(l.errs))
		}
	})
}

// Another process takes tokens while waiters are admitted together: no token is used twice, and no
// position is lost.
func TestWaitCompetesWithOtherProcesses(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		q := ratelimit.NewQueue(100, false, ratelimit.PerSecond(40))
		q.Latency = 20 * time.Millisecond
		defer q.Close()
		l := newLine(q)
		for i := range 100 {
			l.join(t.Context(), i)
		}
		var others int64
		for l.queue.Keys() > 0 {
			time.Sleep(7 * time.Millisecond)
			// one token at a time takes the token that a waiter expects
			for _, n := range []int64{10, 1} {
				if others >= 60 { // or the other process takes every token
					break
				}
				if r := q.Take("k", n); r.Allowed {
					others += n
				}
			}
			synctest.Wait()
		}
		order := l.admitted(t)
		most := 40 + int64(40*time.Since(l.began).Seconds()) + 1
		if got := int64(len(order)) + others - q.Refunded.Load(); len(order) != 100 || others == 0 || got > most {
			t.Errorf("%d waiters and %d others were admitted in %v, at most %d", len(order), others, time.Since(l.began), most)
		}
		if charged := q.Charged.Load() - q.Refunded.Load(); charged != int64(len(order)) {
			t.Errorf("%d waiters were admitted, %d tokens are charged", len(order), charged)
		}
	})
}

// A failure ends all waiters at once. With FailOpen it admits them. Close ends them too.
func TestWaitEndsTogether(t *testing.T) {
	t.Parallel()
	down := fmt.Errorf("down: %w", redstart.ErrUnavailable)
	for _, open := range []bool{false, true} {
		t.Run(fmt.Sprintf("open=%v", open), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				q := ratelimit.NewQueue(1000, open, ratelimit.PerSecond(1))
				q.Latency = 50 * time.Millisecond
				l := newLine(q)
				for i := range 1000 {
					l.join(t.Context(), i)
				}
				time.Sleep(500 * time.Millisecond)
				q.Fail.Store(&down)
				began := time.Now()
				l.wg.Wait()
				if took := time.Since(began); took > time.Second+q.Latency {
					t.Errorf("ended after %v", took)
				}
				if admitted := len(l.at); open != (admitted == 1000) || open != (len(l.errs) == 0) {
					t.Errorf("%d admitted, %d errors", admitted, len(l.errs))
				}
				for i, err := range l.errs {
					if !errors.Is(err, redstart.ErrUnavailable) {
						t.Fatalf("waiter %d: %v", i, err)
					}
				}
				q.Close()
			})
		})
	}
	t.Run("close", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			q := ratelimit.NewQueue(1000, true, ratelimit.PerHour(1))
			l := newLine(q)
			for i := range 1000 {
				l.join(t.Context(), i)
			}
			began := time.Now()
			q.Close()
			l.wg.Wait()
			if time.Since(began) != 0 || len(l.errs) != 999 ||
				!errors.Is(l.errs[5], redstart.ErrUnavailable) || errors.Is(l.errs[5], context.Canceled) {
				t.Errorf("%d errors after %v: %v", len(l.errs), time.Since(began), l.errs[5])
			}
		})
	})
}

// A waiter leaves while tokens are charged for it: the next waiter gets them, and surplus tokens
// are returned.
func TestWaitReturnsTokensOfWaitersThatLeft(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		q := ratelimit.NewQueue(100, false, ratelimit.PerSecond(10))
		q.Latency = 100 * time.Millisecond
		defer q.Close()
		l := newLine(q)
		ctx, leave := context.WithCancel(t.Context())
		l.join(t.Context(), 0)
		// the first answer leaves room for all seven, so they are charged together
		for i := 1; i < 8; i++ {
			l.join(ctx, i)
		}
		time.Sleep(q.Latency + q.Latency/2)
		leave()
		l.wg.Wait()
		time.Sleep(time.Second)
		synctest.Wait()
		if len(l.at) != 1 || q.Refunded.Load() != 7 || q.Keys() != 0 {
			t.Errorf("admitted %v, %d tokens given back, %d queues left", l.at, q.Refunded.Load(), q.Keys())
		}
	})
}

// On a real server: the order of calls, and one command per token and not per waiter.
func TestWaitOnARealServer(t *testing.T) {
	t.Parallel()
	server := rig.Standalone(t)
	l := limiter(t, open(t, server.URL(), "app"), ratelimit.Options{Rules: []ratelimit.Rule{{Limit: 50,
		Window: time.Second, Burst: 1}}, Outage: ratelimit.FailClosed})
	const waiters, served = 2000, 21
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	if err := l.Wait(ctx, "k"); err != nil {
		t.Fatal(err)
	}
	before := server.CommandStats()["evalsha"] + server.CommandStats()["eval"]
	var wg sync.WaitGroup
	var mu sync.Mutex
	admitted := map[int]bool{}
	joined := func() int {
		mu.Lock()
		defer mu.Unlock()
		return len(admitted) + l.Waiting("k")
	}
	for i := range waiters {
		wg.Go(func() {
			err := l.Wait(ctx, "k")
			mu.Lock()
			defer mu.Unlock()
			switch {
			case err == nil:
				if admitted[i] = true; len(admitted) == served {
					cancel()
				}
			case !errors.Is(err, context.Canceled):
				t.Error(err)
			}
		})
		if i < 2*served { // the later ones may arrive in any order
			rig.Eventually(t, 5*time.Second, "a waiter joins", func() bool { return joined() > i || ctx.Err() != nil })
		}
	}
	wg.Wait()
	if len(admitted) < served {
		t.Fatalf("%d were admitted", len(admitted))
	}
	for i := range served {
		if !admitted[i] {
			t.Errorf("waiter %d was not among the first %d", i, served)
		}
	}
	if sent := server.CommandStats()["evalsha"] + server.CommandStats()["eval"] - before; sent > int64(4*len(admitted)) {
		t.Errorf("%d commands for %d tokens and %d waiters", sent, len(admitted), waiters)
	}
}
