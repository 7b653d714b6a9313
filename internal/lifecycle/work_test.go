package lifecycle_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/redstart-go/redstart/internal/lifecycle"
)

// Settle waits for work of the group and of its sub-groups, also for work that other work starts.
// It does not wait for loops.
func TestSettleWaitsForWork(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := lifecycle.New()
		sub := g.Sub()
		defer g.Close(time.Second)
		defer sub.Close(time.Second)
		g.Go("loop", func(ctx context.Context) { <-ctx.Done() })
		if err := g.Settle(t.Context()); err != nil {
			t.Errorf("without work: %v", err)
		}

		sub.Work("refresh", func(context.Context) {
			time.Sleep(time.Minute)
			g.Work("release", func(context.Context) { time.Sleep(time.Minute) })
		})
		began := time.Now()
		if err := g.Settle(t.Context()); err != nil || time.Since(began) != 2*time.Minute {
			t.Errorf("work of two minutes settled after %v: %v", time.Since(began), err)
		}
	})
}

// The error of Settle names the work that runs, and no loop.
func TestSettleNamesWhatRuns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := lifecycle.New()
		g.Go("loop", func(ctx context.Context) { <-ctx.Done() })
		g.Work("load of cache users", func(ctx context.Context) { <-ctx.Done() })
		g.Work("ended", func(context.Context) {})
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		err := g.Settle(ctx)
		if err == nil || err.Error() != "still running: load of cache users" {
			t.Errorf("Settle returned %v", err)
		}
		if err := g.Close(time.Second); err != nil {
			t.Error(err)
		}
		if g.Work("late", func(context.Context) { t.Error("ran after Close") }) {
			t.Error("Work started after Close")
		}
		if err := g.Settle(t.Context()); err != nil {
			t.Errorf("after Close: %v", err)
		}
	})
}
