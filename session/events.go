package session

import (
	"context"
	"fmt"
)

// Event is the argument of [Options.OnEvent], for an audit log.
type Event struct {
	Kind EventKind
	// User is "" for an anonymous session, and for [EventUnknown].
	User string
	// ID is the id of the session. For EventReused it is the id of the remember-me token. It is ""
	// if all sessions of a user ended.
	ID string
	// UserAgent and Address are the values that [Device] was given. Escape them before you show
	// them.
	UserAgent string
	Address   string
	// Count is the number of sessions that ended, for EventRevoked and EventDisplaced.
	Count int
}

// EventKind is the kind of an [Event].
type EventKind string

// The kinds of events.
const (
	EventCreated   EventKind = "created"   // Create, and the first Update or Flash of a visitor
	EventLoggedIn  EventKind = "logged in" // Login
	EventRecalled  EventKind = "recalled"  // a remember-me token started a session
	EventRenewed   EventKind = "renewed"   // Renew
	EventRevoked   EventKind = "revoked"   // Destroy, Revoke, RevokeUser, RevokeOthers
	EventDisplaced EventKind = "displaced" // Options.MaxPerUser ended the oldest session; one event per session
	EventReused    EventKind = "reused"    // a replaced remember-me token was used: it was stolen, and has ended
	EventUnknown   EventKind = "unknown"   // a request had the token of a session that does not exist
)

// emit calls OnEvent. A panic of OnEvent is logged and contained, because the operation has
// succeeded.
func (rs *records) emit(ctx context.Context, e Event) {
	if rs.opt.OnEvent == nil {
		return
	}
	defer func() {
		if p := recover(); p != nil {
			rs.core.Logger().Error("session: OnEvent panicked", "kind", string(e.Kind), "panic", fmt.Sprint(p))
		}
	}()
	rs.opt.OnEvent(ctx, e)
}

// emitDisplaced emits an event for each session that a new session of the user displaced.
func (rs *records) emitDisplaced(ctx context.Context, user string, ids []string) {
	for _, id := range ids {
		rs.emit(ctx, Event{Kind: EventDisplaced, User: user, ID: id, Count: 1})
	}
}
