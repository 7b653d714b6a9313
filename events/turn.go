package events

import (
	"fmt"
	"strconv"
	"time"
)

// ops is what happened in a partition since its last turn: operations of step.lua.
type ops struct {
	acks  []string // stream ids
	marks []string // event ids for the inbox
	args  []string // in order
	heads []parkedHeads
	n     int
}

// parkedHeads are done events at the head of a parked list. They and dead letters of the list keep their order.
type parkedHeads struct {
	channel string
	ids     []string
}

func (o *ops) empty() bool { return o.n == 0 }

func (o *ops) ack(channel string, h *held) {
	o.n++
	if !h.parked {
		o.acks = append(o.acks, h.id)
		return
	}
	if i := len(o.heads) - 1; i >= 0 && o.heads[i].channel == channel {
		o.heads[i].ids = append(o.heads[i].ids, h.id)
		return
	}
	o.heads = append(o.heads, parkedHeads{channel, []string{h.id}})
}

func (o *ops) mark(eventID string) { o.marks = append(o.marks, eventID) }

// flush writes down the parked heads, before something that must come after them.
func (o *ops) flush() {
	for _, p := range o.heads {
		o.args = append(o.args, "P", p.channel, "0", "0", strconv.Itoa(len(p.ids)))
		o.args = append(o.args, p.ids...)
	}
	o.heads = nil
}

func (o *ops) dead(channel string, h *held, cause string) {
	o.n++
	pop := "0"
	if h.parked {
		pop = "1"
		o.flush()
	}
	o.args = append(o.args, "D", h.id, cause, strconv.Itoa(h.attempts), strconv.FormatInt(time.Now().UnixMilli(), 10), channel, pop)
}

// pending are the ids of stream entries and parked events that are done but not yet written down.
func (o *ops) pending() map[string]bool {
	ids := make(map[string]bool)
	for _, id := range o.acks {
		ids[id] = true
	}
	for _, p := range o.heads {
		for _, id := range p.ids {
			ids[id] = true
		}
	}
	for i := 0; i < len(o.args); {
		switch o.args[i] {
		case "P":
			n, _ := strconv.Atoi(o.args[i+4])
			for _, id := range o.args[i+5 : i+5+n] {
				ids[id] = true
			}
			i += 5 + n
		default: // D
			ids[o.args[i+1]] = true
			i += 7
		}
	}
	return ids
}

// turn is one call of step.lua. It can be made again whole: everything in it is said absolutely.
type turn struct {
	args     []string
	count    int // how many to read
	begins   []begin
	asks     map[string][]*held // by event id, for the inbox
	mores    []string           // channels whose parked lists were asked for more
	releases bool
}

type begin struct {
	l   *lane
	all []*held
}

// gather makes the next turn out of what has happened. It runs under the run's lock, and no other turn of the
// session is under way: what it sees in the lanes is all that was read.
func (x *session) gather(count int, release bool) *turn {
	t := &turn{count: count, releases: release}
	var begins []string
	for _, l := range x.toBegin {
		l.wanted = false
		if x.draining || x.over || !l.slot {
			continue
		}
		attempt, all := x.next(l)
		if len(all) == 0 {
			if !l.busy && l.begun+l.asked == 0 {
				x.settle(l)
			}
			continue
		}
		l.asked += len(all)
		t.begins = append(t.begins, begin{l, all})
		begins = t.count1(begins, l.channel, attempt, all, x)
	}
	clear(x.toBegin)
	x.toBegin = x.toBegin[:0]

	mode := "keep"
	if release {
		mode = "release"
	}
	o := &x.ops
	if count > 0 && len(x.lanes) == 0 && !x.draining && x.run.ready.len() == 0 && x.run.sub.opt.Inbox == 0 && x.run.sub.opt.MaxAttempts != 1 {
		x.reserved = min(x.run.free, count)
		x.run.free -= x.reserved
	}
	t.args = append(t.args, x.token, millis(x.d.opt.Lease), x.run.sub.name, strconv.Itoa(count), strconv.Itoa(window),
		strconv.FormatInt(x.d.opt.DeadLetters, 10), millis(x.run.sub.opt.Inbox), mode, strconv.Itoa(x.reserved), "")
	if len(o.acks) > 0 {
		t.args = append(append(t.args, "A", strconv.Itoa(len(o.acks))), o.acks...)
	}
	if len(o.marks) > 0 {
		t.args = append(append(t.args, "I", strconv.Itoa(len(o.marks))), o.marks...)
	}
	o.flush()
	t.args = append(t.args, o.args...)
	t.more(o.args, x)
	for _, l := range x.toPark {
		x.park(t, l)
	}
	x.toPark = x.toPark[:0]
	if release {
		begins = x.uncount(t, begins)
	}
	t.args = append(t.args, begins...)
	if len(t.asks) > 0 {
		t.args = append(t.args, "C", strconv.Itoa(len(t.asks)))
		for id := range t.asks {
			t.args = append(t.args, id)
		}
	}
	x.ops = ops{}
	return t
}

