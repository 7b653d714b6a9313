package scaling_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"time"

	"github.com/redstart-go/redstart"
	"github.com/redstart-go/redstart/cache"
	"github.com/redstart-go/redstart/events"
)

func hotKey(i int) string { return "key:" + strconv.Itoa(i) }

func openFromEnv(ctx context.Context) (*redstart.Client, *cache.Cache[string], error) {
	client, err := redstart.Open(ctx, redstart.Config{URL: os.Getenv("TEST_URL"), Namespace: os.Getenv("TEST_NAMESPACE"),
		CommandTimeout: 30 * time.Second})
	if err != nil {
		return nil, nil, err
	}
	c, err := cache.New[string](client, "hot", cache.Options{TTL: time.Hour, EarlyRefresh: cache.NoEarlyRefresh,
		Near: cache.NearOptions{MaxEntries: 1000, TTL: time.Hour}})
	if err != nil {
		return nil, nil, errors.Join(err, client.Close())
	}
	return client, c, nil
}

// role returns the function of a role, which ends its process with 1 after an error.
func role(run func(ctx context.Context) error) func() {
	return func() {
		if err := run(context.Background()); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
}

// runWriter stores all hot values.
func runWriter(ctx context.Context) error {
	client, c, err := openFromEnv(ctx)
	if err != nil {
		return err
	}
	for i := range hotKeys {
		if err := c.Set(ctx, hotKey(i), time.Now().String()); err != nil {
			return errors.Join(err, client.Close())
		}
	}
	return client.Close()
}

// runProcess is a process of the fleet: a near cache, a live and a durable subscriber.
func runProcess(ctx context.Context) error {
	client, c, err := openFromEnv(ctx)
	if err != nil {
		return err
	}
	running, stop := context.WithCancel(ctx)
	defer stop()
	ended := make(chan error, 2)
	var durable *events.Subscriber
	for _, subscribe := range []func(*redstart.Client) (*events.Subscriber, error){liveSubscriber, durableSubscriber} {
		sub, err := subscribe(client)
		if err != nil {
			return err
		}
		durable = sub // the last one
		go func() { ended <- sub.Run(running) }()
		select {
		case <-sub.Ready():
		case err := <-ended:
			return fmt.Errorf("Run ended: %w", err)
		}
	}
	fmt.Println("ready")
	if err := answer(ctx, c, durable); err != nil {
		return err
	}
	stop()
	return errors.Join(<-ended, <-ended, client.Close())
}

// answer prints a number for each line of the standard input: fill reads all values and prints how
// many are in memory then, entries prints how many are in memory, owned prints the partitions that
// the durable subscriber owns. The line end ends it.
func answer(ctx context.Context, c *cache.Cache[string], durable *events.Subscriber) error {
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		switch lines.Text() {
		case "end":
			return nil
		case "owned":
			fmt.Println(durable.Stats().Partitions)
			continue
		case "fill":
			for i := range 2 * hotKeys {
				if _, err := c.Get(ctx, hotKey(i%hotKeys)); err != nil {
					return err
				}
			}
		}
		fmt.Println(c.Stats().NearEntries)
	}
	return lines.Err()
}

var note = events.NewTopic[account]("noted")

func liveSubscriber(client *redstart.Client) (*events.Subscriber, error) {
	bus, err := events.NewLive(client, events.LiveOptions{})
	if err != nil {
		return nil, err
	}
	return subscriber(bus.Subscriber("live", events.SubscriberOptions{}))
}

// partitions of the durable bus.
const partitions = 12

func durableSubscriber(client *redstart.Client) (*events.Subscriber, error) {
	bus, err := events.NewDurable(client, "bus", events.DurableOptions{Partitions: partitions})
	if err != nil {
		return nil, err
	}
	return subscriber(bus.Subscriber("durable", events.SubscriberOptions{}))
}

func subscriber(sub *events.Subscriber, err error) (*events.Subscriber, error) {
	if err != nil {
		return nil, err
	}
	return sub, note.Handle(sub, "users:1", func(context.Context, events.Event[account]) error { return nil })
}
