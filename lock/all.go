package lock

import (
	"context"
	"fmt"
	"time"

	"github.com/redstart-go/redstart"
)

// acquireAll tries to take all at once. Refused, it queues for the name that was in the way, and tries again once it
// has that; if now another is in the way, it gives back what it has and queues there. Whoever waits holds nothing, so
// there is no deadlock.
func (l *Locker) acquireAll(ctx context.Context, targets []*target, patience time.Duration) (*Lock, error) {
	deadline := time.Now().Add(patience)
	var queued *target // that we have, having queued for it
	states := make([]string, len(targets))
	for i, t := range targets {
		states[i] = t.state
	}
	id := l.newID(alone)
	for {
		sent := l.clock()
		token, err := l.askAll(ctx, states, id)
		if err != nil {
			for _, t := range targets {
				l.doubt(err, t, id)
			}
			return nil, fmt.Errorf("lock: acquire %d names: %w", len(targets), err)
		}
		if token > 0 {
			return l.own(ctx, id, given{token: token, since: sent}, targets...)
		}
		if queued != nil {
			// With a new id from here on: this one's name is freed while the next round may take it again.
			l.orphans.free(id, 1, queued)
			id = l.newID(alone)
		}
		queued = targets[-token-1]
		left := patience
		if patience != WaitForever {
			if left = time.Until(deadline); left <= 0 {
				l.stats.refused.Add(1)
				return nil, fmt.Errorf("%w: %s is held by another", ErrNotAcquired, shown(queued.name))
			}
		}
		if _, err = l.enter(ctx, queued, id, left); err != nil {
			return nil, err
		}
	}
}

func (l *Locker) askAll(ctx context.Context, states []string, id string) (int64, error) {
	msg, err := l.core.Eval(ctx, allScript, states, []string{id, l.args.ttl, l.args.retention})
	if err != nil {
		return 0, err
	}
	n, err := msg.AsInt64()
	if err != nil || n == 0 || n < -int64(len(states)) {
		return 0, fmt.Errorf("%w: a script answered %d", redstart.ErrCorrupt, n)
	}
	return n, nil
}
