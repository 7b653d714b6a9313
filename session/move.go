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
	// movingFor is the minimum time in which the move of a session to another slot can be undone.
	movingFor = 10 * time.Second
	// replacedFor is the time for which the server recognizes the token that a login or Destroy has
	// replaced, for late requests.
	replacedFor = time.Minute
)

// move ends a session in its slot and creates its successor in the slot of the user:
//
//	(1) old slot: mark as moving, if the version is still the version of our data    the old token is invalid from here
//	(2) new slot: create
//	(3) old slot: end the marked session, if it is still marked
//
// A request that finds the moving session gets ErrNotFound. If (2) certainly failed, move undoes
// (1). If the moving session was revoked, it stays revoked. If (3) finds that it was revoked, the
// successor ends too, and move returns it with the error.
func (rs *records) move(ctx context.Context, c sessionSettings, p payload, old *record) (*createdSession, error) {
	if err := rs.fits(&p); err != nil {
		return nil, err
	}
	nonce := newVersion()
	keys := []string{rs.index(old.at.tag), rs.key(old.at)}
	rs.points.Hold("write", "leave")
	moving := millis(max(movingFor, 4*rs.core.Timeout()))
	msg, err := rs.core.Eval(ctx, moveBeginScript, keys, []string{old.version, nonce, moving, old.at.id})
	if err == nil {
		err = rs.decodeDone(old.at, msg)
	}
	if err != nil {
		return nil, err
	}

	rs.points.Hold("write", "move")
	created, err := rs.create(ctx, c, p, nil)
	if err != nil {
		return nil, rs.undoMove(ctx, old, nonce, err)
	}

	rs.points.Hold("write", "finish")
	ctx = context.WithoutCancel(ctx)
	// the link of the record that step 1 has marked can't change
	msg, err = rs.core.Eval(ctx, moveFinishScript, append(keys, rs.key(address{old.at.tag, old.link})),
		[]string{rs.core.PublishCommand(ctx), nonce, old.at.id, millis(replacedFor)})
	if err == nil {
		err = rs.decodeDone(old.at, msg)
	}
	if err == nil {
		return created, nil
	}
	// The old session was ended concurrently, or may have been. The login must not succeed. Only
	// this process knows the token of the successor. If the successor can't be ended, it uses
	// memory until it expires.
	if _, endErr := rs.end(ctx, created.record.at.tag, endRevoked, created.record.at.id); endErr != nil {
		rs.core.Logger().Debug("session: the session of a failed login stays until it expires", "error", endErr)
	}
	return created, err
}

// undoMove undoes the first step of a move after the second step has failed with cause.
func (rs *records) undoMove(ctx context.Context, old *record, nonce string, cause error) error {
	if errors.Is(cause, fault.ErrIndeterminate) {
		return cause // the successor may exist: restoring the old session could leave two sessions
	}
	msg, err := rs.core.Eval(context.WithoutCancel(ctx), moveUndoScript, []string{rs.index(old.at.tag), rs.key(old.at)},
		[]string{nonce, old.version, old.at.id})
	if err == nil {
		err = rs.decodeDone(old.at, msg)
	}
	if err != nil {
		return fmt.Errorf("%w (and the previous session could not be restored: %w)", cause, err)
	}
	return cause
}
