package inspect_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/redstart-go/redstart"
	"github.com/redstart-go/redstart/idempotency"
	"github.com/redstart-go/redstart/inspect"
	"github.com/redstart-go/redstart/internal/clientcore"
	"github.com/redstart-go/redstart/internal/core"
	"github.com/redstart-go/redstart/internal/rig"
)

// newOrders returns a handler that executes each request once. The scope is the header User.
func newOrders(t testing.TB, client *redstart.Client, opts idempotency.Options, next http.HandlerFunc) http.Handler {
	t.Helper()
	opts.Scope = func(r *http.Request) (string, error) { return r.Header.Get("User"), nil }
	e, err := idempotency.New(client, "orders", opts)
	must(t, err)
	return e.Middleware(next)
}

// post sends a request with a key, and returns the status and the body of its answer.
func post(h http.Handler, user, key string) (status int, body string) {
	r := httptest.NewRequest(http.MethodPost, "/orders", strings.NewReader("an order"))
	r.Header.Set("User", user)
	r.Header.Set("Idempotency-Key", `"`+key+`"`)
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w.Code, w.Body.String()
}

// A key is shown while its request runs and after it. Nothing of the response is shown without a
// request. A result that is forgotten is executed again; a running execution is never forgotten.
func TestIdempotencyShowsAndForgets(t *testing.T) {
	t.Parallel()
	onPlaces(t, nil, func(t *testing.T, p place) {
		ctx := t.Context()
		looks, repairs := p.looks.Idempotency(), p.repairs.Idempotency()
		id := inspect.IdempotencyID{Executor: "orders", Scope: "<b>ada\x1b[31m", Key: "k-1"}
		if _, err := looks.Show(ctx, id); !errors.Is(err, inspect.ErrNotFound) {
			t.Errorf("a free key: %v", err)
		}

		began, end, executed := make(chan bool), make(chan bool), atomic.Int64{}
		orders := newOrders(t, p.service, idempotency.Options{}, func(w http.ResponseWriter, _ *http.Request) {
			began <- true
			<-end
			w.Header().Set("Location", "/secret-location")
			w.WriteHeader(http.StatusCreated)
			fmt.Fprintf(w, "secret body %d", executed.Add(1))
		})
		answer := make(chan string, 1)
		run := func() {
			go func() { _, body := post(orders, id.Scope, id.Key); answer <- body }()
			<-began
		}
		run()
		shown, err := looks.Show(ctx, id)
		must(t, err)
		if shown.State != "running" || shown.TTLLeft <= 0 || shown.Status != 0 || shown.Problem != "" || shown.IdempotencyID != id {
			t.Errorf("while the request runs: %+v", shown)
		}
		if _, err := looks.Result(ctx, id); !errors.Is(err, inspect.ErrNotFound) {
			t.Errorf("the result of a running execution: %v", err)
		}
		if err := repairs.Forget(ctx, id); !errors.Is(err, inspect.ErrRunning) {
			t.Errorf("forget of a running execution: %v", err)
		}
		end <- true
		if body := <-answer; body != "secret body 1" {
			t.Fatalf("the answer is %q", body)
		}

		shown, err = looks.Show(ctx, id)
		must(t, err)
		if shown.State != "finished" || shown.Status != http.StatusCreated || shown.BodyBytes != int64(len("secret body 1")) ||
			shown.HeaderBytes == 0 || shown.TTLLeft <= 0 {
			t.Errorf("after the request: %+v", shown)
		}
		text, err := json.Marshal(shown)
		must(t, err)
		if strings.Contains(string(text), "secret") {
			t.Errorf("the record has a part of the response: %s", text)
		}
		result, err := looks.Result(ctx, id)
		must(t, err)
		if string(result.Body) != "secret body 1" || !strings.Contains(result.Header, "Location: /secret-location\r\n") {
			t.Errorf("the result: %+v", result)
		}

		if err := looks.Forget(ctx, id); !errors.Is(err, inspect.ErrReadOnly) {
			t.Errorf("a repair of a read-only Inspector: %v", err)
		}
		must(t, repairs.Forget(ctx, id))
		if err := repairs.Forget(ctx, id); !errors.Is(err, inspect.ErrNotFound) {
			t.Errorf("a second forget: %v", err)
		}
		run()
		end <- true
		if body := <-answer; body != "secret body 2" {
			t.Errorf("after forget, the answer is %q", body)
		}
		records := p.log.records(t)
		if len(records) != 2 || records[1] != "ana idempotency forget orders "+id.Scope+" k-1 1" {
			t.Errorf("the log has %q", records)
		}
	})
}

