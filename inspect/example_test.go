package inspect_test

import (
	"context"
	"errors"
	"fmt"
	"log"

	"github.com/redstart-go/redstart"
	"github.com/redstart-go/redstart/cache"
	"github.com/redstart-go/redstart/embedded"
	"github.com/redstart-go/redstart/inspect"
	"github.com/redstart-go/redstart/lock"
	"github.com/redstart-go/redstart/ratelimit"
)

// connect opens a client of an embedded server. A tool uses redstart.Open with the URL of the
// server, and with a user of deploy/acl.
func connect(ctx context.Context) (*redstart.Client, func()) {
	server, err := embedded.Start(ctx, embedded.Options{})
	if err != nil {
		log.Fatal(err)
	}
	client, err := redstart.Open(ctx, redstart.Config{URL: server.URL()})
	if err != nil {
		log.Fatal(err)
	}
	return client, func() { client.Close(); server.Close() }
}

// Why does a service not get a value from its cache? Explain says what the next read would find.
func Example() {
	ctx := context.Background()
	client, done := connect(ctx)
	defer done()
	users, err := cache.New[string](client, "users", cache.Options{})
	if err != nil {
		log.Fatal(err)
	}
	if err := users.Set(ctx, "42", "Ada", cache.Tags("team:7")); err != nil {
		log.Fatal(err)
	}

	in, err := inspect.New(client, inspect.Options{ReadOnly: true})
	if err != nil {
		log.Fatal(err)
	}
	explain := func() {
		why, err := in.Caches().Explain(ctx, "users", "42")
		if err != nil {
			log.Fatal(err)
		}
		fmt.Printf("%s: %s\n", why.Verdict, why.Reason)
	}
	explain()
	if err := users.InvalidateTags(ctx, "team:7"); err != nil {
		log.Fatal(err)
	}
	explain()
	// Output:
	// hit: fresh
	// miss: a tag was invalidated
}

// A repair needs the name of its actor, and leaves a record in the log.
func ExampleLocks_Break() {
	ctx := context.Background()
	client, done := connect(ctx)
	defer done()
	locker, err := lock.New(client, lock.Options{Process: "worker-3"})
	if err != nil {
		log.Fatal(err)
	}
	held, err := locker.TryAcquire(ctx, "nightly-report")
	if err != nil {
		log.Fatal(err)
	}

	in, err := inspect.New(client, inspect.Options{Actor: "ana"})
	if err != nil {
		log.Fatal(err)
	}
	id := inspect.LockID{Name: "nightly-report"}
	shown, err := in.Locks().Show(ctx, id)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("held by %s, %d wait\n", shown.Holders[0].Process, shown.Waiting)

	ended, err := in.Locks().Break(ctx, id, shown.Holders[0].ID)
	fmt.Println(ended, err)
	fmt.Println(errors.Is(held.Release(ctx), lock.ErrLost))
	// Output:
	// held by worker-3, 0 wait
	// 1 <nil>
	// true
}

// A tool has no Limiter. It reads the rules of a plan from the server.
func ExampleLimits_ShowPlan() {
	ctx := context.Background()
	client, done := connect(ctx)
	defer done()
	limiter, err := ratelimit.New(client, "api", ratelimit.Options{Rules: []ratelimit.Rule{ratelimit.PerHour(10)}})
	if err != nil {
		log.Fatal(err)
	}
	plans, err := ratelimit.NewPlans(limiter, ratelimit.PlansOptions{})
	if err != nil {
		log.Fatal(err)
	}
	if err := plans.Set(ctx, "tariff:pro", ratelimit.PerHour(1000)); err != nil {
		log.Fatal(err)
	}
	if _, err := plans.For(ctx, "tariff:pro").Allow(ctx, "user:7"); err != nil {
		log.Fatal(err)
	}

	in, err := inspect.New(client, inspect.Options{ReadOnly: true})
	if err != nil {
		log.Fatal(err)
	}
	shown, err := in.Limits().ShowPlan(ctx, "api", "user:7", ratelimit.GCRA, "user:7", "tariff:pro")
	if err != nil {
		log.Fatal(err)
	}
	answer := shown.Answers[0]
	fmt.Printf("%s: %d of %d remain\n", answer.Plan, answer.Rules[0].Remaining, answer.Rules[0].Limit)
	// Output: tariff:pro: 999 of 1000 remain
}

// The pages of a list together have all items. Each page has a budget of keys and time.
func ExampleList() {
	ctx := context.Background()
	client, done := connect(ctx)
	defer done()
	locker, err := lock.New(client, lock.Options{})
	if err != nil {
		log.Fatal(err)
	}
	for i := range 3 {
		if _, err := locker.TryAcquire(ctx, fmt.Sprintf("job:%d", i)); err != nil {
			log.Fatal(err)
		}
	}

	in, err := inspect.New(client, inspect.Options{ReadOnly: true})
	if err != nil {
		log.Fatal(err)
	}
	found := map[string]bool{}
	for page := (inspect.Page{Limit: 2}); ; {
		list, err := in.Locks().List(ctx, page)
		if err != nil {
			log.Fatal(err)
		}
		for _, l := range list.Items {
			found[l.Name] = true // an entry may occur twice
		}
		if page.Cursor = list.Next; page.Cursor == "" {
			break
		}
	}
	fmt.Println(len(found))
	// Output: 3
}
