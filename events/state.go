package events

import "fmt"

// A channel's queue has one stage and one request, a partition's consumer has one phase. Design note 0030 has the tables of their
// transitions. Every test that opens a durable bus compares each change with these tables.

// stage is where a channel's queue stands on the way to a worker.
type stage uint8

const (
	idle     stage = iota // no slot: nothing to handle here, or the partition gives itself back
	queued                // in line for a slot
	slotted               // has a slot: its next events are counted
	runnable              // has a slot and counted events: in line for a worker
	running               // a worker is on it
	stopped               // its head failed: the next turns park all of it
	removed               // its events are elsewhere
)

// holdsSlot reports whether a queue in this stage has one of the subscriber's slots.
func (s stage) holdsSlot() bool { return s == slotted || s == runnable || s == running }

// request is what a turn does for a channel's queue.
type request uint8

const (
	nothing  request = iota
	wanted           // the next turn counts its next events, or fetches the body of its head
	fetching         // a turn under way fetches the body of its head
	counting         // a turn under way counts attempts
)

// phase is what a partition's consumer does.
type phase uint8

const (
	reading   phase = iota // there may be more to read
	caughtUp               // everything was read, and the server does not push yet
	armed                  // everything was read, and the server pushes when there is more
	checking               // armed, and the next turn reads all the same
	draining               // no handler starts, so that the partition can be given to another process; it may go on
	stopping               // no handler starts any more
	resetting              // the group is gone: the partition is given back and taken again
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

// to changes the stage, and takes or gives back the slot that belongs to it.
func (l *lane) to(s stage) {
	if l.stage == s {
		return
	}
	l.x.changes(l.stage, s)
	had := l.stage.holdsSlot()
	l.stage = s
	switch has := s.holdsSlot(); {
	case has && !had:
		l.x.run.free--
	case had && !has:
		l.x.run.free++
		l.x.run.grant()
	}
}

func (l *lane) request(r request) {
	if l.asks != r {
		l.x.changes(l.asks, r)
		l.asks = r
	}
}

func (x *session) to(p phase) {
	if x.phase != p {
		x.changes(x.phase, p)
		x.phase = p
	}
}

// changes has tests check a change of a state.
func (x *session) changes(from, to fmt.Stringer) {
	if x.d.points.On() {
		x.d.points.Show("change", x, from, to)
	}
}

// checked has tests check what must hold between two steps.
func (x *session) checked() {
	if x.d.points.On() {
		x.d.points.Show("step", x)
	}
}