// An execution without a stored result, and a response above 1 MiB.
func TestIdempotencyWithoutAResult(t *testing.T) {
	t.Parallel()
	rig.Engines(t, func(t *testing.T, e rig.Engine) {
		client := open(t, e.URL, e.Namespace)
		in := newInspector(t, client).Idempotency()
		large := strings.Repeat("x", 2<<20)
		for _, one := range []struct {
			opts  idempotency.Options
			key   string
			state string
			class error
		}{
			{idempotency.Options{}, "short", "not repeatable", inspect.ErrNotFound},
			{idempotency.Options{MaxResponseBytes: 4 << 20}, "long", "finished", redstart.ErrTooLarge},
		} {
			id := inspect.IdempotencyID{Executor: "orders", Key: one.key}
			h := newOrders(t, client, one.opts, func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, large) })
			if status, body := post(h, "", one.key); status != http.StatusOK || body != large {
				t.Fatalf("%s: status %d", one.key, status)
			}
			shown, err := in.Show(t.Context(), id)
			if err != nil || shown.State != one.state {
				t.Errorf("%s: %+v, %v", one.key, shown, err)
			}
			if _, err := in.Result(t.Context(), id); !errors.Is(err, one.class) {
				t.Errorf("%s: %v, want %v", one.key, err, one.class)
			}
			must(t, in.Forget(t.Context(), id))
			if _, err := in.Show(t.Context(), id); !errors.Is(err, inspect.ErrNotFound) {
				t.Errorf("%s is still there: %v", one.key, err)
			}
		}
	})
}

// Forget and requests race. Two executions of the key never run at the same time (I1).
func TestIdempotencyForgetNeverFreesARunningKey(t *testing.T) {
	t.Parallel()
	url, namespace := rig.Shared(t).URL(), rig.Prefix(t)
	client, in := open(t, url, namespace), newInspector(t, open(t, url, namespace)).Idempotency()
	id := inspect.IdempotencyID{Executor: "orders", Scope: "ada", Key: "k"}
	var running, executed, forgotten atomic.Int64
	h := newOrders(t, client, idempotency.Options{}, func(w http.ResponseWriter, _ *http.Request) {
		if running.Add(1) != 1 {
			t.Error("two executions run at the same time")
		}
		if _, err := in.Show(t.Context(), id); err != nil { // a round trip, in which Forget runs
			t.Error(err)
		}
		executed.Add(1)
		running.Add(-1)
	})
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for executed.Load() < 100 && !t.Failed() {
				post(h, "ada", "k")
			}
		})
		wg.Go(func() {
			for executed.Load() < 100 && !t.Failed() {
				switch err := in.Forget(t.Context(), id); {
				case err == nil:
					forgotten.Add(1)
				case !errors.Is(err, inspect.ErrRunning) && !errors.Is(err, inspect.ErrNotFound):
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if n := executed.Load() - forgotten.Load(); n < 0 || n > 1 {
		t.Errorf("%d executions, %d results forgotten", executed.Load(), forgotten.Load())
	}
}

// Values of other programs are shown as such, and never deleted.
func TestIdempotencyForeignValues(t *testing.T) {
	t.Parallel()
	rig.Engines(t, func(t *testing.T, e rig.Engine) {
		client := open(t, e.URL, e.Namespace)
		c, in := clientcore.Of(client), newInspector(t, client).Idempotency()
		space, err := c.Keys("idempotency", "orders")
		must(t, err)
		for key, args := range map[string][]string{
			"text": {"SET", "<script>"}, "other": {"HSET", "a", "b"}, "status": {"HSET", "owner", "o", "fingerprint", "f", "status", "x"},
			"header": {"HSET", "owner", "o", "fingerprint", "f", "status", "200", "header", "\x00no header\n\n<b>", "body", ""},
			"huge":   {"HSET", "owner", "o", "fingerprint", "f", "status", strings.Repeat("9", 1<<20)},
		} {
			_, err := c.Do(t.Context(), core.Write(args[0], space.Key("0=|"+key), args[1:]...))
			must(t, err)
			id := inspect.IdempotencyID{Executor: "orders", Key: key}
			shown, err := in.Show(t.Context(), id)
			must(t, err)
			result, err := in.Result(t.Context(), id)
			if shown.Problem == "" && key != "header" || !errors.Is(err, redstart.ErrCorrupt) || len(result.Body)+len(result.Header) > 0 {
				t.Errorf("%s: %+v, %+v, %v", key, shown, result, err)
			}
			if err := in.Forget(t.Context(), id); !errors.Is(err, redstart.ErrCorrupt) && key != "header" {
				t.Errorf("forget of %s: %v", key, err)
			}
		}
		for _, id := range []inspect.IdempotencyID{
			{Key: "k"}, {Executor: "orders"}, {Executor: "orders", Key: strings.Repeat("k", 256)},
			{Executor: "orders", Key: "k", Scope: strings.Repeat("s", 1<<20)}, {Executor: strings.Repeat("e", 129), Key: "k"},
		} {
			_, err1 := in.Show(t.Context(), id)
			if err2 := in.Forget(t.Context(), id); err1 == nil || err2 == nil || len(err1.Error())+len(err2.Error()) > 1000 {
				t.Errorf("%.20q %.20q: %v, %v", id.Executor, id.Key, err1, err2)
			}
		}
	})
}
