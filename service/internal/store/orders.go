package store

import (
	"context"
	"fmt"
	"time"
)

// Order is a row of orders.
type Order struct {
	ID         int64
	UserID     int64
	Item       string
	TotalCents int64
	Status     string // StatusNew or StatusProcessed
	CreatedAt  time.Time
}

// What can be said of an order.
const (
	StatusNew       = "new"
	StatusProcessed = "processed"
)

// Spending sums up a user's orders.
type Spending struct {
	Orders     int64
	TotalCents int64
}

// AddOrder stores a new order and returns it with its id.
func (s *Store) AddOrder(ctx context.Context, o Order) (Order, error) {
	row := s.write.QueryRowContext(ctx, `
		INSERT INTO orders (user_id, item, total_cents, status, created_at) VALUES ($1, $2, $3, $4, $5)
		RETURNING id, created_at`, o.UserID, o.Item, o.TotalCents, StatusNew, o.CreatedAt.UTC())
	if err := row.Scan(&o.ID, &o.CreatedAt); err != nil {
		return Order{}, fmt.Errorf("store: orders: %w", err)
	}
	o.Status = StatusNew
	return o, nil
}

// SpendingOf sums up the orders of a user; without any, the sums are zero.
func (s *Store) SpendingOf(ctx context.Context, userID int64) (Spending, error) {
	var sums Spending
	row := s.read.QueryRowContext(ctx, `SELECT COUNT(*), COALESCE(SUM(total_cents), 0) FROM orders WHERE user_id = $1`, userID)
	if err := row.Scan(&sums.Orders, &sums.TotalCents); err != nil {
		return Spending{}, fmt.Errorf("store: orders: %w", err)
	}
	return sums, nil
}
