package lock

import (
	"context"
	"database/sql"
	"fmt"
	"strconv"
	"time"

	"github.com/redstart-go/redstart"
	"github.com/redstart-go/redstart/internal/core"
)

// FencedExec runs one INSERT or UPDATE that compares the fencing token in the same statement:
//
//	UPDATE account SET balance = $1, fence = $2 WHERE id = $3 AND fence <= $2
//
// If the statement changes no row, FencedExec returns [ErrLost]: a holder with a greater token has
// written before, or the row does not exist. It protects data where a lock alone cannot: after a
// failover, a long pause, or a step of the server's clock. The db is a *sql.DB, *sql.Tx or
// *sql.Conn.
func FencedExec(ctx context.Context, db interface {
	ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error)
}, query string, args ...any) error {
	result, err := db.ExecContext(ctx, query, args...)
	if err != nil {
		return fmt.Errorf("lock: fenced exec: %w", err)
	}

	n, err := result.RowsAffected()
	if err != nil {
		return fmt.Errorf("lock: fenced exec: %w", err)
	}

	if n == 0 {
		return fmt.Errorf("%w: fenced exec: the statement changed no row: "+
			"a holder with a greater token has written it, or it does not exist", ErrLost)
	}

	return nil
}

// FencedSet stores a value under a key for ttl, at least 1 ms. If a holder with a greater token
// stored a value before, it returns [ErrLost] and stores nothing. It takes one round trip. The keys
// of FencedSet are separate from the names of locks. The server remembers the token for ttl too.
func (l *Locker) FencedSet(ctx context.Context, held *Lock, key string, value []byte, ttl time.Duration) error {
	if ttl < time.Millisecond {
		return fmt.Errorf("lock: fenced set %s: ttl is %v: it must be at least 1 ms", quoted(key), ttl)
	}

	full, err := l.fencedKey(key)
	if err != nil {
		return err
	}

	msg, err := l.core.Eval(ctx, fenceScript, []string{full}, []string{
		strconv.FormatInt(held.Token(), 10), string(value), strconv.FormatInt(ttl.Milliseconds(), 10),
	})
	if err != nil {
		return fmt.Errorf("lock: fenced set %s: %w", quoted(key), err)
	}

	if n, err := msg.AsInt64(); err != nil {
		return fmt.Errorf("lock: fenced set %s: %w: %w", quoted(key), redstart.ErrCorrupt, err)
	} else if n != 1 {
		return fmt.Errorf("%w: fenced set %s: a holder with a greater token has written it", ErrLost, quoted(key))
	}

	return nil
}

// FencedGet returns the value that [Locker.FencedSet] stored, and whether there is one. It takes
// one round trip.
func (l *Locker) FencedGet(ctx context.Context, key string) (value []byte, ok bool, err error) {
	full, err := l.fencedKey(key)
	if err != nil {
		return nil, false, err
	}

	msg, err := l.core.Do(ctx, core.Read("HGET", full, "v"))
	if err != nil {
		return nil, false, fmt.Errorf("lock: fenced get %s: %w", quoted(key), err)
	}

	if msg.IsNil() {
		return nil, false, nil
	}

	value, err = msg.AsBytes()
	if err != nil {
		return nil, false, fmt.Errorf("lock: fenced get %s: %w: %w", quoted(key), redstart.ErrCorrupt, err)
	}

	return value, true, nil
}

func (l *Locker) fencedKey(key string) (string, error) {
	if len(key) > MaxName {
		return "", tooLong("fenced key", key)
	}
	space, err := l.core.Keys("fenced", "")
	if err != nil {
		return "", fmt.Errorf("lock: %w", err)
	}
	return space.Key(key), nil
}
