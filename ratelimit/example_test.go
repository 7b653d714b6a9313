package ratelimit_test

import (
	"context"
	"fmt"
	"log"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"time"

	"github.com/redstart-go/redstart"
	"github.com/redstart-go/redstart/embedded"
	"github.com/redstart-go/redstart/ratelimit"
)

// connect opens a client of an embedded server. A service uses redstart.Open with the URL of its
// Redis.
func connect(ctx context.Context) (*redstart.Client, func()) {
	server, err := embedded.Start(ctx, embedded.Options{})
	if err != nil {
		log.Fatal(err)
	}
	client, err := redstart.Open(ctx, redstart.Config{URL: server.URL()})
	if err != nil {
		log.Fatal(err)
	}
	return client, func() { client.Close(); server.Close() }
}

func Example() {
	ctx := context.Background()
	client, done := connect(ctx)
	defer done()

	limiter, err := ratelimit.New(client, "api", ratelimit.Options{
		Rules: []ratelimit.Rule{ratelimit.PerMinute(3), ratelimit.PerHour(100)},
	})
	if err != nil {
		log.Fatal(err)
	}
	for range 4 {
		result, err := limiter.Allow(ctx, "user-42")
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(result.Allowed, result.Rule, result.Remaining, result.RetryAfter.Round(time.Second))
	}
	// Output:
	// true 3/1m 2 0s
	// true 3/1m 1 0s
	// true 3/1m 0 0s
	// false 3/1m 0 20s
}

// A plan per customer, over the same keys.
func ExampleLimiter_With() {
	ctx := context.Background()
	client, done := connect(ctx)
	defer done()

	free, err := ratelimit.New(client, "api", ratelimit.Options{Rules: []ratelimit.Rule{ratelimit.PerHour(1)}})
	if err != nil {
		log.Fatal(err)
	}
	pro, err := free.With(ratelimit.PerHour(1000))
	if err != nil {
		log.Fatal(err)
	}
	for _, plan := range []*ratelimit.Limiter{free, free, pro} {
		result, err := plan.Allow(ctx, "user-42")
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(result.Allowed, result.Rule)
	}
	// Output:
	// true 1/1h
	// false 1/1h
	// true 1000/1h
}

// Clients by address, behind trusted proxies.
func ExampleLimiter_Middleware() {
	client, done := connect(context.Background())
	defer done()

	limiter, err := ratelimit.New(client, "web", ratelimit.Options{Rules: []ratelimit.Rule{ratelimit.PerMinute(2)}})
	if err != nil {
		log.Fatal(err)
	}
	byClient := ratelimit.ClientAddress(netip.MustParsePrefix("10.0.0.0/8"))
	hello := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "hello") })
	handler := limiter.Middleware(byClient)(hello)

	for range 3 {
		r := httptest.NewRequest("GET", "/", nil)
		r.RemoteAddr = "10.0.0.1:4711"
		// the client wrote the first address, the trusted proxy the second
		r.Header.Set("X-Forwarded-For", "1.1.1.1, 203.0.113.7")
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, r)
		fmt.Printf("%d %s %q\n", w.Code, w.Header().Get("RateLimit"), w.Header().Get("Retry-After"))
	}
	// Output:
	// 200 "2/1m";r=1;t=30 ""
	// 200 "2/1m";r=0;t=30 ""
	// 429 "2/1m";r=0;t=30 "30"
}

// At most two exports of one customer run at the same time.
func ExampleConcurrency() {
	ctx := context.Background()
	client, done := connect(ctx)
	defer done()

	exports, err := ratelimit.NewConcurrency(client, "exports", ratelimit.ConcurrencyOptions{Limit: 2})
	if err != nil {
		log.Fatal(err)
	}
	permit, err := exports.Acquire(ctx, "customer-7") // ErrBusy if both permits are out
	if err != nil {
		log.Fatal(err)
	}
	defer permit.Release(ctx)
	fmt.Println(permit.Remaining)
	// Output: 1
}
