package guides_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"time"

	"github.com/redstart-go/redstart"
	"github.com/redstart-go/redstart/events"
)

// Paid is the data of an event.
type Paid struct {
	Order string `json:"order"`
	User  string `json:"user"`
	Cents int64  `json:"cents"`
}

var orderPaid = events.NewTopic[Paid]("order.paid")

// outboxTable is the same in the migration, in AddToOutbox and in the relay.
var outboxTable = events.OutboxTable{Dialect: events.PostgreSQL, Name: "outbox"}

// migrate creates the tables of the outbox. Run it once, with your other migrations.
func migrate(ctx context.Context, db *sql.DB) error {
	statements, err := events.OutboxSchema(outboxTable.Dialect, outboxTable.Name)
	if err != nil {
		return err
	}
	for _, statement := range statements {
		if _, err := db.ExecContext(ctx, statement); err != nil {
			return fmt.Errorf("migrate the outbox: %w", err)
		}
	}
	return nil
}

// pay marks an order and records the event. Both are committed, or neither is.
func pay(ctx context.Context, db *sql.DB, paid Paid) error {
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer tx.Rollback() // after Commit it does nothing

	if _, err := tx.ExecContext(ctx, `UPDATE orders SET paid = TRUE WHERE id = $1`, paid.Order); err != nil {
		return err
	}
	if err := orderPaid.AddToOutbox(ctx, tx, outboxTable, "users:"+paid.User, paid); err != nil {
		return err
	}
	return tx.Commit()
}

// openBus is the same in each process of the service.
func openBus(client *redstart.Client) (*events.Durable, error) {
	return events.NewDurable(client, "orders", events.DurableOptions{
		Partitions: 16,        // stored on first use
		Retention:  time.Hour, // for browsers that reconnect
	})
}

// relay publishes committed rows until ctx ends. Run it in each process: a lease lets one work at a
// time.
func relay(ctx context.Context, db *sql.DB, bus *events.Durable) error {
	outbox, err := events.NewOutbox(events.SQL(db, outboxTable.Dialect), bus, events.OutboxOptions{
		Table:  outboxTable.Name,
		Groups: []string{"receipts"}, // rows wait in the table until the group is registered
	})
	if err != nil {
		return err
	}
	return outbox.Run(ctx)
}

// errNoAddress is permanent: another attempt can't succeed.
var errNoAddress = errors.New("the user has no address")

type mailer func(ctx context.Context, key string, paid Paid) error

// receipts makes the subscriber that mails receipts. Its processes share the work.
func receipts(bus *events.Durable, log *slog.Logger, mail mailer) (*events.Subscriber, error) {
	sub, err := bus.Subscriber("receipts", events.SubscriberOptions{
		MaxAttempts:    8,
		HandlerTimeout: 30 * time.Second,
		Inbox:          24 * time.Hour, // skips an event that comes again
		OnGap: func(gap events.Gap) {
			log.Error("receipts: events are missing", "reason", gap.Reason, "missed", gap.Missed)
		},
	})
	if err != nil {
		return nil, err
	}

	return sub, orderPaid.Handle(sub, "users:*", func(ctx context.Context, e events.Event[Paid]) error {
		err := mail(ctx, e.ID, e.Data) // the id makes the mail idempotent
		if errors.Is(err, errNoAddress) {
			return events.Discard(err) // a dead letter at once
		}
		return err // another attempt after the backoff
	})
}

// streams sends each user the events of the user's own channel.
func streams(bus *events.Durable, userOf func(*http.Request) (string, error)) (*events.SSEHandler, error) {
	return bus.SSE(func(r *http.Request) (string, error) {
		user, err := userOf(r)
		return "users:" + user, err // an error is a 403
	}, events.SSEOptions{})
}

// serve ends the streams when the server shuts down. Shutdown would wait for them otherwise.
func serve(mux *http.ServeMux, live *events.SSEHandler) *http.Server {
	mux.Handle("GET /events", live)
	server := &http.Server{Addr: ":8080", Handler: mux, ReadHeaderTimeout: 5 * time.Second}
	server.RegisterOnShutdown(live.Close)
	return server
}

// redrive tries the dead letters of a group again, after their cause is repaired.
func redrive(ctx context.Context, bus *events.Durable, group string) (int, error) {
	dead := bus.DeadLetters(group)
	letters, err := dead.List(ctx, "", 100)
	if err != nil {
		return 0, err
	}
	for _, letter := range letters {
		fmt.Println(letter.Event.Type, letter.Attempts, letter.Cause)
	}
	return dead.RedriveAll(ctx)
}

func ExampleTopic() {
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	client, end := start(ctx)
	defer end()

	bus := must(openBus(client))
	mailed := make(chan string, 2)
	address := false
	sub := must(receipts(bus, slog.Default(), func(_ context.Context, _ string, paid Paid) error {
		if !address {
			address = true
			mailed <- "no address"
			return errNoAddress
		}
		mailed <- paid.Order
		return nil
	}))
	done := make(chan error)
	go func() { done <- sub.Run(ctx) }()
	<-sub.Ready()

	fmt.Println(orderPaid.Publish(ctx, bus, "users:ada", Paid{Order: "o1", User: "ada", Cents: 500}))
	fmt.Println(<-mailed)
	for must(bus.DeadLetters("receipts").Count(ctx)) == 0 { // until the subscriber has stored it: each loop is a round trip
	}
	fmt.Println(must(redrive(ctx, bus, "receipts")))
	fmt.Println(<-mailed)
	stop()
	fmt.Println(<-done)
	// Output:
	// <nil>
	// no address
	// order.paid 1 the user has no address
	// 1
	// o1
	// <nil>
}

// It is compiled and not run: it needs PostgreSQL.
func Example_outbox() {
	ctx := context.Background()
	client := must(redstart.Open(ctx, must(redstart.ConfigFromEnv())))
	db := must(sql.Open("pgx", "postgres://localhost/shop"))
	if err := migrate(ctx, db); err != nil {
		panic(err)
	}
	bus := must(openBus(client))
	sub := must(receipts(bus, slog.Default(), func(context.Context, string, Paid) error { return nil }))
	go func() { _ = sub.Run(ctx) }()
	go func() { _ = relay(ctx, db, bus) }()

	mux := http.NewServeMux()
	mux.HandleFunc("POST /orders/{id}/pay", func(w http.ResponseWriter, r *http.Request) {
		if err := pay(r.Context(), db, Paid{Order: r.PathValue("id"), User: "ada", Cents: 500}); err != nil {
			http.Error(w, "the order is not paid", http.StatusInternalServerError)
		}
	})
	live := must(streams(bus, func(*http.Request) (string, error) { return "ada", nil }))
	_ = serve(mux, live).ListenAndServe()
}
