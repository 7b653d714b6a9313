package events

import (
	"bytes"
	"context"
	_ "embed"
	"encoding/json"
	"sort"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/redstart-go/redstart/internal/script"
)

var (
	//go:embed pick.lua
	pickSource string

	pickScript = script.ReadOnly(pickSource)
)

// tailBody is the body of one event. It is read once and rendered once, for all streams that send
// it.
type tailBody struct {
	done    chan struct{} // closed when raw or err is set; nil: raw is set from the beginning
	err     error
	waiting int // number of streams that wait; guarded by the lock of the tail

	once sync.Once
	raw  string
	text []byte
}

// heldEntry is an event that a stream is about to send.
type heldEntry struct {
	id   string
	body *tailBody
}

// bodies are the bodies in memory and the requested bodies. The lock of the tail guards all fields.
type bodies struct {
	kept      fifo[keptBody] // in memory, in the order of their arrival
	bytes     int            // size of kept
	shared    time.Time      // when a body was last read for a stream that resumes
	requested fifo[requestedBody]
	reading   bool // a goroutine reads the requested bodies
}

type keptBody struct {
	id   string
	size int
}

type requestedBody struct {
	tailEntry
	body *tailBody
}

// sharedFor is how long tailShared applies after the last body was read for a stream that resumes.
const sharedFor = 2 * time.Second

func readBody(raw string) *tailBody { return &tailBody{raw: raw} }

func (b *bodies) reset() { b.kept, b.bytes = fifo[keptBody]{}, 0 }

func (b *bodies) limit() int {
	if time.Since(b.shared) < sharedFor {
		return tailShared
	}
	return tailBodies
}

// keepBody counts the body of an index entry, and evicts older bodies beyond the budget. The caller
// holds the lock.
func (t *tail) keepBody(e tailEntry) {
	if e.body == nil {
		return
	}
	t.bodies.kept.push(keptBody{e.id, e.size})
	t.bodies.bytes += e.size
	t.makeRoom()
}

// makeRoom evicts the oldest bodies beyond the budget. A stream that is about to send a body keeps
// it. The caller holds the lock.
func (t *tail) makeRoom() {
	for limit := t.bodies.limit(); t.bodies.bytes > limit && t.bodies.kept.len() > 0; {
		k := t.bodies.kept.pop()
		t.bodies.bytes -= k.size
		if e := t.entry(k.id); e != nil {
			e.body = nil
		}
	}
}

// relax evicts the bodies that were kept for streams that have resumed.
func (t *tail) relax() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.makeRoom()
}

// entry returns the index entry at a position, or nil. The caller holds the lock.
func (t *tail) entry(id string) *tailEntry {
	i := sort.Search(len(t.entries), func(i int) bool { return !before(t.entries[i].id, id) })
	if i == len(t.entries) || t.entries[i].id != id {
		return nil
	}
	return &t.entries[i]
}

// channelsInRoom returns the channels whose bodies are read together with older index entries. It
// returns none if these bodies would evict others.
func (t *tail) channelsInRoom() []string {
	t.mu.Lock()
	full := t.bodies.bytes+tailReply > t.bodies.limit() || len(t.viewers) > tailChannels
	t.mu.Unlock()
	if full {
		return nil
	}
	return t.channels()
}

// request returns the body of an entry for a stream that is going to wait for it. A body that is
// not in memory is read once for all streams that request it. The caller holds the lock.
func (t *tail) request(e *tailEntry) *tailBody {
	if e.body == nil {
		e.body = &tailBody{done: make(chan struct{})}
		t.bodies.requested.push(requestedBody{*e, e.body})
	}
	e.body.waiting++
	return e.body
}

// await waits for the bodies of events.
func (t *tail) await(ctx context.Context, entries []heldEntry) error {
	defer func() {
		t.mu.Lock()
		defer t.mu.Unlock()
		for _, e := range entries {
			e.body.waiting--
		}
	}()

	t.readRequested()
	for _, e := range entries {
		if e.body.done == nil {
			continue
		}
		select {
		case <-e.body.done:
		case <-ctx.Done():
			return ctx.Err()
		}
		if e.body.err != nil {
			return e.body.err
		}
	}
	return nil
}

