package lock

import (
	"container/heap"
	"context"
	"math/rand/v2"
	"sync"
	"time"

	timesource "github.com/redstart-go/redstart/internal/clock"
	"github.com/redstart-go/redstart/internal/failpoint"
)

const (
	requestLeases    = 100 // leases in one request
	requestsInFlight = 16  // per node; at a round trip of 20 ms this is 80,000 renewals per second
	// interval of the check for a jump of the wall clock, while a lock is held
	clockCheckEvery = 100 * time.Millisecond
	clockJump       = 10 * time.Millisecond

	renewRetryMin = 10 * time.Millisecond
)

// renewer renews leases, and ends leases that cannot be renewed in time. It has one goroutine and
// one timer for all leases. While renewals of a node are in flight, it has up to requestsInFlight
// more goroutines for that node.
type renewer struct {
	clock        clock
	source       *timesource.Source
	renew        func(leases []*lease) []renewResult
	spawn        func(name string, fn func(ctx context.Context)) bool
	countRenewal func() // called for each renewal
	points       failpoint.Points

	wake chan struct{}

	mu     sync.Mutex
	leases schedule
	next   time.Duration // when the loop runs next; 0 = not scheduled
	idle   bool          // no lease was held at the last step or since
	nodes  map[string]*nodeQueue
}

// nodeQueue is the leases to renew on one node. A node that does not answer does not delay other
// nodes. A request without an answer does not delay the next request.
type nodeQueue struct {
	waiting []*lease
	senders int // sending goroutines
}

func newRenewer(clock clock, source *timesource.Source) *renewer {
	return &renewer{
		clock:  clock,
		source: source,
		wake:   make(chan struct{}, 1),
		nodes:  make(map[string]*nodeQueue),
	}
}

// add adds a lease that started at since. A provisional lease has the length of a grant and is
// renewed after confirmAfter, if it is still held.
func (r *renewer) add(l *lease, since instant, provisional bool, maxHold time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	span, renewAt := l.settings.validity(), l.nextRenewal(since)
	if provisional {
		span, renewAt = grantTTL, since.mono+r.points.Duration("confirm", confirmAfter)
	}

	l.extend(since, span)
	if maxHold > 0 {
		l.maxHoldEnd = l.start.mono + maxHold
	}

	l.renewAt = renewAt
	r.plan(l)
	r.idle = false
	heap.Push(&r.leases, l)
	if r.next == 0 || l.dueAt < r.next {
		select {
		case r.wake <- struct{}{}:
		default:
		}
	}
}

// remove removes a lease that was released or lost.
func (r *renewer) remove(l *lease) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if l.heapIndex >= 0 && l.heapIndex < len(r.leases) && r.leases[l.heapIndex] == l {
		heap.Remove(&r.leases, l.heapIndex)
	}
}

// all removes and returns all leases.
func (r *renewer) all() []*lease {
	r.mu.Lock()
	defer r.mu.Unlock()
	leases := r.leases
	for _, l := range leases {
		l.heapIndex = -1
	}
	r.leases = nil
	return leases
}

func (r *renewer) count() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.leases)
}

// nextRenewal varies the time of the next renewal by an eighth of the interval, so that locks that
// were acquired together are not renewed together.
func (l *lease) nextRenewal(sent instant) time.Duration {
	every := l.settings.renewEvery()
	return sent.mono + every - rand.N(every/8+1)
}

// plan sets when the renewer checks a lease next: at its end, or at its next renewal if no renewal
// is in flight.
func (r *renewer) plan(l *lease) {
	l.dueAt = time.Duration(l.monoEnd.Load())
	if l.maxHoldEnd > 0 {
		l.dueAt = min(l.dueAt, l.maxHoldEnd)
	}
	if !l.renewing {
		l.dueAt = min(l.dueAt, l.renewAt)
	}
}

// run is the renewer's loop. It returns when ctx ends.
func (r *renewer) run(ctx context.Context) {
	timer := r.source.NewTimer(time.Hour)
	defer timer.Stop()
	last := r.clock()
	for {
		now := r.clock()
		ended, wait := r.step(now, (now.wall-last.wall)-(now.mono-last.mono) > clockJump)
		last = now
		for l, why := range ended {
			l.lose(why)
		}
		if wait > 0 {
			timer.Reset(wait)
		} else {
			timer.Stop()
		}
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		case <-r.wake:
		}
	}
}

