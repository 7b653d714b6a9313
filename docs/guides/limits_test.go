package guides_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"time"

	"github.com/redstart-go/redstart"
	"github.com/redstart-go/redstart/ratelimit"
)

// API limits requests by the tariff of the customer.
type API struct {
	limiter *ratelimit.Limiter
	plans   *ratelimit.Plans
	logins  *ratelimit.Limiter
}

// NewAPI makes the limiters once. All processes share their counts.
func NewAPI(client *redstart.Client) (*API, error) {
	limiter, err := ratelimit.New(client, "api", ratelimit.Options{
		Rules:  []ratelimit.Rule{ratelimit.PerSecond(10), ratelimit.PerHour(1000)}, // for users without a plan
		Outage: ratelimit.FailOpen,
	})
	if err != nil {
		return nil, err
	}
	plans, err := ratelimit.NewPlans(limiter, ratelimit.PlansOptions{})
	if err != nil {
		return nil, err
	}

	logins, err := ratelimit.New(client, "logins", ratelimit.Options{
		Rules:     []ratelimit.Rule{{Name: "logins", Limit: 10, Window: 15 * time.Minute}},
		Algorithm: ratelimit.SlidingLog, // exact: few requests, and each one counts
		Outage:    ratelimit.FailClosed, // no login can succeed without Redis
		HashKeys:  true,                 // no addresses in Stats
	})
	return &API{limiter: limiter, plans: plans, logins: logins}, err
}

// SetTariffs stores the plans. Every process uses a change within a second.
func (a *API) SetTariffs(ctx context.Context) error {
	return errors.Join(
		a.plans.Set(ctx, "tariff:pro", ratelimit.PerSecond(100), ratelimit.PerHour(50_000)),
		a.plans.Set(ctx, "tariff:staff", ratelimit.Rule{Limit: ratelimit.Unlimited}),
		a.plans.Set(ctx, "user:mallory", ratelimit.PerHour(0)), // blocked
	)
}

// Handler limits each request by its user, with the rules of the user or else of the tariff.
func (a *API) Handler(next http.Handler) http.Handler {
	user := ratelimit.By(func(r *http.Request) string { return r.Header.Get("X-User") }) // from your own authentication
	rules := func(r *http.Request) *ratelimit.Limiter {
		return a.plans.For(r.Context(), "user:"+r.Header.Get("X-User"), "tariff:"+r.Header.Get("X-Tariff"))
	}
	return ratelimit.MiddlewareFor(ratelimit.FirstOf(user, clientAddress), rules)(next)
}

// clientAddress trusts the proxies of this network, and no others.
var clientAddress = ratelimit.ClientAddress(netip.MustParsePrefix("10.0.0.0/8"))

// Login limits tries by address. It must run before the password is checked.
func (a *API) Login(next http.Handler) http.Handler {
	return a.logins.Middleware(clientAddress)(next)
}

// Export charges what a response costs: one token per 64 KiB.
func (a *API) Export(next http.Handler) http.Handler {
	size := ratelimit.ResponseCost(func(_ *http.Request, _ int, bytes int64) int64 { return bytes >> 16 })
	return a.limiter.Middleware(clientAddress, size)(next)
}

// partner sends requests to a partner that allows 5 per second, and waits for their turn.
func partner(client *redstart.Client) (*http.Client, error) {
	limiter, err := ratelimit.New(client, "partner", ratelimit.Options{
		Rules: []ratelimit.Rule{{Limit: 5, Window: time.Second, Burst: 1}}, // evenly spaced
	})
	if err != nil {
		return nil, err
	}
	return &http.Client{Transport: limiter.Transport(nil, nil), Timeout: 10 * time.Second}, nil
}

func ExampleAPI() {
	ctx := context.Background()
	client, end := start(ctx)
	defer end()

	api := must(NewAPI(client))
	fmt.Println(api.SetTariffs(ctx))
	ok := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) })
	ask := func(handler http.Handler, user, tariff, forwarded string) *http.Response {
		r := httptest.NewRequest("GET", "/", nil)
		r.RemoteAddr = "10.1.2.3:4711" // the proxy
		r.Header.Set("X-User", user)
		r.Header.Set("X-Tariff", tariff)
		r.Header.Set("X-Forwarded-For", forwarded)
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, r)
		return w.Result()
	}

	pro := ask(api.Handler(ok), "ada", "pro", "")
	fmt.Println(pro.StatusCode, pro.Header.Get("RateLimit-Policy"))
	fmt.Println(ask(api.Handler(ok), "bob", "staff", "").StatusCode)
	blocked := ask(api.Handler(ok), "mallory", "pro", "")
	fmt.Printf("%d retry after %q\n", blocked.StatusCode, blocked.Header.Get("Retry-After"))

	// A client can write anything into X-Forwarded-For. What the trusted proxy appends counts.
	codes := map[int]int{}
	for i := range 12 {
		codes[ask(api.Login(ok), "", "", fmt.Sprintf("192.0.2.%d, 203.0.113.7", i)).StatusCode]++
	}
	fmt.Println(codes[http.StatusNoContent], codes[http.StatusTooManyRequests])
	fmt.Println(ask(api.Export(ok), "", "", "203.0.113.9").StatusCode, must(partner(client)).Timeout)
	// Output:
	// <nil>
	// 204 "100/1s";q=100;w=1, "50000/1h";q=50000;w=3600
	// 204
	// 429 retry after ""
	// 10 2
	// 204 10s
}
