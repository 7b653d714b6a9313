package session

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"strconv"
	"time"

	"github.com/redis/rueidis"

	"github.com/redstart-go/redstart/internal/fault"
)

// Info is one of a user's sessions, for the page on which he looks after them.
type Info struct {
	ID         string
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
	return all, nil
}

func (rs *records) list(ctx context.Context, user string) ([]Info, error) {
	c, tag := rs.core, rs.tag(user)
	msg, err := c.Do(ctx, c.B().Zrange().Key(rs.index(tag)).Min("0").Max(strconv.Itoa(maxListed-1)).Build())
	if err != nil {
		return nil, err
	}
	members, err := msg.AsStrSlice()
	if err != nil && !msg.IsNil() {
		return nil, fault.New(fault.ErrCorrupt, err, "")
	}
	sessions, remembers := []*record{}, map[string]*record{}
	for batch := range slices.Chunk(members, listBatch) {
		found, err := rs.readMany(ctx, tag, batch)
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

// readMany reads the records of index members; those that have expired or can't be read are left out.
func (rs *records) readMany(ctx context.Context, tag string, members []string) ([]*record, error) {
	var cmds []rueidis.Completed
	var at []address
	for _, m := range members {
		if len(m) <= idLen || !isID(m[len(m)-idLen:]) {
			continue
		}
		a := address{tag, m[len(m)-idLen:]}
		at = append(at, a)
		cmds = append(cmds, rs.core.B().Get().Key(rs.key(a)).Build())
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
	return Info{ID: r.at.id, Created: r.created, LastSeen: time.UnixMilli(r.touched), Expires: time.UnixMilli(r.until()),
		UserAgent: r.userAgent, Address: r.address, Remembered: remembered}
}
