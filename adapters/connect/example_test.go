package redstartconnect_test

import (
	"context"
	"fmt"
	"log"
	"net/http"
	"net/http/httptest"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/redstart-go/redstart"
	redstartconnect "github.com/redstart-go/redstart/adapters/connect"
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

	limits := redstartconnect.Interceptor(limiter.Middleware(ratelimit.ClientAddress()))
	ping := func(context.Context, *connect.Request[emptypb.Empty]) (*connect.Response[emptypb.Empty], error) {
		return connect.NewResponse(&emptypb.Empty{}), nil
	}
	mux := http.NewServeMux()
	mux.Handle("/shop.v1.Shop/Ping", connect.NewUnaryHandler("/shop.v1.Shop/Ping", ping, connect.WithInterceptors(limits)))
	server := httptest.NewServer(mux)
	defer server.Close()

	shop := connect.NewClient[emptypb.Empty, emptypb.Empty](server.Client(), server.URL+"/shop.v1.Shop/Ping")
	for range 2 {
		_, err := shop.CallUnary(ctx, connect.NewRequest(&emptypb.Empty{}))
		fmt.Println(err)
	}
	// Output:
	// <nil>
	// resource_exhausted: The request exceeds a quota
}
