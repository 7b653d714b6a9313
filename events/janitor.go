package events

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/redstart-go/redstart/internal/fault"
)

const (
	janitorMost  = 30 * time.Second       // time between two passes over all partitions
	janitorLeast = time.Second            // least time between two passes, with a short Retention
	janitorSlack = 100 * time.Millisecond // a running group's owner moves an event first
	janitorRetry = time.Second
)

// janitor does for a bus what must not depend on a running group: it moves due events, and applies
// Retention and MaxLen. It starts with the first event or subscriber of this process. It moves
// events that this process has delayed when they are due. One process of the bus makes passes over
// all partitions, for processes that have ended.
type janitor struct {
	d     *Durable
	start sync.Once
	woken chan struct{}

	token string // token of this process

	mu     sync.Mutex
	next   map[*partition]time.Time // next due times that this process knows
	still  []Group                  // groups without a process, as of looked
	looked time.Time
}

func newJanitor(d *Durable) *janitor {
	return &janitor{d: d, token: newID(time.Now()), woken: make(chan struct{}, 1), next: make(map[*partition]time.Time)}
}

// period is the time between two passes.
func (j *janitor) period() time.Duration {
	every := janitorMost
	if kept := j.d.opt.Retention; kept > 0 {
		every = min(max(kept/4, janitorLeast), janitorMost)
	}
	return j.d.points.Duration("pass", every)
}

// begin starts the janitor of this process, once.
func (j *janitor) begin() {
	j.start.Do(func() {
		if j.d.life.enter("janitor") != nil {
			return
		}
		if !j.d.core.Group().Go("janitor of a durable bus", func(ctx context.Context) {
			defer j.d.life.leave("janitor")
			ctx, cancel := context.WithCancel(ctx)
			defer cancel()
			stop := context.AfterFunc(j.d.life.ctx, cancel)
			defer stop()
			j.work(ctx)
		}) {
			j.d.life.leave("janitor")
		}
	})
}

// expect makes the janitor look at a partition when an event is due.
func (j *janitor) expect(p *partition, due time.Time) {
	j.mu.Lock()
	old, ok := j.next[p]
	sooner := !ok || due.Before(old)
	if sooner {
		j.next[p] = due
	}
	j.mu.Unlock()

	if sooner {
		select {
		case j.woken <- struct{}{}:
		default:
		}
	}
}

// delayed notes a stored message that may be delayed.
func (j *janitor) delayed(p *partition, m *message) {
	switch {
	case !m.at.IsZero():
		j.expect(p, m.at)
	case m.delay > 0:
		j.expect(p, j.d.core.Time().Now().Add(m.delay))
	}
}

func (j *janitor) work(ctx context.Context) {
	now := j.d.core.Time()
	pass := now.Now().Add(min(j.period(), janitorLeast))
	timer := now.NewTimer(0)
	defer timer.Stop()
	for {
		due, first := j.due(now.Now())
		if len(due) > 0 {
			j.appear(ctx, due)
			continue
		}
		if !now.Now().Before(pass) {
			j.pass(ctx)
			pass = now.Now().Add(j.period())
			continue
		}
		if first.IsZero() || pass.Before(first) {
			first = pass
		}
		timer.Reset(now.Until(first))
		select {
		case <-timer.C:
		case <-j.woken:
		case <-ctx.Done():
			return
		}
		if ctx.Err() != nil {
			return
		}
	}
}

// due removes and returns the partitions with a due event, and returns when the next one is due.
func (j *janitor) due(now time.Time) (due []*partition, first time.Time) {
	j.mu.Lock()
	defer j.mu.Unlock()
	for p, at := range j.next {
		at = at.Add(janitorSlack)
		switch {
		case !now.Before(at):
			due = append(due, p)
			delete(j.next, p)
		case first.IsZero() || at.Before(first):
			first = at
		}
	}
	return due, first
}

func (j *janitor) appear(ctx context.Context, parts []*partition) {
	next, err := j.d.appear(ctx, parts)
	j.trouble("events: delayed events did not appear", err)
	for p, at := range next {
		j.expect(p, at)
	}
}

func (j *janitor) trouble(message string, err error) {
	switch {
	case err == nil || errors.Is(err, context.Canceled):
	case errors.Is(err, fault.ErrUnavailable) || errors.Is(err, fault.ErrIndeterminate):
		j.d.core.Logger().Debug(message, "bus", j.d.bus, "error", err)
	default:
		j.d.core.Warn(message, j.d.bus, "bus", j.d.bus, "error", err)
	}
}

// pass looks at all partitions, in one process of the bus at a time.
func (j *janitor) pass(ctx context.Context) {
	if !j.elected(ctx) {
		return
	}
	j.appear(ctx, j.d.parts)
	j.trouble("events: groups without a process were not measured", j.look(ctx))
	if !j.d.cuts() {
		return
	}
	for _, p := range j.d.parts {
		if ctx.Err() != nil {
			return
		}
		j.d.trim(ctx, p)
		j.trouble("events: parked events were not cut", j.d.cutAllParked(ctx, p))
	}
}
