package store

import (
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/stdlib"
	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"
)

// dialect is what databases say differently. All else is written once: $1, RETURNING and ON CONFLICT are common ground.
type dialect struct {
	id         string           // column type of a generated primary key; a deleted row's number is never given again
	exclusive  string           // begins a transaction that no other process may run at the same time
	forUpdate  string           // appended to a SELECT whose rows the transaction is about to change
	duplicates func(error) bool // whether an error says that a unique value is taken
}

var sqliteDialect = dialect{
	id:        "INTEGER PRIMARY KEY AUTOINCREMENT",
	forUpdate: "", // write transactions exclude each other from their first statement
	duplicates: func(err error) bool {
		failure, ok := errors.AsType[*sqlite.Error](err)
		return ok && failure.Code() == sqlite3.SQLITE_CONSTRAINT_UNIQUE
	},
}

var postgresDialect = dialect{
	id:        "BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY",
	exclusive: "SELECT pg_advisory_xact_lock(7232137)", // any number that nobody else takes
	forUpdate: " FOR UPDATE",
	duplicates: func(err error) bool {
		failure, ok := errors.AsType[*pgconn.PgError](err)
		return ok && failure.Code == "23505" // unique_violation
	},
}

func connect(databaseURL string) (*Store, error) {
	scheme, file, _ := strings.Cut(databaseURL, ":")
	if scheme == "postgres" || scheme == "postgresql" {
		return connectPostgres(databaseURL)
	}
	file = strings.TrimPrefix(file, "//")
	if scheme != "sqlite" || file == "" {
		// The URL may hold a password: the error names its scheme alone.
		return nil, fmt.Errorf("store: database URL with scheme %q; want sqlite:<file> or postgres://…", scheme)
	}

	// SQLite has one writer at a time. A pool of one queues writers in Go, where they wait in line and obey
	// their contexts; readers go on beside it thanks to the write-ahead log.
	write, err := sql.Open("sqlite", sqliteName(file, url.Values{"_txlock": {"immediate"}}))
	if err != nil {
		return nil, fmt.Errorf("store: %w", err)
	}
	write.SetMaxOpenConns(1)
	read, err := sql.Open("sqlite", sqliteName(file, url.Values{"_query_only": {"true"}}))
	if err != nil {
		return nil, errors.Join(fmt.Errorf("store: %w", err), write.Close())
	}
	read.SetMaxOpenConns(8)
	return newStore(read, write, sqliteDialect), nil
}

func connectPostgres(databaseURL string) (*Store, error) {
	cfg, err := pgx.ParseConfig(databaseURL)
	if err != nil {
		// pgx masks passwords where it finds them; in a URL that it can't read it may not.
		return nil, errors.New("store: database URL can't be read; want postgres://user:password@host:5432/database")
	}
	if cfg.ConnectTimeout == 0 {
		cfg.ConnectTimeout = 5 * time.Second
	}
	db := stdlib.OpenDB(*cfg)
	db.SetMaxOpenConns(16)
	db.SetMaxIdleConns(16)
	db.SetConnMaxIdleTime(5 * time.Minute)
	return newStore(db, db, postgresDialect), nil
}

// Redacted is a database URL as it may be shown: without its password.
func Redacted(databaseURL string) string {
	if strings.HasPrefix(databaseURL, "sqlite:") {
		return databaseURL
	}
	u, err := url.Parse(databaseURL)
	if err != nil {
		return "a database"
	}
	u.RawQuery = "" // it may hold a password too
	return u.Redacted()
}

func sqliteName(file string, options url.Values) string {
	options.Set("_journal_mode", "WAL")
	options.Set("_busy_timeout", "5000") // milliseconds: for another process on the same file
	options.Set("_foreign_keys", "true")
	options.Set("_synchronous", "NORMAL")
	options.Set("_time_format", "sqlite")
	options.Set("_timezone", "UTC")
	options.Set("_error_rc", "true") // says "unable to open database file" instead of "out of memory"
	name := url.URL{Scheme: "file", Opaque: (&url.URL{Path: file}).EscapedPath(), RawQuery: options.Encode()}
	return name.String()
}
