package events

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
)

// OutboxDB is the database of an outbox; make it with [SQL] or [PGX].
type OutboxDB struct {
	dialect Dialect
	exec    func(ctx context.Context, query string, args ...any) (affected int64, err error)
	query   func(ctx context.Context, query string, args []any, row func(scan func(...any) error) error) error
	listen  func(ctx context.Context, channel string, wake func()) error // nil: the database does not notify
}

// errEnough ends a query early.
var errEnough = errors.New("enough rows")

// SQL is a database of database/sql.
func SQL(db *sql.DB, dialect Dialect) OutboxDB {
	if db == nil {
		return OutboxDB{dialect: dialect}
	}
	return OutboxDB{
		dialect: dialect,
		exec: func(ctx context.Context, query string, args ...any) (int64, error) {
			result, err := db.ExecContext(ctx, query, args...)
			if err != nil {
				return 0, err
			}
			return result.RowsAffected()
		},
		query: func(ctx context.Context, query string, args []any, row func(scan func(...any) error) error) error {
			rows, err := db.QueryContext(ctx, query, args...)
			if err != nil {
				return err
			}
			defer rows.Close()
			return eachRow(rows, row)
		},
	}
}

func eachRow(rows interface {
	Next() bool
	Scan(dest ...any) error
	Err() error
}, row func(scan func(...any) error) error) error {
	for rows.Next() {
		if err := row(rows.Scan); errors.Is(err, errEnough) {
			return nil
		} else if err != nil {
			return err
		}
	}
	return rows.Err()
}

// The shapes of pgx, so that this package does not import it.
type (
	pgxTag  interface{ RowsAffected() int64 }
	pgxRows interface {
		Next() bool
		Scan(dest ...any) error
		Err() error
		Close()
	}
	pgxNotified[N any] interface {
		WaitForNotification(ctx context.Context) (N, error)
	}
	pgxConn[T pgxTag, C any] interface {
		Exec(ctx context.Context, query string, args ...any) (T, error)
		Conn() C
		Release()
	}
	pgxPool[T pgxTag, R pgxRows, C any] interface {
		Exec(ctx context.Context, query string, args ...any) (T, error)
		Query(ctx context.Context, query string, args ...any) (R, error)
		Acquire(ctx context.Context) (C, error)
	}
)

// PGX is a PostgreSQL database through a *pgxpool.Pool: events.PGX(pool). The type parameters are found by the compiler.
// While Run works it holds one connection of the pool, over which PostgreSQL notifies it of new rows (LISTEN).
func PGX[T pgxTag, R pgxRows, C pgxConn[T, K], K pgxNotified[N], N any](pool pgxPool[T, R, C]) OutboxDB {
	return OutboxDB{
		dialect: PostgreSQL,
		exec: func(ctx context.Context, query string, args ...any) (int64, error) {
			tag, err := pool.Exec(ctx, query, args...)
			if err != nil {
				return 0, err
			}
			return tag.RowsAffected(), nil
		},
		query: func(ctx context.Context, query string, args []any, row func(scan func(...any) error) error) error {
			rows, err := pool.Query(ctx, query, args...)
			if err != nil {
				return err
			}
			defer rows.Close()
			return eachRow(rows, row)
		},
		listen: func(ctx context.Context, channel string, wake func()) error {
			conn, err := pool.Acquire(ctx)
			if err != nil {
				return err
			}
			defer conn.Release()
			if _, err := conn.Exec(ctx, "LISTEN "+PostgreSQL.quoted(channel)); err != nil { // unquoted, it is folded to lower case
				return err
			}
			for {
				wake() // also first: rows may have come before LISTEN
				if _, err := conn.Conn().WaitForNotification(ctx); err != nil {
					return err
				}
			}
		},
	}
}

// Execer is a transaction as [Topic.AddToOutbox] uses it: a *sql.Tx, or what [PGXTx] makes of a pgx.Tx.
type Execer interface {
	ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error)
}

// PGXTx is a pgx.Tx for [Topic.AddToOutbox]: events.PGXTx(tx).
func PGXTx[T pgxTag](tx interface {
	Exec(ctx context.Context, query string, args ...any) (T, error)
}) Execer {
	return execFunc(func(ctx context.Context, query string, args ...any) (int64, error) {
		tag, err := tx.Exec(ctx, query, args...)
		if err != nil {
			return 0, err
		}
		return tag.RowsAffected(), nil
	})
}

type execFunc func(ctx context.Context, query string, args ...any) (int64, error)

func (f execFunc) ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error) {
	n, err := f(ctx, query, args...)
	if err != nil {
		return nil, err
	}
	return driver.RowsAffected(n), nil
}
