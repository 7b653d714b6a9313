package events

import (
	"fmt"
	"strings"
)

// Dialect is a kind of database that can hold an outbox.
type Dialect uint8

const (
	SQLite     Dialect = iota + 1 // 3.38 or newer
	PostgreSQL                    // 13 or newer
	MySQL                         // 8.0.13 or newer; tested on MariaDB 10.11, not on MySQL
)

// OutboxSchema returns the statements that create the two tables of an outbox. The first table has
// the rows. Its name is table, or "outbox" if table is "". The second table has the lease of the
// relay in a single row. Its name is the first name with the suffix "_relay". On PostgreSQL, a
// trigger notifies the relay of each INSERT (see [PGX]). Leave out the last two statements if you
// do not need it.
//
// A name has letters, digits and _, and at most 54 bytes. It may have a schema before a dot, such
// as "app.outbox". The schema must exist. Names are quoted, so reserved words are allowed, and
// PostgreSQL distinguishes upper and lower case. Another name is an error, and so is an unknown
// dialect.
//
// The database chooses a random id for the event of each row. So ids do not repeat if a database
// reuses row numbers, is created again, or shares a bus with another database.
func OutboxSchema(dialect Dialect, table string) ([]string, error) {
	if !dialect.known() {
		return nil, fmt.Errorf("events: OutboxSchema: the dialect is %d: want SQLite, PostgreSQL or MySQL", dialect)
	}
	names, err := dialect.outbox(table)
	if err != nil {
		return nil, fmt.Errorf("events: OutboxSchema: the table: %w", err)
	}
	options := ""
	if dialect == MySQL {
		options = " CHARACTER SET utf8mb4" // independent of the default of the database
	}
	statements := []string{
		fmt.Sprintf(`CREATE TABLE %s (
	%s
	created_ms BIGINT NOT NULL DEFAULT (%s),
	attempts INTEGER NOT NULL DEFAULT 0,
	cause TEXT,
	set_aside_ms BIGINT
)%s`, names.rows, dialect.outboxColumns(), dialect.now(), options),
		fmt.Sprintf("CREATE INDEX %s ON %s (set_aside_ms, id)", names.index, names.indexed),
		fmt.Sprintf("CREATE TABLE %s (id INTEGER PRIMARY KEY, owner VARCHAR(64) NOT NULL, until_ms BIGINT NOT NULL)",
			names.relay),
		fmt.Sprintf("INSERT INTO %s (id, owner, until_ms) VALUES (1, '', 0)", names.relay),
	}
	if dialect == PostgreSQL {
		statements = append(statements,
			fmt.Sprintf("CREATE FUNCTION %s() RETURNS trigger LANGUAGE plpgsql AS "+
				"$$ BEGIN PERFORM pg_notify('%s', ''); RETURN NULL; END $$", names.notify, names.channel),
			fmt.Sprintf("CREATE TRIGGER %s AFTER INSERT ON %s FOR EACH STATEMENT EXECUTE FUNCTION %s()",
				names.trigger, names.rows, names.notify))
	}
	return statements, nil
}

// outboxColumns returns the columns whose definition depends on the dialect.
func (d Dialect) outboxColumns() string {
	switch d {
	case PostgreSQL:
		return `id BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
	event_id TEXT NOT NULL DEFAULT gen_random_uuid()::text,
	channel TEXT NOT NULL,
	type TEXT NOT NULL,
	data TEXT NOT NULL,`
	case MySQL:
		return `id BIGINT AUTO_INCREMENT PRIMARY KEY,
	event_id VARCHAR(1024) NOT NULL DEFAULT (UUID()),
	channel VARCHAR(1024) NOT NULL,
	type VARCHAR(1024) NOT NULL,
	data LONGTEXT NOT NULL,`
	}
	return `id INTEGER PRIMARY KEY AUTOINCREMENT,
	event_id TEXT NOT NULL DEFAULT (lower(hex(randomblob(16)))),
	channel TEXT NOT NULL,
	type TEXT NOT NULL,
	data TEXT NOT NULL,`
}

// now returns an expression for the time of the database, in unix ms.
func (d Dialect) now() string {
	switch d {
	case PostgreSQL:
		return "(extract(epoch FROM clock_timestamp()) * 1000)::bigint"
	case MySQL:
		return "FLOOR(UNIX_TIMESTAMP(NOW(3)) * 1000)"
	}
	return "CAST((julianday('now') - 2440587.5) * 86400000 AS INTEGER)"
}

// placeholder returns the n-th parameter of a statement, from 1.
func (d Dialect) placeholder(n int) string {
	if d == PostgreSQL {
		return fmt.Sprint("$", n)
	}
	return "?"
}

// placeholders returns n parameters from first on, separated by commas.
func (d Dialect) placeholders(first, n int) string {
	all := make([]string, n)
	for i := range all {
		all[i] = d.placeholder(first + i)
	}
	return strings.Join(all, ", ")
}

func (d Dialect) known() bool { return d >= SQLite && d <= MySQL }
