package cache_test

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redstart-go/redstart/cache"
	"github.com/redstart-go/redstart/internal/rig"
)

// In an outage, a call joins a load that began before the call. It can't share the result, because
// it did not ask the server itself. It asks, gets no answer, and takes the value that the load has
// kept, without a second load.
func TestC4_AJoinedLoadInAnOutageIsNotRepeated(t *testing.T) {
	t.Parallel()
	c, _ := near(t, cache.Options{})
	optimistic(t, c)
	gate := newGate()
	first := begin(t.Context(), c, "1", gate.load)
	await(t, "the first load", gate.entered)
	second := begin(t.Context(), c, "1", forbidden(t))
	rig.Eventually(t, 10*time.Second, "the second call joins", func() bool { return c.Waiting("1") == 2 })
	gate.release <- answer{before, nil}
	for _, call := range []<-chan outcome{first, second} {
		if got := await(t, "a result", call); got.err != nil || got.value != before {
			t.Error(got)
		}
	}
}

// In an outage, a call finds nothing in the near cache. Before it begins a load, the load of
// another call ends. The call takes the value that this load has kept, without a second load.
//
//	first          load══════keep─╗
//	second  near: none ───────────╨─ no load to join: takes the kept value
func TestC4_ALoadThatEndedInAnOutageIsNotRepeated(t *testing.T) {
	t.Parallel()
	for name, lookup := range map[string]func(ctx context.Context, c *cache.Cache[user], loads *atomic.Int32) (user, error){
		"GetOrLoad": func(ctx context.Context, c *cache.Cache[user], loads *atomic.Int32) (user, error) {
			return c.GetOrLoad(ctx, "1", func(context.Context, string) (user, error) {
				loads.Add(1)
				return after, nil
			})
		},
		"GetOrLoadMany": func(ctx context.Context, c *cache.Cache[user], loads *atomic.Int32) (user, error) {
			got, err := c.GetOrLoadMany(ctx, []string{"1"}, func(context.Context, []string) (map[string]user, error) {
				loads.Add(1)
				return map[string]user{"1": after}, nil
			})
			return got["1"], err
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c, _ := near(t, cache.Options{})
			looked, ended, second := make(chan struct{}), make(chan struct{}), make(chan outcome, 1)
			rig.ArmOnce(t, c.Points(), "join", "1", func() {
				close(looked)
				<-ended
			})
			var loads atomic.Int32
			go func() {
				v, err := lookup(t.Context(), c, &loads)
				second <- outcome{v, err}
			}()
			await(t, "the second call has looked into the near cache", looked)
			v, err := c.GetOrLoad(t.Context(), "1", constantLocked(before))
			close(ended)
			if err != nil || v != before {
				t.Errorf("the first call got %v, %v", v, err)
			}
			if got := await(t, "the second call", second); got.err != nil || got.value != before {
				t.Errorf("the second call got %v, %v, want the kept value", got.value, got.err)
			}
			if n := loads.Load(); n != 0 {
				t.Errorf("%d loads of the second call", n)
			}
		})
	}
}
