package core_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redstart-go/redstart/internal/core"
	"github.com/redstart-go/redstart/internal/fault"
	"github.com/redstart-go/redstart/internal/rig"
)

// slack is how late a call may return after its deadline (A1).
const slack = 20 * time.Millisecond

// punctual compares how late calls return with how late the loaded machine wakes goroutines that
// only wait for the same deadlines.
type punctual struct{ calls, control atomic.Int64 }

func (p *punctual) call(parent context.Context, d time.Duration, fn func(ctx context.Context)) {
	ctx, cancel := context.WithTimeout(parent, d)
	defer cancel()
	due, _ := ctx.Deadline()
	var wg sync.WaitGroup
	wg.Go(func() {
		<-ctx.Done()
		raise(&p.control, time.Since(due))
	})
	fn(ctx)
	raise(&p.calls, time.Since(due))
	wg.Wait()
}

func (p *punctual) late() bool {
	control := time.Duration(p.control.Load())
	// a late machine can't measure more exactly
	return time.Duration(p.calls.Load()) > control+max(slack, control)
}

func (p *punctual) String() string {
	return fmt.Sprintf("calls returned up to %v after their deadlines, waiting goroutines %v",
		time.Duration(p.calls.Load()), time.Duration(p.control.Load()))
}

func (p *punctual) check(t *testing.T) {
	t.Helper()
	t.Log(p)
	if p.late() {
		t.Errorf("late: %v", p)
	}
}

// rounds are repetitions. A pause of the machine spoils one round; a fault of the code spoils all
// of them.
type rounds []*punctual

func (r *rounds) add() *punctual {
	p := &punctual{}
	*r = append(*r, p)
	return p
}

func (r rounds) check(t *testing.T) {
	t.Helper()
	late := 0
	for _, p := range r {
		t.Log(p)
		if p.late() {
			late++
		}
	}
	if late > len(r)/3 {
		t.Errorf("late in %d of %d rounds", late, len(r))
	}
}

func raise(max *atomic.Int64, d time.Duration) {
	for {
		old := max.Load()
		if int64(d) <= old || max.CompareAndSwap(old, int64(d)) {
			return
		}
	}
}

func TestA1_StoppedServer(t *testing.T) {
	s := rig.Standalone(t)
	c := open(t, s.URL(), timeout(10*time.Second)) // the deadlines of the callers end the calls
	if err := get(t.Context(), c, "warm"); err != nil {
		t.Fatal(err)
	}
	s.Stop()
	var measured rounds
	for range 5 {
		p := measured.add()
		var wg sync.WaitGroup
		for range 128 {
			wg.Go(func() {
				p.call(t.Context(), 100*time.Millisecond, func(ctx context.Context) {
					if err := get(ctx, c, "k"); !errors.Is(err, context.DeadlineExceeded) {
						t.Errorf("a stopped server gave %v", err)
					}
				})
			})
		}
		wg.Wait()
	}
	measured.check(t)
	s.Continue()
	rig.Eventually(t, 5*time.Second, "calls work again", func() bool { return get(t.Context(), c, "k") == nil })
}

func TestA1_PatientCallerIsNotFailedByAnImpatientOne(t *testing.T) {
	s := rig.Standalone(t)
	c := open(t, s.URL(), timeout(10*time.Second))
	if err := get(t.Context(), c, "warm"); err != nil {
		t.Fatal(err)
	}
	s.Stop()
	patient := make(chan error, 1)
	go func() {
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		patient <- get(ctx, c, "k")
	}()
	for range 5 {
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		if err := get(ctx, c, "k"); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("the impatient caller got %v", err)
		}
		cancel()
	}
	select {
	case err := <-patient:
		t.Fatalf("the patient caller was failed early: %v", err)
	default:
	}
	s.Continue()
	if err := <-patient; err != nil {
		t.Fatalf("the patient caller got %v", err)
	}
}

func TestA1_RedialDelaysNoCall(t *testing.T) {
	s := rig.Standalone(t)
	p := rig.NewProxy(t, s.Addr())
	c := open(t, p.URL(), timeout(5*time.Second))
	if err := get(t.Context(), c, "warm"); err != nil {
		t.Fatal(err)
	}
	p.Stall() // new connections are accepted, and then silent
	p.Cut()
	first := make(chan error, 1)
	go func() { first <- get(t.Context(), c, "k") }() // it dials, without a short deadline
	var punctual punctual
	for range 10 {
		punctual.call(t.Context(), 50*time.Millisecond, func(ctx context.Context) {
			if err := get(ctx, c, "k"); err == nil {
				t.Error("a call was answered through a stalled connection")
			}
		})
	}
	punctual.check(t)
	p.Resume()
	if err := <-first; errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("the caller without a deadline got another's: %v", err)
	}
	rig.Eventually(t, 10*time.Second, "calls work again", func() bool { return get(t.Context(), c, "k") == nil })
}

