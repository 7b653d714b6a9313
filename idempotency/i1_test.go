package idempotency_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redstart-go/redstart"
	"github.com/redstart-go/redstart/idempotency"
	"github.com/redstart-go/redstart/internal/rig"
	"github.com/redstart-go/redstart/internal/rig/rigclient"
)

// Clients of four processes send the same requests at the same time. Each key is executed once. The
// control is the handler without the middleware, which is executed once per request.
func TestI1_OneExecutionOverAllProcesses(t *testing.T) {
	t.Parallel()
	rig.Engines(t, func(t *testing.T, e rig.Engine) {
		const processes, callers, keys = 4, 8, 20
		executions := func(guarded bool) int64 {
			var executed, unexpected atomic.Int64
			handler := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				executed.Add(1)
				w.WriteHeader(http.StatusCreated)
			})
			var wg sync.WaitGroup
			for range processes {
				h := http.Handler(handler)
				if guarded {
					h = newExecutor(t, open(t, e.URL, e.Namespace), idempotency.Options{}).Middleware(handler)
				}
				for range callers {
					wg.Go(func() {
						for key := range keys {
							if w := (request{key: fmt.Sprint(key)}).to(h); w.Code != http.StatusCreated && w.Code != http.StatusConflict {
								unexpected.Add(1)
							}
						}
					})
				}
			}
			wg.Wait()
			if n := unexpected.Load(); n != 0 {
				t.Errorf("%d answers other than 201 and 409", n)
			}
			return executed.Load()
		}
		if n := executions(false); n != processes*callers*keys {
			t.Fatalf("the control executed %d times", n)
		}
		if n := executions(true); n != keys {
			t.Errorf("%d keys were executed %d times", keys, n)
		}
	})
}

const crashLease = 2 * time.Second

// executorRole begins an execution that does not end.
func executorRole() {
	client, err := redstart.Open(context.Background(), redstart.Config{URL: os.Getenv("URL"), Namespace: os.Getenv("NAMESPACE")})
	if err != nil {
		panic(err)
	}
	e, err := idempotency.New(client, "crash", idempotency.Options{Scope: idempotency.OneScope, Lease: crashLease})
	if err != nil {
		panic(err)
	}
	h := e.Middleware(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		fmt.Println("began")
		_, _ = bufio.NewReader(os.Stdin).ReadString('\n') // until the process is killed
	}))
	fmt.Println(request{key: "k"}.to(h).Code)
}

// A process that runs longer than three leases keeps its key. After it is killed, the key is taken
// until the lease expires, and not longer.
func TestI1_ACrashFreesTheKeyAfterTheLease(t *testing.T) {
	t.Parallel()
	server, namespace := rig.Shared(t), rig.Prefix(t)
	client := open(t, server.URL(), namespace)
	e, err := idempotency.New(client, "crash", idempotency.Options{Scope: idempotency.OneScope, Lease: crashLease})
	if err != nil {
		t.Fatal(err)
	}
	o := &orders{}
	h := e.Middleware(o)
	process := rig.Spawn(t, "executor", map[string]string{"URL": server.URL(), "NAMESPACE": namespace})
	if line := process.Line(30 * time.Second); line != "began" {
		t.Fatalf("the process prints %q", line)
	}
	for began := time.Now(); time.Since(began) < 2*crashLease; <-time.After(crashLease / 10) {
		wantCode(t, request{key: "k"}.to(h), http.StatusConflict, "in-flight")
	}

	process.Kill()
	wantCode(t, request{key: "k"}.to(h), http.StatusConflict, "in-flight")
	watch := rig.Watch(t)
	rig.Eventually(t, 20*time.Second, "the key is free", func() bool { return request{key: "k"}.to(h).Code == http.StatusCreated })
	if took := watch.Took(); took > crashLease+time.Second {
		t.Errorf("the key was free %v after the crash, with a lease of %v", took, crashLease)
	}
	if n := o.executed.Load(); n != 1 {
		t.Errorf("%d executions", n)
	}
}

// The server does not answer for longer than the lease. The context of the handler ends by then,
// and its result is not stored.
func TestI1_ALostLeaseEndsTheHandler(t *testing.T) {
	t.Parallel()
	proxy := rig.NewProxy(t, rig.Shared(t).Addr())
	client := open(t, proxy.URL(), rig.Prefix(t), rigclient.Within(200*time.Millisecond))
	const lease = 600 * time.Millisecond
	e := newExecutor(t, client, idempotency.Options{Lease: lease})
	b := newBlocking()
	h := e.Middleware(b)
	first := inBackground(h, request{key: "k"})
	r := <-b.began
	proxy.Stall()
	watch := rig.Watch(t)
	<-r.Context().Done()
	if took := watch.Took(); took > lease+200*time.Millisecond {
		t.Errorf("the context ended %v after the last answer, with a lease of %v", took, lease)
	}
	if cause := context.Cause(r.Context()); !errors.Is(cause, idempotency.ErrLeaseLost) {
		t.Errorf("the context ended by %v", cause)
	}
	proxy.Resume()
	b.end <- func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusInternalServerError) }
	if w := <-first; w.Code != http.StatusInternalServerError {
		t.Errorf("the answer of the handler is %d", w.Code)
	}
	if s := e.Stats(); s.Lost != 1 {
		t.Errorf("%+v", s)
	}
	again := e.Middleware(&orders{})
	rig.Eventually(t, 20*time.Second, "the request is executed again", func() bool {
		return request{key: "k"}.to(again).Code == http.StatusCreated
	})
}

