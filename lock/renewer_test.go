package lock_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/redstart-go/redstart/lock"
)

const (
	keepTTL    = 9 * time.Second
	keepMargin = 2 * time.Second
)

// renewerBubble is a renewer in a synctest bubble, with a wall clock that can jump.
type renewerBubble struct {
	*lock.Renewer
	mu      sync.Mutex
	ahead   time.Duration // of the wall clock
	asked   int           // how often the clock was read
	renewed map[string][]time.Time
	batches []int
	answer  func(id string) int
	block   func(ids []string)
}

func startBubble(t *testing.T, ctx context.Context) *renewerBubble {
	k := &renewerBubble{renewed: map[string][]time.Time{}, answer: func(string) int { return 1 }, block: func([]string) {}}
	real := lock.ClockOf()
	k.Renewer = lock.NewRenewer(ctx, func() (time.Duration, time.Duration) {
		k.mu.Lock()
		defer k.mu.Unlock()
		k.asked++
		mono, wall := real()
		return mono, wall + k.ahead
	}, keepTTL, keepMargin, func(ids []string) []int {
		k.block(ids)
		k.mu.Lock()
		defer k.mu.Unlock()
		k.batches = append(k.batches, len(ids))
		answers := make([]int, len(ids))
		for i, id := range ids {
			answers[i] = k.answer(id)
			if answers[i] == 1 {
				k.renewed[id] = append(k.renewed[id], time.Now())
			}
		}
		return answers
	})
	return k
}

func bubble(t *testing.T, test func(t *testing.T, k *renewerBubble)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(context.Background())
		defer func() {
			time.Sleep(3 * time.Hour) // goroutines that the test blocked return
			cancel()
			synctest.Wait()
		}()
		test(t, startBubble(t, ctx))
	})
}

// TestRenewerSleepsThroughShortLeases: a caller that acquires and releases in a loop does not wake
// the renewer each time. That would cost the caller more than the rest of its bookkeeping. The
// control is the same number of leases with the loop at rest before each.
func TestRenewerSleepsThroughShortLeases(t *testing.T) {
	t.Parallel()
	const holds = 500
	looks := func(pause time.Duration) (n int) {
		bubble(t, func(t *testing.T, k *renewerBubble) {
			for range holds {
				_, release := k.Hold("a", "", 0)
				release() // before the loop runs
				time.Sleep(pause)
			}
			k.mu.Lock()
			defer k.mu.Unlock()
			n = k.asked - holds // Hold reads the clock once
		})
		return n
	}
	often, seldom := looks(time.Millisecond), looks(time.Second)
	if seldom < holds {
		t.Fatalf("the control: %d looks for %d leases", seldom, holds)
	}
	if often > seldom/20 {
		t.Errorf("%d looks at leases of one caller in a loop, %d with pauses", often, seldom)
	}
}

func TestRenewerRenewsInTime(t *testing.T) {
	t.Parallel()
	bubble(t, func(t *testing.T, k *renewerBubble) {
		held, release := k.Hold("a", "", 0)
		began := time.Now()
		time.Sleep(time.Hour)
		if held.Err() != nil {
			t.Fatal("lost")
		}
		release()
		last := began
		for _, at := range k.renewed["a"] {
			if gap := at.Sub(last); gap > keepTTL/3 || gap < keepTTL/4 {
				t.Fatalf("renewed %v after the last time", gap)
			}
			last = at
		}
		n := len(k.renewed["a"])
		time.Sleep(time.Hour)
		if len(k.renewed["a"]) != n || k.Count() != 0 {
			t.Fatal("renewed after its release")
		}
	})
}

// TestK3_RenewerEndsUnansweredLeases: without an answer, the context ends at TTL minus the margin,
// counted from the last answered request.
func TestK3_RenewerEndsUnansweredLeases(t *testing.T) {
	t.Parallel()
	for name, silence := range map[string]func(k *renewerBubble){
		"errors":  func(k *renewerBubble) { k.answer = func(string) int { return -1 } },
		"blocked": func(k *renewerBubble) { k.block = func([]string) { time.Sleep(time.Minute) } },
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, k *renewerBubble) {
				held, _ := k.Hold("a", "", 0)
				time.Sleep(10 * time.Second)
				k.mu.Lock()
				last := k.renewed["a"][len(k.renewed["a"])-1]
				silence(k)
				k.mu.Unlock()
				<-held.Done()
				if after := time.Since(last); after != keepTTL-keepMargin {
					t.Fatalf("ended %v after the last renewal, want %v", after, keepTTL-keepMargin)
				}
				if !errors.Is(context.Cause(held), lock.ErrLost) {
					t.Fatalf("cause %v", context.Cause(held))
				}
				time.Sleep(2 * time.Minute) // a late answer changes nothing
				if k.Count() != 0 || len(k.Lost) != 1 {
					t.Fatalf("%d held, %d lost", k.Count(), len(k.Lost))
				}
			})
		})
	}
}

