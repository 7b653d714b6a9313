package session

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"strconv"
	"time"

	"github.com/redstart-go/redstart/internal/core"
	"github.com/redstart-go/redstart/internal/fault"
)

// Info describes one session of a user, for the page on which users manage their sessions.
type Info struct {
	ID      string
	User    string
	Current bool // whether it is the session of the request whose context was passed to List
	Created time.Time
	// LastSeen is exact to min(IdleTimeout/10, 1 min).
	LastSeen time.Time
	// Expires is the time at which the session ends without further use.
	Expires time.Time
	// UserAgent and Address are the values that [Device] was given. Escape them before you show
	// them.
	UserAgent string
	Address   string
	// Remembered reports that the session has a remember-me token, or that only its token is left.
	Remembered bool
}

const (
	maxListed = 1000
	listBatch = 100
)

// List returns the sessions of a user, newest first, at most 1,000. A remember-me token whose
// session has expired is one entry too, because it can start a new session. Two round trips per 100
// sessions.
//
// Errors: the classes of package redstart.
func (m *Manager[T]) List(ctx context.Context, user string) ([]Info, error) {
	if user == "" {
		return nil, m.records.failed("list", errors.New("the user is empty: pass the name of a user"))
	}
	ctx, end := m.records.start(ctx, "list")
	all, err := m.records.list(ctx, user)
	end(err)
	if err != nil {
		return nil, m.records.failed("list", err)
	}
	current := m.FromContext(ctx).ID()
	for i := range all {
		all[i].Current = all[i].ID == current
	}
	return all, nil
}

func (rs *records) list(ctx context.Context, user string) ([]Info, error) {
	c, tag := rs.core, rs.tag(user)
	msg, err := c.Do(ctx, core.Read("ZRANGE", rs.index(tag), "0", strconv.Itoa(maxListed-1)))
	if err != nil {
		return nil, err
	}
	members, err := msg.AsStrSlice()
	if err != nil && !msg.IsNil() {
		return nil, fault.New(fault.ErrCorrupt, err, "")
	}

	sessions, remembers := []*record{}, map[string]*record{}
	for batch := range slices.Chunk(members, listBatch) {
		found, err := rs.readMany(ctx, addresses(tag, batch))
		if err != nil {
			return nil, err
		}
		for _, rec := range found {
			switch {
			case rec.user != user: // another user with the same 120-bit tag
			case rec.kind == kindUser:
				sessions = append(sessions, rec)
			case rec.kind == kindRemember:
				remembers[rec.at.id] = rec
			}
		}
	}

	all := make([]Info, 0, len(sessions))
	for _, rec := range sessions {
		all = append(all, rec.info(rec.linked() != "" && remembers[rec.linked()] != nil))
	}
	for _, rec := range sessions {
		delete(remembers, rec.linked())
	}
	for _, rec := range remembers {
		all = append(all, rec.info(true))
	}
	slices.SortFunc(all, func(a, b Info) int { return cmp.Or(b.Created.Compare(a.Created), cmp.Compare(a.ID, b.ID)) })
	return all, nil
}

// addresses returns the addresses of the records of index members.
func addresses(tag string, members []string) []address {
	at := make([]address, 0, len(members))
	for _, m := range members {
		if len(m) > idLen && isID(m[len(m)-idLen:]) {
			at = append(at, address{tag, m[len(m)-idLen:]})
		}
	}
	return at
}

// readMany reads records. It omits records that have expired or can't be read.
func (rs *records) readMany(ctx context.Context, at []address) ([]*record, error) {
	cmds := make([]core.Command, 0, len(at))
	for _, a := range at {
		cmds = append(cmds, core.Read("GET", rs.key(a)))
	}
	if len(cmds) == 0 {
		return nil, nil
	}
	var found []*record
	for i, r := range rs.core.DoMulti(ctx, cmds...) {
		msg, err := r.Get()
		if err != nil && !errors.Is(err, fault.ErrCorrupt) {
			return nil, err
		}
		if err != nil || msg.IsNil() {
			continue
		}
		raw, err := msg.ToString()
		if err != nil {
			continue
		}
		if rec, err := rs.parse(at[i], raw); err == nil {
			found = append(found, rec)
		}
	}
	return found, nil
}

func (r *record) info(remembered bool) Info {
	return Info{
		ID: r.at.id, User: r.user, UserAgent: r.userAgent, Address: r.address, Remembered: remembered,
		Created: r.created, LastSeen: time.UnixMilli(r.touched), Expires: time.UnixMilli(r.until()),
	}
}
