package redstartgolimiter_test

import (
	"context"
	"fmt"
	"log"
	"net/http"
	"net/http/httptest"

	"github.com/sethvargo/go-limiter/httplimit"

	"github.com/redstart-go/redstart"
	redstartgolimiter "github.com/redstart-go/redstart/adapters/golimiter"
	"github.com/redstart-go/redstart/embedded"
	"github.com/redstart-go/redstart/ratelimit"
)

func Example() {
	ctx := context.Background()
	redis, err := embedded.Start(ctx, embedded.Options{}) // your Redis
	if err != nil {
		log.Fatal(err)
	}
	defer redis.Close()
	client, err := redstart.Open(ctx, redstart.Config{URL: redis.URL()})
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()
	limiter, err := ratelimit.New(client, "api", ratelimit.Options{Rules: []ratelimit.Rule{ratelimit.PerHour(1)}})
	if err != nil {
		log.Fatal(err)
	}

	store, err := redstartgolimiter.New(limiter)
	if err != nil {
		log.Fatal(err)
	}
	limits, err := httplimit.NewMiddleware(store, httplimit.IPKeyFunc())
	if err != nil {
		log.Fatal(err)
	}
	handler := limits.Handle(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	for range 2 {
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/", nil))
		fmt.Println(w.Code, w.Header().Get("X-RateLimit-Limit"), w.Header().Get("X-RateLimit-Remaining"))
	}
	// Output:
	// 200 1 0
	// 429 1 0
}
