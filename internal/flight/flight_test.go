package flight_test

import (
	"context"
	"errors"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/redstart-go/redstart/internal/flight"
)

type group = flight.Group[string, int]

type result struct {
	v        int
	shared   bool
	err      error
	panicked any
}

// do calls Do on another goroutine.
func do(ctx context.Context, g *group, key string, fn func(context.Context) (int, error)) <-chan result {
	out := make(chan result, 1)
	go func() {
		var r result
		defer func() {
			r.panicked = recover()
			out <- r
		}()
		r.v, r.shared, r.err = g.Do(ctx, key, fn)
	}()
	return out
}

// gate is a load that signals its begin. It ends after a signal, or with its context.
type gate struct {
	began chan context.Context
	end   chan result
}

func newGate() *gate {
	return &gate{began: make(chan context.Context, 1), end: make(chan result)}
}

func (l *gate) load(ctx context.Context) (int, error) {
	l.began <- ctx
	select {
	case r := <-l.end:
		if r.panicked != nil {
			panic(r.panicked)
		}
		return r.v, r.err
	case <-ctx.Done():
		return 0, context.Cause(ctx)
	}
}

func mustNotRun(t *testing.T) func(context.Context) (int, error) {
	return func(context.Context) (int, error) {
		t.Error("a second load ran")
		return 0, nil
	}
}

func TestOneLoadForAll(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var g group
		l := newGate()
		first := do(t.Context(), &g, "k", l.load)
		<-l.began
		var others []<-chan result
		for range 9 {
			others = append(others, do(t.Context(), &g, "k", mustNotRun(t)))
		}
		synctest.Wait()
		l.end <- result{v: 7}
		for _, c := range append(others, first) {
			if r := <-c; r.v != 7 || r.err != nil || !r.shared {
				t.Errorf("got %+v, want 7, shared", r)
			}
		}
		v, shared, err := g.Do(t.Context(), "k", func(context.Context) (int, error) { return 8, nil })
		if v != 8 || shared || err != nil {
			t.Errorf("after the flight: %d, %v, %v, want a load of its own", v, shared, err)
		}
	})
}

func TestKeysAreIndependent(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var g group
		a, b := newGate(), newGate()
		ra, rb := do(t.Context(), &g, "a", a.load), do(t.Context(), &g, "b", b.load)
		<-a.began
		<-b.began
		b.end <- result{v: 2}
		if r := <-rb; r.v != 2 || r.shared {
			t.Errorf("b: %+v", r)
		}
		boom := errors.New("boom")
		a.end <- result{err: boom}
		if r := <-ra; !errors.Is(r.err, boom) || r.shared {
			t.Errorf("a: %+v", r)
		}
	})
}

type ctxKey struct{}

// The load sees the values of the first caller's context, and neither its deadline nor its end.
func TestLoadContext(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var g group
		ctx, cancel := context.WithTimeout(context.WithValue(t.Context(), ctxKey{}, "trace"), time.Second)
		defer cancel()
		l := newGate()
		first := do(ctx, &g, "k", l.load)
		loadCtx := <-l.began
		if got := loadCtx.Value(ctxKey{}); got != "trace" {
			t.Errorf("value %v, want trace", got)
		}
		if _, ok := loadCtx.Deadline(); ok {
			t.Error("the load has its caller's deadline")
		}
		second := do(t.Context(), &g, "k", mustNotRun(t))
		synctest.Wait()
		if r := <-first; !errors.Is(r.err, context.DeadlineExceeded) {
			t.Errorf("first caller: %+v", r)
		}
		if loadCtx.Err() != nil {
			t.Error("the first caller's deadline ended the load")
		}
		l.end <- result{v: 1}
		if r := <-second; r.v != 1 || r.err != nil {
			t.Errorf("second caller: %+v", r)
		}
		synctest.Wait()
		if loadCtx.Err() == nil {
			t.Error("the load's context outlives the load")
		}
	})
}

