package store

import (
	"context"
	"database/sql"
	"fmt"
)

// Message is what a transaction tells others once it is committed.
type Message struct {
	Channel, Type string
	Data          []byte // JSON
}

func (o Order) tell(ctx context.Context, tx transaction, tell []func(Order) (Message, error)) error {
	for _, about := range tell {
		m, err := about(o)
		if err != nil {
			return err
		}
		if _, err := tx.ExecContext(ctx, `INSERT INTO outbox (channel, type, data) VALUES ($1, $2, $3)`, m.Channel, m.Type, string(m.Data)); err != nil {
			return fmt.Errorf("store: outbox: %w", err)
		}
	}
	return nil
}

// Outbox is where the table outbox is read and emptied.
func (s *Store) Outbox() *sql.DB { return s.write.DB }
