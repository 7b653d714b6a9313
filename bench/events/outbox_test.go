package events_test

import (
	"context"
	"database/sql"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	_ "modernc.org/sqlite"

	"github.com/redstart-go/redstart"
	"github.com/redstart-go/redstart/events"
	"github.com/redstart-go/redstart/internal/rig"
	"github.com/redstart-go/redstart/internal/rig/rigclient"
)

func database(path string) (*sql.DB, error) {
	return sql.Open("sqlite", "file:"+path+"?_pragma=busy_timeout(60000)&_pragma=journal_mode(WAL)")
}

// relay is the process that the test kills: an outbox on a database file.
func relay() {
	fail := func(err error) {
		if err != nil {
			fmt.Println(err)
			os.Exit(3)
		}
	}
	db, err := database(os.Getenv("TEST_DATABASE"))
	fail(err)
	client, err := redstart.Open(context.Background(),
		redstart.Config{URL: os.Getenv("TEST_URL"), Namespace: os.Getenv("TEST_NAMESPACE"),
			CommandTimeout: 10 * time.Second})
	fail(err)
	bus, err := events.NewDurable(client, "bus", events.DurableOptions{Partitions: 2})
	fail(err)
	outbox, err := events.NewOutbox(events.SQL(db, events.SQLite), bus,
		events.OutboxOptions{Poll: time.Millisecond, Lease: time.Second})
	fail(err)
	fail(outbox.Run(context.Background()))
}

// A relay dies between the publication and the deletion of rows: the database refuses to delete, so
// that the published rows stay, and then the process is killed. The next relay publishes them
// again, and the bus drops them by their event ids. Each event is handled once, in the order of its
// channel.
func TestOutboxRelayIsKilledBetweenPublishAndDelete(t *testing.T) {
	t.Parallel()
	server, namespace, path := rig.Shared(t), rig.Prefix(t), filepath.Join(t.TempDir(), "shop.db")
	db, err := database(path)
	check := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	check(err)
	defer db.Close()
	ctx := t.Context()
	schema, err := events.OutboxSchema(events.SQLite, "")
	check(err)
	for _, statement := range schema {
		_, err = db.ExecContext(ctx, statement)
		check(err)
	}

	client, err := redstart.Open(ctx, redstart.Config{URL: server.URL(), Namespace: namespace, CommandTimeout: 10 * time.Second})
	check(err)
	t.Cleanup(func() { client.Close() })
	bus, err := events.NewDurable(client, "bus", events.DurableOptions{Partitions: 2})
	check(err)
	sub, err := bus.Subscriber("g", events.SubscriberOptions{})
	check(err)
	var mu sync.Mutex
	got, total := map[string][]int{}, 0
	check(events.NewTopic[int]("row").Handle(sub, "*", func(_ context.Context, e events.Event[int]) error {
		mu.Lock()
		defer mu.Unlock()
		got[e.Channel] = append(got[e.Channel], e.Data)
		total++
		return nil
	}))
	handled := func() int {
		mu.Lock()
		defer mu.Unlock()
		return total
	}
	running, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- sub.Run(running) }()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	<-sub.Ready()

	rows := func() (n int) {
		t.Helper()
		check(db.QueryRowContext(ctx, "SELECT count(*) FROM outbox").Scan(&n))
		return n
	}
	start := func() *rig.Proc {
		return rig.Spawn(t, "relay", map[string]string{"TEST_URL": server.URL(), "TEST_NAMESPACE": namespace,
			"TEST_DATABASE": path})
	}
	const rounds, each, channels = 5, 18, 3
	for round := range rounds {
		tx, err := db.BeginTx(ctx, nil)
		check(err)
		for i := range each {
			_, err := tx.ExecContext(ctx, "INSERT INTO outbox (channel, type, data) VALUES (?, 'row', ?)",
				fmt.Sprint("c", i%channels), fmt.Sprint((round*each+i)/channels))
			check(err)
		}
		check(tx.Commit())
		_, err = db.ExecContext(ctx, "CREATE TRIGGER keep BEFORE DELETE ON outbox BEGIN SELECT RAISE(ABORT, 'not now'); END")
		check(err)
		victim := start()
		want := (round + 1) * each
		if round%2 == 0 {
			want -= each / 2 // in the middle of the batch
		}
		rig.Eventually(t, 20*time.Second, "rows are published", func() bool { return handled() >= want })
		victim.Kill()
		_, err = db.ExecContext(ctx, "DROP TRIGGER keep")
		check(err)
		if n := rows(); n != (round+1)*each {
			t.Fatalf("%d rows are left after round %d: the relay has deleted some", n, round)
		}
	}
	last := start()
	rig.Eventually(t, 20*time.Second, "all rows are deleted", func() bool { return rows() == 0 })
	last.Kill()
	rig.Eventually(t, 20*time.Second, "all events", func() bool { return handled() >= rounds*each })
	mu.Lock()
	defer mu.Unlock()
	for c := range channels {
		name := fmt.Sprint("c", c)
		if len(got[name]) != rounds*each/channels {
			t.Errorf("%s: %d events, want %d", name, len(got[name]), rounds*each/channels)
		}
		for i, n := range got[name] {
			if n != i {
				t.Fatalf("%s: event %d is at position %d: %v", name, n, i, got[name])
			}
		}
	}
}