// TestC9_CancellationFailsNoOtherCaller: callers leave, and the others get the value.
func TestC9_CancellationFailsNoOtherCaller(t *testing.T) {
	t.Parallel()
	for leaver := range 3 {
		synctest.Test(t, func(t *testing.T) {
			var g group
			l := newGate()
			var ctxs [3]context.Context
			var cancels [3]context.CancelFunc
			var results [3]<-chan result
			for i := range 3 {
				ctxs[i], cancels[i] = context.WithCancel(t.Context())
				defer cancels[i]()
				results[i] = do(ctxs[i], &g, "k", l.load)
				synctest.Wait()
			}
			loadCtx := <-l.began
			start := time.Now()
			cancels[leaver]()
			if r := <-results[leaver]; !errors.Is(r.err, context.Canceled) {
				t.Errorf("the one who left: %+v", r)
			}
			if d := time.Since(start); d != 0 {
				t.Errorf("leaving took %v", d)
			}
			synctest.Wait()
			if loadCtx.Err() != nil {
				t.Fatal("the load was cancelled with two callers left")
			}
			l.end <- result{v: 5}
			for i := range 3 {
				if i == leaver {
					continue
				}
				if r := <-results[i]; r.v != 5 || r.err != nil {
					t.Errorf("caller %d: %+v", i, r)
				}
			}
		})
	}
}

// TestC9_TheLoadEndsWithItsLastCaller: the cause of its context says why, and the key is free at
// once.
func TestC9_TheLoadEndsWithItsLastCaller(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var g group
		reason := errors.New("request over")
		ctx1, cancel1 := context.WithCancelCause(t.Context())
		ctx2, cancel2 := context.WithCancelCause(t.Context())
		stuck := make(chan struct{})
		began := make(chan context.Context, 1)
		first := do(ctx1, &g, "k", func(ctx context.Context) (int, error) {
			began <- ctx
			<-stuck // ignores its context for a while
			return 1, nil
		})
		loadCtx := <-began
		second := do(ctx2, &g, "k", mustNotRun(t))
		synctest.Wait()
		cancel1(nil)
		<-first
		if loadCtx.Err() != nil {
			t.Fatal("cancelled with a caller left")
		}
		cancel2(reason)
		if r := <-second; !errors.Is(r.err, context.Canceled) {
			t.Errorf("last caller: %+v", r)
		}
		<-loadCtx.Done()
		if cause := context.Cause(loadCtx); !errors.Is(cause, flight.ErrAbandoned) || !errors.Is(cause, reason) {
			t.Errorf("cause %v, want ErrAbandoned and the reason", cause)
		}
		// The old load still runs. A new caller starts a new one, which does not end with the old
		// one.
		l := newGate()
		third := do(t.Context(), &g, "k", l.load)
		<-l.began
		close(stuck)
		synctest.Wait()
		fourth := do(t.Context(), &g, "k", mustNotRun(t))
		synctest.Wait()
		l.end <- result{v: 2}
		for _, c := range []<-chan result{third, fourth} {
			if r := <-c; r.v != 2 || r.err != nil {
				t.Errorf("new flight: %+v", r)
			}
		}
	})
}

func TestEndedContextStartsNothing(t *testing.T) {
	t.Parallel()
	var g group
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, _, err := g.Do(ctx, "k", mustNotRun(t)); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want Canceled", err)
	}
}

func TestC1_ForgetDetaches(t *testing.T) {
	t.Parallel()
	for name, forget := range map[string]func(*group){
		"Forget":      func(g *group) { g.Forget("k") },
		"ForgetFunc":  func(g *group) { g.ForgetFunc(func(k string) bool { return strings.HasPrefix(k, "k") }) },
		"ForgetFunc*": func(g *group) { g.ForgetFunc(nil) },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var g group
				old, fresh := newGate(), newGate()
				first := do(t.Context(), &g, "k", old.load)
				oldCtx := <-old.began
				forget(&g)
				second := do(t.Context(), &g, "k", fresh.load)
				<-fresh.began
				if oldCtx.Err() != nil {
					t.Error("Forget cancelled the flight")
				}
				old.end <- result{v: 1}
				if r := <-first; r.v != 1 || r.shared {
					t.Errorf("the overtaken caller: %+v, want its own 1", r)
				}
				synctest.Wait()
				third := do(t.Context(), &g, "k", mustNotRun(t)) // it joins the new load, which did not end with the old one
				synctest.Wait()
				fresh.end <- result{v: 2}
				for _, c := range []<-chan result{second, third} {
					if r := <-c; r.v != 2 || !r.shared {
						t.Errorf("a later caller: %+v, want 2", r)
					}
				}
			})
		})
	}
	t.Run("others stay", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			var g group
			l := newGate()
			first := do(t.Context(), &g, "k", l.load)
			<-l.began
			g.Forget("other")
			g.ForgetFunc(func(k string) bool { return k != "k" })
			second := do(t.Context(), &g, "k", mustNotRun(t))
			synctest.Wait()
			l.end <- result{v: 3}
			for _, c := range []<-chan result{first, second} {
				if r := <-c; r.v != 3 {
					t.Errorf("got %+v, want 3", r)
				}
			}
		})
	})
}

