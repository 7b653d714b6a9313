package events

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/redstart-go/redstart/internal/core"
	"github.com/redstart-go/redstart/internal/fault"
)

// tail follows one partition of a durable bus for the browsers that look at it: one reader, however many they are. It
// reads without a group: what browsers see is nobody's work.
type tail struct {
	d *Durable
	p *partition

	mu      sync.Mutex
	cursor  string // everything up to here was given out
	viewers map[*viewer]struct{}
	stop    context.CancelFunc
}

// viewer is one browser. Its queue is bounded: one that is too slow is cut off, and comes back with Last-Event-ID.
type viewer struct {
	channel string
	queue   chan entry
	cut     chan struct{} // closed when it was too slow, or the log began anew
	once    sync.Once
}

type entry struct{ id, field, body string }

const (
	tailCount = 256
	tailPoll  = 50 * time.Millisecond // without pushes
	tailIdle  = time.Second           // with them, in case one is lost
)

// follow gives a viewer what comes after the returned position.
func (d *Durable) follow(ctx context.Context, v *viewer) (t *tail, from string, err error) {
	i := partitionOf(v.channel, len(d.parts))
	d.mu.Lock()
	t = d.tails[i]
	if t == nil {
		t = &tail{d: d, p: d.parts[i], viewers: make(map[*viewer]struct{})}
		d.tails[i] = t
	}
	d.mu.Unlock()
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.stop == nil { // nobody looks yet, or the last one has gone
		if t.cursor, err = d.lastID(ctx, t.p); err != nil {
			return nil, "", err
		}
		run, stop := context.WithCancel(context.Background())
		from := t.cursor
		if !d.core.Group().Go("events for browsers", func(closing context.Context) {
			defer context.AfterFunc(closing, stop)()
			t.run(run, from)
		}) {
			stop()
			return nil, "", fault.New(fault.ErrUnavailable, errors.New("the client is closed"), "")
		}
		t.stop = stop
	}
	t.viewers[v] = struct{}{}
	return t, t.cursor, nil
}

func (t *tail) leave(v *viewer) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.viewers, v)
	if len(t.viewers) == 0 && t.stop != nil {
		t.stop()
		t.stop = nil
	}
}

// lastID is the last id of a stream; of one that does not exist, the one before all.
func (d *Durable) lastID(ctx context.Context, p *partition) (string, error) {
	msg, err := d.core.Do(ctx, d.core.B().Exists().Key(p.stream).Build())
	if err != nil {
		return "", err
	}
	if n, _ := msg.AsInt64(); n == 0 {
		return "0-0", nil
	}
	if msg, err = d.core.Do(ctx, d.core.B().XinfoStream().Key(p.stream).Build()); err != nil {
		return "", err
	}
	info, err := msg.AsMap()
	if err != nil {
		return "", unexpected("a stream", err)
	}
	told := info["last-generated-id"]
	last, err := told.ToString()
	if err == nil && last == "" { // what the embedded engine says of a log that never had an event
		last = "0-0"
	}
	return last, err
}

// run reads until its context ends.
func (t *tail) run(ctx context.Context, cursor string) {
	pushed := make(chan struct{}, 1)
	stop := t.d.core.Hub().Track(t.d.space.Prefix(), pushTo{t.p.stream, pushed})
	defer stop()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for ctx.Err() == nil {
		// A tracked read: it looks, and has the server push when there is more.
		msg, err := t.d.core.DoTracked(ctx, t.d.core.B().Xread().Count(tailCount).Streams().Key(t.p.stream).Id(cursor).Build())
		wait := tailIdle
		if err != nil || !t.d.core.Capabilities().Tracking {
			wait = tailPoll
		}
		if err == nil && !msg.IsNil() {
			if next := t.give(ctx, msg); next != "" {
				cursor = next
				continue
			}
		}
		if err == nil { // a log that was lost begins before what we have seen
			if last, err := t.d.lastID(ctx, t.p); err == nil && before(last, cursor) {
				cursor = last
				t.anew(ctx, cursor)
			}
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

// give hands entries to those who look at their channels, and returns the last id.
func (t *tail) give(ctx context.Context, msg core.Reply) (last string) {
	streams, err := msg.AsXRead()
	if err != nil {
		return ""
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if ctx.Err() != nil { // another run has taken over
		return ""
	}
	for _, e := range streams[t.p.stream] {
		for v := range t.viewers {
			if v.channel == e.FieldValues["c"] {
				v.push(entry{e.ID, envelopeField, e.FieldValues[envelopeField]})
			}
		}
		last = e.ID
	}
	if last != "" {
		t.cursor = last
	}
	return last
}

func (v *viewer) push(e entry) {
	select {
	case v.queue <- e:
	default:
		v.once.Do(func() { close(v.cut) })
	}
}

// anew cuts everybody off: what they have seen is not in this log.
func (t *tail) anew(ctx context.Context, cursor string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if ctx.Err() != nil {
		return
	}
	t.cursor = cursor
	for v := range t.viewers {
		v.once.Do(func() { close(v.cut) })
	}
}
