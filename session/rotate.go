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
	recallScript = script.New(script.UndeclaredKeys + recordLua + recallLua)
)

// All secrets of a remember-me token start with the same half, the proof. Only browsers that had
// the token know it. The other half, 132 random bits, changes with each use. The server stores the
// hashes of both. So the server can distinguish a retired secret from an invented one without a
// list of the retired secrets.
const proofLen = secretLen / 2

// defaultUse is the grace period that decides about reuse if Options.RenewGrace is NoGrace. A
// recalled session that was used for more than twice the grace period proves that its browser has
// received its cookies.
const defaultUse = defaultRenewGrace

func proofOf(secret string) string {
	sum := hashOf("redstart remember-me proof\x00" + secret[:proofLen])
	return string(sum[:])
}

func equal(a, b string) bool {
	return len(b) > 0 && subtle.ConstantTimeCompare([]byte(a), []byte(b)) == 1
}

// rotate runs recall.lua: it creates a new session and replaces the secret of the token.
func (rs *records) rotate(ctx context.Context, c sessionSettings, rec *record, secret string,
	kind secretKind) (*createdSession, error) {
	at := rec.at
	spec := recordSpec{id: random(idSize), secret: random(secretSize), link: at.id, kind: kindUser,
		idle: c.idle, lifetime: c.lifetime,
		payload: payload{user: rec.user, userAgent: rec.userAgent, address: rec.address, authenticated: rec.authenticated,
			recalled: true, persistent: c.persistent}}
	hadDevice := rec.userAgent != "" || rec.address != ""
	if (c.userAgent != "" || c.address != "") && (hadDevice || !c.sameDevice) {
		spec.payload.userAgent, spec.payload.address = c.userAgent, c.address
	}
	session, err := rs.sealSpec(at.tag, &spec)
	if err != nil {
		return nil, err
	}

	next := *rec
	fresh := secret[:proofLen] + random(secretSize)[proofLen:]
	hash, presentedHash := hashOf(fresh), hashOf(secret)
	next.state, next.version, next.link, next.hash = stateRotated, newVersion(), spec.id, string(hash[:])
	next.previous = string(presentedHash[:])
	next.userAgent, next.address = spec.payload.userAgent, spec.payload.address
	if next.body, err = rs.seal.seal(rs.binding(&next), &next.payload); err != nil {
		return nil, err
	}

	grace, use, isPrevious := time.Duration(0), 2*defaultUse, "0"
	if rs.opt.RenewGrace != none {
		grace, use = rs.opt.RenewGrace, 2*rs.opt.RenewGrace
	}
	if kind == previous {
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

	reply, err := rs.decodeRecalled(at, msg)
	switch {
	case err != nil:
		return nil, err
	case reply.reused:
		return nil, rs.reused(ctx, rec)
	case reply.shared != nil:
		return &createdSession{record: reply.shared}, nil
	}

	s.setTimes(reply.micros, spec.lifetime)
	rs.count.recalled.Add(1)
	rs.emit(ctx, Event{Kind: EventRecalled, User: s.user, ID: s.at.id, UserAgent: s.userAgent, Address: s.address})
	rs.emitDisplaced(ctx, s.user, reply.displaced)
	return &createdSession{record: s, secret: spec.secret, remember: join(at, fresh)}, nil
}
