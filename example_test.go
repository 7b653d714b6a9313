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
	server, err := embedded.Start(ctx, embedded.Options{}) // in memory; for a real one: redstart.ConfigFromEnv()
	must(err)
	defer server.Close()
	client, err := redstart.Open(ctx, redstart.Config{URL: server.URL()})
	must(err)
	defer client.Close()
	users, err := cache.New[User](client, "users", cache.Options{TTL: 5 * time.Minute})
	must(err)

	load := func(ctx context.Context, key string) (User, error) {
		fmt.Println("loading", key)
		return database[key], nil
	}
	for range 3 { // loads once, however many callers and processes ask
		user, err := users.GetOrLoad(ctx, "user:1", load)
		fmt.Println(user.Name, err)
	}
	must(users.Delete(ctx, "user:1")) // after a write: nobody gets the old value from here on
	// Output:
	// loading user:1
	// Ada <nil>
	// Ada <nil>
	// Ada <nil>
}

func must(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
