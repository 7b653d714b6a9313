package session

import (
	"context"
	"fmt"
)

// Event is what Options.OnEvent gets, for an audit log.
type Event struct {
	Kind      EventKind
	User      string // "" for a visitor's session, and where it is not known
	ID        string // of the session, or of the remember-me token for EventReused; "" for all of a user's sessions
	UserAgent string // as Device was given it: escape it
	Address   string
	Count     int // sessions that ended, for EventRevoked and EventDisplaced
}

// EventKind is what happened.
type EventKind string

// The kinds of events.
const (
	EventCreated   EventKind = "created"   // Create, and a visitor's first Update or Flash
	EventLoggedIn  EventKind = "logged in" // Login
	EventRecalled  EventKind = "recalled"  // a remember-me token began a session
	EventRenewed   EventKind = "renewed"   // Renew
	EventRevoked   EventKind = "revoked"   // Destroy, Revoke, RevokeUser, RevokeOthers
	EventDisplaced EventKind = "displaced" // Options.MaxPerUser ended this session, the oldest; one event for each
	EventReused    EventKind = "reused"    // a remember-me token was used again after it was replaced: it was stolen, and has ended
	EventUnknown   EventKind = "unknown"   // a request came with the token of a session that has ended or never was
)

// emit calls the user's hook. Its panic is logged and goes no further: the call that it reports has happened.
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

// emitDisplaced reports the sessions that a new session of the user displaced.
func (rs *records) emitDisplaced(ctx context.Context, user string, ids []string) {
	for _, id := range ids {
		rs.emit(ctx, Event{Kind: EventDisplaced, User: user, ID: id, Count: 1})
	}
}
