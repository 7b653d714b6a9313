package outboxtest

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redstart-go/redstart/events"
	"github.com/redstart-go/redstart/internal/rig"
	"github.com/redstart-go/redstart/internal/rig/rigclient"
)

// Rows of transactions and of plain statements are published once and in order per channel, while
// three relays run. Rows that are rolled back are not published.
func TestOutboxPublishesWhatIsCommitted(t *testing.T) {
	t.Parallel()
	databases(t, func(t *testing.T, newDB func(testing.TB) *database) {
		db, bus := newDB(t), openBus(t, events.DurableOptions{})
		got, sub := subscribe(t, bus, "g")
		start(t, sub.Run)
		for range 3 {
			start(t, newOutbox(t, db, bus, events.OutboxOptions{Groups: []string{"g"}}).Run)
		}
		const rounds, channels = 60, 3
		for i := range rounds {
			tx, err := db.BeginTx(t.Context(), nil)
			must(t, err)
			for c := range channels {
				must(t, notes.AddToOutbox(t.Context(), tx, db.table, fmt.Sprint("c", c), i))
			}
			must(t, tx.Commit())
			tx, err = db.BeginTx(t.Context(), nil)
			must(t, err)
			must(t, notes.AddToOutbox(t.Context(), tx, db.table, "c0", -1))
			must(t, tx.Rollback())
		}
		rig.Eventually(t, 30*time.Second, "all events", func() bool { return got.total() == rounds*channels && db.left(t) == 0 })
		for c := range channels {
			all := got.of(fmt.Sprint("c", c))
			if len(all) != rounds || !slices.IsSorted(all) || all[0] != 0 {
				t.Errorf("channel %d: %v", c, all)
			}
		}
	})
}

// A database reuses the numbers of deleted rows, or is created again. Each row is still a separate
// event.
func TestOutboxIDsDoNotRepeatWhenNumbersDo(t *testing.T) {
	t.Parallel()
	bus := openBus(t, events.DurableOptions{})
	got, sub := subscribe(t, bus, "g")
	start(t, sub.Run)
	ready(t, sub)
	db := sqlite(t)
	outbox := newOutbox(t, db, bus, events.OutboxOptions{})
	for i := range 5 {
		db.do(t, "DELETE FROM sqlite_sequence") // as without AUTOINCREMENT: the next row has number 1
		db.insert(t, "a", fmt.Sprint(i))
		if n, err := outbox.Relay(t.Context()); n != 1 || err != nil {
			t.Fatalf("%d, %v", n, err)
		}
	}
	again := sqlite(t) // the database is created again
	again.insert(t, "a", "5")
	if n, err := newOutbox(t, again, bus, events.OutboxOptions{}).Relay(t.Context()); n != 1 || err != nil {
		t.Fatalf("%d, %v", n, err)
	}
	rig.Eventually(t, 20*time.Second, "six events", func() bool { return slices.Equal(got.of("a"), []int{0, 1, 2, 3, 4, 5}) })
	if d := bus.Stats().Duplicates; d != 0 {
		t.Errorf("%d rows were dropped as duplicates", d)
	}
}

// Two databases on one bus have separate leases, and their rows have separate ids.
func TestOutboxOfTwoDatabasesOnOneBus(t *testing.T) {
	t.Parallel()
	databases(t, func(t *testing.T, newDB func(testing.TB) *database) {
		bus := openBus(t, events.DurableOptions{})
		got, sub := subscribe(t, bus, "g")
		start(t, sub.Run)
		for i := range 2 {
			db := newDB(t)
			for n := range 20 {
				db.insert(t, "a", fmt.Sprint(100*i+n))
			}
			start(t, newOutbox(t, db, bus, events.OutboxOptions{}).Run)
		}
		rig.Eventually(t, 30*time.Second, "all events", func() bool { return got.total() == 40 })
	})
}

