package events

import (
	"fmt"
	"slices"
	"strconv"
	"time"
)

// turn is one call of step.lua. It can be made again whole: everything in it is said absolutely.
type turn struct {
	token      string
	lease      time.Duration
	group      string
	count      int // events to read
	deadCap    int64
	inbox      time.Duration
	release    bool
	auto       int   // channels whose first event that is read may begin at once
	number     int64 // higher each time it is sent
	budget     int   // bytes of bodies to answer with
	chunk      int   // events to fetch at once on the server
	operations []operation

	begins   []begin
	counts   []beginOp          // attempts to count, one operation for each number of attempts
	asks     map[string][]*held // by event id, for the inbox
	mores    []moreOp
	fetching []*lane // whose heads' bodies are fetched
	moved    int     // bytes of bodies that the operations move
}

// begin is the events of a lane whose attempts a turn counts.
type begin struct {
	l   *lane
	all []*held
}

// encode makes the arguments of step.lua.
func (t *turn) encode() []string {
	mode := "keep"
	if t.release {
		mode = "release"
	}
	args := make([]string, 0, 12+4*len(t.operations))
	args = append(args, t.token, millis(t.lease), t.group, strconv.Itoa(t.count), strconv.Itoa(window),
		strconv.FormatInt(t.deadCap, 10), millis(t.inbox), mode, strconv.Itoa(t.auto), strconv.FormatInt(t.number, 10),
		strconv.Itoa(t.budget), strconv.Itoa(t.chunk))
	for _, op := range t.operations {
		args = op.appendTo(args)
	}
	return args
}

// readNothing makes the turn one that can be sent again after its answer was lost. What it had read is in the pending list and
// comes with recover: to read more before that would put later events of a channel in front of them.
func (t *turn) readNothing() { t.count, t.auto = 0, 0 }

const (
	replyBytes = 1 << 20  // of bodies in one answer; a larger body is alone in its answer
	fetchBytes = 8 << 20  // that the server looks at in one command, at most, where no event is larger than MaxBytes
	moveBytes  = 1 << 20  // of bodies that one turn moves to parked lists or dead letters; a larger body is moved alone
	leastRead  = 64 << 10 // with less left of the budget nothing is read
	maxChunk   = 16       // events that the server fetches before it looks at their size
	maxIDs     = 1024     // in one operation: Lua can pass on some thousands
)

// gather makes the next turn out of what has happened. It runs under the run's lock, and no other turn of the
// session is under way: what it sees in the lanes is all that was read.
func (x *session) gather(count int, release bool) *turn {
	opt := &x.run.sub.opt
	t := &turn{token: x.token, lease: x.d.opt.Lease, group: x.run.sub.name, count: count, deadCap: x.d.opt.DeadLetters,
		inbox: opt.Inbox, release: release, budget: replyBytes, chunk: x.chunk()}
	if t.operations, t.moved = x.outcomes.take(release); !x.outcomes.empty() {
		t.count, t.budget = 0, 0 // what follows builds on all outcomes
		return t
	}

	// Bodies that are moved or fetched leave no room to read. Turns that do it take turns with those that read.
	reads := count > 0 || x.hungry()
	large := release || !reads || !x.starved
	x.gatherParks(t, large)
	begins := x.gatherBegins(t, large)
	if release {
		begins = x.uncount(begins)
	} else if large {
		x.overflow(t)
	}
	t.operations = append(t.operations, begins...)
	for _, op := range t.counts {
		for ids := range slices.Chunk(op.ids, maxIDs) {
			t.operations = append(t.operations, beginOp{op.attempts, ids})
		}
	}
	if len(t.asks) > 0 {
		var ask askOp
		for id := range t.asks {
			ask.eventIDs = append(ask.eventIDs, id)
		}
		t.operations = append(t.operations, ask)
	}

	t.budget -= t.moved
	if x.starved = reads && t.budget < leastRead; t.budget < leastRead { // the rest of the answer is for what is fetched
		t.budget, t.count = max(t.budget, 0), 0
	} else {
		if !release {
			x.gatherMore(t)
		}
		t.budget = x.within(t.budget)
	}
	if t.count > 0 && len(x.lanes) == 0 && x.phase.serves() && x.run.ready.len() == 0 && opt.Inbox == 0 && x.run.sub.leastAttempts != 1 {
		// The slots stay free until the answer is here: a server that does not answer must not keep them from other partitions. So
		// a few more queues than there are slots may have one, if several partitions read at once.
		t.auto = max(min(x.run.free, t.count), 0)
	}
	return t
}

