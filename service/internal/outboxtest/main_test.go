package outboxtest

import (
	"context"
	"database/sql"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	_ "github.com/jackc/pgx/v5/stdlib"
	_ "modernc.org/sqlite"

	"github.com/redstart-go/redstart/events"
	"github.com/redstart-go/redstart/internal/rig"
	"github.com/redstart-go/redstart/internal/rig/rigclient"
	"github.com/redstart-go/redstart/service/internal/pgtest"
)

func TestMain(m *testing.M) { rig.Main(m) }

// database is a database of one test, with the tables of an outbox.
type database struct {
	*sql.DB                 // for the statements of the test
	outbox  events.OutboxDB // for the relay
	table   events.OutboxTable
	dialect events.Dialect
	pool    *pgxpool.Pool
}

// databases runs a test on SQLite, on MariaDB, on PostgreSQL through database/sql, and on
// PostgreSQL through pgx.
func databases(t *testing.T, test func(t *testing.T, newDB func(t testing.TB) *database)) {
	for name, newDB := range map[string]func(t testing.TB) *database{"sqlite": sqlite, "mariadb": mariaDB,
		"postgres": postgres, "pgx": pgxDatabase} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, newDB)
		})
	}
}

func sqlite(t testing.TB) *database {
	t.Helper()
	db, err := sql.Open("sqlite", "file:"+filepath.Join(t.TempDir(),
		"shop.db")+"?_pragma=busy_timeout(60000)&_pragma=journal_mode(WAL)&_pragma=synchronous(NORMAL)")
	must(t, err)
	t.Cleanup(func() { db.Close() })
	return created(t, &database{DB: db, outbox: events.SQL(db, events.SQLite), dialect: events.SQLite})
}

func postgres(t testing.TB) *database {
	t.Helper()
	db, err := sql.Open("pgx", pgtest.Postgres(t))
	must(t, err)
	t.Cleanup(func() { db.Close() })
	return created(t, &database{DB: db, outbox: events.SQL(db, events.PostgreSQL), dialect: events.PostgreSQL})
}

func pgxDatabase(t testing.TB) *database {
	t.Helper()
	url := pgtest.Postgres(t)
	db, err := sql.Open("pgx", url)
	must(t, err)
	t.Cleanup(func() { db.Close() })
	pool, err := pgxpool.New(context.Background(), url)
	must(t, err)
	t.Cleanup(pool.Close)
	return created(t, &database{DB: db, outbox: events.PGX(pool), dialect: events.PostgreSQL, pool: pool})
}

func created(t testing.TB, db *database) *database {
	t.Helper()
	db.table = events.OutboxTable{Dialect: db.dialect}
	db.create(t, "")
	return db
}

// create creates the tables of an outbox.
func (db *database) create(t testing.TB, table string) {
	t.Helper()
	statements, err := events.OutboxSchema(db.dialect, table)
	must(t, err)
	for _, statement := range statements {
		db.do(t, statement)
	}
}

func (db *database) do(t testing.TB, query string, args ...any) {
	t.Helper()
	if _, err := db.ExecContext(t.Context(), query, args...); err != nil {
		t.Fatalf("%s: %v", query, err)
	}
}

// insert adds a row with a plain statement, as a program without the library does.
func (db *database) insert(t testing.TB, channel, data string) {
	t.Helper()
	values := "($1, 'note', $2)"
	if db.dialect == events.MySQL {
		values = "(?, 'note', ?)"
	}
	db.do(t, "INSERT INTO outbox (channel, type, data) VALUES "+values, channel, data)
}

func (db *database) left(t testing.TB) (n int) {
	t.Helper()
	must(t, db.QueryRowContext(t.Context(), "SELECT COUNT(*) FROM outbox").Scan(&n))
	return n
}

var notes = events.NewTopic[int]("note")

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func openBus(t testing.TB, opts events.DurableOptions) *events.Durable {
	t.Helper()
	return busAt(t, rig.Shared(t).URL(), rig.Prefix(t), opts)
}

func busAt(t testing.TB, url, namespace string, opts events.DurableOptions) *events.Durable {
	t.Helper()
	client := rigclient.Open(t, url, namespace)
	if opts.Partitions == 0 {
		opts.Partitions = 4
	}
	bus, err := events.NewDurable(client, "bus", opts)
	must(t, err)
	return bus
}

func newOutbox(t testing.TB, db *database, bus *events.Durable, opts events.OutboxOptions) *events.Outbox {
	t.Helper()
	if opts.Poll == 0 {
		opts.Poll = 5 * time.Millisecond
	}
	outbox, err := events.NewOutbox(db.outbox, bus, opts)
	must(t, err)
	return outbox
}

// received has the events that a group has handled, by channel.
type received struct {
	mu  sync.Mutex
	all map[string][]int
	n   int
}

func (r *received) of(channel string) []int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]int(nil), r.all[channel]...)
}

func (r *received) total() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.n
}

func subscribe(t testing.TB, bus *events.Durable, group string) (*received, *events.Subscriber) {
	t.Helper()
	sub, err := bus.Subscriber(group, events.SubscriberOptions{})
	must(t, err)
	got := &received{all: map[string][]int{}}
	must(t, notes.Handle(sub, "*", func(_ context.Context, e events.Event[int]) error {
		got.mu.Lock()
		defer got.mu.Unlock()
		got.all[e.Channel] = append(got.all[e.Channel], e.Data)
		got.n++
		return nil
	}))
	return got, sub
}

// start runs a function until the test ends or stop is called.
func start(t testing.TB, run func(ctx context.Context) error) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(stop)
	return stop
}

func ready(t testing.TB, sub *events.Subscriber) {
	t.Helper()
	select {
	case <-sub.Ready():
	case <-time.After(30 * time.Second):
		t.Fatal("the subscriber is not ready within 30 s")
	}
}
