package lock_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/redstart-go/redstart/internal/rig"
	"github.com/redstart-go/redstart/lock"
)

// TestCampaignReturnsLeadsError: ErrLost of another lock is lead's own error; a lead that has returned is not called again,
// although leadership was gone by its release.
func TestCampaignReturnsLeadsError(t *testing.T) {
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
		if tt.own != nil && !errors.Is(err, tt.own) || tt.own == nil && !tt.gone && err != nil || errors.Is(err, lock.ErrLost) != (tt.gone || tt.own == inner) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestCampaignPausesAfterALostTerm: terms that end at once do not follow each other at the speed of the server.
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

// TestElection: who leads is known, a leader resigns, and another takes over.
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
		l := newLocker(t, open(t, server.URL(), namespace, patient), lock.Options{Holder: who})
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
	if err != nil || !ok || after.Term != second.held.Token() || after.Term <= before.Term || after.Holder == before.Holder {
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
	first := soon(t, "somebody leads", terms)
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
