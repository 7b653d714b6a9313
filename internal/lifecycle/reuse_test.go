package lifecycle_test

import (
	"context"
	"runtime"
	"runtime/pprof"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/redstart-go/redstart/internal/lifecycle"
)

// together runs n functions at once and returns when all of them have ended.
func together(g *lifecycle.Group, n int) {
	var all sync.WaitGroup
	release := make(chan struct{})
	all.Add(n)
	for range n {
		g.Go("one of many", func(context.Context) { <-release; all.Done() })
	}
	close(release)
	all.Wait()
	synctest.Wait()
}

// A group keeps at most 512 goroutines for the next tasks.
func TestGoroutinesAreReused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := lifecycle.New()
		defer g.Close(time.Second)
		for range 3 {
			together(g, 10)
			if n := g.Waiting(); n != 10 {
				t.Fatalf("%d goroutines wait after ten ran at once, want 10", n)
			}
		}
		together(g, 600)
		if n := g.Waiting(); n != 512 {
			t.Fatalf("%d goroutines wait after six hundred, want 512", n)
		}
	})
}

// Goroutines that are not needed end, and Close ends the rest.
func TestWaitingGoroutinesEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := lifecycle.New()
		together(g, 10)
		for range 10 { // one goroutine is needed each second
			time.Sleep(time.Second)
			together(g, 1)
		}
		if n := g.Waiting(); n != 1 {
			t.Errorf("%d goroutines wait where one is needed, want 1", n)
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		if n := g.Waiting(); n != 0 {
			t.Errorf("%d goroutines wait a minute after the last task, want 0", n)
		}
		together(g, 10)
		if err := g.Close(time.Second); err != nil { // the bubble would not end with goroutines in it
			t.Error(err)
		}
	})
}

func TestGoroutineThatCallsGoexitIsNotReused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := lifecycle.New()
		g.Go("gone", func(context.Context) { runtime.Goexit() })
		synctest.Wait()
		if n := g.Waiting(); n != 0 {
			t.Errorf("%d goroutines wait after one has exited, want 0", n)
		}
		if err := g.Close(time.Second); err != nil {
			t.Error(err)
		}
	})
}

// A goroutine has neither the profiler labels of the goroutine that called Go, nor those of its
// last task.
func TestGoroutinesHaveNoLabelsOfOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := lifecycle.New()
		defer g.Close(time.Second)
		profile := func() string {
			var text strings.Builder
			blocked := make(chan struct{})
			g.Go("labelled", func(context.Context) { <-blocked })
			synctest.Wait()
			if err := pprof.Lookup("goroutine").WriteTo(&text, 1); err != nil {
				t.Error(err)
			}
			close(blocked)
			synctest.Wait()
			return text.String()
		}
		pprof.Do(t.Context(), pprof.Labels("customer", "first of them"), func(context.Context) {
			if strings.Count(profile(), "first of them") > 1 { // the goroutine of this test has the label
				t.Error("a new goroutine has the labels of its creator")
			}
		})
		g.Go("labels itself", func(context.Context) {
			pprof.SetGoroutineLabels(pprof.WithLabels(context.Background(), pprof.Labels("customer", "second of them")))
		})
		synctest.Wait()
		if strings.Contains(profile(), "second of them") {
			t.Error("a reused goroutine has the labels of its last task")
		}
	})
}
