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

// Info is one of a user's sessions, for the page on which he looks after them.
type Info struct {
	ID         string
	User       string
	Current    bool // it is the session of the request that asks: of the context's, behind Middleware
	Created    time.Time
	LastSeen   time.Time // to the touch throttle, min(IdleTimeout/10, 1 min)
	Expires    time.Time // if nobody uses it again
	UserAgent  string    // as Device was given it: escape it
	Address    string
	Remembered bool // a remember-me token goes with it, or is all that is left of it
}

const (
	maxListed = 1000
	listBatch = 100
)

// List returns a user's sessions, newest first, at most 1,000; a remember-me token whose session has expired is one
// entry too, since it can begin a new one. Two round trips per 100 sessions.
func (m *Manager[T]) List(ctx context.Context, user string) ([]Info, error) {
	if user == "" {
		return nil, failed("list", errors.New("the user is empty"))
	}
	ctx, end := m.records.start(ctx, "list")
	all, err := m.records.list(ctx, user)
	end(err)
	if err != nil {
		return nil, failed("list", err)
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
			case rec.user != user: // two users with one tag: not in this world
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

// addresses are where the records of index members lie.
func addresses(tag string, members []string) []address {
	at := make([]address, 0, len(members))
	for _, m := range members {
		if len(m) > idLen && isID(m[len(m)-idLen:]) {
			at = append(at, address{tag, m[len(m)-idLen:]})
		}
	}
	return at
}

// readMany reads records; those that have expired or can't be read are left out.
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
	return Info{ID: r.at.id, User: r.user, Created: r.created, LastSeen: time.UnixMilli(r.touched), Expires: time.UnixMilli(r.until()),
		UserAgent: r.userAgent, Address: r.address, Remembered: remembered}
}
