package events

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"
)

// Relay publishes one batch of rows and deletes those that are stored in the bus, whichever process has the lease. It returns how many rows it
// has dealt with: published, or set aside. One query, a round trip per 128 rows of the fullest partition, one statement to delete.
func (o *Outbox) Relay(ctx context.Context) (int, error) {
	done, refused, err := o.relay(ctx)
	for _, r := range refused { // without the lock: OnError may call Relay
		contained(func() { o.opt.OnError(ctx, r.row, r.cause) })
	}
	return done, err
}

// refusal is a row for OnError.
type refusal struct {
	row   OutboxRow
	cause error
}

func (o *Outbox) relay(ctx context.Context) (done int, reports []refusal, err error) {
	o.relaying.Lock()
	defer o.relaying.Unlock()
	if err := o.bus.life.open(); err != nil {
		return 0, nil, fmt.Errorf("events: outbox %s: relay: %w", o.names.text, err)
	}
	// Rows that are published are deleted before more are published: they are not published again after the bus has forgotten their ids.
	if err := o.forget(ctx); err != nil {
		return 0, nil, err
	}
	rows, err := o.rows(ctx, o.query)
	if err != nil {
		return 0, nil, fmt.Errorf("events: outbox %s: read: %w", o.names.text, err)
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

// outboxBatch is one batch on its way.
type outboxBatch struct {
	outbox   *Outbox
	rows     []OutboxRow // of messages
	messages []*message
	refused  []refusal
	blocked  map[string]bool // channels with a row that is going to be tried again
	done     int
	failed   error // of the server
}

func (b *outboxBatch) add(ctx context.Context, r OutboxRow) {
	if b.blocked[r.Channel] {
		return
	}
	created := PublishOption{func(_ *message, e *envelope) { e.Time = r.Created }}
	m, err := newMessage(ctx, b.outbox.bus, r.Type, r.Channel, json.RawMessage(r.Data), []PublishOption{ID(r.EventID), created})
	switch {
	case errors.Is(err, ErrClosed): // it says nothing about the row
		b.failed = fmt.Errorf("events: outbox %s: %w", b.outbox.names.text, err)
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
			b.failed = fmt.Errorf("events: outbox %s: publish row %d to %q: %w", o.names.text, r.ID, r.Channel, err)
		}
	}
}

// forget deletes the rows that are published. Exactly those: one with a lower number may have been committed since.
func (o *Outbox) forget(ctx context.Context) error {
	if len(o.undeleted) == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second) // also when ctx ends in between
	defer cancel()
	if _, err := o.change(ctx, "delete what is published", "DELETE FROM "+o.names.rows+" WHERE id IN (%s)", o.undeleted); err != nil {
		return err
	}
	o.undeleted = o.undeleted[:0]
	return nil
}
