package events_test

import (
	"context"
	"testing"
	"time"

	"github.com/redstart-go/redstart"
	"github.com/redstart-go/redstart/events"
	"github.com/redstart-go/redstart/internal/rig"
	"github.com/redstart-go/redstart/internal/rig/rigclient"
)

func TestMain(m *testing.M) {
	rig.RegisterRole("consumer", consumer)
	rig.RegisterRole("idler", idler)
	rig.RegisterRole("chaos", chaosConsumer)
	rig.Main(m)
}

var open = rigclient.Open

// openWithin opens a client with a short timeout, for tests without answers.
func openWithin(t testing.TB, timeout time.Duration, url, namespace string) *redstart.Client {
	t.Helper()
	return open(t, url, namespace, rigclient.Within(timeout))
}

// run runs a subscriber until the test ends or stop is called. It returns when the subscriber is
// ready.
func run(t testing.TB, sub *events.Subscriber) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	ended := make(chan error, 1)
	go func() { ended <- sub.Run(ctx) }()
	stopped := false
	stop = func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		select {
		case err := <-ended:
			if err != nil {
				t.Error(err)
			}
		case <-time.After(15 * time.Second):
			t.Error("Run did not end within 15 s")
		}
	}
	t.Cleanup(stop)
	select {
	case <-sub.Ready():
	case err := <-ended:
		ended <- err
		t.Fatalf("Run ended: %v", err)
	case <-time.After(15 * time.Second):
		t.Fatal("the subscriber is not ready within 15 s")
	}
	return stop
}

func durable(t testing.TB, client *redstart.Client, opts events.DurableOptions) *events.Durable {
	t.Helper()
	if opts.Partitions == 0 {
		opts.Partitions = 4
	}
	bus, err := events.NewDurable(client, "bus", opts)
	if err != nil {
		t.Fatal(err)
	}
	if _, bench := t.(*testing.B); !bench {
		bus.CheckStates(t.Errorf)
	}
	return bus
}

func subscriber(t testing.TB, bus events.Bus, name string, opts events.SubscriberOptions) *events.Subscriber {
	t.Helper()
	sub, err := bus.Subscriber(name, opts)
	if err != nil {
		t.Fatal(err)
	}
	return sub
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// note is the data of events in most tests.
type note struct {
	N    int    `json:"n"`
	Text string `json:"text,omitempty"`
}

var notes = events.NewTopic[note]("note")
