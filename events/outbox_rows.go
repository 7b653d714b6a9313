package events

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"
)

// OutboxTable is the table into which [Topic.AddToOutbox] inserts.
type OutboxTable struct {
	Dialect Dialect
	Name    string // see OutboxSchema for valid names; default "outbox"
}

// AddToOutbox inserts an event into an outbox, within a transaction. The event is published if and
// only if the transaction is committed. It takes one statement. The type, the channel and the data
// are checked here. The relay checks the size, because it knows the bus. [ID] is the only option
// that an outbox supports. Another option is an error.
func (t Topic[T]) AddToOutbox(ctx context.Context, tx Execer, table OutboxTable, channel string, data T,
	opts ...PublishOption) error {
	if !table.Dialect.known() {
		return fmt.Errorf("events: add to outbox: OutboxTable.Dialect is %d: want SQLite, PostgreSQL or MySQL",
			table.Dialect)
	}
	names, err := table.Dialect.outbox(table.Name)
	if err != nil {
		return fmt.Errorf("events: add to outbox: OutboxTable.Name: %w", err)
	}

	m := message{channel: channel}
	e := envelope{Type: t.eventType, Subject: channel, Source: "-"}
	for _, o := range opts {
		o.set(&m, &e)
	}
	if m.delay != 0 || !m.at.IsZero() || m.confirm != (Confirmation{}) || m.receipt != nil || e.Source != "-" {
		return errors.New("events: add to outbox: ID is the only option that an outbox supports: leave the others out")
	}
	if !m.chosenID {
		e.ID = "-" // the database chooses the id
	}
	if err := e.check(); err != nil {
		return err
	}
	text, err := marshal(data)
	if err != nil {
		return fmt.Errorf("events: add to outbox %q: encode the data as JSON: %w", names.text, err)
	}

	columns, args := "channel, type, data", []any{channel, t.eventType, string(text)}
	if m.chosenID {
		columns, args = columns+", event_id", append(args, e.ID)
	}
	query := fmt.Sprintf("INSERT INTO %s (%s) VALUES (%s)", names.rows, columns,
		table.Dialect.placeholders(1, len(args)))
	if _, err := tx.ExecContext(ctx, query, args...); err != nil {
		return fmt.Errorf("events: add to outbox %q: %w", names.text, err)
	}
	return nil
}

// OutboxRow is a row of an outbox.
type OutboxRow struct {
	ID       int64  // number of the row
	EventID  string // id of the event
	Channel  string
	Type     string
	Data     string    // JSON
	Created  time.Time // by the clock of the database
	Attempts int       // how often the bus has refused the row
	Cause    string    // error of the last attempt
	SetAside bool      // the row is not tried again
}

// OutboxCount has the numbers of rows of an outbox.
type OutboxCount struct {
	Waiting  int64         // rows that will be published
	SetAside int64         // rows that are set aside
	Oldest   time.Duration // age of the oldest waiting row
}

// Count returns the numbers of rows in the table. It takes one query, which reads an index of all
// rows.
func (o *Outbox) Count(ctx context.Context) (c OutboxCount, err error) {
	var ms int64
	query := fmt.Sprintf("SELECT COUNT(*), COUNT(set_aside_ms), "+
		"COALESCE(%s - MIN(CASE WHEN set_aside_ms IS NULL THEN created_ms END), 0) FROM %s", o.db.dialect.now(), o.names.rows)
	err = o.db.query(ctx, query, nil, func(scan func(...any) error) error {
		return scan(&c.Waiting,
			&c.SetAside, &ms)
	})
	if err != nil {
		return OutboxCount{}, fmt.Errorf("events: outbox %q: count: %w", o.names.text, err)
	}
	c.Waiting -= c.SetAside
	c.Oldest = time.Duration(ms) * time.Millisecond
	return c, nil
}

// ListSetAside returns up to limit rows that are set aside and have an ID above after, by ID. It
// stops after 4 MiB of data.
func (o *Outbox) ListSetAside(ctx context.Context, after int64, limit int) ([]OutboxRow, error) {
	if limit < 1 {
		return nil, fmt.Errorf("events: outbox %q: list: the limit is %d: want at least 1", o.names.text, limit)
	}
	query := fmt.Sprintf("SELECT %s FROM %s WHERE set_aside_ms IS NOT NULL AND id > %s ORDER BY id LIMIT %d",
		outboxColumns, o.names.rows, o.db.dialect.placeholder(1), limit)
	rows, err := o.rows(ctx, query, after)
	if err != nil {
		return nil, fmt.Errorf("events: outbox %q: list: %w", o.names.text, err)
	}
	return rows, nil
}

