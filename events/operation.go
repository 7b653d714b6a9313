package events

import (
	"slices"
	"strconv"
	"time"
)

// operation is one item that a poll writes or asks for. poll.lua describes each.
type operation interface {
	appendTo(args []string) []string
}

// ackOp acknowledges stream entries.
type ackOp struct{ ids []string }

// markOp marks event ids as handled in the inbox.
type markOp struct{ eventIDs []string }

// popOp removes heads of a channel's parked list: they are done.
type popOp struct {
	channel string
	ids     []string
}

// moreOp asks for parked events of a channel behind the held ones.
type moreOp struct {
	channel    string
	skip, want int
}

// parkOp moves stream entries to the front of a channel's parked list, which is due after the
// delay.
type parkOp struct {
	channel string
	delay   time.Duration // heldHere: the list stays handed out to this owner
	events  []counted
}

// heldHere is the delay of a parked list that stays handed out to this owner.
const heldHere = -time.Millisecond

// counted is an event and its number of attempts.
type counted struct {
	id       string
	attempts int
}

// triesOp sets the attempts of a parked event.
type triesOp counted

// deadOp makes a dead letter of an event.
type deadOp struct {
	counted
	channel, cause string
	at             time.Time
	parked         bool
	size           int // of its body
}

// startOp counts attempts of stream entries before their handlers start.
type startOp struct {
	attempts int
	ids      []string
}

// fetchOp asks for the body of a stream entry, or of the head of a channel's parked list.
type fetchOp struct {
	id, channel string
	parked      bool
}

// askOp asks which event ids are in the inbox.
type askOp struct{ eventIDs []string }

func appendCounted(args []string, ids []string) []string {
	return append(append(args, strconv.Itoa(len(ids))), ids...)
}

func (o ackOp) appendTo(args []string) []string { return appendCounted(append(args, "A"), o.ids) }

func (o markOp) appendTo(args []string) []string {
	return appendCounted(append(args, "I"), o.eventIDs)
}

func (o popOp) appendTo(args []string) []string {
	return appendCounted(append(args, "P", o.channel), o.ids)
}

func (o moreOp) appendTo(args []string) []string {
	return append(args, "M", o.channel, strconv.Itoa(o.skip), strconv.Itoa(o.want))
}

func (o parkOp) appendTo(args []string) []string {
	delay := o.delay
	if delay > 0 {
		delay += time.Millisecond // the server's time is rounded down to 1 ms: no retry comes early
	}
	args = append(args, "K", o.channel, millis(delay), strconv.Itoa(len(o.events)))
	for _, e := range o.events {
		args = append(args, e.id, strconv.Itoa(e.attempts))
	}
	return args
}

func (o triesOp) appendTo(args []string) []string {
	return append(args, "T", o.id, strconv.Itoa(o.attempts))
}

func (o deadOp) appendTo(args []string) []string {
	pop := "0"
	if o.parked {
		pop = "1"
	}
	return append(args, "D", o.id, o.cause, strconv.Itoa(o.attempts), strconv.FormatInt(o.at.UnixMilli(), 10), o.channel, pop)
}

func (o startOp) appendTo(args []string) []string {
	return appendCounted(append(args, "B", strconv.Itoa(o.attempts)), o.ids)
}

func (o fetchOp) appendTo(args []string) []string {
	if o.parked {
		return append(args, "H", o.channel, o.id)
	}
	return append(args, "F", o.id)
}

func (o askOp) appendTo(args []string) []string {
	return appendCounted(append(args, "C"), o.eventIDs)
}

// outcomes are what has happened in a partition since its last poll, in the order in which it is
// written.
type outcomes struct {
	acks  []string // stream entries, in any order
	marks []string // event ids for the inbox
	rest  []operation
}

func (o *outcomes) empty() bool { return len(o.acks) == 0 && len(o.rest) == 0 }

// ack notes that an event is done. Parked heads and dead letters of one list keep their order.
func (o *outcomes) ack(channel string, e *queuedEvent) {
	if !e.parked {
		o.acks = append(o.acks, e.id)
		return
	}
	if i := len(o.rest) - 1; i >= 0 {
		if last, ok := o.rest[i].(*popOp); ok && last.channel == channel {
			last.ids = append(last.ids, e.id)
			return
		}
	}
	o.rest = append(o.rest, &popOp{channel, []string{e.id}})
}

func (o *outcomes) mark(eventID string) { o.marks = append(o.marks, eventID) }

func (o *outcomes) dead(channel string, e *queuedEvent, cause string) {
	o.rest = append(o.rest, deadOp{counted{e.id, e.attempts}, channel, cause, time.Now(), e.parked, e.size})
}

// take removes outcomes and returns their operations, with the bytes of the bodies that they move:
// all outcomes, or as many as one poll may move.
func (o *outcomes) take(all bool) (ops []operation, moved int) {
	for ids := range slices.Chunk(o.acks, maxIDs) {
		ops = append(ops, ackOp{ids})
	}
	for ids := range slices.Chunk(o.marks, maxIDs) {
		ops = append(ops, markOp{ids})
	}
	o.acks, o.marks = nil, nil
	for len(o.rest) > 0 {
		if dead, ok := o.rest[0].(deadOp); ok {
			if !all && moved > 0 && moved+dead.size > moveBytes {
				return ops, moved
			}
			moved += dead.size
		}
		ops, o.rest = append(ops, o.rest[0]), o.rest[1:]
	}
	o.rest = nil
	return ops, moved
}

// fit reports whether one poll takes all outcomes.
func (o *outcomes) fit() bool {
	moved, n := 0, 0
	for _, op := range o.rest {
		if dead, ok := op.(deadOp); ok {
			moved += dead.size
			n++
		}
	}
	return n < 2 || moved <= moveBytes
}

// pending returns the ids of events that are done and not yet written.
func (o *outcomes) pending() map[string]bool {
	ids := make(map[string]bool)
	for _, id := range o.acks {
		ids[id] = true
	}
	for _, op := range o.rest {
		switch op := op.(type) {
		case *popOp:
			for _, id := range op.ids {
				ids[id] = true
			}
		case deadOp:
			ids[op.id] = true
		}
	}
	return ids
}
