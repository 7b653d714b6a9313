package store

import (
	"context"
	"database/sql"
	"iter"
	"sync/atomic"
	"time"

	"github.com/redstart-go/redstart/observe"
)

// counted is a database that counts its statements. The statements of the outbox are not counted:
// the relay polls all the time, and its statements would hide the cost of requests.
type counted struct {
	*sql.DB
	n     *atomic.Int64
	delay *atomic.Int64
}

// pause waits for the latency of a simulated remote database.
func pause(ctx context.Context, delay *atomic.Int64) {
	d := time.Duration(delay.Load())
	if d <= 0 {
		return
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done(): // the statement returns the error
	}
}

// SetLatency adds at least d to each statement, to simulate a database on another machine in a
// demo. Statements of the outbox are not delayed.
func (s *Store) SetLatency(d time.Duration) { s.delay.Store(int64(d)) }

func (c counted) QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error) {
	c.n.Add(1)
	pause(ctx, c.delay)
	return c.DB.QueryContext(ctx, query, args...)
}

func (c counted) QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row {
	c.n.Add(1)
	pause(ctx, c.delay)
	return c.DB.QueryRowContext(ctx, query, args...)
}

func (c counted) ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error) {
	c.n.Add(1)
	pause(ctx, c.delay)
	return c.DB.ExecContext(ctx, query, args...)
}

// transaction is a transaction whose statements are counted.
type transaction struct {
	*sql.Tx
	n     *atomic.Int64
	delay *atomic.Int64
}

func (t transaction) QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row {
	t.n.Add(1)
	pause(ctx, t.delay)
	return t.Tx.QueryRowContext(ctx, query, args...)
}

func (t transaction) ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error) {
	t.n.Add(1)
	pause(ctx, t.delay)
	return t.Tx.ExecContext(ctx, query, args...)
}

// Queries returns the number of statements so far, by reads and writes.
func (s *Store) Queries() (reads, writes int64) { return s.reads.Load(), s.writes.Load() }

// Metrics yields the counters of the store.
func (s *Store) Metrics() iter.Seq[observe.Metric] {
	return func(yield func(observe.Metric) bool) {
		reads, writes := s.Queries()
		_ = yield(queries("read", reads)) && yield(queries("write", writes))
	}
}

func queries(kind string, n int64) observe.Metric {
	return observe.Metric{Name: "shop.db.queries", Help: "Statements sent to the database.", Unit: "1", Kind: observe.Counter,
		Labels: []observe.Label{{Name: "kind", Value: kind}}, Value: float64(n)}
}
