package events

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/redstart-go/redstart/internal/core"
)

// taken is the due time of a channel whose parked events are handed out.
const taken = 1e15

// pollReply is the reply of poll.lua.
type pollReply struct {
	now         int64   // ms
	due         float64 // ms; 0: nothing is due
	read        int64
	fresh       []storedEvent
	dueChannels []parkedChannel
	more        []parkedChannel
	seen        []string // event ids found in the inbox
	fault       string
	parked      int64
	started     []string // ids of fresh entries that may start
	tip         string   // the stream's last id, if everything was read
	missed      int64
	stubs       map[string]int // ids and sizes of events whose bodies did not fit
	bodies      map[string]string
	gone        []string // ids that were to begin and are cut
	waiting     int64    // events in all parked lists
	stamp       string   // of the last version of the group that registered
}

// storedEvent is an event as the server stores it.
type storedEvent struct {
	id, channel, field, body string
	attempts                 int
}

// parkedChannel is a part of a channel's parked list.
type parkedChannel struct {
	channel string
	items   []storedEvent
	length  int // of the whole list
}

// recoverReply is the reply of recover.lua.
type recoverReply struct {
	entries  []storedEvent
	last     string // the last id that was looked at; "": there are no more
	channels []parkedChannel
	gone     []string
	fault    string
	stubs    map[string]int
}

// decoder decodes parts of a reply and keeps the first error.
type decoder struct {
	parts []core.Reply
	next  int
	err   error
}

func decode(msg core.Reply, what string, n int) *decoder {
	parts, err := msg.ToArray()
	if err == nil && len(parts) != n {
		err = fmt.Errorf("%d parts instead of %d", len(parts), n)
	}
	d := &decoder{parts: parts, err: err}
	if err != nil {
		d.err = unexpected(what, err)
	}
	return d
}

func (d *decoder) fail(what string, err error) {
	if d.err == nil && err != nil {
		d.err = unexpected(what, err)
	}
}

func (d *decoder) part() (part core.Reply) {
	if d.err == nil {
		part = d.parts[d.next]
		d.next++
	}
	return part
}

func (d *decoder) number(what string) int64 {
	part := d.part()
	if d.err != nil {
		return 0
	}
	n, err := part.AsInt64()
	d.fail(what, err)
	return n
}

func (d *decoder) text(what string) string {
	part := d.part()
	if d.err != nil {
		return ""
	}
	s, err := part.ToString()
	d.fail(what, err)
	return s
}

func (d *decoder) texts(what string) []string {
	part := d.part()
	if d.err != nil {
		return nil
	}
	all, err := part.AsStrSlice()
	d.fail(what, err)
	return all
}

func (d *decoder) list(what string) []core.Reply {
	part := d.part()
	if d.err != nil {
		return nil
	}
	all, err := part.ToArray()
	d.fail(what, err)
	return all
}

// score is a due time, or 0 if there is none.
func (d *decoder) score(what string) float64 {
	text := d.text(what)
	if text == "" {
		return 0
	}
	ms, err := strconv.ParseFloat(text, 64)
	d.fail(what, err)
	return ms
}

func (d *decoder) sizes(what string) map[string]int {
	all := d.list(what)
	if len(all) == 0 {
		return nil
	}
	sizes := make(map[string]int, len(all)/2)
	for i := 0; i+1 < len(all); i += 2 {
		id, err1 := all[i].ToString()
		size, err2 := all[i+1].AsInt64()
		d.fail(what, err1)
		d.fail(what, err2)
		sizes[id] = int(size)
	}
	return sizes
}

func (d *decoder) pairs(what string) map[string]string {
	all := d.texts(what)
	if len(all) == 0 {
		return nil
	}
	pairs := make(map[string]string, len(all)/2)
	for i := 0; i+1 < len(all); i += 2 {
		pairs[all[i]] = all[i+1]
	}
	return pairs
}

// entries decodes stream entries: id, channel, field and body of each, and with attempts the number
// of its attempts.
func (d *decoder) entries(what string, attempts bool) []storedEvent {
	all := d.list(what)
	size := 4
	if attempts {
		size = 5
	}
	if d.err == nil && len(all)%size != 0 {
		d.fail(what, fmt.Errorf("%d parts, not %d for each", len(all), size))
	}
	if d.err != nil || len(all) == 0 {
		return nil
	}

	entries := make([]storedEvent, len(all)/size)
	for i := range entries {
		parts, e := all[size*i:], &entries[i]
		for j, text := range []*string{&e.id, &e.channel, &e.field, &e.body} {
			var err error
			*text, err = parts[j].ToString()
			d.fail(what, err)
		}
		if attempts {
			n, err := parts[4].AsInt64()
			d.fail(what, err)
			e.attempts = max(int(n), 0)
		}
	}
	return entries
}

func (d *decoder) channels(what string) (all []parkedChannel) {
	for _, msg := range d.list(what) {
		c := decode(msg, what, 4)
		p := parkedChannel{channel: c.text(what)}
		items, attempts := c.texts(what), c.texts(what)
		p.length = int(c.number(what))
		if c.err == nil && len(items) != len(attempts) {
			c.err = unexpected(what, fmt.Errorf("%d events and %d attempts", len(items), len(attempts)))
		}
		d.fail(what, c.err)
		if d.err != nil {
			return nil
		}
		for i, item := range items {
			part := strings.SplitN(item, " ", 3)
			n, err := strconv.Atoi(attempts[i])
			if len(part) != 3 || err != nil {
				d.fail(what, fmt.Errorf("a parked event of %d parts: %w", len(part), err))
				return nil
			}
			p.items = append(p.items, storedEvent{id: part[0], channel: p.channel, field: part[1], body: part[2], attempts: n})
		}
		all = append(all, p)
	}
	return all
}

func decodePoll(msg core.Reply) (r pollReply, err error) {
	d := decode(msg, "poll", 18)
	r.now = d.number("time")
	r.due = d.score("due time")
	r.read = d.number("entries read")
	r.fresh = d.entries("entries", false)
	r.dueChannels = d.channels("due channels")
	r.more = d.channels("more of channels")
	r.seen = d.texts("event ids")
	r.fault = d.text("error")
	r.parked = d.number("events parked")
	d.number("dead letters")
	r.started = d.texts("started ids")
	r.tip = d.text("last id")
	r.missed = d.number("missed events")
	r.stubs = d.sizes("sizes")
	r.bodies = d.pairs("bodies")
	r.gone = d.texts("cut ids")
	r.waiting = d.number("parked events")
	r.stamp = d.text("stamp")
	return r, d.err
}

func decodeRecover(msg core.Reply) (r recoverReply, err error) {
	d := decode(msg, "recover", 6)
	r.entries = d.entries("entries and their attempts", true)
	r.last = d.text("last id")
	r.channels = d.channels("channels")
	r.gone = d.texts("cut ids")
	r.fault = d.text("error")
	r.stubs = d.sizes("sizes")
	return r, d.err
}
