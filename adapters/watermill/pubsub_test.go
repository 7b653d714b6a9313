package redstartwatermill_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/ThreeDotsLabs/watermill"
	"github.com/ThreeDotsLabs/watermill/message"

	redstartwatermill "github.com/redstart-go/redstart/adapters/watermill"
	"github.com/redstart-go/redstart/events"
	"github.com/redstart-go/redstart/internal/rig"
)

// start returns a publisher and a subscriber of one client.
func start(t *testing.T, opts redstartwatermill.Options) (*redstartwatermill.Publisher, *redstartwatermill.Subscriber) {
	t.Helper()
	client := open(t, rig.Shared(t).URL(), rig.Prefix(t))
	publisher, err := redstartwatermill.NewPublisher(client, opts)
	if err != nil {
		t.Fatal(err)
	}
	opts.Subscriber.DrainTimeout = 50 * time.Millisecond
	opts.Subscriber.Backoff = func(int) time.Duration { return 0 }
	subscriber, err := redstartwatermill.NewSubscriber(client, "mail", opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = publisher.Close(), subscriber.Close() })
	return publisher, subscriber
}

func next(t *testing.T, from <-chan *message.Message) *message.Message {
	t.Helper()
	select {
	case m, ok := <-from:
		if !ok {
			t.Fatal("the channel is closed")
		}
		return m
	case <-time.After(10 * time.Second):
		t.Fatal("no message came")
		return nil
	}
}

// A message keeps its UUID, metadata and payload, alone and in a batch. A message that is published
// again is delivered again.
func TestMessagesAreDeliveredUnchanged(t *testing.T) {
	t.Parallel()
	publisher, subscriber := start(t, redstartwatermill.Options{})
	m := message.NewMessage("u1", []byte{0, 0xff, '"'})
	m.Metadata.Set("key", "värde")
	plain := message.NewMessage("u2", nil)
	for _, all := range [][]*message.Message{{m}, {m, plain}} {
		if err := publisher.Publish("orders", all...); err != nil {
			t.Fatal(err)
		}
	}
	received, err := subscriber.Subscribe(t.Context(), "orders")
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range []*message.Message{m, m, plain} {
		got := next(t, received)
		if got.UUID != want.UUID || !bytes.Equal(got.Payload, want.Payload) || got.Metadata.Get("key") != want.Metadata.Get("key") ||
			got.Metadata == nil {
			t.Errorf("message %d is %v, want %v", i, got, want)
		}
		got.Ack()
	}
}

// A message without an ack delays its own channel and no other.
func TestChannelsAreDeliveredConcurrently(t *testing.T) {
	t.Parallel()
	publisher, subscriber := start(t, redstartwatermill.Options{
		Channel: func(topic string, m *message.Message) string { return topic + ":" + m.Metadata.Get("user") }})
	var all []*message.Message
	for _, user := range []string{"ana", "ana", "ben"} {
		m := message.NewMessage(watermill.NewUUID(), []byte(user))
		m.Metadata.Set("user", user)
		all = append(all, m)
	}
	if err := publisher.Publish("orders", all...); err != nil {
		t.Fatal(err)
	}
	received, err := subscriber.Subscribe(t.Context(), "orders")
	if err != nil {
		t.Fatal(err)
	}
	first, second := next(t, received), next(t, received)
	if got := string(first.Payload) + string(second.Payload); got != "anaben" && got != "benana" {
		t.Fatalf("two channels delivered %s, want one message each", got)
	}
	first.Ack()
	second.Ack()
	if third := next(t, received); third.UUID != all[1].UUID {
		t.Errorf("got %s, want the second message of ana", third.UUID)
	} else {
		third.Ack()
	}
}

// With MaxAttempts, a message that is nacked becomes a dead letter, and the next one comes.
func TestNackedMessagesBecomeDeadLetters(t *testing.T) {
	t.Parallel()
	opts := redstartwatermill.Options{Subscriber: events.SubscriberOptions{MaxAttempts: 2}}
	publisher, subscriber := start(t, opts)
	bad, good := message.NewMessage("bad", nil), message.NewMessage("good", nil)
	if err := publisher.Publish("orders", bad, good); err != nil {
		t.Fatal(err)
	}
	received, err := subscriber.Subscribe(t.Context(), "orders")
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if m := next(t, received); m.UUID != "bad" || !m.Nack() {
			t.Fatalf("got %s, want two attempts of bad", m.UUID)
		}
	}
	if m := next(t, received); m.UUID != "good" {
		t.Errorf("got %s after the last attempt, want good", m.UUID)
	} else {
		m.Ack()
	}
}

