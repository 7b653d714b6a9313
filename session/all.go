package session

import (
	"context"
	"errors"
	"slices"
	"strings"
)

// Counts are what a server holds of a Manager's sessions, for operators.
type Counts struct {
	Users      int // who have a session or a remember-me token
	Sessions   int // of users
	Remembered int // remember-me tokens
	Anonymous  int // visitors' sessions
}

// Count counts the sessions of all users. It scans the server: for operators, not for requests. See All.
func (m *Manager[T]) Count(ctx context.Context) (c Counts, err error) {
	rs := m.records
	ctx, end := rs.start(ctx, "count")
	defer func() { end(err) }()
	c.Users, err = rs.scan(ctx, func(rec *record) bool {
		switch rec.kind {
		case kindUser:
			c.Sessions++
		case kindRemember:
			c.Remembered++
		default:
			c.Anonymous++
		}
		return true
	})
	if err != nil {
		return Counts{}, failed("count", err)
	}
	return c, nil
}

// All calls yield with the sessions of all users, in no order, until it returns false; remember-me tokens and visitors' sessions are left
// out. It scans the server, one SCAN per 500 keys and one pipeline per 100 sessions: for operators, not for requests. A session that begins or
// ends in the meantime may or may not be seen, and one may be seen twice while the server resizes its table.
//
// Errors: redstart.ErrDenied for a server user without +scan; the classes of package redstart.
func (m *Manager[T]) All(ctx context.Context, yield func(Info) bool) (err error) {
	rs := m.records
	ctx, end := rs.start(ctx, "all")
	defer func() { end(err) }()
	_, err = rs.scan(ctx, func(rec *record) bool {
		return rec.kind != kindUser || yield(rec.info(rec.linked() != ""))
	})
	if err != nil {
		return failed("all", err)
	}
	return nil
}

// errStop ends a scan early.
var errStop = errors.New("stop")

// scan reads every record of the manager, and counts the users who have an index. A key that SCAN names twice, while the server
// resizes its table, counts twice.
func (rs *records) scan(ctx context.Context, yield func(*record) bool) (users int, err error) {
	prefix := rs.space.Prefix() + "{"
	err = rs.core.Scan(ctx, escapeGlob(prefix)+"*", 500, func(keys []string) error {
		var at []address
		for _, k := range keys {
			switch tag, suffix, ok := strings.Cut(strings.TrimPrefix(k, prefix), "}"); {
			case ok && suffix == "":
				users++
			case ok && strings.HasPrefix(suffix, ":s:") && isID(suffix[len(":s:"):]):
				at = append(at, address{tag, suffix[len(":s:"):]})
			}
		}
		for batch := range slices.Chunk(at, listBatch) {
			found, err := rs.readMany(ctx, batch)
			if err != nil {
				return err
			}
			for _, rec := range found {
				if !yield(rec) {
					return errStop
				}
			}
		}
		return nil
	})
	if errors.Is(err, errStop) {
		err = nil
	}
	return users, err
}

// escapeGlob makes a prefix of keys a pattern that matches it alone.
func escapeGlob(s string) string {
	return strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`).Replace(s)
}
