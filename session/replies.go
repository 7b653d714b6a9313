package session

import (
	"fmt"

	"github.com/redstart-go/redstart/internal/core"
	"github.com/redstart-go/redstart/internal/fault"
)

// outcome is the first byte of the reply of every script. The rest depends on the script. Each
// script has one decoder below.
type outcome byte

const (
	outDone    outcome = 'D'
	outGone    outcome = 'G'
	outChanged outcome = 'C'
	outFull    outcome = 'F'
	outClock   outcome = 'K'
	outShared  outcome = 'S'
	outReused  outcome = 'R'
)

const (
	millisLen = 13
	microsLen = 16
)

// createReply is the reply of create.lua, and of recall.lua if it started a session.
type createReply struct {
	micros    int64
	displaced []string // ids of the sessions that MaxPerUser ended
}

// recallReply is the reply of recall.lua.
type recallReply struct {
	createReply
	shared *record // the session that the recall of another request has started
	reused bool    // the token was stolen, and has ended
}

// endUserReply is the reply of end_user.lua.
type endUserReply struct {
	more  bool
	ended int64
}

// outcomeOf splits a reply. It returns the outcomes that all writing scripts share as errors:
// ErrNotFound, a *staleError, ErrTooManySessions or a clockError.
func (rs *records) outcomeOf(at address, msg core.Reply) (out outcome, rest string, err error) {
	text, err := msg.ToString()
	if err != nil || text == "" {
		return 0, "", malformedReply()
	}
	out, rest = outcome(text[0]), text[1:]
	switch out {
	case outGone:
		return out, rest, ErrNotFound
	case outChanged:
		rec, err := rs.parse(at, rest)
		if err != nil {
			return out, rest, err
		}
		rs.count.conflicts.Add(1)
		return out, rest, &staleError{rec}
	case outFull:
		rs.count.refused.Add(1)
		return out, rest, ErrTooManySessions
	case outClock:
		now, ok := digits(rest)
		if !ok {
			return out, rest, malformedReply()
		}
		rs.setSkew(now)
		return out, rest, clockError{}
	}
	return out, rest, nil
}

// decodeDone reads the reply of move_begin.lua, move_undo.lua and move_finish.lua.
func (rs *records) decodeDone(at address, msg core.Reply) error {
	out, rest, err := rs.outcomeOf(at, msg)
	if err == nil && (out != outDone || rest != "") {
		err = malformedReply()
	}
	return err
}

// decodeTime reads the reply of save.lua and touch.lua: the time of the server in ms.
func (rs *records) decodeTime(at address, msg core.Reply) (now int64, err error) {
	out, rest, err := rs.outcomeOf(at, msg)
	if err != nil {
		return 0, err
	}
	now, ok := digits(rest)
	if out != outDone || len(rest) != millisLen || !ok {
		return 0, malformedReply()
	}
	rs.setSkew(now)
	return now, nil
}

// decodeCreated reads the reply of create.lua.
func (rs *records) decodeCreated(at address, msg core.Reply) (createReply, error) {
	out, rest, err := rs.outcomeOf(at, msg)
	if err == nil && out != outDone {
		err = malformedReply()
	}
	if err != nil {
		return createReply{}, err
	}
	return rs.createdOf(rest)
}

func (rs *records) createdOf(rest string) (c createReply, err error) {
	if len(rest) < microsLen || (len(rest)-microsLen)%idLen != 0 {
		return c, malformedReply()
	}
	micros, ok := digits(rest[:microsLen])
	if !ok {
		return c, malformedReply()
	}
	c.micros = micros
	for ids := rest[microsLen:]; ids != ""; ids = ids[idLen:] {
		if !isID(ids[:idLen]) {
			return createReply{}, malformedReply()
		}
		c.displaced = append(c.displaced, ids[:idLen])
	}

	rs.setSkew(micros / 1000)
	rs.count.created.Add(1)
	rs.count.displaced.Add(int64(len(c.displaced)))
	return c, nil
}

// decodeRecalled reads the reply of recall.lua.
func (rs *records) decodeRecalled(at address, msg core.Reply) (r recallReply, err error) {
	out, rest, err := rs.outcomeOf(at, msg)
	switch {
	case err != nil:
	case out == outDone:
		r.createReply, err = rs.createdOf(rest)
	case out == outShared && len(rest) > idLen:
		r.shared, err = rs.parse(address{at.tag, rest[:idLen]}, rest[idLen:])
	case out == outReused:
		r.reused = true
	default:
		err = malformedReply()
	}
	return r, err
}

// decodeEnded reads the reply of end.lua.
func (rs *records) decodeEnded(msg core.Reply) (n int64, err error) {
	out, rest, err := rs.outcomeOf(address{}, msg)
	if err != nil {
		return 0, err
	}
	n, ok := digits(rest)
	if out != outDone || rest == "" || !ok {
		return 0, malformedReply()
	}
	return n, nil
}

// decodeEndedUser reads the reply of end_user.lua.
func (rs *records) decodeEndedUser(msg core.Reply) (e endUserReply, err error) {
	out, rest, err := rs.outcomeOf(address{}, msg)
	if err != nil {
		return e, err
	}
	if out != outDone || len(rest) < 2 {
		return e, malformedReply()
	}
	n, ok := digits(rest[1:])
	if !ok {
		return e, malformedReply()
	}
	return endUserReply{more: rest[0] == '1', ended: n}, nil
}

// staleError has the record that a write found instead of the version that it expected.
type staleError struct{ now *record }

func (*staleError) Error() string { return "session: another writer changed the session" }

func malformedReply() error {
	return fault.New(fault.ErrCorrupt, fmt.Errorf("malformed reply of a script: %w", errMalformed),
		"check whether another program writes keys of this namespace")
}
