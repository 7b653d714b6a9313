package session

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"time"

	"github.com/redstart-go/redstart/internal/fault"
	"github.com/redstart-go/redstart/internal/script"
)

var (
	//go:embed move_begin.lua
	moveBeginLua string
	//go:embed move_undo.lua
	moveUndoLua string
	//go:embed move_finish.lua
	moveFinishLua string

	moveBeginScript  = script.New(recordLua + moveBeginLua)
	moveUndoScript   = script.New(recordLua + moveUndoLua)
	moveFinishScript = script.New(recordLua + moveFinishLua)
)

const (
	// movingFor is how long a session that is being moved to another slot can be taken back, at least.
	movingFor = 10 * time.Second
	// replacedFor is how long late requests with the token of before a login, or of a destroyed session, are known as such.
	replacedFor = time.Minute
)

// move ends a session in its slot and begins its successor in the user's:
//
//	(1) old slot: mark as moving, if the version is still the one whose data we carry    the old token is dead from here
//	(2) new slot: create
//	(3) old slot: end what was marked, if it still is
//
// A request that meets the moving session finds nothing. If (2) certainly did not happen, (1) is taken back, unless the
// moving session was revoked, which is then gone. If (3) finds that it was revoked, the successor ends too: it is returned with the error.
func (rs *records) move(ctx context.Context, c creation, p payload, old *record) (*made, error) {
	if err := rs.fits(&p); err != nil {
		return nil, err
	}
	nonce := newVersion()
	keys := []string{rs.index(old.at.tag), rs.key(old.at)}
	rs.points.Hold("write", "leave")
	msg, err := rs.core.Eval(ctx, moveBeginScript, keys, []string{old.version, nonce, millis(max(movingFor, 4*rs.core.Timeout())), old.at.id})
	if err == nil {
		err = rs.decodeDone(old.at, msg)
	}
	if err != nil {
		return nil, err
	}

	rs.points.Hold("write", "move")
	made, err := rs.create(ctx, c, p, nil)
	if err != nil {
		return nil, rs.takeBack(ctx, old, nonce, err)
	}

	rs.points.Hold("write", "finish")
	ctx = context.WithoutCancel(ctx)
	msg, err = rs.core.Eval(ctx, moveFinishScript, keys, []string{rs.core.PublishCommand(ctx), nonce, old.at.id, millis(replacedFor)})
	if err == nil {
		err = rs.decodeDone(old.at, msg)
	}
	if err == nil {
		return made, nil
	}
	// It is not known, or certain, that the old session was ended in between: the login must not stand. The successor's token is known
	// here alone, so if it can't be ended it is nothing but memory until it expires.
	if _, lost := rs.end(ctx, made.record.at.tag, endRevoked, made.record.at.id); lost != nil {
		rs.core.Logger().Debug("session: the rest of a login that was taken back expires by itself", "error", lost)
	}
	return made, err
}

// takeBack undoes the first step after the second failed with cause.
func (rs *records) takeBack(ctx context.Context, old *record, nonce string, cause error) error {
	if errors.Is(cause, fault.ErrIndeterminate) {
		return cause // there may be a successor: bringing the old one back could make two
	}
	msg, err := rs.core.Eval(context.WithoutCancel(ctx), moveUndoScript, []string{rs.index(old.at.tag), rs.key(old.at)}, []string{nonce, old.version, old.at.id})
	if err == nil {
		err = rs.decodeDone(old.at, msg)
	}
	if err != nil {
		return fmt.Errorf("%w (and the session before could not be brought back: %w)", cause, err)
	}
	return cause
}
