package idempotency_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/redstart-go/redstart/idempotency"
	"github.com/redstart-go/redstart/internal/rig"
	"github.com/redstart-go/redstart/internal/rig/rigclient"
)

// The two policies with a stopped server and with a killed one: FailClosed never executes, FailOpen
// always does. An answer is not slower than two command timeouts. Both use the key again after the
// server is back.
func TestI5_OutagePolicies(t *testing.T) {
	t.Parallel()
	const timeout = 300 * time.Millisecond
	for name, fault := range map[string]struct{ begin, end func(*rig.Server) }{
		"stopped": {(*rig.Server).Stop, (*rig.Server).Continue},
		"killed":  {(*rig.Server).Kill, (*rig.Server).Restart},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := rig.Standalone(t)
			client := open(t, server.URL(), "app", rigclient.Within(timeout))
			closedOrders, openOrders := &orders{}, &orders{}
			e := newExecutor(t, client, idempotency.Options{})
			failOpen, err := idempotency.New(client, "open", idempotency.Options{Scope: idempotency.OneScope, Outage: idempotency.FailOpen})
			if err != nil {
				t.Fatal(err)
			}
			closed, openly := e.Middleware(closedOrders), failOpen.Middleware(openOrders)

			fault.begin(server)
			const requests = 10
			for i := range requests {
				watch := rig.Watch(t)
				w := request{key: "k"}.to(closed)
				if took := watch.Took(); took > 2*timeout+300*time.Millisecond {
					t.Errorf("answer %d took %v", i, took)
				}
				wantCode(t, w, http.StatusServiceUnavailable, "unavailable")
				if w.Header().Get("Retry-After") == "" {
					t.Errorf("no Retry-After: %v", w.Header())
				}
				if w := (request{key: "k"}).to(openly); w.Code != http.StatusCreated {
					t.Errorf("FailOpen: %d %s", w.Code, w.Body)
				}
			}
			if n, m := closedOrders.executed.Load(), openOrders.executed.Load(); n != 0 || m != requests {
				t.Errorf("FailClosed executed %d times, FailOpen %d times of %d", n, m, requests)
			}
			if s, o := e.Stats(), failOpen.Stats(); s.Unavailable != requests || s.Executed != 0 || o.Degraded != requests {
				t.Errorf("%+v, %+v", s, o)
			}

			fault.end(server)
			for _, h := range []http.Handler{closed, openly} {
				rig.Eventually(t, 20*time.Second, "a replay", func() bool {
					return request{key: "after"}.to(h).Header().Get("Idempotent-Replayed") == "true"
				})
			}
		})
	}
}

// The server grants the lease, and its reply is lost. The request is 503, and the lease is released
// before it expires, so the next try is executed.
func TestI5_ALeaseWithoutAReplyIsReleased(t *testing.T) {
	t.Parallel()
	proxy := rig.NewProxy(t, rig.Shared(t).Addr())
	client := open(t, proxy.URL(), rig.Prefix(t), rigclient.Within(300*time.Millisecond))
	o := &orders{}
	e := newExecutor(t, client, idempotency.Options{Lease: time.Hour})
	h := e.Middleware(o)
	if w := (request{key: "warm"}).to(h); w.Code != http.StatusCreated { // the server knows the script
		t.Fatalf("%d", w.Code)
	}
	proxy.StallReplies()
	wantCode(t, request{key: "k"}.to(h), http.StatusServiceUnavailable, "unavailable")
	ctx, disconnect := context.WithCancel(t.Context())
	time.AfterFunc(50*time.Millisecond, disconnect) // before or after the request is sent: the key is free
	w := httptest.NewRecorder()
	h.ServeHTTP(w, request{key: "disconnected"}.build().WithContext(ctx))
	wantCode(t, w, http.StatusServiceUnavailable, "unavailable")
	proxy.Resume()
	for _, key := range []string{"k", "disconnected"} {
		rig.Eventually(t, 20*time.Second, "the key is free", func() bool { return request{key: key}.to(h).Code == http.StatusCreated })
	}
	if n := o.executed.Load(); n != 3 {
		t.Errorf("%d executions", n)
	}
}

// Another program has written the key. FailClosed does not execute the request.
func TestI5_AForeignKeyIsAnOutage(t *testing.T) {
	t.Parallel()
	client := open(t, rig.Embedded(t).URL(), "app")
	o := &orders{}
	e := newExecutor(t, client, idempotency.Options{})
	h := e.Middleware(o)
	redis := rigclient.Redis(t, client)
	for key, cmd := range map[string][]string{
		"string": {"SET", e.KeyOnServer("", "string"), "x"},
		"hash":   {"HSET", e.KeyOnServer("", "hash"), "owner", "x", "fingerprint", must(e.Fingerprint(request{}.build())), "status", "abc"},
	} {
		if err := redis.Do(t.Context(), redis.B().Arbitrary(cmd...).Build()).Error(); err != nil {
			t.Fatal(err)
		}
		wantCode(t, request{key: key}.to(h), http.StatusServiceUnavailable, "unavailable")
	}
	if n := o.executed.Load(); n != 0 {
		t.Errorf("%d executions", n)
	}
}
