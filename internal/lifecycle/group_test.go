package lifecycle_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/redstart-go/redstart/internal/lifecycle"
)

// Close ends the goroutines' context, waits for their end, and refuses new ones.
func TestCloseEndsAndWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := lifecycle.New()
		ended := false
		g.Go("worker", func(ctx context.Context) {
			<-ctx.Done()
			time.Sleep(time.Second)
			ended = errors.Is(context.Cause(ctx), lifecycle.ErrClosed)
		})
		if err := g.Close(2 * time.Second); err != nil || !ended {
			t.Fatalf("Close returned %v, goroutine ended: %v", err, ended)
		}
		if g.Go("late", func(context.Context) { t.Error("ran after Close") }) {
			t.Fatal("Go started a goroutine after Close")
		}
		if err := g.Close(time.Second); err != nil {
			t.Fatalf("the second Close: %v", err)
		}
	})
}

// The error of Close names the goroutines that ignore their context, and no others.
func TestCloseNamesGoroutinesThatIgnoreTheirContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := lifecycle.New()
		release := make(chan struct{})
		for range 2 {
			g.Go("handler of orders", func(context.Context) { <-release })
		}
		g.Go("polite", func(ctx context.Context) { <-ctx.Done() })
		err := g.Close(5 * time.Second)
		if err == nil || !strings.Contains(err.Error(), "handler of orders (2)") || strings.Contains(err.Error(), "polite") {
			t.Fatalf("Close returned %v", err)
		}
		close(release)
		if err := g.Close(time.Second); err != nil {
			t.Fatalf("Close after they ended: %v", err)
		}
	})
}
