package events

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"
)

// Relay publishes one batch of rows and deletes the rows that are stored in the bus. It does not
// check the lease. It returns how many rows were published or set aside. It takes one query, one
// round trip per 128 rows of the fullest partition, and one statement that deletes. Errors:
// [ErrClosed]; errors of the database and of the server.
func (o *Outbox) Relay(ctx context.Context) (int, error) {
	done, refused, err := o.relay(ctx)
	for _, r := range refused { // outside the lock, because OnError may call Relay
		contained(func() { o.opt.OnError(ctx, r.row, r.cause) })
	}
	return done, err
}

// refusal is a row that the bus has refused, for OnError.
type refusal struct {
	row   OutboxRow
	cause error
}

func (o *Outbox) relay(ctx context.Context) (done int, reports []refusal, err error) {
	o.relaying.Lock()
	defer o.relaying.Unlock()
	if err := o.bus.life.open(); err != nil {
		return 0, nil, fmt.Errorf("events: outbox %q: relay: %w", o.names.text, err)
	}
	// Published rows are deleted before more rows are published. Otherwise they would be published
	// again after the bus has forgotten their ids.
	if err := o.forget(ctx); err != nil {
		return 0, nil, err
	}
	rows, err := o.rows(ctx, o.query)
	if err != nil {
		return 0, nil, fmt.Errorf("events: outbox %q: read: %w", o.names.text, err)
	}

	b := outboxBatch{outbox: o, blocked: make(map[string]bool)}
	for _, r := range rows {
		b.add(ctx, r)
	}
	b.publish(ctx)
	for _, r := range b.refused {
		if r.row, err = o.refuse(ctx, r.row, r.cause); err != nil {
			b.failed = errors.Join(b.failed, err)
			break
		}
		if r.row.SetAside {
			b.done++
		}
		if o.opt.OnError != nil {
			reports = append(reports, r)
		}
	}
	return b.done, reports, errors.Join(b.failed, o.forget(ctx))
}

// outboxBatch is one batch that is being published.
type outboxBatch struct {
	outbox   *Outbox
	rows     []OutboxRow // the rows of messages
	messages []*message
	refused  []refusal
	blocked  map[string]bool // channels with a refused row that is tried again later
	done     int
	failed   error // the first error that is not the fault of a row
}

func (b *outboxBatch) add(ctx context.Context, r OutboxRow) {
	if b.blocked[r.Channel] {
		return
	}
	created := PublishOption{func(_ *message, e *envelope) { e.Time = r.Created }}
	m, err := newMessage(ctx, b.outbox.bus, r.Type, r.Channel, json.RawMessage(r.Data), []PublishOption{ID(r.EventID), created})
	switch {
	case errors.Is(err, ErrClosed): // not the fault of the row
		b.failed = fmt.Errorf("events: outbox %q: %w", b.outbox.names.text, err)
		return
	case err != nil:
		b.refuse(r, err)
		return
	}
	b.rows, b.messages = append(b.rows, r), append(b.messages, m)
}

func (b *outboxBatch) refuse(r OutboxRow, cause error) {
	b.refused = append(b.refused, refusal{r, cause})
	if r.Attempts+1 < b.outbox.opt.MaxAttempts {
		b.blocked[r.Channel] = true
	}
}

func (b *outboxBatch) publish(ctx context.Context) {
	o := b.outbox
	for i, err := range o.bus.sendMany(ctx, b.messages) {
		r := b.rows[i]
		switch {
		case err == nil:
			o.undeleted = append(o.undeleted, r.ID)
			o.bus.stats.published.Add(1)
			b.done++
		case errors.Is(err, ErrConflict):
			b.refuse(r, err)
		case b.failed == nil:
			o.bus.stats.publishErrors.Add(1)
			b.failed = fmt.Errorf("events: outbox %q: publish row %d to %q: %w", o.names.text, r.ID, r.Channel, err)
		}
	}
}

// forget deletes exactly the published rows. A row with a lower number may have been committed
// after the batch was read.
func (o *Outbox) forget(ctx context.Context) error {
	if len(o.undeleted) == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second) // also if ctx has ended
	defer cancel()
	if _, err := o.change(ctx, "delete published rows", "DELETE FROM "+o.names.rows+" WHERE id IN (%s)", o.undeleted); err != nil {
		return err
	}
	o.undeleted = o.undeleted[:0]
	return nil
}
