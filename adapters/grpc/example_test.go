package redstartgrpc_test

import (
	"context"
	"fmt"
	"log"

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

	sessions, err := session.New[Account](client, "api", session.Options{})
	if err != nil {
		log.Fatal(err)
	}
	limiter, err := ratelimit.New(client, "api", ratelimit.Options{Rules: []ratelimit.Rule{ratelimit.PerSecond(10)}})
	if err != nil {
		log.Fatal(err)
	}
	user := func(ctx context.Context, _ string) (string, error) { // runs after Session
		if user := sessions.FromContext(ctx).User(); user != "" {
			return user, nil
		}
		return redstartgrpc.Peer()(ctx, "")
	}

	guards := []redstartgrpc.Guard{redstartgrpc.Session(sessions), redstartgrpc.Limit(limiter, user)}
	server := grpc.NewServer(
		grpc.UnaryInterceptor(redstartgrpc.Unary(guards...)),
		grpc.StreamInterceptor(redstartgrpc.Stream(guards...)),
	)
	defer server.Stop()
	fmt.Println(len(guards), "guards")
	// Output: 2 guards
}
