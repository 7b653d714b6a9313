package store

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"
)

// User is a row of users.
type User struct {
	ID           int64
	Email        string // lower case
	Name         string
	PasswordHash string
	Plan         string // PlanFree or PlanPro
	CreatedAt    time.Time
}

// The plans of users. A plan decides the rate limits.
const (
	PlanFree = "free"
	PlanPro  = "pro"
)

// UserChange is a change of a user. A nil field stays the same.
type UserChange struct {
	Email, Name *string
}

const userColumns = `id, email, name, password_hash, plan, created_at`

// User returns the user with this id, or ErrNotFound.
func (s *Store) User(ctx context.Context, id int64) (User, error) {
	return scanUser(s.read.QueryRowContext(ctx, `SELECT `+userColumns+` FROM users WHERE id = $1`, id))
}

// UserByEmail returns the user with this lower-case address, or ErrNotFound.
func (s *Store) UserByEmail(ctx context.Context, email string) (User, error) {
	return scanUser(s.read.QueryRowContext(ctx, `SELECT `+userColumns+` FROM users WHERE email = $1`, email))
}

// AddUser stores a new user and returns it with its id, or ErrEmailTaken. The default plan is
// PlanFree.
func (s *Store) AddUser(ctx context.Context, u User) (User, error) {
	return s.scanChanged(s.write.QueryRowContext(ctx, `
		INSERT INTO users (email, name, password_hash, plan, created_at) VALUES ($1, $2, $3, $4, $5)
		RETURNING `+userColumns, u.Email, u.Name, u.PasswordHash, cmp.Or(u.Plan, PlanFree), u.CreatedAt.UTC()))
}

// UpdateUser changes a user and returns the row before and after the change, or ErrNotFound or
// ErrEmailTaken.
func (s *Store) UpdateUser(ctx context.Context, id int64, to UserChange) (before, after User, err error) {
	err = s.change(ctx, func(tx transaction) error {
		before, err = scanUser(tx.QueryRowContext(ctx, `SELECT `+userColumns+` FROM users WHERE id = $1`+s.dialect.forUpdate, id))
		if err != nil {
			return err
		}
		after, err = s.scanChanged(tx.QueryRowContext(ctx, `
			UPDATE users SET email = COALESCE($2, email), name = COALESCE($3, name) WHERE id = $1
			RETURNING `+userColumns, id, to.Email, to.Name))
		return err
	})
	return before, after, err
}

// DeleteUser deletes a user with all orders and returns the deleted row, or ErrNotFound.
func (s *Store) DeleteUser(ctx context.Context, id int64) (User, error) {
	return scanUser(s.write.QueryRowContext(ctx, `DELETE FROM users WHERE id = $1 RETURNING `+userColumns, id))
}

func scanUser(row *sql.Row) (User, error) {
	var u User
	switch err := row.Scan(&u.ID, &u.Email, &u.Name, &u.PasswordHash, &u.Plan, &u.CreatedAt); {
	case errors.Is(err, sql.ErrNoRows):
		return User{}, ErrNotFound
	case err != nil:
		return User{}, fmt.Errorf("store: users: %w", err)
	}
	return u, nil
}

// scanChanged is scanUser for statements that can violate the unique address.
func (s *Store) scanChanged(row *sql.Row) (User, error) {
	u, err := scanUser(row)
	if s.dialect.duplicates(err) {
		return User{}, ErrEmailTaken
	}
	return u, err
}
