package session

import (
	"context"
	"encoding/json"
	"errors"
	"math/rand/v2"
	"time"
)

// maxAttempts bounds the attempts of Update. Each failed attempt means that another writer
// succeeded.
const maxAttempts = 256

// Update changes the data of the session. It calls change with the newest data and stores the
// changed data, if no other writer has stored the session in between. Otherwise it calls change
// again with the newer data (S3). One round trip, and one more per conflict; none if change changes
// nothing. The first Update of a visitor creates an anonymous session.
//
// Data that can't be decoded into T is replaced: change gets the zero T.
//
// Errors: the error of change, unwrapped; ErrNotFound if the session has ended concurrently, which
// does not restore it (S1); ErrCookieTooLate for a visitor whose response header was sent;
// redstart.ErrTooLarge; ErrConflict; the classes of package redstart.
func (s *Session[T]) Update(ctx context.Context, change func(*T) error) error {
	if s.m == nil {
		return ErrNoMiddleware
	}
	var userErr, err error
	ctx, end := s.m.records.start(ctx, "update")
	err = s.edit(ctx, func(p *payload) error {
		userErr, err = s.m.change(p, change)
		return errors.Join(userErr, err)
	})
	end(err)
	if err == nil || userErr != nil {
		return userErr
	}
	return s.m.records.failed("update", err)
}

// change applies the function of the user to the data of a payload. Data that can't be decoded is
// the zero T.
func (m *Manager[T]) change(p *payload, change func(*T) error) (userErr, err error) {
	data, err := m.decode(p.data)
	if err != nil {
		m.records.count.unreadable.Add(1)
	}
	if userErr := change(&data); userErr != nil {
		return userErr, nil
	}
	p.data, err = m.encode(&data)
	return nil, err
}

// edit is Update for the payload.
func (s *Session[T]) edit(ctx context.Context, change func(*payload) error) error {
	if err := s.writable(); err != nil {
		return err
	}
	rs, leave := s.m.records, func() {}
	defer func() { leave() }()
	for attempt := range maxAttempts {
		if attempt > 1 {
			if err := pause(ctx, attempt); err != nil {
				return err
			}
		}
		rec, err := s.current(ctx)
		if err != nil {
			return err
		}

		var p payload
		if rec != nil {
			p = rec.payload
		}
		if err := change(&p); err != nil {
			return err
		}
		if rec == nil {
			begun, err := s.begin(ctx, p)
			if begun {
				rs.emit(ctx, Event{Kind: EventCreated, ID: s.ID()})
			}
			if begun || err != nil {
				return err
			}
			continue
		}
		if p == rec.payload {
			return nil
		}

		fresh, err := rs.save(ctx, rec, p, "")
		if errors.Is(err, ErrNotFound) && s.replacedByLogin(ctx, rec) {
			continue
		}
		var stale *staleError
		if !errors.As(err, &stale) {
			s.replace(rec, fresh, err)
			return err
		}
		s.replace(rec, stale.now, nil)
		if attempt == 0 {
			var waited bool
			if leave, waited = rs.queues.enter(ctx, rec.at.id); waited { // the writer before us has changed it again
				s.reread()
			}
		}
	}
	return ErrConflict
}

// begin stores the first data of a visitor. begun is false if another call of this Session has
// created a session first.
func (s *Session[T]) begin(ctx context.Context, p payload) (begun bool, err error) {
	c, err := s.m.opt.settings(nil)
	if err != nil {
		return false, err
	}
	unlock, err := s.lockToken(ctx)
	if err != nil {
		return false, err
	}
	defer unlock()
	s.mu.Lock()
	now := s.state
	s.mu.Unlock()
	switch now {
	case visitor:
	case superseded:
		return false, ErrNotFound
	default:
		return false, nil
	}

	unreserve, err := s.reserve()
	if err != nil {
		return false, err
	}
	defer unreserve()
	created, err := s.m.records.create(ctx, c, p, nil)
	if err != nil {
		return false, err
	}
	s.adopt(created.record, created.secret, "")
	return true, nil
}

// pause desynchronizes writers of one session in several processes.
func pause(ctx context.Context, attempt int) error {
	timer := time.NewTimer(rand.N(time.Duration(min(attempt, 20)) * time.Millisecond))
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// Message is a flash message. The next page shows it once.
type Message struct {
	Kind string `json:"k,omitempty"` // chosen by the application, for example "error" or "notice"
	Text string `json:"t"`
}

// maxMessages is the number of flash messages that a session stores. The oldest ones are dropped.
const maxMessages = 32

// Flash stores a message for the next page of the user. It has the cost and the errors of
// [Session.Update].
func (s *Session[T]) Flash(ctx context.Context, kind, text string) error {
	if s.m == nil {
		return ErrNoMiddleware
	}
	err := s.edit(ctx, func(p *payload) error {
		messages := append(parseMessages(p.flashes), Message{kind, text})
		b, err := json.Marshal(messages[max(0, len(messages)-maxMessages):])
		p.flashes = string(b)
		return err
	})
	if err != nil {
		return s.m.records.failed("flash", err)
	}
	return nil
}

// Flashes returns the stored messages and deletes them. Of concurrent requests, one gets them. No
// round trip if there are none; otherwise it has the cost and the errors of [Session.Update].
func (s *Session[T]) Flashes(ctx context.Context) ([]Message, error) {
	if s.m == nil {
		return nil, ErrNoMiddleware
	}
	rec, err := s.current(ctx)
	if err != nil {
		return nil, s.m.records.failed("flashes", err)
	}
	if rec == nil || rec.flashes == "" {
		return nil, nil
	}
	var messages []Message
	err = s.edit(ctx, func(p *payload) error {
		messages, p.flashes = parseMessages(p.flashes), ""
		return nil
	})
	if err != nil {
		return nil, s.m.records.failed("flashes", err)
	}
	return messages, nil
}

// parseMessages decodes the messages that Flash has stored. Malformed text is no messages.
func parseMessages(text string) (messages []Message) {
	if text == "" || json.Unmarshal([]byte(text), &messages) != nil {
		return nil
	}
	return messages
}