// within is how many bytes of bodies a reply may have, of so many: what is held leaves room. With none, stubs are read. A reply with the whole budget
// may be one body of twice the size.
func (x *session) within(budget int) int {
	room := max(heldBytes-x.bytes, 0)
	if budget >= replyBytes && room < 2*replyBytes {
		budget = replyBytes - 1
	}
	return min(budget, room)
}

// chunk is how many events the server may fetch before it looks at how large they are: few when they were large lately, and
// never so many that events of MaxBytes were more than fetchBytes.
func (x *session) chunk() int {
	n := min(maxChunk, max(1, fetchBytes/x.d.opt.MaxBytes))
	if x.size > 0 {
		n = min(n, max(1, replyBytes/4/x.size))
	}
	return n
}

// gatherBegins counts the attempts of what is about to start. The body of a stub is fetched first, if large bodies are.
func (x *session) gatherBegins(t *turn, large bool) (begins []operation) {
	all := x.toBegin
	x.toBegin = nil
	fetches := 0
	for _, l := range all {
		if !x.phase.serves() || !l.stage.holdsSlot() {
			l.request(nothing)
			x.settle(l)
			continue
		}
		attempt, some := x.next(l)
		switch {
		case len(some) == 0:
			l.request(nothing)
			if l.begun == 0 {
				x.settle(l)
			}
		case some[0].stub && (!large || (fetches > 0 || t.moved > 0) && some[0].size > t.budget-t.moved): // in the next turn
			x.toBegin = append(x.toBegin, l)
		case some[0].stub:
			fetches++
			t.budget -= some[0].size
			t.fetching = append(t.fetching, l)
			l.request(fetching)
			begins = append(begins, fetchOp{some[0].id, l.channel, some[0].parked})
		default:
			l.asked = len(some)
			l.request(counting)
			t.begins = append(t.begins, begin{l, some})
			begins = t.count1(begins, l.channel, attempt, some, x)
		}
	}
	return begins
}

