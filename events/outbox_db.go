package events

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
)

// OutboxDB is the database of an outbox. Use [SQL] or [PGX].
type OutboxDB struct {
	dialect Dialect
	exec    func(ctx context.Context, query string, args ...any) (affected int64, err error)
	query   func(ctx context.Context, query string, args []any, row func(scan func(...any) error) error) error
	listen  func(ctx context.Context, channel string, wake func()) error // nil: the database does not notify
}

// errEnough ends a query before its last row.
var errEnough = errors.New("enough rows")

// SQL returns the OutboxDB of a database/sql database.
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

// These interfaces describe the types of pgx, so that this package does not import pgx.
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

// PGX returns the OutboxDB of a *pgxpool.Pool: events.PGX(pool). The compiler infers the type
// parameters. Run holds one connection of the pool. PostgreSQL notifies Run of new rows over it
// (LISTEN).
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
			// PostgreSQL folds an unquoted name to lower case
			if _, err := conn.Exec(ctx, "LISTEN "+PostgreSQL.quoted(channel)); err != nil {
				return err
			}
			for {
				wake() // also before the first notification: rows may be older than LISTEN
				if _, err := conn.Conn().WaitForNotification(ctx); err != nil {
					return err
				}
			}
		},
	}
}

// Execer is a transaction for [Topic.AddToOutbox]: a *sql.Tx, or the result of [PGXTx].
type Execer interface {
	ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error)
}

// PGXTx returns the Execer of a pgx.Tx: events.PGXTx(tx).
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
