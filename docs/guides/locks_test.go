package guides_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/redstart-go/redstart"
	"github.com/redstart-go/redstart/lock"
)

// Database is a *sql.DB, a *sql.Tx or a *sql.Conn.
type Database interface {
	ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error)
}

// Payout pays merchants. One process at a time works on one merchant.
type Payout struct {
	locks *lock.Locker
	db    Database
	log   *slog.Logger
}

type computation func(ctx context.Context) (cents int64, err error)

// NewPayout makes the Locker once. One Locker renews all locks of a process.
func NewPayout(client *redstart.Client, db Database, log *slog.Logger) (*Payout, error) {
	locks, err := lock.New(client, lock.Options{
		TTL:  10 * time.Second, // a crashed process delays the next one by at most 11 s
		Wait: 5 * time.Second,
		Name: "payout", // in metrics and traces
	})
	return &Payout{locks: locks, db: db, log: log}, err
}

// Run computes the balance of one merchant and stores it.
func (p *Payout) Run(ctx context.Context, merchant string, compute computation) error {
	err := p.locks.Do(ctx, "payout:"+merchant, func(ctx context.Context, held *lock.Lock) error {
		cents, err := compute(ctx) // its ctx ends when the lock is lost
		if err != nil {
			return err
		}
		return p.store(ctx, held, merchant, cents)
	})

	switch {
	case errors.Is(err, lock.ErrNotAcquired):
		p.log.InfoContext(ctx, "payout: another process works on it", "merchant", merchant)
		return nil
	case errors.Is(err, lock.ErrLost):
		return fmt.Errorf("payout: merchant %s: stopped, another process may have continued: %w", merchant, err)
	}
	return err
}

// store writes only if no holder with a greater token has written.
func (p *Payout) store(ctx context.Context, held *lock.Lock, merchant string, cents int64) error {
	return lock.FencedExec(ctx, p.db,
		`UPDATE account SET balance = $1, fence = $2 WHERE merchant = $3 AND fence <= $2`,
		cents, held.Token(), merchant)
}

// open creates the row on first use. The condition is the same.
func (p *Payout) open(ctx context.Context, held *lock.Lock, merchant string) error {
	return lock.FencedExec(ctx, p.db,
		`INSERT INTO account (merchant, balance, fence) VALUES ($1, 0, $2)
		ON CONFLICT (merchant) DO UPDATE SET fence = excluded.fence
		WHERE account.fence <= excluded.fence`,
		merchant, held.Token())
}

// lead runs work in one process at a time, until ctx ends.
func lead(ctx context.Context, locks *lock.Locker, work func(ctx context.Context, term int64) error) error {
	election, err := locks.Election("reports")
	if err != nil {
		return err
	}
	return election.Campaign(ctx, func(ctx context.Context, held *lock.Lock) error {
		return work(ctx, held.Token()) // the token is the term
	})
}

// account is a table with one row, which compares as the UPDATE does.
type account struct{ balance, fence int64 }

func (a *account) ExecContext(_ context.Context, _ string, args ...any) (sql.Result, error) {
	if balance, fence := args[0].(int64), args[1].(int64); a.fence <= fence {
		a.balance, a.fence = balance, fence
		return changed(1), nil
	}
	return changed(0), nil
}

type changed int64

func (changed) LastInsertId() (int64, error)   { return 0, nil }
func (c changed) RowsAffected() (int64, error) { return int64(c), nil }

func ExamplePayout() {
	ctx := context.Background()
	client, end := start(ctx)
	defer end()

	var row account
	payout := must(NewPayout(client, &row, slog.Default()))
	fmt.Println(payout.Run(ctx, "m1", func(context.Context) (int64, error) { return 500, nil }), row.balance)

	// The first holder hangs. An operator breaks its lock, and a second holder writes.
	first := must(payout.locks.Acquire(ctx, "payout:m1"))
	info := must(payout.locks.Inspect(ctx, "payout:m1"))
	fmt.Println("broken:", must(payout.locks.Break(ctx, "payout:m1", info.Holders[0])))
	fmt.Println(payout.Run(ctx, "m1", func(context.Context) (int64, error) { return 700, nil }), row.balance)

	// The first holder wakes up and writes late. The token refuses it.
	err := payout.store(ctx, first, "m1", 600)
	fmt.Println(errors.Is(err, lock.ErrLost), row.balance)
	// Output:
	// <nil> 500
	// broken: true
	// <nil> 700
	// true 700
}

func ExamplePayout_leader() {
	ctx := context.Background()
	client, end := start(ctx)
	defer end()

	locks := must(lock.New(client, lock.Options{}))
	payout := &Payout{locks: locks, db: &account{}}
	fmt.Println(lead(ctx, locks, func(ctx context.Context, term int64) error {
		fmt.Println("leads:", term > 0, ctx.Err())
		return nil
	}))
	fmt.Println(locks.Do(ctx, "payout:m2", func(ctx context.Context, held *lock.Lock) error {
		var created account
		payout.db = inserts{&created}
		return payout.open(ctx, held, "m2")
	}))
	// Output:
	// leads: true <nil>
	// <nil>
	// <nil>
}

// inserts is the table for the INSERT, whose arguments have another order.
type inserts struct{ row *account }

func (i inserts) ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error) {
	return i.row.ExecContext(ctx, query, int64(0), args[1])
}
