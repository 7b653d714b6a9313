package lock_test

import (
	"context"
	"database/sql"
	"errors"
	"testing"

	"github.com/redstart-go/redstart/lock"
)

// row is a database with one row and a fence, for one statement.
type row struct {
	fence, value int64
	err          error
}

type affected int64

func (n affected) LastInsertId() (int64, error) { return 0, errors.New("none") }
func (n affected) RowsAffected() (int64, error) { return int64(n), nil }

func (r *row) ExecContext(_ context.Context, _ string, args ...any) (sql.Result, error) {
	if r.err != nil {
		return nil, r.err
	}
	value, fence := args[0].(int64), args[1].(int64)
	if r.fence > fence {
		return affected(0), nil
	}
	r.value, r.fence = value, fence
	return affected(1), nil
}

func TestFencedExec(t *testing.T) {
	t.Parallel()
	r := &row{}
	const query = "UPDATE t SET value = $1, fence = $2 WHERE fence <= $2"
	if err := lock.FencedExec(t.Context(), r, query, int64(7), int64(2)); err != nil {
		t.Fatal(err)
	}
	if err := lock.FencedExec(t.Context(), r, query, int64(8), int64(1)); !errors.Is(err, lock.ErrLost) || r.value != 7 {
		t.Fatalf("a late write: %v, value %d", err, r.value)
	}
	r.err = sql.ErrConnDone
	if err := lock.FencedExec(t.Context(), r, query, int64(9), int64(3)); !errors.Is(err, sql.ErrConnDone) ||
		errors.Is(err, lock.ErrLost) {
		t.Fatalf("a failed statement: %v", err)
	}
}
