// Package store stores the users and orders of the shop in a SQL database.
//
// It does not use caches: it returns the current state of the database.
package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"sync/atomic"
)

var (
	// ErrNotFound means that there is no such row.
	ErrNotFound = errors.New("store: not found")
	// ErrEmailTaken means that another user has this email address.
	ErrEmailTaken = errors.New("store: email address taken")
)

// Store is safe for concurrent use.
type Store struct {
	read, write   counted
	reads, writes atomic.Int64
	delay         atomic.Int64
	dialect       dialect
}

func newStore(read, write *sql.DB, d dialect) *Store {
	s := &Store{dialect: d}
	s.read, s.write = counted{read, &s.reads, &s.delay}, counted{write, &s.writes, &s.delay}
	return s
}

// Open connects to the database and applies the missing migrations. The URL is sqlite:<file> or
// postgres://user:password@host:5432/database.
func Open(ctx context.Context, url string) (*Store, error) {
	s, err := connect(url)
	if err != nil {
		return nil, err
	}
	if err := s.migrate(ctx); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

// Ping returns an error if the database does not answer.
func (s *Store) Ping(ctx context.Context) error {
	if err := s.read.PingContext(ctx); err != nil {
		return fmt.Errorf("store: ping: %w", err)
	}
	return nil
}

// Close closes all connections.
func (s *Store) Close() error {
	return errors.Join(s.read.Close(), s.write.Close()) // on PostgreSQL both are the same; a second Close is no error
}

// change runs fn in a transaction. An error of fn rolls it back.
func (s *Store) change(ctx context.Context, fn func(transaction) error) error {
	tx, err := s.write.BeginTx(ctx, nil)
	if err != nil {
		return fmt.Errorf("store: begin: %w", err)
	}
	defer tx.Rollback() // after a commit it does nothing
	if err := fn(transaction{tx, &s.writes, &s.delay}); err != nil {
		return err
	}
	if err := tx.Commit(); err != nil {
		return fmt.Errorf("store: commit: %w", err)
	}
	return nil
}
