package redstartwatermill_test

import (
	"context"
	"fmt"
	"log"

	"github.com/ThreeDotsLabs/watermill"
	"github.com/ThreeDotsLabs/watermill/message"

	"github.com/redstart-go/redstart"
	redstartwatermill "github.com/redstart-go/redstart/adapters/watermill"
	"github.com/redstart-go/redstart/embedded"
)

func Example() {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	server, err := embedded.Start(ctx, embedded.Options{}) // your Redis
	if err != nil {
		log.Fatal(err)
	}
	defer server.Close()
	client, err := redstart.Open(ctx, redstart.Config{URL: server.URL()})
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()

	opts := redstartwatermill.Options{
		Channel: func(topic string, m *message.Message) string { return topic + ":" + m.Metadata.Get("user") }, // unit of order
	}
	publisher, err := redstartwatermill.NewPublisher(client, opts)
	if err != nil {
		log.Fatal(err)
	}
	subscriber, err := redstartwatermill.NewSubscriber(client, "mail", opts)
	if err != nil {
		log.Fatal(err)
	}

	router, err := message.NewRouter(message.RouterConfig{}, watermill.NopLogger{})
	if err != nil {
		log.Fatal(err)
	}
	router.AddConsumerHandler("send mail", "orders", subscriber, func(m *message.Message) error {
		fmt.Printf("%s for %s\n", m.Payload, m.Metadata.Get("user"))
		cancel() // ends the example
		return nil
	})

	order := message.NewMessage(watermill.NewUUID(), []byte("order 42"))
	order.Metadata.Set("user", "ana")
	if err := publisher.Publish("orders", order); err != nil {
		log.Fatal(err)
	}
	if err := router.Run(ctx); err != nil {
		log.Fatal(err)
	}
	// Output: order 42 for ana
}