// Rows that the bus refuses are set aside with their cause after MaxAttempts, and reported. Other
// channels are not blocked, and later rows of the same channel are published. A row that is
// repaired and redriven is published.
func TestOutboxSetsRefusedRowsAside(t *testing.T) {
	t.Parallel()
	databases(t, func(t *testing.T, newDB func(testing.TB) *database) {
		db, bus := newDB(t), openBus(t, events.DurableOptions{MaxBytes: 10_000})
		got, sub := subscribe(t, bus, "g")
		start(t, sub.Run)
		ready(t, sub)
		db.insert(t, "bad", "no JSON")
		db.insert(t, "bad", "1")
		db.insert(t, "", "2")
		db.insert(t, "large", `"`+strings.Repeat("x", 20_000)+`"`)
		must(t, notes.Publish(t.Context(), bus, "twice", 3, events.ID("given")))
		db.do(t, "INSERT INTO outbox (event_id, channel, type, data) VALUES ('given', 'twice', 'note', '4')")
		for i := range 50 {
			db.insert(t, "good", fmt.Sprint(i))
		}
		var mu sync.Mutex
		causes := map[string][]string{}
		outbox := newOutbox(t, db, bus, events.OutboxOptions{MaxAttempts: 2,
			OnError: func(_ context.Context, r events.OutboxRow, err error) {
				mu.Lock()
				causes[r.Channel] = append(causes[r.Channel], fmt.Sprint(r.Attempts, r.SetAside))
				mu.Unlock()
				if r.Channel == "" {
					panic("OnError")
				}
			}})
		if n, err := outbox.Relay(t.Context()); err != nil || n != 50 {
			t.Fatalf("the first pass: %d, %v; valid rows must not wait for refused rows", n, err)
		}
		stop := start(t, outbox.Run)
		rig.Eventually(t, 30*time.Second, "the rest", func() bool { return got.total() == 52 && db.left(t) == 4 })
		rows, err := outbox.ListSetAside(t.Context(), 0, 10)
		must(t, err)
		wants := []struct{ channel, cause string }{{"bad", "JSON"}, {"", "channel is empty"},
			{"large", "limit is 10000"}, {"twice", "other content"}}
		for i, r := range rows {
			if i >= len(wants) || r.Channel != wants[i].channel ||
				!strings.Contains(r.Cause, wants[i].cause) || !r.SetAside || r.Attempts != 2 ||
				r.EventID == "" || time.Since(r.Created).Abs() > time.Hour {
				t.Errorf("row %d is %+v", i, r)
			}
		}
		if c, err := outbox.Count(t.Context()); err != nil || c.SetAside != 4 || c.Waiting != 0 ||
			c.Oldest != 0 || len(rows) != 4 {
			t.Errorf("%+v, %v, %d rows", c, err, len(rows))
		}
		for _, w := range wants { // a row is reported after it was set aside
			rig.Eventually(t, 30*time.Second, fmt.Sprintf("both reports of %q", w.channel), func() bool {
				mu.Lock()
				defer mu.Unlock()
				return slices.Equal(causes[w.channel], []string{"1 false", "2 true"})
			})
		}
		db.do(t, "UPDATE outbox SET data = '7' WHERE channel = 'large'")
		if n, err := outbox.Redrive(t.Context(), rows[2].ID, rows[0].ID, 987654); n != 2 || err != nil {
			t.Errorf("redriven %d, %v", n, err)
		}
		rig.Eventually(t, 30*time.Second, "the repaired row", func() bool { return slices.Equal(got.of("large"), []int{7}) })
		rig.Eventually(t, 30*time.Second, "all attempts of the row that is not repaired", func() bool {
			mu.Lock()
			defer mu.Unlock()
			return slices.Equal(causes["bad"], []string{"1 false", "2 true", "1 false", "2 true"})
		})
		stop()
		db.insert(t, "good", "50")
		var waiting int64
		must(t, db.QueryRowContext(t.Context(), "SELECT id FROM outbox WHERE channel = 'good'").Scan(&waiting))
		if n, err := outbox.Drop(t.Context(), waiting); n != 0 || err != nil || db.left(t) != 4 {
			t.Errorf("dropped %d rows that wait, %v, %d are left", n, err, db.left(t))
		}
		db.do(t, "DELETE FROM outbox WHERE channel = 'good'")
		if n, err := outbox.Drop(t.Context(), rows[0].ID, rows[1].ID, rows[3].ID); n != 3 || err != nil || db.left(t) != 0 {
			t.Errorf("dropped %d, %v, %d are left", n, err, db.left(t))
		}
	})
}