// A new group of a subscriber with FromNow gets no old message.
func TestFromNowSkipsOldMessages(t *testing.T) {
	t.Parallel()
	publisher, subscriber := start(t, redstartwatermill.Options{FromNow: true})
	if err := publisher.Publish("orders", message.NewMessage("old", nil)); err != nil {
		t.Fatal(err)
	}
	received, err := subscriber.Subscribe(t.Context(), "orders")
	if err != nil {
		t.Fatal(err)
	}
	if err := publisher.Publish("orders", message.NewMessage("new", nil)); err != nil {
		t.Fatal(err)
	}
	if m := next(t, received); m.UUID != "new" {
		t.Errorf("got %s, want new", m.UUID)
	} else {
		m.Ack()
	}
}

// journal is a logger that keeps errors.
type journal struct {
	watermill.NopLogger
	errors chan error
}

func (j journal) Error(_ string, err error, _ watermill.LogFields) { j.errors <- err }

// The end of the context closes the channel of a subscription.
func TestTheEndOfTheContextClosesTheChannel(t *testing.T) {
	t.Parallel()
	publisher, subscriber := start(t, redstartwatermill.Options{})
	if err := publisher.Publish("orders", message.NewMessage("1", nil)); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	received, err := subscriber.Subscribe(ctx, "orders")
	if err != nil {
		t.Fatal(err)
	}
	m := next(t, received)
	cancel()
	<-m.Context().Done()
	for range received { // the message returns to the group
		t.Error("a message came after the end")
	}
}

// An error that ends a subscription reaches the caller and the log.
func TestErrorsOfASubscriptionAreReported(t *testing.T) {
	t.Parallel()
	url, namespace := rig.Shared(t).URL(), rig.Prefix(t)
	publisher, err := redstartwatermill.NewPublisher(open(t, url, namespace), redstartwatermill.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if err := publisher.Publish("orders", message.NewMessage("1", nil)); err != nil {
		t.Fatal(err)
	}
	log := journal{errors: make(chan error, 1)}
	other, err := redstartwatermill.NewSubscriber(open(t, url, namespace), "mail",
		redstartwatermill.Options{Logger: log, Bus: events.DurableOptions{Partitions: 4}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = publisher.Close(), other.Close() })
	received, err := other.Subscribe(t.Context(), "orders")
	if !errors.Is(err, events.ErrPartitions) {
		t.Fatalf("another number of partitions: %v", err)
	}
	if _, open := <-received; open {
		t.Error("the channel is open")
	}
	if logged := <-log.errors; !errors.Is(logged, events.ErrPartitions) {
		t.Errorf("logged %v", logged)
	}
}

func TestCallsAfterCloseFail(t *testing.T) {
	t.Parallel()
	publisher, subscriber := start(t, redstartwatermill.Options{})
	received, err := subscriber.Subscribe(t.Context(), "orders")
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := errors.Join(publisher.Close(), subscriber.Close()); err != nil {
			t.Fatal(err)
		}
	}
	if _, open := <-received; open {
		t.Error("the channel is open after Close")
	}
	if err := publisher.Publish("orders", message.NewMessage("1", nil)); !errors.Is(err, redstartwatermill.ErrClosed) {
		t.Errorf("Publish: %v", err)
	}
	if _, err := subscriber.Subscribe(t.Context(), "orders"); !errors.Is(err, redstartwatermill.ErrClosed) {
		t.Errorf("Subscribe: %v", err)
	}
}

// A program whose topics have no bound gets an error, and no unbounded map.
func TestTopicsAreBounded(t *testing.T) {
	t.Parallel()
	publisher, _ := start(t, redstartwatermill.Options{})
	for i := range 1000 {
		if err := publisher.Publish(fmt.Sprint("topic-", i)); err != nil {
			t.Fatal(err)
		}
	}
	if err := publisher.Publish("one more"); err == nil {
		t.Error("more than 1,000 topics were accepted")
	}
	if err := publisher.Publish("topic-7", message.NewMessage("1", nil)); err != nil {
		t.Errorf("a known topic: %v", err)
	}
}

func TestANilClientIsRefused(t *testing.T) {
	t.Parallel()
	if _, err := redstartwatermill.NewPublisher(nil, redstartwatermill.Options{}); err == nil {
		t.Error("NewPublisher accepted a nil client")
	}
	if _, err := redstartwatermill.NewSubscriber(nil, "mail", redstartwatermill.Options{}); err == nil {
		t.Error("NewSubscriber accepted a nil client")
	}
}
