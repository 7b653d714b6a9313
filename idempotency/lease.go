package idempotency

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/redstart-go/redstart/internal/clock"
)

// minRenewRetry is the shortest pause before a renewal without an answer is tried again.
const minRenewRetry = 10 * time.Millisecond

// lease is the right of one request to execute. It is renewed every third of Options.Lease, until
// end. A handler that is faster costs no renewal, no goroutine and no round trip.
type lease struct {
	record *record
	ctx    context.Context         // ends when the lease is lost or ended
	cancel context.CancelCauseFunc // ends ctx
	timer  *clock.Timer            // starts the renewals
	done   chan struct{}           // closed after the last renewal; only read if the timer has fired
	since  time.Time               // before the last request that confirmed the lease was sent
	lost   atomic.Bool
}

// hold begins to renew a lease that was taken at or after since. ctx is the context of the request:
// its values and its deadline stay, but its end does not end the lease, because the execution
// continues when the client has disconnected.
func (rec *record) hold(ctx context.Context, since time.Time) *lease {
	l := &lease{record: rec, done: make(chan struct{}), since: since}
	l.ctx, l.cancel = context.WithCancelCause(context.WithoutCancel(ctx))
	group := rec.executor.core.Group()
	l.timer = rec.executor.core.Time().AfterFunc(rec.executor.opt.Lease/3, func() {
		if !group.Go("renewal of an idempotency lease", l.renew) {
			l.lose()
			close(l.done)
		}
	})
	return l
}

// end stops the renewals. When it returns, no renewal is in flight, so that none can follow the
// result or the release of the lease.
func (l *lease) end() {
	stopped := l.timer.Stop()
	l.cancel(context.Canceled)
	if !stopped {
		<-l.done
	}
}

// lose ends the context of the handler. The result of the handler is not stored.
func (l *lease) lose() {
	l.lost.Store(true)
	l.cancel(ErrLeaseLost)
}

// renew renews the lease until end is called, the lease is lost, or the client closes.
func (l *lease) renew(closing context.Context) {
	defer close(l.done)
	opt := &l.record.executor.opt
	now := l.record.executor.core.Time()
	timer := now.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-l.ctx.Done():
			return
		case <-closing.Done():
			l.lose()
			return
		case <-timer.C:
		}

		sent := now.Now()
		ctx, cancel := context.WithTimeout(l.ctx, l.since.Add(opt.Lease).Sub(sent))
		held, err := l.record.renew(ctx)
		cancel()

		wait := opt.Lease / 3
		switch {
		case l.ctx.Err() != nil:
			return
		case err == nil && held:
			l.since = sent
		case err == nil, l.expired():
			l.lose()
			return
		default:
			wait = max(opt.Lease/10, minRenewRetry)
		}
		timer.Reset(max(0, min(wait, opt.Lease-now.Now().Sub(l.since))))
	}
}

// expired reports whether the lease may have expired on the server. It counts from before the last
// confirmed request, by the larger of monotonic and wall time: the monotonic clock stops while the
// machine is suspended, and the wall clock can be set.
func (l *lease) expired() bool {
	now := l.record.executor.core.Time().Now()
	return max(now.Sub(l.since), now.Round(0).Sub(l.since.Round(0))) >= l.record.executor.opt.Lease
}
