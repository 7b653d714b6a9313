package events

import "strconv"

// ParkPolls has the head of a channel fail that holds events of these sizes, and returns which of
// them each poll parks.
func ParkPolls(sizes []int) (polls [][]int) {
	const concurrency = 1
	d := &Durable{opt: DurableOptions{MaxBytes: 8 << 20}}
	sub := &Subscriber{opt: SubscriberOptions{Concurrency: concurrency}}
	r := &durableRun{d: d, sub: sub, free: slotsPerWorker * concurrency, consumers: map[int]*partitionConsumer{}}
	c := &partitionConsumer{d: d, run: r, p: &partition{}, woken: make(chan struct{}, 1),
		queues: map[string]*channelQueue{}, handedOut: map[*channelQueue]bool{}}
	r.consumers[0] = c
	q := c.queueOf("a")
	for n, size := range sizes {
		c.hold(q, &queuedEvent{id: strconv.Itoa(n), stub: true, size: size})
	}
	r.offer(q)
	c.halt(q, 0)
	for len(c.toPark) > 0 {
		var poll []int
		for _, op := range c.gather(0, false).operations {
			if park, ok := op.(parkOp); ok {
				for _, e := range park.events {
					n, _ := strconv.Atoi(e.id)
					poll = append(poll, n)
				}
			}
		}
		polls = append(polls, poll)
	}
	return polls
}
