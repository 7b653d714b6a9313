package redstarttest

import (
	"bytes"
	"context"
	"encoding/json"
	"strconv"
	"sync"
)

// DurableBus is the part of *events.Durable that [Drain] needs. G is events.Group.
type DurableBus[G interface{ Drained() bool }] interface {
	Groups(ctx context.Context, after string, limit int) ([]G, error)
}

// maxGroups is the number of groups of a bus that Drain waits for.
const maxGroups = 1000

// Drain waits until all groups of the buses have handled all events that were published. It also
// waits for delayed events: let their time pass before, with Advance or in a bubble. An event that
// became a dead letter is handled. A bus without a group fails the test, because none of its events
// will be handled.
//
//	redstarttest.Drain(server, orders, mails)
func Drain[G interface{ Drained() bool }](s *Server, buses ...DurableBus[G]) {
	s.t.Helper()
	ctx, cancel := s.within()
	defer cancel()
	for i, bus := range buses {
		var looks pauses
		var last []G
		for {
			groups, err := bus.Groups(ctx, "", maxGroups)
			if err != nil {
				s.t.Fatalf("redstarttest: drain: bus %d is not drained: %v: groups %+v: run a subscriber of each group, "+
					"and let the time of delayed events pass before", i, err, last)
			}
			if len(groups) == 0 {
				s.t.Fatalf("redstarttest: drain: bus %d has no group: run a subscriber before you publish", i)
			}
			if drained(groups) {
				break
			}
			last = groups
			looks.wait(ctx)
		}
	}
}

func drained[G interface{ Drained() bool }](groups []G) bool {
	for _, g := range groups {
		if !g.Drained() {
			return false
		}
	}
	return true
}

// Published returns the data of the events that clients have sent to a channel, on any bus, in the
// order of their first sending. An event that was sent again has the same ID and counts once. The
// events are those that have passed to the server, so it works for live and durable buses, with and
// without subscribers, and for events that are trimmed already.
//
//	paid := redstarttest.Published[Order](server, orderPaid, "orders:42")
func Published[T any](s *Server, topic interface{ Type() string }, channel string) []T {
	s.t.Helper()
	sent, dropped := s.recorder.all()
	if dropped > 0 {
		s.t.Fatalf("redstarttest: published: %d events are above the limit of %d events and %d MiB that are remembered: "+
			"publish fewer events in one test", dropped, maxRecorded, maxRecordedBytes>>20)
	}
	var found []T
	for _, e := range sent {
		if e.Type != topic.Type() || e.Subject != channel {
			continue
		}
		var data T
		if err := json.Unmarshal(e.Data, &data); err != nil {
			s.t.Fatalf("redstarttest: published: an event of type %q does not fit into %T: %v: use the type of the topic",
				e.Type, data, err)
		}
		found = append(found, data)
	}
	return found
}

// sentEvent is an event in CloudEvents JSON, as far as Published needs it.
type sentEvent struct {
	ID, Type, Subject string
	Data              json.RawMessage
}

const (
	maxRecorded      = 10_000
	maxRecordedBytes = 64 << 20
)

// recorder remembers the events that clients have sent.
type recorder struct {
	mu      sync.Mutex
	events  []sentEvent
	seen    map[string]bool // by id
	bytes   int
	dropped int
}

var envelopeStart = []byte(`{"specversion":`)

// see looks for events in the arguments of a command.
func (r *recorder) see(request []byte) {
	if !bytes.Contains(request, envelopeStart) {
		return
	}
	for _, arg := range arguments(request) {
		if !bytes.HasPrefix(arg, envelopeStart) {
			continue
		}
		var e sentEvent
		if json.Unmarshal(arg, &e) == nil && e.ID != "" { // other data may begin like an event
			r.add(e)
		}
	}
}

func (r *recorder) add(e sentEvent) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.seen[e.ID] {
		return
	}
	if len(r.events) >= maxRecorded || r.bytes+len(e.Data) > maxRecordedBytes {
		r.dropped++
		return
	}
	if r.seen == nil {
		r.seen = make(map[string]bool)
	}
	r.seen[e.ID] = true
	r.events = append(r.events, e)
	r.bytes += len(e.Data)
}

func (r *recorder) all() ([]sentEvent, int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.events[:len(r.events):len(r.events)], r.dropped
}

// arguments returns the bulk strings of a complete command.
func arguments(request []byte) (all [][]byte) {
	_, rest, _ := bytes.Cut(request, []byte("\r\n"))
	for len(rest) > 0 && rest[0] == '$' {
		line, after, _ := bytes.Cut(rest, []byte("\r\n"))
		n, err := strconv.Atoi(string(line[1:]))
		if err != nil || n < 0 || n+2 > len(after) {
			return all
		}
		all, rest = append(all, after[:n]), after[n+2:]
	}
	return all
}