// count1 writes down that attempts begin.
func (t *turn) count1(args []string, channel string, attempt int, all []*held, x *session) []string {
	var ids []string
	for _, h := range all {
		if h.parked {
			args = append(args, "T", h.id, strconv.Itoa(attempt))
		} else {
			ids = append(ids, h.id)
		}
		if x.run.sub.opt.Inbox > 0 {
			var d delivery
			if d.parse(h.body, x.d.foreign) == nil && d.ID != "" {
				if t.asks == nil {
					t.asks = make(map[string][]*held)
				}
				id := scoped(channel, d.ID)
				t.asks[id] = append(t.asks[id], h)
			}
		}
	}
	if len(ids) > 0 {
		args = append(append(args, "B", strconv.Itoa(attempt), strconv.Itoa(len(ids))), ids...)
	}
	return args
}

// more asks for the parked events behind those that are done.
func (t *turn) more(args []string, x *session) {
	asked := make(map[string]bool)
	ask := func(channel string) {
		if asked[channel] {
			return
		}
		asked[channel] = true
		left := 0
		if l := x.lanes[channel]; l != nil {
			if l.stop {
				return
			}
			for i := range l.queue.len() {
				if l.queue.at(i).parked {
					left++
				}
			}
		}
		if left <= window/2 {
			t.mores = append(t.mores, channel)
			t.args = append(t.args, "P", channel, strconv.Itoa(left), strconv.Itoa(window), "0")
		}
	}
	for i := 0; i < len(args); {
		switch args[i] {
		case "P":
			n, _ := strconv.Atoi(args[i+4])
			ask(args[i+1])
			i += 5 + n
		default: // D
			if args[i+6] == "1" {
				ask(args[i+5])
			}
			i += 7
		}
	}
}

// park puts all of a lane into the channel's parked list. Attempts that were counted ahead did not happen.
func (x *session) park(t *turn, l *lane) {
	var moved []string
	for i := range l.queue.len() {
		h := l.queue.at(i)
		attempts := h.attempts
		if i > 0 && i < l.begun {
			attempts--
		}
		if h.parked {
			if attempts != h.attempts {
				t.args = append(t.args, "T", h.id, strconv.Itoa(attempts))
			}
		} else {
			moved = append(moved, h.id, strconv.Itoa(attempts))
		}
	}
	t.args = append(t.args, "K", l.channel, strconv.FormatInt(l.delay, 10), strconv.Itoa(len(moved)/2))
	t.args = append(t.args, moved...)
	x.drop(l)
}

// uncount takes back the attempts of events whose handlers did not start, or were ended by us.
func (x *session) uncount(t *turn, args []string) []string {
	for _, l := range x.lanes {
		for i := range min(l.begun, l.queue.len()) {
			h := l.queue.at(i)
			if h.parked {
				args = append(args, "T", h.id, strconv.Itoa(h.attempts-1))
			} else {
				args = append(args, "B", strconv.Itoa(h.attempts-1), "1", h.id)
			}
		}
		x.run.sub.stats.givenBack.Add(int64(l.queue.len()))
	}
	return args
}

func unexpected(what string, err error) error {
	return fmt.Errorf("an unexpected answer, %s: %w", what, err)
}
