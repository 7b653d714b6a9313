package lock

import (
	"container/heap"
	"context"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/redstart-go/redstart/internal/failpoint"
)

const (
	chunk   = 100                    // renewals in one request
	flights = 16                     // requests on their way to one node: at a round trip of 20 ms 80,000 renewals per second
	watch   = 100 * time.Millisecond // how often a jump of the wall clock is looked for, while something is held
	jump    = 10 * time.Millisecond

	retryLeast = 10 * time.Millisecond
)

// keeper renews leases and ends those that can't be renewed in time: one goroutine and one timer for all, and up
// to flights more per node while renewals are on their way to it.
type keeper struct {
	clock   clock
	renew   func(leases []*lease) []verdict
	spawn   func(name string, fn func(ctx context.Context)) bool
	renewal func() // counts
	points  failpoint.Points

	wake chan struct{}

	mu     sync.Mutex
	leases schedule
	next   time.Duration // when the loop looks next, 0 = not at all
	idle   bool          // nothing was held at the last look, nor since
	lanes  map[string]*lane
}

// lane is what is to be sent to one node, request by request: a node that is silent delays no other, and one request
// without an answer does not hold up the next.
type lane struct {
	waiting []*lease
	running int // goroutines that send
}

func newKeeper(clock clock) *keeper {
	return &keeper{
		clock: clock,
		wake:  make(chan struct{}, 1),
		lanes: make(map[string]*lane),
	}
}

// add takes a lease on, which began at since. A brief one is a grant: to be renewed very soon, if it is still held then.
func (k *keeper) add(l *lease, since instant, brief bool, maxHold time.Duration) {
	k.mu.Lock()
	defer k.mu.Unlock()
	span, renewAt := l.terms.span(), l.nextRenewal(since)
	if brief {
		span, renewAt = grant, since.mono+k.points.Duration("confirm", confirmAfter)
	}
	l.extend(since, span)
	if maxHold > 0 {
		l.maxUntil = l.begun.mono + maxHold
	}
	l.renewAt = renewAt
	k.plan(l)
	k.idle = false
	heap.Push(&k.leases, l)
	if k.next == 0 || l.at < k.next {
		select {
		case k.wake <- struct{}{}:
		default:
		}
	}
}

// remove takes a lease off that was released or lost.
func (k *keeper) remove(l *lease) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if l.place >= 0 && l.place < len(k.leases) && k.leases[l.place] == l {
		heap.Remove(&k.leases, l.place)
	}
}

// all empties the keeper.
func (k *keeper) all() []*lease {
	k.mu.Lock()
	defer k.mu.Unlock()
	leases := k.leases
	for _, l := range leases {
		l.place = -1
	}
	k.leases = nil
	return leases
}

func (k *keeper) count() int {
	k.mu.Lock()
	defer k.mu.Unlock()
	return len(k.leases)
}

// nextRenewal spreads renewals a little, so that locks taken together don't stay together.
func (l *lease) nextRenewal(sent instant) time.Duration {
	every := l.terms.every()
	return sent.mono + every - rand.N(every/8+1)
}

// plan sets when to look at a lease: its end, and before that its renewal unless one is on its way.
func (k *keeper) plan(l *lease) {
	l.at = time.Duration(l.monoUntil.Load())
	if l.maxUntil > 0 {
		l.at = min(l.at, l.maxUntil)
	}
	if !l.renewing {
		l.at = min(l.at, l.renewAt)
	}
}

// run is the loop. It returns with ctx.
func (k *keeper) run(ctx context.Context) {
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	last := k.clock()
	for {
		now := k.clock()
		ended, wait := k.look(now, (now.wall-last.wall)-(now.mono-last.mono) > jump)
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
		case <-k.wake:
		}
	}
}

