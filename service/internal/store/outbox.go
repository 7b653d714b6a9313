package store

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"

	"github.com/redstart-go/redstart/events"
)

// Message is what a transaction tells others once it is committed.
type Message struct {
	Channel, Type string
	Data          []byte // JSON
}

func (s *Store) tell(ctx context.Context, tx transaction, o Order, tell []func(Order) (Message, error)) error {
	for _, about := range tell {
		m, err := about(o)
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

// Outbox is the database whose table outbox the relay reads.
func (s *Store) Outbox() events.OutboxDB { return events.SQL(s.write.DB, s.dialect.outbox) }

// DB is the database itself, for statements that are not the shop's own.
func (s *Store) DB() *sql.DB { return s.write.DB }
