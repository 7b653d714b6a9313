package events

import (
	"fmt"
	"slices"
	"strconv"
	"time"
)

// poll is one call of poll.lua. All its operations are idempotent, so a poll whose reply was lost
// is sent again.
type poll struct {
	token      string
	lease      time.Duration
	group      string
	count      int // events to read, at most
	deadCap    int64
	inbox      time.Duration
	release    bool
	autoStart  int   // channels whose first event may start at once
	number     int64 // higher each time that the poll is sent
	answered   int64 // number of the last poll that was answered
	budget     int   // bytes of bodies in the reply, at most
	chunk      int   // events that the server fetches at once
	operations []operation

	starts   []startBatch
	counts   []startOp                 // one operation for each number of attempts
	inboxIDs map[string][]*queuedEvent // by event id
	mores    []moreOp
	fetching []*channelQueue // queues whose heads' bodies are fetched
	moved    int             // bytes of bodies that the operations move
}

// startBatch is the events of a queue whose attempts a poll counts.
type startBatch struct {
	queue  *channelQueue
	events []*queuedEvent
}

// encode returns the arguments of poll.lua.
func (p *poll) encode() []string {
	mode := "keep"
	if p.release {
		mode = "release"
	}
	args := make([]string, 0, 13+4*len(p.operations))
	args = append(args, p.token, millis(p.lease), p.group, strconv.Itoa(p.count), strconv.Itoa(countAhead),
		strconv.FormatInt(p.deadCap, 10), millis(p.inbox), mode, strconv.Itoa(p.autoStart), strconv.FormatInt(p.number, 10),
		strconv.Itoa(p.budget), strconv.Itoa(p.chunk), strconv.FormatInt(p.answered, 10))
	for _, op := range p.operations {
		args = op.appendTo(args)
	}
	return args
}

// readNothing makes a poll one that may be sent again after its reply was lost. The lost
// reply's events are in the pending list, and recover returns them. Reading more before that would
// put later events of a channel in front of them.
func (p *poll) readNothing() { p.count, p.autoStart = 0, 0 }

const (
	replyBytes = 1 << 20  // bodies in one reply; a larger body travels alone
	fetchBytes = 8 << 20  // that the server reads in one command, if no event is larger than MaxBytes
	moveBytes  = 1 << 20  // bodies that one poll moves to parked lists or dead letters; a larger body moves alone
	leastRead  = 64 << 10 // a poll with less left of its budget reads nothing
	maxChunk   = 16       // events that the server fetches before it looks at their size
	maxIDs     = 1024     // in one operation: Lua passes some thousands of arguments
)

// gather makes the next poll out of the outcomes. The caller has the run's lock, and no other poll
// of this consumer is under way: the queues have everything that was read.
func (c *partitionConsumer) gather(count int, release bool) *poll {
	opt := &c.run.sub.opt
	p := &poll{token: c.token, lease: c.d.opt.Lease, group: c.run.sub.name, count: count, deadCap: c.d.opt.DeadLetters,
		inbox: opt.Inbox, release: release, budget: replyBytes, chunk: c.chunk()}
	if p.operations, p.moved = c.outcomes.take(release); !c.outcomes.empty() {
		p.count, p.budget = 0, 0 // the next operations need all outcomes
		return p
	}

	// Bodies that are moved or fetched leave no room to read. Such polls alternate with polls that
	// read.
	reads := count > 0 || c.needsMore()
	large := release || !reads || !c.readSkipped
	c.gatherParks(p, large)
	begins := c.gatherStarts(p, large)
	if release {
		begins = c.uncount(begins)
	} else if large {
		c.overflow(p)
	}
	p.operations = append(p.operations, begins...)
	for _, op := range p.counts {
		for ids := range slices.Chunk(op.ids, maxIDs) {
			p.operations = append(p.operations, startOp{op.attempts, ids})
		}
	}
	if len(p.inboxIDs) > 0 {
		var ask askOp
		for id := range p.inboxIDs {
			ask.eventIDs = append(ask.eventIDs, id)
		}
		p.operations = append(p.operations, ask)
	}

	p.budget -= p.moved
	if c.readSkipped = reads && p.budget < leastRead; p.budget < leastRead { // the rest of the reply is for fetched bodies
		p.budget, p.count = max(p.budget, 0), 0
	} else {
		if !release {
			c.gatherMore(p)
		}
		p.budget = c.within(p.budget)
	}
	if p.count > 0 && len(c.queues) == 0 && c.phase.serves() && c.run.ready.len() == 0 && opt.Inbox == 0 && c.run.sub.leastAttempts != 1 {
		// The slots stay free until the reply arrives: a server that does not answer must not keep
		// them from other partitions. So a few more queues than slots may have one, if several
		// partitions read at the same time.
		p.autoStart = max(min(c.run.free, p.count), 0)
	}
	return p
}

