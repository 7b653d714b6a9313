package events

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/redstart-go/redstart/internal/fault"
)

// tail follows one partition of a durable bus for the SSE streams that look at it: one reader, however many they are. It reads
// without a group: what browsers see is no group's work.
//
// It keeps an index of the newest entries, and the bodies of the newest of them, for streams that resume. The index grows
// backwards when a stream asks for more: each entry is read once, however many streams come back at the same time.
type tail struct {
	d *Durable
	p *partition

	scanning chan struct{} // holds one: who extends the index backwards

	mu      sync.Mutex
	keep    int         // entries of the index at most
	floor   string      // the index holds everything after this position
	bottom  bool        // before floor there is nothing in the log
	origin  bool        // and there never was
	cursor  string      // up to this position
	entries []tailEntry // in order
	bodies  bodies
	viewers map[string]map[*viewer]struct{}
	count   int // of viewers
	stop    context.CancelFunc
	linger  *time.Timer // ends the tail after the last viewer
}

// tailEntry is one event in the index.
type tailEntry struct {
	id, channel string
	size        int       // of the body
	body        *tailBody // nil when it was not wanted, or made room
}

// viewer is one stream. It reads from the tail at its own pace.
type viewer struct {
	channel string
	wake    chan struct{} // holds one: there is something for the channel, or the log began again

	// Under the tail's lock.
	caughtUp bool   // it has every event of its channel up to the tail's cursor, however far the index goes back
	from     string // when it is not: before this position it has every event
	lost     bool   // the log in which it was began again
}

func (v *viewer) notify() {
	select {
	case v.wake <- struct{}{}:
	default:
	}
}

const (
	tailCount    = 256
	tailReply    = 256 << 10             // bytes of bodies per read
	tailBodies   = 1 << 20               // bytes of bodies that a partition keeps
	tailShared   = 4 << 20               // and while streams resume
	tailChannels = 256                   // more channels with streams: all bodies are read
	tailPoll     = 50 * time.Millisecond // without pushes
	tailIdle     = time.Second           // with them, in case one is lost
	tailLinger   = 5 * time.Second       // without viewers: the next one finds the index
)

// follow registers a viewer. What comes after the returned position is going to be in the index.
func (d *Durable) follow(ctx context.Context, v *viewer, history int) (t *tail, from string, err error) {
	i := partitionOf(v.channel, len(d.parts))
	d.mu.Lock()
	t = d.tails[i]
	if t == nil {
		t = &tail{d: d, p: d.parts[i], scanning: make(chan struct{}, 1), viewers: make(map[string]map[*viewer]struct{})}
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

// end stops a tail without viewers.
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

// reset empties the index. It holds the lock.
func (t *tail) reset(cursor string) {
	t.floor, t.cursor, t.bottom, t.origin = cursor, cursor, false, false
	t.entries = nil
	t.bodies.reset()
}

// channels are those whose bodies are wanted.
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

// run reads until its context ends.
func (t *tail) run(ctx context.Context, cursor string) {
	pushed := make(chan struct{}, 1)
	stop := t.d.core.Hub().Track(t.d.space.Prefix(), pushTo{t.p.stream, pushed})
	defer stop()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for ctx.Err() == nil {
		t.relax()
		// A tracked read: it looks, and has the server push when there is more.
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
	if ctx.Err() != nil { // another run has taken over
		return
	}
	for _, e := range entries {
		if t.viewers[e.channel] == nil { // beyond tailChannels all bodies are read
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

// begin starts again at a position of a log that does not hold what the streams have seen.
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
