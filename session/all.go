package session

import (
	"context"
	"errors"
	"iter"
	"slices"
	"strings"
)

// Counts are the numbers of stored sessions of a [Manager].
type Counts struct {
	Users      int // users with a session or a remember-me token
	Sessions   int // sessions of users
	Remembered int // remember-me tokens
	Anonymous  int // anonymous sessions
}

// Count counts the sessions of all users. It scans the server, so it is for operators and not for
// requests. See [Manager.All] for the cost and the errors.
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
		return Counts{}, m.records.failed("count", err)
	}
	return c, nil
}

// All yields each session of each user, in no order. It omits remember-me tokens and anonymous
// sessions. All scans the server, with one SCAN per 500 keys and one pipeline per 100 sessions, so
// it is for operators and not for requests. All may miss a session that starts or ends during the
// scan. It may yield a session twice while the server resizes its hash table.
//
// After an error All yields it, with the zero Info, and ends. Errors: redstart.ErrDenied if the
// server user lacks +scan; the classes of package redstart.
func (m *Manager[T]) All(ctx context.Context) iter.Seq2[Info, error] {
	return func(yield func(Info, error) bool) {
		rs := m.records
		var err error
		ctx, end := rs.start(ctx, "all")
		defer func() { end(err) }()

		_, err = rs.scan(ctx, func(rec *record) bool {
			return rec.kind != kindUser || yield(rec.info(rec.linked() != ""), nil)
		})
		if err != nil {
			yield(Info{}, rs.failed("all", err))
		}
	}
}

// errStop stops a scan early.
var errStop = errors.New("stop")

// scan reads every record of the Manager and counts the users that have an index. SCAN can return a
// key twice while the server resizes its hash table; such a key counts twice.
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

// escapeGlob returns a pattern that matches the prefix s literally.
func escapeGlob(s string) string {
	return strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`).Replace(s)
}