// In a first deployment, a row waits before any consumer has run. The row stays in the table until
// the named groups, or any group, are registered.
func TestOutboxWaitsForItsGroups(t *testing.T) {
	t.Parallel()
	for _, groups := range [][]string{nil, {"g", "h"}} {
		t.Run(fmt.Sprint(len(groups)), func(t *testing.T) {
			t.Parallel()
			db, bus := sqlite(t), openBus(t, events.DurableOptions{})
			db.insert(t, "a", "1")
			opts := events.OutboxOptions{Groups: groups, Poll: 10 * time.Millisecond}
			start(t, newOutbox(t, db, bus, opts).Run)

			// The control is an outbox that misses no group. While it relays ten rows, one after
			// the other, the outbox under test has looked at its table too.
			waits := func(control events.OutboxOptions, missing string) {
				t.Helper()
				control.Poll = opts.Poll
				other := sqlite(t)
				start(t, newOutbox(t, other, bus, control).Run)
				for i := range 10 {
					other.insert(t, "control", fmt.Sprint(i))
					rig.Eventually(t, 30*time.Second, "the control", func() bool { return other.left(t) == 0 })
				}
				if db.left(t) != 2 {
					t.Errorf("rows were published before %s was registered", missing)
				}
			}

			got, sub := subscribe(t, bus, "g")
			db.insert(t, "a", "2")
			if groups != nil {
				start(t, sub.Run)
				ready(t, sub)
				waits(events.OutboxOptions{Groups: groups[:1]}, "the second group")
				other, second := subscribe(t, bus, "h")
				start(t, second.Run)
				rig.Eventually(t, 30*time.Second, "both events in the second group", func() bool {
					return slices.Equal(other.of("a"), []int{1, 2})
				})
			} else {
				waits(events.OutboxOptions{WithoutGroups: true}, "any group")
				start(t, sub.Run)
			}
			rig.Eventually(t, 30*time.Second, "both events", func() bool { return slices.Equal(got.of("a"), []int{1, 2}) })
		})
	}
}

// While the server does not answer or is full, rows stay in the table. They are published
// afterwards.
func TestOutboxOutlastsTheServer(t *testing.T) {
	t.Parallel()
	server := rig.Standalone(t)
	db, bus := sqlite(t), busAt(t, server.URL(), "app", events.DurableOptions{})
	got, sub := subscribe(t, bus, "g")
	start(t, sub.Run)
	ready(t, sub)
	outbox := newOutbox(t, db, bus, events.OutboxOptions{MaxAttempts: 1})
	server.CLI("CONFIG", "SET", "maxmemory", "1")
	for i := range 300 {
		db.insert(t, "a", fmt.Sprint(i))
	}
	if n, err := outbox.Relay(t.Context()); n != 0 || err == nil {
		t.Errorf("on a full server: %d, %v", n, err)
	}
	server.CLI("CONFIG", "SET", "maxmemory", "0")
	server.Stop()
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if n, err := outbox.Relay(ctx); n != 0 || err == nil {
		t.Errorf("on a server that is stopped: %d, %v", n, err)
	}
	server.Continue()
	start(t, outbox.Run)
	rig.Eventually(t, 30*time.Second, "all events", func() bool { return got.total() == 300 && db.left(t) == 0 })
	if all := got.of("a"); !slices.IsSorted(all) || len(slices.Compact(all)) != 300 {
		t.Errorf("%v", all)
	}
}

// Rows that can't be deleted are not published again, even after the bus has forgotten their ids.
func TestOutboxDeletesBeforeItPublishesMore(t *testing.T) {
	t.Parallel()
	db, bus := sqlite(t), openBus(t, events.DurableOptions{Dedup: time.Millisecond})
	got, sub := subscribe(t, bus, "g")
	start(t, sub.Run)
	ready(t, sub)
	outbox := newOutbox(t, db, bus, events.OutboxOptions{})
	db.do(t, "CREATE TRIGGER keep BEFORE DELETE ON outbox BEGIN SELECT RAISE(ABORT, 'not now'); END")
	db.insert(t, "a", "1")
	for range 5 {
		if _, err := outbox.Relay(t.Context()); err == nil {
			t.Error("no error although the row can't be deleted")
		}
	}
	db.do(t, "DROP TRIGGER keep")
	db.insert(t, "a", "2")
	if n, err := outbox.Relay(t.Context()); n != 1 || err != nil {
		t.Errorf("%d, %v", n, err)
	}
	rig.Eventually(t, 20*time.Second, "both, once", func() bool { return slices.Equal(got.of("a"), []int{1, 2}) })
}

