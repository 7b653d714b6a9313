package store

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"

	"github.com/redstart-go/redstart/events"
)

// Message is an event that the outbox publishes after the commit of a transaction.
type Message struct {
	Channel, Type string
	Data          []byte // JSON
}

// addMessages adds the messages of an order to the outbox.
func (s *Store) addMessages(ctx context.Context, tx transaction, o Order, messages []func(Order) (Message, error)) error {
	for _, message := range messages {
		m, err := message(o)
		if err != nil {
			return err
		}
		topic := events.NewTopic[json.RawMessage](m.Type)
		if err := topic.AddToOutbox(ctx, tx, events.OutboxTable{Dialect: s.dialect.outbox}, m.Channel, m.Data); err != nil {
			return fmt.Errorf("store: outbox: %w", err)
		}
	}
	return nil
}

// Outbox returns the database whose table outbox the relay reads.
func (s *Store) Outbox() events.OutboxDB { return events.SQL(s.write.DB, s.dialect.outbox) }

// DB returns the database, for statements of other packages.
func (s *Store) DB() *sql.DB { return s.write.DB }