// Redrive makes rows that are set aside wait again, with all their attempts. It returns how many
// rows were found.
func (o *Outbox) Redrive(ctx context.Context, ids ...int64) (int, error) {
	return o.change(ctx, "redrive",
		"UPDATE "+o.names.rows+" SET set_aside_ms = NULL, cause = NULL, attempts = 0 WHERE set_aside_ms IS NOT NULL AND id IN (%s)",
		ids)
}

// Drop deletes rows that are set aside. It returns how many rows were found.
func (o *Outbox) Drop(ctx context.Context, ids ...int64) (int, error) {
	return o.change(ctx, "drop", "DELETE FROM "+o.names.rows+" WHERE set_aside_ms IS NOT NULL AND id IN (%s)", ids)
}

const (
	outboxColumns = "id, event_id, channel, type, data, created_ms, attempts, COALESCE(cause, ''), COALESCE(set_aside_ms, 0)"
	outboxBytes   = 4 << 20 // most bytes of data per read
	outboxIDs     = 512     // most rows per statement
	outboxCause   = 1024    // most bytes of a cause
)

// rows reads rows until the last one, or until their data has outboxBytes.
func (o *Outbox) rows(ctx context.Context, query string, args ...any) (all []OutboxRow, err error) {
	bytes := 0
	err = o.db.query(ctx, query, args, func(scan func(...any) error) error {
		var r OutboxRow
		var created, aside int64
		if err := scan(&r.ID, &r.EventID, &r.Channel, &r.Type, &r.Data, &created, &r.Attempts, &r.Cause,
			&aside); err != nil {
			return err
		}
		r.Created, r.SetAside = time.UnixMilli(created).UTC(), aside != 0
		all = append(all, r)
		if bytes += len(r.Data); bytes >= outboxBytes {
			return errEnough
		}
		return nil
	})
	return all, err
}

// change runs a statement for rows. Its number of parameters is a power of two, so that a driver
// that prepares statements has few of them.
func (o *Outbox) change(ctx context.Context, verb, query string, ids []int64) (total int, err error) {
	for len(ids) > 0 {
		some := ids[:min(len(ids), outboxIDs)]
		ids = ids[len(some):]
		n := 1
		for n < len(some) {
			n *= 2
		}
		args := make([]any, n)
		for i := range args {
			args[i] = some[min(i, len(some)-1)]
		}
		affected, err := o.db.exec(ctx, fmt.Sprintf(query, o.db.dialect.placeholders(1, n)), args...)
		if err != nil {
			return total, fmt.Errorf("events: outbox %q: %s: %w", o.names.text, verb, err)
		}
		total += int(affected)
	}
	return total, nil
}

// refuse counts a refused attempt of a row, and sets the row aside after the last attempt. It
// returns the changed row.
func (o *Outbox) refuse(ctx context.Context, r OutboxRow, cause error) (OutboxRow, error) {
	r.Attempts++
	r.Cause = strings.ToValidUTF8(strings.ReplaceAll(cause.Error(), "\x00", ""), "?")
	r.Cause = strings.ToValidUTF8(r.Cause[:min(len(r.Cause), outboxCause)], "")
	r.SetAside = r.Attempts >= o.opt.MaxAttempts

	aside := ""
	if r.SetAside {
		aside = ", set_aside_ms = " + o.db.dialect.now()
	}
	query := fmt.Sprintf("UPDATE %s SET cause = %s, attempts = attempts + 1%s WHERE id = %s", o.names.rows,
		o.db.dialect.placeholder(1), aside, o.db.dialect.placeholder(2))
	if _, err := o.db.exec(ctx, query, r.Cause, r.ID); err != nil {
		return r, fmt.Errorf("events: outbox %q: set row %d aside: %w", o.names.text, r.ID, err)
	}
	if r.SetAside {
		o.bus.core.Logger().Warn("events: an outbox row was set aside", "table", o.names.text, "row", r.ID,
			"attempts", r.Attempts, "error", r.Cause)
	}
	return r, nil
}

// contained runs user code. A panic or runtime.Goexit does not end the caller.
func contained(fn func()) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer func() { _ = recover() }()
		fn()
	}()
	<-done
}
