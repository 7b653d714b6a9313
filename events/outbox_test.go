package events_test

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redstart-go/redstart/events"
	"github.com/redstart-go/redstart/internal/rig"
)

// table is a database of one table that a test looks into; it knows the outbox' two statements.
type table struct {
	mu       sync.Mutex
	rows     map[int64][3]string
	failures int // of the next deletes
}

func (t *table) insert(id int64, channel, data string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.rows[id] = [3]string{channel, "note", data}
}

func (t *table) left() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.rows)
}

func (t *table) Connect(context.Context) (driver.Conn, error) { return conn{t}, nil }
func (t *table) Driver() driver.Driver                        { return nil }

type conn struct{ t *table }

func (c conn) Prepare(string) (driver.Stmt, error) { return nil, errors.New("not used") }
func (c conn) Close() error                        { return nil }
func (c conn) Begin() (driver.Tx, error)           { return nil, errors.New("not used") }

func (c conn) QueryContext(_ context.Context, query string, _ []driver.NamedValue) (driver.Rows, error) {
	var limit int
	if _, err := fmt.Sscanf(query, "SELECT id, channel, type, data FROM app.outbox ORDER BY id LIMIT %d", &limit); err != nil {
		return nil, err
	}
	c.t.mu.Lock()
	defer c.t.mu.Unlock()
	r := &tableRows{}
	for id, row := range c.t.rows {
		r.rows = append(r.rows, []driver.Value{id, row[0], row[1], row[2]})
	}
	slices.SortFunc(r.rows, func(a, b []driver.Value) int { return int(a[0].(int64) - b[0].(int64)) })
	r.rows = r.rows[:min(limit, len(r.rows))]
	return r, nil
}

func (c conn) ExecContext(_ context.Context, query string, args []driver.NamedValue) (driver.Result, error) {
	if !strings.HasPrefix(query, "DELETE FROM app.outbox WHERE id IN ($1") {
		return nil, errors.New(query)
	}
	c.t.mu.Lock()
	defer c.t.mu.Unlock()
	if c.t.failures > 0 {
		c.t.failures--
		return nil, errors.New("the database went away")
	}
	for _, a := range args {
		delete(c.t.rows, a.Value.(int64))
	}
	return driver.RowsAffected(len(args)), nil
}

type tableRows struct{ rows [][]driver.Value }

func (r *tableRows) Columns() []string { return []string{"id", "channel", "type", "data"} }
func (r *tableRows) Close() error      { return nil }
func (r *tableRows) Next(to []driver.Value) error {
	if len(r.rows) == 0 {
		return io.EOF
	}
	copy(to, r.rows[0])
	r.rows = r.rows[1:]
	return nil
}

// Rows are published in order, once, although deleting them fails and two relays run; rows committed late are not lost.
func TestOutbox(t *testing.T) {
	t.Parallel()
	server := rig.Standalone(t)
	bus := durable(t, openWithin(t, 2*time.Second, server.URL(), "app"), events.DurableOptions{})
	sub, got := counting(t, bus, nil)
	run(t, sub)
	data := &table{rows: map[int64][3]string{}, failures: 3}
	db := sql.OpenDB(data)
	defer db.Close()
	for i := range 250 {
		if i != 100 { // its transaction is not committed yet
			data.insert(int64(i), fmt.Sprint("c", i%2), fmt.Sprintf(`{"n":%d}`, i/2))
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	for range 2 {
		outbox, err := events.NewOutbox(db, bus, events.OutboxOptions{Table: "app.outbox", Poll: time.Millisecond, Placeholder: func(n int) string { return fmt.Sprint("$", n) }})
		must(t, err)
		wg.Go(func() {
			if err := outbox.Run(ctx); err != nil {
				t.Error(err)
			}
		})
	}
	rig.Eventually(t, 20*time.Second, "all rows", func() bool { return data.left() == 0 && got.total() == 249 })
	data.insert(100, "c0", `{"n":50}`)
	rig.Eventually(t, 20*time.Second, "the late row", func() bool { return data.left() == 0 && got.total() == 250 })
	got.inOrder(t, "c1", 125)
	all := got.of("c0")
	if last := all[124]; last != 50 || !slices.IsSorted(all[:124]) {
		t.Errorf("c0: %v", all)
	}
	server.Stop() // an outage is waited out
	data.insert(1000, "c9", `{"n":0}`)
	rig.Eventually(t, 20*time.Second, "an error", func() bool { return bus.Stats().PublishErrors > 0 })
	server.Continue()
	got.inOrder(t, "c9", 1)
	cancel()
	wg.Wait()
	if _, err := events.NewOutbox(db, bus, events.OutboxOptions{Table: "x; DROP TABLE y"}); err == nil {
		t.Error("a table name with a statement in it was accepted")
	}
}

func TestRequest(t *testing.T) {
	t.Parallel()
	rig.Engines(t, func(t *testing.T, e rig.Engine) {
		bus := live(t, e.URL, e.Namespace, events.LiveOptions{})
		sub := subscriber(t, bus, "s", events.SubscriberOptions{})
		double := events.NewTopic[int]("double")
		must(t, events.Answer(sub, bus, double, "math", func(_ context.Context, e events.Event[int]) (string, error) {
			if e.Data < 0 {
				return "", errors.New("too small")
			}
			return fmt.Sprint(2 * e.Data), nil
		}))
		run(t, sub)
		for n := range 5 {
			if got, err := events.Request[int, string](t.Context(), bus, double, "math", n); err != nil || got != fmt.Sprint(2*n) {
				t.Fatalf("%q, %v", got, err)
			}
		}
		if _, err := events.Request[int, string](t.Context(), bus, double, "math", -1); !errors.Is(err, events.ErrRemote) || !strings.Contains(err.Error(), "too small") {
			t.Errorf("%v", err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		defer cancel()
		if _, err := events.Request[int, string](ctx, bus, double, "nobody", 1); !errors.Is(err, events.ErrNotFound) || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%v", err)
		}
	})
}