// step finds what is due. It returns leases that have ended, and starts renewals. wait is the time
// until the next step; 0 means that no lease was held at two steps in a row. With one step, a
// caller that acquires and releases in a loop would wake the loop each time.
func (r *renewer) step(now instant, jumped bool) (ended map[*lease]error, wait time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	end := func(l *lease, why error) {
		if ended == nil {
			ended = make(map[*lease]error)
		}
		ended[l] = why
		heap.Remove(&r.leases, l.heapIndex)
	}

	if jumped {
		for _, l := range append(schedule(nil), r.leases...) {
			if l.expired(now) {
				end(l, errLapsed)
			}
		}
	}

	limit := now.mono
	for len(r.leases) > 0 && r.leases[0].dueAt <= limit {
		l := r.leases[0]
		if l.dueAt > now.mono && l.dueAt != l.renewAt {
			break // the end of a lease, not a renewal
		}
		switch {
		case l.expired(now):
			end(l, errLapsed)
		case l.maxHoldEnd > 0 && l.maxHoldEnd <= now.mono:
			end(l, errMaxHold)
		default:
			l.renewing = true
			r.plan(l)
			heap.Fix(&r.leases, l.heapIndex)
			r.enqueue(l)
			// renew leases that are due soon in the same request
			limit = max(limit, now.mono+l.settings.renewEvery()/30)
		}
	}

	switch {
	case len(r.leases) > 0:
		r.idle = false
		wait = max(min(r.leases[0].dueAt-now.mono, clockCheckEvery), time.Microsecond)
	case !r.idle:
		r.idle, wait = true, clockCheckEvery
	}

	r.next = 0
	if wait > 0 {
		r.next = now.mono + wait
	}

	return ended, wait
}

// enqueue adds a lease to the queue of its node.
func (r *renewer) enqueue(l *lease) {
	queue := r.nodes[l.node]
	if queue == nil {
		queue = &nodeQueue{}
		r.nodes[l.node] = queue
	}
	queue.waiting = append(queue.waiting, l)
	if queue.senders == 0 {
		r.start(l.node, queue)
	}
}

func (r *renewer) start(node string, queue *nodeQueue) {
	if r.spawn("renewals of locks", func(context.Context) { r.send(node, queue) }) {
		queue.senders++
	}
}

// send empties the queue of a node. It starts further senders while more than one request is left.
func (r *renewer) send(node string, queue *nodeQueue) {
	for {
		r.mu.Lock()
		n := min(len(queue.waiting), requestLeases)
		if n == 0 {
			if queue.senders--; queue.senders == 0 {
				delete(r.nodes, node)
			}
			r.mu.Unlock()
			return
		}
		batch := make([]*lease, 0, n)
		for _, l := range queue.waiting[:n] {
			if l.heapIndex >= 0 { // not ended in the meantime
				batch = append(batch, l)
			}
		}
		queue.waiting = queue.waiting[n:]
		if len(queue.waiting) > 0 && queue.senders < requestsInFlight {
			r.start(node, queue)
		}
		r.mu.Unlock()
		if len(batch) == 0 {
			continue
		}
		sent := r.clock()
		r.apply(batch, r.renew(batch), sent)
	}
}

// apply applies the answers to the leases.
func (r *renewer) apply(batch []*lease, results []renewResult, sent instant) {
	var over []*lease
	now := r.clock()
	r.mu.Lock()
	for i, l := range batch {
		l.renewing = false
		if l.heapIndex < 0 {
			continue
		}
		switch results[i] {
		case renewed:
			if l.expired(now) { // too late: the lease may have ended as lost already
				over = append(over, l)
				continue
			}
			l.extend(sent, l.settings.validity())
			l.renewAt = l.nextRenewal(sent)
			r.countRenewal()
		case gone:
			over = append(over, l)
			continue
		case unknown:
			left := time.Duration(l.monoEnd.Load()) - now.mono
			l.renewAt = now.mono + min(l.settings.renewRetry(), max(left/4, renewRetryMin))
		}
		r.plan(l)
		heap.Fix(&r.leases, l.heapIndex)
	}

	if len(r.leases) > 0 && r.next > r.leases[0].dueAt {
		select {
		case r.wake <- struct{}{}:
		default:
		}
	}

	for _, l := range over {
		heap.Remove(&r.leases, l.heapIndex)
	}

	r.mu.Unlock()
	for _, l := range over {
		if l.expired(now) {
			l.lose(errLapsed)
		} else {
			l.lose(errGone)
		}
	}
}

// schedule is a heap of leases, ordered by dueAt.
type schedule []*lease

func (s schedule) Len() int           { return len(s) }
func (s schedule) Less(i, j int) bool { return s[i].dueAt < s[j].dueAt }
func (s schedule) Swap(i, j int) {
	s[i], s[j] = s[j], s[i]
	s[i].heapIndex, s[j].heapIndex = i, j
}

func (s *schedule) Push(x any) {
	l := x.(*lease)
	l.heapIndex = len(*s)
	*s = append(*s, l)
}

func (s *schedule) Pop() any {
	old := *s
	l := old[len(old)-1]
	old[len(old)-1] = nil
	*s = old[:len(old)-1]
	l.heapIndex = -1
	return l
}
