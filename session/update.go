package session

import (
	"context"
	"encoding/json"
	"errors"
	"math/rand/v2"
	"time"
)

// maxAttempts bounds how often Update tries. Each failure means that another writer succeeded.
const maxAttempts = 256

// Update changes the session's data: change gets the newest data, and what it leaves is stored if
// nobody else stored in between; else it is called again with what they stored (S3). One round trip, one more per
// conflict; none if nothing changes. A visitor's first Update begins an anonymous session.
//
// Data that can't be decoded into T is replaced: change gets the zero T.
//
// Errors: change's own, as it is; ErrNotFound if the session has ended in the meantime, which brings nothing back (S1);
// ErrCookieTooLate for a visitor whose response has begun; redstart.ErrTooLarge; ErrConflict; the classes of package redstart.
func (s *Session[T]) Update(ctx context.Context, change func(*T) error) error {
	if s.m == nil {
		return ErrNoMiddleware
	}
	var theirs, err error
	ctx, end := s.m.records.start(ctx, "update")
	err = s.edit(ctx, func(p *payload) error {
		theirs, err = s.m.change(p, change)
		return errors.Join(theirs, err)
	})
	end(err)
	if err == nil || theirs != nil {
		return theirs
	}
	return failed("update", err)
}

// change applies the user's function to a payload's data. What can't be decoded begins as the zero T.
func (m *Manager[T]) change(p *payload, change func(*T) error) (theirs, err error) {
	data, err := m.decode(p.data)
	if err != nil {
		m.records.count.unreadable.Add(1)
	}
	if theirs := change(&data); theirs != nil {
		return theirs, nil
	}
	p.data, err = m.encode(&data)
	return nil, err
}

// edit is Update on the payload.
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
		if errors.Is(err, ErrNotFound) && s.movedOn(ctx, rec) {
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
			if leave, waited = rs.lines.join(ctx, rec.at.id); waited { // the writer before us has changed it again
				s.reread()
			}
		}
	}
	return ErrConflict
}

// begin stores a visitor's first data. It is false if another call of this Session has begun a session first.
func (s *Session[T]) begin(ctx context.Context, p payload) (begun bool, err error) {
	c, err := s.m.opt.creation(nil)
	if err != nil {
		return false, err
	}
	leave, err := s.take(ctx)
	if err != nil {
		return false, err
	}
	defer leave()
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

	settled, err := s.reserve()
	if err != nil {
		return false, err
	}
	defer settled()
	made, err := s.m.records.create(ctx, c, p, nil)
	if err != nil {
		return false, err
	}
	s.adopt(made.record, made.secret, "")
	return true, nil
}

// pause keeps writers of one session in several processes from meeting in step.
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

// Message is a flash message: shown once, on the next page.
type Message struct {
	Kind string `json:"k,omitempty"` // "error", "notice": the application's word
	Text string `json:"t"`
}

// maxMessages is how many flash messages wait; older ones are dropped.
const maxMessages = 32

// Flash keeps a message for the user's next page, as Update keeps data.
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
		return failed("flash", err)
	}
	return nil
}

// Flashes takes the waiting messages: of concurrent requests one gets them. No round trip if there are none.
func (s *Session[T]) Flashes(ctx context.Context) ([]Message, error) {
	if s.m == nil {
		return nil, ErrNoMiddleware
	}
	rec, err := s.current(ctx)
	if err != nil {
		return nil, failed("flashes", err)
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
		return nil, failed("flashes", err)
	}
	return messages, nil
}

// parseMessages reads what Flash wrote; what it can't have written is no message.
func parseMessages(text string) (messages []Message) {
	if text == "" || json.Unmarshal([]byte(text), &messages) != nil {
		return nil
	}
	return messages
}
