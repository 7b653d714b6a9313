package console

import (
	"slices"
	"sync"
	"time"

	"github.com/redstart-go/redstart/inspect"
)

// lags has the lag of groups over the time in which their page was open.
type lags struct {
	mu    sync.Mutex
	rings map[lagKey]*lagRings
	order []lagKey // the group that was read longest ago first
}

type lagKey struct{ bus, group string }

type lagRings struct{ lag, pending, dead ring }

// maxLags is the number of groups with a plot.
const maxLags = 64

// add adds a sample and returns the plot of the group.
func (l *lags) add(now time.Time, bus string, g *inspect.GroupInfo) chart {
	l.mu.Lock()
	defer l.mu.Unlock()
	key := lagKey{bus, g.Name}
	if l.rings == nil {
		l.rings = make(map[lagKey]*lagRings)
	}
	r := l.rings[key]
	if r == nil {
		r = &lagRings{}
		l.rings[key] = r
	} else {
		l.order = slices.DeleteFunc(l.order, func(other lagKey) bool { return other == key })
	}
	if l.order = append(l.order, key); len(l.order) > maxLags {
		delete(l.rings, l.order[0])
		l.order = slices.Delete(l.order, 0, 1)
	}

	if now.UnixMilli()-r.lag.newest() >= interval.Milliseconds()/2 {
		r.lag.add(now, float64(g.Lag))
		r.pending.add(now, float64(g.Pending))
		r.dead.add(now, float64(g.Dead))
	}
	c := chart{Title: "Waiting events", Unit: "since this page was opened"}
	c.add("lag", &r.lag)
	c.add("pending", &r.pending)
	c.add("dead", &r.dead)
	return c
}

// newest returns the time of the last value, in Unix ms. It is 0 for an empty ring.
func (r *ring) newest() int64 {
	if r.n == 0 {
		return 0
	}
	return r.at[(r.next-1+ringSize)%ringSize]
}
