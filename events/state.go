package events

import "fmt"

// A channel's queue has one stage and one request, a partition's consumer has one phase. Design
// note 0030 has the tables of their transitions. Tests that open a durable bus compare each change
// with these tables.

// stage is the position of a channel's queue on its way to a worker.
type stage uint8

const (
	idle     stage = iota // no slot: it has no events, or the partition drains
	queued                // in line for a slot
	slotted               // has a slot: its next attempts are counted
	runnable              // has a slot and counted attempts: in line for a worker
	running               // a worker handles it
	stopped               // its head failed: the next polls park all its events
	removed               // removed from the consumer
)

// holdsSlot reports whether a queue in this stage has one of the subscriber's slots.
func (s stage) holdsSlot() bool { return s == slotted || s == runnable || s == running }

// request is what a poll does for a channel's queue.
type request uint8

const (
	nothing  request = iota
	wanted           // the next poll counts its next attempts, or fetches the body of its head
	fetching         // a poll under way fetches the body of its head
	counting         // a poll under way counts attempts
)

// phase is what a partition's consumer does.
type phase uint8

const (
	reading   phase = iota // there may be more to read
	caughtUp               // everything was read, and the server does not push yet
	armed                  // everything was read, and the server pushes when there is more
	checking               // armed, and the next poll reads too
	draining               // no handler starts: the partition passes to another process, or serves again
	stopping               // no handler starts: Run ends
	resetting              // the group or writes are gone: the partition is given back and taken again
	over                   // lost, or given back
)

// serves reports whether handlers start in this phase.
func (p phase) serves() bool { return p < draining }

var (
	stageNames   = [...]string{"idle", "queued", "slotted", "runnable", "running", "stopped", "removed"}
	requestNames = [...]string{"nothing", "wanted", "fetching", "counting"}
	phaseNames   = [...]string{"reading", "caughtUp", "armed", "checking", "draining", "stopping", "resetting", "over"}
)

func (s stage) String() string   { return stageNames[s] }
func (r request) String() string { return requestNames[r] }
func (p phase) String() string   { return phaseNames[p] }

// to changes the stage. It takes or frees the slot that belongs to it.
func (q *channelQueue) to(s stage) {
	if q.stage == s {
		return
	}
	q.consumer.changes(q.stage, s)
	had := q.stage.holdsSlot()
	q.stage = s
	switch has := s.holdsSlot(); {
	case has && !had:
		q.consumer.run.free--
	case had && !has:
		q.consumer.run.free++
		q.consumer.run.grant()
	}
}

func (q *channelQueue) setRequest(r request) {
	if q.request != r {
		q.consumer.changes(q.request, r)
		q.request = r
	}
}

func (c *partitionConsumer) to(p phase) {
	if c.phase != p {
		c.changes(c.phase, p)
		c.phase = p
	}
}

// changes lets tests check a change of a state.
func (c *partitionConsumer) changes(from, to fmt.Stringer) {
	if c.d.points.On() {
		c.d.points.Show("change", c, from, to)
	}
}

// checked lets tests check the invariants between two steps.
func (c *partitionConsumer) checked() {
	if c.d.points.On() {
		c.d.points.Show("step", c)
	}
}
