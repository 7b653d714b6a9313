package ratelimit_test

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"

	"github.com/redstart-go/redstart/internal/rig"
	"github.com/redstart-go/redstart/ratelimit"
)

// A refusal says when the first permit expires. The permit of a handler that runs longer than TTL
// is extended, and released at the end.
func TestConcurrencyMiddleware(t *testing.T) {
	t.Parallel()
	const ttl = 1500 * time.Millisecond
	c, err := ratelimit.NewConcurrency(shared(t), "handlers",
		ratelimit.ConcurrencyOptions{Limit: 1, TTL: ttl, Outage: ratelimit.FailClosed})
	if err != nil {
		t.Fatal(err)
	}
	begun, end := make(chan struct{}, 1), make(chan bool)
	handler := c.Middleware(ratelimit.Header("X-Key"))(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		select {
		case begun <- struct{}{}:
		default: // a second request runs
		}
		select {
		case panics := <-end:
			if panics {
				panic(http.ErrAbortHandler)
			}
		case <-r.Context().Done():
		}
	}))
	request := func(ctx context.Context) *httptest.ResponseRecorder {
		r := httptest.NewRequestWithContext(ctx, "GET", "/", nil)
		r.Header.Set("X-Key", "k")
		w := httptest.NewRecorder()
		defer func() { _ = recover() }()
		handler.ServeHTTP(w, r)
		return w
	}
	for _, panics := range []bool{false, true} {
		served := make(chan struct{})
		go func() { defer close(served); request(t.Context()) }()
		<-begun
		for began := time.Now(); time.Since(began) < 2*ttl; <-time.After(ttl / 10) {
			ctx, cancel := context.WithTimeout(t.Context(), ttl)
			w := request(ctx)
			cancel()
			after, err := strconv.Atoi(w.Header().Get("Retry-After"))
			if w.Code != http.StatusTooManyRequests || err != nil || after < 1 || after > 2 {
				t.Fatalf("a second request after %v of a TTL of %v: %d %v", time.Since(began), ttl, w.Code, w.Header())
			}
		}
		end <- panics
		<-served
		p, err := c.Acquire(t.Context(), c2key)
		if err != nil {
			t.Fatalf("after the handler (panics: %v): %v", panics, err)
		}
		if err := p.Release(t.Context()); err != nil {
			t.Error(err)
		}
	}
	w := httptest.NewRecorder()
	handler.ServeHTTP(w, httptest.NewRequest("GET", "/", nil))
	if w.Code != http.StatusBadRequest {
		t.Errorf("without a key: %d", w.Code)
	}
}

// c2key is the key of the field value "k".
var c2key = func() string {
	r := httptest.NewRequest("GET", "/", nil)
	r.Header.Set("X-Key", "k")
	key, _ := ratelimit.Header("X-Key")(r)
	return key
}()

func TestConcurrencyMiddlewareInAnOutage(t *testing.T) {
	t.Parallel()
	server := rig.Standalone(t)
	client := open(t, server.URL(), "app")
	server.Kill()
	for outage, want := range map[ratelimit.Outage]int{ratelimit.FailOpen: 200, ratelimit.FailClosed: 503} {
		c, err := ratelimit.NewConcurrency(client, "c", ratelimit.ConcurrencyOptions{Limit: 1, Outage: outage})
		if err != nil {
			t.Fatal(err)
		}
		if w := serve(c.Middleware(ratelimit.ClientAddress())(ok)); w.Code != want {
			t.Errorf("%v: %d, want %d", outage, w.Code, want)
		}
	}
}

// permitOp is a call on one key: the request, and whether it was granted.
type permitOp struct{ acquire bool }

// permitModel is a concurrency limit without expired permits: a counter from 0 to limit.
func permitModel(limit int) porcupine.Model {
	return porcupine.Model{
		Init: func() any { return 0 },
		Step: func(state, input, output any) (bool, any) {
			out, granted := state.(int), output.(bool)
			switch {
			case !input.(permitOp).acquire:
				return granted && out > 0, out - 1
			case granted:
				return out < limit, out + 1
			}
			return out >= limit, out
		},
	}
}

// A history of callers of three processes: a counter gives each grant and each refusal at some
// moment within the call.
func TestR1_ConcurrencyHistoryIsLinearizable(t *testing.T) {
	t.Parallel()
	server := rig.Shared(t)
	namespace := rig.Prefix(t)
	const limit, callers, rounds = 3, 8, 60
	var processes []*ratelimit.Concurrency
	for range 3 {
		c, err := ratelimit.NewConcurrency(open(t, server.URL(), namespace), "history",
			ratelimit.ConcurrencyOptions{Limit: limit, TTL: time.Hour, Outage: ratelimit.FailClosed})
		if err != nil {
			t.Fatal(err)
		}
		processes = append(processes, c)
	}
	began := time.Now()
	var mu sync.Mutex
	var history []porcupine.Operation
	var refused atomic.Int64
	note := func(caller int, op permitOp, call time.Duration, granted bool) {
		mu.Lock()
		defer mu.Unlock()
		history = append(history, porcupine.Operation{ClientId: caller, Input: op, Call: int64(call),
			Output: granted, Return: int64(time.Since(began))})
	}
	var wg sync.WaitGroup
	for caller := range callers {
		wg.Go(func() {
			c := processes[caller%len(processes)]
			for range rounds {
				call := time.Since(began)
				p, err := c.Acquire(t.Context(), "k")
				note(caller, permitOp{acquire: true}, call, err == nil)
				if err != nil {
					refused.Add(1)
					continue
				}
				for range 2 { // hold the permit while others ask
					if err := p.Extend(t.Context()); err != nil {
						t.Error(err)
					}
				}
				call = time.Since(began)
				err = p.Release(context.WithoutCancel(t.Context()))
				note(caller, permitOp{}, call, err == nil)
			}
		})
	}
	wg.Wait()
	if refused.Load() == 0 || int(refused.Load()) == callers*rounds {
		t.Errorf("%d of %d were refused: the history says nothing", refused.Load(), callers*rounds)
	}
	if result := porcupine.CheckOperationsTimeout(permitModel(limit), history, 20*time.Second); result != porcupine.Ok {
		t.Errorf("the history of %d calls: %v", len(history), result)
	}
}

// Do holds a permit while fn runs, longer than TTL, and releases it after a result and after a
// panic.
func TestConcurrencyDo(t *testing.T) {
	t.Parallel()
	const ttl = 600 * time.Millisecond
	c, err := ratelimit.NewConcurrency(shared(t), "jobs",
		ratelimit.ConcurrencyOptions{Limit: 1, TTL: ttl, Outage: ratelimit.FailClosed})
	if err != nil {
		t.Fatal(err)
	}
	failed := errors.New("failed")
	for _, panics := range []bool{false, true} {
		func() {
			defer func() {
				if cause := recover(); (cause != nil) != panics {
					t.Errorf("panicked with %v", cause)
				}
			}()
			err := c.Do(t.Context(), "k", func(ctx context.Context) error {
				for began := time.Now(); time.Since(began) < 2*ttl; <-time.After(ttl / 10) {
					if err := c.Do(ctx, "k", nil); !errors.Is(err, ratelimit.ErrBusy) {
						t.Fatalf("a second permit after %v: %v", time.Since(began), err)
					}
				}
				if panics {
					panic("fn")
				}
				return failed
			})
			if err != failed {
				t.Errorf("got %v, want the error of fn", err)
			}
		}()
	}
	if err := c.Do(t.Context(), "k", func(context.Context) error { return nil }); err != nil {
		t.Errorf("after the panic: %v", err)
	}
}
