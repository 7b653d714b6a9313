package session

import (
	"context"
	"crypto/subtle"
	_ "embed"
	"strconv"
	"time"

	"github.com/redstart-go/redstart/internal/script"
)

var (
	//go:embed recall.lua
	recallLua    string
	recallScript = script.New(recordLua + recallLua)
)

// All secrets of a remember-me token begin with the same half, its proof, which only browsers that had the token know; the other half, 132
// random bits, is replaced with each use. Both are stored as hashes. So a retired secret is distinguished from an invented one
// without keeping a list of the retired ones.
const proofLen = secretLen / 2

// defaultUse is how much longer than RenewGrace a recalled session must have been in use for it to be certain that the browser has its
// cookies, and twice that without a grace.
const defaultUse = DefaultRenewGrace

func proofOf(secret string) string {
	sum := hashOf("redstart remember-me proof\x00" + secret[:proofLen])
	return string(sum[:])
}

func equal(a, b string) bool {
	return len(b) > 0 && subtle.ConstantTimeCompare([]byte(a), []byte(b)) == 1
}

// rotate runs recall.lua: the session of this token is a new one, and the token's secret another.
func (rs *records) rotate(ctx context.Context, c creation, rec *record, secret string, p presented) (*made, error) {
	at := rec.at
	d := draft{id: random(idSize), secret: random(secretSize), link: at.id, kind: kindUser, idle: c.idle, lifetime: c.lifetime,
		payload: payload{user: rec.user, userAgent: rec.userAgent, address: rec.address, authenticated: rec.authenticated, recalled: true, persistent: c.persistent}}
	noted := rec.userAgent != "" || rec.address != ""
	if (c.userAgent != "" || c.address != "") && (noted || !c.sameDevice) {
		d.payload.userAgent, d.payload.address = c.userAgent, c.address
	}
	session, err := rs.write(at.tag, &d)
	if err != nil {
		return nil, err
	}

	next := *rec
	fresh := secret[:proofLen] + random(secretSize)[proofLen:]
	hash, presentedHash := hashOf(fresh), hashOf(secret)
	next.state, next.version, next.link, next.hash = stateRotated, newVersion(), d.id, string(hash[:])
	next.previous = string(presentedHash[:])
	next.userAgent, next.address = d.payload.userAgent, d.payload.address
	if next.body, err = rs.seal.seal(rs.place(&next), &next.payload); err != nil {
		return nil, err
	}

	grace, use, isPrevious := time.Duration(0), 2*defaultUse, "0"
	if rs.opt.RenewGrace != NoLimit {
		grace, use = rs.opt.RenewGrace, 2*rs.opt.RenewGrace
	}
	if p == previous {
		isPrevious = "1"
	}
	s := session.record
	rs.points.Hold("write", "recall")
	msg, err := rs.core.Eval(ctx, recallScript, []string{rs.index(at.tag), rs.key(at)}, []string{
		rs.core.PublishCommand(ctx), strconv.Itoa(rs.opt.MaxPerUser), rs.opt.BeyondMax.argument(), at.id, rec.version,
		isPrevious, millis(grace), millis(use), next.version, next.hash, next.body,
		s.at.id, s.version, session.idle, session.lifetime, session.latest, s.hash, s.body})
	if err != nil {
		return nil, err
	}
	answer, err := rs.decodeRecalled(at, msg)
	switch {
	case err != nil:
		return nil, err
	case answer.reused:
		return nil, rs.reused(ctx, rec)
	case answer.shared != nil:
		return &made{record: answer.shared}, nil
	}
	s.began(answer.micros, d.lifetime)
	rs.count.recalled.Add(1)
	rs.emit(ctx, Event{Kind: EventRecalled, User: s.user, ID: s.at.id, UserAgent: s.userAgent, Address: s.address})
	rs.emitDisplaced(ctx, s.user, answer.displaced)
	return &made{record: s, secret: d.secret, remember: join(at, fresh)}, nil
}
