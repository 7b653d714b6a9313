package events_test

import (
	"testing"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/ThreeDotsLabs/watermill/pubsub/tests"

	"github.com/redstart-go/redstart/events"
	"github.com/redstart-go/redstart/internal/rig"
)

// watermillFeatures are the promises of a durable bus, in the terms of the suite.
var watermillFeatures = tests.Features{
	ConsumerGroups:      true,
	GuaranteedOrder:     true, // also with several subscribers, and across nacks
	Persistent:          true,
	ExactlyOnceDelivery: false, // at least once (E1)
	ContextPreserved:    false, // a handler has the values of Run's context, and only the trace of the publisher's context
	ForceShort:          true,
}

// The suite that watermill publishes for Pub/Sub implementations runs on a real server.
//
// Two of its tests are skipped. TestReconnect needs a command that restarts the server, and reads
// state of its publishers without a lock, which the race detector refuses.
// TestE1_NothingIsLostWhenProcessesDie restarts the server under load.
// TestNewSubscriberReceivesOldMessages needs one group per subscriber, while the other tests need
// shared groups. It runs separately below.
func TestWatermillSuite(t *testing.T) {
	t.Parallel()
	server, namespace := rig.Shared(t), rig.Prefix(t)
	grouped := func(t *testing.T, group string) (message.Publisher, message.Subscriber) {
		a := newAdapter(t, server.URL(), namespace, group, events.DurableOptions{Partitions: 1, Lease: 2 * time.Second})
		return publisher{a}, a
	}
	tests.TestPubSub(t, watermillFeatures, func(t *testing.T) (message.Publisher,
		message.Subscriber) {
		return grouped(t, "group")
	}, grouped)
}

func TestWatermillNewSubscriberReceivesOldMessages(t *testing.T) {
	t.Parallel()
	server, namespace := rig.Shared(t), rig.Prefix(t)
	features := watermillFeatures
	features.NewSubscriberReceivesOldMessages = true // within the Retention of the bus
	tests.TestNewSubscriberReceivesOldMessages(t, tests.TestContext{TestID: tests.NewTestID(), Features: features},
		func(t *testing.T) (message.Publisher, message.Subscriber) {
			a := newAdapter(t, server.URL(), namespace, string(tests.NewTestID()),
				events.DurableOptions{Partitions: 1, Retention: time.Hour})
			return publisher{a}, a
		})
}

// publisher is an adapter whose Close does nothing, because it publishes one message at a time and
// holds none.
type publisher struct{ *adapter }

func (publisher) Close() error { return nil }
