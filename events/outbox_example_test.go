package events_test

import (
	"context"
	"database/sql"
	"fmt"
	"log"

	"github.com/redstart-go/redstart/events"
)

// An event that is published if and only if a transaction is committed. The transaction adds a row; a relay publishes it.
func ExampleOutbox() {
	ctx, stop := context.WithCancel(context.Background())
	client, end := connect(ctx)
	defer end()
	db, err := sql.Open("sqlite", "file:shop.db") // the driver is the application's
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

	// Where a user joins: the row and the event are in one transaction.
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

	// A consumer, as without an outbox.
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

	// In any number of processes: one relay works at a time, and waits until the group is registered.
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
