package events

import "strconv"

// ParkTurns has the head of a channel fail that holds events of these sizes, and returns which of them each turn parks.
func ParkTurns(sizes []int) (turns [][]int) {
	const concurrency = 1
	d := &Durable{opt: DurableOptions{MaxBytes: 8 << 20}}
	sub := &Subscriber{opt: SubscriberOptions{Concurrency: concurrency}}
	r := &durableRun{d: d, sub: sub, free: ahead * concurrency, sessions: map[int]*session{}}
	x := &session{d: d, run: r, p: &partition{}, kicked: make(chan struct{}, 1), lanes: map[string]*lane{}, remote: map[*lane]bool{}}
	r.sessions[0] = x
	l := x.lane("a")
	for n, size := range sizes {
		x.hold(l, &held{id: strconv.Itoa(n), stub: true, size: size})
	}
	r.offer(l)
	x.halt(l, 0)
	for len(x.toPark) > 0 {
		var turn []int
		for _, op := range x.gather(0, false).operations {
			if park, ok := op.(parkOp); ok {
				for _, e := range park.events {
					n, _ := strconv.Atoi(e.id)
					turn = append(turn, n)
				}
			}
		}
		turns = append(turns, turn)
	}
	return turns
}
