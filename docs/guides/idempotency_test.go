package guides_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"time"

	"github.com/redstart-go/redstart"
	"github.com/redstart-go/redstart/idempotency"
)

// newPayments makes the Executor once. All processes share its keys.
func newPayments(client *redstart.Client) (*idempotency.Executor, error) {
	return idempotency.New(client, "payments", idempotency.Options{
		Scope:            customer,
		Required:         true,
		Retention:        7 * 24 * time.Hour, // as long as clients may repeat a payment
		DocumentationURL: "https://example.com/docs/idempotency",
	})
}

// customer returns the client that a key belongs to, from your own authentication.
func customer(r *http.Request) (string, error) {
	if user := r.Header.Get("X-User"); user != "" {
		return user, nil
	}
	return "", idempotency.ErrNoScope
}

// Payments writes payments into a database.
type Payments struct {
	insert func(ctx context.Context, key, user string, amount int) (id int, err error)
}

// Handler has the middleware on the routes that have an effect.
func (p *Payments) Handler(executor *idempotency.Executor) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("POST /payments", executor.Middleware(http.HandlerFunc(p.create)))
	return mux
}

// create runs once per key. Its context does not end when the client disconnects.
func (p *Payments) create(w http.ResponseWriter, r *http.Request) {
	var body struct{ Amount int }
	if err := json.NewDecoder(r.Body).Decode(&body); err != nil {
		http.Error(w, "the body is not JSON", http.StatusBadRequest)
		return
	}
	// The column has a unique index: after a crash, a second execution finds the first payment.
	id, err := p.insert(r.Context(), r.Header.Get("Idempotency-Key"), r.Header.Get("X-User"), body.Amount)
	if err != nil {
		http.Error(w, "try again in a moment", http.StatusServiceUnavailable)
		return
	}
	w.WriteHeader(http.StatusCreated)
	fmt.Fprintf(w, `{"id":%d}`, id)
}

// newWebhooks accepts webhooks of a sender that does not quote its keys, and repeats them after
// 5xx.
func newWebhooks(client *redstart.Client) (*idempotency.Executor, error) {
	return idempotency.New(client, "webhooks", idempotency.Options{
		Scope:         idempotency.OneScope, // one sender
		AllowUnquoted: true,
		Retryable:     func(status int) bool { return status >= 500 },
	})
}

// sendPayment sends a payment until it has an answer. The key stays the same for all tries.
func sendPayment(ctx context.Context, client *http.Client, url, key string, amount int) (*http.Response, error) {
	for {
		body := strings.NewReader(fmt.Sprintf(`{"amount":%d}`, amount))
		r, err := http.NewRequestWithContext(ctx, http.MethodPost, url+"/payments", body)
		if err != nil {
			return nil, err
		}
		r.Header.Set("Idempotency-Key", `"`+key+`"`)
		r.Header.Set("X-User", "ada")
		res, err := client.Do(r)
		if err == nil && res.Header.Get("Retry-After") == "" {
			return res, nil
		}
		if err == nil {
			res.Body.Close()
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(time.Second):
		}
	}
}

func Example_idempotency() {
	ctx := context.Background()
	client, end := start(ctx)
	defer end()
	inserted := 0
	payments := &Payments{insert: func(context.Context, string, string, int) (int, error) {
		inserted++
		return 41 + inserted, nil
	}}
	_ = must(newWebhooks(client))
	server := httptest.NewServer(payments.Handler(must(newPayments(client))))
	defer server.Close()

	for _, amount := range []int{10, 10, 20} {
		res := must(sendPayment(ctx, server.Client(), server.URL, "8e03978e-40d5-43e8-bc93-6894a57f9324", amount))
		body := must(io.ReadAll(res.Body))
		res.Body.Close()
		fmt.Println(res.StatusCode, res.Header.Get("Idempotent-Replayed"), strings.Contains(string(body), `"id":42`))
	}
	fmt.Println(inserted, "payment")
	// Output:
	// 201  true
	// 201 true true
	// 422  false
	// 1 payment
}