// A running execution writes its record again, if the server has lost it. The result is stored.
func TestI1_ARenewalRestoresALostRecord(t *testing.T) {
	t.Parallel()
	client := shared(t)
	e := newExecutor(t, client, idempotency.Options{Lease: 300 * time.Millisecond})
	b := newBlocking()
	h := e.Middleware(b)
	first := inBackground(h, request{key: "k"})
	<-b.began
	redis := rigclient.Redis(t, client)
	key := e.KeyOnServer("", "k")
	if err := redis.Do(t.Context(), redis.B().Del().Key(key).Build()).Error(); err != nil {
		t.Fatal(err)
	}
	rig.Eventually(t, 20*time.Second, "the record is there again", func() bool {
		n, err := redis.Do(t.Context(), redis.B().Exists().Key(key).Build()).AsInt64()
		return err == nil && n == 1
	})
	wantCode(t, request{key: "k"}.to(h), http.StatusConflict, "in-flight")
	b.end <- func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusCreated) }
	<-first
	if w := (request{key: "k"}).to(h); w.Code != http.StatusCreated {
		t.Errorf("the repeated request: %d %s", w.Code, w.Body)
	}
}

// The end of the client's connection does not end the handler. Options.Timeout and the deadline of
// the request do.
func TestI1_TheContextOfAHandler(t *testing.T) {
	t.Parallel()
	client := open(t, rig.Embedded(t).URL(), "app")
	e := newExecutor(t, client, idempotency.Options{Timeout: 50 * time.Millisecond})
	patient, err := idempotency.New(client, "patient", idempotency.Options{Scope: idempotency.OneScope})
	if err != nil {
		t.Fatal(err)
	}
	type value struct{}
	gone, disconnect := context.WithCancel(context.WithValue(t.Context(), value{}, "kept"))
	for name, c := range map[string]struct {
		e     *idempotency.Executor
		ctx   context.Context
		check func(ctx context.Context) error
	}{
		"disconnected": {patient, gone, func(ctx context.Context) error {
			disconnect()
			if ctx.Value(value{}) != "kept" {
				return errors.New("the values of the request are lost")
			}
			return ctx.Err()
		}},
		"timeout": {e, t.Context(), func(ctx context.Context) error {
			<-ctx.Done()
			return timedOut(ctx)
		}},
		"deadline": {patient, nil, func(ctx context.Context) error {
			<-ctx.Done()
			return timedOut(ctx)
		}},
	} {
		ctx := c.ctx
		if ctx == nil {
			short, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
			defer cancel()
			ctx = short
		}
		ran := false
		h := c.e.Middleware(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			ran = true
			if err := c.check(r.Context()); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}))
		h.ServeHTTP(newRecorder(), request{key: name}.build().WithContext(ctx))
		if !ran {
			t.Errorf("%s: the handler did not run", name)
		}
	}
}

func timedOut(ctx context.Context) error {
	if !errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return fmt.Errorf("the context ended by %w", ctx.Err())
	}
	return nil
}

// Close ends the context of a handler that needs renewals, before the first renewal and after it.
func TestI1_CloseEndsALongHandler(t *testing.T) {
	t.Parallel()
	server := rig.Embedded(t)
	other := open(t, server.URL(), "app")
	redis := rigclient.Redis(t, other)
	for _, renewed := range []bool{false, true} {
		client, err := redstart.Open(t.Context(), redstart.Config{URL: server.URL()})
		if err != nil {
			t.Fatal(err)
		}
		e := newExecutor(t, client, idempotency.Options{Lease: 300 * time.Millisecond})
		b := newBlocking()
		first := inBackground(e.Middleware(b), request{key: fmt.Sprint(renewed)})
		r := <-b.began
		if renewed {
			key := e.KeyOnServer("", "true")
			if err := redis.Do(t.Context(), redis.B().Del().Key(key).Build()).Error(); err != nil {
				t.Fatal(err)
			}
			rig.Eventually(t, 20*time.Second, "a renewal writes the record again", func() bool {
				n, err := redis.Do(t.Context(), redis.B().Exists().Key(key).Build()).AsInt64()
				return err == nil && n == 1
			})
		}
		if err := client.Close(); err != nil {
			t.Error(err)
		}
		<-r.Context().Done()
		if cause := context.Cause(r.Context()); !errors.Is(cause, idempotency.ErrLeaseLost) {
			t.Errorf("the context ended by %v", cause)
		}
		b.end <- func(http.ResponseWriter, *http.Request) {}
		if w := <-first; w.Code != http.StatusOK {
			t.Errorf("%d", w.Code)
		}
	}
}
