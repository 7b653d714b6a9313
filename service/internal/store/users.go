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

// The plans: how much a user may ask for.
const (
	PlanFree = "free"
	PlanPro  = "pro"
)

// UserChange says what to change: nil leaves a column as it is.
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

// AddUser stores a new user, on the free plan unless it names another, and returns it with its id, or ErrEmailTaken.
func (s *Store) AddUser(ctx context.Context, u User) (User, error) {
	return s.scanChanged(s.write.QueryRowContext(ctx, `
		INSERT INTO users (email, name, password_hash, plan, created_at) VALUES ($1, $2, $3, $4, $5)
		RETURNING `+userColumns, u.Email, u.Name, u.PasswordHash, cmp.Or(u.Plan, PlanFree), u.CreatedAt.UTC()))
}

// UpdateUser changes a user and returns the row as it was and as it is, or ErrNotFound or ErrEmailTaken.
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

// DeleteUser removes a user and his orders, and returns the user as he was, or ErrNotFound.
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

// scanChanged is scanUser for statements that may run into another user's address.
func (s *Store) scanChanged(row *sql.Row) (User, error) {
	u, err := scanUser(row)
	if s.dialect.duplicates(err) {
		return User{}, ErrEmailTaken
	}
	return u, err
}
