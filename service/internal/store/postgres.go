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
	exclusive: "SELECT pg_advisory_xact_lock(7232137)", // a number that other programs are unlikely to use
	forUpdate: " FOR UPDATE",
	duplicates: func(err error) bool {
		failure, ok := errors.AsType[*pgconn.PgError](err)
		return ok && failure.Code == "23505" // unique_violation
	},
}

func connectPostgres(databaseURL string) (*Store, error) {
	cfg, err := pgx.ParseConfig(databaseURL)
	if err != nil {
		// pgx masks passwords in URLs that it can parse. The URL may be unparsable, so the error
		// does not repeat it.
		return nil, errors.New("store: the database URL is malformed; want postgres://user:password@host:5432/database")
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
	// The URL is built from the parsed fields, so that no unrecognized password is left in it.
	at := url.URL{Scheme: "postgres", User: url.User(cfg.User), Host: net.JoinHostPort(cfg.Host, strconv.Itoa(int(cfg.Port))),
		Path: "/" + cfg.Database}
	return at.String()
}