// A transaction can commit a row with a lower number than the rows that are already published. The
// relay deletes the published rows, and publishes the late one.
//
//	transaction 1          transaction 2          relay
//	insert row 1
//	                       insert row 2, commit
//	                                              publish row 2, fail to delete it
//	commit
//	                                              delete row 2, publish row 1
func TestOutboxPublishesARowThatIsCommittedLate(t *testing.T) {
	t.Parallel()
	for name, newDB := range map[string]func(testing.TB) *database{"postgres": postgres, "pgx": pgxDatabase, "mariadb": mariaDB} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			db, bus := newDB(t), openBus(t, events.DurableOptions{})
			got, sub := subscribe(t, bus, "g")
			start(t, sub.Run)
			ready(t, sub)
			failing := failingDeletes(t, db)
			outbox := newOutbox(t, db, bus, events.OutboxOptions{})

			tx, err := db.BeginTx(t.Context(), nil)
			must(t, err)
			must(t, notes.AddToOutbox(t.Context(), tx, db.table, "a", 1))
			db.insert(t, "a", "2")
			failing(true)
			if _, err := outbox.Relay(t.Context()); err == nil {
				t.Error("Relay returned nil although the row can't be deleted")
			}
			failing(false)
			must(t, tx.Commit())
			if n, err := outbox.Relay(t.Context()); n != 1 || err != nil {
				t.Errorf("Relay handled %d rows, %v, want the late row", n, err)
			}
			rig.Eventually(t, 30*time.Second, "both events", func() bool { return slices.Equal(got.of("a"), []int{2, 1}) })
			if left := db.left(t); left != 0 {
				t.Errorf("%d rows are left", left)
			}
		})
	}
}

// failingDeletes returns a switch: while it is on, no row of the outbox can be deleted.
func failingDeletes(t *testing.T, db *database) (set func(on bool)) {
	t.Helper()
	db.do(t, "CREATE TABLE held (id INTEGER)")
	if db.dialect == events.MySQL {
		db.do(t, `CREATE TRIGGER keep BEFORE DELETE ON outbox FOR EACH ROW
			IF EXISTS (SELECT 1 FROM held) THEN SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = 'held'; END IF`)
	} else {
		db.do(t, `CREATE FUNCTION keep() RETURNS trigger LANGUAGE plpgsql AS $$
			BEGIN IF EXISTS (SELECT 1 FROM held) THEN RAISE 'held'; END IF; RETURN OLD; END $$`)
		db.do(t, "CREATE TRIGGER keep BEFORE DELETE ON outbox FOR EACH ROW EXECUTE FUNCTION keep()")
	}
	return func(on bool) {
		if on {
			db.do(t, "INSERT INTO held (id) VALUES (1)")
		} else {
			db.do(t, "DELETE FROM held")
		}
	}
}

// One relay works at a time. When it ends, the next one takes over before the lease expires.
func TestOutboxLease(t *testing.T) {
	t.Parallel()
	databases(t, func(t *testing.T, newDB func(testing.TB) *database) {
		db, bus := newDB(t), openBus(t, events.DurableOptions{})
		holder := func() (owner string) {
			must(t, db.QueryRowContext(t.Context(), "SELECT owner FROM outbox_relay WHERE until_ms > 0").Scan(&owner))
			return owner
		}
		first := start(t, newOutbox(t, db, bus, events.OutboxOptions{WithoutGroups: true, Lease: time.Hour}).Run)
		rig.Eventually(t, 20*time.Second, "a holder", func() bool {
			var owner string
			err := db.QueryRowContext(t.Context(), "SELECT owner FROM outbox_relay WHERE until_ms > 0").Scan(&owner)
			return err == nil && owner != "" || !errors.Is(err, sql.ErrNoRows) && err != nil
		})
		one := holder()
		start(t, newOutbox(t, db, bus, events.OutboxOptions{WithoutGroups: true, Lease: time.Hour}).Run)
		db.insert(t, "a", "1")
		rig.Eventually(t, 20*time.Second, "the row is published", func() bool { return db.left(t) == 0 })
		if holder() != one {
			t.Error("a second relay took the lease of an active relay")
		}
		first()
		db.insert(t, "a", "2")
		rig.Eventually(t, 20*time.Second, "the second has taken over", func() bool { return db.left(t) == 0 && holder() != one })
	})
}

// PostgreSQL notifies the relay, which publishes the row long before its next poll. The row is
// added by a pgx transaction.
func TestOutboxIsNotified(t *testing.T) {
	t.Parallel()
	db, bus := pgxDatabase(t), openBus(t, events.DurableOptions{})
	got, sub := subscribe(t, bus, "g")
	start(t, sub.Run)
	ready(t, sub)
	start(t, newOutbox(t, db, bus, events.OutboxOptions{Poll: time.Hour, Lease: time.Hour}).Run)
	for i := range 10 {
		tx, err := db.pool.Begin(t.Context())
		must(t, err)
		must(t, notes.AddToOutbox(t.Context(), events.PGXTx(tx), db.table, "a", i))
		must(t, tx.Commit(t.Context()))
		rig.Eventually(t, 20*time.Second, "the event", func() bool { return len(got.of("a")) == i+1 })
	}
}

