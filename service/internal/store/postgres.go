//go:build !demo

package store

import (
	"errors"
	"net"
	"net/url"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/stdlib"

	"github.com/redstart-go/redstart/events"
)

var postgresDialect = dialect{
	outbox:    events.PostgreSQL,
	id:        "BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY",
	exclusive: "SELECT pg_advisory_xact_lock(7232137)", // any number that no other program takes
	forUpdate: " FOR UPDATE",
	duplicates: func(err error) bool {
		failure, ok := errors.AsType[*pgconn.PgError](err)
		return ok && failure.Code == "23505" // unique_violation
	},
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

func redactedPostgres(databaseURL string) string {
	cfg, err := pgx.ParseConfig(databaseURL)
	if err != nil {
		return "a database"
	}
	// Built of what was understood, in place of the text without what looks like a password.
	at := url.URL{Scheme: "postgres", User: url.User(cfg.User), Host: net.JoinHostPort(cfg.Host, strconv.Itoa(int(cfg.Port))), Path: "/" + cfg.Database}
	return at.String()
}
