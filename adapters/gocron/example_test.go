package redstartgocron_test

import (
	"context"
	"fmt"
	"log"
	"time"

	"github.com/go-co-op/gocron/v2"

	"github.com/redstart-go/redstart"
	redstartgocron "github.com/redstart-go/redstart/adapters/gocron"
	"github.com/redstart-go/redstart/embedded"
	"github.com/redstart-go/redstart/lock"
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
	locker, err := lock.New(client, lock.Options{})
	if err != nil {
		log.Fatal(err)
	}

	once, err := redstartgocron.NewLocker(locker, 100*time.Millisecond)
	if err != nil {
		log.Fatal(err)
	}
	scheduler, err := gocron.NewScheduler(gocron.WithDistributedLocker(once))
	if err != nil {
		log.Fatal(err)
	}
	ran := make(chan string)
	_, err = scheduler.NewJob(gocron.DurationJob(time.Hour), gocron.NewTask(func() { ran <- "sent the invoices" }),
		gocron.WithName("invoices"), gocron.WithStartAt(gocron.WithStartImmediately()))
	if err != nil {
		log.Fatal(err)
	}
	scheduler.Start()
	fmt.Println(<-ran)
	if err := scheduler.Shutdown(); err != nil {
		log.Fatal(err)
	}
	// Output:
	// sent the invoices
}