// count1 writes down that attempts begin.
func (t *turn) count1(ops []operation, channel string, attempt int, all []*held, x *session) []operation {
	var ids []string
	for _, h := range all {
		if h.parked {
			ops = append(ops, triesOp{h.id, attempt})
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
	i := slices.IndexFunc(t.counts, func(op beginOp) bool { return op.attempts == attempt })
	if i < 0 {
		i = len(t.counts)
		t.counts = append(t.counts, beginOp{attempts: attempt})
	}
	t.counts[i].ids = append(t.counts[i].ids, ids...)
	return ops
}

// gatherMore asks for the parked events of channels of which little is held here.
func (x *session) gatherMore(t *turn) {
	for l := range x.remote {
		if !x.wantsMore(l) {
			continue
		}
		parked := 0
		for i := range l.queue.len() {
			if l.queue.at(i).parked {
				parked++
			}
		}
		l.hungry = false
		t.mores = append(t.mores, moreOp{l.channel, parked, window})
		t.operations = append(t.operations, moreOp{l.channel, parked, window})
	}
}

// wantsMore reports whether parked events of a lane are to be asked for.
func (x *session) wantsMore(l *lane) bool {
	return l.hungry && l.stage != stopped && x.phase.serves() && l.queue.len() <= window/2
}

func (x *session) hungry() bool {
	for l := range x.remote {
		if x.wantsMore(l) {
			return true
		}
	}
	return false
}

// crowded reports whether what is held takes the room of other channels that a worker is free for.
func (x *session) crowded() bool {
	return (x.held >= x.maxHeld()/2 || x.weight >= maxWeight/4) && x.phase.serves() && int(x.run.sub.stats.running.Load()) < x.run.sub.opt.Concurrency
}

// overflowAfter is how long the handlers of one channel may need for what is held of it. A channel that needs longer keeps the room
// of others occupied; one that needs less is faster here than in a parked list.
const overflowAfter = 20 * time.Millisecond

// overflowing are the lanes that give events back to make room for others, and whether some lanes may become such soon.
func (x *session) overflowing() (all []*lane, soon bool) {
	if !x.crowded() {
		return nil, false
	}
	now := time.Now()
	for _, l := range x.lanes {
		switch n := l.queue.len(); {
		case n == 0 || l.stage == stopped || l.queue.at(n-1).parked || x.share(l) >= n:
		case l.backlog(now) > overflowAfter:
			all = append(all, l)
		case !l.since.IsZero():
			soon = true
		}
	}
	return all, soon
}

// share is how many events of a lane stay here when its channel overflows: those that have begun, and a few behind.
func (x *session) share(l *lane) int {
	keep, bytes := max(l.begun+l.asked, 1), 0
	for i := 0; i < l.queue.len() && (i < keep || i < window/2 && bytes < heldBytes/16); i++ {
		bytes += l.queue.at(i).size
		keep = max(keep, i+1)
	}
	return keep
}

// overflow parks the tails of long channels on the server, where they wait as long as they have to, when they take the
// room of others and a worker is free that the others could have (E4).
func (x *session) overflow(t *turn) {
	all, _ := x.overflowing()
	for _, l := range all {
		op := parkOp{channel: l.channel, delay: heldHere, events: x.cutTail(t, l, x.share(l))}
		if len(op.events) == 0 {
			return
		}
		x.remote[l], l.hungry = true, true
		t.operations = append(t.operations, op)
	}
}

// cutTail takes stream entries off the end of a lane, down to keep events, as far as the turn may move their bodies. It
// returns them in order.
func (x *session) cutTail(t *turn, l *lane, keep int) (events []counted) {
	from := l.queue.len()
	for from > keep && !l.queue.at(from-1).parked && t.moves(l.queue.at(from-1).size) {
		from--
	}
	for i, h := range l.queue.cut(from) {
		attempts := h.attempts
		if from+i > 0 && from+i < l.begun { // counted ahead: it did not happen
			attempts--
		}
		events = append(events, counted{h.id, attempts})
		x.unhold(h)
	}
	return events
}

// moves reports whether the turn may move a body of this size, and counts it.
func (t *turn) moves(size int) bool {
	if t.moved > 0 && t.moved+size > moveBytes {
		return false
	}
	t.moved += size
	return true
}

// gatherParks parks the lanes whose heads failed, if large bodies are moved or theirs are not.
func (x *session) gatherParks(t *turn, large bool) {
	lanes := x.toPark
	x.toPark = nil
	for _, l := range lanes {
		size := 0
		if n := l.queue.len(); n > 0 {
			size = l.queue.at(n - 1).size
		}
		if size > leastRead && (!large || t.moved > 0 && t.moved+size > moveBytes) || !x.park(t, l) {
			x.toPark = append(x.toPark, l)
		}
	}
}

// park puts all of a lane into the channel's parked list. Attempts that were counted ahead did not happen. Where the bodies are
// too many for one turn it moves the last ones and reports false: the next turn goes on.
func (x *session) park(t *turn, l *lane) bool {
	for i := range l.queue.len() {
		h := l.queue.at(i)
		if h.parked && i > 0 && i < l.begun {
			h.attempts--
			t.operations = append(t.operations, triesOp{h.id, h.attempts})
		}
	}
	parked := l.queue.len() // those behind the last stream entry
	for parked > 0 && l.queue.at(parked-1).parked {
		parked--
	}
	for _, h := range l.queue.cut(parked) {
		x.unhold(h)
	}

	op := parkOp{channel: l.channel, delay: l.delay}
	if op.events = x.cutTail(t, l, 0); l.queue.len() > 0 {
		op.delay = heldHere
		l.begun = min(l.begun, l.queue.len())
	}
	t.operations = append(t.operations, op)
	if l.queue.len() > 0 {
		return false
	}
	x.drop(l)
	return true
}

// uncount takes back the attempts of events whose handlers did not start, or were ended by us.
func (x *session) uncount(ops []operation) []operation {
	for _, l := range x.lanes {
		for i := range min(l.begun, l.queue.len()) {
			h := l.queue.at(i)
			if h.parked {
				ops = append(ops, triesOp{h.id, h.attempts - 1})
			} else {
				ops = append(ops, beginOp{h.attempts - 1, []string{h.id}})
			}
		}
		x.run.sub.stats.givenBack.Add(int64(l.queue.len()))
	}
	return ops
}

func unexpected(what string, err error) error {
	return fmt.Errorf("an unexpected answer, %s: %w", what, err)
}
