package events_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"net/http"
	"time"

	"github.com/redstart-go/redstart"
	"github.com/redstart-go/redstart/embedded"
	"github.com/redstart-go/redstart/events"
)

// Joined is the data of a "user.joined" event.
type Joined struct {
	User string `json:"user"`
}

var userJoined = events.NewTopic[Joined]("user.joined")

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

// This example registers a typed handler for the live events of all channels that match a pattern.
func ExampleLive() {
	ctx, stop := context.WithCancel(context.Background())
	client, end := connect(ctx)
	defer end()

	bus, err := events.NewLive(client, events.LiveOptions{})
	if err != nil {
		log.Fatal(err)
	}
	sub, err := bus.Subscriber("greeter", events.SubscriberOptions{
		OnGap: func(gap events.Gap) { log.Printf("events may be missing: %v", gap.Reason) },
	})
	if err != nil {
		log.Fatal(err)
	}
	err = userJoined.Handle(sub, "users:*", func(_ context.Context, e events.Event[Joined]) error {
		fmt.Println(e.Channel, "hello", e.Data.User)
		stop()
		return nil
	})
	if err != nil {
		log.Fatal(err)
	}
	done := make(chan error)
	go func() { done <- sub.Run(ctx) }()
	<-sub.Ready()

	if err := userJoined.Publish(context.Background(), bus, "users:7", Joined{User: "Ada"}); err != nil {
		log.Fatal(err)
	}
	if err := <-done; err != nil {
		log.Fatal(err)
	}
	// Output: users:7 hello Ada
}

// This example runs a durable worker. Failed events are retried with backoff. An event that can't
// succeed becomes a dead letter.
func ExampleDurable() {
	ctx, stop := context.WithCancel(context.Background())
	client, end := connect(ctx)
	defer end()

	bus, err := events.NewDurable(client, "shop", events.DurableOptions{})
	if err != nil {
		log.Fatal(err)
	}
	sub, err := bus.Subscriber("mailer", events.SubscriberOptions{
		MaxAttempts: 3,
		Backoff:     events.Exponential(10*time.Millisecond, time.Minute),
	})
	if err != nil {
		log.Fatal(err)
	}
	err = userJoined.Handle(sub, "users:*", func(ctx context.Context, e events.Event[Joined]) error {
		switch {
		case e.Data.User == "":
			return events.Discard(errors.New("the user has no address"))
		case e.Attempt == 1:
			return errors.New("the mail server is busy")
		}
		fmt.Println("mail to", e.Data.User, "at attempt", e.Attempt)
		stop()
		return nil
	})
	if err != nil {
		log.Fatal(err)
	}
	done := make(chan error)
	go func() { done <- sub.Run(ctx) }()
	<-sub.Ready()

	for _, user := range []string{"", "Ada"} {
		if err := userJoined.Publish(context.Background(), bus, "users:7", Joined{User: user}); err != nil {
			log.Fatal(err)
		}
	}
	if err := <-done; err != nil {
		log.Fatal(err)
	}
	dead, err := bus.DeadLetters("mailer").List(context.Background(), "", 10)
	if err != nil {
		log.Fatal(err)
	}
	for _, letter := range dead {
		fmt.Println("dead letter:", letter.Cause)
	}
	// Output:
	// mail to Ada at attempt 2
	// dead letter: the user has no address
}

// This example streams the events of the signed-in user to the browser: new EventSource("/events").
func ExampleDurable_SSE() {
	ctx := context.Background()
	client, end := connect(ctx)
	defer end()

	bus, err := events.NewDurable(client, "shop", events.DurableOptions{Retention: time.Hour}) // a browser can resume within 1 h
	if err != nil {
		log.Fatal(err)
	}
	stream, err := bus.SSE(func(r *http.Request) (string, error) {
		user := r.Header.Get("X-User") // a real handler reads it from the session
		if user == "" {
			return "", errors.New("not signed in")
		}
		return "users:" + user, nil
	}, events.SSEOptions{})
	if err != nil {
		log.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.Handle("GET /events", stream)
	server := &http.Server{Addr: ":8080", Handler: mux}
	server.RegisterOnShutdown(stream.Close) // Shutdown waits for streams, and Close ends them
}
