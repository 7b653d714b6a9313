package session

import (
	"context"
	_ "embed"
	"errors"
	"strconv"
	"time"

	"github.com/redstart-go/redstart/internal/core"
	"github.com/redstart-go/redstart/internal/script"
)

var (
	//go:embed end.lua
	endLua string
	//go:embed end_user.lua
	endUserLua string

	endScript     = script.New(script.UndeclaredKeys + recordLua + endLua)
	endUserScript = script.New(script.UndeclaredKeys + recordLua + endUserLua)
)

// endBatch is the number of records that one script of RevokeUser ends. It takes a few milliseconds
// of the server.
const endBatch = 1000

// Destroy ends the session and its remember-me token, in every process and at once (S1). It is a
// logout. One round trip. If the response header was not sent, Destroy deletes the cookies of the
// browser. Otherwise the cookies stay, but their tokens are invalid. Then the Session is a visitor.
// Destroy of a visitor or of an ended session is no error.
//
// Errors: the classes of package redstart. After an error the session may still exist. Show the
// error to the user.
func (s *Session[T]) Destroy(ctx context.Context) error {
	if s.m == nil {
		return ErrNoMiddleware
	}
	if err := s.writable(); err != nil {
		return s.m.records.failed("destroy", err)
	}
	end := func(error) {}
	if s.snapshot() != nil {
		ctx, end = s.m.records.start(ctx, "destroy")
	}
	rec, err := s.destroy(ctx)
	end(err)
	if err != nil {
		return s.m.records.failed("destroy", err)
	}
	if rec != nil {
		s.m.records.emit(ctx, Event{Kind: EventRevoked, User: rec.user, ID: rec.at.id, Count: 1})
	}
	return nil
}

// destroy ends the record of the session and returns it. It returns nil for a visitor.
func (s *Session[T]) destroy(ctx context.Context) (*record, error) {
	unlock, err := s.lockToken(ctx)
	if err != nil {
		return nil, err
	}
	defer unlock()
	s.mu.Lock()
	rec := s.rec
	s.mu.Unlock()
	if rec != nil {
		if _, err := s.m.records.end(ctx, rec.at.tag, endDestroyed, rec.at.id); err != nil {
			return nil, err
		}
	}

	s.mu.Lock()
	s.rec, s.secret, s.remember, s.pending, s.data, s.state = nil, "", "", "", nil, visitor
	s.mu.Unlock()
	if s.resp != nil {
		s.resp.send(true, true, false)
	}
	return rec, nil
}

// RevokeOthers ends all other sessions of the user of this session, with their remember-me tokens,
// and returns their number. Call it after a change of the password. One round trip per 1,000
// sessions.
//
// Errors: ErrNotFound for a visitor and for a session that has ended; the classes of package
// redstart, after which some sessions may still exist.
func (s *Session[T]) RevokeOthers(ctx context.Context) (int, error) {
	if s.m == nil {
		return 0, ErrNoMiddleware
	}
	if err := s.writable(); err != nil {
		return 0, s.m.records.failed("revoke others", err)
	}
	s.mu.Lock()
	rec, now := s.rec, s.state
	s.mu.Unlock()
	if rec == nil || rec.user == "" || now == ended {
		return 0, s.m.records.failed("revoke others", ErrNotFound)
	}
	n, err := s.m.records.endUser(ctx, "revoke others", rec.at.tag, rec.at.id)
	if err != nil {
		return n, s.m.records.failed("revoke others", err)
	}
	s.m.records.emit(ctx, Event{Kind: EventRevoked, User: rec.user, Count: n})
	return n, nil
}

// Revoke ends one session of a user, with its remember-me token (S1). id is [Info].ID from
// [Manager.List]. One round trip.
//
// Errors: ErrNotFound if the user has no such session, because it has ended or belongs to another
// user; the classes of package redstart, after which the session may still exist.
func (m *Manager[T]) Revoke(ctx context.Context, user, id string) error {
	if user == "" || !isID(id) {
		return m.records.failed("revoke", ErrNotFound)
	}
	ctx, end := m.records.start(ctx, "revoke")
	n, err := m.records.end(ctx, m.records.tag(user), endRevoked, id)
	end(err)
	if err == nil && n == 0 {
		err = ErrNotFound
	}
	if err != nil {
		return m.records.failed("revoke", err)
	}
	m.records.emit(ctx, Event{Kind: EventRevoked, User: user, ID: id, Count: n})
	return nil
}

// RevokeUser ends all sessions and remember-me tokens of a user (S1), and returns the number of
// sessions. Call it to log a user out everywhere or to disable an account. One round trip per 1,000
// sessions. A login that starts during the call creates a new session, which stays.
//
// Errors: the classes of package redstart, after which some sessions may still exist.
func (m *Manager[T]) RevokeUser(ctx context.Context, user string) (int, error) {
	if user == "" {
		return 0, m.records.failed("revoke user", errors.New("the user is empty: pass the name of a user"))
	}
	n, err := m.records.endUser(ctx, "revoke user", m.records.tag(user), "")
	if err != nil {
		return n, m.records.failed("revoke user", err)
	}
	m.records.emit(ctx, Event{Kind: EventRevoked, User: user, Count: n})
	return n, nil
}

// endReason is the reason for which a record ends.
type endReason uint8

const (
	endRevoked   endReason = iota // by Revoke or RevokeUser, or after a theft
	endDestroyed                  // by Destroy: late requests with the token must not create a session
)

// end ends records of one slot and the records that are linked to them. It waits for replicas if
// the options ask for it.
func (rs *records) end(ctx context.Context, tag string, why endReason, ids ...string) (int, error) {
	rs.points.Hold("write", "end")
	mark := "0"
	if why == endDestroyed {
		mark = millis(replacedFor)
	}
	msg, err := rs.revoke(ctx, endScript, tag, append([]string{mark}, ids...)...)
	if err != nil {
		return 0, err
	}
	n, err := rs.decodeEnded(msg)
	rs.count.ended.Add(n)
	return int(n), err
}

// endUser ends all records of one slot but the session keep and its remember-me token. keep can be
// "".
func (rs *records) endUser(ctx context.Context, verb, tag, keep string) (total int, err error) {
	ctx, end := rs.start(ctx, verb)
	defer func() { end(err) }()
	for {
		rs.points.Hold("write", "end user")
		msg, err := rs.revoke(ctx, endUserScript, tag, keep, strconv.Itoa(endBatch))
		if err != nil {
			return total, err
		}
		reply, err := rs.decodeEndedUser(msg)
		if err != nil {
			return total, err
		}
		total += int(reply.ended)
		rs.count.ended.Add(reply.ended)
		if !reply.more {
			return total, nil
		}
	}
}

// revoke runs a script that ends records.
func (rs *records) revoke(ctx context.Context, s *script.Script, tag string, more ...string) (core.Reply, error) {
	keys := []string{rs.index(tag)}
	if rs.opt.MinReplicas == 0 {
		return rs.core.Eval(ctx, s, keys, append([]string{rs.core.PublishCommand(ctx), "0"}, more...))
	}
	// The mark key guarantees a write to wait for, so that a repeated call also waits for the
	// writes of the first call.
	return rs.confirmed(ctx, s, keys, append([]string{rs.core.PublishCommand(ctx), millis(time.Minute)}, more...))
}
