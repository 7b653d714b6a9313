package session

import (
	"context"
	"errors"

	"github.com/redstart-go/redstart/internal/fault"
)

// Recall begins a new session for the user of a remember-me token, with no data, and replaces the token: RememberToken is the new one.
// Middleware does it automatically. Two round trips. One token has one session: the token's session of before ends.
//
// The old token is retired when the new one is first used, so that a lost answer costs no login. Requests that come with the old token
// within Options.RenewGrace share the new session, and the same answer if they meet in one process; otherwise Token and RememberToken are
// "", because the answer to the first request carries them. An old token that comes later, after the new session was in
// use or the new token was used, was stolen or is the thief's: the token and its session end (Stats.Reused, EventReused).
//
// The new session is as good as a login with a password or not, as the application decides: a careful one asks for the
// password before it lets a session that is Recalled change it.
//
// Errors: ErrNotFound for every token that isn't a living remember-me token; ErrTooManySessions; ErrUnreadable; the classes of package redstart.
func (m *Manager[T]) Recall(ctx context.Context, token string, opts ...CreateOption) (*Session[T], error) {
	s := &Session[T]{m: m}
	if err := s.recall(ctx, token, opts); err != nil {
		return nil, failed("recall", err)
	}
	return s, nil
}

func (s *Session[T]) recall(ctx context.Context, token string, opts []CreateOption) (err error) {
	rs := s.m.records
	ctx, end := rs.start(ctx, "recall")
	defer func() { end(unlessNotFound(err)) }()
	c, err := s.m.opt.creation(opts)
	if err != nil {
		return err
	}
	at, secret, ok := parseToken(token)
	if !ok {
		rs.count.misses.Add(1)
		return ErrNotFound
	}

	// One recall per token at a time: a page's parallel requests share one session and one answer.
	claim, begun := rs.recalls.Join(ctx, token, true)
	if begun {
		started := rs.core.Group().Go("recall of a session", func(context.Context) {
			claim.Finish(rs.recall(claim.Context(), c, at, secret))
		})
		if !started {
			claim.Finish(nil, fault.New(fault.ErrUnavailable, nil, "the client is closed"))
		}
	}
	made, _, err := claim.Wait(ctx)
	if err != nil {
		if ctx.Err() != nil {
			return fault.Classify(context.Cause(ctx), true)
		}
		return err
	}
	s.rec, s.secret, s.remember, s.state = made.record, made.secret, made.remember, known
	return nil
}

// presented is what a secret is to a remember-me record.
type presented uint8

const (
	foreign  presented = iota // not of this token
	current                   // the newest
	previous                  // the one before, while the newest has not been used
	retired                   // once of this token: stolen, or superseded by a thief's
)

// presents compares a secret with all that a remember-me record knows.
func (r *record) presents(secret string) presented {
	hash := hashOf(secret)
	switch {
	case r.proves(secret):
		return current
	case r.state == stateRotated && equal(string(hash[:]), r.previous):
		return previous
	case equal(proofOf(secret), r.proof):
		return retired
	}
	return foreign
}

func (rs *records) recall(ctx context.Context, c creation, at address, secret string) (*made, error) {
	for range maxAttempts {
		rec, err := rs.read(ctx, at)
		if err == nil && rec.kind != kindRemember {
			err = ErrNotFound
		}
		if err != nil {
			rs.countMiss(err)
			return nil, err
		}
		var m *made
		switch p := rec.presents(secret); p {
		case foreign:
			rs.count.misses.Add(1)
			return nil, ErrNotFound
		case retired:
			if _, err := rs.end(ctx, at.tag, endRevoked, at.id); err != nil {
				return nil, err
			}
			return nil, rs.reused(ctx, rec)
		default:
			m, err = rs.rotate(ctx, c, rec, secret, p)
		}
		var stale *staleError
		if _, wrong := err.(clockError); !wrong && !errors.As(err, &stale) {
			return m, err
		}
	}
	return nil, ErrConflict
}

// reused reports that a token was used again after it was replaced, and has ended.
func (rs *records) reused(ctx context.Context, rec *record) error {
	rs.count.reused.Add(1)
	rs.count.misses.Add(1)
	rs.emit(ctx, Event{Kind: EventReused, User: rec.user, ID: rec.at.id, UserAgent: rec.userAgent, Address: rec.address})
	return ErrNotFound
}
