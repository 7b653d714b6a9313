package store

import (
	"context"
	"fmt"
	"time"
)

// Notification is a row of notifications.
type Notification struct {
	EventID   string
	UserID    int64
	Type      string
	Data      []byte // JSON
	CreatedAt time.Time
}

// AddNotification stores a notification and reports whether it did. It does not store a second
// notification of one event, or a notification of a deleted user.
func (s *Store) AddNotification(ctx context.Context, n Notification) (bool, error) {
	result, err := s.write.ExecContext(ctx, `
		INSERT INTO notifications (event_id, user_id, type, data, created_at)
		SELECT $1, id, $2, $3, $4 FROM users WHERE id = $5
		ON CONFLICT (event_id) DO NOTHING`, n.EventID, n.Type, string(n.Data), n.CreatedAt.UTC(), n.UserID)
	if err != nil {
		return false, fmt.Errorf("store: notifications: %w", err)
	}
	rows, err := result.RowsAffected()
	if err != nil {
		return false, fmt.Errorf("store: notifications: %w", err)
	}
	return rows == 1, nil
}

// Notifications returns the newest notifications of a user, newest first.
func (s *Store) Notifications(ctx context.Context, userID int64, most int) ([]Notification, error) {
	rows, err := s.read.QueryContext(ctx, `
		SELECT event_id, user_id, type, data, created_at FROM notifications WHERE user_id = $1 ORDER BY id DESC LIMIT $2`, userID, most)
	if err != nil {
		return nil, fmt.Errorf("store: notifications: %w", err)
	}
	defer rows.Close()
	list := []Notification{}
	for rows.Next() {
		var n Notification
		if err := rows.Scan(&n.EventID, &n.UserID, &n.Type, &n.Data, &n.CreatedAt); err != nil {
			return nil, fmt.Errorf("store: notifications: %w", err)
		}
		list = append(list, n)
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("store: notifications: %w", err)
	}
	return list, nil
}
