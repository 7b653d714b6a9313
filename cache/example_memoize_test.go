package cache_test

import (
	"context"
	"fmt"
	"log"
	"time"

	"github.com/redstart-go/redstart/cache"
)

// A function with cached results, by its arguments.
func ExampleMemoize() {
	ctx := context.Background()
	client, end := connect(ctx)
	defer end()

	totals, err := cache.New[int](client, "totals", cache.Options{TTL: time.Hour})
	if err != nil {
		log.Fatal(err)
	}
	type period struct {
		Shop string
		From time.Time
		Days int
	}
	revenue, err := cache.Memoize(totals, "revenue", func(ctx context.Context, p period) (int, error) {
		fmt.Println("adding up", p.Shop)
		return 42 * p.Days, nil
	})
	if err != nil {
		log.Fatal(err) // an argument type that can't be in a key, with the path to it
	}

	march := period{Shop: "Lyon", From: time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC), Days: 31}
	for range 2 {
		total, err := revenue.Call(ctx, march)
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(total)
	}
	if err := revenue.Delete(ctx, march); err != nil { // a late invoice
		log.Fatal(err)
	}
	total, _ := revenue.Call(ctx, march)
	fmt.Println(total)
	// Output:
	// adding up Lyon
	// 1302
	// 1302
	// adding up Lyon
	// 1302
}
