package session

import (
	"fmt"

	"github.com/redstart-go/redstart/internal/core"
	"github.com/redstart-go/redstart/internal/fault"
)

// outcome is the first byte of each script's answer. What follows differs by script; each script has one decoder below.
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

// created is the answer of create.lua, and of recall.lua that began a session.
type created struct {
	micros    int64
	displaced []string // ids of the sessions that MaxPerUser ended
}

// recalled is the answer of recall.lua.
type recalled struct {
	created
	shared *record // the session that another request's recall has begun
	reused bool    // the token was stolen, and has ended
}

// ending is the answer of end_user.lua.
type ending struct {
	more  bool
	ended int64
}

// outcomeOf splits an answer. What all writing scripts share is an error: ErrNotFound, a *staleError, ErrTooManySessions, a clockError.
func (rs *records) outcomeOf(at address, msg core.Reply) (out outcome, rest string, err error) {
	text, err := msg.ToString()
	if err != nil || text == "" {
		return 0, "", nonsense()
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
			return out, rest, nonsense()
		}
		rs.learn(now)
		return out, rest, clockError{}
	}
	return out, rest, nil
}

// decodeDone reads the answer of move_begin.lua, move_undo.lua and move_finish.lua.
func (rs *records) decodeDone(at address, msg core.Reply) error {
	out, rest, err := rs.outcomeOf(at, msg)
	if err == nil && (out != outDone || rest != "") {
		err = nonsense()
	}
	return err
}

// decodeTime reads the answer of save.lua and touch.lua: the server's time in ms.
func (rs *records) decodeTime(at address, msg core.Reply) (now int64, err error) {
	out, rest, err := rs.outcomeOf(at, msg)
	if err != nil {
		return 0, err
	}
	now, ok := digits(rest)
	if out != outDone || len(rest) != millisLen || !ok {
		return 0, nonsense()
	}
	rs.learn(now)
	return now, nil
}

// decodeCreated reads the answer of create.lua.
func (rs *records) decodeCreated(at address, msg core.Reply) (created, error) {
	out, rest, err := rs.outcomeOf(at, msg)
	if err == nil && out != outDone {
		err = nonsense()
	}
	if err != nil {
		return created{}, err
	}
	return rs.createdOf(rest)
}

func (rs *records) createdOf(rest string) (c created, err error) {
	if len(rest) < microsLen || (len(rest)-microsLen)%idLen != 0 {
		return c, nonsense()
	}
	micros, ok := digits(rest[:microsLen])
	if !ok {
		return c, nonsense()
	}
	c.micros = micros
	for ids := rest[microsLen:]; ids != ""; ids = ids[idLen:] {
		if !isID(ids[:idLen]) {
			return created{}, nonsense()
		}
		c.displaced = append(c.displaced, ids[:idLen])
	}

	rs.learn(micros / 1000)
	rs.count.created.Add(1)
	rs.count.displaced.Add(int64(len(c.displaced)))
	return c, nil
}

// decodeRecalled reads the answer of recall.lua.
func (rs *records) decodeRecalled(at address, msg core.Reply) (r recalled, err error) {
	out, rest, err := rs.outcomeOf(at, msg)
	switch {
	case err != nil:
	case out == outDone:
		r.created, err = rs.createdOf(rest)
	case out == outShared && len(rest) > idLen:
		r.shared, err = rs.parse(address{at.tag, rest[:idLen]}, rest[idLen:])
	case out == outReused:
		r.reused = true
	default:
		err = nonsense()
	}
	return r, err
}

// decodeEnded reads the answer of end.lua.
func (rs *records) decodeEnded(msg core.Reply) (n int64, err error) {
	out, rest, err := rs.outcomeOf(address{}, msg)
	if err != nil {
		return 0, err
	}
	n, ok := digits(rest)
	if out != outDone || rest == "" || !ok {
		return 0, nonsense()
	}
	return n, nil
}

// decodeEndedUser reads the answer of end_user.lua.
func (rs *records) decodeEndedUser(msg core.Reply) (e ending, err error) {
	out, rest, err := rs.outcomeOf(address{}, msg)
	if err != nil {
		return e, err
	}
	if out != outDone || len(rest) < 2 {
		return e, nonsense()
	}
	n, ok := digits(rest[1:])
	if !ok {
		return e, nonsense()
	}
	return ending{more: rest[0] == '1', ended: n}, nil
}

// staleError brings the record that a write met instead of the one that it knew.
type staleError struct{ now *record }

func (*staleError) Error() string { return "session: changed in between" }

func nonsense() error {
	return fault.New(fault.ErrCorrupt, fmt.Errorf("a script's answer: %w", errNonsense), "is another program's key in the way?")
}
