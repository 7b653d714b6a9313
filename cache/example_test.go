package cache_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"time"

	"github.com/redstart-go/redstart"
	"github.com/redstart-go/redstart/cache"
	"github.com/redstart-go/redstart/embedded"
)

type account struct {
	Name  string
	Email string
}

// A client on the embedded server, which needs nothing installed.
func connect(ctx context.Context) (*redstart.Client, func()) {
	server, err := embedded.Start(ctx, embedded.Options{})
	if err != nil {
		log.Fatal(err)
	}
	client, err := redstart.Open(ctx, redstart.Config{URL: server.URL()})
	if err != nil {
		log.Fatal(err)
	}
	return client, func() {
		client.Close()
		server.Close()
	}
}

// Cache-aside: the loader runs on a miss, once in all processes.
func Example() {
	ctx := context.Background()
	client, end := connect(ctx)
	defer end()

	accounts, err := cache.New[account](client, "accounts", cache.Options{TTL: 5 * time.Minute})
	if err != nil {
		log.Fatal(err)
	}
	load := func(ctx context.Context, id string) (account, error) {
		fmt.Println("asking the database for", id)
		return account{Name: "Ada", Email: "ada@example.com"}, nil
	}
	for range 2 {
		ada, err := accounts.GetOrLoad(ctx, "1815", load)
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(ada.Name)
	}
	// Output:
	// asking the database for 1815
	// Ada
	// Ada
}

// Change the source first, then invalidate.
func ExampleCache_Delete() {
	ctx := context.Background()
	client, end := connect(ctx)
	defer end()

	accounts, err := cache.New[account](client, "accounts", cache.Options{NegativeTTL: time.Second})
	if err != nil {
		log.Fatal(err)
	}
	database := map[string]account{"1815": {Name: "Ada Byron"}}
	load := func(ctx context.Context, id string) (account, error) {
		if a, ok := database[id]; ok {
			return a, nil
		}
		return account{}, cache.ErrNotFound
	}
	a, _ := accounts.GetOrLoad(ctx, "1815", load)
	fmt.Println(a.Name)

	database["1815"] = account{Name: "Ada Lovelace"}
	if err := accounts.Delete(ctx, "1815"); err != nil {
		log.Fatal(err)
	}
	a, _ = accounts.GetOrLoad(ctx, "1815", load)
	fmt.Println(a.Name)

	_, err = accounts.GetOrLoad(ctx, "1816", load)
	fmt.Println(errors.Is(err, cache.ErrNotFound))
	// Output:
	// Ada Byron
	// Ada Lovelace
	// true
}

// Missing keys of a batch are loaded together.
func ExampleCache_GetOrLoadMany() {
	ctx := context.Background()
	client, end := connect(ctx)
	defer end()

	accounts, err := cache.New[account](client, "accounts", cache.Options{})
	if err != nil {
		log.Fatal(err)
	}
	if err := accounts.Set(ctx, "1", account{Name: "Ada"}); err != nil {
		log.Fatal(err)
	}
	found, err := accounts.GetOrLoadMany(ctx, []string{"1", "2", "3"},
		func(ctx context.Context, ids []string) (map[string]account, error) {
			fmt.Println("asking the database for", ids)
			return map[string]account{"2": {Name: "Grace"}}, nil // 3 has no value
		})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(len(found), found["1"].Name, found["2"].Name)
	// Output:
	// asking the database for [2 3]
	// 2 Ada Grace
}

// InvalidateTags ends every page that shows the team.
func ExampleCache_InvalidateTags() {
	ctx := context.Background()
	client, end := connect(ctx)
	defer end()

	pages, err := cache.New[string](client, "pages", cache.Options{})
	if err != nil {
		log.Fatal(err)
	}
	render := func(ctx context.Context, page string) (string, error) {
		fmt.Println("rendering", page)
		cache.Adjust(ctx, cache.Tags("team:7")) // known after the page is rendered
		return "<h1>" + page + "</h1>", nil
	}
	for range 2 {
		if _, err := pages.GetOrLoad(ctx, "home", render); err != nil {
			log.Fatal(err)
		}
	}
	if err := pages.InvalidateTags(ctx, "team:7"); err != nil {
		log.Fatal(err)
	}
	if _, err := pages.GetOrLoad(ctx, "home", render); err != nil {
		log.Fatal(err)
	}
	// Output:
	// rendering home
	// rendering home
}
