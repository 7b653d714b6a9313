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

// FencedExec runs one INSERT or UPDATE that is conditional on the fencing token, and returns ErrLost when it changed no
// row: somebody with a greater token was there before. The query does the comparing, in one statement:
//
//	UPDATE account SET balance = $1, fence = $2 WHERE id = $3 AND fence <= $2
//
// It protects where a lock alone can't: after a failover, a long pause, or a step of the server's clock.
// Db is a *sql.DB, *sql.Tx or *sql.Conn. A query that finds no row for another reason gives ErrLost as well.
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
		return fmt.Errorf("%w: no row with a token up to ours: another holder has written since, or the row does not exist", ErrLost)
	}
	return nil
}

// FencedSet stores a value under a key of its own key space unless a holder with a greater token did so before, which
// is ErrLost: one round trip. The key, and with it the memory of the token, ends after ttl.
func (l *Locker) FencedSet(ctx context.Context, held *Lock, key string, value []byte, ttl time.Duration) error {
	if ttl < time.Millisecond {
		return fmt.Errorf("lock: fenced set: ttl is %v: it must be at least 1 ms", ttl)
	}
	full, err := l.fencedKey(key)
	if err != nil {
		return err
	}
	msg, err := l.core.Eval(ctx, fenceScript, []string{full}, []string{
		strconv.FormatInt(held.Token(), 10), string(value), strconv.FormatInt(ttl.Milliseconds(), 10),
	})
	if err != nil {
		return fmt.Errorf("lock: fenced set: %w", err)
	}
	if n, err := msg.AsInt64(); err != nil {
		return fmt.Errorf("lock: fenced set: %w: %w", redstart.ErrCorrupt, err)
	} else if n != 1 {
		return fmt.Errorf("%w: a holder with a greater token has written %s", ErrLost, quoted(key))
	}
	return nil
}

// FencedGet returns what FencedSet stored, and whether there is anything: one round trip.
func (l *Locker) FencedGet(ctx context.Context, key string) (value []byte, ok bool, err error) {
	full, err := l.fencedKey(key)
	if err != nil {
		return nil, false, err
	}
	msg, err := l.core.Do(ctx, core.Read("HGET", full, "v"))
	if err != nil {
		return nil, false, fmt.Errorf("lock: fenced get: %w", err)
	}
	if msg.IsNil() {
		return nil, false, nil
	}
	value, err = msg.AsBytes()
	if err != nil {
		return nil, false, fmt.Errorf("lock: fenced get: %w: %w", redstart.ErrCorrupt, err)
	}
	return value, true, nil
}

func (l *Locker) fencedKey(key string) (string, error) {
	if len(key) > MaxName {
		return "", fmt.Errorf("lock: the key %s is %d bytes long: at most %d", quoted(key), len(key), MaxName)
	}
	space, err := l.core.Keys("fenced", "")
	if err != nil {
		return "", fmt.Errorf("lock: %w", err)
	}
	return space.Key(key), nil
}