// TestRenewerRetries: a failed renewal is repeated while the lease is valid.
func TestRenewerRetries(t *testing.T) {
	t.Parallel()
	bubble(t, func(t *testing.T, k *renewerBubble) {
		fails := 0
		k.answer = func(string) int {
			if fails++; fails <= 5 {
				return -1
			}
			fails = 0
			return 1
		}
		held, _ := k.Hold("a", "", 0)
		time.Sleep(time.Minute)
		if held.Err() != nil {
			t.Fatal("lost although every sixth renewal was answered")
		}
	})
}

// TestRenewerRetriesWithPauses: one node does not answer. Its leases end, and the leases of other
// nodes are renewed as usual. A server that refuses at once is not asked all the time, however long
// the lease is. A retry that is due soon is not a reason for a request of its own.
func TestRenewerRetriesWithPauses(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(context.Background())
		defer synctest.Wait()
		defer cancel()
		var tries atomic.Int64
		began := make(chan struct{})
		k := lock.NewRenewer(ctx, lock.ClockOf(), 3*time.Hour, time.Hour, func(ids []string) []int {
			switch n := tries.Add(1); {
			case n == 1:
				close(began)
			case n > 1000:
				return []int{1, 1}[:len(ids)] // the test fails, and ends
			}
			return []int{-1, -1}[:len(ids)]
		})
		k.Hold("a", "", 0)
		k.Hold("b", "", 0)
		<-began
		time.Sleep(time.Minute)
		if n := tries.Load(); n < 110 || n > 130 {
			t.Errorf("%d tries in a minute: there should be one every half second", n)
		}
	})
}

// TestRenewerConfirmsHandoffs: a lock that was handed over is confirmed after 20 ms, or not at all
// if it was released before. Without an answer it ends with the rest of the grant.
func TestRenewerConfirmsHandoffs(t *testing.T) {
	t.Parallel()
	bubble(t, func(t *testing.T, k *renewerBubble) {
		began := time.Now()
		_, release := k.HoldProvisionally("short", "")
		time.Sleep(19 * time.Millisecond)
		release()
		held, release := k.HoldProvisionally("long", "")
		time.Sleep(10 * time.Second)
		if held.Err() != nil {
			t.Errorf("confirmed, and lost: %v", context.Cause(held))
		}
		release()
		k.mu.Lock()
		if n := len(k.renewed["short"]); n != 0 {
			t.Errorf("%d renewals of a lock that was held for 19 ms", n)
		}
		if at := k.renewed["long"][0].Sub(began); at != 39*time.Millisecond {
			t.Errorf("confirmed %v after the start, not 20 ms after the grant", at)
		}
		k.answer = func(string) int { return -1 }
		k.mu.Unlock()

		began = time.Now()
		held, _ = k.HoldProvisionally("unanswered", "")
		<-held.Done()
		if took := time.Since(began); took != time.Second || !errors.Is(context.Cause(held), lock.ErrLost) {
			t.Errorf("an unconfirmed grant ended after %v: %v", took, context.Cause(held))
		}
	})
}

func TestRenewerNodesDoNotWaitForEachOther(t *testing.T) {
	t.Parallel()
	bubble(t, func(t *testing.T, k *renewerBubble) {
		k.block = func(ids []string) {
			if strings.HasPrefix(ids[0], "silent") {
				time.Sleep(time.Hour)
			}
		}
		bad, _ := k.Hold("silent", "1", 0)
		good, _ := k.Hold("good", "2", 0)
		time.Sleep(time.Minute)
		if bad.Err() == nil || good.Err() != nil {
			t.Fatalf("silent: %v, good: %v", bad.Err(), good.Err())
		}
		time.Sleep(time.Hour)
	})
}

