package events

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/redstart-go/redstart/internal/fault"
)

// tail reads one partition of a durable bus for all SSE streams of that partition. It reads without
// a group, because browsers do not acknowledge events.
//
// The tail keeps an index of the newest entries, and the bodies of the newest entries. The index
// grows backwards when a stream needs older entries. Each entry is read once, however many streams
// resume at the same time.
type tail struct {
	d *Durable
	p *partition

	scanning chan struct{} // capacity 1; held while a stream extends the index backwards

	mu      sync.Mutex
	keep    int         // most entries of the index
	floor   string      // the index holds everything after this position
	bottom  bool        // the log has no entry before floor
	origin  bool        // the log never had an entry before floor
	cursor  string      // the index holds everything up to this position
	entries []tailEntry // in the order of their positions
	bodies  bodies
	viewers map[string]map[*viewer]struct{}
	count   int // number of viewers
	stop    context.CancelFunc
	linger  *time.Timer // ends the tail after the last viewer
}

// tailEntry is one event in the index.
type tailEntry struct {
	id, channel string
	size        int       // of the body
	body        *tailBody // nil if it was not requested or was evicted
}

// viewer is one stream as the tail knows it. It reads from the tail at its own speed.
type viewer struct {
	channel string
	wake    chan struct{} // capacity 1; the channel has an event, or the log was lost

	// Guarded by the lock of the tail.
	caughtUp bool   // the viewer has every event of its channel up to the cursor of the tail
	from     string // if not caughtUp: the viewer has every event before this position
	lost     bool   // the log was lost and began again
}

func (v *viewer) notify() {
	select {
	case v.wake <- struct{}{}:
	default:
	}
}

const (
	tailCount    = 256                   // most entries per read
	tailReply    = 256 << 10             // most bytes of bodies per read
	tailBodies   = 1 << 20               // bytes of bodies that a partition keeps
	tailShared   = 4 << 20               // bytes of bodies that it keeps while streams resume
	tailChannels = 256                   // with more channels, all bodies are read
	tailPoll     = 50 * time.Millisecond // time between reads without push messages
	tailIdle     = time.Second           // time between reads with push messages, if one is lost
	tailLinger   = 5 * time.Second       // how long the index is kept without viewers
)

// follow registers a viewer. All events after the returned position will be in the index.
func (d *Durable) follow(ctx context.Context, v *viewer, history int) (t *tail, from string, err error) {
	i := partitionOf(v.channel, len(d.parts))
	d.mu.Lock()
	t = d.tails[i]
	if t == nil {
		t = &tail{d: d, p: d.parts[i], scanning: make(chan struct{}, 1),
			viewers: make(map[string]map[*viewer]struct{})}
		d.tails[i] = t
	}
	d.mu.Unlock()

	last := ""
	for {
		t.mu.Lock()
		if t.stop != nil || last != "" {
			break
		}
		t.mu.Unlock()
		page, err := d.readTail(ctx, t.p, false, "up", "18446744073709551615-18446744073709551615", 0, nil)
		if err != nil {
			return nil, "", err
		}
		last = page.last
	}
	defer t.mu.Unlock()

	if t.stop == nil { // the first viewer
		run, stop := context.WithCancel(context.Background())
		t.reset(last)
		if !d.core.Group().Go("events for browsers", func(closing context.Context) {
			defer context.AfterFunc(closing, stop)()
			defer context.AfterFunc(t.d.life.ctx, stop)()
			t.run(run, last)
		}) {
			stop()
			return nil, "", fault.New(fault.ErrUnavailable, errors.New("the client is closed"), "")
		}
		t.stop = stop
	}
	if t.linger != nil {
		t.linger.Stop()
		t.linger = nil
	}
	t.keep = max(t.keep, history)

	if t.viewers[v.channel] == nil {
		t.viewers[v.channel] = make(map[*viewer]struct{})
	}
	t.viewers[v.channel][v] = struct{}{}
	t.count++
	return t, t.cursor, nil
}

func (t *tail) leave(v *viewer) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.viewers[v.channel], v)
	if len(t.viewers[v.channel]) == 0 {
		delete(t.viewers, v.channel)
	}
	if t.count--; t.count == 0 {
		t.linger = time.AfterFunc(tailLinger, t.end)
	}
}

// end stops the tail if it has no viewers.
func (t *tail) end() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.count > 0 || t.stop == nil {
		return
	}
	t.stop()
	t.stop, t.linger = nil, nil
	t.reset("")
}

// reset empties the index. The caller holds the lock.
func (t *tail) reset(cursor string) {
	t.floor, t.cursor, t.bottom, t.origin = cursor, cursor, false, false
	t.entries = nil
	t.bodies.reset()
}

// channels returns the channels whose bodies are needed.
func (t *tail) channels() []string {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.viewers) > tailChannels {
		return []string{"*"}
	}
	all := make([]string, 0, len(t.viewers))
	for channel := range t.viewers {
		all = append(all, channel)
	}
	return all
}

// run reads the partition until its context ends.
func (t *tail) run(ctx context.Context, cursor string) {
	pushed := make(chan struct{}, 1)
	stop := t.d.core.Hub().Track(t.d.space.Prefix(), pushTo{t.p.stream, pushed})
	defer stop()
	timer := time.NewTimer(0)
	defer timer.Stop()

	for ctx.Err() == nil {
		t.relax()
		// After a tracked read, the server sends a push message when the stream changes.
		page, err := t.d.readTail(ctx, t.p, true, "up", cursor, tailCount, t.channels())

		wait := tailIdle
		if err != nil || !t.d.core.Capabilities().Tracking {
			wait = tailPoll
		}
		switch {
		case err != nil:
		case before(page.last, cursor): // the log was lost and began again
			cursor = page.last
			t.begin(ctx, cursor)
		case len(page.entries) > 0:
			cursor = page.entries[len(page.entries)-1].id
			t.give(ctx, page.entries)
			continue
		}
		timer.Reset(wait)
		select {
		case <-ctx.Done():
		case <-pushed:
		case <-timer.C:
		}
	}
}

type pushTo struct {
	key string
	to  chan struct{}
}

func (p pushTo) Invalidate(key string) {
	if key == p.key {
		p.Flush()
	}
}

func (p pushTo) Flush() {
	select {
	case p.to <- struct{}{}:
	default:
	}
}

// give adds new entries to the index and wakes the streams of their channels.
func (t *tail) give(ctx context.Context, entries []tailEntry) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if ctx.Err() != nil { // a later run has replaced this one
		return
	}
	for _, e := range entries {
		if t.viewers[e.channel] == nil { // no stream needs the body
			e.body = nil
		}
		t.entries = append(t.entries, e)
		t.keepBody(e)
		for v := range t.viewers[e.channel] {
			if v.caughtUp {
				v.caughtUp, v.from = false, positionBefore(e.id)
			}
			v.notify()
		}
	}
	t.cursor = entries[len(entries)-1].id

	if excess := len(t.entries) - t.keep; excess > 0 {
		t.floor, t.bottom, t.origin = t.entries[excess-1].id, false, false
		t.entries = slices.Delete(t.entries, 0, excess)
	}
}

// begin starts at a position of a new log, which does not have the earlier events of the streams.
func (t *tail) begin(ctx context.Context, cursor string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if ctx.Err() != nil {
		return
	}
	t.reset(cursor)
	for _, viewers := range t.viewers {
		for v := range viewers {
			v.caughtUp, v.from, v.lost = false, "", true
			v.notify()
		}
	}
}
