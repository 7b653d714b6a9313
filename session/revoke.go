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

	endScript     = script.New(recordLua + endLua)
	endUserScript = script.New(recordLua + endUserLua)
)

// endBatch is how many records one script of RevokeUser ends: a few milliseconds of the server's time.
const endBatch = 1000

// Destroy ends the session and its remember-me token, everywhere and at once (S1): logout. One round trip. The browser is told
// to delete its cookies if the response has not begun; if it has, they are worthless anyway. The Session is
// a visitor's afterwards. To end a session twice, or a visitor's, is no error.
//
// Errors: the classes of package redstart; after one the session may live on: tell the user.
func (s *Session[T]) Destroy(ctx context.Context) error {
	if s.m == nil {
		return ErrNoMiddleware
	}
	if err := s.writable(); err != nil {
		return failed("destroy", err)
	}
	end := func(error) {}
	if s.snapshot() != nil {
		ctx, end = s.m.records.start(ctx, "destroy")
	}
	rec, err := s.destroy(ctx)
	end(err)
	if err != nil {
		return failed("destroy", err)
	}
	if rec != nil {
		s.m.records.emit(ctx, Event{Kind: EventRevoked, User: rec.user, ID: rec.at.id, Count: 1})
	}
	return nil
}

// destroy ends the session's record and returns it, nil for a visitor.
func (s *Session[T]) destroy(ctx context.Context) (*record, error) {
	leave, err := s.take(ctx)
	if err != nil {
		return nil, err
	}
	defer leave()
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

// RevokeOthers ends all sessions of this session's user but this one, and returns how many: for after a change of
// password. Their remember-me tokens end too. One round trip per 1,000 sessions.
func (s *Session[T]) RevokeOthers(ctx context.Context) (int, error) {
	if s.m == nil {
		return 0, ErrNoMiddleware
	}
	if err := s.writable(); err != nil {
		return 0, failed("revoke others", err)
	}
	s.mu.Lock()
	rec, now := s.rec, s.state
	s.mu.Unlock()
	if rec == nil || rec.user == "" || now == ended {
		return 0, failed("revoke others", ErrNotFound)
	}
	n, err := s.m.records.endUser(ctx, "revoke others", rec.at.tag, rec.at.id)
	if err != nil {
		return n, failed("revoke others", err)
	}
	s.m.records.emit(ctx, Event{Kind: EventRevoked, User: rec.user, Count: n})
	return n, nil
}

// Revoke ends one session of a user by its ID, as List shows it, with its remember-me token (S1). One round trip.
//
// Errors: ErrNotFound if the user has no such session: it has ended already, or is another user's; the classes of
// package redstart, after which it may live on.
func (m *Manager[T]) Revoke(ctx context.Context, user, id string) error {
	if user == "" || !isID(id) {
		return failed("revoke", ErrNotFound)
	}
	ctx, end := m.records.start(ctx, "revoke")
	n, err := m.records.end(ctx, m.records.tag(user), endRevoked, id)
	end(err)
	if err == nil && n == 0 {
		err = ErrNotFound
	}
	if err != nil {
		return failed("revoke", err)
	}
	m.records.emit(ctx, Event{Kind: EventRevoked, User: user, ID: id, Count: n})
	return nil
}

// RevokeUser ends all sessions of a user and his remember-me tokens (S1), and returns how many sessions there were: log out everywhere,
// a disabled account. One round trip per 1,000 sessions. A login that begins in the meantime is a new session and stays.
//
// Errors: the classes of package redstart, after which some may live on.
func (m *Manager[T]) RevokeUser(ctx context.Context, user string) (int, error) {
	if user == "" {
		return 0, failed("revoke user", errors.New("the user is empty"))
	}
	n, err := m.records.endUser(ctx, "revoke user", m.records.tag(user), "")
	if err != nil {
		return n, failed("revoke user", err)
	}
	m.records.emit(ctx, Event{Kind: EventRevoked, User: user, Count: n})
	return n, nil
}

// endReason is why a record ends.
type endReason uint8

const (
	endRevoked   endReason = iota // by the user or an operator
	endDestroyed                  // by its own browser: late requests with the token begin no other session
)

// end ends records of one slot, with what is linked to them, and waits for the replicas if the options say so.
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

func (rs *records) endUser(ctx context.Context, verb, tag, keep string) (total int, err error) {
	ctx, end := rs.start(ctx, verb)
	defer func() { end(err) }()
	for {
		rs.points.Hold("write", "end user")
		msg, err := rs.revoke(ctx, endUserScript, tag, keep, strconv.Itoa(endBatch))
		if err != nil {
			return total, err
		}
		answer, err := rs.decodeEndedUser(msg)
		if err != nil {
			return total, err
		}
		total += int(answer.ended)
		rs.count.ended.Add(answer.ended)
		if !answer.more {
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
	// The mark makes sure that there is a write to wait for, so that a second try waits for the first one's too.
	return rs.confirmed(ctx, s, keys, append([]string{rs.core.PublishCommand(ctx), millis(time.Minute)}, more...))
}
