package redstart_test

import (
	"context"
	"fmt"
	"log"
	"time"

	"github.com/redstart-go/redstart"
	"github.com/redstart-go/redstart/cache"
	"github.com/redstart-go/redstart/embedded"
)

type User struct{ Name string }

var database = map[string]User{"user:1": {"Ada"}}

// The README shows this function.
func Example() {
	ctx := context.Background()
	server := must(embedded.Start(ctx, embedded.Options{})) // in memory; for a real one: redstart.ConfigFromEnv()
	defer server.Close()
	client := must(redstart.Open(ctx, redstart.Config{URL: server.URL()}))
	defer client.Close()
	users := must(cache.New[User](client, "users", cache.Options{TTL: 5 * time.Minute}))

	for range 3 { // loads once, for all callers and processes
		user, err := users.GetOrLoad(ctx, "user:1", func(ctx context.Context, key string) (User, error) {
			fmt.Println("loading", key)
			return database[key], nil
		})
		fmt.Println(user.Name, err)
	}
	err := users.Delete(ctx, "user:1") // after a write: no later call gets the old value
	fmt.Println(err)
	// Output:
	// loading user:1
	// Ada <nil>
	// Ada <nil>
	// Ada <nil>
	// <nil>
}

func must[T any](v T, err error) T {
	if err != nil {
		log.Fatal(err)
	}
	return v
}
