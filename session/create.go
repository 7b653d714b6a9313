package session

import (
	"context"
	"strconv"
	"time"

	"github.com/redstart-go/redstart/internal/fault"
)

// deadlineSlack is what a sealed latest deadline leaves for a clock that is wrong. The script refuses twice as much.
const deadlineSlack = int64(time.Minute / time.Millisecond)

// made is a new session, with the secrets that exist nowhere else.
type made struct {
	record    *record
	secret    string
	remember  string   // token, or ""
	displaced []string // ids of the sessions that it displaced
}

// draft is a record to be written.
type draft struct {
	id, link, secret string
	kind             byte
	idle, lifetime   time.Duration
	payload          payload
}

// drafted is a sealed draft, ready for create.lua and recall.lua.
type drafted struct {
	record   *record
	idle     string // ms, 0 = none
	lifetime string // ms, 0 = none
	latest   string // ms of the server's clock, 0 = none
}

// create begins a session, and its remember-me token if asked for, in place of an old one of the same
// slot if there is one. ErrNotFound: the old one is gone. A *staleError: it has changed.
func (rs *records) create(ctx context.Context, c creation, p payload, old *record) (*made, error) {
	if len(p.user) > maxUser {
		return nil, tooLarge("the user's name", len(p.user), maxUser)
	}
	if err := rs.fits(&p); err != nil {
		return nil, err
	}
	p.userAgent, p.address = c.userAgent, c.address
	p.recalled, p.persistent = false, c.persistent

	m, err := rs.createOnce(ctx, c, p, old)
	if _, wrong := err.(clockError); wrong { // this process' idea of the server's clock was wrong, and is right now
		m, err = rs.createOnce(ctx, c, p, old)
	}
	return m, err
}

func (rs *records) createOnce(ctx context.Context, c creation, p payload, old *record) (*made, error) {
	p.authenticated = rs.clock()
	session := draft{id: random(idSize), secret: random(secretSize), kind: kindUser, idle: c.idle, lifetime: c.lifetime, payload: p}
	tag := rs.tag(p.user)
	if p.user == "" {
		session.kind, session.payload.authenticated, tag = kindAnonymous, 0, random(tagSize)
	}
	drafts, remember := []draft{session}, ""
	if c.remember && p.user != "" {
		r := draft{id: random(idSize), secret: random(secretSize), kind: kindRemember, idle: NoLimit, lifetime: rs.opt.RememberFor, link: session.id,
			payload: payload{user: p.user, userAgent: p.userAgent, address: p.address, authenticated: p.authenticated}}
		r.payload.proof = proofOf(r.secret)
		drafts[0].link = r.id
		drafts, remember = append(drafts, r), join(address{tag, r.id}, r.secret)
	}

	oldID, oldVersion, first := "", "", rs.key(address{tag, session.id})
	if old != nil {
		oldID, oldVersion, first = old.at.id, old.version, rs.key(old.at)
	}
	args := []string{rs.core.PublishCommand(ctx), strconv.Itoa(rs.opt.MaxPerUser), rs.opt.BeyondMax.argument(), oldID, oldVersion, millis(replacedFor)}
	var rec *record
	for i := range drafts {
		d, err := rs.write(tag, &drafts[i])
		if err != nil {
			return nil, err
		}
		if rec == nil {
			rec = d.record
		}
		r := d.record
		args = append(args, r.at.id, string(r.kind), r.version, d.idle, d.lifetime, d.latest, r.link, r.hash, r.body)
	}

	rs.points.Hold("write", "create")
	msg, err := rs.core.Eval(ctx, createScript, []string{rs.index(tag), first}, args)
	if err != nil {
		return nil, err
	}
	at := rec.at
	if old != nil {
		at = old.at
	}
	answer, err := rs.decodeCreated(at, msg)
	if err != nil {
		return nil, err
	}
	rec.began(answer.micros, drafts[0].lifetime)
	return &made{record: rec, secret: session.secret, remember: remember, displaced: answer.displaced}, nil
}

// write seals a draft.
func (rs *records) write(tag string, d *draft) (drafted, error) {
	hash := hashOf(d.secret)
	rec := &record{at: address{tag, d.id}, state: stateLive, kind: d.kind, version: newVersion(), link: linkTo(d.link), hash: string(hash[:]), payload: d.payload}
	if d.idle != NoLimit {
		rec.idle = d.idle.Milliseconds()
	}
	rec.latest = 0
	if d.lifetime != NoLimit {
		rec.latest = rs.clock() + d.lifetime.Milliseconds() + deadlineSlack
	}
	body, err := rs.seal.seal(rs.place(rec), &rec.payload)
	if err != nil {
		return drafted{}, err
	}
	rec.body = body
	return drafted{record: rec, idle: limit(d.idle), lifetime: limit(d.lifetime), latest: strconv.FormatInt(rec.latest, 10)}, nil
}

// began sets a written record's times, as the script has set them.
func (r *record) began(micros int64, lifetime time.Duration) {
	r.created, r.touched = time.UnixMicro(micros), micros/1000
	if lifetime != NoLimit {
		r.deadline = r.touched + lifetime.Milliseconds()
	}
}

// clockError says that a latest deadline did not fit the server's clock, which is known now.
type clockError struct{}

func (clockError) Error() string {
	return "session: this process and the server disagree about the time"
}

func (clockError) Unwrap() error {
	return fault.New(fault.ErrUnavailable, nil, "the server's clock jumps: retry")
}
