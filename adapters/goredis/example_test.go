package redstartgoredis_test

import (
	"context"
	"fmt"
	"log"

	"github.com/redis/go-redis/v9"

	"github.com/redstart-go/redstart"
	redstartgoredis "github.com/redstart-go/redstart/adapters/goredis"
	"github.com/redstart-go/redstart/embedded"
	"github.com/redstart-go/redstart/ratelimit"
)

func Example() {
	ctx := context.Background()
	server, err := embedded.Start(ctx, embedded.Options{}) // your Redis
	if err != nil {
		log.Fatal(err)
	}
	defer server.Close()
	rdb := redis.NewClient(&redis.Options{Addr: server.Addr()}) // the client that you have
	defer rdb.Close()

	cfg, err := redstartgoredis.ConfigFrom(rdb)
	if err != nil {
		log.Fatal(err)
	}
	client, err := redstart.Open(ctx, cfg)
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()

	limiter, err := ratelimit.New(client, "api", ratelimit.Options{Rules: []ratelimit.Rule{ratelimit.PerMinute(60)}})
	if err != nil {
		log.Fatal(err)
	}
	result, err := limiter.Allow(ctx, "ada")
	fmt.Println(result.Allowed, err)
	// Output: true <nil>
}