func TestRenewerEndsLeasesThatAreGone(t *testing.T) {
	t.Parallel()
	bubble(t, func(t *testing.T, k *renewerBubble) {
		k.answer = func(string) int { return 0 }
		held, _ := k.Hold("a", "", 0)
		began := time.Now()
		<-held.Done()
		if took := time.Since(began); took > keepTTL/3 || !errors.Is(context.Cause(held), lock.ErrLost) {
			t.Fatalf("notified after %v: %v", took, context.Cause(held))
		}
	})
}

// TestK3_RenewerNoticesSuspension: the machine was suspended. The wall clock has moved; the
// monotonic clock and its timers have not.
func TestK3_RenewerNoticesSuspension(t *testing.T) {
	t.Parallel()
	bubble(t, func(t *testing.T, k *renewerBubble) {
		asked, _ := k.Hold("asked", "", 0)
		silent, _ := k.Hold("silent", "", 0)
		time.Sleep(10 * time.Second)
		synctest.Wait()
		k.mu.Lock()
		k.ahead += keepTTL
		k.mu.Unlock()
		began := time.Now()
		derived, cancel := context.WithCancel(silent)
		defer cancel()
		if derived.Err() != nil {
			t.Fatal("a derived context looks at the clock: say so in the documentation of Context")
		}
		if asked.Err() == nil || !errors.Is(context.Cause(asked), lock.ErrLost) {
			t.Fatal("the first question after a suspension was answered with the old truth")
		}
		<-silent.Done()
		if took := time.Since(began); took > 100*time.Millisecond {
			t.Fatalf("a holder that does not ask was notified after %v", took)
		}
	})
}

// TestK3_RenewerIgnoresAClockSetBack: a wall clock that is set back does not lengthen a lease.
func TestK3_RenewerIgnoresAClockSetBack(t *testing.T) {
	t.Parallel()
	bubble(t, func(t *testing.T, k *renewerBubble) {
		k.answer = func(string) int { return -1 }
		held, _ := k.Hold("a", "", 0)
		k.mu.Lock()
		k.ahead -= time.Hour
		k.mu.Unlock()
		began := time.Now()
		<-held.Done()
		if took := time.Since(began); took != keepTTL-keepMargin {
			t.Fatalf("ended after %v", took)
		}
	})
}

func TestRenewerMaxHold(t *testing.T) {
	t.Parallel()
	bubble(t, func(t *testing.T, k *renewerBubble) {
		held, _ := k.Hold("a", "", time.Minute)
		began := time.Now()
		<-held.Done()
		if took := time.Since(began); took != time.Minute || !errors.Is(context.Cause(held), lock.ErrLost) {
			t.Fatalf("ended after %v: %v", took, context.Cause(held))
		}
	})
}

// TestRenewerBoundsRequests: requests have at most 100 renewals, and at most 16 requests to one
// node are in flight.
func TestRenewerBoundsRequests(t *testing.T) {
	t.Parallel()
	bubble(t, func(t *testing.T, k *renewerBubble) {
		const n = 3000
		flying, most := 0, 0
		k.block = func([]string) {
			k.mu.Lock()
			flying++
			most = max(most, flying)
			k.mu.Unlock()
			time.Sleep(time.Millisecond)
			k.mu.Lock()
			flying--
			k.mu.Unlock()
		}
		var releases []func()
		for i := range n {
			_, release := k.Hold(fmt.Sprint(i), "", 0)
			releases = append(releases, release)
		}
		time.Sleep(12 * time.Second)
		defer func() {
			for _, release := range releases {
				release()
			}
		}()
		if k.Count() != n || len(k.Lost) != 0 {
			t.Fatalf("%d held, %d lost", k.Count(), len(k.Lost))
		}
		k.mu.Lock()
		defer k.mu.Unlock()
		for _, size := range k.batches {
			if size > 100 {
				t.Fatalf("%d renewals in one pipeline", size)
			}
		}
		if len(k.batches) > 6*n/100 {
			t.Fatalf("%d pipelines for three or four renewals of %d locks", len(k.batches), n)
		}
		if most > 16 {
			t.Fatalf("%d pipelines to one node at once", most)
		}
		if len(k.renewed) != n {
			t.Fatalf("%d of %d were renewed", len(k.renewed), n)
		}
	})
}