// within bounds a reply's bytes of bodies by the room that the held bodies leave. With 0, the reply
// has stubs only. A reply with the whole budget may be one body of twice the size.
func (c *partitionConsumer) within(budget int) int {
	room := max(heldBytes-c.bytes, 0)
	if budget >= replyBytes && room < 2*replyBytes {
		budget = replyBytes - 1
	}
	return min(budget, room)
}

// chunk is how many events the server fetches before it looks at their sizes: few if recent events
// were large, and never so many that events of MaxBytes exceed fetchBytes.
func (c *partitionConsumer) chunk() int {
	n := min(maxChunk, max(1, fetchBytes/c.d.opt.MaxBytes))
	if c.size > 0 {
		n = min(n, max(1, replyBytes/4/c.size))
	}
	return n
}

// gatherStarts counts the attempts of events that are about to start. It fetches the body of a stub
// first, if large bodies may move in this poll.
func (c *partitionConsumer) gatherStarts(p *poll, large bool) (begins []operation) {
	all := c.toStart
	c.toStart = nil
	fetches := 0
	for _, q := range all {
		if !c.phase.serves() || !q.stage.holdsSlot() {
			q.setRequest(nothing)
			c.reschedule(q)
			continue
		}
		attempt, some := c.next(q)
		switch {
		case len(some) == 0:
			q.setRequest(nothing)
			if q.started == 0 {
				c.reschedule(q)
			}
		case some[0].stub && (!large || (fetches > 0 || p.moved > 0) && some[0].size > p.budget-p.moved): // in the next poll
			c.toStart = append(c.toStart, q)
		case some[0].stub:
			fetches++
			p.budget -= some[0].size
			p.fetching = append(p.fetching, q)
			q.setRequest(fetching)
			begins = append(begins, fetchOp{some[0].id, q.channel, some[0].parked})
		default:
			q.counting = len(some)
			q.setRequest(counting)
			p.starts = append(p.starts, startBatch{q, some})
			begins = p.countAttempts(begins, q.channel, attempt, some, c)
		}
	}
	return begins
}

// countAttempts adds operations that count attempts.
func (p *poll) countAttempts(ops []operation, channel string, attempt int, all []*queuedEvent, c *partitionConsumer) []operation {
	var ids []string
	for _, e := range all {
		if e.parked {
			ops = append(ops, triesOp{e.id, attempt})
		} else {
			ids = append(ids, e.id)
		}
		if c.run.sub.opt.Inbox > 0 {
			var d delivery
			if d.parse(e.body, c.d.foreign) == nil && d.ID != "" {
				if p.inboxIDs == nil {
					p.inboxIDs = make(map[string][]*queuedEvent)
				}
				id := scoped(channel, d.ID)
				p.inboxIDs[id] = append(p.inboxIDs[id], e)
			}
		}
	}
	i := slices.IndexFunc(p.counts, func(op startOp) bool { return op.attempts == attempt })
	if i < 0 {
		i = len(p.counts)
		p.counts = append(p.counts, startOp{attempts: attempt})
	}
	p.counts[i].ids = append(p.counts[i].ids, ids...)
	return ops
}

// gatherMore asks for parked events of channels of which few are held.
func (c *partitionConsumer) gatherMore(p *poll) {
	for q := range c.handedOut {
		if !c.wantsMore(q) {
			continue
		}
		parked := 0
		for i := range q.events.len() {
			if q.events.at(i).parked {
				parked++
			}
		}
		q.needsMore = false
		p.mores = append(p.mores, moreOp{q.channel, parked, countAhead})
		p.operations = append(p.operations, moreOp{q.channel, parked, countAhead})
	}
}

// wantsMore reports whether the next poll asks for parked events of a queue.
func (c *partitionConsumer) wantsMore(q *channelQueue) bool {
	return q.needsMore && q.stage != stopped && c.phase.serves() && q.events.len() <= countAhead/2
}

func (c *partitionConsumer) needsMore() bool {
	for q := range c.handedOut {
		if c.wantsMore(q) {
			return true
		}
	}
	return false
}

// crowded reports whether the held events leave too little room for channels that a free worker
// could handle.
func (c *partitionConsumer) crowded() bool {
	return (c.held >= c.maxHeld()/2 || c.weight >= maxWeight/4) && c.phase.serves() &&
		int(c.run.sub.stats.running.Load()) < c.run.sub.opt.Concurrency
}

// overflowAfter is how long the handlers of one channel may need for its held events. A slower
// channel takes the room of others; a quicker one is handled sooner here than from a parked list.
const overflowAfter = 20 * time.Millisecond

