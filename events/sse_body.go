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

// tailBody is the body of one event, for all streams that send it: it is read once, and made into text once.
type tailBody struct {
	done    chan struct{} // closed when raw or err is there; nil: raw was always there
	err     error
	waiting int // streams; under the tail's lock

	once sync.Once
	raw  string
	text []byte
}

// heldEntry is an event that a stream is about to send.
type heldEntry struct {
	id   string
	body *tailBody
}

// bodies are those in memory, and those that are to be read. The tail's lock is for all fields.
type bodies struct {
	kept    fifo[keptBody] // in memory, in the order in which they came
	bytes   int            // of kept
	shared  time.Time      // when a body was last read for a stream that resumes
	wanted  fifo[wantedBody]
	reading bool // a goroutine reads what is wanted
}

type keptBody struct {
	id   string
	size int
}

type wantedBody struct {
	tailEntry
	body *tailBody
}

// sharedFor is how long bodies are kept within tailShared after the last one was read.
const sharedFor = 2 * time.Second

func readBody(raw string) *tailBody { return &tailBody{raw: raw} }

func (b *bodies) reset() { b.kept, b.bytes = fifo[keptBody]{}, 0 }

func (b *bodies) limit() int {
	if time.Since(b.shared) < sharedFor {
		return tailShared
	}
	return tailBodies
}

// keepBody counts the body of an entry of the index, and drops older ones beyond the budget. It holds the lock.
func (t *tail) keepBody(e tailEntry) {
	if e.body == nil {
		return
	}
	t.bodies.kept.push(keptBody{e.id, e.size})
	t.bodies.bytes += e.size
	t.makeRoom()
}

// makeRoom drops the bodies that came first beyond the budget. A stream that is about to send one keeps it. It holds the lock.
func (t *tail) makeRoom() {
	for limit := t.bodies.limit(); t.bodies.bytes > limit && t.bodies.kept.len() > 0; {
		k := t.bodies.kept.pop()
		t.bodies.bytes -= k.size
		if e := t.entry(k.id); e != nil {
			e.body = nil
		}
	}
}

// relax drops what was kept for streams that have resumed.
func (t *tail) relax() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.makeRoom()
}

// entry is the index entry of a position, or nil. It holds the lock.
func (t *tail) entry(id string) *tailEntry {
	i := sort.Search(len(t.entries), func(i int) bool { return !before(t.entries[i].id, id) })
	if i == len(t.entries) || t.entries[i].id != id {
		return nil
	}
	return &t.entries[i]
}

// channelsInRoom are the channels whose bodies are wanted with older index entries: none when they would make room for others.
func (t *tail) channelsInRoom() []string {
	t.mu.Lock()
	full := t.bodies.bytes+tailReply > t.bodies.limit() || len(t.viewers) > tailChannels
	t.mu.Unlock()
	if full {
		return nil
	}
	return t.channels()
}

// want returns the body of an entry for a stream that is going to wait for it. A body that is not in memory is read once for all
// streams that want it. It holds the lock.
func (t *tail) want(e *tailEntry) *tailBody {
	if e.body == nil {
		e.body = &tailBody{done: make(chan struct{})}
		t.bodies.wanted.push(wantedBody{*e, e.body})
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

	t.readWanted()
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

// readWanted has a goroutine read what streams want, until there is nothing more. One reads at a time: a partition's streams hold up
// the server for one reply.
func (t *tail) readWanted() {
	t.mu.Lock()
	start := !t.bodies.reading && t.bodies.wanted.len() > 0
	t.bodies.reading = t.bodies.reading || start
	t.mu.Unlock()
	if !start {
		return
	}
	if !t.d.core.Group().Go("events for browsers that resume", func(ctx context.Context) {
		for some := t.nextWanted(); len(some) > 0; some = t.nextWanted() {
			all, err := t.pick(ctx, some)
			t.resolve(some, all, err)
		}
	}) {
		for some := t.nextWanted(); len(some) > 0; some = t.nextWanted() {
			t.resolve(some, nil, ErrClosed)
		}
	}
}

// nextWanted takes what one read is for: 64 bodies or 256 KiB, or a larger one. What no stream waits for any more is left out.
func (t *tail) nextWanted() (some []wantedBody) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for bytes := 0; t.bodies.wanted.len() > 0 && len(some) < 64; {
		w := t.bodies.wanted.at(0)
		if w.body.waiting == 0 {
			t.bodies.wanted.pop()
			t.forget(w)
			continue
		}
		if bytes += w.size; len(some) > 0 && bytes > tailReply {
			break
		}
		some = append(some, t.bodies.wanted.pop())
	}
	t.bodies.reading = len(some) > 0
	return some
}

// forget has the next stream that wants a body read it again. It holds the lock.
func (t *tail) forget(w wantedBody) {
	if e := t.entry(w.id); e != nil && e.body == w.body {
		e.body = nil
	}
}

// pick reads bodies: one round trip.
func (t *tail) pick(ctx context.Context, some []wantedBody) ([]string, error) {
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

// resolve hands bodies to the streams that wait for them.
func (t *tail) resolve(some []wantedBody, all []string, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.bodies.shared = time.Now()
	for i, w := range some {
		switch {
		case err != nil:
			w.body.err = err
		case w.size > 0 && all[2*i+1] == "", all[2*i] != w.channel: // it was cut
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

// render returns an event as text of the stream; nothing if it can't be read: it is some handler's to fail on.
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
	} else if json.Compact(&buf, data) != nil { // line ends between tokens end a line of the stream, also a single CR
		return nil
	}
	buf.WriteString("\n\n")
	return buf.Bytes()
}