// A forgotten load is cancelled when its last caller leaves.
func TestForgottenFlightEndsWithItsCallers(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var g group
		l := newGate()
		ctx, cancel := context.WithCancel(t.Context())
		first := do(ctx, &g, "k", l.load)
		loadCtx := <-l.began
		g.Forget("k")
		fresh := newGate()
		second := do(t.Context(), &g, "k", fresh.load)
		freshCtx := <-fresh.began
		cancel()
		<-first
		<-loadCtx.Done()
		if freshCtx.Err() != nil {
			t.Error("the new flight was cancelled with the old one")
		}
		third := do(t.Context(), &g, "k", mustNotRun(t)) // it joins the new load, which did not end with the old one
		synctest.Wait()
		fresh.end <- result{v: 1}
		for _, c := range []<-chan result{second, third} {
			if r := <-c; r.v != 1 {
				t.Errorf("got %+v", r)
			}
		}
	})
}

func TestPanicReachesEveryCaller(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var g group
		boom := errors.New("boom")
		l := newGate()
		first := do(t.Context(), &g, "k", l.load)
		<-l.began
		second := do(t.Context(), &g, "k", mustNotRun(t))
		synctest.Wait()
		l.end <- result{panicked: boom}
		for _, c := range []<-chan result{first, second} {
			r := <-c
			p, ok := r.panicked.(*flight.PanicError)
			if !ok {
				t.Fatalf("got %+v, want a *PanicError", r)
			}
			if p.Value != boom || !errors.Is(p, boom) {
				t.Errorf("value %v, want boom", p.Value)
			}
			if !strings.Contains(string(p.Stack), "flight_test.(*gate).load") || !strings.Contains(p.Error(), "boom") {
				t.Errorf("the stack does not show the load:\n%s", p)
			}
		}
		if v, _, err := g.Do(t.Context(), "k", func(context.Context) (int, error) { return 1, nil }); v != 1 || err != nil {
			t.Errorf("after a panic: %d, %v", v, err)
		}
		if err := g.Close(t.Context()); err != nil {
			t.Errorf("Close: %v, want nil: the panic was seen", err)
		}
	})
}

func TestPanicNil(t *testing.T) {
	t.Parallel()
	var g group
	r := <-do(t.Context(), &g, "k", func(context.Context) (int, error) { panic(nil) })
	var nilPanic *runtime.PanicNilError
	if p, ok := r.panicked.(*flight.PanicError); !ok || !errors.As(p, &nilPanic) {
		t.Errorf("got %+v, want a panic", r)
	}
}

// A load returns an error that wraps a panic of another load. Wait returns it and does not panic.
func TestPanicErrorAsResult(t *testing.T) {
	t.Parallel()
	var g group
	inner := <-do(t.Context(), &g, "k", func(context.Context) (int, error) { panic("inner") })
	r := <-do(t.Context(), &g, "k", func(context.Context) (int, error) { return 0, errors.Join(inner.panicked.(error)) })
	if r.panicked != nil || r.err == nil {
		t.Errorf("got %+v, want an error", r)
	}
}

// Without a caller, a panic does not end the process, and Close returns it.
func TestPanicWithoutACaller(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var g group
		ctx, cancel := context.WithCancel(t.Context())
		began := make(chan struct{})
		first := do(ctx, &g, "k", func(ctx context.Context) (int, error) {
			close(began)
			<-ctx.Done()
			panic("too late")
		})
		<-began
		cancel()
		if r := <-first; !errors.Is(r.err, context.Canceled) || r.panicked != nil {
			t.Errorf("caller: %+v", r)
		}
		synctest.Wait()
		var p *flight.PanicError
		if err := g.Close(t.Context()); !errors.As(err, &p) || p.Value != "too late" {
			t.Errorf("Close: %v, want the panic", err)
		}
	})
}

func TestGoexit(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var g group
		began, end := make(chan struct{}), make(chan struct{})
		first := do(t.Context(), &g, "k", func(context.Context) (int, error) {
			close(began)
			<-end
			runtime.Goexit()
			return 1, nil
		})
		<-began
		second := do(t.Context(), &g, "k", mustNotRun(t))
		synctest.Wait()
		close(end)
		for _, c := range []<-chan result{first, second} {
			if r := <-c; !errors.Is(r.err, flight.ErrGoexit) || r.v != 0 {
				t.Errorf("got %+v, want ErrGoexit", r)
			}
		}
		if err := g.Close(t.Context()); err != nil {
			t.Errorf("Close: %v", err)
		}
	})
}

