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

	"github.com/redis/rueidis"

	"github.com/redstart-go/redstart/internal/core"
	"github.com/redstart-go/redstart/internal/fault"
	"github.com/redstart-go/redstart/internal/rig"
)

// slack is what A1 allows past a deadline; a loaded machine and the race
// detector may hold a goroutine back a little longer without any fault of ours.
const slack = 20*time.Millisecond + 30*time.Millisecond

func TestA1_StoppedServer(t *testing.T) {
	s := rig.Standalone(t)
	c := open(t, s.URL(), timeout(10*time.Second)) // the deadlines are the callers'
	if err := get(t.Context(), c, "warm"); err != nil {
		t.Fatal(err)
	}
	s.Stop()
	var wg sync.WaitGroup
	var worst atomic.Int64
	for range 128 {
		wg.Go(func() {
			for range 5 {
				ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
				began := time.Now()
				err := get(ctx, c, "k")
				took := time.Since(began)
				cancel()
				if !errors.Is(err, context.DeadlineExceeded) {
					t.Errorf("a stopped server gave %v", err)
				}
				for {
					old := worst.Load()
					if int64(took) <= old || worst.CompareAndSwap(old, int64(took)) {
						break
					}
				}
			}
		})
	}
	wg.Wait()
	if w := time.Duration(worst.Load()); w > 100*time.Millisecond+slack {
		t.Errorf("the slowest of 640 calls with a deadline of 100 ms took %v", w)
	}
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

func TestA1_RedialBlocksNobody(t *testing.T) {
	s := rig.Standalone(t)
	p := rig.NewProxy(t, s.Addr())
	c := open(t, p.URL(), timeout(5*time.Second))
	if err := get(t.Context(), c, "warm"); err != nil {
		t.Fatal(err)
	}
	p.Stall() // new connections are accepted and then silent
	p.Cut()
	first := make(chan error, 1)
	go func() { first <- get(t.Context(), c, "k") }() // it dials, with all the time in the world
	for range 10 {
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		began := time.Now()
		err := get(ctx, c, "k")
		took := time.Since(began)
		cancel()
		if err == nil || took > 50*time.Millisecond+slack {
			t.Fatalf("while another dials, a call with a deadline of 50 ms took %v and gave %v", took, err)
		}
	}
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
	began := time.Now()
	err := get(context.Background(), c, "k")
	if took := time.Since(began); !errors.Is(err, fault.ErrUnavailable) || took > 200*time.Millisecond+slack {
		t.Fatalf("a call without a deadline took %v and gave %v", took, err)
	}
	began = time.Now()
	err = get(context.Background(), c, "k")
	if took := time.Since(began); !errors.Is(err, fault.ErrUnavailable) || took > 10*time.Millisecond {
		t.Fatalf("behind an open breaker a call took %v and gave %v", took, err)
	}
	if n := c.Nodes()[0]; n.Breaker == core.BreakerClosed || n.Opened != 1 {
		t.Fatalf("the breaker is %v, opened %d times", n.Breaker, n.Opened)
	}
	s.Continue()
	rig.Eventually(t, 5*time.Second, "the breaker closes by itself", func() bool { return c.Nodes()[0].Breaker == core.BreakerClosed })
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
	_, err := c.Do(ctx, c.B().Incr().Key("n").Build())
	if !errors.Is(err, fault.ErrIndeterminate) || !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("an INCR without an answer gave %v", err)
	}
	s.Continue()
	rig.Eventually(t, 5*time.Second, "calls work again", func() bool { return get(t.Context(), c, "k") == nil })
	if n := s.CLI("GET", "n"); n != "1" {
		t.Fatalf("the INCR was applied %s times", n)
	}
}

// TestA1_CancelStorm sends calls whose values name their keys, cancels them at random
// moments, and looks for a reply in the wrong hands.
func TestA1_CancelStorm(t *testing.T) {
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
		if _, err := c.Do(t.Context(), c.B().Set().Key(name(i)).Value("of "+name(i)).Ex(time.Hour).Build()); err != nil {
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
				var msg rueidis.RedisMessage
				var err error
				if rand.IntN(4) == 0 {
					msg, err = core.Reply(c.DoMulti(ctx, c.B().Get().Key(name(i)).Build(), c.B().Get().Key(name(i)).Build())[1])
				} else {
					msg, err = c.Do(ctx, c.B().Get().Key(name(i)).Build())
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
