package session

import (
	"sync/atomic"

	"github.com/redstart-go/redstart/observe"
)

// Stats are the counters of a [Manager] since its creation.
type Stats struct {
	Hits        int64 // loads that found their session
	Misses      int64 // loads that found no session: unknown, expired, revoked or malformed token
	Unreadable  int64 // misses whose stored bytes can't be read with the configured keys and codec
	Foreign     int64 // misses whose record has the format of another release
	Unavailable int64 // loads without a reply of the server
	Created     int64 // sessions that were created, logins included
	Saved       int64 // updates and renewals that were written
	Conflicts   int64 // writes that were refused because the session had a newer version
	Touched     int64 // writes that only stored the time of the last use
	Ended       int64 // sessions that this Manager destroyed or revoked
	Displaced   int64 // sessions that MaxPerUser ended
	Recalled    int64 // sessions that started with a remember-me token
	Reused      int64 // remember-me tokens that ended because a replaced token was used
	Refused     int64 // logins that failed with ErrTooManySessions
	LateCookies int64 // calls that failed with ErrCookieTooLate
	Watched     int64 // contexts of Watch that are open now
}

type counters struct {
	hits, misses, unreadable, foreign, unavailable       atomic.Int64
	created, saved, conflicts, touched, ended, displaced atomic.Int64
	recalled, reused, refused, late, watched             atomic.Int64
}

// Stats returns the counters.
func (m *Manager[T]) Stats() Stats { return m.records.stats() }

func (rs *records) stats() Stats {
	c := &rs.count
	return Stats{
		Hits: c.hits.Load(), Misses: c.misses.Load(), Unreadable: c.unreadable.Load(), Foreign: c.foreign.Load(),
		Unavailable: c.unavailable.Load(), Created: c.created.Load(), Saved: c.saved.Load(),
		Conflicts: c.conflicts.Load(), Touched: c.touched.Load(), Ended: c.ended.Load(),
		Displaced: c.displaced.Load(), Recalled: c.recalled.Load(), Reused: c.reused.Load(),
		Refused: c.refused.Load(), LateCookies: c.late.Load(), Watched: c.watched.Load(),
	}
}

// metrics yields the counters for exporters.
func (rs *records) metrics(yield func(observe.Metric) bool) bool {
	s := rs.stats()
	name := observe.Label{Name: "manager", Value: rs.name}
	load := func(outcome string) []observe.Label {
		return []observe.Label{name, {Name: "outcome", Value: outcome}}
	}
	plain := []observe.Label{name}
	for _, m := range []observe.Metric{
		{Name: "redstart.session.loads", Help: "Loads by outcome.", Labels: load("hit"), Value: float64(s.Hits)},
		{Name: "redstart.session.loads", Help: "Loads by outcome.", Labels: load("miss"),
			Value: float64(s.Misses - s.Unreadable - s.Foreign)},
		{Name: "redstart.session.loads", Help: "Loads by outcome.", Labels: load("unreadable"), Value: float64(s.Unreadable)},
		{Name: "redstart.session.loads", Help: "Loads by outcome.", Labels: load("foreign"), Value: float64(s.Foreign)},
		{Name: "redstart.session.loads", Help: "Loads by outcome.", Labels: load("unavailable"), Value: float64(s.Unavailable)},
		{Name: "redstart.session.created", Help: "Sessions created, logins included.", Labels: plain, Value: float64(s.Created)},
		{Name: "redstart.session.saved", Help: "Updates and renewals written.", Labels: plain, Value: float64(s.Saved)},
		{Name: "redstart.session.conflicts", Help: "Writes refused because the session had a newer version.",
			Labels: plain, Value: float64(s.Conflicts)},
		{Name: "redstart.session.touched", Help: "Writes that only stored the time of the last use.",
			Labels: plain, Value: float64(s.Touched)},
		{Name: "redstart.session.ended", Help: "Sessions destroyed or revoked.", Labels: plain, Value: float64(s.Ended)},
		{Name: "redstart.session.displaced", Help: "Sessions ended by MaxPerUser.", Labels: plain, Value: float64(s.Displaced)},
		{Name: "redstart.session.recalled", Help: "Sessions started with a remember-me token.", Labels: plain,
			Value: float64(s.Recalled)},
		{Name: "redstart.session.reused", Help: "Remember-me tokens ended because a replaced token was used.",
			Labels: plain, Value: float64(s.Reused)},
		{Name: "redstart.session.refused", Help: "Logins refused because the user has too many sessions.",
			Labels: plain, Value: float64(s.Refused)},
		{Name: "redstart.session.late_cookies", Help: "Calls refused because the response header was sent.",
			Labels: plain, Value: float64(s.LateCookies)},
		{Name: "redstart.session.watched", Help: "Open contexts of Watch.", Kind: observe.Gauge,
			Labels: plain, Value: float64(s.Watched)},
	} {
		m.Unit = "1"
		if !yield(m) {
			return false
		}
	}
	return true
}