func TestClose(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var g group
		l := newGate()
		first := do(t.Context(), &g, "a", l.load)
		loadCtx := <-l.began
		stuck := make(chan struct{})
		began := make(chan struct{})
		second := do(t.Context(), &g, "b", func(context.Context) (int, error) {
			close(began)
			<-stuck
			return 1, nil
		})
		<-began
		g.Forget("b") // Close still ends it

		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		start := time.Now()
		err := g.Close(ctx)
		if err == nil || !strings.Contains(err.Error(), "1 of the loads") || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Close: %v, want one load that ignores its context", err)
		}
		if d := time.Since(start); d != 5*time.Second {
			t.Errorf("Close took %v", d)
		}
		if cause := context.Cause(loadCtx); !errors.Is(cause, flight.ErrClosed) {
			t.Errorf("cause %v, want ErrClosed", cause)
		}
		for _, c := range []<-chan result{first, second} {
			if r := <-c; !errors.Is(r.err, flight.ErrClosed) {
				t.Errorf("got %+v, want ErrClosed", r)
			}
		}
		if _, _, err := g.Do(t.Context(), "c", mustNotRun(t)); !errors.Is(err, flight.ErrClosed) {
			t.Errorf("Do after Close: %v", err)
		}
		close(stuck)
		if err := g.Close(t.Context()); err != nil {
			t.Errorf("second Close: %v", err)
		}
		if err := g.Close(t.Context()); err != nil {
			t.Errorf("third Close: %v", err)
		}
	})
}

func TestCloseUnused(t *testing.T) {
	t.Parallel()
	var g group
	if err := g.Close(t.Context()); err != nil {
		t.Error(err)
	}
}

// Callers join, leave and forget at random. None sees the value of another key, or an error of
// another caller. At most one load per key can be joined at a time.
func TestStorm(t *testing.T) {
	t.Parallel()
	var g flight.Group[int, int]
	var loads, joined atomic.Int64
	var wg sync.WaitGroup
	for w := range 16 {
		wg.Go(func() {
			for i := range 2000 {
				key := (w*31 + i) % 8
				ctx, cancel := context.WithCancel(context.Background())
				switch i % 5 {
				case 0:
					go cancel()
				case 1:
					g.Forget(key)
				case 2:
					g.ForgetFunc(func(k int) bool { return k == key })
				}
				v, shared, err := g.Do(ctx, key, func(ctx context.Context) (int, error) {
					loads.Add(1)
					for range i % 7 {
						runtime.Gosched()
						if ctx.Err() != nil {
							return -1, ctx.Err()
						}
					}
					return key, nil
				})
				if shared {
					joined.Add(1)
				}
				switch {
				case err == nil && v != key:
					t.Errorf("key %d got %d", key, v)
				case err != nil && (i%5 != 0 || !errors.Is(err, context.Canceled)):
					t.Errorf("key %d: %v", key, err)
				}
				cancel()
			}
		})
	}
	wg.Wait()
	if err := g.Close(t.Context()); err != nil {
		t.Error(err)
	}
	t.Logf("%d loads, %d shared", loads.Load(), joined.Load())
}

func BenchmarkDo(b *testing.B) {
	b.Run("alone", func(b *testing.B) {
		var g flight.Group[int, int]
		load := func(context.Context) (int, error) { return 1, nil }
		b.ReportAllocs()
		for b.Loop() {
			_, _, _ = g.Do(context.Background(), 1, load)
		}
	})
	b.Run("join", func(b *testing.B) {
		var g flight.Group[int, int]
		stop, began := make(chan struct{}), make(chan struct{})
		go func() {
			_, _, _ = g.Do(context.Background(), 1, func(context.Context) (int, error) {
				close(began)
				<-stop
				return 1, nil
			})
		}()
		<-began
		ctx, cancel := context.WithCancel(context.Background())
		b.ReportAllocs()
		for b.Loop() { // join and leave: two locks, and a context that ends
			done := make(chan struct{})
			go func() { _, _, _ = g.Do(ctx, 1, nil); close(done) }()
			cancel()
			<-done
			ctx, cancel = context.WithCancel(context.Background())
		}
		cancel()
		close(stop)
	})
	b.Run("parallel", func(b *testing.B) {
		var g flight.Group[int, int]
		load := func(context.Context) (int, error) { return 1, nil }
		b.ReportAllocs()
		b.RunParallel(func(pb *testing.PB) {
			for i := 0; pb.Next(); i++ {
				_, _, _ = g.Do(context.Background(), i%64, load)
			}
		})
	})
}
