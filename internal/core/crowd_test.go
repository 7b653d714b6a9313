package core_test

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redstart-go/redstart/internal/core"
	"github.com/redstart-go/redstart/internal/rig"
)

// Busy callers lose their connection, and the next one is accepted but never answers. Each caller
// returns by its own deadline, and gets no error of another caller's dial.
func TestA1_RedialUnderLoadDelaysNoCall(t *testing.T) {
	rig.Need(t, rig.TierAll)
	s := rig.Standalone(t)
	p := rig.NewProxy(t, s.Addr())
	c := open(t, p.URL(), timeout(5*time.Second))
	var measured rounds
	for range rig.Soak(3, 50) {
		rig.Eventually(t, 10*time.Second, "calls work", func() bool { return get(t.Context(), c, "k") == nil })
		punctual := measured.add()
		var wg sync.WaitGroup
		var answered atomic.Int64
		lost := make(chan struct{})
		for i := range 64 {
			wg.Go(func() {
				for after := 0; after < 3; {
					select {
					case <-lost:
						after++
					default:
					}
					punctual.call(t.Context(), 50*time.Millisecond, func(ctx context.Context) {
						var err error
						if i%2 == 0 {
							err = get(ctx, c, "k")
						} else {
							_, err = c.Do(ctx, core.Write("SET", "k", "x", "EX", "60"))
						}
						if err == nil {
							answered.Add(1)
						}
					})
				}
			})
		}
		rig.Eventually(t, 10*time.Second, "callers are in full swing", func() bool { return answered.Load() > 2000 })
		p.Stall()
		p.Cut()
		close(lost)
		wg.Wait()
		p.Resume()
	}
	measured.check(t)
}

// crowd starts callers that read until the returned function cancels their context. It returns
// when each caller has had a reply. cancel records how long the last caller takes to return.
func crowd(t *testing.T, c *core.Core, callers int) (cancel func(late *atomic.Int64)) {
	t.Helper()
	ctx, end := context.WithCancel(t.Context())
	var atWork atomic.Int64
	var wg sync.WaitGroup
	for range callers {
		wg.Go(func() {
			for works := false; ctx.Err() == nil; {
				if get(ctx, c, "k") == nil && !works {
					works = true
					atWork.Add(1)
				}
			}
		})
	}
	rig.Eventually(t, time.Minute, "all callers are at work", func() bool { return atWork.Load() == int64(callers) })
	return func(late *atomic.Int64) {
		cancelled := time.Now()
		end()
		wg.Wait()
		raise(late, time.Since(cancelled))
	}
}

// Thousands of callers share the connection when the server stops. A call still ends with its
// deadline, and all callers return when their context is cancelled. The control are as many callers
// whose context is cancelled while the server answers. They return as their replies arrive, so the
// limit is ten times the control (A1).
func TestA1_StoppedServerUnderThousandsOfCallers(t *testing.T) {
	const callers = 3000
	s := rig.Standalone(t)
	c := open(t, s.URL(), timeout(10*time.Second))
	var measured rounds
	for range 3 {
		rig.Eventually(t, 10*time.Second, "calls work", func() bool { return get(t.Context(), c, "k") == nil })
		p := measured.add()
		crowd(t, c, callers)(&p.control)

		cancel := crowd(t, c, callers)
		s.Stop()
		for range 5 {
			p.call(t.Context(), 100*time.Millisecond, func(ctx context.Context) {
				if err := get(ctx, c, "k"); err == nil {
					t.Error("a stopped server answered")
				}
			})
		}
		cancel(&p.calls)
		s.Continue()
	}

	late := 0
	for _, p := range measured {
		t.Log(p)
		if time.Duration(p.calls.Load()) > 10*(time.Duration(p.control.Load())+slack) {
			late++
		}
	}
	if late == len(measured) {
		t.Errorf("late in %d rounds", late)
	}
}