// BenchmarkOutboxRelay relays 20,000 rows of a SQLite table over a connection with a round trip of
// 2 ms. The rival reads the same batches, sends one XADD per row in one pipeline, and deletes the
// rows. It checks no ids, keeps no order after an error, and sets no row aside.
func BenchmarkOutboxRelay(b *testing.B) {
	const rows, batch = 20_000, 1000
	fill := `WITH RECURSIVE s(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM s WHERE n < 20000)
		INSERT INTO outbox (channel, type, data) SELECT 'users:' || n % 1000, 'row',
			'{"n":' || n || ',"text":"about a hundred bytes, as many events have, with some text to fill it up"}' FROM s`
	open := func(b *testing.B) *sql.DB {
		db, err := database(filepath.Join(b.TempDir(), "shop.db"))
		if err != nil {
			b.Fatal(err)
		}
		b.Cleanup(func() { db.Close() })
		schema, err := events.OutboxSchema(events.SQLite, "")
		if err != nil {
			b.Fatal(err)
		}
		for _, statement := range schema {
			if _, err := db.ExecContext(b.Context(), statement); err != nil {
				b.Fatal(err)
			}
		}
		return db
	}
	relay := func(b *testing.B, db *sql.DB, relay func() (int, error)) {
		var took time.Duration
		for range b.N {
			if _, err := db.ExecContext(b.Context(), fill); err != nil {
				b.Fatal(err)
			}
			began := time.Now()
			for left := rows; left > 0; {
				n, err := relay()
				if err != nil {
					b.Fatal(err)
				}
				left -= n
			}
			took += time.Since(began)
		}
		b.ReportMetric(float64(b.N)*rows/took.Seconds(), "rows/s")
		b.ReportMetric(float64(took.Nanoseconds())/float64(b.N)/rows, "ns/row")
	}
	delayed := func(b *testing.B) *rig.Proxy {
		proxy := rig.NewProxy(b, rig.Standalone(b).Addr())
		proxy.Delay(time.Millisecond) // in each direction
		return proxy
	}

	b.Run("redstart", func(b *testing.B) {
		db, proxy := open(b), delayed(b)
		bus, err := events.NewDurable(rigclient.Open(b, proxy.URL(), rig.Prefix(b)), "bus", events.DurableOptions{MaxLen: 10_000})
		if err != nil {
			b.Fatal(err)
		}
		outbox, err := events.NewOutbox(events.SQL(db, events.SQLite), bus, events.OutboxOptions{Batch: batch})
		if err != nil {
			b.Fatal(err)
		}
		relay(b, db, func() (int, error) { return outbox.Relay(b.Context()) })
	})
	b.Run("pipeline-of-xadd", func(b *testing.B) {
		db, proxy := open(b), delayed(b)
		client := redis.NewClient(&redis.Options{Addr: proxy.Addr()})
		b.Cleanup(func() { client.Close() })
		relay(b, db, func() (int, error) { return relayByXAdd(b.Context(), db, client, batch) })
	})
}

// relayByXAdd relays one batch.
func relayByXAdd(ctx context.Context, db *sql.DB, client *redis.Client, batch int) (n int, err error) {
	rows, err := db.QueryContext(ctx, "SELECT id, channel, data FROM outbox ORDER BY id LIMIT ?", batch)
	if err != nil {
		return 0, err
	}
	defer rows.Close()
	pipe := client.Pipeline()
	var last int64
	for ; rows.Next(); n++ {
		var channel, data string
		if err := rows.Scan(&last, &channel, &data); err != nil {
			return 0, err
		}
		pipe.XAdd(ctx, &redis.XAddArgs{Stream: "log", MaxLen: 10_000, Approx: true, Values: []any{"c", channel, "e", data}})
	}
	if err := rows.Err(); err != nil {
		return 0, err
	}
	if _, err := pipe.Exec(ctx); err != nil {
		return 0, err
	}
	_, err = db.ExecContext(ctx, "DELETE FROM outbox WHERE id <= ?", last)
	return n, err
}
