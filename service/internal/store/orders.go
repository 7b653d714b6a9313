package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/redstart-go/redstart/lock"
)

// Order is a row of orders.
type Order struct {
	ID          int64
	UserID      int64
	Item        string
	TotalCents  int64
	Status      string // StatusNew or StatusProcessed
	CreatedAt   time.Time
	Fence       int64      // greatest fencing token under which the order was processed, 0 if never
	ProcessedBy string     // the instance; "" if not processed
	ProcessedAt *time.Time // nil if not processed
}

// The states of an order.
const (
	StatusNew       = "new"
	StatusProcessed = "processed"
)

// ErrProcessed means that the order is already processed.
var ErrProcessed = errors.New("store: the order is already processed")

// Spending has the totals of a user's orders.
type Spending struct {
	Orders     int64
	TotalCents int64
}

const orderColumns = `id, user_id, item, total_cents, status, created_at, fence, processed_by, processed_at`

// AddOrder stores a new order and returns it with its id. The messages are added to the outbox in
// the same transaction.
func (s *Store) AddOrder(ctx context.Context, o Order, messages ...func(Order) (Message, error)) (Order, error) {
	err := s.change(ctx, func(tx transaction) (err error) {
		o, err = scanOrder(tx.QueryRowContext(ctx, `
			INSERT INTO orders (user_id, item, total_cents, status, created_at) VALUES ($1, $2, $3, $4, $5)
			RETURNING `+orderColumns, o.UserID, o.Item, o.TotalCents, StatusNew, o.CreatedAt.UTC()))
		if err != nil {
			return err
		}
		return s.addMessages(ctx, tx, o, messages)
	})
	return o, err
}

// Order returns an order of a user, or ErrNotFound. ErrNotFound is also returned for an order of
// another user.
func (s *Store) Order(ctx context.Context, userID, id int64) (Order, error) {
	return scanOrder(s.read.QueryRowContext(ctx, `SELECT `+orderColumns+` FROM orders WHERE id = $1 AND user_id = $2`, id,
		userID))
}

// Orders returns the newest orders of a user, newest first.
func (s *Store) Orders(ctx context.Context, userID int64, most int) ([]Order, error) {
	rows, err := s.read.QueryContext(ctx, `SELECT `+orderColumns+` FROM orders WHERE user_id = $1 ORDER BY id DESC LIMIT $2`, userID,
		most)
	if err != nil {
		return nil, fmt.Errorf("store: orders: %w", err)
	}
	defer rows.Close()
	list := []Order{}
	for rows.Next() {
		o, err := scanOrder(rows)
		if err != nil {
			return nil, err
		}
		list = append(list, o)
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("store: orders: %w", err)
	}
	return list, nil
}

// BeginProcessing stores the fencing token of the lock under which the processing of an order
// starts. Errors: ErrNotFound, ErrProcessed, lock.ErrLost if a later token is stored.
func (s *Store) BeginProcessing(ctx context.Context, userID, id, fence int64) (Order, error) {
	return s.fenced(ctx, userID, id, fence, nil, `
		UPDATE orders SET fence = $1 WHERE id = $2 AND user_id = $3 AND status = 'new' AND fence < $1`, fence, id, userID)
}

// FinishProcessing marks an order as processed, unless a later token is stored. The messages are
// added to the outbox in the same transaction. Errors: those of BeginProcessing.
func (s *Store) FinishProcessing(
	ctx context.Context, userID, id, fence int64, by string, messages ...func(Order) (Message, error),
) (Order, error) {
	return s.fenced(ctx, userID, id, fence, messages, `
		UPDATE orders SET status = 'processed', processed_by = $4, processed_at = $5
		WHERE id = $2 AND user_id = $3 AND status = 'new' AND fence = $1`, fence, id, userID, by, time.Now().UTC())
}

// fenced runs a fenced update of an order.
func (s *Store) fenced(
	ctx context.Context, userID, id, fence int64, messages []func(Order) (Message, error), update string, args ...any,
) (o Order, err error) {
	err = s.change(ctx, func(tx transaction) error {
		changed := lock.FencedExec(ctx, tx, update, args...)
		if changed != nil && !errors.Is(changed, lock.ErrLost) {
			return fmt.Errorf("store: orders: %w", changed)
		}
		o, err = scanOrder(tx.QueryRowContext(ctx,
			`SELECT `+orderColumns+` FROM orders WHERE id = $1 AND user_id = $2`, id, userID))
		switch {
		case err != nil:
			return err
		case changed != nil && o.Status == StatusProcessed:
			return ErrProcessed
		case changed != nil:
			return fmt.Errorf("store: order %d: token %d is older than token %d: %w", id, fence, o.Fence, changed)
		}
		return s.addMessages(ctx, tx, o, messages)
	})
	return o, err
}

// SpendingOf returns the totals of a user's orders, zero without orders.
func (s *Store) SpendingOf(ctx context.Context, userID int64) (Spending, error) {
	var sums Spending
	row := s.read.QueryRowContext(ctx, `SELECT COUNT(*), CAST(COALESCE(SUM(total_cents), 0) AS BIGINT) FROM orders WHERE user_id = $1`,
		userID)
	if err := row.Scan(&sums.Orders, &sums.TotalCents); err != nil {
		return Spending{}, fmt.Errorf("store: orders: %w", err)
	}
	return sums, nil
}

func scanOrder(row interface{ Scan(...any) error }) (o Order, err error) {
	var at sql.NullTime
	switch err := row.Scan(&o.ID, &o.UserID, &o.Item, &o.TotalCents, &o.Status, &o.CreatedAt, &o.Fence, &o.ProcessedBy, &at); {
	case errors.Is(err, sql.ErrNoRows):
		return Order{}, ErrNotFound
	case err != nil:
		return Order{}, fmt.Errorf("store: orders: %w", err)
	}
	if at.Valid {
		o.ProcessedAt = &at.Time
	}
	return o, nil
}
