package store

import (
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"os"
	"strings"

	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"

	"github.com/redstart-go/redstart/events"
)

// dialect has the differences between databases. All other statements use common syntax: $1,
// RETURNING and ON CONFLICT.
type dialect struct {
	outbox     events.Dialect
	id         string           // column type of a generated primary key whose numbers are never reused
	exclusive  string           // statement that makes a transaction exclusive across processes
	forUpdate  string           // appended to a SELECT whose rows the transaction will change
	duplicates func(error) bool // reports whether an error is a violated unique constraint
}

var sqliteDialect = dialect{
	outbox:    events.SQLite,
	id:        "INTEGER PRIMARY KEY AUTOINCREMENT",
	forUpdate: "", // write transactions exclude each other from their first statement
	duplicates: func(err error) bool {
		failure, ok := errors.AsType[*sqlite.Error](err)
		return ok && failure.Code() == sqlite3.SQLITE_CONSTRAINT_UNIQUE
	},
}

func connect(databaseURL string) (*Store, error) {
	scheme, file, _ := strings.Cut(databaseURL, ":")
	if isPostgres(databaseURL) {
		return connectPostgres(databaseURL)
	}
	file = strings.TrimPrefix(file, "//")
	if scheme != "sqlite" || file == "" {
		// The text can contain a password at any place, so the error does not repeat it.
		return nil, errors.New("store: database URL is neither sqlite:<file> nor postgres://… nor host=… dbname=…")
	}

	if err := private(file); err != nil {
		return nil, err
	}
	// SQLite has one writer at a time. A pool of one connection queues writers in Go, where they
	// respect their contexts. Readers run at the same time, because of the write-ahead log.
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

// isPostgres recognizes both forms of libpq: a URL, and key=value words.
func isPostgres(databaseURL string) bool {
	if strings.HasPrefix(databaseURL, "postgres://") || strings.HasPrefix(databaseURL, "postgresql://") {
		return true
	}
	word, _, found := strings.Cut(databaseURL, "=")
	return found && !strings.ContainsAny(word, ":/")
}

// private creates the file with mode 0600, before SQLite would create it readable for others.
// SQLite gives the -wal and -shm files the same mode.
func private(file string) error {
	if strings.HasPrefix(file, ":memory:") {
		return nil
	}
	f, err := os.OpenFile(file, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return fmt.Errorf("store: %w", err)
	}
	return f.Close()
}

// Redacted returns a database URL without its password.
func Redacted(databaseURL string) string {
	if strings.HasPrefix(databaseURL, "sqlite:") {
		return databaseURL
	}
	return redactedPostgres(databaseURL)
}

func sqliteName(file string, options url.Values) string {
	options.Set("_journal_mode", "WAL")
	options.Set("_busy_timeout", "5000") // milliseconds, for another process on the same file
	options.Set("_foreign_keys", "true")
	options.Set("_synchronous", "NORMAL")
	options.Set("_time_format", "sqlite")
	options.Set("_timezone", "UTC")
	options.Set("_error_rc", "true") // reports "unable to open database file" instead of "out of memory"
	name := url.URL{Scheme: "file", Opaque: (&url.URL{Path: file}).EscapedPath(), RawQuery: options.Encode()}
	return name.String()
}