// look finds what is due: leases that have ended, which it returns, and renewals, which it starts; and how
// long there is nothing to do, 0 when nothing has been held for two looks. The second look saves a caller that acquires and
// releases in a loop from waking the loop each time.
func (k *keeper) look(now instant, jumped bool) (ended map[*lease]error, wait time.Duration) {
	k.mu.Lock()
	defer k.mu.Unlock()
	end := func(l *lease, why error) {
		if ended == nil {
			ended = make(map[*lease]error)
		}
		ended[l] = why
		heap.Remove(&k.leases, l.place)
	}
	if jumped {
		for _, l := range append(schedule(nil), k.leases...) {
			if l.expired(now) {
				end(l, errLapsed)
			}
		}
	}
	limit := now.mono
	for len(k.leases) > 0 && k.leases[0].at <= limit {
		l := k.leases[0]
		if l.at > now.mono && l.at != l.renewAt {
			break // an end, which comes when it comes
		}
		switch {
		case l.expired(now):
			end(l, errLapsed)
		case l.maxUntil > 0 && l.maxUntil <= now.mono:
			end(l, errMaxHold)
		default:
			l.renewing = true
			k.plan(l)
			heap.Fix(&k.leases, l.place)
			k.queue(l)
			limit = max(limit, now.mono+l.terms.every()/30) // those that are due soon after go along
		}
	}
	switch {
	case len(k.leases) > 0:
		k.idle = false
		wait = max(min(k.leases[0].at-now.mono, watch), time.Microsecond)
	case !k.idle:
		k.idle, wait = true, watch
	}
	k.next = 0
	if wait > 0 {
		k.next = now.mono + wait
	}
	return ended, wait
}

// queue puts a renewal on the lane of its node.
func (k *keeper) queue(l *lease) {
	way := k.lanes[l.node]
	if way == nil {
		way = &lane{}
		k.lanes[l.node] = way
	}
	way.waiting = append(way.waiting, l)
	if way.running == 0 {
		k.start(l.node, way)
	}
}

func (k *keeper) start(node string, way *lane) {
	if k.spawn("renewals of locks", func(context.Context) { k.send(node, way) }) {
		way.running++
	}
}

// send empties a lane, with others at its side while there is more than one request to send.
func (k *keeper) send(node string, way *lane) {
	for {
		k.mu.Lock()
		n := min(len(way.waiting), chunk)
		if n == 0 {
			if way.running--; way.running == 0 {
				delete(k.lanes, node)
			}
			k.mu.Unlock()
			return
		}
		batch := make([]*lease, 0, n)
		for _, l := range way.waiting[:n] {
			if l.place >= 0 { // not ended meanwhile
				batch = append(batch, l)
			}
		}
		way.waiting = way.waiting[n:]
		if len(way.waiting) > 0 && way.running < flights {
			k.start(node, way)
		}
		k.mu.Unlock()
		if len(batch) == 0 {
			continue
		}
		sent := k.clock()
		k.settle(batch, k.renew(batch), sent)
	}
}

// settle writes down the answers.
func (k *keeper) settle(batch []*lease, verdicts []verdict, sent instant) {
	var over []*lease
	now := k.clock()
	k.mu.Lock()
	for i, l := range batch {
		l.renewing = false
		if l.place < 0 {
			continue
		}
		switch verdicts[i] {
		case renewed:
			if l.expired(now) { // too late: the holder may have been told already
				over = append(over, l)
				continue
			}
			l.extend(sent, l.terms.span())
			l.renewAt = l.nextRenewal(sent)
			k.renewal()
		case gone:
			over = append(over, l)
			continue
		case unknown:
			left := time.Duration(l.monoUntil.Load()) - now.mono
			l.renewAt = now.mono + min(l.terms.retry(), max(left/4, retryLeast))
		}
		k.plan(l)
		heap.Fix(&k.leases, l.place)
	}
	if len(k.leases) > 0 && k.next > k.leases[0].at {
		select {
		case k.wake <- struct{}{}:
		default:
		}
	}
	for _, l := range over {
		heap.Remove(&k.leases, l.place)
	}
	k.mu.Unlock()
	for _, l := range over {
		if l.expired(now) {
			l.lose(errLapsed)
		} else {
			l.lose(errGone)
		}
	}
}

// schedule is a heap of leases by when to look at them.
type schedule []*lease

func (s schedule) Len() int           { return len(s) }
func (s schedule) Less(i, j int) bool { return s[i].at < s[j].at }
func (s schedule) Swap(i, j int) {
	s[i], s[j] = s[j], s[i]
	s[i].place, s[j].place = i, j
}

func (s *schedule) Push(x any) {
	l := x.(*lease)
	l.place = len(*s)
	*s = append(*s, l)
}

func (s *schedule) Pop() any {
	old := *s
	l := old[len(old)-1]
	old[len(old)-1] = nil
	*s = old[:len(old)-1]
	l.place = -1
	return l
}
