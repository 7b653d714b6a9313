package outboxtest

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/redstart-go/redstart/events"
	"github.com/redstart-go/redstart/internal/rig"
)

// Tables with a schema, a reserved word, upper case and the longest name: each outbox is created,
// and its rows are published only through it. A row that is set aside is listed, redriven and
// dropped there. On pgx a row arrives by notification, because the relay polls once per hour.
func TestOutboxTableNames(t *testing.T) {
	t.Parallel()
	databases(t, func(t *testing.T, newDB func(testing.TB) *database) {
		db := newDB(t)
		names := []string{"order", "Outbox_2", strings.Repeat("x", 54)}
		switch db.dialect {
		case events.SQLite:
			db.SetMaxOpenConns(1) // an attached database belongs to one connection
			db.do(t, "ATTACH DATABASE ':memory:' AS \"group\"")
			names = append(names, "main.Events", "group.select")
		case events.PostgreSQL:
			db.do(t, "CREATE SCHEMA \"group\"")
			names = append(names, "public.Events", "group.select")
		case events.MySQL:
			var own string
			must(t, db.QueryRowContext(t.Context(), "SELECT DATABASE()").Scan(&own))
			names = append(names, own+".Events", own+".select")
		}
		for _, name := range names {
			db.create(t, name)
		}
		for i, name := range names { // after all of them exist, to find mix-ups
			roundTrip(t, db, name, i)
		}
		if n := db.left(t); n != 0 {
			t.Errorf("%d rows in the outbox of the default name", n)
		}
	})
}

func roundTrip(t *testing.T, db *database, table string, n int) {
	bus := openBus(t, events.DurableOptions{})
	got, sub := subscribe(t, bus, "g")
	stop := start(t, sub.Run)
	ready(t, sub)
	opts := events.OutboxOptions{Table: table, MaxAttempts: 1}
	if db.pool != nil {
		opts.Poll, opts.Lease = time.Hour, time.Hour
	}
	outbox := newOutbox(t, db, bus, opts)
	end := start(t, outbox.Run)
	at := events.OutboxTable{Dialect: db.dialect, Name: table}
	must(t, notes.AddToOutbox(t.Context(), db, at, "a", n)) // the relay polls once at its start, after LISTEN
	rig.Eventually(t, 20*time.Second, "the event of "+table, func() bool { return slices.Equal(got.of("a"), []int{n}) })
	must(t, notes.Publish(t.Context(), bus, "a", n+1, events.ID("taken")))
	must(t, notes.AddToOutbox(t.Context(), db, at, "a", n, events.ID("taken")))
	var rows []events.OutboxRow
	rig.Eventually(t, 20*time.Second, "the row that is set aside in "+table, func() bool {
		var err error
		rows, err = outbox.ListSetAside(t.Context(), 0, 10)
		must(t, err)
		return len(rows) == 1
	})
	end()
	if c, err := outbox.Count(t.Context()); err != nil || c.SetAside != 1 || c.Waiting != 0 {
		t.Errorf("%s: %+v, %v", table, c, err)
	}
	if n, err := outbox.Redrive(t.Context(), rows[0].ID); n != 1 || err != nil {
		t.Errorf("%s: redriven %d, %v", table, n, err)
	}
	if n, err := outbox.Relay(t.Context()); n != 1 || err != nil {
		t.Errorf("%s: set aside again %d, %v", table, n, err)
	}
	if n, err := outbox.Drop(t.Context(), rows[0].ID); n != 1 || err != nil {
		t.Errorf("%s: dropped %d, %v", table, n, err)
	}
	stop()
}