// overflowing returns the queues that give events back to make room for others, and whether a queue
// may become one soon.
func (c *partitionConsumer) overflowing() (all []*channelQueue, soon bool) {
	if !c.crowded() {
		return nil, false
	}
	now := time.Now()
	for _, q := range c.queues {
		switch n := q.events.len(); {
		case n == 0 || q.stage == stopped || q.events.at(n-1).parked || c.share(q) >= n:
		case q.backlog(now) > overflowAfter:
			all = append(all, q)
		case !q.startedAt.IsZero():
			soon = true
		}
	}
	return all, soon
}

// share is how many events a queue keeps when its channel overflows: those with a counted attempt,
// and a few behind.
func (c *partitionConsumer) share(q *channelQueue) int {
	keep, bytes := max(q.started+q.counting, 1), 0
	for i := 0; i < q.events.len() && (i < keep || i < countAhead/2 && bytes < heldBytes/16); i++ {
		bytes += q.events.at(i).size
		keep = max(keep, i+1)
	}
	return keep
}

// overflow parks the tails of long channels on the server if they take the room of others and a
// worker is free (E4).
func (c *partitionConsumer) overflow(p *poll) {
	all, _ := c.overflowing()
	for _, q := range all {
		op := parkOp{channel: q.channel, delay: heldHere, events: c.cutTail(p, q, c.share(q))}
		if len(op.events) == 0 {
			return
		}
		c.handedOut[q], q.needsMore = true, true
		p.operations = append(p.operations, op)
	}
}

// cutTail takes stream entries off the end of a queue, down to keep events, as far as the poll may
// move their bodies. It returns them in order.
func (c *partitionConsumer) cutTail(p *poll, q *channelQueue, keep int) (events []counted) {
	from := q.events.len()
	for from > keep && !q.events.at(from-1).parked && p.moves(q.events.at(from-1).size) {
		from--
	}
	for i, e := range q.events.cut(from) {
		attempts := e.attempts
		if from+i > 0 && from+i < q.started { // counted ahead, and not started
			attempts--
		}
		events = append(events, counted{e.id, attempts})
		c.unhold(e)
	}
	return events
}

// moves reports whether the poll may move a body of this size, and counts it.
func (p *poll) moves(size int) bool {
	if p.moved > 0 && p.moved+size > moveBytes {
		return false
	}
	p.moved += size
	return true
}

// gatherParks parks the queues whose heads failed. Queues with large bodies wait for a poll that
// may move them.
func (c *partitionConsumer) gatherParks(p *poll, large bool) {
	queues := c.toPark
	c.toPark = nil
	for _, q := range queues {
		size := 0
		if n := q.events.len(); n > 0 {
			size = q.events.at(n - 1).size
		}
		if size > leastRead && (!large || p.moved > 0 && p.moved+size > moveBytes) || !c.park(p, q) {
			c.toPark = append(c.toPark, q)
		}
	}
}

// park moves all events of a queue into the channel's parked list. It takes back attempts that were
// counted ahead. If the bodies are too many for one poll, it moves the last ones and returns false:
// the next poll goes on.
func (c *partitionConsumer) park(p *poll, q *channelQueue) bool {
	for i := range q.events.len() {
		e := q.events.at(i)
		if e.parked && i > 0 && i < q.started {
			e.attempts--
			p.operations = append(p.operations, triesOp{e.id, e.attempts})
		}
	}
	parked := q.events.len() // events behind the last stream entry
	for parked > 0 && q.events.at(parked-1).parked {
		parked--
	}
	for _, e := range q.events.cut(parked) {
		c.unhold(e)
	}

	op := parkOp{channel: q.channel, delay: q.delay}
	if op.events = c.cutTail(p, q, 0); q.events.len() > 0 {
		op.delay = heldHere
		q.started = min(q.started, q.events.len())
	}
	p.operations = append(p.operations, op)
	if q.events.len() > 0 {
		return false
	}
	c.drop(q)
	return true
}

// uncount takes back the attempts of events whose handlers did not start, or were ended by this
// process.
func (c *partitionConsumer) uncount(ops []operation) []operation {
	for _, q := range c.queues {
		for i := range min(q.started, q.events.len()) {
			e := q.events.at(i)
			switch {
			case !e.parked:
				ops = append(ops, startOp{e.attempts - 1, []string{e.id}})
			case c.phase != resetting: // else it may not be parked on this server
				ops = append(ops, triesOp{e.id, e.attempts - 1})
			}
		}
		c.run.sub.stats.givenBack.Add(int64(q.events.len()))
	}
	return ops
}

func unexpected(what string, err error) error {
	return fmt.Errorf("malformed reply: %s: %w", what, err)
}
