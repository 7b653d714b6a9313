package events

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"time"
)

// OutboxOptions configure an Outbox.
type OutboxOptions struct {
	// Table has the columns id (unique and growing: an integer or a sortable text), channel, type and data (JSON text). Rows are
	// inserted in the transaction that they tell about. Default "outbox"; letters, digits, _ and one dot.
	Table string
	// Batch is how many rows are read at once. Default 100.
	Batch int
	// Poll is how often Run looks while there is nothing. Default 200 ms.
	Poll time.Duration
	// Placeholder is the n-th parameter (from 1) in the database's dialect. Default "?"; PostgreSQL: func(n int) string { return fmt.Sprint("$", n) }.
	Placeholder func(n int) string
}

// Outbox publishes what transactions have left in a table: an event is published if and only if its transaction was
// committed, at least once, and once within the bus' Dedup, since its ID comes from the row. Rows are published in
// the order of their ids as far as they are committed when they are read, and deleted when they are stored in the bus. Several
// processes may run one on the same table: order is kept, and work is done twice.
//
// A transaction that commits late, with an id below those that are already published, is published after them: ids alone
// can't order concurrent transactions. What must be in order belongs into transactions that wait for each other, as
// those on one row do.
type Outbox struct {
	db     *sql.DB
	bus    *Durable
	opt    OutboxOptions
	choose string
	remove string // without its placeholders
}

var tableName = regexp.MustCompile(`^[A-Za-z_]\w*(\.[A-Za-z_]\w*)?$`)

// NewOutbox returns the outbox of a table. It sends nothing.
func NewOutbox(db *sql.DB, bus *Durable, opts OutboxOptions) (*Outbox, error) {
	opts.Table = orDefault(opts.Table, "outbox")
	opts.Batch = orDefault(opts.Batch, 100)
	opts.Poll = orDefault(opts.Poll, 200*time.Millisecond)
	switch {
	case db == nil:
		return nil, errors.New("events: NewOutbox: the database is nil")
	case bus == nil:
		return nil, errors.New("events: NewOutbox: the bus is nil")
	case bus.opt.Dedup == NoLimit:
		return nil, errors.New("events: NewOutbox: the bus remembers no ids (DurableOptions.Dedup is NoLimit): rows would be published twice after a crash")
	case !tableName.MatchString(opts.Table):
		return nil, fmt.Errorf("events: OutboxOptions.Table is %q: letters, digits, _ and one dot", opts.Table)
	case opts.Batch < 1 || opts.Batch > 1000:
		return nil, fmt.Errorf("events: OutboxOptions.Batch is %d: 1 to 1000", opts.Batch)
	case opts.Poll < 0:
		return nil, fmt.Errorf("events: OutboxOptions.Poll is %v: not negative", opts.Poll)
	}
	if opts.Placeholder == nil {
		opts.Placeholder = func(int) string { return "?" }
	}
	return &Outbox{db: db, bus: bus, opt: opts,
		choose: fmt.Sprintf("SELECT id, channel, type, data FROM %s ORDER BY id LIMIT %d", opts.Table, opts.Batch),
		remove: "DELETE FROM " + opts.Table + " WHERE id IN ("}, nil
}

// Run relays until ctx ends, and returns nil then. Errors of the database or the server are logged and tried again.
func (o *Outbox) Run(ctx context.Context) error {
	timer := time.NewTimer(0)
	defer timer.Stop()
	wait := o.opt.Poll
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-o.bus.closing:
			return nil
		case <-timer.C:
		}
		n, err := o.Relay(ctx)
		switch {
		case err != nil && ctx.Err() == nil:
			o.bus.core.Logger().Warn("events: an outbox was not relayed; it is tried again", "table", o.opt.Table, "error", err)
			wait = min(2*max(wait, retryFirst), 5*time.Second)
		case n == o.opt.Batch:
			wait = 0
		default:
			wait = o.opt.Poll
		}
		timer.Reset(wait)
	}
}

// Relay publishes one batch of rows and deletes those that are stored in the bus. It returns how many.
func (o *Outbox) Relay(ctx context.Context) (int, error) {
	rows, err := o.read(ctx)
	if err != nil {
		return 0, fmt.Errorf("events: outbox: read: %w", err)
	}
	var stored []any
	var failed error
	for _, r := range rows {
		// In order, and not past a row that could not be published.
		if failed = publish(ctx, o.bus, r.eventType, r.channel, json.RawMessage(r.data), []PublishOption{ID("outbox/" + o.opt.Table + "/" + r.id)}); failed != nil {
			failed = fmt.Errorf("events: outbox: row %s: %w", r.id, failed)
			break
		}
		stored = append(stored, r.key)
	}
	if len(stored) > 0 {
		marks := make([]string, len(stored))
		for i := range marks {
			marks[i] = o.opt.Placeholder(i + 1)
		}
		// Exactly the rows that were read: one with a lower id may have been committed since.
		if _, err := o.db.ExecContext(ctx, o.remove+strings.Join(marks, ", ")+")", stored...); err != nil {
			return 0, errors.Join(failed, fmt.Errorf("events: outbox: delete what is published: %w", err))
		}
	}
	return len(stored), failed
}

type outboxRow struct {
	key                          any
	id, channel, eventType, data string
}

func (o *Outbox) read(ctx context.Context) (all []outboxRow, err error) {
	rows, err := o.db.QueryContext(ctx, o.choose)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var r outboxRow
		if err := rows.Scan(&r.key, &r.channel, &r.eventType, &r.data); err != nil {
			return nil, err
		}
		if text, ok := r.key.([]byte); ok { // what some drivers give for text
			r.key = string(text)
		}
		r.id = fmt.Sprint(r.key)
		all = append(all, r)
	}
	return all, rows.Err()
}
