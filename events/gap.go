package events

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"
)

// GapReason is the cause of a known loss of events.
type GapReason uint8

const (
	// GapOverflow reports that the queue of a live subscriber was full.
	GapOverflow GapReason = iota + 1
	// GapReconnect reports that a live subscription was interrupted and is restored.
	GapReconnect
	// GapProbe reports that a connection looked healthy but delivered nothing to a live subscriber.
	GapProbe
	// GapTrimmed reports that events of a durable bus were cut before they were handled (Retention,
	// MaxLen, XTRIM, XDEL).
	GapTrimmed
	// GapReset reports that the stream or the group of a durable bus was gone (DEL, FLUSHALL, an
	// older replica). Stored events are handled from the beginning.
	GapReset
)

// String returns the name of the reason, for logs.
func (r GapReason) String() string {
	switch r {
	case GapOverflow:
		return "overflow"
	case GapReconnect:
		return "reconnect"
	case GapProbe:
		return "probe"
	case GapTrimmed:
		return "trimmed"
	case GapReset:
		return "reset"
	}
	return fmt.Sprintf("GapReason(%d)", uint8(r))
}

// Gap is one known loss of events.
type Gap struct {
	Reason    GapReason
	Channel   string    // the channel, if the loss concerns one channel
	Missed    int64     // the number of lost events, if it is known
	Partition int       // the partition of a durable bus; -1 on a live bus
	Time      time.Time // when this process has detected the loss
}

// gapReporter calls OnGap, one call at a time, on its own goroutine. The goroutine ends when no gap
// waits. Waiting gaps with the same reason, partition and channel become one gap.
type gapReporter struct {
	report func(Gap)
	panics *atomic.Int64
	run    func(name string, fn func(ctx context.Context)) bool

	mu      sync.Mutex
	waiting []Gap
	busy    bool
	idle    sync.Cond
}

func (r *gapReporter) add(g Gap) {
	if r.report == nil {
		return
	}
	g.Time = time.Now()
	r.mu.Lock()
	defer r.mu.Unlock()
	for i := range r.waiting {
		w := &r.waiting[i]
		if w.Reason == g.Reason && w.Partition == g.Partition && w.Channel == g.Channel {
			w.Missed += g.Missed
			return
		}
	}
	r.waiting = append(r.waiting, g)
	if !r.busy {
		r.busy = r.run("OnGap of an event subscriber", r.work)
	}
}

func (r *gapReporter) work(context.Context) {
	ended := false
	defer func() {
		if !ended { // OnGap called runtime.Goexit: another goroutine reports the rest
			r.mu.Lock()
			defer r.mu.Unlock()
			r.busy = r.run("OnGap of an event subscriber", r.work)
			r.idle.Broadcast()
		}
	}()
	for {
		r.mu.Lock()
		if len(r.waiting) == 0 {
			r.busy, ended = false, true
			r.idle.Broadcast()
			r.mu.Unlock()
			return
		}
		g := r.waiting[0]
		r.waiting = r.waiting[1:]
		r.mu.Unlock()
		if guard(func() error { r.report(g); return nil }) != nil {
			r.panics.Add(1)
		}
	}
}

// flush waits until all gaps are reported, or ctx ends.
func (r *gapReporter) flush(ctx context.Context) {
	stop := context.AfterFunc(ctx, func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.idle.Broadcast()
	})
	defer stop()
	r.mu.Lock()
	defer r.mu.Unlock()
	for r.busy && ctx.Err() == nil {
		r.idle.Wait()
	}
}
