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

func TestGoroutinesAreUsedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := lifecycle.New()
		defer g.Close(time.Second)
		for range 3 {
			together(g, 10)
			if n := g.Resting(); n != 10 {
				t.Fatalf("%d goroutines rest after ten ran at once", n)
			}
		}
		together(g, 600)
		if n := g.Resting(); n != 512 {
			t.Fatalf("%d goroutines rest after six hundred", n)
		}
	})
}

func TestRestingGoroutinesEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := lifecycle.New()
		together(g, 10)
		for range 10 { // one has work all the time
			time.Sleep(time.Second)
			together(g, 1)
		}
		if n := g.Resting(); n != 1 {
			t.Errorf("%d goroutines rest where one is needed", n)
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		if n := g.Resting(); n != 0 {
			t.Errorf("%d goroutines rest a minute after the last work", n)
		}
		together(g, 10)
		if err := g.Close(time.Second); err != nil { // the bubble would not end with goroutines in it
			t.Error(err)
		}
	})
}

func TestAGoroutineThatExitsDoesNotRest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := lifecycle.New()
		g.Go("gone", func(context.Context) { runtime.Goexit() })
		synctest.Wait()
		if n := g.Resting(); n != 0 {
			t.Errorf("%d goroutines rest after one has exited", n)
		}
		if err := g.Close(time.Second); err != nil {
			t.Error(err)
		}
	})
}

// A profile must not say that this goroutine works for whoever it worked for before.
func TestNoForeignLabels(t *testing.T) {
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
			if strings.Count(profile(), "first of them") > 1 { // this one
				t.Error("a new goroutine has the labels of who started it")
			}
		})
		g.Go("labels itself", func(context.Context) {
			pprof.SetGoroutineLabels(pprof.WithLabels(context.Background(), pprof.Labels("customer", "second of them")))
		})
		synctest.Wait()
		if strings.Contains(profile(), "second of them") {
			t.Error("a goroutine that is used again has the labels of its last work")
		}
	})
}