// OnError may call the outbox, because it runs without the lock of the outbox.
func TestOutboxOnErrorMayRelay(t *testing.T) {
	t.Parallel()
	db, bus := sqlite(t), openBus(t, events.DurableOptions{})
	var outbox *events.Outbox
	relayed := make(chan error, 1)
	outbox = newOutbox(t, db, bus, events.OutboxOptions{MaxAttempts: 1,
		OnError: func(ctx context.Context, r events.OutboxRow, _ error) {
			_, err := outbox.Drop(ctx, r.ID)
			if err == nil {
				_, err = outbox.Relay(ctx)
			}
			relayed <- err
		}})
	db.insert(t, "a", "no JSON")
	go func() {
		if n, err := outbox.Relay(context.Background()); n != 1 || err != nil {
			t.Errorf("%d rows, %v", n, err)
		}
	}()
	select {
	case err := <-relayed:
		must(t, err)
	case <-time.After(20 * time.Second):
		t.Fatal("OnError did not return from Relay")
	}
}

// The text of each database stays the same, with any default character set.
func TestOutboxKeepsText(t *testing.T) {
	t.Parallel()
	const text = "grüße, 世界, 🙂, \\ ' \" $1 ? %s"
	topic := events.NewTopic[string]("text")
	databases(t, func(t *testing.T, newDB func(testing.TB) *database) {
		db, bus := newDB(t), openBus(t, events.DurableOptions{})
		sub, err := bus.Subscriber("g", events.SubscriberOptions{})
		must(t, err)
		got := make(chan events.Event[string], 1)
		must(t, topic.Handle(sub, "*", func(_ context.Context, e events.Event[string]) error { got <- e; return nil }))
		start(t, sub.Run)
		tx, err := db.BeginTx(t.Context(), nil)
		must(t, err)
		must(t, topic.AddToOutbox(t.Context(), tx, db.table, text, text, events.ID(text)))
		must(t, tx.Commit())
		start(t, newOutbox(t, db, bus, events.OutboxOptions{}).Run)
		select {
		case e := <-got:
			if e.Data != text || e.Channel != text || e.ID != text {
				t.Errorf("%+v", e)
			}
		case <-time.After(30 * time.Second):
			t.Fatal("the event did not come within 30 s")
		}
	})
}

// Close of the client ends an outbox, and Run returns no error.
func TestOutboxEndsWithItsClient(t *testing.T) {
	t.Parallel()
	client := rigclient.Open(t, rig.Shared(t).URL(), rig.Prefix(t))
	bus, err := events.NewDurable(client, "bus", events.DurableOptions{Partitions: 1})
	must(t, err)
	db := sqlite(t)
	outbox := newOutbox(t, db, bus, events.OutboxOptions{WithoutGroups: true, Poll: time.Hour, Lease: 3 * time.Hour})
	ended := make(chan error, 1)
	go func() { ended <- outbox.Run(context.Background()) }()
	db.insert(t, "a", "1")
	must(t, client.Close())
	select {
	case err := <-ended:
		must(t, err)
	case <-time.After(30 * time.Second):
		t.Fatal("Run did not end within 30 s after Close of the client")
	}
}

// Close of the bus ends an outbox.
func TestOutboxEndsWithItsBus(t *testing.T) {
	t.Parallel()
	db, bus := sqlite(t), openBus(t, events.DurableOptions{})
	outbox := newOutbox(t, db, bus, events.OutboxOptions{WithoutGroups: true})
	ended := make(chan error, 1)
	go func() { ended <- outbox.Run(context.Background()) }()
	db.insert(t, "a", "1")
	rig.Eventually(t, 30*time.Second, "the row is published", func() bool { return db.left(t) == 0 })
	must(t, bus.Close(t.Context()))
	select {
	case err := <-ended:
		must(t, err)
	default:
		t.Fatal("Close returned before Run")
	}
	db.insert(t, "a", "2")
	if _, err := outbox.Relay(t.Context()); !errors.Is(err, events.ErrClosed) {
		t.Errorf("Relay: %v, want ErrClosed", err)
	}
	if err := outbox.Run(t.Context()); !errors.Is(err, events.ErrClosed) {
		t.Errorf("Run: %v, want ErrClosed", err)
	}
}
