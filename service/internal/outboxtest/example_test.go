package outboxtest

import (
	"context"
	"database/sql"
	"fmt"
	"log"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/redstart-go/redstart"
	"github.com/redstart-go/redstart/embedded"
	"github.com/redstart-go/redstart/events"
)

// Joined is the data of the event of the example.
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

// An event is published if and only if its transaction is committed. The transaction adds a row,
// and a relay publishes it.
func Example() {
	ctx, stop := context.WithCancel(context.Background())
	client, end := connect(ctx)
	defer end()
	db, err := sql.Open("sqlite", exampleFile) // a driver of the application
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

	// Output: welcome Ada
}

// exampleFile is an in-memory database that all connections of the example share.
const exampleFile = "file:example?mode=memory&cache=shared&_pragma=busy_timeout(60000)"

// The example of package events has no driver and does not run. Its text must equal the example
// that runs here.
func TestExampleOfEventsEqualsTheOneThatRuns(t *testing.T) {
	t.Parallel()
	text := func(path, end string) string {
		source, err := os.ReadFile(filepath.FromSlash(path))
		must(t, err)
		_, from, ok := strings.Cut(string(source), "// With the other migrations, once.")
		body, _, ended := strings.Cut(from, end)
		if !ok || !ended {
			t.Fatalf("%s has no example", path)
		}
		return strings.TrimSpace(body)
	}
	shown, runs := text("../../../events/outbox_example_test.go", "\n}\n"), text("example_test.go", "\n\t// Output:")
	if shown != runs {
		t.Errorf("the example of events differs from the one that runs:\n%s\n---\n%s", shown, runs)
	}
}
