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

// Busy callers lose their connection, and the new one is accepted but never answers. No caller may wait for
// it longer than its own deadline, or receive the error of another caller's dial.
func TestA1_RedialUnderLoadBlocksNobody(t *testing.T) {
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

// Thousands of callers share the connection, and the server stops.
func TestA1_StoppedServerUnderThousandsOfCallers(t *testing.T) {
	s := rig.Standalone(t)
	c := open(t, s.URL(), timeout(10*time.Second))
	if err := get(t.Context(), c, "k"); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var answered atomic.Int64
	var wg sync.WaitGroup
	for range 3000 {
		wg.Go(func() {
			for ctx.Err() == nil {
				if get(ctx, c, "k") == nil {
					answered.Add(1)
				}
			}
		})
	}
	rig.Eventually(t, 20*time.Second, "all callers are at work", func() bool { return answered.Load() > 20_000 })
	s.Stop()
	watch := rig.Watch(t)
	var punctual punctual
	for range 5 {
		punctual.call(t.Context(), 100*time.Millisecond, func(ctx context.Context) {
			if err := get(ctx, c, "k"); err == nil {
				t.Error("a stopped server answered")
			}
		})
	}
	cancel()
	wg.Wait()
	if took := watch.Took(); took > 2*time.Second {
		t.Errorf("the callers came back %v after the server stopped", took)
	}
	punctual.check(t)
	s.Continue()
}
