package session

import (
	"context"
	"errors"

	"github.com/redstart-go/redstart/internal/fault"
)

// Recall starts a new session with a remember-me token, without data, and replaces the token.
// [Session.RememberToken] returns the new token. [Manager.Middleware] calls Recall automatically.
// Two round trips. A token has at most one session: the previous session of the token ends.
//
// The old token stays valid until the new token is first used, so that a lost response does not log
// the user out. Requests with the old token within Options.RenewGrace share the new session.
// Requests that arrive at the same time in one process also share the response. For other requests
// Token and RememberToken return "", because the response to the first request has the cookies. An
// old token that arrives later, after the new session or the new token was used, was stolen or
// replaced by a thief. Then the token and its session end (Stats.Reused, EventReused).
//
// The application decides whether the new session has the same rights as a login with a password.
// For a sensitive change, ask for the password if [Session.Recalled] returns true.
//
// Errors: ErrNotFound for a token that is not a valid remember-me token; ErrTooManySessions;
// ErrUnreadable; the classes of package redstart.
func (m *Manager[T]) Recall(ctx context.Context, token string, opts ...CreateOption) (*Session[T], error) {
	s := &Session[T]{m: m}
	if err := s.recall(ctx, token, opts); err != nil {
		return nil, m.records.failed("recall", err)
	}
	return s, nil
}

func (s *Session[T]) recall(ctx context.Context, token string, opts []CreateOption) (err error) {
	rs := s.m.records
	ctx, end := rs.start(ctx, "recall")
	defer func() { end(unlessNotFound(err)) }()
	c, err := s.m.opt.settings(opts)
	if err != nil {
		return err
	}
	at, secret, ok := parseToken(token)
	if !ok {
		rs.count.misses.Add(1)
		return ErrNotFound
	}

	// One recall per token at a time, so that the parallel requests of a page share one session and
	// one response.
	claim, begun := rs.recalls.Join(ctx, token, true)
	if begun {
		started := rs.core.Group().Go("recall of a session", func(context.Context) {
			claim.Finish(rs.recall(claim.Context(), c, at, secret))
		})
		if !started {
			claim.Finish(nil, fault.New(fault.ErrUnavailable, nil, "the client is closed: open a new client"))
		}
	}
	created, _, err := claim.Wait(ctx)
	if err != nil {
		if ctx.Err() != nil {
			return fault.Classify(context.Cause(ctx), true)
		}
		return err
	}
	s.rec, s.secret, s.remember, s.state = created.record, created.secret, created.remember, known
	return nil
}

// secretKind is the relation of a secret to a remember-me record.
type secretKind uint8

const (
	foreign  secretKind = iota // not a secret of this token
	current                    // the newest secret
	previous                   // the secret before the newest one, which has not been used
	retired                    // an older secret: stolen, or replaced by a thief
)

// kindOf compares a secret with the hashes of a remember-me record.
func (r *record) kindOf(secret string) secretKind {
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

func (rs *records) recall(ctx context.Context, c sessionSettings, at address, secret string) (*createdSession, error) {
	for range maxAttempts {
		rec, err := rs.read(ctx, at)
		if err == nil && rec.kind != kindRemember {
			err = ErrNotFound
		}
		if err != nil {
			rs.countMiss(err)
			return nil, err
		}

		var m *createdSession
		switch p := rec.kindOf(secret); p {
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

// reused reports a replaced token that was used again. The token has ended.
func (rs *records) reused(ctx context.Context, rec *record) error {
	rs.count.reused.Add(1)
	rs.count.misses.Add(1)
	rs.emit(ctx, Event{Kind: EventReused, User: rec.user, ID: rec.at.id, UserAgent: rec.userAgent, Address: rec.address})
	return ErrNotFound
}