func TestA1_CommandTimeoutAndBreaker(t *testing.T) {
	s := rig.Standalone(t)
	c := open(t, s.URL(), timeout(200*time.Millisecond))
	s.Stop()
	var p punctual
	p.call(t.Context(), 200*time.Millisecond, func(context.Context) {
		if err := get(context.Background(), c, "k"); !errors.Is(err, fault.ErrUnavailable) {
			t.Errorf("a call without a deadline gave %v", err)
		}
	})
	p.check(t)
	watch := rig.Watch(t)
	for range 20 {
		if err := get(context.Background(), c, "k"); !errors.Is(err, fault.ErrUnavailable) {
			t.Errorf("behind an open breaker a call gave %v", err)
		}
	}
	if took := watch.Took(); took > 200*time.Millisecond {
		t.Errorf("behind an open breaker twenty calls took %v: longer than one timeout", took)
	}
	if n := c.Nodes()[0]; n.Breaker == core.BreakerClosed || n.Opened != 1 {
		t.Fatalf("the breaker is %v, opened %d times", n.Breaker, n.Opened)
	}
	s.Continue()
	rig.Eventually(t, 5*time.Second, "the breaker closes", func() bool { return c.Nodes()[0].Breaker == core.BreakerClosed })
	if err := get(context.Background(), c, "k"); err != nil {
		t.Fatal(err)
	}
}

func TestA1_WriteWithoutAnAnswerIsIndeterminate(t *testing.T) {
	s := rig.Standalone(t)
	c := open(t, s.URL(), timeout(10*time.Second))
	if err := get(t.Context(), c, "warm"); err != nil {
		t.Fatal(err)
	}
	s.Stop()
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	_, err := c.Do(ctx, core.Write("INCR", "n"))
	if !errors.Is(err, fault.ErrIndeterminate) || !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("an INCR without an answer gave %v", err)
	}
	s.Continue()
	rig.Eventually(t, 5*time.Second, "calls work again", func() bool { return get(t.Context(), c, "k") == nil })
	if n := s.CLI("GET", "n"); n != "1" {
		t.Fatalf("the INCR was applied %s times", n)
	}
}

// TestA1_CancelStorm sends calls whose values name their keys, and cancels them at random moments.
// Each reply must belong to its call.
func TestA1_CancelStorm(t *testing.T) {
	rig.Need(t, rig.TierAll)
	for _, engine := range []struct{ name, url string }{
		{"standalone", rig.Shared(t).URL()}, {"cluster", rig.SharedCluster(t).URL()},
	} {
		t.Run(engine.name, func(t *testing.T) {
			t.Parallel()
			storm(t, open(t, engine.url, timeout(5*time.Second)), rig.Soak(30_000, 1_000_000))
		})
	}
}

func storm(t *testing.T, c *core.Core, calls int) {
	const keys = 256
	prefix := rig.Prefix(t)
	name := func(i int) string { return fmt.Sprintf("%s:{%d}", prefix, i) }
	for i := range keys {
		if _, err := c.Do(t.Context(), core.Write("SET", name(i), "of "+name(i), "EX", "3600")); err != nil {
			t.Fatal(err)
		}
	}
	var cancelled, answered atomic.Int64
	var wg sync.WaitGroup
	for range 64 {
		wg.Go(func() {
			for range calls / 64 {
				ctx, cancel := context.WithCancel(t.Context())
				if rand.IntN(2) == 0 {
					go func() {
						for range rand.IntN(50) {
							runtime.Gosched()
						}
						cancel()
					}()
				}
				i := rand.IntN(keys)
				var msg core.Reply
				var err error
				if rand.IntN(4) == 0 {
					msg, err = c.DoMulti(ctx, core.Read("GET", name(i)), core.Read("GET", name(i)))[1].Get()
				} else {
					msg, err = c.Do(ctx, core.Read("GET", name(i)))
				}
				cancel()
				if err != nil {
					cancelled.Add(1)
					if !errors.Is(err, context.Canceled) {
						t.Errorf("a cancelled call gave %v", err)
					}
					continue
				}
				answered.Add(1)
				if got, _ := msg.ToString(); !strings.HasPrefix(got, "of "+name(i)) || len(got) != len("of "+name(i)) {
					t.Errorf("GET %s was answered with %q", name(i), got)
				}
			}
		})
	}
	wg.Wait()
	t.Logf("%d answered, %d cancelled", answered.Load(), cancelled.Load())
	if cancelled.Load() == 0 || answered.Load() == 0 {
		t.Error("the storm did not both cancel and answer")
	}
}

// The clock falls asleep between the begin of a call and its entry in the queue. The call still has
// its deadline (A1).
func TestACallThatBeginsAsTheClockFallsAsleepHasADeadline(t *testing.T) {
	t.Parallel()
	server := rig.Standalone(t)
	c := open(t, server.URL(), timeout(300*time.Millisecond))
	if err := get(t.Context(), c, "k"); err != nil {
		t.Fatal(err)
	}
	server.Stop()
	defer server.Continue()
	asleep := func() {
		rig.Eventually(t, 10*time.Second, "the clock sleeps", func() bool { return core.ClockAsleep(c) })
	}
	if ended, err := core.SendLate(t.Context(), c, asleep); err != nil || !ended {
		t.Errorf("the deadline did not end the call, and its connection ended with %v", err)
	}
}
