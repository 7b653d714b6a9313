package events_test

import (
	"context"
	"database/sql"
	"fmt"
	"log"

	"github.com/redstart-go/redstart/events"
)

// An event is published if and only if its transaction is committed. The transaction adds a row,
// and a relay publishes it.
func ExampleOutbox() {
	ctx, stop := context.WithCancel(context.Background())
	client, end := connect(ctx)
	defer end()
	db, err := sql.Open("sqlite", "file:shop.db") // a driver of the application
	if err != nil {
		log.Fatal(err)
	}
	defer db.Close()

	// With the other migrations, once.
	statements, err := events.OutboxSchema(events.SQLite, "")
	if err != nil {
		log.Fatal(err)
	}
	for _, statement := range append(statements, "CREATE TABLE users (name TEXT)") {
		if _, err := db.ExecContext(ctx, statement); err != nil {
			log.Fatal(err)
		}
	}

	// When a user joins, the user and the event are stored in one transaction.
	table := events.OutboxTable{Dialect: events.SQLite}
	join := func(name string) error {
		tx, err := db.BeginTx(ctx, nil)
		if err != nil {
			return err
		}
		defer tx.Rollback()
		if _, err := tx.ExecContext(ctx, "INSERT INTO users (name) VALUES (?)", name); err != nil {
			return err
		}
		if err := userJoined.AddToOutbox(ctx, tx, table, "users:"+name, Joined{User: name}); err != nil {
			return err
		}
		return tx.Commit()
	}
	if err := join("Ada"); err != nil {
		log.Fatal(err)
	}

	// The consumer is the same as without an outbox.
	bus, err := events.NewDurable(client, "users", events.DurableOptions{})
	if err != nil {
		log.Fatal(err)
	}
	sub, err := bus.Subscriber("mail", events.SubscriberOptions{})
	if err != nil {
		log.Fatal(err)
	}
	err = userJoined.Handle(sub, "*", func(_ context.Context, e events.Event[Joined]) error {
		fmt.Println("welcome", e.Data.User)
		stop()
		return nil
	})
	if err != nil {
		log.Fatal(err)
	}

	// Every process may run the relay. One works at a time and waits for the group.
	outbox, err := events.NewOutbox(events.SQL(db, events.SQLite), bus, events.OutboxOptions{Groups: []string{"mail"}})
	if err != nil {
		log.Fatal(err)
	}
	relayed := make(chan error)
	go func() { relayed <- outbox.Run(ctx) }()
	if err := sub.Run(ctx); err != nil {
		log.Fatal(err)
	}
	if err := <-relayed; err != nil {
		log.Fatal(err)
	}
}
