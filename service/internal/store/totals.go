package store

import (
	"context"
	"fmt"
)

// Totals are the totals of all users and orders.
type Totals struct {
	Users, Orders, Processed, RevenueCents int64
}

// Totals reads all tables, so it is slow on a large shop.
func (s *Store) Totals(ctx context.Context) (Totals, error) {
	var t Totals
	row := s.read.QueryRowContext(ctx, `
		SELECT (SELECT COUNT(*) FROM users), COUNT(*),
			COALESCE(SUM(CASE WHEN status = 'processed' THEN 1 ELSE 0 END), 0),
			CAST(COALESCE(SUM(CASE WHEN status = 'processed' THEN total_cents ELSE 0 END), 0) AS BIGINT)
		FROM orders`)
	if err := row.Scan(&t.Users, &t.Orders, &t.Processed, &t.RevenueCents); err != nil {
		return Totals{}, fmt.Errorf("store: totals: %w", err)
	}
	return t, nil
}
