package events

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"
)

// GapReason says how events can have been missed.
type GapReason uint8

const (
	GapOverflow  GapReason = iota + 1 // live: there was no room in the queue
	GapReconnect                      // live: the subscription was interrupted and stands again
	GapProbe                          // live: the connection looked healthy but delivered nothing
	GapTrimmed                        // durable: events were cut before they were handled (Retention, MaxLen, XTRIM, XDEL)
	GapReset                          // durable: the stream or the group was gone (DEL, FLUSHALL, an older replica); what is there is handled from the beginning
)

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

// Gap is one known loss.
type Gap struct {
	Reason  GapReason
	Channel string // of the one channel that is concerned, if it is one
	Missed  int64  // how many events, where that is known
	// Partition is the durable bus' partition that is concerned, else -1.
	Partition int
	Time      time.Time
}

// gapTeller calls OnGap, one call at a time, on a goroutine that lives while there is something to tell. Losses of one
// kind that come while it is busy are one gap.
type gapTeller struct {
	tell   func(Gap)
	panics *atomic.Int64
	run    func(name string, fn func(ctx context.Context)) bool

	mu      sync.Mutex
	waiting []Gap
	busy    bool
	idle    sync.Cond
}

func (t *gapTeller) add(g Gap) {
	if t.tell == nil {
		return
	}
	g.Time = time.Now()
	t.mu.Lock()
	defer t.mu.Unlock()
	for i := range t.waiting {
		w := &t.waiting[i]
		if w.Reason == g.Reason && w.Partition == g.Partition && w.Channel == g.Channel {
			w.Missed += g.Missed
			return
		}
	}
	t.waiting = append(t.waiting, g)
	if !t.busy {
		t.busy = t.run("OnGap of an event subscriber", t.work)
	}
}

func (t *gapTeller) work(context.Context) {
	ended := false
	defer func() {
		if !ended { // OnGap called runtime.Goexit: the rest is for another goroutine
			t.mu.Lock()
			defer t.mu.Unlock()
			t.busy = t.run("OnGap of an event subscriber", t.work)
			t.idle.Broadcast()
		}
	}()
	for {
		t.mu.Lock()
		if len(t.waiting) == 0 {
			t.busy, ended = false, true
			t.idle.Broadcast()
			t.mu.Unlock()
			return
		}
		g := t.waiting[0]
		t.waiting = t.waiting[1:]
		t.mu.Unlock()
		if guard(func() error { t.tell(g); return nil }) != nil {
			t.panics.Add(1)
		}
	}
}

// flush waits until everything has been told, or ctx ends.
func (t *gapTeller) flush(ctx context.Context) {
	stop := context.AfterFunc(ctx, func() {
		t.mu.Lock()
		defer t.mu.Unlock()
		t.idle.Broadcast()
	})
	defer stop()
	t.mu.Lock()
	defer t.mu.Unlock()
	for t.busy && ctx.Err() == nil {
		t.idle.Wait()
	}
}
