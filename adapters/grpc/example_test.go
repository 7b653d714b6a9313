package redstartgrpc_test

import (
	"context"
	"fmt"
	"log"
	"net/http"

	"google.golang.org/grpc"

	"github.com/redstart-go/redstart"
	redstartgrpc "github.com/redstart-go/redstart/adapters/grpc"
	"github.com/redstart-go/redstart/embedded"
	"github.com/redstart-go/redstart/ratelimit"
	"github.com/redstart-go/redstart/session"
)

// Account is the data of a session.
type Account struct{ Plan string }

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

	sessions, err := session.New[Account](client, "api", session.Options{Bearer: true})
	if err != nil {
		log.Fatal(err)
	}
	limiter, err := ratelimit.New(client, "api", ratelimit.Options{Rules: []ratelimit.Rule{ratelimit.PerSecond(10)}})
	if err != nil {
		log.Fatal(err)
	}
	user := ratelimit.By(func(r *http.Request) string { return sessions.FromContext(r.Context()).User() })

	middlewares := []func(http.Handler) http.Handler{
		sessions.Middleware,
		limiter.Middleware(ratelimit.FirstOf(user, ratelimit.ClientAddress())),
	}
	server := grpc.NewServer(
		grpc.UnaryInterceptor(redstartgrpc.Unary(middlewares...)),
		grpc.StreamInterceptor(redstartgrpc.Stream(middlewares...)),
	)
	defer server.Stop()
	fmt.Println(len(middlewares), "middlewares")
	// Output: 2 middlewares
}
