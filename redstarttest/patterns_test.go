package redstarttest_test

import (
	"context"
	"testing"

	"github.com/redstart-go/redstart"
	"github.com/redstart-go/redstart/events"
	"github.com/redstart-go/redstart/redstarttest"
)

// open opens a client as tested code does: by the URL alone.
func open(t *testing.T, server *redstarttest.Server) *redstart.Client {
	t.Helper()
	client, err := redstart.Open(t.Context(), redstart.Config{URL: server.URL(), Namespace: server.Config().Namespace})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := client.Close(); err != nil {
			t.Error(err)
		}
	})
	return client
}

func newBus(t *testing.T, server *redstarttest.Server, name string) *events.Durable {
	t.Helper()
	bus, err := events.NewDurable(server.Client(), name, events.DurableOptions{Partitions: 2})
	if err != nil {
		t.Fatal(err)
	}
	return bus
}

var counted = events.NewTopic[int]("counted")

// run runs a subscriber of the group "counters" until the test ends.
func run(t *testing.T, bus events.Bus, handle func(context.Context, events.Event[int]) error) {
	t.Helper()
	sub, err := bus.Subscriber("counters", events.SubscriberOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if err := counted.Handle(sub, "*", handle); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.WithoutCancel(t.Context()))
	ended := make(chan error, 1)
	go func() { ended <- sub.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	<-sub.Ready()
}

func publish(t *testing.T, bus events.Bus, n int, opts ...events.PublishOption) {
	t.Helper()
	if err := counted.Publish(t.Context(), bus, "numbers", n, opts...); err != nil {
		t.Fatal(err)
	}
}
