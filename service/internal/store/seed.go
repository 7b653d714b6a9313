package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/redstart-go/redstart/service/internal/password"
)

// The login and the number of users of the sample data.
const (
	SampleEmail    = "ada@example.com"
	SamplePassword = "redstart"
	SampleUsers    = 1000
)

var sampleUsers = []struct {
	email, name, plan string
	orders            []Order
}{
	{SampleEmail, "Ada Lovelace", PlanPro, []Order{
		{Item: "Punched cards, box of 500", TotalCents: 1850}, {Item: "Notebook, squared", TotalCents: 420},
	}},
	{"grace@example.com", "Grace Hopper", PlanFree, []Order{{Item: "Copper wire, 30 cm", TotalCents: 95}}},
	{"alan@example.com", "Alan Turing", PlanFree, nil},
}

// Seed adds sample users and orders to an empty database. It does not change a database with users.
func (s *Store) Seed(ctx context.Context) error {
	// Hashing is slow by design, so it runs before the transaction, which blocks all other writers.
	var users int
	if err := s.read.QueryRowContext(ctx, `SELECT COUNT(*) FROM users`).Scan(&users); err != nil {
		return fmt.Errorf("store: seed: %w", err)
	}
	if users > 0 {
		return nil
	}
	hash := password.Hash(SamplePassword)
	return s.change(ctx, func(tx transaction) error {
		if err := seed(ctx, tx, hash); err != nil {
			return fmt.Errorf("store: seed: %w", err)
		}
		return nil
	})
}

func seed(ctx context.Context, tx transaction, hash string) error {
	now := time.Now().UTC()
	for _, u := range sampleUsers {
		// Another process may seed at the same time. The second process finds the addresses taken
		// and adds nothing.
		var id int64
		err := tx.QueryRowContext(ctx, `
			INSERT INTO users (email, name, password_hash, plan, created_at) VALUES ($1, $2, $3, $4, $5)
			ON CONFLICT (email) DO NOTHING RETURNING id`, u.email, u.name, hash, u.plan, now).Scan(&id)
		if errors.Is(err, sql.ErrNoRows) {
			continue
		}
		if err != nil {
			return err
		}
		for _, o := range u.orders {
			if _, err := tx.ExecContext(ctx, `
				INSERT INTO orders (user_id, item, total_cents, status, created_at) VALUES ($1, $2, $3, $4, $5)`,
				id, o.Item, o.TotalCents, StatusNew, now); err != nil {
				return err
			}
		}
	}
	return seedCustomers(ctx, tx, hash, now)
}

// seedCustomers adds users until there are SampleUsers, which is more than the near cache of the
// demo holds.
func seedCustomers(ctx context.Context, tx transaction, hash string, now time.Time) error {
	_, err := tx.ExecContext(ctx, `
		WITH RECURSIVE numbers (n) AS (SELECT $1 + 0 UNION ALL SELECT n + 1 FROM numbers WHERE n < $2 + 0)
		INSERT INTO users (email, name, password_hash, plan, created_at)
		SELECT 'customer' || n || '@example.com', 'Customer ' || n, $3, $4, $5 FROM numbers WHERE true
		ON CONFLICT (email) DO NOTHING`, len(sampleUsers)+1, SampleUsers, hash, PlanFree, now)
	return err
}
