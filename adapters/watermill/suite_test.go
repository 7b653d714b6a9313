package redstartwatermill_test

import (
	"testing"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/ThreeDotsLabs/watermill/pubsub/tests"

	redstartwatermill "github.com/redstart-go/redstart/adapters/watermill"
	"github.com/redstart-go/redstart/events"
	"github.com/redstart-go/redstart/internal/rig"
)

// features are the promises of the adapter, in the terms of the suite.
var features = tests.Features{
	ConsumerGroups:      true,
	GuaranteedOrder:     true, // also with several subscribers, and across nacks
	Persistent:          true,
	ExactlyOnceDelivery: false, // at least once (E1)
	ContextPreserved:    false, // a message has the values of Subscribe's context, and only the trace of the publisher's context
	ForceShort:          true,
}

// pubSub returns a publisher and a subscriber with separate clients, as in separate processes.
func pubSub(t *testing.T, url, namespace, group string, bus events.DurableOptions) (message.Publisher, message.Subscriber) {
	t.Helper()
	opts := redstartwatermill.Options{Bus: bus, Subscriber: events.SubscriberOptions{
		Backoff:      func(int) time.Duration { return time.Millisecond },
		DrainTimeout: 50 * time.Millisecond,
	}}
	publisher, err := redstartwatermill.NewPublisher(open(t, url, namespace), opts)
	if err != nil {
		t.Fatal(err)
	}
	subscriber, err := redstartwatermill.NewSubscriber(open(t, url, namespace), group, opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = publisher.Close(), subscriber.Close() })
	return publisher, subscriber
}

// The suite that Watermill publishes for Pub/Subs runs on a real server.
//
// Two of its tests are skipped. TestReconnect needs a command that restarts the server, and reads
// state of its publishers without a lock, which the race detector refuses.
// TestE1_NothingIsLostWhenProcessesDie of package events restarts the server under load.
// TestNewSubscriberReceivesOldMessages needs one group per subscriber, while the other tests need
// shared groups. It runs separately below.
func TestWatermillSuite(t *testing.T) {
	t.Parallel()
	server, namespace := rig.Shared(t), rig.Prefix(t)
	grouped := func(t *testing.T, group string) (message.Publisher, message.Subscriber) {
		return pubSub(t, server.URL(), namespace, group, events.DurableOptions{Partitions: 1, Lease: 2 * time.Second})
	}
	tests.TestPubSub(t, features, func(t *testing.T) (message.Publisher, message.Subscriber) {
		return grouped(t, "group")
	}, grouped)
}

func TestWatermillNewSubscriberReceivesOldMessages(t *testing.T) {
	t.Parallel()
	server, namespace := rig.Shared(t), rig.Prefix(t)
	features := features
	features.NewSubscriberReceivesOldMessages = true // within the Retention of the bus
	tests.TestNewSubscriberReceivesOldMessages(t, tests.TestContext{TestID: tests.NewTestID(), Features: features},
		func(t *testing.T) (message.Publisher, message.Subscriber) {
			publisher, subscriber := pubSub(t, server.URL(), namespace, string(tests.NewTestID()),
				events.DurableOptions{Partitions: 1, Retention: time.Hour})
			return staysOpen{publisher}, subscriber
		})
}

// staysOpen is a publisher that the test closes before it publishes.
type staysOpen struct{ message.Publisher }

func (staysOpen) Close() error { return nil }
