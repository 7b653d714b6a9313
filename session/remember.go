package session

import (
	"context"
	_ "embed"
	"errors"

	"github.com/redstart-go/redstart/internal/fault"
	"github.com/redstart-go/redstart/internal/script"
)

var (
	//go:embed recall.lua
	recallLua    string
	recallScript = script.New(recordLua + recallLua)
)

// Recall begins a new session for the user of a remember-me token, with no data, and replaces the token: RememberToken is the new one.
// Middleware does it by itself. Two round trips. The old token works for Options.RenewGrace, for requests that were sent together; each
// of them begins a session. The new session is as good as a login with a password or not, as the application
// decides: a careful one asks for the password before it lets a recalled session change it.
//
// Errors: ErrNotFound for every token that isn't a living remember-me token; the classes of package redstart.
func (m *Manager[T]) Recall(ctx context.Context, token string, opts ...CreateOption) (*Session[T], error) {
	s := &Session[T]{m: m}
	if err := s.recall(ctx, token, opts); err != nil {
		return nil, failed("recall", err)
	}
	return s, nil
}

func (s *Session[T]) recall(ctx context.Context, token string, opts []CreateOption) (err error) {
	ctx, end := s.m.records.start(ctx, "recall")
	defer func() { end(unlessNotFound(err)) }()
	c, err := s.m.opt.creation(opts)
	if err != nil {
		return err
	}
	at, secret, ok := parseToken(token)
	if !ok {
		s.m.records.count.misses.Add(1)
		return ErrNotFound
	}
	made, err := s.m.records.recall(ctx, c, at, secret)
	if err != nil {
		return err
	}
	s.rec, s.secret, s.remember, s.state = made.record, made.secret, made.remember, known
	return nil
}

func (rs *records) recall(ctx context.Context, c creation, at address, secret string) (*made, error) {
	rec, graced, err := rs.find(ctx, at, secret, true)
	if err != nil {
		return nil, err
	}
	for range maxAttempts {
		if !graced {
			graced = !rec.proves(secret) // another request was faster
		}
		made, err := rs.recallOnce(ctx, c, rec, graced)
		var stale *staleError
		if !errors.As(err, &stale) {
			return made, err
		}
		rec = stale.now
	}
	return nil, ErrConflict
}

func (rs *records) recallOnce(ctx context.Context, c creation, rec *record, graced bool) (*made, error) {
	at := rec.at
	d := draft{id: random(idSize), secret: random(secretSize), link: at.id, kind: kindUser, idle: c.idle, lifetime: c.lifetime,
		payload: payload{user: rec.user, userAgent: rec.userAgent, address: rec.address}}
	if c.userAgent != "" || c.address != "" {
		d.payload.userAgent, d.payload.address = c.userAgent, c.address
	}
	session, written, err := rs.write(at.tag, &d)
	if err != nil {
		return nil, err
	}
	keys := []string{rs.index(at.tag), rs.key(at)}
	version, hash, grace, body, token := "", "", "0", "", ""
	if !graced { // a token that was replaced already is not replaced again
		old, next := hashOf(""), random(secretSize)
		copy(old[:], rec.hash)
		sum := hashOf(next)
		version, hash, token = newVersion(), string(sum[:]), join(at, next)
		p := rec.payload
		p.userAgent, p.address = d.payload.userAgent, d.payload.address
		if body, err = rs.seal.seal(rs.place(at, kindRemember, version, hash), &p); err != nil {
			return nil, err
		}
		keys = append(keys, rs.graceKey(at, old))
		if rs.opt.RenewGrace != NoLimit {
			grace = millis(rs.opt.RenewGrace)
		}
	}
	rs.before("recall")
	// session: id, kind, version, idle, lifetime, link, hash, body
	msg, err := rs.core.Eval(ctx, recallScript, keys, []string{rs.core.PublishCommand(ctx), at.id, rec.version, version, hash, grace, body,
		session[0], session[2], session[3], session[4], session[6], session[7]})
	if err != nil {
		return nil, err
	}
	if err := rs.refused(at, msg); err != nil {
		return nil, err
	}
	answer, err := msg.ToString()
	if err != nil || len(answer) != 16 {
		return nil, fault.New(fault.ErrCorrupt, errNonsense, "")
	}
	micros, _ := digits(answer)
	rs.learn(micros / 1000)
	written.began(micros)
	rs.count.created.Add(1)
	rs.count.recalled.Add(1)
	return &made{record: written, secret: d.secret, remember: token}, nil
}
