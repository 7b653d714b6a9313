package events_test

import (
	"testing"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/ThreeDotsLabs/watermill/pubsub/tests"

	"github.com/redstart-go/redstart/events"
	"github.com/redstart-go/redstart/internal/rig"
)

// watermillFeatures is what a durable bus promises, in the suite's words.
var watermillFeatures = tests.Features{
	ConsumerGroups:      true,
	GuaranteedOrder:     true, // also with several subscribers, and across nacks
	Persistent:          true,
	ExactlyOnceDelivery: false, // at least once (E1)
	ContextPreserved:    false, // a handler has the values of Run's context; of a publisher's, the trace alone
	ForceShort:          true,
}

// The suite that watermill publishes for every Pub/Sub that wants to be called production ready, on a real server.
//
// Two of its tests skip themselves here. TestReconnect wants a command that restarts the server, and reads what its publishers have
// noted without a lock, which the race detector refuses; TestE1_NothingIsLostWhenProcessesDie restarts the server under load.
// TestNewSubscriberReceivesOldMessages wants every subscriber to see everything, while the others want them to share; it runs by
// itself below, with a group for each.
func TestWatermillSuite(t *testing.T) {
	t.Parallel()
	server, namespace := rig.Shared(t), rig.Prefix(t)
	grouped := func(t *testing.T, group string) (message.Publisher, message.Subscriber) {
		a := newAdapter(t, server.URL(), namespace, group, events.DurableOptions{Partitions: 1, Lease: 2 * time.Second})
		return publisher{a}, a
	}
	tests.TestPubSub(t, watermillFeatures, func(t *testing.T) (message.Publisher, message.Subscriber) { return grouped(t, "group") }, grouped)
}

func TestWatermillNewSubscriberReceivesOldMessages(t *testing.T) {
	t.Parallel()
	server, namespace := rig.Shared(t), rig.Prefix(t)
	features := watermillFeatures
	features.NewSubscriberReceivesOldMessages = true // while the bus has a Retention
	tests.TestNewSubscriberReceivesOldMessages(t, tests.TestContext{TestID: tests.NewTestID(), Features: features},
		func(t *testing.T) (message.Publisher, message.Subscriber) {
			a := newAdapter(t, server.URL(), namespace, string(tests.NewTestID()), events.DurableOptions{Partitions: 1, Retention: time.Hour})
			return publisher{a}, a
		})
}

// publisher is an adapter whose Close ends nothing: it publishes one message at a time, and holds none.
type publisher struct{ *adapter }

func (publisher) Close() error { return nil }
