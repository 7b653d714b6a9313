package events

import (
	"slices"
	"strconv"
	"time"
)

// operation is something that a turn writes down or asks for. step.lua says what each does.
type operation interface {
	appendTo(args []string) []string
}

// ackOp acknowledges stream entries.
type ackOp struct{ ids []string }

// markOp marks event ids as handled in the inbox.
type markOp struct{ eventIDs []string }

// popOp says that the heads of a channel's parked list are done.
type popOp struct {
	channel string
	ids     []string
}

// moreOp asks for parked events of a channel behind those that are held.
type moreOp struct {
	channel    string
	skip, want int
}

// parkOp puts stream entries in front of a channel's parked list, which is due after the delay.
type parkOp struct {
	channel string
	delay   time.Duration // heldHere: this owner keeps it
	events  []counted
}

// heldHere is the delay of a parked list that stays handed out to this owner.
const heldHere = -time.Millisecond

// counted is an event and the number of its attempts.
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

// beginOp counts attempts of stream entries before their handlers start.
type beginOp struct {
	attempts int
	ids      []string
}

// fetchOp asks for the body of an event: of a stream entry, or of the head of a channel's parked list.
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
		delay += time.Millisecond // the server's clock is cut to milliseconds: no retry comes early
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

func (o beginOp) appendTo(args []string) []string {
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

// outcomes are what has happened in a partition since its last turn, in the order in which it is to be written down.
type outcomes struct {
	acks  []string // stream entries: their order does not matter
	marks []string // event ids for the inbox
	rest  []operation
}

func (o *outcomes) empty() bool { return len(o.acks) == 0 && len(o.rest) == 0 }

// ack notes that an event is done. Parked heads and dead letters of one list keep their order.
func (o *outcomes) ack(channel string, h *held) {
	if !h.parked {
		o.acks = append(o.acks, h.id)
		return
	}
	if i := len(o.rest) - 1; i >= 0 {
		if last, ok := o.rest[i].(*popOp); ok && last.channel == channel {
			last.ids = append(last.ids, h.id)
			return
		}
	}
	o.rest = append(o.rest, &popOp{channel, []string{h.id}})
}

func (o *outcomes) mark(eventID string) { o.marks = append(o.marks, eventID) }

func (o *outcomes) dead(channel string, h *held, cause string) {
	o.rest = append(o.rest, deadOp{counted{h.id, h.attempts}, channel, cause, time.Now(), h.parked, h.size})
}

// take removes outcomes and returns them as the server gets them, with the bytes of the bodies that they move: all of them, or as many as
// one turn may move.
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

// fit reports whether one turn takes all outcomes.
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

// pending are the ids of events that are done but not yet written down.
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
