package session

import (
	"context"
	"strconv"
	"time"

	"github.com/redstart-go/redstart/internal/fault"
)

// deadlineSlack is added to the sealed latest deadline, for a wrong clock. The scripts refuse a
// slack of more than twice this time.
const deadlineSlack = int64(time.Minute / time.Millisecond)

// createdSession is a new session with its secrets, which the server does not store.
type createdSession struct {
	record    *record
	secret    string
	remember  string   // token, or ""
	displaced []string // ids of the sessions that MaxPerUser ended
}

// recordSpec is the description of a new record.
type recordSpec struct {
	id, link, secret string
	kind             byte
	idle, lifetime   time.Duration
	payload          payload
}

// sealedRecord is a sealed recordSpec, ready for create.lua and recall.lua.
type sealedRecord struct {
	record   *record
	idle     string // ms, 0 = none
	lifetime string // ms, 0 = none
	latest   string // ms of the server's clock, 0 = none
}

// create creates a session, and a remember-me token if the settings ask for it. It replaces old, a
// record of the same slot, unless old is nil. Errors: ErrNotFound if old is gone; a *staleError if
// old has changed. slot if there is one. ErrNotFound: the old one is gone. A *staleError: it has
// changed.
func (rs *records) create(ctx context.Context, c sessionSettings, p payload, old *record) (*createdSession, error) {
	if len(p.user) > maxUser {
		return nil, tooLarge("the user name", len(p.user), maxUser)
	}
	if err := rs.fits(&p); err != nil {
		return nil, err
	}
	p.userAgent, p.address = c.userAgent, c.address
	p.recalled, p.persistent = false, c.persistent

	m, err := rs.createOnce(ctx, c, p, old)
	if _, wrong := err.(clockError); wrong { // the skew was wrong; the script's reply has corrected it
		m, err = rs.createOnce(ctx, c, p, old)
	}
	return m, err
}

func (rs *records) createOnce(ctx context.Context, c sessionSettings, p payload, old *record) (*createdSession, error) {
	p.authenticated = rs.clock()
	session := recordSpec{id: random(idSize), secret: random(secretSize), kind: kindUser,
		idle: c.idle, lifetime: c.lifetime, payload: p}
	tag := rs.tag(p.user)
	if p.user == "" {
		session.kind, session.payload.authenticated, tag = kindAnonymous, 0, random(tagSize)
	}
	specs, remember := []recordSpec{session}, ""
	if c.remember && p.user != "" {
		token := recordSpec{id: random(idSize), secret: random(secretSize), kind: kindRemember,
			idle: none, lifetime: rs.opt.RememberFor, link: session.id,
			payload: payload{user: p.user, userAgent: p.userAgent, address: p.address, authenticated: p.authenticated}}
		token.payload.proof = proofOf(token.secret)
		specs[0].link = token.id
		specs, remember = append(specs, token), join(address{tag, token.id}, token.secret)
	}

	oldID, oldVersion, first := "", "", rs.key(address{tag, session.id})
	if old != nil {
		oldID, oldVersion, first = old.at.id, old.version, rs.key(old.at)
	}
	args := []string{rs.core.PublishCommand(ctx), strconv.Itoa(rs.opt.MaxPerUser), rs.opt.BeyondMax.argument(),
		oldID, oldVersion, millis(replacedFor)}
	var rec *record
	for i := range specs {
		d, err := rs.sealSpec(tag, &specs[i])
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
	reply, err := rs.decodeCreated(at, msg)
	if err != nil {
		return nil, err
	}
	rec.setTimes(reply.micros, specs[0].lifetime)
	return &createdSession{record: rec, secret: session.secret, remember: remember, displaced: reply.displaced}, nil
}

// sealSpec creates the record of a spec and seals its body.
func (rs *records) sealSpec(tag string, spec *recordSpec) (sealedRecord, error) {
	hash := hashOf(spec.secret)
	rec := &record{at: address{tag, spec.id}, state: stateLive, kind: spec.kind, version: newVersion(),
		link: linkTo(spec.link), hash: string(hash[:]), payload: spec.payload}
	if spec.idle != none {
		rec.idle = spec.idle.Milliseconds()
	}
	rec.latest = 0
	if spec.lifetime != none {
		rec.latest = rs.clock() + spec.lifetime.Milliseconds() + deadlineSlack
	}
	body, err := rs.seal.seal(rs.binding(rec), &rec.payload)
	if err != nil {
		return sealedRecord{}, err
	}
	rec.body = body
	return sealedRecord{record: rec, idle: limit(spec.idle), lifetime: limit(spec.lifetime),
		latest: strconv.FormatInt(rec.latest, 10)}, nil
}

// setTimes sets the times of a created record to the times that the script has stored.
func (r *record) setTimes(micros int64, lifetime time.Duration) {
	r.created, r.touched = time.UnixMicro(micros), micros/1000
	if lifetime != none {
		r.deadline = r.touched + lifetime.Milliseconds()
	}
}

// clockError means that the latest deadline did not fit the clock of the server. The skew is
// corrected.
type clockError struct{}

func (clockError) Error() string {
	return "session: the clocks of this process and of the server differ"
}

func (clockError) Unwrap() error {
	return fault.New(fault.ErrUnavailable, nil, "the clock of the server jumps: retry")
}
