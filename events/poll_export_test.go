package events

import (
	"context"
	"strconv"
	"time"

	"github.com/redstart-go/redstart/internal/clock"
	"github.com/redstart-go/redstart/internal/core"
)

// offlineConsumer is a partition consumer without a server and without free workers.
func offlineConsumer() *partitionConsumer {
	const concurrency = 1
	d := &Durable{opt: DurableOptions{MaxBytes: 8 << 20, Lease: time.Hour}}
	d.core = new(core.Core) // uses the time of the machine
	sub := &Subscriber{opt: SubscriberOptions{Concurrency: concurrency}}
	r := &durableRun{d: d, sub: sub, free: slotsPerWorker * concurrency, workers: concurrency, consumers: map[int]*partitionConsumer{}}
	c := &partitionConsumer{d: d, run: r, p: &partition{}, woken: make(chan struct{}, 1), queues: map[string]*channelQueue{},
		handedOut: map[*channelQueue]bool{}}
	c.ctx, c.cancel = context.WithCancelCause(context.Background())
	r.consumers[0] = c
	return c
}

// ParkPolls makes the head of a channel fail, with events of these sizes behind it. It returns
// which events each poll parks.
func ParkPolls(sizes []int) (polls [][]int) {
	c := offlineConsumer()
	q := c.queueOf("a")
	for n, size := range sizes {
		c.hold(q, &queuedEvent{id: strconv.Itoa(n), stub: true, size: size})
	}
	c.run.offer(q)
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

// LeaveAsTheLeaseEnds makes a worker leave a queue with counted events at the end of the lease, as
// after runtime.Goexit. Then a reply renews the lease. It returns the stage of the queue.
func LeaveAsTheLeaseEnds() (stage string) {
	c := offlineConsumer()
	q := c.queueOf("a")
	c.hold(q, &queuedEvent{id: "1-0"})
	c.run.offer(q)
	q.setRequest(nothing)
	c.toStart, q.started = nil, 1
	c.makeRunnable(q)
	q.to(running)
	c.until = deadline{time.Now().Add(-time.Millisecond)}
	c.watchdog = (*clock.Source)(nil).AfterFunc(time.Hour, c.expire)
	defer c.watchdog.Stop()
	c.leaveQueue(q)
	c.renewed(time.Now())
	return q.stage.String()
}
