package main

import (
	"context"
	"fmt"
	"log"
	"time"

	"github.com/redstart-go/redstart"
	"github.com/redstart-go/redstart/cache"
	"github.com/redstart-go/redstart/embedded"
)

func main() {
	ctx := context.Background()
	server, err := embedded.Start(ctx, embedded.Options{}) // a server in this process, for first steps
	must(err)
	defer server.Close()
	client, err := redstart.Open(ctx, redstart.Config{URL: server.URL()}) // later: redstart.ConfigFromEnv()
	must(err)
	defer client.Close()
	users, err := cache.New[string](client, "users", cache.Options{TTL: 5 * time.Minute})
	must(err)

	load := func(ctx context.Context, id string) (string, error) {
		fmt.Println("loading", id) // a query of your database
		return "Ada", nil
	}
	for range 3 { // one load for all callers and processes
		name, err := users.GetOrLoad(ctx, "42", load)
		fmt.Println(name, err)
	}
	must(users.Delete(ctx, "42")) // after each change of the source: no later call gets the old value
}

func must(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