// readRequested starts a goroutine that reads the requested bodies, unless one runs. So the streams
// of a partition occupy the server with one reply at a time.
func (t *tail) readRequested() {
	t.mu.Lock()
	start := !t.bodies.reading && t.bodies.requested.len() > 0
	t.bodies.reading = t.bodies.reading || start
	t.mu.Unlock()
	if !start {
		return
	}
	if !t.d.core.Group().Go("events for browsers that resume", func(ctx context.Context) {
		for some := t.nextRequested(); len(some) > 0; some = t.nextRequested() {
			all, err := t.pick(ctx, some)
			t.resolve(some, all, err)
		}
	}) {
		for some := t.nextRequested(); len(some) > 0; some = t.nextRequested() {
			t.resolve(some, nil, ErrClosed)
		}
	}
}

// nextRequested returns the bodies of the next read: 64 bodies, 256 KiB, or one larger body. It
// skips bodies for which no stream waits.
func (t *tail) nextRequested() (some []requestedBody) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for bytes := 0; t.bodies.requested.len() > 0 && len(some) < 64; {
		w := t.bodies.requested.at(0)
		if w.body.waiting == 0 {
			t.bodies.requested.pop()
			t.forget(w)
			continue
		}
		if bytes += w.size; len(some) > 0 && bytes > tailReply {
			break
		}
		some = append(some, t.bodies.requested.pop())
	}
	t.bodies.reading = len(some) > 0
	return some
}

// forget removes a body that was not read, so that the next stream requests it again. The caller
// holds the lock.
func (t *tail) forget(w requestedBody) {
	if e := t.entry(w.id); e != nil && e.body == w.body {
		e.body = nil
	}
}

// pick reads bodies in one round trip.
func (t *tail) pick(ctx context.Context, some []requestedBody) ([]string, error) {
	args := []string{strconv.Itoa(tailReply)}
	for _, w := range some {
		args = append(args, w.id)
	}
	msg, err := t.d.core.Eval(ctx, pickScript, []string{t.p.stream}, args)
	if err != nil {
		return nil, err
	}
	all, err := msg.AsStrSlice()
	if err != nil || len(all) != 2*len(some) {
		return nil, unexpected("bodies of a stream", err)
	}
	return all, nil
}

// resolve passes bodies to the streams that wait for them.
func (t *tail) resolve(some []requestedBody, all []string, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.bodies.shared = time.Now()
	for i, w := range some {
		switch {
		case err != nil:
			w.body.err = err
		case w.size > 0 && all[2*i+1] == "", all[2*i] != w.channel: // the event was cut
			w.body.err = errStale
		default:
			w.body.raw = all[2*i+1]
		}
		if w.body.err != nil {
			t.forget(w)
		} else if e := t.entry(w.id); e != nil && e.body == w.body {
			t.keepBody(*e)
		}
		close(w.body.done)
	}
}

// render returns the event as text of the stream. It returns nothing if the event can't be decoded.
func (b *tailBody) render(id string, foreign bool) []byte {
	b.once.Do(func() {
		b.text = eventText(id, b.raw, foreign)
		b.raw = ""
	})
	return b.text
}

var oneLine = strings.NewReplacer("\r", " ", "\n", " ")

func eventText(id, body string, foreign bool) []byte {
	var d delivery
	if d.parse(body, foreign) != nil {
		return nil
	}
	var data json.RawMessage
	if d.decode(&data) != nil {
		return nil
	}
	var buf bytes.Buffer
	buf.Grow(len(data) + 128)
	buf.WriteString("id: ")
	buf.WriteString(id)
	buf.WriteString("\nevent: ")
	buf.WriteString(oneLine.Replace(d.Type))
	buf.WriteString("\ndata: ")
	if !bytes.ContainsAny(data, "\r\n") {
		buf.Write(data)
	} else if json.Compact(&buf, data) != nil { // a line end between tokens, also a single CR, would end the field
		return nil
	}
	buf.WriteString("\n\n")
	return buf.Bytes()
}
