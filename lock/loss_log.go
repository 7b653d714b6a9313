package lock

import (
	"context"
	"sync"
	"time"
)

// lossLogEvery is the minimum time between two log lines with the same reason.
const lossLogEvery = 10 * time.Second

// lossLog logs lost locks in its own goroutine, so that a slow log handler delays no renewal and no
// holder. Locks that were lost for the same reason share one line, because an outage can end
// thousands of locks at once.
type lossLog struct {
	locker *Locker

	mu      sync.Mutex
	pending map[error]loss
	running bool
}

// loss is the content of one log line.
type loss struct {
	locks int
	last  *lease
}

func (r *lossLog) add(ls *lease, why error) {
	r.mu.Lock()
	defer r.mu.Unlock()

	if r.pending == nil {
		r.pending = make(map[error]loss)
	}
	r.pending[why] = loss{r.pending[why].locks + 1, ls}
	if !r.running {
		r.running = r.locker.core.Group().Go("log of lost locks", r.run)
	}
}

// run logs until nothing is pending.
func (r *lossLog) run(ctx context.Context) {
	pause := time.NewTimer(lossLogEvery)
	defer pause.Stop()
	for r.log() {
		pause.Reset(lossLogEvery)
		select {
		case <-pause.C:
		case <-ctx.Done():
			r.log()
			return
		}
	}
}

// log logs the pending losses. It returns false if nothing was pending: then run ends.
func (r *lossLog) log() bool {
	r.mu.Lock()
	pending := r.pending
	r.pending = nil
	r.running = len(pending) > 0
	r.mu.Unlock()

	l := r.locker
	for _, loss := range pending {
		l.core.Logger().Warn("redstart: locks were lost",
			"locker", l.opt.Name, "cause", loss.last.err(), "locks", loss.locks, "lock",
			loss.last.target.name, "token", loss.last.token)
	}

	return len(pending) > 0
}
