package lock_test

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"

	"github.com/redstart-go/redstart"
	"github.com/redstart-go/redstart/internal/rig"
	"github.com/redstart-go/redstart/lock"
)

// TestCampaignReturnsTheErrorOfLead: ErrLost of another lock is lead's own error. A lead that has
// returned is not called again, even if the release finds that leadership was lost.
func TestCampaignReturnsTheErrorOfLead(t *testing.T) {
	t.Parallel()
	server := rig.Standalone(t)
	l := newLocker(t, open(t, server.URL(), "app", patient), lock.Options{TTL: time.Minute})
	e, err := l.Election("leader")
	if err != nil {
		t.Fatal(err)
	}
	inner := fmt.Errorf("an inner lock: %w", lock.ErrLost)
	for name, tt := range map[string]struct {
		own  error
		gone bool
	}{
		"inner ErrLost":            {own: inner},
		"finished, then gone":      {gone: true},
		"failed, then gone":        {own: errors.New("boom"), gone: true},
		"finished":                 {},
		"failed with an own error": {own: errors.New("boom")},
	} {
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		terms := 0
		err := e.Campaign(ctx, func(context.Context, *lock.Lock) error {
			if terms++; tt.gone {
				server.CLI("DEL", "app:lock:{leader}")
			}
			if terms > 3 {
				cancel()
			}
			return tt.own
		})
		cancel()
		if terms != 1 {
			t.Errorf("%s: %d terms", name, terms)
		}
		if tt.own != nil && !errors.Is(err, tt.own) || tt.own == nil && !tt.gone && err != nil ||
			errors.Is(err, lock.ErrLost) != (tt.gone || tt.own == inner) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestCampaignPausesAfterALostTerm: terms that end at once do not follow each other at the speed of
// the server.
func TestCampaignPausesAfterALostTerm(t *testing.T) {
	t.Parallel()
	server := rig.Shared(t)
	l := newLocker(t, open(t, server.URL(), rig.Prefix(t), patient), lock.Options{MaxHold: time.Millisecond})
	e, err := l.Election("leader")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	terms := 0
	err = e.Campaign(ctx, func(ctx context.Context, _ *lock.Lock) error {
		terms++
		<-ctx.Done()
		return errors.New("lead's own")
	})
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Fatal(err)
	}
	if terms < 2 || terms > 20 {
		t.Errorf("%d terms in 2 s", terms)
	}
}

// TestElection: Leader returns the leader, the leader resigns, and another process takes over.
func TestElection(t *testing.T) {
	t.Parallel()
	server := rig.Shared(t)
	namespace := rig.Prefix(t)
	type started struct {
		e    *lock.Election
		held *lock.Lock
	}
	leads := make(chan started, 2)
	results := make(chan error, 2)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	for _, who := range []string{"one", "two"} {
		l := newLocker(t, open(t, server.URL(), namespace, patient), lock.Options{Process: who})
		e, err := l.Election("leader")
		if err != nil {
			t.Fatal(err)
		}
		if who == "one" {
			if _, ok, err := e.Leader(ctx); ok || err != nil {
				t.Fatalf("a leader before the election: %v, %v", ok, err)
			}
			if err := e.Resign(ctx); err != nil {
				t.Fatal(err)
			}
		}
		go func() {
			results <- e.Campaign(ctx, func(ctx context.Context, held *lock.Lock) error {
				leads <- started{e, held}
				<-ctx.Done()
				return context.Cause(ctx)
			})
		}()
	}
	first := soon(t, "one leads", leads)
	before, ok, err := first.e.Leader(ctx)
	if err != nil || !ok || before.Term != first.held.Token() || before.Remaining <= 0 {
		t.Fatalf("%+v, %v, %v", before, ok, err)
	}
	if err := first.e.Resign(ctx); err != nil {
		t.Fatal(err)
	}
	if err := soon(t, "the campaign ends", results); !errors.Is(err, lock.ErrResigned) || errors.Is(err, lock.ErrLost) {
		t.Fatal(err)
	}
	second := soon(t, "the other leads", leads)
	after, ok, err := first.e.Leader(ctx)
	if err != nil || !ok || after.Term != second.held.Token() || after.Term <= before.Term || after.Process == before.Process {
		t.Fatalf("%+v after %+v, %v, %v", after, before, ok, err)
	}
	cancel()
	if err := soon(t, "the other campaign ends", results); !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
}

func testCampaign(t *testing.T, a, b *lock.Locker) {
	ctx, cancel := context.WithCancel(t.Context())
	terms := make(chan int64, 2)
	resign := make(chan error)
	results := make(chan error, 2)
	for _, l := range []*lock.Locker{a, b} {
		e, err := l.Election("leader")
		if err != nil {
			t.Fatal(err)
		}
		go func() {
			results <- e.Campaign(ctx, func(ctx context.Context, held *lock.Lock) error {
				terms <- held.Token()
				select {
				case err := <-resign:
					return err
				case <-ctx.Done():
					return nil
				}
			})
		}()
	}
	first := soon(t, "a candidate leads", terms)
	boom := errors.New("resigned")
	resign <- boom
	if err := soon(t, "the first campaign ends", results); !errors.Is(err, boom) {
		t.Fatalf("Campaign returned %v", err)
	}
	if second := soon(t, "the other leads", terms); second <= first {
		t.Fatalf("term %d after %d", second, first)
	}
	cancel()
	if err := soon(t, "the second campaign ends", results); !errors.Is(err, context.Canceled) {
		t.Fatalf("Campaign returned %v", err)
	}
}

// TestA7_CloseDuringCampaigns: when Close returns, the process has no leadership and no place in a
// queue, in any state of its campaigns.
func TestA7_CloseDuringCampaigns(t *testing.T) {
	t.Parallel()
	server := rig.Standalone(t)
	slow := rig.NewProxy(t, server.Addr())
	slow.Delay(5 * time.Millisecond)
	client, err := redstart.Open(t.Context(), redstart.Config{URL: slow.URL(), CommandTimeout: 5 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	ending := newLocker(t, client, lock.Options{TTL: time.Minute})
	other := newLocker(t, open(t, server.URL(), "app", patient), lock.Options{TTL: time.Minute})
	const elections, waiting = 64, 64
	taken := mustTry(t, other, "taken")
	var terms atomic.Int64
	var campaigns sync.WaitGroup
	campaign := func(name string) {
		e, err := ending.Election(name)
		if err != nil {
			t.Error(err)
			return
		}
		campaigns.Go(func() {
			for err == nil {
				err = e.Campaign(context.Background(), func(context.Context, *lock.Lock) error {
					terms.Add(1)
					return nil
				})
			}
			if !errors.Is(err, redstart.ErrUnavailable) && !errors.Is(err, lock.ErrLost) {
				t.Error(err)
			}
		})
	}
	for i := range elections {
		campaign(strconv.Itoa(i))
	}
	for range waiting {
		campaign("taken")
	}
	rig.Eventually(t, 20*time.Second, "there is traffic",
		func() bool { return terms.Load() > 10*elections && ending.Stats().Waiting >= waiting })
	if err := client.Close(); err != nil {
		t.Fatal(err)
	}
	if info, err := other.Inspect(t.Context(), "taken"); err != nil || info.Waiting != 0 {
		t.Errorf("after Close %d places are left in the queue, %v", info.Waiting, err)
	}
	holdMany(t, other, elections)
	campaigns.Wait()
	mustRelease(t, taken)
}

// TestElectionUnderFaults: during cut connections, a silent network and a stopped server, no
// campaign ends, two processes never lead, and tokens increase from term to term. After a fault
// there is a leader again, which can resign.
func TestElectionUnderFaults(t *testing.T) {
	t.Parallel()
	rig.Need(t, rig.TierAll)
	server := rig.Standalone(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	type change struct {
		e    *lock.Election
		held *lock.Lock
	}
	leaders := make(chan change, 1000)
	var mu sync.Mutex
	var history []porcupine.Operation
	began := time.Now()
	now := func() int64 { return time.Since(began).Nanoseconds() }
	lead := func(e *lock.Election, client int) func(context.Context, *lock.Lock) error {
		return func(ctx context.Context, held *lock.Lock) error {
			h := holding{kind: 'm', names: "x", token: held.Token(), weight: 1}
			granted := now()
			mu.Lock()
			history = append(history, porcupine.Operation{ClientId: client, Input: h, Call: 0, Return: granted})
			mu.Unlock()
			leaders <- change{e, held}
			last := granted // the latest moment at which it certainly led
			leads := func() bool { return held.Err() == nil && ctx.Err() == nil }
			for at := now(); leads(); at = now() {
				last = at
				pause(time.Millisecond)
			}
			h.end = true
			mu.Lock()
			history = append(history, porcupine.Operation{ClientId: client, Input: h, Call: last, Return: math.MaxInt64})
			mu.Unlock()
			return nil
		}
	}
	var campaigns sync.WaitGroup
	proxies := make([]*rig.Proxy, 3)
	var resignations atomic.Int64
	for i := range proxies {
		proxies[i] = rig.NewProxy(t, server.Addr())
		l := newLocker(t, open(t, proxies[i].URL(), "app",
			func(cfg *redstart.Config) { cfg.CommandTimeout = time.Second }), lock.Options{TTL: 2 * time.Second})
		e, err := l.Election("x")
		if err != nil {
			t.Fatal(err)
		}
		campaigns.Go(func() {
			for ctx.Err() == nil {
				err := e.Campaign(ctx, lead(e, i))
				if errors.Is(err, lock.ErrResigned) {
					resignations.Add(1)
				} else if ctx.Err() == nil {
					t.Errorf("a campaign ended: %v", err)
					return
				}
			}
		})
	}
	var last int64
	next := func(what string) change {
		t.Helper()
		c := soon(t, what, leaders)
		if c.held.Token() <= last {
			t.Fatalf("%s: term %d after %d", what, c.held.Token(), last)
		}
		last = c.held.Token()
		return c
	}
	leader := next("one leads")
	for range rig.Soak(2, 20) {
		for _, fault := range []func(){
			func() { each(proxies, (*rig.Proxy).Cut) },
			func() {
				each(proxies[:2], (*rig.Proxy).Stall)
				pause(2500 * time.Millisecond)
				each(proxies[:2], (*rig.Proxy).Resume)
			},
			func() { server.Stop(); pause(2500 * time.Millisecond); server.Continue() },
		} {
			fault()
			if leader.held.Err() == nil { // it may not have noticed the loss yet
				if err := leader.e.Resign(ctx); err != nil {
					t.Error(err)
				}
			}
			leader = next("a leader after a fault")
			for leader.held.Err() != nil { // short terms while the fault continued
				leader = next("a leader that stays")
			}
		}
	}
	cancel()
	campaigns.Wait()
	t.Logf("%d terms, %d resignations", len(history)/2, resignations.Load())
	if len(history) < 12 || resignations.Load() == 0 {
		t.Errorf("%d terms, %d resignations: this run showed little", len(history)/2, resignations.Load())
	}
	checkHistory(t, "election", holdModel, separate(history))
}

func each[T any](all []T, do func(T)) {
	for _, one := range all {
		do(one)
	}
}
